"""Rows of the metric store: an append log of batches, sealed chunks, a head and summaries per run."""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class RunHeadRow(Model):
    """The write head of a run's append logs, locked until commit so that sequence numbers have no gap.

    `metric_seq` and `log_seq` are the newest sequence numbers given out (0 = none yet). The points of batches up to
    `sealed_seq` are in chunks, `sealed_points` in number; batches up to `weighed_seq` were found not worth sealing, or
    are sealed. Log lines up to `log_dropped` are gone; `log_lines` are kept, of `log_bytes`. `log_unfinished` tells by
    level which line the next one may write over: its number, that of the first of its bar, whether it ended with a
    carriage return.
    """

    run: fields.OneToOneRelation[Model] = fields.OneToOneField(
        "axonml.RunRow", on_delete=fields.CASCADE, related_name=False, primary_key=True, source_field="run_id"
    )
    metric_seq = fields.BigIntField(default=0)
    log_seq = fields.BigIntField(default=0)
    last_step = fields.BigIntField(null=True)
    points = fields.BigIntField(default=0)
    sealed_seq = fields.BigIntField(db_default=0)
    weighed_seq = fields.BigIntField(db_default=0)
    sealed_points = fields.BigIntField(db_default=0)
    log_dropped = fields.BigIntField(db_default=0)
    log_lines = fields.BigIntField(db_default=0)
    log_bytes = fields.BigIntField(db_default=0)
    log_unfinished: fields.JSONField[dict[str, tuple[int, int, bool]] | None] = fields.JSONField(null=True)

    class Meta:
        table = "run_heads"


class MetricBatchRow(Model):
    """One acknowledged batch: columnar bytes under the run's next sequence number; also the idempotency ledger.

    Once its points are sealed it has no payload; it is kept at all only if a client named it.
    """

    id = fields.BigIntField(primary_key=True)
    run: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.RunRow", on_delete=fields.CASCADE, related_name=False
    )
    seq = fields.BigIntField()
    batch_id = fields.CharField(max_length=128)
    digest = fields.BinaryField()
    points = fields.IntField()
    payload = fields.BinaryField(null=True)
    created_at = fields.DatetimeField()

    class Meta:
        table = "metric_batches"
        unique_together = (("run", "seq"), ("run", "batch_id"))


class MetricChunkRow(Model):
    """Sealed points of one key, in the order accepted: its accepted points `first_point` (from 0) onwards.

    A chunk is never changed; a short one is replaced by a longer one under a new id. `coarse` and `fine` are levels
    to draw from without the payload, `times` is one by time, where the chunk is long enough to have them.
    """

    id = fields.BigIntField(primary_key=True)
    run: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.RunRow", on_delete=fields.CASCADE, related_name=False
    )
    key = fields.CharField(max_length=250)
    first_point = fields.BigIntField()
    points = fields.IntField()
    first_seq = fields.BigIntField()
    last_seq = fields.BigIntField()
    first_step = fields.BigIntField()
    last_step = fields.BigIntField()
    coarse = fields.BinaryField(null=True)
    fine = fields.BinaryField(null=True)
    times = fields.BinaryField(null=True)
    payload = fields.BinaryField()

    class Meta:
        table = "metric_chunks"
        unique_together = (("run", "key", "first_point"),)


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
