"""The metric store on PostgreSQL: an append log of batches per run, and summaries kept with it.

Sequence numbers come from the run's head, which is locked until the commit: they have no gap and follow the order of
commits, so a reader that saw number n has seen everything before it. Nothing here publishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from asyncpg import Record

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput, Conflict, Unavailable
from domain.metrics import MAX_KEYS, Appended, Batch, Draft, MetricSummary
from persistence.database import Connection
from persistence.metrics import sql
from persistence.metrics.codec import encode
from persistence.metrics.reading import HEAVY_POINTS, MetricReads
from persistence.metrics.rows import milliseconds, off_loop, read_summary
from persistence.run_writes import open_for_write

RETRY_PAUSES: Final = (0.05, 0.25)
_HEAVY_KEYS: Final = 100


class PostgresMetrics(MetricReads):
    """`MetricStore` on the process's pool."""

    async def append(self, scope: Scope, run_id: str, batch_id: str, draft: Draft, now: datetime) -> Appended:
        """After a lost commit the batch is sent again under its id, which stores it once whatever had happened."""
        digest = await off_loop(draft.points > HEAVY_POINTS, draft.digest)
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
            batch, payload, fresh = await off_loop(
                draft.points > HEAVY_POINTS or len(draft.columns) > _HEAVY_KEYS,
                lambda: _prepared(draft, run.last_step, milliseconds(now)),
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
    return await off_loop(len(fresh) > _HEAVY_KEYS, lambda: _columns_of(_after(rows, fresh)))


def _after(rows: Sequence[Record], fresh: list[MetricSummary]) -> list[MetricSummary]:
    before = {row["key"]: read_summary(row) for row in rows}
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
