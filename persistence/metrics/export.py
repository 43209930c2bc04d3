"""Every point of a run, however long that takes: in pieces, without a transaction that stays open.

What is read was committed when the export began: of each key, that many points. Batches may be sealed, and chunks be
replaced by longer ones, between any two pieces. That moves points, but neither their number nor their order within
their key changes, so the export goes on behind the last point it gave of each key.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final
from uuid import UUID

from asyncpg import Record

from domain import ids
from domain.access import Scope
from domain.errors import NotFound
from domain.metrics import Column
from persistence.database import Database
from persistence.metrics import read_sql as sql
from persistence.metrics.chunks import unpack_points
from persistence.metrics.codec import decode
from persistence.metrics.packing import CorruptPayload
from persistence.metrics.rows import off_loop

POINTS_AT_ONCE: Final = 200_000
ROWS_AT_ONCE: Final = 500
_HEAVY_BYTES: Final = 64 * 1024
_PURGED: Final = "the run is purged"


async def exported(
    database: Database, scope: Scope, run_id: str, keys: tuple[str, ...] | None
) -> AsyncIterator[list[Column]]:
    """The points of the given keys, or of all; each key's in the order accepted.

    Raises NotFound when the run is purged meanwhile, CorruptPayload when points are missing.
    """
    run = (ids.to_uuid(scope.workspace_id), ids.to_uuid(run_id))
    named = None if keys is None else list(keys)
    wanted = None if keys is None else frozenset(keys)
    begun = await database.fetch(sql.COUNTS, *run, named)
    if not begun:
        raise NotFound(_PURGED, field="id")
    head = begun[0]["head"]
    left = _Left({row["key"]: row["count"] for row in begun if row["key"] is not None})
    place = 0  # the batch up to which everything was given
    while place < head:
        rows = await database.fetch(sql.NEXT, *run, place, POINTS_AT_ONCE, ROWS_AT_ONCE)
        if not rows:
            raise NotFound(_PURGED, field="id")
        if place < rows[0]["sealed_seq"]:
            async with aclosing(_sealed(database, run, place, named, left)) as columns:
                async for column in columns:
                    yield [column]
            place = rows[0]["sealed_seq"]
            continue
        for row in rows:
            if row["seq"] is None:
                raise CorruptPayload("a stored metric batch is missing")
            if row["seq"] > head:
                place = head
                break
            found = await off_loop(len(row["payload"]) > _HEAVY_BYTES, lambda row=row: decode(row["payload"], wanted))  # type: ignore[misc]  # row is bound
            for column in found:
                left.given[column.key] += len(column)
            place = row["seq"]
            yield found
    if left.given != left.counts:
        if not await database.fetch(sql.COUNTS, *run, named):
            raise NotFound(_PURGED, field="id")
        raise CorruptPayload("stored points are missing")


class _Left:
    """What is to be given of each key (`counts`), and what was given already."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts
        self.given = dict.fromkeys(counts, 0)

    def of(self, row: Record) -> Column | None:
        """What a chunk holds of it. Raises CorruptPayload when points before the chunk are missing."""
        key, first = row["key"], row["first_point"]
        begin, end = self.given.get(key, 0) - first, min(self.counts.get(key, 0) - first, row["points"])
        if begin >= end:
            return None
        if begin < 0:
            raise CorruptPayload("a stored metric chunk is missing")
        column = unpack_points(key, row["payload"])
        self.given[key] = first + end
        return Column(key, column.steps[begin:end], column.values[begin:end], column.timestamps[begin:end])


async def _sealed(
    database: Database, run: tuple[UUID, UUID], place: int, keys: list[str] | None, left: _Left
) -> AsyncGenerator[Column]:
    """What is left in the chunks that hold points of batches after `place`."""
    key, end = "", 0
    while rows := await database.fetch(sql.CHUNKS, *run, place, key, end, POINTS_AT_ONCE, ROWS_AT_ONCE, keys):
        for row in rows:
            column = await off_loop(len(row["payload"]) > _HEAVY_BYTES, lambda row=row: left.of(row))  # type: ignore[misc]  # row is bound
            if column is not None:
                yield column
        key, end = rows[-1]["key"], rows[-1]["first_point"] + rows[-1]["points"]
