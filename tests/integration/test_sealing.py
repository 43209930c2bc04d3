"""Sealing on a real database: nothing a reader sees changes but how fast it comes, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from domain import ids
from domain.access import Scope
from domain.errors import Conflict
from domain.metrics import (
    Column,
    Metrics,
    MetricSeries,
    SeriesAxis,
    SeriesRequest,
    SummariesRequest,
    decode,
)
from domain.runs import RunStatus
from persistence.database import Connection, Database
from persistence.lease import SEALING, Lease
from persistence.metrics import PostgresMetrics, sealer
from persistence.metrics.chunks import MOST_POINTS
from persistence.metrics.sealer import Sealer, SealRules
from tests.support.servers import until
from tests.support.tracking import Tracking, written

_COLUMNS = ("steps", "values", "timestamps", "min", "max")
EVERYTHING = SealRules(batches=1, points=1, points_per_key=1)


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


@pytest.fixture
async def metrics(tracking: Tracking) -> AsyncIterator[Metrics]:
    async with written(tracking.database) as store:
        yield Metrics(store=store, clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)


def _sealer(tracking: Tracking, url: str, rules: SealRules = EVERYTHING) -> Sealer:
    return Sealer(
        database=tracking.database,
        lease=Lease(url, SEALING, name="test-sealer", every=0.05),
        clock=tracking.clock,
        rules=rules,
    )


async def _head(tracking: Tracking, run_id: str) -> tuple[int, int, int]:
    row = await tracking.database.fetchrow(
        "SELECT metric_seq, sealed_seq, (SELECT count(*) FROM metric_chunks c WHERE c.run_id = h.run_id) AS chunks"
        " FROM run_heads h WHERE run_id = $1",
        ids.to_uuid(run_id),
    )
    assert row is not None
    return row["metric_seq"], row["sealed_seq"], row["chunks"]


async def _by_key(pieces: AsyncIterator[list[Column]]) -> dict[str, list[tuple[int, str, int]]]:
    """All points by key, in the order they came."""
    found: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    async for columns in pieces:
        for column in columns:
            found[column.key] += zip(
                column.steps.tolist(), map(repr, column.values.tolist()), column.timestamps.tolist(), strict=True
            )
    return dict(found)


def _shown(series: list[MetricSeries]) -> list[Any]:
    def plain(array: Any) -> str:
        return repr(None if array is None else array.tolist())

    return [
        (each.key, each.count, each.downsampled, *(plain(getattr(each, name)) for name in _COLUMNS)) for each in series
    ]


REQUESTS = [
    SeriesRequest.of(keys, points, axis, start, end)
    for keys in (None, ["loss", "acc"])
    for points in (1, 7, 100, 1_000, 10_000)
    for axis, start, end in (
        (SeriesAxis.STEP, None, None),
        (SeriesAxis.STEP, 300, 4_000),
        (SeriesAxis.STEP, 2_500.5, None),
        (SeriesAxis.STEP, 10**9, None),
        (SeriesAxis.TIME, None, None),
        (SeriesAxis.RELATIVE, 1, 3_000),
    )
]


async def _drawn(metrics: Metrics, scope: Scope, run_id: str) -> list[Any]:
    return [_shown((await metrics.series(scope, [run_id], request))[run_id]) for request in REQUESTS]


async def _log(metrics: Metrics, scope: Scope, run_id: str, rng: random.Random, *, first: int, points: int) -> None:
    """Several series: steady, noisy with gaps, backwards, several values of one step, and one that is no number."""
    steps = list(range(first, first + points))
    at = [1_700_000_000_000 + step * 1_000 + rng.randrange(3_000) for step in steps]
    document: dict[str, Any] = {
        "loss": {"steps": steps, "values": [rng.gauss(0, 1) for _ in steps], "timestamps": at},
        "acc": {"steps": [step * 3 + rng.randrange(3) for step in steps], "values": [rng.random() for _ in steps]},
        "back": {"steps": steps[::-1], "values": [float(step % 17) for step in steps]},
        "same": {"steps": [step // 4 for step in steps], "values": [float(step) for step in steps]},
        "odd": {"steps": steps, "values": [rng.choice(["NaN", "Infinity", 1.5]) for _ in steps]},
    }
    await metrics.log(scope, run_id, decode({"series": document}))


async def test_readers_see_the_same_before_and_after_sealing(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    rng = random.Random(11)
    seal = _sealer(tracking, database_url)
    expected_points: dict[str, list[tuple[int, str, int]]] = {}
    for round_, size in enumerate((700, 300, 1_500, 40, 3_000)):
        for part in range(3):
            await _log(metrics, scope, run.id, rng, first=500 * round_ + part * size, points=size)
        drawn = await _drawn(metrics, scope, run.id)
        points = await _by_key(await metrics.points(scope, run.id))
        assert all(points[key][: len(before)] == before for key, before in expected_points.items())
        expected_points = points
        tracking.clock.forward(minutes=11)
        await _log(metrics, scope, run.id, rng, first=90_000, points=1)
        drawn_with_tail = await _drawn(metrics, scope, run.id)
        assert await seal.sweep() == 1
        assert await _drawn(metrics, scope, run.id) == drawn_with_tail
        head, sealed, chunks = await _head(tracking, run.id)
        assert (head - sealed, chunks > 0) == (1, True)
        after = await _by_key(await metrics.points(scope, run.id))
        assert {key: found[:-1] for key, found in after.items()} == points
        assert drawn != drawn_with_tail
        expected_points = after
    only = await _by_key(await metrics.points(scope, run.id, ["acc"]))
    assert only == {"acc": expected_points["acc"]}


async def test_an_ended_run_is_sealed_whole_and_short_chunks_are_packed_together(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    rng = random.Random(5)
    seal = _sealer(tracking, database_url)
    for round_ in range(6):
        await _log(metrics, scope, run.id, rng, first=1_000 * round_, points=1_000 - 100 * round_)
        tracking.clock.forward(minutes=11)
        assert await seal.sweep() == 1
    assert (await _head(tracking, run.id))[2] > 5, "chunks shorter than what follows are left alone"
    await _log(metrics, scope, run.id, rng, first=9_000, points=2)
    drawn = await _drawn(metrics, scope, run.id)
    points = await _by_key(await metrics.points(scope, run.id))
    await tracking.runs.finish(scope, run.id, status=RunStatus.COMPLETED)
    assert await seal.sweep() == 0, "it ended a moment ago"
    tracking.clock.forward(minutes=2)
    assert await seal.sweep() == 1
    assert await seal.sweep() == 0
    assert await _head(tracking, run.id) == (7, 7, 5)
    assert await _drawn(metrics, scope, run.id) == drawn
    assert await _by_key(await metrics.points(scope, run.id)) == points
    await tracking.runs.resume(scope, run.id)
    await metrics.log(scope, run.id, decode({"loss": 1}))
    (loss,) = (await metrics.series(scope, [run.id], SeriesRequest.of(["loss"])))[run.id]
    assert (
        int(loss.steps[-1])
        == (await metrics.summaries(scope, [run.id], SummariesRequest.of(["loss"])))[run.id][0].last_step
    )


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
    before = await _drawn(metrics, scope, run.id)
    tracking.clock.forward(minutes=11)
    assert await _sealer(tracking, database_url).sweep() == 1
    rows = await tracking.database.fetch("SELECT * FROM metric_chunks ORDER BY first_point")
    assert sum(row["points"] for row in rows) == 198_000
    assert all(MOST_POINTS - 3 < row["points"] <= MOST_POINTS for row in rows[:-1])
    assert all(first["last_step"] < then["first_step"] for first, then in pairwise(rows))
    assert await _drawn(metrics, scope, run.id) == before
    monkeypatch.setattr("persistence.metrics.drawing.unpack_points", None)  # not one point is read
    (loss,) = (await metrics.series(scope, [run.id], SeriesRequest.of(points=150)))[run.id]
    assert loss.count == 66_000


async def test_batch_ids_outlive_their_points_and_nameless_ledger_rows_do_not(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    first = await metrics.log(scope, run.id, decode({"loss": 1}), batch="named")
    lookalike = await metrics.log(scope, run.id, decode({"loss": 2}), batch="server-00000000000000000000000000000000")
    for value in range(20):
        await metrics.log(scope, run.id, decode({"loss": value}))
    tracking.clock.forward(minutes=11)
    assert await _sealer(tracking, database_url).sweep() == 1
    rows = await tracking.database.fetch("SELECT seq, batch_id, payload FROM metric_batches ORDER BY seq")
    assert [(row["seq"], row["payload"]) for row in rows] == [(1, None), (2, None)]
    assert await metrics.log(scope, run.id, decode({"loss": 1}), batch="named") == first
    assert (
        await metrics.log(scope, run.id, decode({"loss": 2}), batch="server-00000000000000000000000000000000")
        == lookalike
    )
    with pytest.raises(Conflict):
        await metrics.log(scope, run.id, decode({"loss": 3}), batch="named")
    assert len((await _by_key(await metrics.points(scope, run.id)))["loss"]) == 22


async def test_the_server_knows_its_own_names_while_it_may_repeat_them(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    for value in range(3):
        await metrics.log(scope, run.id, decode({"loss": value}))
        tracking.clock.forward(seconds=40)
    at_once = SealRules(live_after=timedelta(0), batches=1, points=1)
    assert await _sealer(tracking, database_url, at_once).sweep() == 1
    rows = await tracking.database.fetch("SELECT seq, payload FROM metric_batches ORDER BY seq")
    assert [tuple(row) for row in rows] == [(3, None)]
    assert len((await _by_key(await metrics.points(scope, run.id)))["loss"]) == 3


async def test_a_reader_behind_what_is_sealed_is_reset_once_and_then_exact(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    cursors = [(await metrics.log(scope, run.id, decode({"loss": step, "step": step}))).cursor for step in range(30)]
    tracking.clock.forward(minutes=11)
    late = [(await metrics.log(scope, run.id, decode({"loss": step, "step": step}))).cursor for step in range(30, 33)]
    assert await _sealer(tracking, database_url).sweep() == 1
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
    seal = _sealer(tracking, database_url)
    for round_ in range(8):
        await _log(metrics, scope, run.id, rng, first=100 * round_, points=60)
    expected = await _by_key(await metrics.points(scope, run.id))
    pieces = 0

    async def disturbed() -> AsyncIterator[list[Column]]:
        """An export between whose pieces everything moves."""
        nonlocal pieces
        async for columns in await metrics.points(scope, run.id):
            yield columns
            pieces += 1
            if pieces in {1, 2, 3, 6, 9, 13, 17}:
                tracking.clock.forward(minutes=11)
                await _log(metrics, scope, run.id, rng, first=5_000 * pieces, points=80)
                await seal.sweep()

    assert await _by_key(disturbed()) == expected
    assert pieces > 17
    assert (await _head(tracking, run.id))[1] > 8


async def test_a_series_that_is_repacked_while_it_is_read_is_read_again(
    tracking: Tracking, metrics: Metrics, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    rng = random.Random(3)
    seal = _sealer(tracking, database_url)
    await _log(metrics, scope, run.id, rng, first=0, points=500)
    tracking.clock.forward(minutes=11)
    assert await seal.sweep() == 1
    await _log(metrics, scope, run.id, rng, first=400, points=900)
    tracking.clock.forward(minutes=11)
    request = SeriesRequest.of(start=10, end=1_200)
    expected = _shown((await metrics.series(scope, [run.id], request))[run.id])
    real = PostgresMetrics._completed
    began = 0

    async def late(self: PostgresMetrics, drawing: Any) -> bool:
        nonlocal began
        began += 1
        if began == 1:
            assert await seal.sweep() == 1
        return await real(self, drawing)

    monkeypatch.setattr(PostgresMetrics, "_completed", late)
    assert _shown((await metrics.series(scope, [run.id], request))[run.id]) == expected
    assert began == 2


async def test_a_crash_at_any_statement_leaves_batches_or_chunks(
    tracking: Tracking, metrics: Metrics, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await _log(metrics, scope, run.id, random.Random(1), first=0, points=400)
    await metrics.log(scope, run.id, decode({"loss": 1}), batch="named")
    tracking.clock.forward(minutes=11)
    expected = (await _drawn(metrics, scope, run.id), await _by_key(await metrics.points(scope, run.id)))
    seal = _sealer(tracking, database_url)
    real = Connection.execute
    for dies_at in range(3):
        left = dies_at

        async def dying(self: Any, statement: str, *arguments: object) -> int:
            nonlocal left
            if statement in (sealer._FORGET, sealer._EMPTY, sealer._ADVANCE):
                if left == 0:
                    raise KeyboardInterrupt  # nothing catches it on the way
                left -= 1
            return await real(self, statement, *arguments)

        with monkeypatch.context() as patched:
            patched.setattr(Connection, "execute", dying)
            with pytest.raises(KeyboardInterrupt):
                await seal.sweep()
        assert await _head(tracking, run.id) == (2, 0, 0)
    assert await seal.sweep() == 1
    assert (await _head(tracking, run.id))[1] == 2
    assert (await _drawn(metrics, scope, run.id), await _by_key(await metrics.points(scope, run.id))) == expected


async def test_two_sealers_at_once_seal_once(tracking: Tracking, metrics: Metrics, database_url: str) -> None:
    scope = await tracking.scope()
    runs = [await tracking.runs.create(scope) for _ in range(4)]
    for run in runs:
        for part in range(6):
            await _log(metrics, scope, run.id, random.Random(part), first=50 * part, points=100)
    expected = [await _by_key(await metrics.points(scope, run.id)) for run in runs]
    tracking.clock.forward(minutes=11)
    sealers = [_sealer(tracking, database_url) for _ in range(3)]
    done = await asyncio.gather(*(each.sweep() for each in sealers))
    assert sum(done) == len(runs)
    for run, points in zip(runs, expected, strict=True):
        assert await _by_key(await metrics.points(scope, run.id)) == points
        assert (await _head(tracking, run.id))[1] == 6


async def test_the_second_process_waits_for_the_lease(database_url: str) -> None:
    first, second = (Lease(database_url, SEALING, name="test-lease", every=0.01) for _ in range(2))
    order: list[str] = []
    waits = asyncio.Event()

    async def hold_second() -> None:
        waits.set()
        async with second.held() as held:
            order.append("second")
            assert held.lasts

    async with first.held() as held:
        waiting = asyncio.create_task(hold_second())
        await waits.wait()
        order.append("first")
        assert held.lasts
        assert not waiting.done()
    async with asyncio.timeout(10):
        await waiting
    assert order == ["first", "second"]


async def test_a_lost_connection_ends_the_lease(tracking: Tracking, database_url: str) -> None:
    async with Lease(database_url, SEALING, name="test-lease", every=0.01).held() as held:
        await tracking.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-lease'"
        )
        await until(lambda: not held.lasts, "the lease was not lost")


async def test_young_batches_and_small_runs_are_left_alone(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    live, small = await tracking.runs.create(scope), await tracking.runs.create(scope)
    await _log(metrics, scope, live.id, random.Random(1), first=0, points=4_000)
    await metrics.log(scope, small.id, decode({f"k{place}": place for place in range(50)}))
    seal = _sealer(tracking, database_url, SealRules(batches=50, points=10_000))
    tracking.clock.forward(minutes=9)
    assert await seal.sweep() == 0
    await _log(metrics, scope, live.id, random.Random(1), first=400, points=400)
    tracking.clock.forward(minutes=2)
    assert await seal.sweep() == 1
    assert (await _head(tracking, live.id))[:2] == (2, 1)
    wide = await tracking.runs.create(scope)
    for step in range(2):
        await metrics.log(scope, wide.id, decode([{f"k{place}": place for place in range(6_000)}] * (step + 1)))
    tracking.clock.forward(minutes=11)
    assert await seal.sweep() == 0, "two or three points per key are not worth a chunk each"
    await tracking.runs.finish(scope, small.id, status=RunStatus.COMPLETED)
    tracking.clock.forward(minutes=2)
    assert await seal.sweep() == 1, "it was weighed"
    assert await seal.sweep() == 0
    assert await _head(tracking, small.id) == (1, 0, 0)
    assert len((await metrics.series(scope, [small.id], SeriesRequest.of()))[small.id]) == 20


async def test_chunks_go_with_their_purged_run(tracking: Tracking, metrics: Metrics, database_url: str) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await _log(metrics, scope, run.id, random.Random(1), first=0, points=400)
    tracking.clock.forward(minutes=11)
    seal = _sealer(tracking, database_url)
    assert await seal.sweep() == 1
    await metrics.log(scope, run.id, decode({"loss": 1}))
    await tracking.runs.delete(scope, run.id)
    tracking.clock.forward(minutes=11)
    tracking.runs.PURGE_ROWS = 2  # several pieces
    await tracking.runs.purge(scope, run.id)
    assert await tracking.database.fetchval("SELECT count(*) FROM metric_chunks") == 0
    assert await seal.sweep() == 0
    assert not await seal.seal(UUID(bytes=ids.to_uuid(run.id).bytes), ended=True)


async def test_a_damaged_run_stops_nobody_else(tracking: Tracking, metrics: Metrics, database_url: str) -> None:
    scope = await tracking.scope()
    bad, good = await tracking.runs.create(scope), await tracking.runs.create(scope)
    for run in (bad, good):
        await _log(metrics, scope, run.id, random.Random(1), first=0, points=400)
    await tracking.database.execute("UPDATE metric_batches SET payload = 'x' WHERE run_id = $1", ids.to_uuid(bad.id))
    tracking.clock.forward(minutes=11)
    seal = _sealer(tracking, database_url)
    assert await seal.sweep() == 1
    assert await seal.sweep() == 0
    assert (await _head(tracking, good.id))[1] == 1
    assert (await _head(tracking, bad.id))[1] == 0


async def test_the_task_seals_by_itself(tracking: Tracking, metrics: Metrics, database_url: str) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await _log(metrics, scope, run.id, random.Random(1), first=0, points=400)
    tracking.clock.forward(minutes=11)
    seal = _sealer(tracking, database_url, SealRules(batches=1, points=1, every=timedelta(milliseconds=10)))

    async def sealed_to(seq: int) -> bool:
        return (await _head(tracking, run.id))[1] == seq

    task = asyncio.create_task(seal.run())
    try:
        await until(lambda: sealed_to(1), "nothing was sealed")
        # Its connection is lost: it gets the lease again and goes on.
        await tracking.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-sealer'"
        )
        await _log(metrics, scope, run.id, random.Random(1), first=400, points=400)
        tracking.clock.forward(minutes=11)
        await until(lambda: sealed_to(2), "sealing did not go on")
    finally:
        task.cancel()
        await asyncio.wait([task])
