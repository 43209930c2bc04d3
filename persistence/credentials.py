"""Changing what somebody signs in with, in PostgreSQL: what every such change has in common, and the list of it.

Whoever changes the credentials of a user, ends several of their sessions or opens one holds the lock on the user's row
first. So a sign-in that began before a change never opens a session after it, and no two of them wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncpg import Record

from domain import ids
from domain.errors import Conflict, MfaRequired, Unauthenticated
from domain.identity.factors import Credential, CredentialChange, FactorKind
from persistence.accounts import FACTORS
from persistence.audit import change as changing
from persistence.database import Connection, Database
from persistence.sessions import end_sessions, lock_user

_ID_KINDS: Final[dict[FactorKind, ids.Kind]] = {
    FactorKind.TOTP: "otp",
    FactorKind.WEBAUTHN: "psk",
    FactorKind.RECOVERY: "rec",
}

_SESSION: Final = f"""
    SELECT s.aal, u.password_hash, {FACTORS} AS factors FROM sessions s JOIN users u ON u.id = s.user_id
     WHERE s.id = $1 AND s.user_id = $2 AND s.ended_at IS NULL AND u.disabled_at IS NULL"""  # noqa: S608  # constants only

# A passkey that is out of service opens nothing.
_WORKS: Final = """
    SELECT EXISTS (SELECT 1 FROM totp_factors WHERE user_id = $1 AND enabled_at IS NOT NULL)
        OR EXISTS (SELECT 1 FROM passkeys WHERE user_id = $1 AND flagged_at IS NULL)"""

_OF_USERS: Final = """
    SELECT 'totp' AS kind, t.user_id, t.user_id AS id, 'Authenticator app' AS name, t.enabled_at AS created_at,
           t.last_used_at, NULL::bigint AS remaining
      FROM totp_factors t WHERE t.user_id = ANY($1::uuid[]) AND t.enabled_at IS NOT NULL
     UNION ALL
    SELECT 'webauthn', p.user_id, p.id, p.name, p.created_at, p.last_used_at, NULL
      FROM passkeys p WHERE p.user_id = ANY($1::uuid[])
     UNION ALL
    SELECT 'recovery', c.user_id, c.user_id, 'Recovery codes', min(c.created_at), max(c.used_at),
           count(*) FILTER (WHERE c.used_at IS NULL)
      FROM recovery_codes c WHERE c.user_id = ANY($1::uuid[]) GROUP BY c.user_id
     ORDER BY created_at, kind, id"""


async def begin_change(tx: Connection, change: CredentialChange) -> frozenset[FactorKind]:
    """Locks the account for a change from a session that may make it; the factors it has now.

    Raises Unauthenticated when the session has ended or the password is another one by now, and MfaRequired when the
    account has a second factor that the session was opened without.
    """
    user = ids.to_uuid(change.user_id)
    await lock_user(tx, user)
    row = await tx.fetchrow(_SESSION, ids.to_uuid(change.session_id), user)
    if row is None:
        raise Unauthenticated("the session has ended; sign in again")
    if change.verified_hash is not None and row["password_hash"] != change.verified_hash:
        raise Unauthenticated("the password was changed meanwhile; sign in again")
    factors = frozenset(FactorKind(kind) for kind in row["factors"])
    if factors and row["aal"] < 2:
        raise MfaRequired("this account has a second factor; sign in with it to change what you sign in with")
    return factors


async def check_left(tx: Connection, change: CredentialChange) -> None:
    """To be called after a factor was removed. Raises Conflict when one that works must be left, and none is."""
    if change.leaves_factor and not await tx.fetchval(_WORKS, ids.to_uuid(change.user_id)):
        raise Conflict("this server requires a second factor, and this is your last one; add another one first")


async def end_change(tx: Connection, change: CredentialChange, reason: str, method: str | None = None) -> list[str]:
    """Ends the sign-ins under way and the other sessions of the user; the ids of the sessions that this ended.

    With `method` the session at hand has proved that factor, too.
    """
    user = ids.to_uuid(change.user_id)
    await tx.execute("DELETE FROM pending_sign_ins WHERE user_id = $1", user)
    if method is not None and not await raise_session(tx, change, method):
        raise Unauthenticated("the session has ended; sign in again")
    return await end_sessions(tx, user, reason, change.at, change.session_id)


async def raise_session(tx: Connection, change: CredentialChange, method: str) -> bool:
    """Notes that the holder of a session has just proved one more factor; False when it has ended."""
    raised = await tx.execute(
        "UPDATE sessions SET aal = 2, proved_at = $3,"
        " amr = CASE WHEN $4 = ANY(string_to_array(amr, ' ')) THEN amr ELSE amr || ' ' || $4 END"
        " WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3",
        ids.to_uuid(change.session_id),
        ids.to_uuid(change.user_id),
        change.at,
        method,
    )
    return raised == 1


class PostgresCredentials:
    """Implements `CredentialRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def credentials_of_users(self, user_ids: Sequence[str]) -> dict[str, list[Credential]]:
        found: dict[str, list[Credential]] = {user_id: [] for user_id in user_ids}
        for row in await self._database.fetch(_OF_USERS, [ids.to_uuid(user_id) for user_id in user_ids]):
            credential = _read(row)
            found[credential.user_id].append(credential)
        return found

    async def change_password(self, change: CredentialChange, new_hash: str) -> list[str]:
        async with changing(self._database) as tx:
            await begin_change(tx, change)
            await tx.execute(
                "UPDATE users SET password_hash = $2, must_change_password = false WHERE id = $1",
                ids.to_uuid(change.user_id),
                new_hash,
            )
            tx.made(change.user_id)
            return await end_change(tx, change, "password_change")


def _read(row: Record) -> Credential:
    kind = FactorKind(row["kind"])
    return Credential(
        id=ids.from_uuid(_ID_KINDS[kind], row["id"]),
        user_id=ids.from_uuid("usr", row["user_id"]),
        kind=kind,
        name=row["name"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        remaining=row["remaining"],
    )
