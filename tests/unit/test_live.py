"""Live streams while the database is away: one that has begun goes on afterwards, one that has not begun is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from domain import ids
from domain.errors import NotFound, Unavailable
from domain.events import Event, MetricsAppended, Watch
from domain.figures import LiveFigures
from domain.live import patiently
from domain.metrics import Column, MetricDelta, MetricsSince, SeriesRequest
from domain.metrics.follow import Reset, State, follow, stepped
from domain.runs import RunStatus
from domain.tail import Step, Tails

RUN = ids.new("run")


class Flag:
    """A watch, and the hub that hands it out."""

    def __init__(self) -> None:
        self.raised = asyncio.Event()
        self.ending = False
        self.readers = 1

    async def changed(self) -> bool:
        await self.raised.wait()
        if not self.ending:
            self.raised.clear()
        return not self.ending

    def end(self) -> None:
        self.ending = True
        self.raised.set()

    @asynccontextmanager
    async def watch(self, run_id: str, *kinds: type[Event]) -> AsyncIterator[Watch]:
        assert run_id == RUN
        assert kinds
        yield self


class Flaky:
    """Reads that fail as often as told, as they do while the database restarts."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.seq = 1

    async def read(self, place: int, _until: int | None) -> Step[MetricsSince] | None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the database cannot be reached just now")
        points = [Column("loss", np.array([step]), np.array([0.5]), np.array([0])) for step in range(place, self.seq)]
        found = MetricsSince(points[:1], min(place + 1, self.seq), self.seq, RunStatus.RUNNING, stop_requested=False)
        return stepped(found)

    async def draw(self, _state: State) -> Reset:
        raise AssertionError("nothing here is large enough to be drawn")

    def follow(self, flag: Flag, figures: LiveFigures | None = None) -> AsyncGenerator[MetricDelta, None]:
        tails: Tails[MetricsSince] = Tails(flag, MetricsAppended)
        figures = figures or LiveFigures()
        return follow(tails, "", RUN, SeriesRequest(), 0, read=self.read, draw=self.draw, figures=figures)


async def test_a_stream_that_has_begun_outlives_an_absence_of_the_database() -> None:
    flag, flaky = Flag(), Flaky()
    figures = LiveFigures()
    stream = flaky.follow(flag, figures)
    first = await anext(stream)
    flaky.failures, flaky.seq = 2, 2
    flag.raised.set()
    second = await anext(stream)
    assert flaky.failures == 0
    assert [series.steps.tolist() for series in (*first.series, *second.series)] == [[0], [1]]
    assert (figures.deltas, figures.skipped, figures.resets) == (2, 0, 0)
    await stream.aclose()


async def test_a_stream_that_has_not_begun_says_that_the_database_is_away() -> None:
    flag, flaky = Flag(), Flaky(failures=1)
    stream = flaky.follow(flag)
    with pytest.raises(Unavailable):
        await anext(stream)


async def test_patience_ends_with_the_process() -> None:
    flag = Flag()

    async def away() -> int | None:
        flag.end()
        raise Unavailable("the database cannot be reached just now")

    assert await patiently(flag, away) is None


async def test_patience_has_an_end() -> None:
    tried = 0

    async def away() -> int | None:
        nonlocal tried
        tried += 1
        raise Unavailable("the database cannot be reached just now")

    with pytest.raises(Unavailable):
        await patiently(Flag(), away, patience=0.3)
    assert tried == 2


async def test_other_refusals_are_not_waited_for() -> None:
    async def gone() -> int | None:
        raise NotFound("there is no such run")

    with pytest.raises(NotFound):
        await patiently(Flag(), gone)
