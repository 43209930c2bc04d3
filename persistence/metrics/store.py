"""The metric store on PostgreSQL: an append log of batches per run, and summaries kept with it.

Sequence numbers come from the run's head, which is locked until the commit: they have no gap and follow the order of
commits, so a reader that saw number n has seen everything before it. Nothing here publishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from asyncpg import Record

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput, Conflict, Unavailable
from domain.metrics import (
    MAX_KEYS,
    Appended,
    Batch,
    Column,
    Draft,
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
from persistence.database import Connection, Database
from persistence.metrics import sql
from persistence.metrics.codec import decode, encode
from persistence.run_writes import open_for_write

T = TypeVar("T")

RETRY_PAUSES: Final = (0.05, 0.25)
POINTS_AT_ONCE: Final = 200_000
BATCHES_AT_ONCE: Final = 5_000
_HEAVY_POINTS: Final = 4_000
_HEAVY_KEYS: Final = 100
_HEAVY_BYTES: Final = 64 * 1024
_KEYS: Final = Keyset(("metric_keys",), (str,))


async def _off_loop(heavy: bool, work: Callable[[], T]) -> T:
    """Work that only computes: in a thread when it would hold up the event loop."""
    return await asyncio.to_thread(work) if heavy else work()


class PostgresMetrics:
    """`MetricStore` on the process's pool."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def exists(self, scope: Scope, run_id: str) -> bool:
        found = await self._database.fetchval(sql.EXISTS, ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id))
        return found is not None

    # ------------------------------------------------------------------ writing

    async def append(self, scope: Scope, run_id: str, batch_id: str, draft: Draft, now: datetime) -> Appended:
        """After a lost commit the batch is sent again under its id, which stores it once whatever had happened."""
        digest = await _off_loop(draft.points > _HEAVY_POINTS, draft.digest)
        for pause in RETRY_PAUSES:
            try:
                return await self._append(scope, run_id, batch_id, draft, digest=digest, now=now)
            except Unavailable:
                await asyncio.sleep(pause)
        return await self._append(scope, run_id, batch_id, draft, digest=digest, now=now)

    async def _append(
        self, scope: Scope, run_id: str, batch_id: str, draft: Draft, *, digest: bytes, now: datetime
    ) -> Appended:
        async with self._database.transaction() as tx:
            try:
                run = await open_for_write(tx, scope, run_id, now)
            except Conflict:
                # The run may have ended after it took this very batch, whose answer was lost.
                earlier = await _earlier(tx, run_id, batch_id, digest)
                if earlier is None:
                    raise
                return earlier
            earlier = await _earlier(tx, run_id, batch_id, digest)
            if earlier is not None:
                return earlier
            # A batch of nothing but nulls is kept too: its id is taken, and its place in the sequence holds no point.
            batch, payload, fresh = await _off_loop(
                draft.points > _HEAVY_POINTS or len(draft.columns) > _HEAVY_KEYS,
                lambda: _prepared(draft, run.last_step, _milliseconds(now)),
            )
            summaries = await _columns_with(tx, run_id, fresh)
            seq = run.metric_seq + 1
            await tx.execute(
                sql.APPEND,
                ids.to_uuid(run_id),
                seq,
                batch_id,
                digest,
                batch.points,
                payload,
                now,
                batch.last_step if batch.points else None,
                *summaries,
            )
            return Appended(seq, batch.points, run.stop_requested, run.started)

    # ------------------------------------------------------------------ reading

    async def summaries(
        self, scope: Scope, run_ids: list[str], request: SummariesRequest
    ) -> dict[str, list[MetricSummary]]:
        rows = await self._of_runs(
            sql.SUMMARIES, scope, run_ids, None if request.keys is None else list(request.keys), request.first
        )
        found: dict[str, list[MetricSummary]] = {run_id: [] for run_id in run_ids}
        for row in rows:
            found[ids.from_uuid("run", row["run_id"])].append(_summary(row))
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
        drawn = await _off_loop(_are_heavy(rows), lambda: _drawn(rows, wanted, request))
        return {run_id: drawn.get(run_id) or RunSeries([], 0) for run_id in run_ids}

    async def since(self, scope: Scope, run_id: str, seq: int) -> MetricsSince | None:
        rows = await self._next(scope, run_id, seq)
        if not rows:
            return None
        stored = [row for row in rows if row["payload"] is not None]
        return MetricsSince(
            columns=await _off_loop(_are_heavy(stored), lambda: _joined(_decoded(stored, None))),
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
                yield await _off_loop(_are_heavy([row]), lambda row=row: decode(row["payload"], wanted))  # type: ignore[misc]  # row is bound
                seq = row["seq"]

    async def _next(self, scope: Scope, run_id: str, seq: int) -> list[Record]:
        return await self._database.fetch(
            sql.NEXT, ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id), seq, POINTS_AT_ONCE, BATCHES_AT_ONCE
        )

    async def _of_runs(self, statement: str, scope: Scope, run_ids: Sequence[str], *more: object) -> list[Record]:
        runs = [ids.to_uuid(run_id) for run_id in run_ids]
        return await self._database.fetch(statement, ids.to_uuid(scope.workspace_id), runs, *more)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


