"""The log store on PostgreSQL: one row per line under the run's next number, and a ledger of batches.

Numbers come from the run's head, which is locked until the commit, so they have no gap and follow the order of
commits. Nothing here publishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from asyncpg import Record

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput, Conflict, Unavailable
from domain.logs import STREAM, LinesSince, LinesStored, LogDraft, LogLevel, LogLine, LogsRequest
from domain.metrics import read_cursor, write_cursor
from domain.paging import EXACT_TOTAL_LIMIT, Page, Total
from domain.runs import RunStatus
from persistence.database import Connection, Database
from persistence.run_writes import open_for_write

RETRY_PAUSES: Final = (0.05, 0.25)
LINES_AT_ONCE: Final = 5_000
CHARACTERS_AT_ONCE: Final = 4_000_000
_HEAVY_LINES: Final = 1_000

_EXISTS: Final = "SELECT 1 FROM runs WHERE workspace_id = $1 AND id = $2 AND purged_at IS NULL"
_LEDGER: Final = """
    SELECT b.lines, b.last_seq, b.digest, r.stop_requested
    FROM log_batches b JOIN runs r ON r.id = b.run_id
    WHERE b.run_id = $1 AND b.batch_id = $2
"""
_APPEND: Final = """
    WITH head AS (
        UPDATE run_heads SET log_seq = $2::int8 + $6::int4 WHERE run_id = $1
    ), batch AS (
        INSERT INTO log_batches (run_id, batch_id, digest, lines, last_seq)
        VALUES ($1, $3, $4, $6::int4, $2::int8 + $6::int4)
    )
    INSERT INTO log_lines (run_id, seq, level, logged_at, message)
    SELECT $1, $2::int8 + given.place, given.level, COALESCE(given.logged_at, $5), given.message
    FROM unnest($7::int2[], $8::timestamptz[], $9::text[]) WITH ORDINALITY AS given(level, logged_at, message, place)
"""
_PAGE: Final = """
    SELECT r.id AS run_id, l.*, totals.counted
    FROM runs r
    CROSS JOIN LATERAL (
        SELECT count(*) AS counted FROM (
            SELECT 1 FROM log_lines c WHERE c.run_id = r.id AND c.level >= $4 LIMIT $6
        ) AS limited
    ) AS totals
    LEFT JOIN LATERAL (
        SELECT seq, level, logged_at, message FROM log_lines p
        WHERE p.run_id = r.id AND p.seq > $3 AND p.level >= $4 ORDER BY p.seq LIMIT $5
    ) l ON true
    WHERE r.workspace_id = $1 AND r.id = ANY($2::uuid[]) AND r.purged_at IS NULL
    ORDER BY r.id, l.seq
