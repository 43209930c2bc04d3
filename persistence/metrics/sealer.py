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
from domain.figures import SealingFigures
from domain.metrics import SERVER_NAMED
from domain.runs import ENDED
from domain.storage import UNLIMITED, Place, Storage
from persistence.database import Connection, Database
from persistence.lease import Lease
from persistence.metrics import seal_sql as sql
from persistence.metrics.chunks import unpack_points
from persistence.metrics.codec import decode
from persistence.metrics.sealing import NewChunk, Part, StoredChunk, bytes_gained, packed, taken_along
from persistence.metrics.setbacks import Setbacks

log = logging.getLogger("axonml.sealer")

POINTS_AT_ONCE: Final = 500_000
BATCHES_AT_ONCE: Final = 5_000
_RUNS_AT_ONCE: Final = 100
_ROWS_AT_ONCE: Final = 500
_LATEST_CHUNKS: Final = 24
# For so long the server may repeat a batch whose commit it lost sight of, under the name it gave it. Nothing younger is
# sealed early, else its rows would never be forgotten.
_RETRIED: Final = timedelta(minutes=1)
# What a live reader gets in one message; so much of a live run's end is never sealed early.
_KEPT: Final = 200_000
# Points per chunk from which chunks are read so much faster that their size does not matter.
_DENSE: Final = 256
_AWAY: Final = (Unavailable, Overloaded, DeadlineExceeded)


@dataclass(frozen=True, slots=True)
class SealRules:
    """When batches are sealed: ages, how often to look, and how much of a live run is worth it.

    A live run with more than `beyond` unsealed points is sealed early, but for its newest `kept` points and what came
    in the last minute.
    """

    live_after: timedelta = timedelta(minutes=10)
    ended_after: timedelta = timedelta(minutes=1)
    every: timedelta = timedelta(seconds=15)
    batches: int = 1_000
    points: int = 20_000
    points_per_key: int = 128
    beyond: int = 300_000
    kept: int = _KEPT


@dataclass(frozen=True, slots=True)
class _Step:
    """What one transaction does to a run. Nameless batches that came before `forgotten` are forgotten."""

    run: UUID
    sealed: int
    last: int
    points: int
    replaced: list[int]
    chunks: list[NewChunk]
    forgotten: datetime


class _Overtaken(Exception):  # noqa: N818 - reads as a condition
    """Another process sealed the same batches, or the run is purged."""


class Sealer:
    """Seals what is due. `run` is to be kept by the process's supervisor.

    On a disk that is short of space it waits: it writes before it frees.
    """

    def __init__(
        self, *, database: Database, lease: Lease, clock: Clock, rules: SealRules, storage: Storage = UNLIMITED
    ) -> None:
        self._database = database
        self._lease = lease
        self._clock = clock
        self._rules = rules
        self._storage = storage
        self.figures = SealingFigures()
        self._setbacks = Setbacks(self.figures)

    async def run(self) -> None:
        """Waits for the lease, then seals for ever. A database that goes away is waited for."""
        pause = self._rules.every.total_seconds()
        while True:
            try:
                async with self._lease.held() as held:
                    self.figures.holds_lease = True
                    while held.lasts:
                        if self._storage.low(Place.DATABASE) or not await self.sweep():
                            await asyncio.sleep(pause)
            except _AWAY as error:
                self.figures.failed(error)
                log.warning("sealing waits for the database: %s", type(error).__name__)
            finally:
                self.figures.holds_lease = False
            await asyncio.sleep(pause)

    async def sweep(self) -> int:
        """Takes one step with every run that is due; in how many something was done."""
        now, rules = self._clock.now(), self._rules
        cutoff = now - rules.live_after
        due = await self._database.fetch(
            sql.DUE,
            now - rules.ended_after,
            cutoff,
            rules.batches,
            rules.points,
            self._setbacks.left_out(now),
            [status.value for status in ENDED],
            _RUNS_AT_ONCE,
            rules.points_per_key,
            rules.beyond,
            now - _RETRIED,
        )
        runs = {UUID(bytes=row["id"].bytes): row["ended"] for row in due}
        if len(runs) < _RUNS_AT_ONCE:
            self._setbacks.forget(self._setbacks.over(now) - runs.keys())
        done = 0
        for run, ended in runs.items():
            done += await self._tried(run, ended=ended)
        self.figures.sweeps += 1
        self.figures.last_sweep_at = self._clock.now()
        return done

    async def _tried(self, run: UUID, *, ended: bool) -> bool:
        """Takes a step with one run. Whatever is wrong with it alone keeps it back, and nobody else."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            done = await self.seal(run, ended=ended)
        except (Unavailable, Overloaded):
            raise
        except Exception as error:
            damaged = self._setbacks.note(run, error, self._clock.now())
            if isinstance(error, DeadlineExceeded):  # is it the run, or the database?
                raise
            self.figures.failed(error)
            log.exception("metrics of %s stay as they are until %s", damaged.run_id, damaged.next_try_at)
            return False
        self._setbacks.forget([run])
        self.figures.step_seconds.add(loop.time() - began)
        return done

    async def seal(self, run: UUID, *, ended: bool) -> bool:
        """Seals the first batches of a run, or notes that it is not worth it; False when there was nothing to do.

        Raises CorruptPayload.
        """
        rows = await self._database.fetch(sql.UNSEALED, run, POINTS_AT_ONCE, BATCHES_AT_ONCE)
        ripe = rows if ended else self._ripe(rows)
        if not ripe:
            return False
        parts = await asyncio.to_thread(_parts, ripe)
        found = await self._database.fetch(sql.LATEST, run, list(parts), _LATEST_CHUNKS)
        latest, taken = await asyncio.to_thread(_planned, parts, found, ended=ended)
        replaced = [chunk.id for chunks in taken.values() for chunk in chunks]
        stored = {row["id"]: row for row in await self._database.fetch(sql.PAYLOADS, replaced)}
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
            return await self._database.execute(sql.WEIGHED, run, last, sealed) > 0
        try:
            async with self._database.transaction() as tx:
                await _store(tx, _Step(run, sealed, last, points, replaced, chunks, self._clock.now() - _RETRIED))
        except (_Overtaken, UniqueViolationError):
            return False
        self.figures.batches += len(ripe)
        self.figures.points += points
        self.figures.chunks += len(chunks)
        log.debug("sealed %d points of %s up to batch %d", points, ids.from_uuid("run", run), last)
        return True

    def _ripe(self, rows: Sequence[Record]) -> Sequence[Record]:
        """The first batches of a live run that are old enough, or older than a minute and beyond what is kept."""
        if not rows:
            return rows
        now, rules = self._clock.now(), self._rules
        old, early = now - rules.live_after, now - _RETRIED
        left = rows[0]["unsealed"]
        excess = left > rules.beyond
        for place, row in enumerate(rows):
            left -= row["points"]
            if row["created_at"] >= old and not (excess and row["created_at"] < early and left >= rules.kept):
                return rows[:place]
        return rows


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
        await tx.copy("metric_chunks", sql.COLUMNS, records)
    await tx.execute(sql.FORGET, step.run, step.sealed, step.last, SERVER_NAMED, step.forgotten)
    await tx.execute(sql.EMPTY, step.run, step.sealed, step.last)
    if await tx.fetchval(sql.LOCK, step.run) != step.sealed:
        raise _Overtaken
    await tx.execute(sql.ADVANCE, step.run, step.last, step.points)


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
        stored.times,
        stored.payload,
    )
