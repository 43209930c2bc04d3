"""Rows of access beyond membership: invites, and explicit permissions on single objects."""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class InviteRow(Model):
    """An invitation to a workspace. Of the link's token only the SHA-256 is kept; `used_at` is set once."""

    id = fields.UUIDField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.CASCADE, related_name=False
    )
    created_by: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.CASCADE, related_name=False
    )
    email = fields.CharField(max_length=320)
    role = fields.CharField(max_length=16)
    token_digest = fields.CharField(max_length=64, unique=True)
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()
    used_at = fields.DatetimeField(null=True)
    revoked_at = fields.DatetimeField(null=True)

    class Meta:
        table = "invites"
        indexes = (Index(fields=("workspace_id", "created_at"), name="invites_workspace"),)


class GrantRow(Model):
    """What one member may or may not do with one object (`resource_id`), or with all of a kind (null)."""

    id = fields.UUIDField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.CASCADE, related_name=False
    )
    user: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.CASCADE, related_name=False
    )
    created_by: fields.ForeignKeyNullableRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.SET_NULL, related_name=False, null=True
    )
    kind = fields.CharField(max_length=16)
    resource_id = fields.UUIDField(null=True)
    actions: fields.JSONField[list[str]] = fields.JSONField()
    effect = fields.CharField(max_length=8)
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField(null=True)

    class Meta:
        table = "grants"
        indexes = (
            Index(fields=("workspace_id", "created_at"), name="grants_workspace"),
            Index(fields=("user_id", "workspace_id"), name="grants_user"),
        )
