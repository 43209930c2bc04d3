"""Where experiments are kept. All SQL for experiments is here.

Making or changing one takes the workspace's experiment lock (an advisory lock that ends with the transaction), under
which its number is counted and its name looked up: so numbers have no gap, and several who want one name meet in one
row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg

from domain import ids
from domain.access import Scope
from domain.errors import Conflict, NotFound
from domain.experiments import Experiment, ExperimentListing, NewExperiment
from domain.idempotency import ClientToken
from domain.paging import EXACT_TOTAL_LIMIT, NOT_COUNTED, Page, Total
from persistence import idempotency, search
from persistence.audit import change
from persistence.database import Connection, Database

_COLUMNS = "e.id, e.number, e.name, e.description, e.created_at, e.updated_at, e.archived_at, e.owner_id"
_LOCK_WORKSPACE = "SELECT pg_advisory_xact_lock(hashtextextended('experiments:' || $1::uuid::text, 0))"
_INSERT = f"""
    INSERT INTO experiments AS e
        (id, workspace_id, owner_id, number, name, living_name, description, created_at, updated_at)
    VALUES ($1, $2, $3, (SELECT COALESCE(max(number), 0) + 1 FROM experiments WHERE workspace_id = $2),
            $4::text, $4::text, $5, $6, $6)
    RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only

_SEARCH = search.Columns(
    attributes={
        "name": "e.name",
        "description": "e.description",
        "number": "e.number",
        "created": "e.created_at",
        "updated": "e.updated_at",
        "archived": "(e.archived_at IS NOT NULL)",
        "owner": "(SELECT u.email FROM users u WHERE u.id = e.owner_id)",
    },
    ids={"id": "e.id", "owner": "e.owner_id"},
)


