"""Room to write: whether the disks may take more, told before they are full and not after.

PostgreSQL stops when its disk is full, so whatever makes the data grow asks here first and is refused while less than
the watermark is left. Reading, deleting, purging, ending a run and signing in never ask. Between two readings of the
disks the bytes that were accepted count as gone already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final, Protocol

from domain.errors import DomainError, Unavailable

log = logging.getLogger("axonml.storage")

MIB: Final = 1024 * 1024
EVERY_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 10
WRITTEN_PER_CHANGE: Final = 16 * 1024
"""What a change may take beside its bytes: pages of tables and indexes. PostgreSQL's log is in the readings already."""

LOOK_INSIDE_EVERY: Final = 3
"""How many readings apart the free space inside the database's files is asked for, while the disk has none."""


class Place(Enum):
    """What is kept on a disk."""

    DATABASE = "database"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class Space:
    """A disk: its size, and how many bytes may still be written to it."""

    total: int
    free: int


class SpaceGauge(Protocol):
    """Reads the disks that the server writes to."""

    async def read(self) -> Mapping[Place, Space]:
        """Every disk that can be seen from here; a database elsewhere is left out. Never raises."""
        ...

    async def reusable(self) -> int:
        """Bytes inside the database's files that new rows will take before the files grow; 0 when it cannot be told.

        Raises DomainError when the database does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How a disk stands: as last read, the watermark on it, and whether what would grow is refused."""

    place: Place
    space: Space
    watermark: int
    low: bool
    refused: int


def watermark(total: int, asked: int | None) -> int:
    """Bytes to keep free on a disk: as asked, else a tenth of it within 64 and 512 MiB."""
    return min(max(total // 10, 64 * MIB), 512 * MIB) if asked is None else asked


def no_room() -> Unavailable:
    """The refusal, which says what still works."""
    return Unavailable(
        "the server is short of disk space and stores nothing more until there is room; reading and deleting work",
        retry_after=RETRY_SECONDS,
    )


@dataclass(slots=True)
class _Disk:
    """What is known about one place. `room` may be spent until the next reading; `spent` is since the last one."""

    space: Space
    watermark: int
    low: bool
    room: int
    spent: int = 0
    before: int = 0
    refused: int = 0

    @property
    def left(self) -> int:
        # What was spent shortly before the last reading may not have reached the disk by then.
        return 0 if self.low else self.room - self.spent - self.before


class Storage:
    """The disks of the server. Without a gauge there is always room.

    Keep `watch` running, and `measure` once before the first request. `processes`: how many share the disks, each with
    a Storage of its own; what one accepts, all may have accepted.
    """

    def __init__(
        self,
        gauge: SpaceGauge | None = None,
        *,
        min_free: int | None = None,
        processes: int = 1,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gauge = gauge
        self._min_free = min_free
        self._processes = processes
        self._pause = pause
        self._disks: dict[Place, _Disk] = {}
        self._reusable = 0
        self._readings = 0
        self._lowered: dict[Place, asyncio.Event] = {place: asyncio.Event() for place in Place}

    # --- asked by whoever writes -------------------------------------------------------------------

    def require(self, place: Place, size: int = 0) -> None:
        """Raises Unavailable unless `size` bytes have room; notes nothing."""
        disk = self._disks.get(place)
        if disk is not None and disk.left <= size:
            disk.refused += 1
            raise no_room()

    def take(self, size: int, *, changes: int = 1) -> None:
        """Room in the database for `size` bytes in so many changes. Raises Unavailable, and then takes none."""
        cost = (size + changes * WRITTEN_PER_CHANGE) * self._processes
        self.require(Place.DATABASE, cost)
        if (disk := self._disks.get(Place.DATABASE)) is not None:
            disk.spent += cost

    def low(self, place: Place) -> bool:
        """Whether less than the watermark is left there."""
        return place in self._disks and self._disks[place].low

    def standing(self) -> list[Standing]:
        """Every disk that is watched."""
        return [
            Standing(place, disk.space, disk.watermark, disk.low, disk.refused) for place, disk in self._disks.items()
        ]

    async def until_low(self, place: Place, longest: timedelta) -> None:
        """Waits until a disk is found low, but not longer than that."""
        try:
            async with asyncio.timeout(longest.total_seconds()):
                await self._lowered[place].wait()
        except TimeoutError:
            pass

    # --- the watch -----------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Reads the disks every second, for ever."""
        while True:
            await self.measure()
            await self._pause(EVERY_SECONDS)

    async def measure(self) -> None:
        """Reads the disks once, and says so when one became low or has room again."""
        if self._gauge is None:
            return
        found = await self._gauge.read()
        if (database := found.get(Place.DATABASE)) is not None:
            await self._look_inside(database)
        for place, space in found.items():
            self._judge(place, space)

    async def _look_inside(self, space: Space) -> None:
        """What a purge freed stays in the files of the database: full of room, they no longer need the disk's."""
        if space.free > 2 * watermark(space.total, self._min_free):
            self._readings = self._reusable = 0
            return
        if self._readings % LOOK_INSIDE_EVERY == 0 and self._gauge is not None:
            try:
                self._reusable = await self._gauge.reusable()
            except DomainError:
                self._reusable = 0
        self._readings += 1

    def _judge(self, place: Place, space: Space) -> None:
        before = self._disks.get(place)
        line = watermark(space.total, self._min_free)
        was_low = before is not None and before.low
        # Back over the line by some, so that it does not open and close with every segment of the log.
        room = space.free - (line + line // 8 if was_low else line)
        if place is Place.DATABASE:
            # The estimate may be wrong: half of the watermark stays whatever it says.
            room = max(room, min(self._reusable, space.free - line // 2))
        low = room <= line // 16  # a rest that some batches fit and others do not helps nobody
        self._disks[place] = _Disk(
            space,
            line,
            low,
            room,
            before=0 if before is None else before.spent,
            refused=0 if before is None else before.refused,
        )
        (self._lowered[place].set if low else self._lowered[place].clear)()
        if low != was_low:
            level, event = (logging.ERROR, "disk space is low") if low else (logging.INFO, "there is disk space again")
            log.log(
                level,
                "%s: %d MiB free for the %s, %d MiB are kept free",
                event,
                space.free // MIB,
                place.value,
                line // MIB,
            )


UNLIMITED: Final = Storage()
"""For what runs without disks of its own to watch."""
