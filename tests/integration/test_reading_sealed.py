"""Reading sealed metrics on a real database: nothing changes but how fast it comes, whatever happens meanwhile."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from domain.errors import NotFound
from domain.metrics import (
    Column,
    Metrics,
    SeriesRequest,
    decode,
)
from persistence.database import Database
from persistence.metrics import PostgresMetrics
from persistence.metrics.chunks import MOST_POINTS
from tests.support.sealing import by_key, drawn, head, log, sealer_of, shown
from tests.support.tracking import Tracking, written


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


@pytest.fixture
async def metrics(tracking: Tracking) -> AsyncIterator[Metrics]:
    async with written(tracking.database) as store:
        yield Metrics(store=store, clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)


async def test_readers_see_the_same_before_and_after_sealing(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    rng = random.Random(11)
    seal = sealer_of(tracking, database_url)
    expected_points: dict[str, list[tuple[int, str, int]]] = {}
    for round_, size in enumerate((700, 300, 1_500, 40, 3_000)):
        for part in range(3):
            await log(metrics, scope, run.id, rng, first=500 * round_ + part * size, points=size)
        before = await drawn(metrics, scope, run.id)
        points = await by_key(await metrics.points(scope, run.id))
        assert all(points[key][: len(before)] == before for key, before in expected_points.items())
        expected_points = points
        tracking.clock.forward(minutes=11)
        await log(metrics, scope, run.id, rng, first=90_000, points=1)
        drawn_with_tail = await drawn(metrics, scope, run.id)
        assert await seal.sweep() == 1
        assert await drawn(metrics, scope, run.id) == drawn_with_tail
        newest, sealed, chunks = await head(tracking, run.id)
        assert (newest - sealed, chunks > 0) == (1, True)
        after = await by_key(await metrics.points(scope, run.id))
        assert {key: found[:-1] for key, found in after.items()} == points
        assert before != drawn_with_tail
        expected_points = after
    only = await by_key(await metrics.points(scope, run.id, ["acc"]))
    assert only == {"acc": expected_points["acc"]}


async def test_long_series_are_cut_where_the_step_changes_and_drawn_from_levels(
    tracking: Tracking, metrics: Metrics, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    steps = np.arange(99_000) // 3
    for _ in range(2):
        values = np.sin(steps / 500.0)
        document = {"steps": steps.tolist(), "values": values.tolist()}
        await metrics.log(scope, run.id, decode({"series": {"loss": document}}))
        steps = steps + 33_000
    before = await drawn(metrics, scope, run.id)
    tracking.clock.forward(minutes=11)
    assert await sealer_of(tracking, database_url).sweep() == 1
    rows = await tracking.database.fetch("SELECT * FROM metric_chunks ORDER BY first_point")
    assert sum(row["points"] for row in rows) == 198_000
    assert all(MOST_POINTS - 3 < row["points"] <= MOST_POINTS for row in rows[:-1])
    assert all(first["last_step"] < then["first_step"] for first, then in pairwise(rows))
    assert await drawn(metrics, scope, run.id) == before
    monkeypatch.setattr("persistence.metrics.drawing.unpack_points", None)  # not one point is read
    (loss,) = (await metrics.series(scope, [run.id], SeriesRequest.of(points=150)))[run.id]
    assert loss.count == 66_000


async def test_a_reader_behind_what_is_sealed_is_reset_once_and_then_exact(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    cursors = [(await metrics.log(scope, run.id, decode({"loss": step, "step": step}))).cursor for step in range(30)]
    tracking.clock.forward(minutes=11)
    late = [(await metrics.log(scope, run.id, decode({"loss": step, "step": step}))).cursor for step in range(30, 33)]
    assert await sealer_of(tracking, database_url).sweep() == 1
    stream = await metrics.follow(scope, run.id, after=cursors[7])
    reset = await anext(stream)
    assert (reset.reset, reset.cursor) == (True, late[-1])
    assert reset.series[0].values.tolist() == [float(step) for step in range(33)]
    await metrics.log(scope, run.id, decode({"loss": 33.0, "step": 33}))
    delta = await anext(stream)
    assert (delta.reset, delta.series[0].values.tolist()) == (False, [33.0])
    for after, values in ((cursors[-1], [30.0, 31.0, 32.0, 33.0]), (late[0], [31.0, 32.0, 33.0])):
        exact = await anext(await metrics.follow(scope, run.id, after=after))
        assert (exact.reset, exact.series[0].values.tolist()) == (False, values)


async def test_an_export_under_way_survives_sealing_and_repacking(
    tracking: Tracking, metrics: Metrics, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.metrics.export.ROWS_AT_ONCE", 1)
    monkeypatch.setattr("persistence.metrics.sealing.MOST_POINTS", 128)
    monkeypatch.setattr("persistence.metrics.sealing.SHORT", 64)
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    rng = random.Random(3)
    seal = sealer_of(tracking, database_url)
    for round_ in range(8):
        await log(metrics, scope, run.id, rng, first=100 * round_, points=60)
    expected = await by_key(await metrics.points(scope, run.id))
    pieces = 0

    async def disturbed() -> AsyncIterator[list[Column]]:
        """An export between whose pieces everything moves."""
        nonlocal pieces
        async for columns in await metrics.points(scope, run.id):
            yield columns
            pieces += 1
            if pieces in {1, 2, 3, 6, 9, 13, 17}:
                tracking.clock.forward(minutes=11)
                await log(metrics, scope, run.id, rng, first=5_000 * pieces, points=80)
                await seal.sweep()

    assert await by_key(disturbed()) == expected
    assert pieces > 17
    assert (await head(tracking, run.id))[1] > 8


@pytest.mark.parametrize("sealed", [False, True])
async def test_an_export_of_a_run_that_is_purged_meanwhile_does_not_look_whole(
    tracking: Tracking, metrics: Metrics, database_url: str, monkeypatch: pytest.MonkeyPatch, *, sealed: bool
) -> None:
    monkeypatch.setattr("persistence.metrics.export.ROWS_AT_ONCE", 1)
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    for part in range(3):
        await log(metrics, scope, run.id, random.Random(1), first=300 * part, points=300)
    if sealed:
        tracking.clock.forward(minutes=11)
        assert await sealer_of(tracking, database_url).sweep() == 1
    pieces = await metrics.points(scope, run.id)
    assert await anext(pieces)
    await tracking.runs.delete(scope, run.id)
    await tracking.runs.purge(scope, run.id)
    with pytest.raises(NotFound, match="purged"):
        await by_key(pieces)


async def test_a_series_that_is_repacked_while_it_is_read_is_read_again(
    tracking: Tracking, metrics: Metrics, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    rng = random.Random(3)
    seal = sealer_of(tracking, database_url)
    await log(metrics, scope, run.id, rng, first=0, points=500)
    tracking.clock.forward(minutes=11)
    assert await seal.sweep() == 1
    await log(metrics, scope, run.id, rng, first=400, points=900)
    tracking.clock.forward(minutes=11)
    request = SeriesRequest.of(start=10, end=1_200)
    expected = shown((await metrics.series(scope, [run.id], request))[run.id])
    real = PostgresMetrics._completed
    began = 0

    async def late(self: PostgresMetrics, drawing: Any) -> bool:
        nonlocal began
        began += 1
        if began == 1:
            assert await seal.sweep() == 1
        return await real(self, drawing)

    monkeypatch.setattr(PostgresMetrics, "_completed", late)
    assert shown((await metrics.series(scope, [run.id], request))[run.id]) == expected
    assert began == 2
