"""Where runs are kept, with their params and tags. All SQL for single runs is here; lists are in `run_lists`.

Every change locks the run's head first, as the writers of metrics and logs do, so that a change of state and a write
never pass each other unseen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from domain import ids
from domain.access import Reach, ResourceKind, Scope
from domain.errors import Conflict, DomainError, NotFound
from domain.experiments import NewExperiment
from domain.idempotency import ClientToken
from domain.paging import NOT_COUNTED, Page, Total
from domain.runs import Moment, NewRun, Param, Run, RunListing, RunParents, RunStatus, Tag
from domain.runs.bulk import placed
from domain.runs.values import as_json
from persistence import idempotency
from persistence.audit import change
from persistence.database import Connection, Database
from persistence.experiments import PostgresExperiments, ensure_experiment
from persistence.reach import link, reached
from persistence.run_lists import FoundPage, fetch_marks, fetch_pages, fetch_standing
from persistence.run_query import RUN_COLUMNS, cursor_key

_ONE: Final = f"""
    SELECT {RUN_COLUMNS} FROM runs r
    WHERE r.workspace_id = $1 AND r.id = ANY($2::uuid[]) AND r.purged_at IS NULL
"""  # noqa: S608 - constants only
_LOCK_HEAD: Final = """
    SELECT 1 FROM run_heads h JOIN runs r ON r.id = h.run_id
    WHERE h.run_id = $2 AND r.workspace_id = $1 FOR UPDATE OF h
"""
_LOCK_HEADS: Final = """
    SELECT 1 FROM run_heads h JOIN runs r ON r.id = h.run_id
    WHERE h.run_id = ANY($2::uuid[]) AND r.workspace_id = $1 ORDER BY h.run_id FOR UPDATE OF h
"""
_SAVE: Final = """
    UPDATE runs SET name = $2, status = $3, stop_requested = $4, model_type = $5, config = $6, notes = $7,
        failure = $8, started_at = $9, ended_at = $10, last_activity_at = $11, archived_at = $12, experiment_id = $13
    WHERE id = $1 AND workspace_id = $14
"""
_INSERT: Final = """
    INSERT INTO runs (id, workspace_id, experiment_id, owner_id, parent_id, name, status, stop_requested, model_type,
                      config, notes, created_at, started_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, false, $8, $9, $10, $11, $12)
"""
_INSERT_PARAM: Final = "INSERT INTO run_params (run_id, key, value, text, number) VALUES ($1, $2, $3, $4, $5)"
_PUT_TAG: Final = """
    INSERT INTO run_tags (run_id, key, value) VALUES ($1, $2, $3)
    ON CONFLICT (run_id, key) DO UPDATE SET value = EXCLUDED.value
