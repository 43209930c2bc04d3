"""Passkeys and their challenges in PostgreSQL.

A challenge is good for whoever deletes its row; a counter moves by compare-and-set. Neither is ever read first and
relied on later.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from domain import ids
from domain.identity.entities import NewSession
from domain.identity.factors import CredentialChange, PasskeyUse
from domain.identity.passkey_ports import Addition, Challenge, NewPasskey, PasskeyRecord
from persistence.accounts import ACCOUNT, FACTORS, read_account
from persistence.audit import change as changing
from persistence.credentials import begin_change, check_left, end_change
from persistence.database import Connection, Database
from persistence.pending import use_factor
from persistence.sessions import insert_session, lock_user

MOST_CHALLENGES: Final = 10
_TIDIED_AT_ONCE: Final = 100

_FIND: Final = f"""
    SELECT p.id, p.public_key, p.sign_count, p.flagged_at IS NOT NULL AS flagged, u.webauthn_handle, {ACCOUNT}
      FROM passkeys p JOIN users u ON u.id = p.user_id
     WHERE p.credential_digest = $1 AND u.webauthn_handle IS NOT NULL"""  # noqa: S608  # constants only

# Rows that somebody else is about to remove are left to them, so that two of these never wait for each other.
_TIDY: Final = """
    DELETE FROM webauthn_challenges WHERE id IN (
        SELECT id FROM webauthn_challenges WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)"""
_TIDY_OWN: Final = """
    DELETE FROM webauthn_challenges WHERE id IN (
        SELECT id FROM webauthn_challenges WHERE user_id = $1 AND id <> $3
         ORDER BY expires_at DESC, id OFFSET $2 FOR UPDATE SKIP LOCKED)"""

_KEEP: Final = """
    INSERT INTO webauthn_challenges (id, purpose, user_id, pending_id, challenge_digest, rp_id, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)"""

_TAKE: Final = """
    DELETE FROM webauthn_challenges
     WHERE challenge_digest = $1 AND purpose = $2 AND rp_id = $3 AND expires_at > $4
       AND user_id IS NOT DISTINCT FROM $5 AND pending_id IS NOT DISTINCT FROM $6 AND ($7::uuid IS NULL OR id = $7)"""

_ADD: Final = """
    INSERT INTO passkeys (id, user_id, credential_id, credential_digest, public_key, sign_count, name, transports,
                          aaguid, backed_up, user_verified, discoverable, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10, $11, $12, $13)
    ON CONFLICT (credential_digest) DO NOTHING"""


class _Used(Exception):  # noqa: N818  # reads as a condition
    """Rolls back: the passkey was used by somebody else meanwhile."""


class PostgresPasskeys:
    """Implements `PasskeyRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- challenges ----------------------------------------------------------------------------------

    async def keep_challenge(self, challenge: Challenge, now: datetime) -> bool:
        user, pending = _uuid(challenge.user_id), _uuid(challenge.pending_id)
        try:
            async with self._database.transaction() as tx:
                # First, because it waits for whoever is removing the pending sign-in, and holds nothing by then.
                await tx.execute(
                    _KEEP,
                    UUID(challenge.id),
                    challenge.purpose.value,
                    user,
                    pending,
                    challenge.digest,
                    challenge.rp_id,
                    challenge.expires_at,
                )
                await tx.execute(_TIDY, now, _TIDIED_AT_ONCE)
                if user is not None:
                    await tx.execute(_TIDY_OWN, user, MOST_CHALLENGES - 1, UUID(challenge.id))
        except asyncpg.ForeignKeyViolationError:
            return False
        return True

    async def take_challenge(self, challenge: Challenge, now: datetime) -> bool:
        taken = await self._database.execute(
            _TAKE,
            challenge.digest,
            challenge.purpose.value,
            challenge.rp_id,
            now,
            _uuid(challenge.user_id),
            _uuid(challenge.pending_id),
            UUID(challenge.id) if challenge.id else None,
        )
        return taken == 1

    # --- passkeys ------------------------------------------------------------------------------------

    async def handle(self, user_id: str, candidate: bytes) -> bytes:
        kept = await self._database.fetchval(
            "UPDATE users SET webauthn_handle = COALESCE(webauthn_handle, $2) WHERE id = $1 RETURNING webauthn_handle",
            ids.to_uuid(user_id),
            candidate,
        )
        return candidate if kept is None else bytes(kept)

    async def credential_ids(self, user_id: str) -> list[tuple[bytes, tuple[str, ...]]]:
        rows = await self._database.fetch(
            "SELECT credential_id, transports FROM passkeys WHERE user_id = $1 AND flagged_at IS NULL"
            " ORDER BY created_at, id",
            ids.to_uuid(user_id),
        )
        return [(bytes(row["credential_id"]), tuple(json.loads(row["transports"]))) for row in rows]

    async def passkey(self, digest: str) -> PasskeyRecord | None:
        row = await self._database.fetchrow(_FIND, digest)
        if row is None:
            return None
        return PasskeyRecord(
            id=ids.from_uuid("psk", row["id"]),
            account=read_account(row),
            handle=bytes(row["webauthn_handle"]),
            public_key=bytes(row["public_key"]),
            sign_count=row["sign_count"],
            flagged=row["flagged"],
        )

    async def add(self, change: CredentialChange, new: NewPasskey, most: int) -> tuple[Addition, list[str]]:
        user = ids.to_uuid(change.user_id)
        async with changing(self._database) as tx:
            await begin_change(tx, change)
            names = [row["name"] for row in await tx.fetch("SELECT name FROM passkeys WHERE user_id = $1", user)]
            if len(names) >= most:
                return Addition.TOO_MANY, []
            if new.shown.name.casefold() in {name.casefold() for name in names}:
                return Addition.NAME_TAKEN, []
            if not await _insert(tx, user, new):
                return Addition.TAKEN, []
            tx.made(new.shown.id)
            return Addition.ADDED, await end_change(tx, change, "passkey_added", "hwk")

    async def delete(self, change: CredentialChange, passkey_id: str) -> list[str] | None:
        user = ids.to_uuid(change.user_id)
        async with changing(self._database) as tx:
            await begin_change(tx, change)
            removed = await tx.execute(
                "DELETE FROM passkeys WHERE id = $1 AND user_id = $2", ids.to_uuid(passkey_id), user
            )
            if removed != 1:
                return None
            await check_left(tx, change)
            await tx.execute(
                f"DELETE FROM recovery_codes c USING users u WHERE c.user_id = $1 AND u.id = $1 AND {FACTORS} = '{{}}'",  # noqa: S608  # constants only
                user,
            )
            tx.made(passkey_id)
            return await end_change(tx, change, "passkey_removed")

    async def flag(self, passkey_id: str, count: int, now: datetime) -> None:
        await self._database.execute(
            "UPDATE passkeys SET flagged_at = $3"
            " WHERE id = $1 AND flagged_at IS NULL AND sign_count >= $2 AND sign_count > 0",
            ids.to_uuid(passkey_id),
            count,
            now,
        )

    async def open_session(self, user_id: str, use: PasskeyUse, session: NewSession) -> bool:
        user = ids.to_uuid(user_id)
        try:
            async with changing(self._database) as tx:
                await lock_user(tx, user)
                welcome = await tx.execute(
                    "UPDATE users SET last_login_at = $2 WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL",
                    user,
                    session.created_at,
                )
                if welcome != 1 or not await use_factor(tx, user_id, use, session.created_at):
                    raise _Used
                await insert_session(tx, user, session)
                tx.made(session.id, session_id=session.id)
        except _Used:
            return False
        return True


async def _insert(tx: Connection, user: UUID, new: NewPasskey) -> bool:
    shown, attested = new.shown, new.attested
    added = await tx.execute(
        _ADD,
        ids.to_uuid(shown.id),
        user,
        attested.credential_id,
        new.digest,
        attested.public_key,
        attested.sign_count,
        shown.name,
        json.dumps(list(attested.transports)),
        attested.aaguid,
        attested.backed_up,
        attested.user_verified,
        attested.discoverable,
        shown.created_at,
    )
    return added == 1


def _uuid(identifier: str | None) -> UUID | None:
    return None if identifier is None else ids.to_uuid(identifier)
