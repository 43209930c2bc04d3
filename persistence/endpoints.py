"""Endpoints in PostgreSQL: each change is one transition of the domain, applied to the locked row. All SQL is here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from domain import ids
from domain.access import Reach, ResourceKind, Scope
from domain.architecture import parse
from domain.endpoints import (
    Deployment,
    Endpoint,
    EndpointConfig,
    EndpointStatus,
    EndpointTraffic,
    Room,
    ServedVersion,
    keeps_port,
    ordered,
    wanted_port,
)
from domain.endpoints.warm_ups import Reports, WarmUpReport
from domain.errors import Conflict, NotFound
from domain.idempotency import ClientToken
from domain.paging import Keyset, Page, PageRequest
from persistence import warm_ups
from persistence.audit import change
from persistence.database import Connection, Database
from persistence.idempotency import claim
from persistence.pages import FIRST_ARGUMENT, Listing, pages
from persistence.reach import reached, within

LOST_SECONDS: Final = 30
"""A server that was not heard of for so long may have its endpoints taken over."""

_LOST: Final = f"clock_timestamp() - interval '{LOST_SECONDS} seconds'"
_ENDPOINT: Final = f"""
    e.id, e.workspace_id, e.name, e.status, e.status_reason, e.replicas, e.config, e.port, e.owner_id, e.created_at,
    e.updated_at, e.host, e.generation, e.pending,
    (SELECT json_agg(json_build_array(t.version_id, t.weight, t.failure))
       FROM endpoint_traffic t WHERE t.endpoint_id = e.id) AS traffic,
    (e.host IS NOT NULL AND NOT EXISTS
       (SELECT 1 FROM serving_hosts h WHERE h.name = e.host AND h.seen_at > {_LOST})) AS host_lost"""  # noqa: S608
_NEWEST: Final = (("e.created_at", "timestamptz"), ("e.id", "uuid"))
_ACTIVE: Final = [status.value for status in EndpointStatus if status.active]
_INSERT: Final = """
    INSERT INTO endpoints (id, workspace_id, owner_id, name, status, status_reason, replicas, config, port, host,
                           generation, pending, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, NULL, $12, $12)
    ON CONFLICT (workspace_id, name) DO NOTHING RETURNING id"""

Transition = Callable[[Endpoint], Endpoint]


class PostgresEndpoints:
    """Implements `domain.endpoints.EndpointRepository` and, for the operator, `EndpointHosting`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- for callers -----------------------------------------------------------------------------

    async def create(self, scope: Scope, endpoint: Endpoint, token: ClientToken | None, *, room: Room) -> Endpoint:
        async with change(self._database) as tx:
            first = await claim(tx, scope, token, ids.to_uuid(endpoint.id))
            if first is not None:
                return await _of_token(tx, scope, first)
            if not await _insert(tx, scope, endpoint):
                raise Conflict(f"an endpoint called {endpoint.name!r} exists already", field="name")
            await _write_traffic(tx, endpoint)
            endpoint = await _housed(tx, endpoint, room)
            tx.made(endpoint.id)
        return endpoint

    async def change(self, scope: Scope, endpoint_id: str, transition: Transition, *, room: Room) -> Endpoint:
        async with change(self._database) as tx:
            before = await _lock(tx, "e.workspace_id = $1 AND e.id = $2", _workspace(scope), ids.to_uuid(endpoint_id))
            if before is None:
                raise NotFound("there is no such endpoint", field="id")
            after = await _apply(tx, before, transition, room)
            if after is not before:
                tx.made(endpoint_id)
            return after

    async def create_or_change(
        self,
        scope: Scope,
        endpoint: Endpoint,
        transition: Transition,
        token: ClientToken | None,
        *,
        admit: Callable[[str | None], None],
        room: Room,
    ) -> Endpoint:
        async with change(self._database) as tx:
            made = await _insert(tx, scope, endpoint)
            before = await _lock(tx, "e.workspace_id = $1 AND e.name = $2", _workspace(scope), endpoint.name)
            if before is None:
                raise NotFound("the endpoint was deleted meanwhile; send the request again", field="endpoint")
            admit(None if made else before.id)
            first = await claim(tx, scope, token, ids.to_uuid(before.id))
            if first is not None:
                if made:  # rolls the new one back
                    raise NotFound("what this client token made is gone", field="client_token")
                return await _of_token(tx, scope, first)
            if not made:
                after = await _apply(tx, before, transition, room)
                if after is not before:
                    tx.made(before.id)
                return after
            await _write_traffic(tx, endpoint)
            endpoint = await _housed(tx, endpoint, room)
            tx.made(endpoint.id)
        return endpoint

    async def delete(self, scope: Scope, endpoint_id: str, check: Callable[[Endpoint], None]) -> None:
        async with change(self._database) as tx:
            found = await _lock(tx, "e.workspace_id = $1 AND e.id = $2", _workspace(scope), ids.to_uuid(endpoint_id))
            if found is None:
                raise NotFound("there is no such endpoint", field="id")
            check(found)
            await tx.execute("DELETE FROM endpoints WHERE id = $1", ids.to_uuid(endpoint_id))
            tx.made(endpoint_id)

    async def by_ids(self, scope: Scope, endpoint_ids: Sequence[str]) -> dict[str, Endpoint]:
        rows = await self._database.fetch(
            f"SELECT {_ENDPOINT} FROM endpoints e WHERE e.workspace_id = $1 AND e.id = ANY($2::uuid[])",  # noqa: S608
            _workspace(scope),
            [ids.to_uuid(endpoint_id) for endpoint_id in reached(_reach(scope), endpoint_ids)],
        )
        return {endpoint.id: endpoint for endpoint in map(_endpoint, rows)}

    async def by_name(self, scope: Scope, name: str) -> Endpoint | None:
        row = await self._database.fetchrow(
            f"SELECT {_ENDPOINT} FROM endpoints e WHERE e.workspace_id = $1 AND e.name = $2",  # noqa: S608
            _workspace(scope),
            name,
        )
        found = None if row is None else _endpoint(row)
        return found if found is not None and found.id in _reach(scope) else None

    async def warm_ups(self, scope: Scope, endpoint_ids: Sequence[str]) -> Reports:
        return await warm_ups.of_endpoints(self._database, scope.workspace_id, reached(_reach(scope), endpoint_ids))

    async def page(self, scope: Scope, page: PageRequest, offset: int = 0) -> Page[Endpoint]:
        workspace = _workspace(scope)
        listing = _listing(scope, "endpoints", "e.workspace_id = p.id")
        return (await pages(self._database, listing, [workspace], page, offset))[workspace]

    async def of_owners(self, scope: Scope, owner_ids: Sequence[str], page: PageRequest) -> dict[str, Page[Endpoint]]:
        where = f"e.owner_id = p.id AND e.workspace_id = ${FIRST_ARGUMENT}"
        listing = _listing(scope, "endpoints of owner", where, _workspace(scope))
        found = await pages(self._database, listing, [ids.to_uuid(owner) for owner in owner_ids], page)
        return {owner: found[ids.to_uuid(owner)] for owner in owner_ids}

    async def of_versions(
        self, scope: Scope, version_ids: Sequence[str], page: PageRequest
    ) -> dict[str, Page[Endpoint]]:
        where = (
            f"e.workspace_id = ${FIRST_ARGUMENT} AND e.id IN"  # noqa: S608 - constants only
            " (SELECT t.endpoint_id FROM endpoint_traffic t WHERE t.version_id = p.id)"
        )
        listing = _listing(scope, "endpoints of version", where, _workspace(scope))
        found = await pages(self._database, listing, [ids.to_uuid(version) for version in version_ids], page)
        return {version: found[ids.to_uuid(version)] for version in version_ids}

    # --- for the operator ------------------------------------------------------------------------

    async def of_host(self, host: str) -> list[Endpoint]:
        rows = await self._database.fetch(
            f"SELECT {_ENDPOINT} FROM endpoints e WHERE e.host = $1 AND e.status = ANY($2::text[]) ORDER BY e.id",  # noqa: S608
            host,
            _ACTIVE,
        )
        return [_endpoint(row) for row in rows]

    async def beat(self, host: str) -> bool:
        lasted: bool = await self._database.fetchval(
            "WITH before AS (SELECT seen_at FROM serving_hosts WHERE name = $1), now AS ("  # noqa: S608 - a constant only
            " INSERT INTO serving_hosts (name, seen_at) VALUES ($1, clock_timestamp())"
            " ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp())"
            f" SELECT EXISTS (SELECT 1 FROM before WHERE seen_at > {_LOST})",
            host,
        )
        return lasted

    async def leave(self, host: str) -> None:
        await self._database.execute("DELETE FROM serving_hosts WHERE name = $1", host)

    async def load(self, endpoint_id: str) -> Endpoint | None:
        row = await self._database.fetchrow(
            f"SELECT {_ENDPOINT} FROM endpoints e WHERE e.id = $1",  # noqa: S608
            ids.to_uuid(endpoint_id),
        )
        return None if row is None else _endpoint(row)

    async def amend(self, endpoint_id: str, transition: Transition) -> Endpoint | None:
        async with self._database.transaction() as tx:
            before = await _lock(tx, "e.id = $1", ids.to_uuid(endpoint_id))
            return None if before is None else await _apply(tx, before, transition, None)

    async def warmed(self, endpoint_id: str, report: WarmUpReport) -> None:
        await warm_ups.record(self._database, endpoint_id, report)

    async def served_version(self, version_id: str) -> ServedVersion | None:
        row = await self._database.fetchrow(
            "SELECT version, sha256, architecture FROM model_versions WHERE id = $1 AND status = 'ready'"
            " AND file_format = 'safetensors' AND architecture IS NOT NULL",
            ids.to_uuid(version_id),
        )
        if row is None:
            return None
        return ServedVersion(version_id, row["version"], row["sha256"], parse(json.loads(row["architecture"])))


