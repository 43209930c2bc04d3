"""Seals metrics in the background: batches that no writer and hardly any live reader still needs become chunks.

One process per database does so, under a lease; should two ever do so at once, the second finds the run's head moved
on and changes nothing. Packing happens outside any transaction, from batches, which never change; then one bounded
transaction per step puts the chunks in, takes the payloads away and moves the run's head on. A crash at any moment
leaves either the batches or the chunks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record, UniqueViolationError

from domain import ids
from domain.clock import Clock
from domain.errors import DeadlineExceeded, Overloaded, Unavailable
from domain.metrics import SERVER_NAMED
from domain.runs import ENDED
from persistence.database import Connection, Database
from persistence.lease import Lease
from persistence.metrics.chunks import unpack_points
from persistence.metrics.codec import decode
from persistence.metrics.packing import CorruptPayload
from persistence.metrics.sealing import NewChunk, Part, StoredChunk, bytes_gained, packed, taken_along

log = logging.getLogger("axonml.sealer")

POINTS_AT_ONCE: Final = 500_000
BATCHES_AT_ONCE: Final = 5_000
_RUNS_AT_ONCE: Final = 100
_ROWS_AT_ONCE: Final = 500
_LATEST_CHUNKS: Final = 24
# For so long the server may repeat a batch whose commit it lost sight of, under the name it gave it.
_RETRIED: Final = timedelta(minutes=1)
# Points per chunk from which chunks are read so much faster that their size does not matter.
_DENSE: Final = 256
_AWAY: Final = (Unavailable, Overloaded, DeadlineExceeded)

# $1: ended runs are due when they ended before it, $2: batches of live ones when they came before it, $3: how many such
# batches, or $4: points and $8: points per key, make it worth while; $5: runs to leave out, $6: how runs end.
_DUE: Final = """
    SELECT r.id, r.status = ANY($6::text[]) AS ended
    FROM run_heads h JOIN runs r ON r.id = h.run_id
    WHERE h.metric_seq > GREATEST(h.sealed_seq, h.weighed_seq) AND r.purged_at IS NULL AND r.id <> ALL($5::uuid[])
      AND CASE WHEN r.status = ANY($6::text[]) THEN COALESCE(r.ended_at < $1, true) ELSE
          EXISTS (
              SELECT 1 FROM metric_batches b
              WHERE b.run_id = r.id AND b.seq = GREATEST(h.sealed_seq, h.weighed_seq) + 1 AND b.created_at < $2
          ) AND (
              SELECT count(*) >= $3 OR sum(b.points) >= GREATEST(
                  $4, $8 * (SELECT count(*) FROM metric_summaries m WHERE m.run_id = r.id)
              ) FROM metric_batches b
              WHERE b.run_id = r.id AND b.seq > GREATEST(h.sealed_seq, h.weighed_seq)
                AND b.seq <= GREATEST(h.sealed_seq, h.weighed_seq) + $3 AND b.created_at < $2
          ) END
    LIMIT $7
"""
# The head of a run and its first unsealed batches, in one snapshot: until they hold $2 points, at most $3.
_UNSEALED: Final = """
    SELECT h.sealed_seq, b.seq, b.batch_id, b.payload, b.created_at
    FROM run_heads h CROSS JOIN LATERAL (
        SELECT seq, batch_id, payload, created_at FROM (
            SELECT seq, batch_id, payload, created_at,
                   sum(points) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - points AS before
            FROM metric_batches WHERE run_id = $1 AND seq > h.sealed_seq ORDER BY seq LIMIT $3
        ) following WHERE before < $2
    ) b
    WHERE h.run_id = $1
    ORDER BY b.seq
"""
_LATEST: Final = """
    SELECT c.* FROM unnest($2::text[]) AS wanted (key) CROSS JOIN LATERAL (
        SELECT id, key, first_point, points, first_seq FROM metric_chunks
        WHERE run_id = $1 AND key = wanted.key ORDER BY first_point DESC LIMIT $3
    ) c
    ORDER BY c.key, c.first_point DESC
"""
_PAYLOADS: Final = "SELECT id, last_seq, payload FROM metric_chunks WHERE id = ANY($1::int8[])"
_LOCK: Final = """
    SELECT h.sealed_seq FROM run_heads h JOIN runs r ON r.id = h.run_id
    WHERE h.run_id = $1 AND r.purged_at IS NULL FOR UPDATE OF h
