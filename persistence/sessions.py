"""Sessions in PostgreSQL. A refresh is one compare-and-set, never a read that an earlier answer relied on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from domain import ids
from domain.identity import NewSession, Session, SessionRecord
from domain.identity.factors import Assurance
from persistence.accounts import ACCOUNT, read_account
from persistence.audit import change
from persistence.database import Connection, Database

KEPT_SESSIONS: Final = timedelta(days=30)
MOST_LISTED: Final = 200

_SESSION: Final = f"""
    SELECT s.id, s.refresh_counter, s.refresh_key, s.refreshed_at, s.last_seen_at, s.expires_at, s.ended_at,
           s.created_at, s.aal, s.amr, s.proved_at, {ACCOUNT}
      FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1"""  # noqa: S608  # constants only

_ADVANCE: Final = """
    UPDATE sessions s SET refresh_counter = s.refresh_counter + 1, refreshed_at = $3, last_seen_at = $3
      FROM users u
     WHERE s.id = $1 AND s.refresh_counter = $2 AND s.ended_at IS NULL AND s.expires_at > $3
       AND s.last_seen_at > $4 AND u.id = s.user_id AND u.disabled_at IS NULL"""

_LIVING: Final = """
    SELECT * FROM (
        SELECT s.*, row_number() OVER (PARTITION BY s.user_id ORDER BY s.created_at DESC, s.id DESC) AS place
          FROM sessions s WHERE s.user_id = ANY($1::uuid[]) AND s.ended_at IS NULL AND s.expires_at > $2
           AND s.last_seen_at > $3
    ) s WHERE s.place <= $4 ORDER BY s.created_at DESC, s.id DESC"""


class PostgresSessions:
    """Implements `SessionRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def session(self, session_id: str) -> SessionRecord | None:
        row = await self._database.fetchrow(_SESSION, ids.to_uuid(session_id))
        if row is None:
            return None
        return SessionRecord(
            id=ids.from_uuid("ses", row["id"]),
            account=read_account(row),
            refresh_counter=row["refresh_counter"],
            refresh_key=bytes(row["refresh_key"]),
            refreshed_at=row["refreshed_at"],
            last_seen_at=row["last_seen_at"],
            expires_at=row["expires_at"],
            ended_at=row["ended_at"],
            created_at=row["created_at"],
            assurance=_assurance(row),
            proved_at=row["proved_at"] or row["created_at"],
        )

    async def advance(self, session_id: str, counter: int, now: datetime, idle: timedelta) -> bool:
        return await self._database.execute(_ADVANCE, ids.to_uuid(session_id), counter, now, now - idle) == 1

    async def touch_session(self, session_id: str, now: datetime) -> None:
        await self._database.execute(
            "UPDATE sessions SET last_seen_at = $2 WHERE id = $1 AND last_seen_at < $2 AND ended_at IS NULL",
            ids.to_uuid(session_id),
            now,
        )

    async def end_session(self, session_id: str, reason: str, now: datetime) -> bool:
        async with change(self._database) as tx:
            ended = await tx.execute(
                "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL",
                ids.to_uuid(session_id),
                now,
                reason,
            )
            if ended:
                tx.made(session_id)
        return ended == 1

    async def alive_sessions(self, session_ids: Sequence[str], now: datetime, idle: timedelta) -> set[str]:
        rows = await self._database.fetch(
            "SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = ANY($1::uuid[])"
            " AND s.ended_at IS NULL AND s.expires_at > $2 AND s.last_seen_at > $3 AND u.disabled_at IS NULL",
            [ids.to_uuid(session_id) for session_id in session_ids],
            now,
            now - idle,
        )
        return {ids.from_uuid("ses", row["id"]) for row in rows}

    async def end_sessions(self, user_id: str, reason: str, now: datetime, but: str | None) -> list[str]:
        user = ids.to_uuid(user_id)
        async with change(self._database) as tx:
            await lock_user(tx, user)
            ended = await end_sessions(tx, user, reason, now, but)
            if ended:
                tx.made(user_id)
            return ended

    async def living(
        self, user_ids: Sequence[str], now: datetime, idle: timedelta, current: str | None
    ) -> dict[str, list[Session]]:
        found: dict[str, list[Session]] = {user_id: [] for user_id in user_ids}
        rows = await self._database.fetch(
            _LIVING, [ids.to_uuid(user_id) for user_id in user_ids], now, now - idle, MOST_LISTED
        )
        for row in rows:
            session = _read_session(row, current)
            found[session.user_id].append(session)
        return found


async def lock_user(tx: Connection, user: UUID) -> None:
    """Waits for the lock on a user's row. What is read after it is what the last holder of the lock left."""
    await tx.execute("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE", user)


async def insert_session(tx: Connection, user: UUID, session: NewSession) -> None:
    """Stores a session, and lets go of those of its user that nobody asks about any more."""
    await tx.execute(
        "DELETE FROM sessions WHERE user_id = $1 AND expires_at < $2", user, session.created_at - KEPT_SESSIONS
    )
    await tx.execute(
        "INSERT INTO sessions (id, user_id, refresh_counter, refresh_key, refreshed_at, created_at, last_seen_at,"
        " proved_at, expires_at, user_agent, address, aal, amr)"
        " VALUES ($1, $2, 0, $3, $4, $4, $4, $4, $5, $6, $7, $8, $9)",
        ids.to_uuid(session.id),
        user,
        session.refresh_key,
        session.created_at,
        session.expires_at,
        session.client.user_agent,
        session.client.address,
        session.assurance.level,
        " ".join(session.assurance.methods),
    )


async def end_sessions(connection: Connection, user: UUID, reason: str, now: datetime, but: str | None) -> list[str]:
    """Ends all sessions of a user but one; those that were not over already. To be called with the user's lock held."""
    rows = await connection.fetch(
        "UPDATE sessions SET ended_at = $2, end_reason = $3"
        " WHERE user_id = $1 AND ended_at IS NULL AND id IS DISTINCT FROM $4 RETURNING id",
        user,
        now,
        reason,
        None if but is None else ids.to_uuid(but),
    )
    return [ids.from_uuid("ses", row["id"]) for row in rows]


def _read_session(row: Record, current: str | None) -> Session:
    session_id = ids.from_uuid("ses", row["id"])
    return Session(
        id=session_id,
        user_id=ids.from_uuid("usr", row["user_id"]),
        created_at=row["created_at"],
        last_seen_at=row["last_seen_at"],
        expires_at=row["expires_at"],
        user_agent=row["user_agent"],
        address=row["address"],
        assurance=_assurance(row),
        current=session_id == current,
    )


def _assurance(row: Record) -> Assurance:
    return Assurance(row["aal"], tuple(row["amr"].split()))
