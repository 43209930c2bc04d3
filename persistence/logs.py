"""The log store on PostgreSQL: one row per line under the run's next number, and a ledger of batches.

Numbers come from the run's head, which is locked until the commit, so they follow the order of commits. Lines that are
written over, and the oldest ones of a log that outgrows its bounds, go in the transaction that appends; their numbers
are not given again, and the newest number always has its line. Nothing here publishes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from asyncpg import Record

from domain import ids
from domain.access import ResourceKind, Scope
from domain.errors import BadUserInput, Conflict, Unavailable
from domain.logs import (
    STREAM,
    LinesSince,
    LinesStored,
    LogBounds,
    LogDraft,
    LogLevel,
    LogLine,
    LogsRequest,
    Unfinished,
    place,
    shortened,
)
from domain.metrics import read_cursor, write_cursor
from domain.paging import EXACT_TOTAL_LIMIT, Page, Total
from domain.runs import RunStatus
from persistence.database import Connection, Database
from persistence.reach import reached
from persistence.run_writes import RunWrite, open_for_write

RETRY_PAUSES: Final = (0.05, 0.25)
LINES_AT_ONCE: Final = 5_000
CHARACTERS_AT_ONCE: Final = 4_000_000
TRIMMED_BESIDE: Final = 1_000
_HEAVY_LINES: Final = 1_000

_EXISTS: Final = "SELECT 1 FROM runs WHERE workspace_id = $1 AND id = $2 AND purged_at IS NULL"
_LEDGER: Final = """
    SELECT b.lines, b.last_seq, b.digest, r.stop_requested, h.log_unfinished
    FROM runs r JOIN run_heads h ON h.run_id = r.id LEFT JOIN log_batches b ON b.run_id = r.id AND b.batch_id = $2
    WHERE r.id = $1
"""
_APPEND: Final = """
    WITH batch AS (
        INSERT INTO log_batches (run_id, batch_id, digest, lines, last_seq)
        VALUES ($1, $3, $4, $6::int4, $2::int8 + cardinality($7::int2[]))
    ), appended AS (
        INSERT INTO log_lines (run_id, seq, level, logged_at, message, replaces)
        SELECT $1, $2::int8 + given.place, given.level, COALESCE(given.logged_at, $5), given.message, given.replaces
        FROM unnest($7::int2[], $8::timestamptz[], $9::text[], $10::int8[])
            WITH ORDINALITY AS given(level, logged_at, message, replaces, place)
    ), gone AS (
        DELETE FROM log_lines WHERE run_id = $1 AND seq = ANY($12::int8[]) RETURNING octet_length(message) AS size
    )
    UPDATE run_heads SET
        log_seq = $2::int8 + cardinality($7::int2[]),
        log_lines = log_lines + cardinality($7::int2[]) - (SELECT count(*) FROM gone),
        log_bytes = log_bytes + $11 - (SELECT COALESCE(sum(size), 0) FROM gone),
        log_unfinished = $13::jsonb
    WHERE run_id = $1
    RETURNING log_dropped, log_lines, log_bytes
"""
# Takes away the oldest lines after $2: $3 of them, or as many as hold $4 bytes; of the first $5, and none after $6.
_TRIM: Final = """
    WITH oldest AS (
        SELECT seq, size, row_number() OVER (ORDER BY seq) AS place,
               sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - size AS before
        FROM (
            SELECT seq, octet_length(message) AS size FROM log_lines
            WHERE run_id = $1 AND seq > $2 AND seq <= $6 ORDER BY seq LIMIT $5
        ) AS first
    ), gone AS (
        SELECT max(seq) AS seq, sum(size) AS size, count(*) AS lines FROM oldest WHERE place <= $3 OR before < $4
    ), deleted AS (
        DELETE FROM log_lines l USING gone WHERE l.run_id = $1 AND l.seq > $2 AND l.seq <= gone.seq
    )
    UPDATE run_heads h SET
        log_dropped = gone.seq, log_lines = h.log_lines - gone.lines, log_bytes = h.log_bytes - gone.size
    FROM gone WHERE h.run_id = $1 AND gone.seq IS NOT NULL
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
        SELECT seq, level, logged_at, message, replaces FROM log_lines p
        WHERE p.run_id = r.id AND p.seq {side} $3 AND p.level >= $4 ORDER BY p.seq {order} LIMIT $5
    ) l ON true
    WHERE r.workspace_id = $1 AND r.id = ANY($2::uuid[]) AND r.purged_at IS NULL
    ORDER BY r.id, l.seq
"""
_FIRST: Final = _PAGE.format(side=">", order="ASC")
_LAST: Final = _PAGE.format(side="<", order="DESC")
_BEFORE_LAST: Final = """
    SELECT COALESCE((SELECT seq FROM log_lines WHERE run_id = r.id ORDER BY seq DESC OFFSET $3 LIMIT 1), 0)
    FROM runs r WHERE r.workspace_id = $1 AND r.id = $2 AND r.purged_at IS NULL
