"""Rows of the audit log: appended in the transaction of what they tell, chained by hash afterwards, never changed."""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class AuditEventRow(Model):
    """What somebody did or tried. Refers to nothing by foreign key: it outlives everything it names.

    `seq` and `hash` are null until the sealer has put the row into the chain.
    """

    id = fields.UUIDField(primary_key=True)
    at = fields.DatetimeField()
    action = fields.CharField(max_length=64)
    outcome = fields.CharField(max_length=32)
    actor_id = fields.UUIDField(null=True)
    session_id = fields.UUIDField(null=True)
    api_key_id = fields.UUIDField(null=True)
    workspace_id = fields.UUIDField(null=True)
    resource = fields.CharField(max_length=64, null=True)
    address = fields.CharField(max_length=64, null=True)
    request_id = fields.CharField(max_length=64)
    seq = fields.BigIntField(null=True, unique=True)
    hash = fields.BinaryField(null=True)

    class Meta:
        table = "audit_events"
        indexes = (
            Index(fields=("at", "id"), name="audit_events_time"),
            Index(fields=("actor_id", "at"), name="audit_events_actor"),
        )