async def _lock(tx: Connection, where: str, *arguments: object) -> Endpoint | None:
    """The endpoint, locked. It is read after the wait for the lock: a joined row would be as it was before."""
    locked = await tx.fetchval(f"SELECT e.id FROM endpoints e WHERE {where} FOR UPDATE", *arguments)  # noqa: S608
    if locked is None:
        return None
    row = await tx.fetchrow(f"SELECT {_ENDPOINT} FROM endpoints e WHERE e.id = $1", locked)  # noqa: S608
    return None if row is None else _endpoint(row)


async def _apply(tx: Connection, before: Endpoint, transition: Transition, room: Room | None) -> Endpoint:
    """The endpoint after the transition. Without `room` nothing new is taken up."""
    after = transition(before)
    if after is before:
        return before
    if after.pending is not None:
        for share in after.pending.traffic:
            await _hold_version(tx, after.workspace_id, share.version_id)
    if after.port is not None and (not keeps_port(after) or after.host != before.host):
        after = replace(after, port=None)
    if room is None:
        after = await _reclaimed(tx, after)
    await tx.execute(
        "UPDATE endpoints SET status = $2, status_reason = $3, replicas = $4, config = $5, port = $6, host = $7,"
        " generation = $8, pending = $9, updated_at = GREATEST(updated_at, $10) WHERE id = $1",
        ids.to_uuid(after.id),
        after.status.value,
        after.status_reason,
        after.replicas,
        json.dumps(after.config.to_json()),
        after.port,
        after.host,
        after.generation,
        None if after.pending is None else json.dumps(_deployment_json(after.pending)),
        after.updated_at,
    )
    if after.traffic != before.traffic:
        await tx.execute("DELETE FROM endpoint_traffic WHERE endpoint_id = $1", ids.to_uuid(after.id))
        await _write_traffic(tx, after)
    if room is not None:
        after = await _housed(tx, after, room, before)
    return after


