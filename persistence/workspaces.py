"""Workspaces and memberships in PostgreSQL.

Whoever changes a workspace locks its row first and only then reads who its caller is and who its owners are, so of
several changes at once each sees what those before it left. The order of locks: the list of all workspaces, one
workspace, one user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
from asyncpg import Record

from domain import ids
from domain.access import Scope, UserRole, WorkspaceRole
from domain.errors import Conflict, Forbidden, NotFound
from domain.idempotency import ClientToken
from domain.identity import Member, Workspace
from domain.identity.workspaces import MAX_JOINED, MAX_MEMBERS, MAX_WORKSPACES, EndedKey, Removal
from domain.patch import Keep
from persistence import idempotency
from persistence.accounts import USER, read_user
from persistence.audit import change
from persistence.database import Connection, Database

_WORKSPACE: Final = "w.id, w.slug, w.name, w.created_at"
LOCK_LIST: Final = "SELECT pg_advisory_xact_lock(hashtextextended('workspaces', 0))"
# Rows that refer to the workspace may be added meanwhile, unless it is to be deleted.
_LIVING: Final = f"SELECT {_WORKSPACE} FROM workspaces w WHERE w.id = $1 AND w.deleted_at IS NULL"  # noqa: S608
LOCK: Final = f"{_LIVING} FOR NO KEY UPDATE"
_LOCK_TO_DELETE: Final = f"{_LIVING} FOR UPDATE"
ROLE: Final = """
    SELECT CASE u.role WHEN 'admin' THEN 'owner' ELSE m.role END FROM users u
      LEFT JOIN memberships m ON m.user_id = u.id AND m.workspace_id = $1
     WHERE u.id = $2 AND u.disabled_at IS NULL AND u.deleted_at IS NULL"""
_LOCK_SELF: Final = "SELECT 1 FROM users WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL FOR NO KEY UPDATE"
# Somebody the caller ($2, an administrator: $3) shares a workspace with; the lock keeps counts of memberships true.
_LOCK_MET: Final = """
    SELECT 1 FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL AND ($3 OR EXISTS (
        SELECT 1 FROM memberships a JOIN memberships b ON b.workspace_id = a.workspace_id
         WHERE a.user_id = u.id AND b.user_id = $2)) FOR NO KEY UPDATE OF u"""
_OTHER_OWNER: Final = """
    SELECT EXISTS (SELECT 1 FROM memberships m JOIN users u ON u.id = m.user_id
     WHERE m.workspace_id = $1 AND m.user_id <> $2 AND m.role = 'owner'
       AND u.disabled_at IS NULL AND u.deleted_at IS NULL)"""
_HOLDS: Final = """
    SELECT EXISTS (SELECT 1 FROM runs WHERE workspace_id = $1) AS runs,
           EXISTS (SELECT 1 FROM models WHERE workspace_id = $1) AS models,
           EXISTS (SELECT 1 FROM endpoints WHERE workspace_id = $1) AS endpoints"""
_MOVE_DEFAULTS: Final = """
    UPDATE users u SET default_workspace_id = n.workspace_id FROM (
        SELECT DISTINCT ON (m.user_id) m.user_id, m.workspace_id FROM memberships m
          JOIN workspaces w ON w.id = m.workspace_id
         WHERE m.workspace_id <> $1 AND w.deleted_at IS NULL ORDER BY m.user_id, w.created_at, w.id) n
     WHERE u.default_workspace_id = $1 AND u.id = n.user_id AND ($2::uuid IS NULL OR u.id = $2)"""
_REVOKE_KEYS: Final = """
    UPDATE api_keys SET revoked_at = $3
     WHERE workspace_id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND revoked_at IS NULL RETURNING id, lookup"""
# Where the caller ($2, an administrator: $3) may enter, too; an API key only its own workspace ($4).
_ENTERED: Final = """w.deleted_at IS NULL AND ($4::uuid IS NULL OR w.id = $4)
       AND ($3 OR EXISTS (SELECT 1 FROM memberships c WHERE c.workspace_id = w.id AND c.user_id = $2))"""
_BY_IDS: Final = f"SELECT {_WORKSPACE} FROM workspaces w WHERE w.id = ANY($1::uuid[]) AND {_ENTERED}"  # noqa: S608
_OF_USERS: Final = f"""
    SELECT m.user_id, {_WORKSPACE} FROM memberships m JOIN workspaces w ON w.id = m.workspace_id
     WHERE m.user_id = ANY($1::uuid[]) AND {_ENTERED} ORDER BY w.created_at, w.id"""  # noqa: S608  # constants only
_MEMBERS: Final = f"""
    SELECT m.workspace_id, m.role AS member_role, {USER} FROM memberships m
      JOIN workspaces w ON w.id = m.workspace_id JOIN users u ON u.id = m.user_id AND u.deleted_at IS NULL
     WHERE m.workspace_id = ANY($1::uuid[]) AND {_ENTERED} ORDER BY m.id"""  # noqa: S608  # constants only


async def entered(
    tx: Connection, scope: Scope, workspace_id: str, *, field: str, to_delete: bool = False
) -> tuple[Workspace, WorkspaceRole]:
    """A workspace, locked, and what the caller is in it now. Raises NotFound naming `field`."""
    place = ids.to_uuid(workspace_id)
    row = await tx.fetchrow(_LOCK_TO_DELETE if to_delete else LOCK, place)
    role = None if row is None else await tx.fetchval(ROLE, place, ids.to_uuid(scope.principal.user_id))
    if row is None or role is None:
        raise NotFound("there is no such workspace", field=field)
    return read_workspace(row), WorkspaceRole(role)


async def owned(tx: Connection, scope: Scope, workspace_id: str, *, field: str, to_delete: bool = False) -> Workspace:
    """A workspace of which the caller is an owner now, locked. Raises NotFound naming `field`, and Forbidden."""
    workspace, role = await entered(tx, scope, workspace_id, field=field, to_delete=to_delete)
    if role is not WorkspaceRole.OWNER:
        raise Forbidden("only owners of this workspace may do this")
    return workspace


async def member_role(tx: Connection, workspace_id: str, user_id: str) -> WorkspaceRole | None:
    """What a user is in a workspace; None when they do not belong to it. To be asked with its lock held."""
    role = await tx.fetchval(
        "SELECT role FROM memberships WHERE workspace_id = $1 AND user_id = $2",
        ids.to_uuid(workspace_id),
        ids.to_uuid(user_id),
    )
    return None if role is None else WorkspaceRole(role)


class PostgresWorkspaces:
    """Implements `WorkspaceRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- workspaces ----------------------------------------------------------------------------------

    async def create(self, scope: Scope, workspace: Workspace, token: ClientToken | None) -> Workspace:
        place, user = ids.to_uuid(workspace.id), ids.to_uuid(scope.principal.user_id)
        async with change(self._database) as tx:
            await tx.execute(LOCK_LIST)
            first = await idempotency.found_where_joined(tx, scope, token)
            if first is not None:
                return (await entered(tx, scope, ids.from_uuid("wsp", first), field="client_token"))[0]
            if await tx.fetchval(_LOCK_SELF, user) is None:
                raise Forbidden("this account was disabled")
            if await tx.fetchval("SELECT count(*) FROM workspaces WHERE deleted_at IS NULL") >= MAX_WORKSPACES:
                raise Conflict(f"there are {MAX_WORKSPACES} workspaces, the most there may be; delete some first")
            await check_joined(tx, user)
            try:
                await tx.execute(
                    "INSERT INTO workspaces (id, slug, name, created_at) VALUES ($1, $2, $3, $4)",
                    place,
                    workspace.slug,
                    workspace.name,
                    workspace.created_at,
                )
            except asyncpg.UniqueViolationError:
                raise Conflict(f"a workspace called {workspace.slug!r} exists already", field="slug") from None
            await join(tx, place, user, WorkspaceRole.OWNER)
            await idempotency.claim(tx, replace(scope, workspace_id=workspace.id), token, place)
            tx.made(workspace.id, workspace_id=workspace.id)
        return workspace

    async def rename(self, scope: Scope, workspace_id: str, name: str | Keep) -> Workspace:
        async with change(self._database) as tx:
            workspace = await owned(tx, scope, workspace_id, field="id")
            if isinstance(name, Keep) or name == workspace.name:
                return workspace
            await tx.execute("UPDATE workspaces SET name = $2 WHERE id = $1", ids.to_uuid(workspace_id), name)
            tx.made(workspace_id, workspace_id=workspace_id)
        return replace(workspace, name=name)

    async def delete(self, scope: Scope, workspace_id: str, now: datetime) -> list[EndedKey]:
        place = ids.to_uuid(workspace_id)
        async with change(self._database) as tx:
            await tx.execute(LOCK_LIST)
            await owned(tx, scope, workspace_id, field="id", to_delete=True)
            held = await tx.fetchrow(_HOLDS, place)
            kinds = [kind for kind, some in (held or {}).items() if some]
            if kinds:
                raise Conflict(f"the workspace still holds {' and '.join(kinds)}; delete them first", field="id")
            if not await tx.fetchval(
                "SELECT EXISTS (SELECT 1 FROM workspaces WHERE id <> $1 AND deleted_at IS NULL)", place
            ):
                raise Conflict("this is the last workspace; it cannot be deleted", field="id")
            # No slug begins with "~", so the name is free again and this one takes nobody's.
            await tx.execute("UPDATE workspaces SET deleted_at = $2, slug = '~' || id::text WHERE id = $1", place, now)
            await tx.execute(_MOVE_DEFAULTS, place, None)
            keys = await tx.fetch(_REVOKE_KEYS, place, None, now)
            await tx.execute("DELETE FROM grants WHERE workspace_id = $1", place)
            await tx.execute("DELETE FROM memberships WHERE workspace_id = $1", place)
            await tx.execute(
                "UPDATE invites SET revoked_at = $2 WHERE workspace_id = $1 AND used_at IS NULL AND revoked_at IS NULL",
                place,
                now,
            )
            tx.made(workspace_id, workspace_id=workspace_id)
        return ended_keys(keys)

    # --- members -------------------------------------------------------------------------------------

    async def add_member(self, scope: Scope, workspace_id: str, user_id: str, role: WorkspaceRole) -> Workspace:
        place, user = ids.to_uuid(workspace_id), ids.to_uuid(user_id)
        async with change(self._database) as tx:
            workspace = await owned(tx, scope, workspace_id, field="workspace_id")
            caller = scope.principal
            met = await tx.fetchval(_LOCK_MET, user, ids.to_uuid(caller.user_id), caller.role is UserRole.ADMIN)
            if met is None:
                raise NotFound("there is no such user", field="user_id")
            present = await member_role(tx, workspace_id, user_id)
            if present is role:
                return workspace
            if present is not None:
                raise Conflict(f"this user is a member already, as {present.value}", field="user_id")
            await check_room(tx, place)
            await check_joined(tx, user)
            await join(tx, place, user, role)
            tx.made(user_id, workspace_id=workspace_id)
        return workspace

    async def change_member(self, scope: Scope, workspace_id: str, user_id: str, role: WorkspaceRole) -> Workspace:
        place, user = ids.to_uuid(workspace_id), ids.to_uuid(user_id)
        async with change(self._database) as tx:
            workspace = await owned(tx, scope, workspace_id, field="workspace_id")
            present = await _present(tx, workspace_id, user_id)
            if role is not WorkspaceRole.OWNER:
                await _check_owners(tx, place, user, present)
            await tx.execute(
                "UPDATE memberships SET role = $3 WHERE workspace_id = $1 AND user_id = $2", place, user, role.value
            )
            if present is not role:
                tx.made(user_id, workspace_id=workspace_id)
        return workspace

    async def remove_member(self, scope: Scope, workspace_id: str, user_id: str, now: datetime) -> Removal:
        place, user = ids.to_uuid(workspace_id), ids.to_uuid(user_id)
        async with change(self._database) as tx:
            if user_id == scope.principal.user_id:
                workspace, _ = await entered(tx, scope, workspace_id, field="workspace_id")
            else:
                workspace = await owned(tx, scope, workspace_id, field="workspace_id")
            present = await _present(tx, workspace_id, user_id)
            await _check_owners(tx, place, user, present)
            await tx.execute("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE", user)
            await tx.execute("DELETE FROM memberships WHERE workspace_id = $1 AND user_id = $2", place, user)
            await tx.execute("DELETE FROM grants WHERE workspace_id = $1 AND user_id = $2", place, user)
            await tx.execute(_MOVE_DEFAULTS, place, user)
            keys = await tx.fetch(_REVOKE_KEYS, place, user, now)
            tx.made(user_id, workspace_id=workspace_id)
        return Removal(workspace, ended_keys(keys))

    # --- reading -------------------------------------------------------------------------------------

    async def all(self) -> list[Workspace]:
        rows = await self._database.fetch(
            f"SELECT {_WORKSPACE} FROM workspaces w WHERE w.deleted_at IS NULL ORDER BY w.created_at, w.id"  # noqa: S608
        )
        return [read_workspace(row) for row in rows]

    async def by_ids(self, scope: Scope, workspace_ids: Sequence[str]) -> dict[str, Workspace]:
        rows = await self._database.fetch(_BY_IDS, *_seen(scope, workspace_ids))
        return {found.id: found for found in map(read_workspace, rows)}

    async def of_users(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, list[Workspace]]:
        found: dict[str, list[Workspace]] = {user_id: [] for user_id in user_ids}
        for row in await self._database.fetch(_OF_USERS, *_seen(scope, user_ids)):
            found[ids.from_uuid("usr", row["user_id"])].append(read_workspace(row))
        return found

    async def members(self, scope: Scope, workspace_ids: Sequence[str]) -> dict[str, list[Member]]:
        found: dict[str, list[Member]] = {workspace_id: [] for workspace_id in workspace_ids}
        for row in await self._database.fetch(_MEMBERS, *_seen(scope, workspace_ids)):
            member = Member(read_user(row), WorkspaceRole(row["member_role"]))
            found[ids.from_uuid("wsp", row["workspace_id"])].append(member)
        return found


async def join(
    tx: Connection, workspace: UUID, user: UUID, role: WorkspaceRole, *, field: str | None = "user_id"
) -> None:
    """Raises Conflict naming `field` for a member. To be asked with the workspace's lock held."""
    added = await tx.execute(
        "INSERT INTO memberships (workspace_id, user_id, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        workspace,
        user,
        role.value,
    )
    if not added:
        raise Conflict("this user is a member already", field=field)


async def _present(tx: Connection, workspace_id: str, user_id: str) -> WorkspaceRole:
    present = await member_role(tx, workspace_id, user_id)
    if present is None:
        raise NotFound("this user is not a member of the workspace", field="user_id")
    return present


async def _check_owners(tx: Connection, workspace: UUID, user: UUID, present: WorkspaceRole) -> None:
    """That somebody who can sign in remains an owner without this user."""
    if present is WorkspaceRole.OWNER and not await tx.fetchval(_OTHER_OWNER, workspace, user):
        raise Conflict("a workspace keeps at least one owner; make somebody else one first", field="user_id")


async def check_room(tx: Connection, workspace: UUID, *, field: str | None = "user_id") -> None:
    """That one more may come in. To be asked with the workspace's lock held. Raises Conflict naming `field`."""
    if await tx.fetchval("SELECT count(*) FROM memberships WHERE workspace_id = $1", workspace) >= MAX_MEMBERS:
        raise Conflict(f"the workspace has {MAX_MEMBERS} members, the most there may be", field=field)


async def check_joined(tx: Connection, user: UUID) -> None:
    """That a user may join one more workspace. To be asked with the user's lock held. Raises Conflict."""
    if await tx.fetchval("SELECT count(*) FROM memberships WHERE user_id = $1", user) >= MAX_JOINED:
        raise Conflict(f"the user belongs to {MAX_JOINED} workspaces, the most there may be; leave some first")


def _seen(scope: Scope, wanted: Sequence[str]) -> tuple[object, ...]:
    """The arguments of `_ENTERED`, after ids."""
    caller = scope.principal
    only = None if caller.api_key_id is None else ids.to_uuid(scope.workspace_id)
    admin = caller.role is UserRole.ADMIN
    return [ids.to_uuid(one) for one in wanted], ids.to_uuid(caller.user_id), admin, only


def ended_keys(rows: Sequence[Record]) -> list[EndedKey]:
    """From the columns id and lookup."""
    return [EndedKey(ids.from_uuid("key", row["id"]), row["lookup"]) for row in rows]


def read_workspace(row: Record) -> Workspace:
    """From the columns of a workspace."""
    return Workspace(ids.from_uuid("wsp", row["id"]), row["slug"], row["name"], row["created_at"])
