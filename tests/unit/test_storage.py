"""Room to write: what is refused at which reading of the disks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Unavailable
from domain.storage import MIB, UNLIMITED, WRITTEN_PER_CHANGE, Place, Space, Storage, watermark

DISK = 10_000 * MIB
LINE = 512 * MIB


@dataclass
class Gauge:
    """Disks that a test fills."""

    disks: dict[Place, Space] = field(default_factory=dict)
    inside: int = 0
    away: bool = False
    asked: int = 0

    def database(self, free: int) -> None:
        self.disks[Place.DATABASE] = Space(DISK, free)

    async def read(self) -> Mapping[Place, Space]:
        return dict(self.disks)

    async def reusable(self) -> int:
        self.asked += 1
        if self.away:
            raise Unavailable("the database cannot be reached just now")
        return self.inside


async def measured(gauge: Gauge, free: int, *, processes: int = 1) -> Storage:
    storage = Storage(gauge, processes=processes)
    gauge.database(free)
    await storage.measure()
    return storage


@pytest.mark.parametrize(
    ("total", "asked", "kept_free"),
    [
        (100_000 * MIB, None, 512 * MIB),
        (2_000 * MIB, None, 200 * MIB),
        (100 * MIB, None, 64 * MIB),
        (100 * MIB, 7, 7),
        (100 * MIB, 0, 0),
    ],
)
def test_the_watermark_fits_the_disk_unless_it_is_set(total: int, asked: int | None, kept_free: int) -> None:
    assert watermark(total, asked) == kept_free


async def test_writing_is_refused_below_the_watermark_and_again_allowed_well_above_it() -> None:
    gauge = Gauge()
    storage = await measured(gauge, LINE + 100 * MIB)
    storage.take(1_000)
    assert not storage.low(Place.DATABASE)

    gauge.database(LINE - 1)
    await storage.measure()
    with pytest.raises(Unavailable, match="disk space") as refused:
        storage.take(0)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after >= 1
    assert storage.low(Place.DATABASE)

    gauge.database(LINE + LINE // 8)
    await storage.measure()
    assert storage.low(Place.DATABASE), "a disk at the line must not open and close all the time"
    gauge.database(LINE + LINE // 4)
    await storage.measure()
    storage.take(1_000)
    (standing,) = storage.standing()
    assert (standing.place, standing.watermark, standing.low, standing.refused) == (Place.DATABASE, LINE, False, 1)


async def test_what_was_accepted_counts_until_it_must_have_reached_the_disk() -> None:
    gauge = Gauge()
    storage = await measured(gauge, LINE + 100 * MIB)
    storage.take(60 * MIB)
    with pytest.raises(Unavailable):
        storage.take(60 * MIB)
    storage.take(30 * MIB)
    await storage.measure()  # may have been read before any of it was written
    with pytest.raises(Unavailable):
        storage.take(60 * MIB)
    await storage.measure()
    storage.take(60 * MIB)
    assert not storage.low(Place.DATABASE)


async def test_every_process_leaves_room_for_what_the_others_accept() -> None:
    storage = await measured(Gauge(), LINE + 100 * MIB, processes=4)
    storage.take(20 * MIB)
    with pytest.raises(Unavailable):
        storage.take(20 * MIB)


async def test_a_purge_makes_room_inside_the_files_but_half_of_the_watermark_stays() -> None:
    gauge = Gauge()
    storage = await measured(gauge, LINE - MIB)
    assert storage.low(Place.DATABASE)

    gauge.inside = 100 * MIB
    for _ in range(3):  # it is asked for only now and then
        await storage.measure()
    storage.take(50 * MIB)
    with pytest.raises(Unavailable):
        storage.take(50 * MIB)

    gauge.database(LINE // 2)
    await storage.measure()
    with pytest.raises(Unavailable):
        storage.take(0)
    gauge.database(LINE - MIB)
    gauge.away = True
    for _ in range(3):
        await storage.measure()
    assert storage.low(Place.DATABASE), "a database that does not answer promises nothing"


async def test_nobody_looks_inside_the_database_while_its_disk_has_room() -> None:
    gauge = Gauge()
    storage = await measured(gauge, DISK // 2)
    await storage.measure()
    assert gauge.asked == 0


async def test_files_and_the_database_are_judged_apart_and_a_database_elsewhere_not_at_all() -> None:
    gauge = Gauge({Place.FILES: Space(DISK, LINE // 2)})
    storage = Storage(gauge)
    await storage.measure()
    with pytest.raises(Unavailable):
        storage.require(Place.FILES)
    storage.take(1 << 60)
    assert [standing.place for standing in storage.standing()] == [Place.FILES]


async def test_a_file_that_is_announced_too_large_is_refused_and_takes_nothing() -> None:
    storage = Storage(Gauge({Place.FILES: Space(DISK, LINE + 100 * MIB)}))
    await storage.measure()
    with pytest.raises(Unavailable):
        storage.require(Place.FILES, 101 * MIB)
    storage.require(Place.FILES, 99 * MIB)
    storage.require(Place.FILES, 99 * MIB)
    assert not storage.low(Place.FILES)


async def test_whoever_waits_hears_that_a_disk_became_low() -> None:
    gauge = Gauge({Place.FILES: Space(DISK, DISK)})
    storage = Storage(gauge)
    await storage.measure()
    waiting = asyncio.create_task(storage.until_low(Place.FILES, timedelta(hours=1)))
    gauge.disks[Place.FILES] = Space(DISK, 0)
    await storage.measure()
    await asyncio.wait_for(waiting, 10)
    assert storage.low(Place.FILES)


def test_without_disks_to_watch_there_is_always_room() -> None:
    UNLIMITED.take(1 << 60)
    UNLIMITED.require(Place.FILES, 1 << 60)
    assert UNLIMITED.standing() == []


@given(st.lists(st.integers(0, 50 * MIB)), st.integers(0, DISK))
def test_between_two_readings_no_more_is_accepted_than_there_is_above_the_watermark(
    sizes: list[int], free: int
) -> None:
    storage = asyncio.run(measured(Gauge(), free))
    accepted = 0
    for size in sizes:
        try:
            storage.take(size)
        except Unavailable:
            continue
        accepted += size + WRITTEN_PER_CHANGE
    assert accepted <= max(0, free - LINE)
