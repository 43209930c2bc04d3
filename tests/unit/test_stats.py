"""Readings of the instance: shared, paced by what they cost, and whole or in part when the database does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest

from domain import stats
from domain.access import Principal, Scope, UserRole
from domain.errors import DeadlineExceeded, DomainError, Unavailable
from domain.figures import ProcessFigures
from domain.stats import REST, SHARED_SECONDS, InstanceCounts, SealingState, ServerStats, Stats
from server.exposition import exposed
from tests.support.access import OWNER
from tests.unit.test_worker_messages import FIGURES

ADMIN = Scope(
    "wsp_" + "0" * 32, Principal("usr_" + "a" * 32, "ada@example.com", UserRole.ADMIN, session_id="ses_1"), OWNER
)


class World:
    """A clock that stands until it is moved, and a database that takes some of its time, or fails."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.costs = 0.0
        self.counted = 0
        self.problem: DomainError | None = None
        self.hangs = False

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    async def processes(self) -> tuple[ProcessFigures, ...]:
        return (FIGURES,)

    async def counts(self) -> InstanceCounts:
        self.counted += 1
        self.seconds += self.costs
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.problem is not None:
            raise self.problem
        return InstanceCounts(self.counted, *[0] * 9)

    async def sealing(self, now: datetime, left_out: Collection[str]) -> SealingState:
        return SealingState(None, 0, 0, 0, None)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def reader(world: World) -> Stats:
    return Stats(store=world, processes=world.processes, clock=world, version="1", timer=lambda: world.seconds)


async def test_readers_at_the_same_time_share_one_reading(world: World, reader: Stats) -> None:
    found = await asyncio.gather(*(reader.read(ADMIN) for _ in range(5)))
    assert len({id(each) for each in found}) == world.counted == 1
    world.seconds += SHARED_SECONDS
    assert (await reader.read(ADMIN)).counts.users == 2


async def test_what_took_long_to_count_is_kept_for_longer(world: World, reader: Stats) -> None:
    world.costs = 3.0
    first = await reader.read(ADMIN)
    world.seconds += 3 * REST - 1
    later = await reader.read(ADMIN)
    assert (later.at > first.at, later.counts, world.counted) == (True, first.counts, 1)
    world.seconds += SHARED_SECONDS
    assert (await reader.read(ADMIN)).counts.users == 2


async def test_a_failure_is_shared_and_then_asked_about_again(world: World, reader: Stats) -> None:
    world.problem, world.costs = Unavailable("the database cannot be reached just now"), 3.0
    found = await asyncio.gather(*(reader.read(ADMIN) for _ in range(5)))
    assert (world.counted, found[0].stored) == (1, world.problem)
    with pytest.raises(Unavailable):
        _ = found[0].counts
    world.problem = None
    world.seconds += SHARED_SECONDS
    assert (await reader.read(ADMIN)).counts.users == 2


async def test_a_database_that_hangs_is_not_waited_for(
    world: World, reader: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "DATABASE_SECONDS", 0.01)
    world.hangs = True
    found = await reader.read(ADMIN)
    assert isinstance(found.stored, DeadlineExceeded)
    assert found.processes == (FIGURES,)


async def test_prometheus_gets_what_processes_count_without_the_database(world: World, reader: Stats) -> None:
    def names(found: ServerStats) -> set[str]:
        return {line.split("{")[0].split(" ")[0] for line in exposed(found).decode().splitlines() if line[0] != "#"}

    whole = await reader.read(ADMIN)
    assert b"axonml_database_up 1.0" in exposed(whole)
    world.problem = Unavailable("the database cannot be reached just now")
    world.seconds += SHARED_SECONDS
    part = await reader.read(ADMIN)
    assert b"axonml_database_up 0.0" in exposed(part)
    missing = names(whole) - names(part)
    assert "axonml_runs" in missing
    assert not any(
        name.startswith(("axonml_process", "axonml_ingest", "axonml_live", "axonml_http")) for name in missing
    )