"""
# The state of a run and its next lines after $3 in one snapshot: until they hold $5 characters, at least one.
_NEXT: Final = """
    SELECT r.status, h.log_seq AS head, l.seq, l.level, l.logged_at, l.message
    FROM runs r JOIN run_heads h ON h.run_id = r.id LEFT JOIN LATERAL (
        SELECT seq, level, logged_at, message FROM (
            SELECT seq, level, logged_at, message,
                   sum(length(message)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - length(message) AS before
            FROM log_lines WHERE run_id = r.id AND seq > $3 ORDER BY seq LIMIT $4
        ) AS following WHERE before < $5
    ) l ON true
    WHERE r.workspace_id = $1 AND r.id = $2 AND r.purged_at IS NULL
    ORDER BY l.seq
"""


class PostgresLogs:
    """`LogStore` on the process's pool."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def exists(self, scope: Scope, run_id: str) -> bool:
        found = await self._database.fetchval(_EXISTS, ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id))
        return found is not None

    async def append(self, scope: Scope, run_id: str, batch: str, draft: LogDraft, now: datetime) -> LinesStored:
        """After a lost commit the batch is sent again under its id, which stores it once whatever had happened."""
        digest = await asyncio.to_thread(draft.digest) if len(draft.lines) > _HEAVY_LINES else draft.digest()
        for pause in RETRY_PAUSES:
            try:
                return await self._append(scope, run_id, batch, draft, digest=digest, now=now)
            except Unavailable:
                await asyncio.sleep(pause)
        return await self._append(scope, run_id, batch, draft, digest=digest, now=now)

    async def _append(
        self, scope: Scope, run_id: str, batch: str, draft: LogDraft, *, digest: bytes, now: datetime
    ) -> LinesStored:
        async with self._database.transaction() as tx:
            try:
                run = await open_for_write(tx, scope, run_id, now)
            except Conflict:
                # The run may have ended after it took these very lines, whose answer was lost.
                earlier = await _earlier(tx, run_id, batch, digest)
                if earlier is None:
                    raise
                return earlier
            earlier = await _earlier(tx, run_id, batch, digest)
            if earlier is not None:
                return earlier
            await tx.execute(
                _APPEND,
                ids.to_uuid(run_id),
                run.log_seq,
                batch,
                digest,
                now,
                len(draft.lines),
                [line.level.rank for line in draft.lines],
                [line.timestamp for line in draft.lines],
                [line.message for line in draft.lines],
            )
            return LinesStored(len(draft.lines), run.log_seq + len(draft.lines), run.stop_requested, run.started)

    async def pages(self, scope: Scope, run_ids: list[str], request: LogsRequest) -> dict[str, Page[LogLine]]:
        page = request.page
        after = 0
        if page.after is not None:
            if len(run_ids) > 1:
                raise BadUserInput("a cursor belongs to the log of one run", field="after")
            after = read_cursor(STREAM, run_ids[0], page.after)
        rows = await self._database.fetch(
            _PAGE,
            ids.to_uuid(scope.workspace_id),
            [ids.to_uuid(run_id) for run_id in run_ids],
            after,
            0 if request.level is None else request.level.rank,
            page.first + 1,
            EXACT_TOTAL_LIMIT + 1,
        )
        by_run: dict[str, list[Record]] = {run_id: [] for run_id in run_ids}
        for row in rows:
            by_run[ids.from_uuid("run", row["run_id"])].append(row)
        return {run_id: _page(run_id, found, request) for run_id, found in by_run.items()}

    async def since(self, scope: Scope, run_id: str, seq: int) -> LinesSince | None:
        rows = await self._next(scope, run_id, seq)
        if not rows:
            return None
        return LinesSince(_lines(rows), rows[0]["head"], RunStatus(rows[0]["status"]))

    async def lines(self, scope: Scope, run_id: str, level: LogLevel | None) -> AsyncIterator[list[LogLine]]:
        lowest = 0 if level is None else level.rank
        seq, head = 0, None
        while head is None or seq < head:
            rows = await self._next(scope, run_id, seq)
            lines = _lines(rows)
            if not lines:
                return
            head = rows[0]["head"] if head is None else head
            seq = lines[-1].seq
            yield [line for line in lines if line.level.rank >= lowest and line.seq <= head]

    async def _next(self, scope: Scope, run_id: str, seq: int) -> list[Record]:
        return await self._database.fetch(
            _NEXT, ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id), seq, LINES_AT_ONCE, CHARACTERS_AT_ONCE
        )


async def _earlier(tx: Connection, run_id: str, batch: str, digest: bytes) -> LinesStored | None:
    """What the ledger answers to a batch id. Raises Conflict when it stands for other lines."""
    row = await tx.fetchrow(_LEDGER, ids.to_uuid(run_id), batch)
    if row is None:
        return None
    if row["digest"] != digest:
        raise Conflict("this batch id was used for other lines of the run", field="batch_id")
    # Whether the first attempt started the run is not known any more: readers are told to look.
    return LinesStored(row["lines"], row["last_seq"], row["stop_requested"], started=True)


def _lines(rows: list[Record]) -> list[LogLine]:
    return [
        LogLine(row["seq"], LogLevel.of_rank(row["level"]), row["logged_at"], row["message"])
        for row in rows
        if row["seq"] is not None
    ]


def _page(run_id: str, rows: list[Record], request: LogsRequest) -> Page[LogLine]:
    found = _lines(rows)
    lines = found[: request.page.first]
    return Page(
        lines,
        [write_cursor(STREAM, run_id, line.seq) for line in lines],
        has_next_page=len(found) > len(lines),
        has_previous_page=request.page.after is not None,
        total=Total.capped(rows[0]["counted"] if rows else 0),
    )
