"""Users and workspaces in PostgreSQL. Every method is one atomic unit.

What must happen once (the setup) is decided by the database: by a row lock or by one compare-and-set,
never by a read that an earlier answer relied on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from domain import ids
from domain.access import Access, Scope, UserRole, WorkspaceRole
from domain.errors import NotFound
from domain.identity import (
    Account,
    Founding,
    FoundingOutcome,
    NewSession,
    SetupState,
    User,
)
from persistence.accounts import ACCOUNT, FACTORS, USER, insert_user, read_account, read_user, standings
from persistence.audit import change
from persistence.database import Connection, Database
from persistence.sessions import insert_session, lock_user

_VISIBLE_USERS: Final = f"""
    SELECT {USER} FROM users u
     WHERE u.id = ANY($2::uuid[]) AND (
           u.id = $3 OR EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = u.id AND m.workspace_id = $1)
        OR EXISTS (SELECT 1 FROM runs r WHERE r.owner_id = u.id AND r.workspace_id = $1)
        OR EXISTS (SELECT 1 FROM experiments e WHERE e.owner_id = u.id AND e.workspace_id = $1)
        OR EXISTS (SELECT 1 FROM models o WHERE o.owner_id = u.id AND o.workspace_id = $1)
        OR EXISTS (SELECT 1 FROM model_versions v JOIN models o ON o.id = v.model_id
                    WHERE v.created_by_id = u.id AND o.workspace_id = $1)
        OR EXISTS (SELECT 1 FROM endpoints p WHERE p.owner_id = u.id AND p.workspace_id = $1))"""  # noqa: S608  # as above


_WELCOME: Final = f"""
    UPDATE users u SET last_login_at = $3, password_hash = coalesce($4, password_hash)
     WHERE u.id = $1 AND u.password_hash = $2 AND u.disabled_at IS NULL AND {FACTORS} = '{{}}'"""  # noqa: S608  # as above


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
        async with change(self._database) as tx:
            await tx.execute("INSERT INTO instance (id) VALUES (1) ON CONFLICT (id) DO NOTHING")
            row = await tx.fetchrow("SELECT setup_token_hash, setup_done_at FROM instance WHERE id = 1 FOR UPDATE")
            if row is None or row["setup_done_at"] is not None:
                return FoundingOutcome.CLOSED
            if token_hash is not None and row["setup_token_hash"] != token_hash:
                return FoundingOutcome.WRONG_TOKEN
            await tx.execute("UPDATE instance SET setup_done_at = $1, setup_token_hash = NULL WHERE id = 1", now)
            await _insert_founder(tx, founding, now)
            session = None if founding.session is None else founding.session.id
            user_id, workspace_id = founding.user.id, founding.workspace.id
            # Of a command it was somebody at the server.
            founder = None if session is None else user_id
            tx.made(user_id, account_id=founder, workspace_id=workspace_id, session_id=session)
        return FoundingOutcome.DONE

    # --- sessions ------------------------------------------------------------------------------------

    async def credentials(self, email: str) -> tuple[Account, str | None] | None:
        row = await self._database.fetchrow(
            f"SELECT {ACCOUNT}, u.password_hash FROM users u WHERE u.email = $1",  # noqa: S608  # constants only
            email,
        )
        return None if row is None else (read_account(row), row["password_hash"])

    async def renew_hash(self, user_id: str, verified_hash: str, better_hash: str) -> bool:
        renewed = await self._database.execute(
            "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
            ids.to_uuid(user_id),
            verified_hash,
            better_hash,
        )
        return renewed == 1

    async def open_session(
        self, user_id: str, session: NewSession, verified_hash: str, better_hash: str | None
    ) -> bool:
        user = ids.to_uuid(user_id)
        async with change(self._database) as tx:
            await lock_user(tx, user)
            welcome = await tx.execute(
                _WELCOME,
                user,
                verified_hash,
                session.created_at,
                better_hash,
            )
            if welcome != 1:
                return False
            await insert_session(tx, user, session)
            tx.made(session.id, session_id=session.id)
        return True

    # --- what a workspace may see --------------------------------------------------------------------

    async def users_by_ids(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, User]:
        rows = await self._database.fetch(
            _VISIBLE_USERS,
            ids.to_uuid(scope.workspace_id),
            [ids.to_uuid(user_id) for user_id in user_ids],
            ids.to_uuid(scope.principal.user_id),
        )
        users = [read_user(row) for row in rows]
        return {user.id: user for user in users}

    async def standings(self, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[UserRole, Access]]:
        return await standings(self._database, places)

    async def workspace_slug(self, scope: Scope) -> str:
        slug: str | None = await self._database.fetchval(
            "SELECT slug FROM workspaces WHERE id = $1", ids.to_uuid(scope.workspace_id)
        )
        if slug is None:
            raise NotFound("there is no such workspace", field="workspace")
        return slug


async def _insert_founder(tx: Connection, founding: Founding, now: datetime) -> None:
    workspace, user = ids.to_uuid(founding.workspace.id), ids.to_uuid(founding.user.id)
    await tx.execute(
        "INSERT INTO workspaces (id, slug, name, created_at) VALUES ($1, $2, $3, $4)",
        workspace,
        founding.workspace.slug,
        founding.workspace.name,
        now,
    )
    await insert_user(tx, founding.user, founding.password_hash, workspace)
    await tx.execute(
        "INSERT INTO memberships (workspace_id, user_id, role) VALUES ($1, $2, $3)",
        workspace,
        user,
        WorkspaceRole.OWNER.value,
    )
    if founding.session is not None:
        await insert_session(tx, user, founding.session)
