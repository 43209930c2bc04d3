"""Sign-ins that wait for a second factor, in PostgreSQL: whoever removes the row may open the session, nobody else."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from domain import ids
from domain.audit import Outcome
from domain.identity import NewPendingSignIn, NewSession, PendingSignIn
from domain.identity.factors import Completion, FactorUse, PasskeyUse, RecoveryUse, TotpUse
from persistence.accounts import ACCOUNT, read_account
from persistence.audit import change
from persistence.database import Connection, Database
from persistence.sessions import insert_session, lock_user

MOST_PENDING: Final = 20

_FIND: Final = f"""
    SELECT q.id, q.verified_hash, {ACCOUNT} FROM pending_sign_ins q JOIN users u ON u.id = q.user_id
     WHERE q.token_digest = $1 AND q.expires_at > $2 AND q.failures < $3 AND u.disabled_at IS NULL"""  # noqa: S608  # constants only

_TIDY: Final = """
    DELETE FROM pending_sign_ins WHERE expires_at < $2 OR id IN (
        SELECT id FROM pending_sign_ins WHERE user_id = $1 ORDER BY created_at DESC, id OFFSET $3)"""


class _Replayed(Exception):  # noqa: N818  # reads as a condition
    """Rolls back: the factor was used up by somebody else."""


class PostgresPending:
    """Implements `PendingRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, pending: NewPendingSignIn) -> None:
        user = ids.to_uuid(pending.user_id)
        async with change(self._database) as tx:
            await tx.execute(_TIDY, user, pending.created_at, MOST_PENDING - 1)
            await tx.execute(
                "INSERT INTO pending_sign_ins (id, user_id, token_digest, verified_hash, failures, created_at,"
                " expires_at, address, user_agent) VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8)",
                ids.to_uuid(pending.id),
                user,
                pending.token_digest,
                pending.verified_hash,
                pending.created_at,
                pending.expires_at,
                pending.client.address,
                pending.client.user_agent,
            )
            tx.made(pending.user_id, outcome=Outcome.MFA_REQUIRED)

    async def pending(self, token_digest: str, now: datetime, most: int) -> PendingSignIn | None:
        row = await self._database.fetchrow(_FIND, token_digest, now, most)
        if row is None:
            return None
        return PendingSignIn(ids.from_uuid("pen", row["id"]), read_account(row), row["verified_hash"])

    async def count_try(self, pending_id: str, most: int) -> bool:
        counted = await self._database.execute(
            "UPDATE pending_sign_ins SET failures = failures + 1 WHERE id = $1 AND failures < $2",
            ids.to_uuid(pending_id),
            most,
        )
        return counted == 1

    async def forget_try(self, pending_id: str) -> None:
        await self._database.execute(
            "UPDATE pending_sign_ins SET failures = failures - 1 WHERE id = $1 AND failures > 0",
            ids.to_uuid(pending_id),
        )

    async def complete(self, pending: PendingSignIn, use: FactorUse, session: NewSession) -> Completion:
        user = ids.to_uuid(pending.account.user.id)
        try:
            async with change(self._database) as tx:
                await lock_user(tx, user)
                removed = await tx.execute(
                    "DELETE FROM pending_sign_ins WHERE id = $1 AND expires_at > $2",
                    ids.to_uuid(pending.id),
                    session.created_at,
                )
                welcome = await tx.execute(
                    "UPDATE users SET last_login_at = $3 WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL",
                    user,
                    pending.verified_hash,
                    session.created_at,
                )
                if removed != 1 or welcome != 1:
                    return Completion.GONE
                if not await use_factor(tx, pending.account.user.id, use, session.created_at):
                    raise _Replayed
                await insert_session(tx, user, session)
                tx.made(session.id, session_id=session.id)
        except _Replayed:
            return Completion.REPLAYED
        return Completion.OPENED


async def use_factor(tx: Connection, user_id: str, use: FactorUse, now: datetime) -> bool:
    """Uses a proof up, in the transaction of what it is good for. False when it was used before."""
    user, used = ids.to_uuid(user_id), 0
    match use:
        case TotpUse(step):
            used = await tx.execute(
                "UPDATE totp_factors SET last_step = $2, last_used_at = $3"
                " WHERE user_id = $1 AND last_step < $2 AND enabled_at IS NOT NULL",
                user,
                step,
                now,
            )
        case RecoveryUse(code_id):
            used = await tx.execute(
                "UPDATE recovery_codes SET used_at = $3 WHERE id = $2 AND user_id = $1 AND used_at IS NULL",
                user,
                ids.to_uuid(code_id),
                now,
            )
        case PasskeyUse(passkey_id, seen_count, new_count, backed_up):
            used = await tx.execute(
                "UPDATE passkeys SET sign_count = $4, backed_up = $5, last_used_at = $6"
                " WHERE id = $2 AND user_id = $1 AND sign_count = $3 AND flagged_at IS NULL",
                user,
                ids.to_uuid(passkey_id),
                seen_count,
                new_count,
                backed_up,
                now,
            )
    return used == 1
