"""Users, workspaces and sessions in PostgreSQL. Every method is one atomic unit.

What must happen once (the setup, a refresh) is decided by the database: by a row lock or by one compare-and-set,
never by a read that an earlier answer relied on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from domain import ids
from domain.access import Scope, UserRole
from domain.errors import NotFound
from domain.identity import (
    Account,
    Founding,
    FoundingOutcome,
    NewSession,
    SessionRecord,
    SetupState,
    User,
    WorkspaceRole,
)
from persistence.database import Connection, Database

KEPT_SESSIONS: Final = timedelta(days=30)

_USER: Final = "u.id AS user_id, u.email, u.name AS user_name, u.role, u.created_at AS user_created_at, u.last_login_at"
ACCOUNT: Final = f"""{_USER}, u.disabled_at, u.default_workspace_id,
    (SELECT json_object_agg(w.slug, w.id ORDER BY w.created_at, w.id)
       FROM memberships m JOIN workspaces w ON w.id = m.workspace_id WHERE m.user_id = u.id) AS workspaces"""  # noqa: S608  # constants only

_SESSION: Final = f"""
    SELECT s.id, s.refresh_counter, s.refresh_key, s.refreshed_at, s.last_seen_at, s.expires_at, s.ended_at, {ACCOUNT}
      FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1"""  # noqa: S608  # constants only

_ADVANCE: Final = """
    UPDATE sessions s SET refresh_counter = s.refresh_counter + 1, refreshed_at = $3, last_seen_at = $3
      FROM users u
     WHERE s.id = $1 AND s.refresh_counter = $2 AND s.ended_at IS NULL AND s.expires_at > $3
       AND s.last_seen_at > $4 AND u.id = s.user_id AND u.disabled_at IS NULL"""

_VISIBLE_USERS: Final = f"""
    SELECT {_USER} FROM users u
     WHERE u.id = ANY($2::uuid[]) AND (
           EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = u.id AND m.workspace_id = $1)
        OR EXISTS (SELECT 1 FROM runs r WHERE r.owner_id = u.id AND r.workspace_id = $1)
        OR EXISTS (SELECT 1 FROM experiments e WHERE e.owner_id = u.id AND e.workspace_id = $1)
        OR EXISTS (SELECT 1 FROM models o WHERE o.owner_id = u.id AND o.workspace_id = $1)
        OR EXISTS (SELECT 1 FROM model_versions v JOIN models o ON o.id = v.model_id
                    WHERE v.created_by_id = u.id AND o.workspace_id = $1)
        OR EXISTS (SELECT 1 FROM endpoints p WHERE p.owner_id = u.id AND p.workspace_id = $1))"""  # noqa: S608  # as above


class PostgresIdentity:
    """Implements `IdentityRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- setup ---------------------------------------------------------------------------------------

    async def setup_state(self) -> SetupState:
        row = await self._database.fetchrow("SELECT setup_token_hash, setup_done_at FROM instance WHERE id = 1")
        if row is None:
            return SetupState(done=False, token_hash=None)
        token_hash = row["setup_token_hash"]
        return SetupState(row["setup_done_at"] is not None, None if token_hash is None else bytes(token_hash))

    async def offer_setup(self, token_hash: bytes) -> bool:
        changed = await self._database.execute(
            "INSERT INTO instance (id, setup_token_hash) VALUES (1, $1) ON CONFLICT (id) DO UPDATE"
            " SET setup_token_hash = EXCLUDED.setup_token_hash WHERE instance.setup_done_at IS NULL",
            token_hash,
        )
        return changed == 1

    async def found(self, founding: Founding, token_hash: bytes | None, now: datetime) -> FoundingOutcome:
        async with self._database.transaction() as tx:
            await tx.execute("INSERT INTO instance (id) VALUES (1) ON CONFLICT (id) DO NOTHING")
            row = await tx.fetchrow("SELECT setup_token_hash, setup_done_at FROM instance WHERE id = 1 FOR UPDATE")
            if row is None or row["setup_done_at"] is not None:
                return FoundingOutcome.CLOSED
            if token_hash is not None and row["setup_token_hash"] != token_hash:
                return FoundingOutcome.WRONG_TOKEN
            await tx.execute("UPDATE instance SET setup_done_at = $1, setup_token_hash = NULL WHERE id = 1", now)
            await _insert_founder(tx, founding, now)
        return FoundingOutcome.DONE

    # --- sessions ------------------------------------------------------------------------------------

    async def credentials(self, email: str) -> tuple[Account, str | None] | None:
        row = await self._database.fetchrow(
            f"SELECT {ACCOUNT}, u.password_hash FROM users u WHERE u.email = $1",  # noqa: S608  # constants only
            email,
        )
        return None if row is None else (read_account(row), row["password_hash"])

    async def open_session(
        self, user_id: str, session: NewSession, verified_hash: str, better_hash: str | None
    ) -> bool:
        user = ids.to_uuid(user_id)
        async with self._database.transaction() as tx:
            welcome = await tx.execute(
                "UPDATE users SET last_login_at = $3, password_hash = coalesce($4, password_hash)"
                " WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL",
                user,
                verified_hash,
                session.created_at,
                better_hash,
            )
            if welcome != 1:
                return False
            await tx.execute(
                "DELETE FROM sessions WHERE user_id = $1 AND expires_at < $2", user, session.created_at - KEPT_SESSIONS
            )
            await _insert_session(tx, user, session)
        return True

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
        ended = await self._database.execute(
            "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL",
            ids.to_uuid(session_id),
            now,
            reason,
        )
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

    # --- what a workspace may see --------------------------------------------------------------------

    async def users_by_ids(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, User]:
        rows = await self._database.fetch(
            _VISIBLE_USERS, ids.to_uuid(scope.workspace_id), [ids.to_uuid(user_id) for user_id in user_ids]
        )
        users = [_read_user(row) for row in rows]
        return {user.id: user for user in users}

    async def workspace_slug(self, scope: Scope) -> str:
        slug: str | None = await self._database.fetchval(
            "SELECT slug FROM workspaces WHERE id = $1", ids.to_uuid(scope.workspace_id)
        )
        if slug is None:
            raise NotFound("there is no such workspace", field="workspace")
        return slug


def read_account(row: Record) -> Account:
    """From the columns of `ACCOUNT`."""
    workspaces: dict[str, str] = json.loads(row["workspaces"] or "{}")
    return Account(
        user=_read_user(row),
        disabled=row["disabled_at"] is not None,
        default_workspace_id=ids.from_uuid("wsp", row["default_workspace_id"]),
        workspaces={slug: ids.from_uuid("wsp", UUID(text)) for slug, text in workspaces.items()},
    )


def _read_user(row: Record) -> User:
    return User(
        id=ids.from_uuid("usr", row["user_id"]),
        email=row["email"],
        name=row["user_name"],
        role=UserRole(row["role"]),
        created_at=row["user_created_at"],
        last_login_at=row["last_login_at"],
    )


async def _insert_founder(tx: Connection, founding: Founding, now: datetime) -> None:
    workspace, user = ids.to_uuid(founding.workspace.id), ids.to_uuid(founding.user.id)
    await tx.execute(
        "INSERT INTO workspaces (id, slug, name, created_at) VALUES ($1, $2, $3, $4)",
        workspace,
        founding.workspace.slug,
        founding.workspace.name,
        now,
    )
    await tx.execute(
        "INSERT INTO users (id, email, name, password_hash, role, default_workspace_id, created_at, last_login_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        user,
        founding.user.email,
        founding.user.name,
        founding.password_hash,
        founding.user.role.value,
        workspace,
        founding.user.created_at,
        founding.user.last_login_at,
    )
    await tx.execute(
        "INSERT INTO memberships (workspace_id, user_id, role) VALUES ($1, $2, $3)",
        workspace,
        user,
        WorkspaceRole.OWNER.value,
    )
    if founding.session is not None:
        await _insert_session(tx, user, founding.session)


async def _insert_session(tx: Connection, user: UUID, session: NewSession) -> None:
    await tx.execute(
        "INSERT INTO sessions (id, user_id, refresh_counter, refresh_key, refreshed_at, created_at, last_seen_at,"
        " expires_at, user_agent, address) VALUES ($1, $2, 0, $3, $4, $4, $4, $5, $6, $7)",
        ids.to_uuid(session.id),
        user,
        session.refresh_key,
        session.created_at,
        session.expires_at,
        session.client.user_agent,
        session.client.address,
    )
