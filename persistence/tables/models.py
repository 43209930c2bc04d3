"""Rows of models, their versions and the content-addressed files behind them."""

from __future__ import annotations

from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class ModelRow(Model):
    """A named line of versions. `next_version` only grows: version numbers are never used twice."""

    id = fields.UUIDField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.RESTRICT, related_name=False
    )
    owner: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.RESTRICT, related_name=False
    )
    name = fields.CharField(max_length=128)
    description = fields.TextField(null=True)
    model_type = fields.CharField(max_length=250, null=True)
    tags: fields.JSONField[dict[str, str]] = fields.JSONField()
    next_version = fields.IntField(default=1)
    created_at = fields.DatetimeField()
    updated_at = fields.DatetimeField()

    class Meta:
        table = "models"
        unique_together = (("workspace", "name"),)
        indexes = (
            Index(fields=("workspace_id", "created_at", "id"), name="models_page"),
            Index(fields=("owner_id", "created_at", "id"), name="models_owner"),
        )


class BlobRow(Model):
    """A file in the content-addressed store, known by the SHA-256 of its bytes, per workspace that uploaded it."""

    id = fields.BigIntField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.RESTRICT, related_name=False
    )
    sha256 = fields.CharField(max_length=64)
    size_bytes = fields.BigIntField()
    created_at = fields.DatetimeField()

    class Meta:
        table = "blobs"
        unique_together = (("workspace", "sha256"),)
        indexes = (Index(fields=("workspace_id", "size_bytes"), name="blobs_size"),)


class ModelVersionRow(Model):
    """One immutable set of weights, with the architecture that makes it servable and the run it came from."""

    id = fields.UUIDField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.RESTRICT, related_name=False
    )
    model: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.ModelRow", on_delete=fields.CASCADE, related_name=False
    )
    version = fields.IntField()
    status = fields.CharField(max_length=16)
    status_reason = fields.TextField(null=True)
    description = fields.TextField(null=True)
    tags: fields.JSONField[dict[str, str]] = fields.JSONField()
    metrics: fields.JSONField[dict[str, Any]] = fields.JSONField()
    run: fields.ForeignKeyNullableRelation[Any] = fields.ForeignKeyField(
        "axonml.RunRow", on_delete=fields.SET_NULL, related_name=False, null=True
    )
    created_by: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.RESTRICT, related_name=False
    )
    created_at = fields.DatetimeField()
    file_name = fields.CharField(max_length=250, null=True)
    file_format = fields.CharField(max_length=32, null=True)
    sha256 = fields.CharField(max_length=64, null=True)
    size_bytes = fields.BigIntField(null=True)
    parameter_count = fields.BigIntField(null=True)
    tensors: fields.JSONField[list[Any] | None] = fields.JSONField(null=True)
    architecture: fields.JSONField[dict[str, Any] | None] = fields.JSONField(null=True)
    inputs: fields.JSONField[list[Any] | None] = fields.JSONField(null=True)
    outputs: fields.JSONField[list[Any] | None] = fields.JSONField(null=True)

    class Meta:
        table = "model_versions"
        unique_together = (("model", "version"),)
        indexes = (
            Index(fields=("run_id", "created_at", "id"), name="model_versions_run"),
            Index(fields=("workspace_id", "sha256"), name="model_versions_blob"),
        )


class ModelFileRow(Model):
    """A file of a version beside its weights. Never changed or replaced: it goes with its version."""

    id = fields.BigIntField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.RESTRICT, related_name=False
    )
    version: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.ModelVersionRow", on_delete=fields.CASCADE, related_name=False
    )
    name = fields.CharField(max_length=128)
    format = fields.CharField(max_length=32)
    sha256 = fields.CharField(max_length=64)
    size_bytes = fields.BigIntField()
    parameter_count = fields.BigIntField(null=True)
    tensors: fields.JSONField[list[Any] | None] = fields.JSONField(null=True)
    created_at = fields.DatetimeField()

    class Meta:
        table = "model_files"
        unique_together = (("version", "name"),)
        indexes = (Index(fields=("workspace_id", "sha256"), name="model_files_blob"),)


class ModelUploadRow(Model):
    """The weights of a reserved version while they arrive. `received_bytes` are durable, and only ever grow."""

    version: fields.OneToOneRelation[Model] = fields.OneToOneField(
        "axonml.ModelVersionRow", on_delete=fields.CASCADE, related_name=False, primary_key=True
    )
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.RESTRICT, related_name=False
    )
    sha256 = fields.CharField(max_length=64)
    size_bytes = fields.BigIntField()
    received_bytes = fields.BigIntField(default=0)
    architecture = fields.TextField(null=True)
    touched_at = fields.DatetimeField()

    class Meta:
        table = "model_uploads"
        indexes = (
            Index(fields=("workspace_id", "size_bytes"), name="model_uploads_size"),
            Index(fields=("touched_at",), name="model_uploads_age"),
        )


class ModelAliasRow(Model):
    """A name of one version of a model, which may be moved to another one. It goes with the version."""

    id = fields.BigIntField(primary_key=True)
    model: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.ModelRow", on_delete=fields.CASCADE, related_name=False
    )
    name = fields.CharField(max_length=128)
    version: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.ModelVersionRow", on_delete=fields.CASCADE, related_name=False
    )
    updated_at = fields.DatetimeField()

    class Meta:
        table = "model_aliases"
        unique_together = (("model", "name"),)
        indexes = (Index(fields=("version_id",), name="model_aliases_version"),)
