"""Recovery codes in PostgreSQL: replaced all at once, used up one by one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from domain import ids
from domain.errors import Conflict
from domain.identity.factors import CredentialChange, RecoveryCode
from persistence.audit import change as changing
from persistence.credentials import begin_change, end_change
from persistence.database import Connection, Database


class PostgresRecovery:
    """Implements `RecoveryRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unused(self, user_id: str, place: str) -> RecoveryCode | None:
        row = await self._database.fetchrow(
            "SELECT id, place, code_hash FROM recovery_codes WHERE user_id = $1 AND place = $2 AND used_at IS NULL",
            ids.to_uuid(user_id),
            place,
        )
        return None if row is None else RecoveryCode(ids.from_uuid("rec", row["id"]), row["place"], row["code_hash"])

    async def replace(self, change: CredentialChange, codes: Sequence[RecoveryCode]) -> list[str]:
        async with changing(self._database) as tx:
            if not await begin_change(tx, change):
                raise Conflict("recovery codes stand in for a second factor, and this account has none")
            await replace_codes(tx, ids.to_uuid(change.user_id), codes, change.at)
            tx.made(change.user_id)
            return await end_change(tx, change, "mfa_change")


async def replace_codes(tx: Connection, user: UUID, codes: Sequence[RecoveryCode], now: datetime) -> None:
    """Stores codes instead of all others of a user, in the transaction of what they are for."""
    await tx.execute("DELETE FROM recovery_codes WHERE user_id = $1", user)
    await tx.execute(
        "INSERT INTO recovery_codes (id, user_id, place, code_hash, created_at)"
        " SELECT id, $1, place, code_hash, $5 FROM unnest($2::uuid[], $3::text[], $4::text[])"
        " AS code (id, place, code_hash)",
        user,
        [ids.to_uuid(code.id) for code in codes],
        [code.place for code in codes],
        [code.code_hash for code in codes],
        now,
    )