async def _reclaimed(tx: Connection, endpoint: Endpoint) -> Endpoint:
    """With the very port that it wants, if it has none and that one is free: a change of it was dropped."""
    wanted = wanted_port(endpoint) if endpoint.port is None else None
    if not wanted:
        return endpoint
    taken = await tx.fetchval("SELECT 1 FROM endpoints WHERE host = $1 AND port = $2", endpoint.host, wanted)
    return endpoint if taken else replace(endpoint, port=wanted)


async def _insert(tx: Connection, scope: Scope, endpoint: Endpoint) -> bool:
    """Whether the name was free."""
    made = await tx.fetchval(
        _INSERT,
        ids.to_uuid(endpoint.id),
        _workspace(scope),
        ids.to_uuid(endpoint.owner_id),
        endpoint.name,
        endpoint.status.value,
        endpoint.status_reason,
        endpoint.replicas,
        json.dumps(endpoint.config.to_json()),
        endpoint.port,
        endpoint.host,
        endpoint.generation,
        endpoint.created_at,
    )
    return made is not None


async def _hold_version(tx: Connection, workspace_id: str, version_id: str) -> None:
    """Keeps a version of the workspace from being deleted until the commit."""
    held = await tx.fetchval(
        "SELECT 1 FROM model_versions WHERE workspace_id = $1 AND id = $2 FOR KEY SHARE",
        ids.to_uuid(workspace_id),
        ids.to_uuid(version_id),
    )
    if held is None:
        raise _version_gone()