"""
# Rows of batches that no client named, once the server itself does not try to store them any more.
_FORGET: Final = """
    DELETE FROM metric_batches
    WHERE run_id = $1 AND seq > $2 AND seq <= $3 AND starts_with(batch_id, $4) AND created_at < $5
"""
_EMPTY: Final = "UPDATE metric_batches SET payload = NULL WHERE run_id = $1 AND seq > $2 AND seq <= $3"
_ADVANCE: Final = "UPDATE run_heads SET sealed_seq = $2, weighed_seq = GREATEST(weighed_seq, $2) WHERE run_id = $1"
_WEIGHED: Final = "UPDATE run_heads SET weighed_seq = $2 WHERE run_id = $1 AND sealed_seq = $3 AND weighed_seq < $2"
_COLUMNS: Final = (
    "run_id",
    "key",
    "first_point",
    "points",
    "first_seq",
    "last_seq",
    "first_step",
    "last_step",
    "coarse",
    "fine",
    "payload",
)


@dataclass(frozen=True, slots=True)
class SealRules:
    """When batches are sealed: ages, how often to look, and how much of a live run is worth it."""

    live_after: timedelta = timedelta(minutes=10)
    ended_after: timedelta = timedelta(minutes=1)
    every: timedelta = timedelta(seconds=15)
    batches: int = 1_000
    points: int = 20_000
    points_per_key: int = 128


@dataclass(frozen=True, slots=True)
class _Step:
    """What one transaction does to a run. Nameless batches that came before `forgotten` are forgotten."""

    run: UUID
    sealed: int
    last: int
    replaced: list[int]
    chunks: list[NewChunk]
    forgotten: datetime


class _Overtaken(Exception):  # noqa: N818 - reads as a condition
    """Another process sealed the same batches, or the run is purged."""


class Sealer:
    """Seals what is due. `run` is to be kept by the process's supervisor."""

    def __init__(self, *, database: Database, lease: Lease, clock: Clock, rules: SealRules) -> None:
        self._database = database
        self._lease = lease
        self._clock = clock
        self._rules = rules
        self._damaged: set[UUID] = set()

    async def run(self) -> None:
        """Waits for the lease, then seals for ever. A database that goes away is waited for."""
        pause = self._rules.every.total_seconds()
        while True:
            try:
                async with self._lease.held() as held:
                    while held.lasts:
                        if not await self.sweep():
                            await asyncio.sleep(pause)
            except _AWAY as error:
                log.warning("sealing waits for the database: %s", type(error).__name__)
            await asyncio.sleep(pause)

    async def sweep(self) -> int:
        """Takes one step with every run that is due; in how many something was done."""
        now, rules = self._clock.now(), self._rules
        cutoff = now - rules.live_after
        due = await self._database.fetch(
            _DUE,
            now - rules.ended_after,
            cutoff,
            rules.batches,
            rules.points,
            list(self._damaged),
            [status.value for status in ENDED],
            _RUNS_AT_ONCE,
            rules.points_per_key,
        )
        done = 0
        for row in due:
            run = UUID(bytes=row["id"].bytes)
            try:
                done += await self.seal(run, ended=row["ended"])
            except CorruptPayload:
                self._damaged.add(run)
                log.exception("metrics of %s are damaged; they stay as they are", ids.from_uuid("run", run))
        return done

    async def seal(self, run: UUID, *, ended: bool) -> bool:
        """Seals the first batches of a run, or notes that it is not worth it; False when there was nothing to do.

        Raises CorruptPayload.
        """
        rows = await self._database.fetch(_UNSEALED, run, POINTS_AT_ONCE, BATCHES_AT_ONCE)
        ripe = rows if ended else self._ripe(rows)
        if not ripe:
            return False
        parts = await asyncio.to_thread(_parts, ripe)
        found = await self._database.fetch(_LATEST, run, list(parts), _LATEST_CHUNKS)
        latest, taken = await asyncio.to_thread(_planned, parts, found, ended=ended)
        replaced = [chunk.id for chunks in taken.values() for chunk in chunks]
        stored = {row["id"]: row for row in await self._database.fetch(_PAYLOADS, replaced)}
        if len(stored) < len(replaced):
            return False  # another process is at it
        chunks = await asyncio.to_thread(_chunks, parts, latest, taken, stored)
        sealed, last = ripe[0]["sealed_seq"], ripe[-1]["seq"]
        gained = bytes_gained(
            ((len(row["payload"]), row["batch_id"].startswith(SERVER_NAMED)) for row in ripe),
            (len(row["payload"]) for row in stored.values()),
            chunks,
        )
        points = sum(len(part.column) for fresh in parts.values() for part in fresh)
        dense = points >= _DENSE * len(chunks) or points >= POINTS_AT_ONCE or len(ripe) >= self._rules.batches
        if gained < 0 and not dense:
            return await self._database.execute(_WEIGHED, run, last, sealed) > 0
        try:
            async with self._database.transaction() as tx:
                await _store(tx, _Step(run, sealed, last, replaced, chunks, self._clock.now() - _RETRIED))
        except (_Overtaken, UniqueViolationError):
            return False
        log.debug("sealed %d points of %s up to batch %d", points, ids.from_uuid("run", run), last)
        return True

    def _ripe(self, rows: Sequence[Record]) -> Sequence[Record]:
        cutoff = self._clock.now() - self._rules.live_after
        young = (place for place, row in enumerate(rows) if row["created_at"] >= cutoff)
        return rows[: next(young, len(rows))]


