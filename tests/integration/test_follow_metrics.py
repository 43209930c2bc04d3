"""Following metrics on a real database: catch-up, deltas, resets, and readers that never miss or repeat a point."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.access import Scope
from domain.errors import BadUserInput
from domain.metrics import MetricDelta, decode, write_cursor
from domain.runs import RunStatus
from persistence.database import Database
from persistence.metrics import PostgresMetrics
from tests.support.live import Process, process


@pytest.fixture
async def live(database: Database, database_url: str) -> AsyncIterator[Process]:
    async with process(database, database_url) as running:
        yield running


def _points(delta: MetricDelta) -> list[tuple[str, int, float]]:
    return [
        (series.key, step, value)
        for series in delta.series
        for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True)
    ]


async def test_followers_catch_up_then_get_each_change_and_the_end(live: Process) -> None:
    scope = await live.scope()
    run = await live.runs.create(scope, start=False)
    stream = await live.metrics.follow(scope, run.id)
    first = await anext(stream)
    assert (first.status, first.series, first.reset) == (RunStatus.PENDING, [], False)
    logged = await live.metrics.log(scope, run.id, decode({"loss": 1, "acc": 2}))
    second = await anext(stream)
    assert (second.status, second.cursor) == (RunStatus.RUNNING, logged.cursor)
    assert sorted(_points(second)) == [("acc", 0, 2.0), ("loss", 0, 1.0)]
    await live.runs.stop(scope, run.id)
    third = await anext(stream)
    assert (third.stop_requested, third.series, third.cursor) == (True, [], logged.cursor)
    await live.runs.finish(scope, run.id, status=RunStatus.STOPPED)
    assert (await anext(stream)).status is RunStatus.STOPPED
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    again = [delta async for delta in await live.metrics.follow(scope, run.id, after=first.cursor)]
    assert [sorted(_points(delta)) for delta in again] == [[("acc", 0, 2.0), ("loss", 0, 1.0)]]
    assert again[0].status is RunStatus.STOPPED
    assert live.hub.watching == 0


async def test_followers_of_some_keys_get_only_those(live: Process) -> None:
    scope = await live.scope()
    run = await live.runs.create(scope)
    stream = await live.metrics.follow(scope, run.id, keys=["loss"])
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    for place in range(5):
        await live.metrics.log(scope, run.id, decode({"acc": place}))
    await live.metrics.log(scope, run.id, decode({"loss": 9, "acc": 9, "step": 9}))
    assert _points(await waiting) == [("loss", 9, 9.0)]
    await stream.aclose()


async def test_one_far_behind_is_reset_once_and_then_exact(live: Process) -> None:
    scope = await live.scope()
    run = await live.runs.create(scope)
    values = [float(place % 7) for place in range(500)]
    values[123] = 1e6
    logged = await live.metrics.log(scope, run.id, decode({"series": {"loss": {"values": values}}}))
    await live.metrics.log(scope, run.id, decode({"loss": 3.0}))
    stream = await live.metrics.follow(scope, run.id, points=50)
    reset = await anext(stream)
    assert reset.reset
    (loss,) = reset.series
    assert loss.downsampled
    assert len(loss.values) <= 50
    assert loss.count == 501
    assert loss.max is not None
    assert loss.max.max() == 1e6
    await live.metrics.log(scope, run.id, decode({"loss": 4.0}))
    exact = await anext(stream)
    assert (exact.reset, _points(exact)) == (False, [("loss", 501, 4.0)])
    await stream.aclose()
    near = await anext(await live.metrics.follow(scope, run.id, after=logged.cursor, points=50))
    assert (near.reset, _points(near)) == (False, [("loss", 500, 3.0), ("loss", 501, 4.0)])


async def test_forged_foreign_and_early_cursors_are_refused(live: Process) -> None:
    scope = await live.scope()
    run, other = await live.runs.create(scope), await live.runs.create(scope)
    cursor = (await live.metrics.log(scope, other.id, decode({"loss": 1}))).cursor
    line = write_cursor("logs", run.id, 0)
    for forged in (cursor, line, "", "nonsense", cursor[:-1], "é"):
        with pytest.raises(BadUserInput) as refused:
            await live.metrics.follow(scope, run.id, after=forged)
        assert refused.value.field == "after"
    with pytest.raises(BadUserInput) as ahead:
        await anext(await live.metrics.follow(scope, run.id, after=write_cursor("metrics", run.id, 7)))
    assert ahead.value.field == "after"
    assert live.hub.watching == 0


async def test_readers_that_drop_and_resume_get_exactly_what_was_accepted(live: Process) -> None:
    scope = await live.scope()
    run = await live.runs.create(scope)
    chance = random.Random(7)
    batches = 150

    async def write() -> None:
        for place in range(batches):
            rows = [{"loss": place * 10 + row, "step": place * 10 + row} for row in range(1 + place % 4)]
            await live.metrics.log(scope, run.id, decode(rows))
        await live.runs.finish(scope, run.id, status=RunStatus.COMPLETED)

    async def read(patience: float) -> tuple[list[tuple[str, int, float]], int]:
        got: list[tuple[str, int, float]] = []
        cursor, ended, drops = None, False, 0
        while not ended:
            stream = await live.metrics.follow(scope, run.id, after=cursor, points=10_000)
            async for delta in stream:
                assert not delta.reset
                got += _points(delta)
                cursor = delta.cursor
                ended = delta.status is RunStatus.COMPLETED
                if not ended and chance.random() < patience:
                    drops += 1
                    break
            await stream.aclose()
        return got, drops

    readers = [asyncio.ensure_future(read(patience)) for patience in (0.0, 0.1, 0.3, 0.5, 0.9)]
    await write()
    accepted = Counter(
        [
            (column.key, step, value)
            async for columns in await live.metrics.points(scope, run.id)
            for column in columns
            for step, value in zip(column.steps.tolist(), column.values.tolist(), strict=True)
        ]
    )
    assert sum(accepted.values()) == sum(1 + place % 4 for place in range(batches))
    results = await asyncio.gather(*readers)
    for got, _ in results:
        assert Counter(got) == accepted
        assert [step for _, step, _ in got] == sorted(step for _, step, _ in got)
    assert sum(drops for _, drops in results) > 10


async def test_many_followers_share_their_reads(live: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = await live.scope()
    run = await live.runs.create(scope)
    reads = 0
    real = PostgresMetrics.since

    async def counted(self: PostgresMetrics, scope: Scope, run_id: str, seq: int, until: int | None = None) -> Any:
        nonlocal reads
        reads += 1
        return await real(self, scope, run_id, seq, until)

    monkeypatch.setattr(PostgresMetrics, "since", counted)
    streams = [await live.metrics.follow(scope, run.id) for _ in range(200)]
    await asyncio.gather(*(anext(stream) for stream in streams))
    reads = 0
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await live.metrics.log(scope, run.id, decode({"loss": 1}))
    for delta in await asyncio.gather(*waiting):
        assert _points(delta) == [("loss", 0, 1.0)]
    assert reads < 10
    for stream in streams:
        await stream.aclose()
