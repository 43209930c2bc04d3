"""Rows of users, workspaces, sessions, API keys and signing keys, and the single row of the instance itself."""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class InstanceRow(Model):
    """Facts about this instance; one row, id 1. `setup_done_at` is set once and never cleared."""

    id = fields.SmallIntField(primary_key=True, generated=False)
    root_fingerprint = fields.CharField(max_length=64, null=True)
    setup_token_hash = fields.BinaryField(null=True)
    setup_done_at = fields.DatetimeField(null=True)

    class Meta:
        table = "instance"


class WorkspaceRow(Model):
    """A room of its own for a team: every other row belongs to one."""

    id = fields.UUIDField(primary_key=True)
    slug = fields.CharField(max_length=128, unique=True)
    name = fields.CharField(max_length=250)
    created_at = fields.DatetimeField()
    deleted_at = fields.DatetimeField(null=True)

    class Meta:
        table = "workspaces"


class UserRow(Model):
    """A person. `email` is stored case-folded; a deleted user stays as a row without personal data.

    By `webauthn_handle` a passkey names whose it is.
    """

    id = fields.UUIDField(primary_key=True)
    email = fields.CharField(max_length=320, unique=True)
    name = fields.CharField(max_length=250)
    password_hash = fields.CharField(max_length=250, null=True)
    role = fields.CharField(max_length=16)
    default_workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.RESTRICT, related_name=False
    )
    created_at = fields.DatetimeField()
    last_login_at = fields.DatetimeField(null=True)
    disabled_at = fields.DatetimeField(null=True)
    deleted_at = fields.DatetimeField(null=True)
    must_change_password = fields.BooleanField(db_default=False)
    webauthn_handle = fields.BinaryField(null=True)

    class Meta:
        table = "users"
        unique_together = (("webauthn_handle",),)


class MembershipRow(Model):
    """That a user belongs to a workspace, and as what."""

    id = fields.BigIntField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.CASCADE, related_name=False
    )
    user: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.CASCADE, related_name=False
    )
    role = fields.CharField(max_length=16)

    class Meta:
        table = "memberships"
        unique_together = (("user", "workspace"),)


class SessionRow(Model):
    """One login. `refresh_counter` moves by compare-and-set; `refresh_key` is the session's HMAC key, encrypted.

    `aal` is 2 after two factors, `amr` names them (RFC 8176, spaces between); `proved_at` is when its holder last
    proved who they are.
    """

    id = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.CASCADE, related_name=False
    )
    refresh_counter = fields.BigIntField(default=0)
    refresh_key = fields.BinaryField()
    refreshed_at = fields.DatetimeField()
    created_at = fields.DatetimeField()
    last_seen_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()
    user_agent = fields.CharField(max_length=250, null=True)
    address = fields.CharField(max_length=64, null=True)
    aal = fields.SmallIntField(db_default=1)
    amr = fields.CharField(max_length=64, db_default="pwd")
    proved_at = fields.DatetimeField(null=True)
    ended_at = fields.DatetimeField(null=True)
    end_reason = fields.CharField(max_length=32, null=True)

    class Meta:
        table = "sessions"
        indexes = (Index(fields=("user_id", "created_at"), name="sessions_user"),)


class ApiKeyRow(Model):
    """An API key. `lookup` is its public part; of the secret only the SHA-256 is kept."""

    id = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.CASCADE, related_name=False
    )
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.CASCADE, related_name=False
    )
    name = fields.CharField(max_length=250)
    lookup = fields.CharField(max_length=16, unique=True)
    secret_hash = fields.BinaryField()
    scopes: fields.JSONField[list[str]] = fields.JSONField()
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField(null=True)
    last_used_at = fields.DatetimeField(null=True)
    revoked_at = fields.DatetimeField(null=True)

    class Meta:
        table = "api_keys"
        indexes = (Index(fields=("user_id", "created_at"), name="api_keys_user"),)


class SigningKeyRow(Model):
    """An Ed25519 key pair for access tokens; the private half is encrypted under a key derived from the root secret."""

    kid = fields.CharField(max_length=32, primary_key=True)
    private_encrypted = fields.BinaryField()
    public_raw = fields.BinaryField()
    not_before = fields.DatetimeField()
    retired_at = fields.DatetimeField(null=True)

    class Meta:
        table = "signing_keys"
