"""Reading metrics from PostgreSQL: summaries, keys, series, what is new, and every point.

Each answer comes from one snapshot. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from asyncpg import Record

from domain import ids
from domain.access import ResourceKind, Scope
from domain.errors import Unavailable
from domain.metrics import (
    MAX_KEYS,
    Column,
    KeysRequest,
    MetricKey,
    MetricsSince,
    MetricStream,
    MetricSummary,
    RunSeries,
    SeriesAxis,
    SeriesRequest,
    SummariesRequest,
    joined,
)
from domain.metrics.batch import MAX_STEP, MIN_STEP
from domain.metrics.series import window_bounds
from domain.paging import Keyset, Page, Total
from domain.runs import RunStatus
from persistence.database import Database
from persistence.metrics import read_sql as sql
from persistence.metrics.codec import decode
from persistence.metrics.drawing import Drawing
from persistence.metrics.export import exported
from persistence.metrics.rows import off_loop, read_summary
from persistence.reach import reached

POINTS_AT_ONCE: Final = 200_000
BATCHES_AT_ONCE: Final = 5_000
HEAVY_POINTS: Final = 4_000
_HEAVY_BYTES: Final = 64 * 1024
_ATTEMPTS: Final = 5
_KEYS: Final = Keyset(("metric_keys",), (str,))


class MetricReads:
    """The reading half of `MetricStore`, on the process's pool."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def exists(self, scope: Scope, run_id: str) -> bool:
        if run_id not in scope.reach(ResourceKind.RUNS):
            return False
        found = await self._database.fetchval(sql.EXISTS, ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id))
        return found is not None

    async def summaries(
        self, scope: Scope, run_ids: list[str], request: SummariesRequest
    ) -> dict[str, list[MetricSummary]]:
        rows = await self._of_runs(
            sql.SUMMARIES,
            scope,
            run_ids,
            None if request.keys is None else list(request.keys),
            request.first,
            request.stream is MetricStream.SYSTEM,
        )
        found: dict[str, list[MetricSummary]] = {run_id: [] for run_id in run_ids}
        for row in rows:
            found[ids.from_uuid("run", row["run_id"])].append(read_summary(row))
        return found

    async def keys(self, scope: Scope, run_ids: list[str], request: KeysRequest) -> dict[str, Page[MetricKey]]:
        page = request.page
        (after,) = (None,) if page.after is None else _KEYS.decode(page.after)
        system = request.stream is MetricStream.SYSTEM
        rows = await self._of_runs(sql.KEYS, scope, run_ids, after, page.first + 1, system)
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
        by_step = request.axis is SeriesAxis.STEP
        low, high = window_bounds(request) if by_step else (MIN_STEP, MAX_STEP)
        for _ in range(_ATTEMPTS):
            rows = await self._of_runs(
                sql.SERIES,
                scope,
                run_ids,
                None if request.keys is None else list(request.keys),
                request.first if request.keys is None and request.first < MAX_KEYS else None,
                not by_step,
                min(low, MAX_STEP),
                max(high, MIN_STEP),
                request.stream is MetricStream.SYSTEM,
            )
            drawing = await off_loop(_are_heavy(rows, "data"), lambda rows=rows: _begun(run_ids, rows, request))  # type: ignore[misc]  # rows is bound
            if await self._completed(drawing):
                picked = request.picks  # the batches that are not sealed hold both streams
                return {
                    run_id: RunSeries([each for each in drawn.series if picked(each.key)], drawn.seq)
                    for run_id, drawn in drawing.series().items()
                }
        raise Unavailable("the metrics are being rearranged; try again", retry_after=1)

    async def _completed(self, drawing: Drawing) -> bool:
        """Reads what a drawing lacks; False when a chunk was replaced meanwhile, so that it must begin again."""
        while wanted := drawing.wanted:
            whole = [chunk for chunk, kind in wanted.items() if kind == sql.POINTS]
            rows = await self._database.fetch(sql.MORE, list(wanted), whole)
            if len(rows) < len(wanted):
                return False
            await off_loop(_are_heavy(rows, "data"), lambda rows=rows: _continued(drawing, rows))  # type: ignore[misc]  # rows is bound
        return True

    async def since(self, scope: Scope, run_id: str, seq: int, until: int | None = None) -> MetricsSince | None:
        if run_id not in scope.reach(ResourceKind.RUNS):
            return None
        # Sequence numbers have no gaps, so a number of batches is a place.
        batches = BATCHES_AT_ONCE if until is None else min(BATCHES_AT_ONCE, max(0, until - seq))
        rows = await self._database.fetch(
            sql.NEXT, ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id), seq, POINTS_AT_ONCE, batches
        )
        if not rows:
            return None
        stored = [row for row in rows if row["payload"] is not None]
        return MetricsSince(
            columns=await off_loop(_are_heavy(stored, "payload"), lambda: _joined(_decoded(stored))),
            seq=stored[-1]["seq"] if stored else seq,
            head=rows[0]["head"],
            status=RunStatus(rows[0]["status"]),
            stop_requested=rows[0]["stop_requested"],
            sealed=seq < rows[0]["sealed_seq"],
        )

    def points(self, scope: Scope, run_id: str, keys: tuple[str, ...] | None) -> AsyncIterator[list[Column]]:
        return exported(self._database, scope, run_id, keys)

    async def _of_runs(self, statement: str, scope: Scope, run_ids: Sequence[str], *more: object) -> list[Record]:
        runs = [ids.to_uuid(run_id) for run_id in reached(scope.reach(ResourceKind.RUNS), run_ids)]
        return await self._database.fetch(statement, ids.to_uuid(scope.workspace_id), runs, *more)


def _are_heavy(rows: Sequence[Record], column: str) -> bool:
    return sum(len(row[column] or b"") for row in rows) > _HEAVY_BYTES or len(rows) > HEAVY_POINTS // 10


def _begun(run_ids: Sequence[str], rows: Sequence[Record], request: SeriesRequest) -> Drawing:
    drawing = Drawing(run_ids, rows, request)
    drawing.advance()
    return drawing


def _continued(drawing: Drawing, rows: Sequence[Record]) -> None:
    drawing.take(rows)
    drawing.advance()


def _decoded(rows: Sequence[Record]) -> dict[str, list[Column]]:
    by_key: dict[str, list[Column]] = {}
    for row in rows:
        for column in decode(row["payload"]):
            by_key.setdefault(column.key, []).append(column)
    return by_key


def _joined(by_key: dict[str, list[Column]]) -> list[Column]:
    return [joined(parts) for parts in by_key.values()]
