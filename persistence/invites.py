"""Invites and registration in PostgreSQL. The order of locks is that of `persistence.workspaces`.

An invite is used up by one UPDATE, in the transaction of what it is good for, so of several at once one gets in.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
from asyncpg import Record

from domain import ids
from domain.access import Scope, WorkspaceRole
from domain.errors import Conflict, Forbidden, NotFound
from domain.idempotency import ClientToken
from domain.identity import Invite, NewSession, User, Workspace
from domain.identity.invites import MAX_INVITES, WRONG_INVITE
from domain.identity.workspaces import MAX_WORKSPACES
from domain.paging import Keyset, Page, PageRequest
from persistence import idempotency
from persistence.accounts import insert_user
from persistence.audit import change
from persistence.database import Connection, Database
from persistence.pages import Listing, pages
from persistence.sessions import insert_session
from persistence.workspaces import LOCK, LOCK_LIST, ROLE, check_joined, check_room, join, owned, read_workspace

_COLUMNS: Final = "i.id, i.email, i.role, i.created_at, i.expires_at"
_OPEN: Final = "i.workspace_id = p.id AND i.used_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > $4"
_TAKE: Final = """
    UPDATE invites SET used_at = $4
     WHERE token_digest = $1 AND workspace_id = $2 AND email = $3 AND used_at IS NULL AND revoked_at IS NULL
       AND expires_at > $4
    RETURNING role, created_by_id"""
_MEMBER: Final = """
    SELECT 1 FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.workspace_id = $1 AND u.email = $2"""
_INSERT: Final = """
    INSERT INTO invites (id, workspace_id, created_by_id, email, role, token_digest, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
_AGAIN: Final = f"""
    UPDATE invites i SET token_digest = $3
     WHERE i.id = $1 AND i.workspace_id = $2 AND i.used_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > $4
    RETURNING {_COLUMNS}"""  # noqa: S608  # a constant
_ENDED: Final = "used_at IS NOT NULL OR revoked_at IS NOT NULL OR expires_at <= $3"


class PostgresInvites:
    """Implements `InviteRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- making and revoking -------------------------------------------------------------------------

    async def create(self, scope: Scope, invite: Invite, token_digest: str, token: ClientToken | None) -> Invite:
        place = ids.to_uuid(scope.workspace_id)
        async with change(self._database) as tx:
            await owned(tx, scope, scope.workspace_id, field="workspace")
            first = await idempotency.claim(tx, scope, token, ids.to_uuid(invite.id))
            if first is not None:
                again = await tx.fetchrow(_AGAIN, first, place, token_digest, invite.created_at)
                if again is None:
                    raise Conflict("what this client token made was used, revoked or replaced", field="client_token")
                tx.made(ids.from_uuid("inv", first))
                return _read(again)
            if await tx.fetchval(_MEMBER, place, invite.email) is not None:
                raise Conflict("this address belongs to a member of the workspace already", field="email")
            # What is over is an address that nobody needs to keep.
            await tx.execute(
                f"DELETE FROM invites WHERE workspace_id = $1 AND (email = $2 OR {_ENDED})",  # noqa: S608  # a constant
                place,
                invite.email,
                invite.created_at,
            )
            if await tx.fetchval("SELECT count(*) FROM invites WHERE workspace_id = $1", place) >= MAX_INVITES:
                raise Conflict(
                    f"the workspace has {MAX_INVITES} open invites, the most there may be; revoke some first"
                )
            await tx.execute(
                _INSERT,
                ids.to_uuid(invite.id),
                place,
                ids.to_uuid(scope.principal.user_id),
                invite.email,
                invite.role.value,
                token_digest,
                invite.created_at,
                invite.expires_at,
            )
            tx.made(invite.id)
        return invite

    async def revoke(self, scope: Scope, invite_id: str, now: datetime) -> None:
        async with change(self._database) as tx:
            await owned(tx, scope, scope.workspace_id, field="workspace")
            # The lock of the workspace is held: nobody else uses or revokes it meanwhile.
            found = await tx.fetchrow(
                "SELECT revoked_at FROM invites WHERE id = $1 AND workspace_id = $2 AND used_at IS NULL",
                ids.to_uuid(invite_id),
                ids.to_uuid(scope.workspace_id),
            )
            if found is None:
                raise NotFound("there is no such invite, or it was used", field="id")
            if found["revoked_at"] is None:
                await tx.execute("UPDATE invites SET revoked_at = $2 WHERE id = $1", ids.to_uuid(invite_id), now)
                tx.made(invite_id)

    async def page(self, scope: Scope, request: PageRequest, keyset: Keyset, now: datetime) -> Page[Invite]:
        workspace = ids.to_uuid(scope.workspace_id)
        wanted = Listing(
            columns=_COLUMNS,
            source="invites i",
            where=_OPEN,
            order=(("i.created_at", "timestamptz"), ("i.id", "uuid")),
            keyset=keyset,
            item=_read,
            key=lambda row: (row["created_at"], ids.from_uuid("inv", row["id"])),
            arguments=(now,),
        )
        return (await pages(self._database, wanted, [workspace], request))[workspace]

    # --- using ---------------------------------------------------------------------------------------

    async def accept(self, scope: Scope, token_digest: str, now: datetime) -> Workspace:
        user = ids.to_uuid(scope.principal.user_id)
        async with change(self._database) as tx:
            workspace = await _invited_to(tx, token_digest, field="token")
            email = await tx.fetchval(
                "SELECT email FROM users WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL"
                " FOR NO KEY UPDATE",
                user,
            )
            place = ids.to_uuid(workspace.id)
            if email is None or not await _used_by_member(tx, token_digest, email, place, user):
                role = await _take(tx, token_digest, place, email or "", now, field="token")
                await check_room(tx, place, field=None)
                await check_joined(tx, user)
                await join(tx, place, user, role, field=None)
                tx.made(workspace.id, workspace_id=workspace.id)
        return workspace

    async def register(self, user: User, password_hash: str, token_digest: str, session: NewSession) -> None:
        async with change(self._database) as tx:
            workspace = await _invited_to(tx, token_digest, field="invite")
            place = ids.to_uuid(workspace.id)
            role = await _take(tx, token_digest, place, user.email, user.created_at, field="invite")
            await check_room(tx, place, field=None)
            try:
                await insert_user(tx, user, password_hash, place)
            except asyncpg.UniqueViolationError:
                raise Conflict("this address has an account; sign in and accept the invite", field="email") from None
            await join(tx, place, ids.to_uuid(user.id), role)
            await insert_session(tx, ids.to_uuid(user.id), session)
            tx.made(user.id, account_id=user.id, workspace_id=workspace.id, session_id=session.id)

    async def settle(self, user: User, password_hash: str, workspace: Workspace) -> bool:
        place = ids.to_uuid(workspace.id)
        try:
            async with change(self._database) as tx:
                await tx.execute(LOCK_LIST)
                if await tx.fetchval("SELECT count(*) FROM workspaces WHERE deleted_at IS NULL") >= MAX_WORKSPACES:
                    raise Conflict("there is no room for another account with a workspace of its own")
                slug = workspace.slug
                while await tx.fetchval("SELECT 1 FROM workspaces WHERE slug = $1", slug) is not None:
                    slug = f"{workspace.slug}-{secrets.token_hex(4)}"
                await tx.execute(
                    "INSERT INTO workspaces (id, slug, name, created_at) VALUES ($1, $2, $3, $4)",
                    place,
                    slug,
                    workspace.name,
                    workspace.created_at,
                )
                await insert_user(tx, user, password_hash, place)
                await join(tx, place, ids.to_uuid(user.id), WorkspaceRole.OWNER)
                tx.made(user.id, account_id=user.id, workspace_id=workspace.id)
        except asyncpg.UniqueViolationError:  # of the address: nothing else makes workspaces while the list is locked
            return False
        return True


async def _invited_to(tx: Connection, token_digest: str, *, field: str) -> Workspace:
    """The workspace of an invite, locked. Raises Forbidden naming `field`."""
    place = await tx.fetchval("SELECT workspace_id FROM invites WHERE token_digest = $1", token_digest)
    row = None if place is None else await tx.fetchrow(LOCK, place)
    if row is None:
        raise Forbidden(WRONG_INVITE, field=field)
    return read_workspace(row)


async def _take(
    tx: Connection, token_digest: str, place: UUID, email: str, now: datetime, *, field: str
) -> WorkspaceRole:
    """Uses an invite up, with the workspace's lock held; the role it gives. Raises Forbidden naming `field`."""
    taken = await tx.fetchrow(_TAKE, token_digest, place, email, now)
    if taken is None or await tx.fetchval(ROLE, place, taken["created_by_id"]) != WorkspaceRole.OWNER.value:
        raise Forbidden(WRONG_INVITE, field=field)
    return WorkspaceRole(taken["role"])


async def _used_by_member(tx: Connection, token_digest: str, email: str, place: UUID, user: UUID) -> bool:
    """Whether this very person used the invite before, and still is in the workspace."""
    return bool(
        await tx.fetchval(
            "SELECT EXISTS (SELECT 1 FROM invites i JOIN memberships m ON m.workspace_id = i.workspace_id"
            " WHERE i.token_digest = $1 AND i.email = $2 AND i.used_at IS NOT NULL AND i.workspace_id = $3"
            " AND m.user_id = $4)",
            token_digest,
            email,
            place,
            user,
        )
    )


def _read(row: Record) -> Invite:
    return Invite(
        ids.from_uuid("inv", row["id"]), row["email"], WorkspaceRole(row["role"]), row["created_at"], row["expires_at"]
    )
