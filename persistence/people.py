"""Accounts in PostgreSQL. Whoever manages them takes one lock for all administrators first, and is one after that.

So two administrators who switch each other off at once leave one. Then come the locks of `persistence.workspaces`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
from asyncpg import Record

from domain import ids
from domain.access import KeyScope, Scope, UserRole, WorkspaceRole
from domain.errors import Conflict, Forbidden, NotFound
from domain.idempotency import ClientToken
from domain.identity import ApiKey, User
from domain.identity.people import AccountChange, Changed, Farewell, History, Joined, KeptSession, UserListing
from domain.paging import Page
from domain.patch import Keep
from persistence import idempotency
from persistence.accounts import USER, insert_user, read_user
from persistence.audit import change as changing
from persistence.database import Connection, Database
from persistence.pages import Listing, pages
from persistence.sessions import end_sessions, lock_user
from persistence.workspaces import LOCK, check_room, ended_keys, join

_LOCK_ADMINISTRATORS: Final = "SELECT pg_advisory_xact_lock(hashtextextended('administrators', 0))"
_ADMINISTERS: Final = """
    SELECT 1 FROM users WHERE id = $1 AND role = 'admin' AND disabled_at IS NULL AND deleted_at IS NULL"""
_OTHER_ADMINISTRATOR: Final = """
    SELECT EXISTS (SELECT 1 FROM users
     WHERE id <> $1 AND role = 'admin' AND disabled_at IS NULL AND deleted_at IS NULL)"""
_LOCK_WORKSPACES: Final = """
    SELECT 1 FROM workspaces WHERE id IN (SELECT workspace_id FROM memberships WHERE user_id = $1)
     ORDER BY id FOR NO KEY UPDATE"""
_ONE: Final = f"SELECT {USER} FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL"  # noqa: S608  # constants only
_LISTED: Final = """u.deleted_at IS NULL
    AND ($4::text IS NULL OR strpos(u.email, lower($4)) > 0 OR strpos(lower(u.name), lower($4)) > 0)"""
_CHANGE: Final = """
    UPDATE users SET name = coalesce($2, name), email = coalesce($3, email), role = coalesce($4, role),
           disabled_at = CASE WHEN $5::boolean THEN coalesce(disabled_at, $6) WHEN $5 IS NULL THEN disabled_at END,
           password_hash = coalesce($7, password_hash), must_change_password = must_change_password OR $7 IS NOT NULL
     WHERE id = $1"""
# No address contains a ':', so this takes nobody's; whoever registers with the old one is somebody new.
_TOMBSTONE: Final = """
    UPDATE users SET email = 'deleted:' || id::text, name = 'Deleted user', password_hash = NULL, role = 'user',
           last_login_at = NULL, disabled_at = coalesce(disabled_at, $2), deleted_at = $2,
           must_change_password = false, webauthn_handle = NULL
     WHERE id = $1"""
_FACTORS: Final = ("passkeys", "totp_factors", "recovery_codes", "webauthn_challenges", "pending_sign_ins")
_MEMBERSHIPS: Final = """
    SELECT w.slug, w.name, m.role FROM memberships m JOIN workspaces w ON w.id = m.workspace_id
     WHERE m.user_id = $1 AND w.deleted_at IS NULL ORDER BY w.created_at, w.id"""
_KEYS: Final = """
    SELECT k.id, k.user_id, k.workspace_id, w.slug, k.name, k.lookup, k.scopes, k.created_at, k.expires_at,
           k.last_used_at, k.revoked_at
      FROM api_keys k JOIN workspaces w ON w.id = k.workspace_id WHERE k.user_id = $1
     ORDER BY k.created_at DESC, k.id DESC LIMIT $2"""
_SESSIONS: Final = """
    SELECT id, created_at, last_seen_at, expires_at, ended_at, user_agent, address FROM sessions WHERE user_id = $1
     ORDER BY created_at DESC, id DESC LIMIT $2"""


class PostgresPeople:
    """Implements `PeopleRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- reading -------------------------------------------------------------------------------------

    async def page(self, listing: UserListing) -> Page[User]:
        nobody = UUID(int=0)
        wanted = Listing(
            columns=USER,
            source="users u",
            where=_LISTED,
            order=(("u.created_at", "timestamptz"), ("u.id", "uuid")),
            keyset=listing.keyset,
            item=read_user,
            key=lambda row: (row["user_created_at"], ids.from_uuid("usr", row["user_id"])),
            arguments=(listing.search,),
        )
        return (await pages(self._database, wanted, [nobody], listing.page, listing.offset))[nobody]

    async def user(self, user_id: str) -> User:
        return await _user(self._database, ids.to_uuid(user_id))

    async def history(self, user_id: str, most: int) -> History:
        user = ids.to_uuid(user_id)
        async with self._database.transaction() as tx:
            found = await _user(tx, user)
            rooms = await tx.fetch(_MEMBERSHIPS, user)
            sessions, keys = await tx.fetch(_SESSIONS, user, most), await tx.fetch(_KEYS, user, most)
        return History(
            user=found,
            memberships=[Joined(row["slug"], row["name"], WorkspaceRole(row["role"])) for row in rooms],
            sessions=[KeptSession(**{**row, "id": ids.from_uuid("ses", row["id"])}) for row in sessions],
            keys=[_read_key(row) for row in keys],
        )

    # --- changing ------------------------------------------------------------------------------------

    async def create(self, scope: Scope | None, user: User, password_hash: str, token: ClientToken | None) -> User:
        identifier = ids.to_uuid(user.id)
        async with changing(self._database) as tx:
            await _administrate(tx, scope)
            first = None if scope is None else await idempotency.claim(tx, scope, token, identifier)
            if first is not None:
                return await _user(tx, first, field="client_token")
            place = await _place_for_new(tx, scope)
            try:
                await insert_user(tx, user, password_hash, place)
            except asyncpg.UniqueViolationError:
                raise Conflict("this address has an account already", field="email") from None
            await join(tx, place, identifier, WorkspaceRole.EDITOR)
            tx.made(user.id)
        return user

    async def change(self, scope: Scope | None, user_id: str, change: AccountChange, now: datetime) -> Changed:
        user = ids.to_uuid(user_id)
        ended: list[str] = []
        async with changing(self._database) as tx:
            await _administrate(tx, scope)
            await lock_user(tx, user)
            old = await _user(tx, user)
            disabled = _given(change.disabled)
            if change.role is UserRole.USER or disabled:
                await _check_administrators(tx, user, old, "disabled" if disabled else "role")
            role = None if isinstance(change.role, Keep) else change.role.value
            password_hash = _given(change.password_hash)
            try:
                await tx.execute(
                    _CHANGE, user, _given(change.name), _given(change.email), role, disabled, now, password_hash
                )
            except asyncpg.UniqueViolationError:
                raise Conflict("this address has an account already", field="email") from None
            dropped = change.drop_factors and await _drop_factors(tx, user)
            if disabled or password_hash is not None or dropped:
                await tx.execute("DELETE FROM pending_sign_ins WHERE user_id = $1", user)
                reason = "disabled" if disabled else "factors_reset" if password_hash is None else "password_reset"
                ended = await end_sessions(tx, user, reason, now, None)
            changed = await _user(tx, user)
            # Of a command also when only the counts of wrong guesses were dropped before it.
            if scope is None or ended or changed != old or password_hash is not None or dropped:
                tx.made(user_id)
        return Changed(changed, ended)

    async def rename(self, user_id: str, name: str) -> User:
        user = ids.to_uuid(user_id)
        async with changing(self._database) as tx:
            await tx.execute("UPDATE users SET name = $2 WHERE id = $1 AND deleted_at IS NULL", user, name)
            tx.made(user_id)
            return await _user(tx, user)

    async def delete(self, scope: Scope, user_id: str, now: datetime) -> Farewell:
        user = ids.to_uuid(user_id)
        async with changing(self._database) as tx:
            await _administrate(tx, scope)
            await tx.execute(_LOCK_WORKSPACES, user)
            await lock_user(tx, user)
            old = await _user(tx, user)
            await _check_administrators(tx, user, old, "id")
            sessions = await tx.fetch("DELETE FROM sessions WHERE user_id = $1 RETURNING id, ended_at", user)
            keys = await tx.fetch("DELETE FROM api_keys WHERE user_id = $1 RETURNING id, lookup", user)
            await _drop_factors(tx, user)
            await tx.execute("DELETE FROM grants WHERE user_id = $1", user)
            await tx.execute("DELETE FROM memberships WHERE user_id = $1", user)
            await tx.execute("DELETE FROM invites WHERE created_by_id = $1 OR email = $2", user, old.email)
            await tx.execute(_TOMBSTONE, user, now)
            tx.made(user_id)
        return Farewell(
            [ids.from_uuid("ses", row["id"]) for row in sessions if row["ended_at"] is None],
            ended_keys(keys),
        )


async def _administrate(tx: Connection, scope: Scope | None) -> None:
    """Waits for the lock of all administrators, and makes sure that the caller still is one. Raises Forbidden."""
    await tx.execute(_LOCK_ADMINISTRATORS)
    if scope is not None and await tx.fetchval(_ADMINISTERS, ids.to_uuid(scope.principal.user_id)) is None:
        raise Forbidden("only administrators may do this")


async def _check_administrators(tx: Connection, user: UUID, present: User, field: str) -> None:
    """That an administrator who can sign in remains without this user."""
    active = present.role is UserRole.ADMIN and not present.disabled
    if active and not await tx.fetchval(_OTHER_ADMINISTRATOR, user):
        raise Conflict("this is the last administrator; make somebody else one first", field=field)


async def _place_for_new(tx: Connection, scope: Scope | None) -> UUID:
    """The workspace that a new account joins, locked: the caller's, or the oldest. Raises NotFound, Conflict."""
    place = (
        await tx.fetchval("SELECT id FROM workspaces WHERE deleted_at IS NULL ORDER BY created_at, id LIMIT 1")
        if scope is None
        else ids.to_uuid(scope.workspace_id)
    )
    if place is None or await tx.fetchrow(LOCK, place) is None:
        raise NotFound("there is no such workspace", field="workspace")
    await check_room(tx, place, field=None)
    return UUID(bytes=place.bytes)


async def _drop_factors(tx: Connection, user: UUID) -> bool:
    """Whether there were any, or a sign-in was about to use one."""
    gone = 0
    for table in _FACTORS:
        gone += await tx.execute(f"DELETE FROM {table} WHERE user_id = $1", user)  # noqa: S608  # a constant
    return gone > 0


async def _user(connection: Connection, user: UUID, *, field: str = "id") -> User:
    row = await connection.fetchrow(_ONE, user)
    if row is None:
        raise NotFound("there is no such user", field=field)
    return read_user(row)


def _given(value: object) -> object:
    return None if isinstance(value, Keep) else value


def _read_key(row: Record) -> ApiKey:
    return ApiKey(
        id=ids.from_uuid("key", row["id"]),
        user_id=ids.from_uuid("usr", row["user_id"]),
        workspace_id=ids.from_uuid("wsp", row["workspace_id"]),
        workspace=row["slug"],
        name=row["name"],
        prefix=f"axk_{row['lookup']}",
        key_scopes=frozenset(KeyScope(scope) for scope in json.loads(row["scopes"])),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )
