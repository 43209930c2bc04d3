"""Rows of run logs and of the ledger that makes log batches idempotent."""

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model


class LogLineRow(Model):
    """One line of a run's log under the run's next log sequence number.

    It took the place of lines of its level whose first had the number `replaces`; these are deleted.
    """

    id = fields.BigIntField(primary_key=True)
    run: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.RunRow", on_delete=fields.CASCADE, related_name=False
    )
    seq = fields.BigIntField()
    level = fields.SmallIntField()
    logged_at = fields.DatetimeField()
    message = fields.TextField()
    replaces = fields.BigIntField(null=True)

    class Meta:
        table = "log_lines"
        unique_together = (("run", "seq"),)


class LogBatchRow(Model):
    """An acknowledged log batch: which content, and the last sequence number it received."""

    id = fields.BigIntField(primary_key=True)
    run: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.RunRow", on_delete=fields.CASCADE, related_name=False
    )
    batch_id = fields.CharField(max_length=128)
    digest = fields.BinaryField()
    lines = fields.IntField()
    last_seq = fields.BigIntField()

    class Meta:
        table = "log_batches"
        unique_together = (("run", "batch_id"),)
