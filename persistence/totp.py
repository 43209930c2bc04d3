"""Authenticator apps in PostgreSQL. `last_step` only ever grows, so that of two who show one code one is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain import ids
from domain.errors import Conflict
from domain.identity.factors import CredentialChange, RecoveryCode, TotpFactor, TotpUse
from domain.identity.totp import ALREADY_ON, METHOD
from persistence.audit import change as changing
from persistence.credentials import begin_change, check_left, end_change, raise_session
from persistence.database import Database
from persistence.pending import use_factor
from persistence.recovery import replace_codes


class PostgresTotp:
    """Implements `TotpRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def factor(self, user_id: str) -> TotpFactor | None:
        row = await self._database.fetchrow(
            "SELECT secret_sealed, enabled_at, verified_at FROM totp_factors WHERE user_id = $1", ids.to_uuid(user_id)
        )
        if row is None:
            return None
        return TotpFactor(user_id, bytes(row["secret_sealed"]), row["enabled_at"] is not None, row["verified_at"])

    async def begin(self, change: CredentialChange, secret_sealed: bytes) -> None:
        async with changing(self._database) as tx:
            await begin_change(tx, change)
            begun = await tx.execute(
                "INSERT INTO totp_factors AS t (user_id, secret_sealed, last_step, created_at) VALUES ($1, $2, 0, $3)"
                " ON CONFLICT (user_id) DO UPDATE SET secret_sealed = $2, last_step = 0, created_at = $3,"
                " verified_at = NULL, last_used_at = NULL WHERE t.enabled_at IS NULL",
                ids.to_uuid(change.user_id),
                secret_sealed,
                change.at,
            )
            if begun != 1:
                raise Conflict(ALREADY_ON)
            tx.made(change.user_id)

    async def verified(self, factor: TotpFactor, step: int, now: datetime) -> bool:
        # Not enabled it opens nothing, so the same code may be shown again, to enable it for example.
        async with changing(self._database) as tx:
            noted = await tx.execute(
                "UPDATE totp_factors SET verified_at = $3, last_step = greatest(last_step, $4)"
                " WHERE user_id = $1 AND secret_sealed = $2 AND enabled_at IS NULL",
                ids.to_uuid(factor.user_id),
                factor.secret_sealed,
                now,
                step,
            )
            if noted:
                tx.made(factor.user_id)
        return noted == 1

    async def prove(self, change: CredentialChange, use: TotpUse) -> bool:
        async with changing(self._database) as tx:
            if not await use_factor(tx, change.user_id, use, change.at):
                return False
            raised = await raise_session(tx, change, use.method)
            if raised:
                tx.made(change.user_id)
            return raised

    async def enable(
        self,
        change: CredentialChange,
        factor: TotpFactor,
        step: int | None,
        codes: Sequence[RecoveryCode],
    ) -> list[str]:
        user = ids.to_uuid(change.user_id)
        async with changing(self._database) as tx:
            await begin_change(tx, change)
            enabled = await tx.execute(
                "UPDATE totp_factors SET enabled_at = $3, last_step = greatest(last_step, $4)"
                " WHERE user_id = $1 AND secret_sealed = $2 AND enabled_at IS NULL",
                user,
                factor.secret_sealed,
                change.at,
                step or 0,
            )
            if enabled != 1:
                raise Conflict("codes were turned on, or another app was set up, at the same time")
            await replace_codes(tx, user, codes, change.at)
            tx.made(change.user_id)
            return await end_change(tx, change, "mfa_change", METHOD)

    async def disable(self, change: CredentialChange) -> list[str]:
        user = ids.to_uuid(change.user_id)
        async with changing(self._database) as tx:
            await begin_change(tx, change)
            was_on = await tx.fetchval(
                "DELETE FROM totp_factors WHERE user_id = $1 RETURNING enabled_at IS NOT NULL", user
            )
            if was_on is not None:
                tx.made(change.user_id)
            if not was_on:
                return []
            await check_left(tx, change)
            await tx.execute(
                "DELETE FROM recovery_codes WHERE user_id = $1 AND NOT EXISTS"
                " (SELECT 1 FROM passkeys p WHERE p.user_id = $1)",
                user,
            )
            return await end_change(tx, change, "mfa_change")
