"""Reading metrics from PostgreSQL: summaries, keys, series, what is new, and every point.

Each answer comes from one snapshot. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from asyncpg import Record

from domain import ids
from domain.access import Scope
from domain.metrics import (
    MAX_KEYS,
    Column,
    KeysRequest,
    MetricKey,
    MetricsSince,
    MetricSummary,
    RunSeries,
    SeriesRequest,
    SummariesRequest,
    draw_all,
    joined,
)
from domain.paging import Keyset, Page, Total
from domain.runs import RunStatus
from persistence.database import Database
from persistence.metrics import sql
from persistence.metrics.codec import decode
from persistence.metrics.rows import milliseconds, off_loop, read_summary

POINTS_AT_ONCE: Final = 200_000
BATCHES_AT_ONCE: Final = 5_000
HEAVY_POINTS: Final = 4_000
_HEAVY_BYTES: Final = 64 * 1024
_KEYS: Final = Keyset(("metric_keys",), (str,))


class MetricReads:
    """The reading half of `MetricStore`, on the process's pool."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def exists(self, scope: Scope, run_id: str) -> bool:
        found = await self._database.fetchval(sql.EXISTS, ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id))
        return found is not None

    async def summaries(
        self, scope: Scope, run_ids: list[str], request: SummariesRequest
    ) -> dict[str, list[MetricSummary]]:
        rows = await self._of_runs(
            sql.SUMMARIES, scope, run_ids, None if request.keys is None else list(request.keys), request.first
        )
        found: dict[str, list[MetricSummary]] = {run_id: [] for run_id in run_ids}
        for row in rows:
            found[ids.from_uuid("run", row["run_id"])].append(read_summary(row))
        return found

    async def keys(self, scope: Scope, run_ids: list[str], request: KeysRequest) -> dict[str, Page[MetricKey]]:
        page = request.page
        (after,) = (None,) if page.after is None else _KEYS.decode(page.after)
        rows = await self._of_runs(sql.KEYS, scope, run_ids, after, page.first + 1)
        found: dict[str, Page[MetricKey]] = {
            run_id: Page([], [], has_next_page=False, has_previous_page=False, total=Total(0)) for run_id in run_ids
        }
        for row in rows:
            keys = row["keys"][: page.first]
            found[ids.from_uuid("run", row["run_id"])] = Page(
                [MetricKey(key) for key in keys],
                [_KEYS.encode((key,)) for key in keys],
                has_next_page=len(row["keys"]) > page.first,
                has_previous_page=page.after is not None,
                total=Total.capped(row["total"]),
            )
        return found

    async def series(self, scope: Scope, run_ids: list[str], request: SeriesRequest) -> dict[str, RunSeries]:
        keys = None if request.keys is None else frozenset(request.keys)
        wanted: dict[str, frozenset[str] | None] = dict.fromkeys(run_ids, keys)
        rows = await self._of_runs(sql.BATCHES, scope, run_ids)
        if keys is None and request.first < MAX_KEYS:
            # After the batches: a key that comes up in between then lies behind the answer, not in a hole of it.
            named = await self._of_runs(sql.KEYS, scope, run_ids, None, request.first)
            wanted = dict.fromkeys(run_ids, frozenset[str]())
            wanted |= {ids.from_uuid("run", row["run_id"]): frozenset(row["keys"]) for row in named}
        drawn = await off_loop(_are_heavy(rows), lambda: _drawn(rows, wanted, request))
        return {run_id: drawn.get(run_id) or RunSeries([], 0) for run_id in run_ids}

    async def since(self, scope: Scope, run_id: str, seq: int) -> MetricsSince | None:
        rows = await self._next(scope, run_id, seq)
        if not rows:
            return None
        stored = [row for row in rows if row["payload"] is not None]
        return MetricsSince(
            columns=await off_loop(_are_heavy(stored), lambda: _joined(_decoded(stored, None))),
            seq=stored[-1]["seq"] if stored else seq,
            head=rows[0]["head"],
            status=RunStatus(rows[0]["status"]),
            stop_requested=rows[0]["stop_requested"],
        )

    async def points(self, scope: Scope, run_id: str, keys: tuple[str, ...] | None) -> AsyncIterator[list[Column]]:
        wanted = None if keys is None else frozenset(keys)
        seq, head = 0, None
        while head is None or seq < head:
            rows = [row for row in await self._next(scope, run_id, seq) if row["payload"] is not None]
            if not rows:
                return
            head = rows[0]["head"] if head is None else head
            for row in rows:
                if row["seq"] > head:
                    return
                yield await off_loop(_are_heavy([row]), lambda row=row: decode(row["payload"], wanted))  # type: ignore[misc]  # row is bound
                seq = row["seq"]

    async def _next(self, scope: Scope, run_id: str, seq: int) -> list[Record]:
        return await self._database.fetch(
            sql.NEXT, ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id), seq, POINTS_AT_ONCE, BATCHES_AT_ONCE
        )

    async def _of_runs(self, statement: str, scope: Scope, run_ids: Sequence[str], *more: object) -> list[Record]:
        runs = [ids.to_uuid(run_id) for run_id in run_ids]
        return await self._database.fetch(statement, ids.to_uuid(scope.workspace_id), runs, *more)


def _are_heavy(rows: Sequence[Record]) -> bool:
    return sum(len(row["payload"] or b"") for row in rows) > _HEAVY_BYTES or len(rows) > HEAVY_POINTS // 10


def _decoded(rows: Sequence[Record], keys: frozenset[str] | None) -> dict[str, list[Column]]:
    by_key: dict[str, list[Column]] = {}
    for row in rows:
        for column in decode(row["payload"], keys):
            by_key.setdefault(column.key, []).append(column)
    return by_key


def _joined(by_key: dict[str, list[Column]]) -> list[Column]:
    return [joined(parts) for parts in by_key.values()]


def _drawn(
    rows: Sequence[Record], wanted: dict[str, frozenset[str] | None], request: SeriesRequest
) -> dict[str, RunSeries]:
    by_run: dict[str, list[Record]] = {}
    for row in rows:
        by_run.setdefault(ids.from_uuid("run", row["run_id"]), []).append(row)
    drawn = {}
    for run_id, batches in by_run.items():
        columns, began = _joined(_decoded(batches, wanted[run_id])), milliseconds(batches[0]["began"])
        drawn[run_id] = RunSeries(draw_all(columns, request, began, runs=len(by_run)), batches[-1]["seq"])
    return drawn
