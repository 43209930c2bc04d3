"""Grants in PostgreSQL. Making, changing and removing one takes the lock of its workspace, as changes of members do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

from asyncpg import Record

from domain import ids
from domain.access import ID_KINDS, Action, Effect, ResourceKind, Scope
from domain.errors import Conflict, NotFound
from domain.idempotency import ClientToken
from domain.identity import Grant
from domain.identity.grants import MAX_GRANTS, GrantListing
from domain.paging import Page
from persistence import idempotency
from persistence.audit import change
from persistence.database import Connection, Database
from persistence.pages import Listing, pages
from persistence.workspaces import member_role, owned

_COLUMNS: Final = """g.id, g.user_id, g.kind, g.resource_id, g.actions, g.effect, g.expires_at, g.created_at,
    g.created_by_id"""
# Without the kinds of which nothing is kept yet.
_KEPT_IN: Final[Mapping[ResourceKind, str]] = {
    ResourceKind.RUNS: "runs",
    ResourceKind.MODELS: "models",
    ResourceKind.ENDPOINTS: "endpoints",
}
_SAME: Final = """
    SELECT 1 FROM grants WHERE workspace_id = $1 AND user_id = $2 AND kind = $3
       AND resource_id IS NOT DISTINCT FROM $4 AND effect = $5 AND id <> $6"""
_INSERT: Final = """
    INSERT INTO grants (id, workspace_id, user_id, created_by_id, kind, resource_id, actions, effect, created_at,
        expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10)"""
_WHERE: Final = """g.workspace_id = p.id AND ($4::uuid IS NULL OR g.user_id = $4)
    AND ($5::text IS NULL OR (g.kind = $5 AND g.resource_id IS NOT DISTINCT FROM $6::uuid))"""


class PostgresGrants:
    """Implements `GrantRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, scope: Scope, grant: Grant, token: ClientToken | None) -> Grant:
        async with change(self._database) as tx:
            await owned(tx, scope, scope.workspace_id, field="workspace")
            first = await idempotency.claim(tx, scope, token, ids.to_uuid(grant.id))
            if first is not None:
                return await _locked(tx, scope, first, field="client_token")
            if await member_role(tx, scope.workspace_id, grant.user_id) is None:
                raise NotFound("this user is not a member of the workspace", field="user_id")
            await _check_resource(tx, scope, grant)
            await _check_number(tx, scope, grant)
            await _check_same(tx, scope, grant)
            await tx.execute(
                _INSERT,
                ids.to_uuid(grant.id),
                ids.to_uuid(scope.workspace_id),
                ids.to_uuid(grant.user_id),
                ids.to_uuid(scope.principal.user_id),
                grant.kind,
                _resource(grant),
                json.dumps(grant.actions),
                grant.effect.value,
                grant.created_at,
                grant.expires_at,
            )
            tx.made(grant.id)
        return grant

    async def change(self, scope: Scope, grant_id: str, decide: Callable[[Grant], Grant]) -> Grant:
        async with change(self._database) as tx:
            await owned(tx, scope, scope.workspace_id, field="workspace")
            old = await _locked(tx, scope, ids.to_uuid(grant_id), field="id")
            new = decide(old)
            if new == old:
                return old
            await _check_same(tx, scope, new)
            await tx.execute(
                "UPDATE grants SET actions = $2::jsonb, effect = $3, expires_at = $4 WHERE id = $1",
                ids.to_uuid(grant_id),
                json.dumps(new.actions),
                new.effect.value,
                new.expires_at,
            )
            tx.made(grant_id)
        return new

    async def delete(self, scope: Scope, grant_id: str) -> Grant:
        async with change(self._database) as tx:
            await owned(tx, scope, scope.workspace_id, field="workspace")
            removed = await _locked(tx, scope, ids.to_uuid(grant_id), field="id")
            await tx.execute("DELETE FROM grants WHERE id = $1", ids.to_uuid(grant_id))
            tx.made(grant_id)
        return removed

    async def by_ids(self, scope: Scope, grant_ids: Sequence[str]) -> dict[str, Grant]:
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM grants g WHERE g.workspace_id = $1 AND g.id = ANY($2::uuid[])",  # noqa: S608
            ids.to_uuid(scope.workspace_id),
            [ids.to_uuid(grant_id) for grant_id in grant_ids],
        )
        return {found.id: found for found in map(_read, rows)}

    async def page(self, scope: Scope, listing: GrantListing) -> Page[Grant]:
        workspace = ids.to_uuid(scope.workspace_id)
        about = listing.about
        wanted = Listing(
            columns=_COLUMNS,
            source="grants g",
            where=_WHERE,
            order=(("g.created_at", "timestamptz"), ("g.id", "uuid")),
            keyset=listing.keyset,
            item=_read,
            key=lambda row: (row["created_at"], ids.from_uuid("grt", row["id"])),
            arguments=(
                None if listing.user_id is None else ids.to_uuid(listing.user_id),
                None if about is None else about.value,
                None if listing.resource is None else ids.to_uuid(listing.resource),
            ),
        )
        return (await pages(self._database, wanted, [workspace], listing.page, listing.offset))[workspace]


async def _locked(tx: Connection, scope: Scope, grant: UUID, *, field: str) -> Grant:
    row = await tx.fetchrow(
        f"SELECT {_COLUMNS} FROM grants g WHERE g.workspace_id = $1 AND g.id = $2 FOR UPDATE",  # noqa: S608  # a constant
        ids.to_uuid(scope.workspace_id),
        grant,
    )
    if row is None:
        raise NotFound("there is no such permission record", field=field)
    return _read(row)


async def _check_resource(tx: Connection, scope: Scope, grant: Grant) -> None:
    if grant.resource is None:
        return
    table = _KEPT_IN.get(grant.about)
    found = table is not None and await tx.fetchval(
        f"SELECT EXISTS (SELECT 1 FROM {table} WHERE id = $1 AND workspace_id = $2)",  # noqa: S608  # constants only
        ids.to_uuid(grant.resource),
        ids.to_uuid(scope.workspace_id),
    )
    if not found:
        raise NotFound(f"there is no such object among the {grant.kind} of this workspace", field="resource")


async def _check_number(tx: Connection, scope: Scope, grant: Grant) -> None:
    held = await tx.fetchval(
        "SELECT count(*) FROM grants WHERE workspace_id = $1 AND user_id = $2",
        ids.to_uuid(scope.workspace_id),
        ids.to_uuid(grant.user_id),
    )
    if held >= MAX_GRANTS:
        raise Conflict(f"there are {held} records about this user, the most there may be; remove some first")


async def _check_same(tx: Connection, scope: Scope, grant: Grant) -> None:
    same = await tx.fetchval(
        _SAME,
        ids.to_uuid(scope.workspace_id),
        ids.to_uuid(grant.user_id),
        grant.kind,
        _resource(grant),
        grant.effect.value,
        ids.to_uuid(grant.id),
    )
    if same is not None:
        raise Conflict("there is a record about this user, object and effect already; change that one")


def _resource(grant: Grant) -> UUID | None:
    return None if grant.resource is None else ids.to_uuid(grant.resource)


def _read(row: Record) -> Grant:
    about, resource, creator = ResourceKind(row["kind"]), row["resource_id"], row["created_by_id"]
    return Grant(
        id=ids.from_uuid("grt", row["id"]),
        user_id=ids.from_uuid("usr", row["user_id"]),
        about=about,
        resource=None if resource is None else ids.from_uuid(ID_KINDS[about], resource),
        held=frozenset(Action(action) for action in json.loads(row["actions"])),
        effect=Effect(row["effect"]),
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        created_by=None if creator is None else ids.from_uuid("usr", creator),
    )
