"""Rows of the metric store: an append log of batches, a head and summaries per run."""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class RunHeadRow(Model):
    """The write head of a run's append logs, locked until commit so that sequence numbers have no gap.

    `metric_seq` and `log_seq` are the newest sequence numbers given out (0 = none yet).
    """

    run: fields.OneToOneRelation[Model] = fields.OneToOneField(
        "axonml.RunRow", on_delete=fields.CASCADE, related_name=False, primary_key=True, source_field="run_id"
    )
    metric_seq = fields.BigIntField(default=0)
    log_seq = fields.BigIntField(default=0)
    last_step = fields.BigIntField(null=True)
    points = fields.BigIntField(default=0)

    class Meta:
        table = "run_heads"


class MetricBatchRow(Model):
    """One acknowledged batch: columnar bytes under the run's next sequence number; also the idempotency ledger."""

    id = fields.BigIntField(primary_key=True)
    run: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.RunRow", on_delete=fields.CASCADE, related_name=False
    )
    seq = fields.BigIntField()
    batch_id = fields.CharField(max_length=128)
    digest = fields.BinaryField()
    points = fields.IntField()
    payload = fields.BinaryField()
    created_at = fields.DatetimeField()

    class Meta:
        table = "metric_batches"
        unique_together = (("run", "seq"), ("run", "batch_id"))


class MetricSummaryRow(Model):
    """What run tables show of one key: last value by step, extremes and mean of the finite points, counts."""

    id = fields.BigIntField(primary_key=True)
    run: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.RunRow", on_delete=fields.CASCADE, related_name=False
    )
    key = fields.CharField(max_length=250)
    last_value = fields.FloatField()
    last_step = fields.BigIntField()
    min_value = fields.FloatField(null=True)
    max_value = fields.FloatField(null=True)
    mean_value = fields.FloatField(null=True)
    count = fields.BigIntField()
    non_finite = fields.BigIntField()

    class Meta:
        table = "metric_summaries"
        unique_together = (("run", "key"),)
        indexes = (Index(fields=("key", "last_value"), name="metric_summaries_value"),)