async def _write_traffic(tx: Connection, endpoint: Endpoint) -> None:
    for share in endpoint.traffic:
        await _hold_version(tx, endpoint.workspace_id, share.version_id)
        await tx.execute(
            "INSERT INTO endpoint_traffic (endpoint_id, version_id, weight, failure) VALUES ($1, $2, $3, $4)",
            ids.to_uuid(endpoint.id),
            ids.to_uuid(share.version_id),
            share.weight,
            share.failure,
        )


def _version_gone() -> NotFound:
    return NotFound("there is no such model version", field="version_id")


async def _housed(tx: Connection, endpoint: Endpoint, room: Room, before: Endpoint | None = None) -> Endpoint:
    """With what it needs on its host. Raises Conflict when it would be one active endpoint, or one port, too many."""
    if not endpoint.status.active or endpoint.host is None:
        return endpoint
    arrives = before is None or not before.status.active or before.host != endpoint.host
    wanted = wanted_port(endpoint) if endpoint.port is None else None
    if not arrives and wanted is None:
        return endpoint
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('endpoints of ' || $1::text, 0))", endpoint.host)
    others = await tx.fetch(
        "SELECT port FROM endpoints WHERE host = $1 AND status = ANY($2::text[]) AND id <> $3",
        endpoint.host,
        _ACTIVE,
        ids.to_uuid(endpoint.id),
    )
    if arrives and len(others) >= room.most:
        raise Conflict(
            f"{len(others)} endpoints run on this server already; at most {room.most} may (inference.max_endpoints)"
        )
    if wanted is None:
        return endpoint
    port = room.ports.pick(wanted, {row["port"] for row in others})
    await tx.execute("UPDATE endpoints SET port = $2 WHERE id = $1", ids.to_uuid(endpoint.id), port)
    return replace(endpoint, port=port)


async def _of_token(tx: Connection, scope: Scope, endpoint: UUID) -> Endpoint:
    found = await _lock(tx, "e.workspace_id = $1 AND e.id = $2", _workspace(scope), endpoint)
    if found is None or found.id not in _reach(scope):
        raise NotFound("what this client token made is gone", field="client_token")
    return found


def _reach(scope: Scope) -> Reach:
    return scope.reach(ResourceKind.ENDPOINTS)


def _listing(scope: Scope, name: str, where: str, *arguments: object) -> Listing[Endpoint]:
    readable, more = within(_reach(scope), "e.id", FIRST_ARGUMENT + len(arguments))
    return Listing(
        columns=_ENDPOINT,
        source="endpoints e",
        where=where + readable,
        order=_NEWEST,
        keyset=Keyset((name,), (datetime, str)),
        item=_endpoint,
        key=lambda row: (row["created_at"], ids.from_uuid("end", row["id"])),
        arguments=(*arguments, *more),
    )


def _workspace(scope: Scope) -> UUID:
    return ids.to_uuid(scope.workspace_id)


def _deployment_json(deployment: Deployment) -> dict[str, Any]:
    return {
        "traffic": [{"version_id": share.version_id, "weight": share.weight} for share in deployment.traffic],
        "replicas": deployment.replicas,
        "config": deployment.config.to_json(),
    }


def _deployment(stored: str | None) -> Deployment | None:
    if stored is None:
        return None
    found = json.loads(stored)
    traffic = ordered(EndpointTraffic(**share) for share in found["traffic"])
    return Deployment(traffic, found["replicas"], EndpointConfig(**found["config"]))


def _endpoint(row: asyncpg.Record) -> Endpoint:
    return Endpoint(
        id=ids.from_uuid("end", row["id"]),
        workspace_id=ids.from_uuid("wsp", row["workspace_id"]),
        name=row["name"],
        status=EndpointStatus(row["status"]),
        status_reason=row["status_reason"],
        traffic=list(
            ordered(
                EndpointTraffic(ids.from_uuid("ver", UUID(version)), weight, failure)
                for version, weight, failure in json.loads(row["traffic"] or "[]")
            )
        ),
        replicas=row["replicas"],
        config=EndpointConfig(**json.loads(row["config"])),
        port=row["port"],
        owner_id=ids.from_uuid("usr", row["owner_id"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        host=row["host"],
        host_lost=row["host_lost"],
        generation=row["generation"],
        pending=_deployment(row["pending"]),
    )
