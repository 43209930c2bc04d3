"""Rows of experiments."""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class ExperimentRow(Model):
    """A named group of runs. `number` is stable and counts per workspace.

    `living_name` repeats the name while the experiment is not archived and is null afterwards: its uniqueness is
    how "unique per workspace among the living" is kept by the database.
    """

    id = fields.UUIDField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.RESTRICT, related_name=False
    )
    owner: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.RESTRICT, related_name=False
    )
    number = fields.IntField()
    name = fields.CharField(max_length=250)
    living_name = fields.CharField(max_length=250, null=True)
    description = fields.TextField(null=True)
    created_at = fields.DatetimeField()
    updated_at = fields.DatetimeField()
    archived_at = fields.DatetimeField(null=True)

    class Meta:
        table = "experiments"
        unique_together = (("workspace", "number"), ("workspace", "living_name"))
        indexes = (Index(fields=("workspace_id", "created_at", "id"), name="experiments_page"),)
