"""Rows that remember the first result of a creating operation under the token its client chose."""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class ClientTokenRow(Model):
    """One client token, kept 7 days per principal, workspace and operation."""

    id = fields.BigIntField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.CASCADE, related_name=False
    )
    principal = fields.CharField(max_length=40)
    operation = fields.CharField(max_length=64)
    token = fields.CharField(max_length=128)
    digest = fields.BinaryField()
    result_id = fields.UUIDField()
    created_at = fields.DatetimeField()

    class Meta:
        table = "client_tokens"
        unique_together = (("workspace", "principal", "operation", "token"),)
        indexes = (Index(fields=("created_at",), name="client_tokens_age"),)