"""
_SWEPT_AT_ONCE: Final = 200
PURGED: Final = "SELECT id FROM runs WHERE purged_at IS NOT NULL ORDER BY purged_at"
_PURGED_PARTS: Final = (
    "metric_batches",
    "metric_chunks",
    "metric_summaries",
    "log_lines",
    "log_batches",
    "run_params",
    "run_tags",
)


def read_run(row: asyncpg.Record, at: Moment, reach: Reach) -> Run:
    """A run from a row of RUN_COLUMNS; without its parent, where that is not within reach."""
    params = [Param(key, value, text) for key, value, text in json.loads(row["params"] or "[]")]
    tags = [Tag(key, value) for key, value in json.loads(row["tags"] or "[]")]
    return Run(
        id=ids.from_uuid("run", row["id"]),
        name=row["name"],
        status=RunStatus(row["status"]),
        stop_requested=row["stop_requested"],
        model_type=row["model_type"],
        config=json.loads(row["config"]),
        params=tuple(sorted(params, key=lambda param: param.key)),
        tags=tuple(sorted(tags, key=lambda tag: tag.key)),
        notes=row["notes"],
        failure=row["failure"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        last_activity_at=row["last_activity_at"],
        archived_at=row["archived_at"],
        owner_id=ids.from_uuid("usr", row["owner_id"]),
        experiment_id=ids.from_uuid("exp", row["experiment_id"]),
        parent_id=None if row["parent_id"] is None else link(reach, ids.from_uuid("run", row["parent_id"])),
        seen=at,
    )


class PostgresRuns:
    """Implements `domain.runs.RunRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._experiments = PostgresExperiments(database)

    async def create(self, scope: Scope, new: NewRun, token: ClientToken | None, at: Moment) -> Run:
        run_id = new.id
        async with change(self._database) as tx:
            first = await idempotency.claim(tx, scope, token, ids.to_uuid(new.id))
            if first is None:
                await self._insert(tx, scope, new)
                tx.made(new.id)
            else:
                run_id = ids.from_uuid("run", first)
            found = await _read(tx, scope, [run_id], at)
        if run_id not in found:
            raise NotFound("what this client token made is gone", field="client_token")
        return found[run_id]

    async def _insert(self, tx: Connection, scope: Scope, new: NewRun) -> None:
        experiment_id = await self._experiment(tx, scope, new)
        await _check_parent(tx, scope, new.parent_id)
        model_type, config = await _described(tx, scope, new)
        run = ids.to_uuid(new.id)
        await tx.execute(
            _INSERT,
            run,
            ids.to_uuid(scope.workspace_id),
            ids.to_uuid(experiment_id),
            ids.to_uuid(scope.principal.user_id),
            None if new.parent_id is None else ids.to_uuid(new.parent_id),
            new.name,
            new.status.value,
            model_type,
            config,
            new.notes,
            new.created_at,
            new.created_at if new.status is RunStatus.RUNNING else None,
        )
        await tx.execute("INSERT INTO run_heads (run_id, metric_seq, log_seq, points) VALUES ($1, 0, 0, 0)", run)
        await _add_params(tx, run, new.params)
        await _put_tags(tx, run, new.tags)

    async def _experiment(self, tx: Connection, scope: Scope, new: NewRun) -> str:
        choice = new.experiment
        if choice.id is None:
            made = NewExperiment(choice.new_id, choice.name or "", None, new.created_at)
            return (await ensure_experiment(tx, scope, made)).id
        found = (await self._experiments.by_ids(scope, [choice.id])).get(choice.id)
        if found is None:
            raise NotFound("there is no such experiment", field="experiment")
        if found.archived:
            raise Conflict("the experiment is archived; restore it first", field="experiment")
        return found.id

    async def change(self, scope: Scope, run_id: str, at: Moment, decide: Callable[[Run], Run]) -> tuple[Run, bool]:
        async with change(self._database) as tx:
            old = await _locked(tx, scope, run_id, at)
            new = decide(old)
            if new == old:
                return old, False
            await _save(tx, scope, old, new)
            tx.made(new.id)
            return new, True

    async def change_many(
        self, scope: Scope, run_ids: Sequence[str], at: Moment, decide: Callable[[Run], Run]
    ) -> list[str]:
        async with change(self._database) as tx:
            changed = []
            for place, old in await _all_locked(tx, scope, run_ids, at):
                try:
                    new = decide(old)
                except DomainError as problem:
                    raise placed(problem, place) from problem
                if new != old:
                    changed.append((old, new))
            await _save_all(tx, scope, changed)
            if changed:
                tx.made(*(new.id for _, new in changed))
        return [new.id for _, new in changed]

    async def by_ids(self, scope: Scope, run_ids: Sequence[str], at: Moment) -> dict[str, Run]:
        return await _read(self._database, scope, run_ids, at)

    async def page(self, scope: Scope, wanted: RunListing, at: Moment) -> Page[Run]:
        pages = await fetch_pages(self._database, scope, wanted, at)
        return _page(pages[None], wanted, at, _reach(scope))

    async def pages(self, scope: Scope, parents: RunParents, wanted: RunListing, at: Moment) -> dict[str, Page[Run]]:
        uuids = {ids.to_uuid(parent): parent for parent in parents.ids}
        pages = await fetch_pages(self._database, scope, wanted, at, (parents.kind, list(uuids)))
        return {parent: _page(pages[uuid], wanted, at, _reach(scope)) for uuid, parent in uuids.items()}

    async def marks(self, scope: Scope, wanted: RunListing, at: Moment, *, most: int) -> dict[str, str]:
        rows = await fetch_marks(self._database, scope, wanted, at, most)
        return {ids.from_uuid("run", row["id"]): row["mark"] for row in rows}

    async def standing(
        self, scope: Scope, wanted: RunListing, run_ids: Sequence[str], at: Moment
    ) -> dict[str, str | None]:
        rows = await fetch_standing(self._database, scope, wanted, at, [ids.to_uuid(run_id) for run_id in run_ids])
        return {ids.from_uuid("run", row["id"]): row["mark"] if row["listed"] else None for row in rows}

    async def mark_purged(self, scope: Scope, run_id: str, at: Moment) -> None:
        async with change(self._database) as tx:
            run = await _locked(tx, scope, run_id, at)
            if not run.archived:
                raise _refusal_of_living()
            await tx.execute("UPDATE runs SET purged_at = $2 WHERE id = $1", ids.to_uuid(run_id), at.now)
            tx.made(run_id)

    async def mark_many_purged(self, scope: Scope, run_ids: Sequence[str], at: Moment) -> None:
        async with change(self._database) as tx:
            for place, run in await _all_locked(tx, scope, run_ids, at):
                if not run.archived:
                    raise placed(_refusal_of_living(), place)
            uuids = [ids.to_uuid(run_id) for run_id in run_ids]
            await tx.execute("UPDATE runs SET purged_at = $2 WHERE id = ANY($1::uuid[])", uuids, at.now)
            if run_ids:
                tx.made(*dict.fromkeys(run_ids))

    async def sweep(self, *, rows: int) -> int:
        purged = [UUID(bytes=row["id"].bytes) for row in await self._database.fetch(PURGED)]
        gone = 0
        for start in range(0, len(purged), _SWEPT_AT_ONCE):
            runs = purged[start : start + _SWEPT_AT_ONCE]
            for table in _PURGED_PARTS:
                await self._empty(table, runs, rows)
            gone += await self._database.execute(
                "DELETE FROM runs WHERE id = ANY($1::uuid[]) AND purged_at IS NOT NULL", runs
            )
        return gone

    async def _empty(self, table: str, runs: list[UUID], rows: int) -> None:
        """Deletes the rows that runs have in one table piece by piece, each piece in a transaction of its own."""
        piece = (
            f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("  # noqa: S608 - a name from the tuple above
            f"SELECT ctid FROM {table} WHERE run_id = ANY($1::uuid[]) LIMIT $2 FOR UPDATE SKIP LOCKED))"
        )
        while await self._database.execute(piece, runs, rows) == rows:
            pass


async def _read(connection: Connection, scope: Scope, run_ids: Sequence[str], at: Moment) -> dict[str, Run]:
    reach = _reach(scope)
    asked = [ids.to_uuid(run_id) for run_id in reached(reach, run_ids)]
    rows = await connection.fetch(_ONE, ids.to_uuid(scope.workspace_id), asked)
    return {run.id: run for run in (read_run(row, at, reach) for row in rows)}


def _reach(scope: Scope) -> Reach:
    return scope.reach(ResourceKind.RUNS)


async def _locked(tx: Connection, scope: Scope, run_id: str, at: Moment) -> Run:
    """The run as it is once its head is locked: the read is a statement of its own, after the wait."""
    await tx.execute(_LOCK_HEAD, ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id))
    run = (await _read(tx, scope, [run_id], at)).get(run_id)
    if run is None:
        raise NotFound("there is no such run", field="id")
    return run


async def _all_locked(tx: Connection, scope: Scope, run_ids: Sequence[str], at: Moment) -> list[tuple[int, Run]]:
    """The runs as they are once all their heads are locked, in order of id; each with its first place, in that order.

    Raises NotFound naming the place of the first that is missing.
    """
    await tx.execute(_LOCK_HEADS, ids.to_uuid(scope.workspace_id), [ids.to_uuid(run_id) for run_id in run_ids])
    found = await _read(tx, scope, run_ids, at)
    locked: dict[str, tuple[int, Run]] = {}
    for place, run_id in enumerate(run_ids):
        if run_id not in found:
            raise NotFound("there is no such run", field=f"ids[{place}]")
        locked.setdefault(run_id, (place, found[run_id]))
    return list(locked.values())


def _refusal_of_living() -> Conflict:
    return Conflict("the run is not archived; delete it first", field="id")


async def _described(tx: Connection, scope: Scope, new: NewRun) -> tuple[str | None, str]:
    """The model type and the configuration, as JSON: what was given, and what was not as another run has it."""
    config = None if new.config is None else as_json(new.config)
    if new.config_from is None:
        return new.model_type, config or "{}"
    row = await tx.fetchrow(
        "SELECT model_type, config FROM runs WHERE workspace_id = $1 AND id = $2 AND purged_at IS NULL",
        ids.to_uuid(scope.workspace_id),
        ids.to_uuid(new.config_from),
    )
    if row is None or new.config_from not in _reach(scope):
        raise NotFound("there is no such run", field="config_from")
    return new.model_type or row["model_type"], config or row["config"]


async def _check_parent(tx: Connection, scope: Scope, parent_id: str | None) -> None:
    """A parent must be a living run of the workspace; it cannot be purged until the new run is committed."""
    if parent_id is None:
        return
    row = await tx.fetchrow(
        "SELECT archived_at IS NOT NULL AS archived FROM runs"
        " WHERE workspace_id = $1 AND id = $2 AND purged_at IS NULL FOR KEY SHARE",
        ids.to_uuid(scope.workspace_id),
        ids.to_uuid(parent_id),
    )
    if row is None or parent_id not in _reach(scope):
        raise NotFound("there is no such run", field="parent_id")
    if row["archived"]:
        raise Conflict("the parent run is archived; restore it first", field="parent_id")


async def _save(tx: Connection, scope: Scope, old: Run, new: Run) -> None:
    await tx.execute(_SAVE, *_row(scope, new))
    run = ids.to_uuid(new.id)
    held = {param.key for param in old.params}
    await _add_params(tx, run, [param for param in new.params if param.key not in held])
    await _save_tags(tx, [(old, new)])


async def _save_all(tx: Connection, scope: Scope, changed: Sequence[tuple[Run, Run]]) -> None:
    """Saves what became of many runs; bulk changes write no params."""
    if changed:
        await tx.executemany(_SAVE, [_row(scope, new) for _, new in changed])
        await _save_tags(tx, changed)


def _row(scope: Scope, run: Run) -> tuple[object, ...]:
    """The arguments of `_SAVE`."""
    return (
        ids.to_uuid(run.id),
        run.name,
        run.status.value,
        run.stop_requested,
        run.model_type,
        as_json(run.config),
        run.notes,
        run.failure,
        run.started_at,
        run.ended_at,
        run.last_activity_at,
        run.archived_at,
        ids.to_uuid(run.experiment_id),
        ids.to_uuid(scope.workspace_id),
    )


async def _save_tags(tx: Connection, changed: Sequence[tuple[Run, Run]]) -> None:
    put: list[tuple[UUID, str, str]] = []
    gone: list[tuple[UUID, list[str]]] = []
    for old, new in changed:
        if old.tags == new.tags:
            continue
        run, before, kept = ids.to_uuid(new.id), set(old.tags), {tag.key for tag in new.tags}
        put += [(run, tag.key, tag.value) for tag in new.tags if tag not in before]
        removed = [tag.key for tag in old.tags if tag.key not in kept]
        if removed:
            gone.append((run, removed))
    if put:
        await tx.executemany(_PUT_TAG, put)
    if gone:
        await tx.executemany("DELETE FROM run_tags WHERE run_id = $1 AND key = ANY($2::text[])", gone)


async def _add_params(tx: Connection, run: UUID, params: Sequence[Param]) -> None:
    if params:
        rows = [(run, param.key, as_json(param.value), param.text, param.number) for param in params]
        await tx.executemany(_INSERT_PARAM, rows)


async def _put_tags(tx: Connection, run: UUID, tags: Sequence[Tag]) -> None:
    if tags:
        await tx.executemany(_PUT_TAG, [(run, tag.key, tag.value) for tag in tags])


def _page(found: FoundPage, wanted: RunListing, at: Moment, reach: Reach) -> Page[Run]:
    rows: list[Any] = found.rows[: wanted.page.first]
    return Page(
        nodes=[read_run(row, at, reach) for row in rows],
        cursors=[wanted.cursor(cursor_key(row, wanted), at) for row in rows],
        has_next_page=len(found.rows) > wanted.page.first,
        has_previous_page=wanted.page.after is not None or wanted.offset > 0,
        total=NOT_COUNTED if found.counted is None else Total.capped(found.counted),
    )