def read_experiment(row: asyncpg.Record) -> Experiment:
    """An experiment from a row of `_COLUMNS`."""
    return Experiment(
        id=ids.from_uuid("exp", row["id"]),
        number=row["number"],
        name=row["name"],
        description=row["description"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        archived_at=row["archived_at"],
        owner_id=ids.from_uuid("usr", row["owner_id"]),
    )


async def insert_experiment(tx: Connection, scope: Scope, new: NewExperiment) -> Experiment:
    """Adds an experiment under the workspace's lock. Raises Conflict when a living one has the name."""
    await tx.execute(_LOCK_WORKSPACE, ids.to_uuid(scope.workspace_id))
    if await living_experiment(tx, scope, new.name) is not None:
        raise _name_taken(new.name)
    row = await tx.fetchrow(
        _INSERT,
        ids.to_uuid(new.id),
        ids.to_uuid(scope.workspace_id),
        ids.to_uuid(scope.principal.user_id),
        new.name,
        new.description,
        new.created_at,
    )
    assert row is not None  # noqa: S101 - INSERT ... RETURNING answers a row
    return read_experiment(row)


async def living_experiment(connection: Connection, scope: Scope, name: str) -> Experiment | None:
    """The living experiment of that name."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM experiments e WHERE e.workspace_id = $1 AND e.living_name = $2",  # noqa: S608
        ids.to_uuid(scope.workspace_id),
        name,
    )
    return None if row is None else read_experiment(row)


async def ensure_experiment(tx: Connection, scope: Scope, new: NewExperiment) -> Experiment:
    """The living experiment of that name, made now when there is none: also when several ask at once."""
    found = await living_experiment(tx, scope, new.name)
    if found is not None:
        return found
    await tx.execute(_LOCK_WORKSPACE, ids.to_uuid(scope.workspace_id))
    return await living_experiment(tx, scope, new.name) or await insert_experiment(tx, scope, new)


def _name_taken(name: str) -> Conflict:
    return Conflict(f"an experiment called {name!r} exists already", field="name")


class PostgresExperiments:
    """Implements `domain.experiments.ExperimentRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, scope: Scope, new: NewExperiment, token: ClientToken | None) -> Experiment:
        async with change(self._database) as tx:
            first = await idempotency.claim(tx, scope, token, ids.to_uuid(new.id))
            if first is None:
                made = await insert_experiment(tx, scope, new)
                tx.made(made.id)
                return made
        return await self._one(scope, first)

    async def _one(self, scope: Scope, experiment: UUID) -> Experiment:
        found = await self.by_ids(scope, [ids.from_uuid("exp", experiment)])
        if not found:
            raise NotFound("what this client token made is gone", field="client_token")
        return next(iter(found.values()))

    async def change(self, scope: Scope, experiment_id: str, decide: Callable[[Experiment], Experiment]) -> Experiment:
        async with change(self._database) as tx:
            await tx.execute(_LOCK_WORKSPACE, ids.to_uuid(scope.workspace_id))
            row = await tx.fetchrow(
                f"SELECT {_COLUMNS} FROM experiments e WHERE e.workspace_id = $1 AND e.id = $2 FOR UPDATE",  # noqa: S608
                ids.to_uuid(scope.workspace_id),
                ids.to_uuid(experiment_id),
            )
            if row is None:
                raise NotFound("there is no such experiment", field="id")
            old = read_experiment(row)
            new = decide(old)
            if new != old:
                await self._save(tx, new)
                tx.made(new.id)
            return new

    async def _save(self, tx: Connection, new: Experiment) -> None:
        try:
            await tx.execute(
                "UPDATE experiments SET name = $2::text, description = $3, updated_at = $4, archived_at = $5,"
                " living_name = CASE WHEN $5::timestamptz IS NULL THEN $2::text END WHERE id = $1",
                ids.to_uuid(new.id),
                new.name,
                new.description,
                new.updated_at,
                new.archived_at,
            )
        except asyncpg.UniqueViolationError:  # the only unique column that a change touches is living_name
            raise _name_taken(new.name) from None

    async def by_ids(self, scope: Scope, experiment_ids: Sequence[str]) -> dict[str, Experiment]:
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM experiments e WHERE e.workspace_id = $1 AND e.id = ANY($2::uuid[])",  # noqa: S608
            ids.to_uuid(scope.workspace_id),
            [ids.to_uuid(experiment_id) for experiment_id in experiment_ids],
        )
        return {found.id: found for found in map(read_experiment, rows)}

    async def by_name(self, scope: Scope, name: str) -> Experiment | None:
        return await living_experiment(self._database, scope, name)

    async def _total(self, where: str, arguments: list[object]) -> Total:
        counted = await search.fetch(
            self._database,
            f"SELECT count(*) AS n FROM (SELECT 1 FROM experiments e WHERE {where} LIMIT {EXACT_TOTAL_LIMIT + 1}) c",  # noqa: S608
            arguments,
        )
        return Total.capped(counted[0]["n"])

    async def page(self, scope: Scope, listing: ExperimentListing) -> Page[Experiment]:
        condition, arguments = search.compile(listing.filter, _SEARCH, 2)
        where = f"e.workspace_id = $1 AND {condition}"
        if listing.archived is not None:
            where += f" AND e.archived_at IS {'NOT ' if listing.archived else ''}NULL"
        arguments = [ids.to_uuid(scope.workspace_id), *arguments]
        total = await self._total(where, arguments) if listing.page.total else NOT_COUNTED
        if listing.page.after is not None:
            created, experiment_id = listing.keyset.decode(listing.page.after)
            where += f" AND (e.created_at, e.id) < (${len(arguments) + 1}, ${len(arguments) + 2}::uuid)"
            arguments += [created, ids.to_uuid(ids.parse("exp", str(experiment_id), field="after"))]
        rows = await search.fetch(
            self._database,
            f"SELECT {_COLUMNS} FROM experiments e WHERE {where} ORDER BY e.created_at DESC, e.id DESC"  # noqa: S608
            f" LIMIT {listing.page.first + 1} OFFSET {listing.offset}",
            arguments,
        )
        found = [read_experiment(row) for row in rows[: listing.page.first]]
        return Page(
            nodes=found,
            cursors=[listing.keyset.encode((each.created_at, each.id)) for each in found],
            has_next_page=len(rows) > listing.page.first,
            has_previous_page=listing.page.after is not None or listing.offset > 0,
            total=total,
        )
