"""Rows of sign-ins and second factors: what waits for a factor, wrong guesses, codes, passkeys and challenges.

Everything secret in here is sealed or hashed; nothing of it is reachable through the row of a user.
"""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class PendingSignInRow(Model):
    """A sign-in whose password was right and whose second factor is awaited. Deleted by whoever completes it."""

    id = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.CASCADE, related_name=False
    )
    token_digest = fields.CharField(max_length=64, unique=True)
    verified_hash = fields.CharField(max_length=250)
    failures = fields.SmallIntField(default=0)
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()
    address = fields.CharField(max_length=64, null=True)
    user_agent = fields.CharField(max_length=250, null=True)

    class Meta:
        table = "pending_sign_ins"
        indexes = (
            Index(fields=("user_id", "created_at"), name="pending_sign_ins_user"),
            Index(fields=("expires_at",), name="pending_sign_ins_expiry"),
        )


class AttemptsRow(Model):
    """How often somebody guessed wrong. `key` is an HMAC of what they guessed at, so it tells no address."""

    key = fields.CharField(max_length=64, primary_key=True)
    failures = fields.IntField()
    last_at = fields.DatetimeField()
    blocked_until = fields.DatetimeField(null=True)

    class Meta:
        table = "attempts"
        indexes = (Index(fields=("last_at",), name="attempts_age"),)


class TotpRow(Model):
    """The authenticator app of a user. `last_step` only ever grows, so that no code works twice."""

    user: fields.OneToOneRelation[Model] = fields.OneToOneField(
        "axonml.UserRow", on_delete=fields.CASCADE, related_name=False, primary_key=True
    )
    secret_sealed = fields.BinaryField()
    last_step = fields.BigIntField(default=0)
    created_at = fields.DatetimeField()
    verified_at = fields.DatetimeField(null=True)
    enabled_at = fields.DatetimeField(null=True)
    last_used_at = fields.DatetimeField(null=True)

    class Meta:
        table = "totp_factors"


class RecoveryCodeRow(Model):
    """One recovery code. `place` is its public first group; of the rest only an Argon2id hash is kept."""

    id = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.CASCADE, related_name=False
    )
    place = fields.CharField(max_length=8)
    code_hash = fields.CharField(max_length=250)
    created_at = fields.DatetimeField()
    used_at = fields.DatetimeField(null=True)

    class Meta:
        table = "recovery_codes"
        unique_together = (("user", "place"),)


class PasskeyRow(Model):
    """A WebAuthn credential. `sign_count` moves by compare-and-set; a regression sets `flagged_at`, for ever."""

    id = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.CASCADE, related_name=False
    )
    credential_id = fields.BinaryField()
    credential_digest = fields.CharField(max_length=64, unique=True)
    public_key = fields.BinaryField()
    sign_count = fields.BigIntField(default=0)
    name = fields.CharField(max_length=250)
    transports: fields.JSONField[list[str]] = fields.JSONField()
    aaguid = fields.CharField(max_length=36)
    backed_up = fields.BooleanField(default=False)
    user_verified = fields.BooleanField(default=False)
    discoverable = fields.BooleanField(default=False)
    created_at = fields.DatetimeField()
    last_used_at = fields.DatetimeField(null=True)
    flagged_at = fields.DatetimeField(null=True)

    class Meta:
        table = "passkeys"
        indexes = (Index(fields=("user_id", "created_at"), name="passkeys_user"),)


class WebauthnChallengeRow(Model):
    """A challenge somebody was given. Deleted before its answer is verified, so it is good for one try."""

    id = fields.UUIDField(primary_key=True)
    purpose = fields.CharField(max_length=16)
    user: fields.ForeignKeyNullableRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.CASCADE, related_name=False, null=True
    )
    pending: fields.ForeignKeyNullableRelation[Model] = fields.ForeignKeyField(
        "axonml.PendingSignInRow", on_delete=fields.CASCADE, related_name=False, null=True
    )
    challenge_digest = fields.CharField(max_length=64, unique=True)
    rp_id = fields.CharField(max_length=253)
    expires_at = fields.DatetimeField()

    class Meta:
        table = "webauthn_challenges"
        indexes = (
            Index(fields=("user_id", "expires_at"), name="webauthn_challenges_user"),
            Index(fields=("pending_id",), name="webauthn_challenges_pending"),
            Index(fields=("expires_at",), name="webauthn_challenges_expiry"),
        )
