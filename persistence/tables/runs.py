"""Rows of runs, their params and their tags.

What a client gave as JSON is kept as text: jsonb would turn 1e5 into an integer and forget the order of keys.
"""

from __future__ import annotations

from typing import Final

from tortoise import fields
from tortoise.expressions import RawSQL
from tortoise.indexes import Index
from tortoise.models import Model

from persistence.tables.indexes import FilledIndex

PARAM_PREFIX: Final = 96
"""So many first characters of a param's text are in an index, in the order of code points."""


class RunRow(Model):
    """One training run. `archived_at` hides it; `last_activity_at` is the newest write of any kind to the running run.

    A run with `purged_at` is gone for every reader; what is left of it is being removed piece by piece.
    """

    id = fields.UUIDField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.RESTRICT, related_name=False
    )
    experiment: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.ExperimentRow", on_delete=fields.RESTRICT, related_name=False
    )
    owner: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.RESTRICT, related_name=False
    )
    parent: fields.ForeignKeyNullableRelation[RunRow] = fields.ForeignKeyField(
        "axonml.RunRow", on_delete=fields.SET_NULL, related_name=False, null=True
    )
    name = fields.CharField(max_length=250)
    status = fields.CharField(max_length=16)
    stop_requested = fields.BooleanField(default=False)
    model_type = fields.CharField(max_length=250, null=True)
    config = fields.TextField()
    notes = fields.TextField(null=True)
    failure = fields.TextField(null=True)
    created_at = fields.DatetimeField()
    started_at = fields.DatetimeField(null=True)
    ended_at = fields.DatetimeField(null=True)
    last_activity_at = fields.DatetimeField(null=True)
    archived_at = fields.DatetimeField(null=True)
    purged_at = fields.DatetimeField(null=True)

    class Meta:
        table = "runs"
        indexes = (
            Index(fields=("workspace_id", "created_at", "id"), name="runs_page"),
            Index(fields=("experiment_id", "created_at", "id"), name="runs_experiment"),
            Index(fields=("parent_id", "created_at", "id"), name="runs_parent"),
            Index(fields=("owner_id", "created_at", "id"), name="runs_owner"),
            FilledIndex("purged_at", "runs_purged"),
        )


class RunParamRow(Model):
    """A parameter of a run: its value as JSON, its text form, and its number when it is one (for search and order)."""

    id = fields.BigIntField(primary_key=True)
    run: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.RunRow", on_delete=fields.CASCADE, related_name=False
    )
    key = fields.CharField(max_length=250)
    value = fields.TextField()
    text = fields.TextField()
    number = fields.FloatField(null=True)

    class Meta:
        table = "run_params"
        unique_together = (("run", "key"),)
        indexes = (
            Index(fields=("key", "number"), name="run_params_number"),
            Index(RawSQL('"key"'), RawSQL(f'left("text", {PARAM_PREFIX}) COLLATE "C"'), name="run_params_text"),
        )


class RunTagRow(Model):
    """A tag of a run: a text under a key, replaceable and removable."""

    id = fields.BigIntField(primary_key=True)
    run: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.RunRow", on_delete=fields.CASCADE, related_name=False
    )
    key = fields.CharField(max_length=250)
    value = fields.TextField()

    class Meta:
        table = "run_tags"
        unique_together = (("run", "key"),)