"""
_NEWEST: Final = 2**63 - 1
# The state of a run and its next lines after $3 in one snapshot: until they hold $5 characters, at least one.
_NEXT: Final = """
    SELECT r.status, h.log_seq AS head, l.*
    FROM runs r JOIN run_heads h ON h.run_id = r.id LEFT JOIN LATERAL (
        SELECT seq, level, logged_at, message, replaces FROM (
            SELECT seq, level, logged_at, message, replaces,
                   sum(length(message)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - length(message) AS before
            FROM log_lines WHERE run_id = r.id AND seq > $3 ORDER BY seq LIMIT $4
        ) AS following WHERE before < $5
    ) l ON true
    WHERE r.workspace_id = $1 AND r.id = $2 AND r.purged_at IS NULL
    ORDER BY l.seq
"""


class PostgresLogs:
    """`LogStore` on the process's pool."""

    def __init__(self, database: Database, bounds: LogBounds | None = None) -> None:
        self._database = database
        self._bounds = bounds or LogBounds()

    async def exists(self, scope: Scope, run_id: str) -> bool:
        if run_id not in scope.reach(ResourceKind.RUNS):
            return False
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
                earlier = _earlier(await tx.fetchrow(_LEDGER, ids.to_uuid(run_id), batch), digest)
                if earlier is None:
                    raise
                return earlier
            known = await tx.fetchrow(_LEDGER, ids.to_uuid(run_id), batch)
            earlier = _earlier(known, digest)
            if earlier is not None:
                return earlier
            placed = place(draft.lines, run.log_seq, _unfinished(known))
            lines = [entry.line for entry in placed.lines]
            messages = [shortened(line.message, self._bounds.line_characters) for line in lines]
            kept = await tx.fetchrow(
                _APPEND,
                ids.to_uuid(run_id),
                run.log_seq,
                batch,
                digest,
                now,
                len(draft.lines),
                [line.level.rank for line in lines],
                [line.timestamp for line in lines],
                messages,
                [entry.replaces for entry in placed.lines],
                sum(len(message.encode()) for message in messages),
                placed.gone,
                _written(placed.unfinished),
            )
            if kept is not None:
                await self._trim(tx, run, kept, len(messages))
            return LinesStored(len(draft.lines), run.log_seq + len(lines), run.stop_requested, run.started)

    async def _trim(self, tx: Connection, run: RunWrite, kept: Record, added: int) -> None:
        """Takes away the oldest lines of a log that has grown too long, hardly more than were added; not those."""
        lines, size = kept["log_lines"] - self._bounds.lines, kept["log_bytes"] - self._bounds.size_bytes
        if lines > 0 or size > 0:
            most = 2 * added + TRIMMED_BESIDE
            await tx.execute(_TRIM, ids.to_uuid(run.run_id), kept["log_dropped"], lines, size, most, run.log_seq)

    async def pages(self, scope: Scope, run_ids: list[str], request: LogsRequest) -> dict[str, Page[LogLine]]:
        rows = await self._database.fetch(
            _LAST if request.newest else _FIRST,
            ids.to_uuid(scope.workspace_id),
            [ids.to_uuid(run_id) for run_id in reached(scope.reach(ResourceKind.RUNS), run_ids)],
            _begin(run_ids, request),
            0 if request.level is None else request.level.rank,
            request.most + 1,
            EXACT_TOTAL_LIMIT + 1,
        )
        by_run: dict[str, list[Record]] = {run_id: [] for run_id in run_ids}
        for row in rows:
            by_run[ids.from_uuid("run", row["run_id"])].append(row)
        return {run_id: _page(run_id, found, request) for run_id, found in by_run.items()}

    async def before_last(self, scope: Scope, run_id: str, lines: int) -> int | None:
        found: int | None = await self._database.fetchval(
            _BEFORE_LAST, ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id), lines
        )
        return found

    async def since(self, scope: Scope, run_id: str, seq: int) -> LinesSince | None:
        rows = await self._next(scope, run_id, seq) if run_id in scope.reach(ResourceKind.RUNS) else []
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


def _earlier(row: Record | None, digest: bytes) -> LinesStored | None:
    """What the ledger answers to a batch id. Raises Conflict when it stands for other lines."""
    if row is None or row["digest"] is None:
        return None
    if row["digest"] != digest:
        raise Conflict("this batch id was used for other lines of the run", field="batch_id")
    # Whether the first attempt started the run is not known any more: readers are told to look.
    return LinesStored(row["lines"], row["last_seq"], row["stop_requested"], started=True)


def _unfinished(row: Record | None) -> dict[LogLevel, Unfinished]:
    if row is None or row["log_unfinished"] is None:
        return {}
    kept = json.loads(row["log_unfinished"])
    return {LogLevel.of_rank(int(rank)): Unfinished(*line) for rank, line in kept.items()}


def _written(unfinished: dict[LogLevel, Unfinished]) -> str | None:
    if not unfinished:
        return None
    return json.dumps({level.rank: (line.seq, line.first, line.back) for level, line in unfinished.items()})


def _begin(run_ids: list[str], request: LogsRequest) -> int:
    """The place that a page lies before or after."""
    field, cursor = ("before", request.before) if request.newest else ("after", request.after)
    if cursor is None:
        return _NEWEST if request.newest else 0
    if len(run_ids) > 1:
        raise BadUserInput("a cursor belongs to the log of one run", field=field)
    try:
        return read_cursor(STREAM, run_ids[0], cursor)
    except BadUserInput as problem:
        raise BadUserInput(problem.message, field=field) from None


def _lines(rows: list[Record]) -> list[LogLine]:
    return [
        LogLine(row["seq"], LogLevel.of_rank(row["level"]), row["logged_at"], row["message"], row["replaces"])
        for row in rows
        if row["seq"] is not None
    ]


def _page(run_id: str, rows: list[Record], request: LogsRequest) -> Page[LogLine]:
    found = _lines(rows)
    more = len(found) > request.most
    lines = found[len(found) - request.most if more else 0 :] if request.newest else found[: request.most]
    return Page(
        lines,
        [write_cursor(STREAM, run_id, line.seq) for line in lines],
        has_next_page=request.before is not None if request.newest else more,
        has_previous_page=more if request.newest else request.after is not None,
        total=Total.capped(rows[0]["counted"] if rows else 0),
    )