async def _earlier(tx: Connection, run_id: str, batch_id: str, digest: bytes) -> Appended | None:
    """What the ledger answers to a batch id. Raises Conflict when it stands for other content."""
    row = await tx.fetchrow(sql.LEDGER, ids.to_uuid(run_id), batch_id)
    if row is None:
        return None
    if row["digest"] != digest:
        raise Conflict("this batch id was used for other points of the run", field="batch_id")
    # Whether the first attempt started the run is not known any more: readers are told to look.
    return Appended(row["seq"], row["points"], row["stop_requested"], started=True)


def _prepared(draft: Draft, last_step: int | None, now_ms: int) -> tuple[Batch, bytes, list[MetricSummary]]:
    """The batch behind a run's last step, its payload, and the summary of each of its columns."""
    batch = draft.settle(last_step, now_ms)
    return batch, encode(batch), [MetricSummary.of(column) for column in batch.columns]


async def _columns_with(tx: Connection, run_id: str, fresh: list[MetricSummary]) -> tuple[list[Any], ...]:
    """The summaries that a batch's keys have after it, as columns of the statement that stores them.

    The run's head is locked, so nobody else changes them. Raises BadUserInput when the run would have too many keys.
    """
    rows = await tx.fetch(sql.SUMMARIES_OF_KEYS, ids.to_uuid(run_id), [summary.key for summary in fresh])
    added = len(fresh) - len(rows)
    if added and await tx.fetchval(sql.COUNT_KEYS, ids.to_uuid(run_id)) + added > MAX_KEYS:
        raise BadUserInput(f"a run has at most {MAX_KEYS} metric keys; this batch would add {added}")
    return await _off_loop(len(fresh) > _HEAVY_KEYS, lambda: _columns_of(_after(rows, fresh)))


def _after(rows: Sequence[Record], fresh: list[MetricSummary]) -> list[MetricSummary]:
    before = {row["key"]: _summary(row) for row in rows}
    return [before[summary.key].then(summary) if summary.key in before else summary for summary in fresh]


def _columns_of(summaries: list[MetricSummary]) -> tuple[list[Any], ...]:
    return (
        [summary.key for summary in summaries],
        [summary.last for summary in summaries],
        [summary.last_step for summary in summaries],
        [summary.min for summary in summaries],
        [summary.max for summary in summaries],
        [summary.mean for summary in summaries],
        [summary.count for summary in summaries],
        [summary.non_finite for summary in summaries],
    )


def _summary(row: Record) -> MetricSummary:
    return MetricSummary(
        row["key"],
        row["last_value"],
        row["last_step"],
        row["min_value"],
        row["max_value"],
        row["mean_value"],
        row["count"],
        row["non_finite"],
    )


def _are_heavy(rows: Sequence[Record]) -> bool:
    return sum(len(row["payload"] or b"") for row in rows) > _HEAVY_BYTES or len(rows) > _HEAVY_POINTS // 10


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
        columns, began = _joined(_decoded(batches, wanted[run_id])), _milliseconds(batches[0]["began"])
        drawn[run_id] = RunSeries(draw_all(columns, request, began, runs=len(by_run)), batches[-1]["seq"])
    return drawn