def _parts(rows: Sequence[Record]) -> dict[str, list[Part]]:
    parts: dict[str, list[Part]] = {}
    for row in rows:
        for column in decode(row["payload"]):
            parts.setdefault(column.key, []).append(Part(column, row["seq"], row["seq"]))
    return parts


def _planned(
    parts: dict[str, list[Part]], rows: Sequence[Record], *, ended: bool
) -> tuple[dict[str, list[StoredChunk]], dict[str, list[StoredChunk]]]:
    """The last chunks of each key, and those of them that are packed anew."""
    latest = _by_key(rows)
    taken = {
        key: taken_along(latest.get(key, []), sum(len(part.column) for part in fresh), ended=ended)
        for key, fresh in parts.items()
    }
    return latest, taken


def _by_key(rows: Sequence[Record]) -> dict[str, list[StoredChunk]]:
    found: dict[str, list[StoredChunk]] = {}
    for row in rows:
        found.setdefault(row["key"], []).append(StoredChunk(**dict(row)))
    return found


def _chunks(
    parts: dict[str, list[Part]],
    latest: dict[str, list[StoredChunk]],
    taken: dict[str, list[StoredChunk]],
    stored: dict[int, Record],
) -> list[NewChunk]:
    chunks: list[NewChunk] = []
    for key, fresh in parts.items():
        along = taken[key]
        old = [
            Part(unpack_points(key, stored[chunk.id]["payload"]), chunk.first_seq, stored[chunk.id]["last_seq"])
            for chunk in along
        ]
        if along:
            first_point = along[0].first_point
        else:
            first_point = max((chunk.first_point + chunk.points for chunk in latest.get(key, [])), default=0)
        chunks += packed(key, first_point, old + fresh)
    return chunks


async def _store(tx: Connection, step: _Step) -> None:
    """Puts the chunks in the place of their batches. The head is locked last, so that writers hardly wait.

    Raises _Overtaken when the head has moved on or the run is purged, UniqueViolationError when the chunks are there.
    """
    if step.replaced:
        await tx.execute("DELETE FROM metric_chunks WHERE id = ANY($1::int8[])", step.replaced)
    for at in range(0, len(step.chunks), _ROWS_AT_ONCE):  # the loop gets its turn in between
        records = [_record(step.run, chunk) for chunk in step.chunks[at : at + _ROWS_AT_ONCE]]
        await tx.copy("metric_chunks", _COLUMNS, records)
    await tx.execute(_FORGET, step.run, step.sealed, step.last, SERVER_NAMED, step.forgotten)
    await tx.execute(_EMPTY, step.run, step.sealed, step.last)
    if await tx.fetchval(_LOCK, step.run) != step.sealed:
        raise _Overtaken
    await tx.execute(_ADVANCE, step.run, step.last)


def _record(run: UUID, chunk: NewChunk) -> tuple[object, ...]:
    stored = chunk.packed
    return (
        run,
        chunk.key,
        chunk.first_point,
        stored.points,
        chunk.first_seq,
        chunk.last_seq,
        stored.first_step,
        stored.last_step,
        stored.coarse,
        stored.fine,
        stored.payload,
    )
