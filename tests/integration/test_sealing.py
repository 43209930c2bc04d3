"""Sealing on a real database: when it happens, what it leaves, and what a crash or another process does to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain import ids
from domain.errors import Conflict
from domain.metrics import (
    Metrics,
    SeriesRequest,
    SummariesRequest,
    decode,
)
from domain.runs import RunStatus
from persistence.database import Connection
from persistence.lease import SEALING, Lease
from persistence.metrics import seal_sql
from persistence.metrics.sealer import SealRules
from tests.support.sealing import by_key, drawn, head, log, sealer_of
from tests.support.servers import until
from tests.support.tracking import Tracking, written


@pytest.fixture
async def metrics(tracking: Tracking) -> AsyncIterator[Metrics]:
    async with written(tracking.database) as store:
        yield Metrics(store=store, clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)


async def test_an_ended_run_is_sealed_whole_and_short_chunks_are_packed_together(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    rng = random.Random(5)
    seal = sealer_of(tracking, database_url)
    for round_ in range(6):
        await log(metrics, scope, run.id, rng, first=1_000 * round_, points=1_000 - 100 * round_)
        tracking.clock.forward(minutes=11)
        assert await seal.sweep() == 1
    assert (await head(tracking, run.id))[2] > 5, "chunks shorter than what follows are left alone"
    await log(metrics, scope, run.id, rng, first=9_000, points=2)
    before = await drawn(metrics, scope, run.id)
    points = await by_key(await metrics.points(scope, run.id))
    await tracking.runs.finish(scope, run.id, status=RunStatus.COMPLETED)
    assert await seal.sweep() == 0, "it ended a moment ago"
    tracking.clock.forward(minutes=2)
    assert await seal.sweep() == 1
    assert await seal.sweep() == 0
    assert await head(tracking, run.id) == (7, 7, 5)
    assert await drawn(metrics, scope, run.id) == before
    assert await by_key(await metrics.points(scope, run.id)) == points
    await tracking.runs.resume(scope, run.id)
    await metrics.log(scope, run.id, decode({"loss": 1}))
    (loss,) = (await metrics.series(scope, [run.id], SeriesRequest.of(["loss"])))[run.id]
    assert (
        int(loss.steps[-1])
        == (await metrics.summaries(scope, [run.id], SummariesRequest.of(["loss"])))[run.id][0].last_step
    )


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
    assert await sealer_of(tracking, database_url).sweep() == 1
    rows = await tracking.database.fetch("SELECT seq, batch_id, payload FROM metric_batches ORDER BY seq")
    assert [(row["seq"], row["payload"]) for row in rows] == [(1, None), (2, None)]
    assert await metrics.log(scope, run.id, decode({"loss": 1}), batch="named") == first
    assert (
        await metrics.log(scope, run.id, decode({"loss": 2}), batch="server-00000000000000000000000000000000")
        == lookalike
    )
    with pytest.raises(Conflict):
        await metrics.log(scope, run.id, decode({"loss": 3}), batch="named")
    assert len((await by_key(await metrics.points(scope, run.id)))["loss"]) == 22


async def test_the_server_knows_its_own_names_while_it_may_repeat_them(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    for value in range(3):
        await metrics.log(scope, run.id, decode({"loss": value}))
        tracking.clock.forward(seconds=40)
    at_once = SealRules(live_after=timedelta(0), batches=1, points=1)
    assert await sealer_of(tracking, database_url, at_once).sweep() == 1
    rows = await tracking.database.fetch("SELECT seq, payload FROM metric_batches ORDER BY seq")
    assert [tuple(row) for row in rows] == [(3, None)]
    assert len((await by_key(await metrics.points(scope, run.id)))["loss"]) == 3


async def test_a_crash_at_any_statement_leaves_batches_or_chunks(
    tracking: Tracking, metrics: Metrics, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await log(metrics, scope, run.id, random.Random(1), first=0, points=400)
    await metrics.log(scope, run.id, decode({"loss": 1}), batch="named")
    tracking.clock.forward(minutes=11)
    expected = (await drawn(metrics, scope, run.id), await by_key(await metrics.points(scope, run.id)))
    seal = sealer_of(tracking, database_url)
    real = Connection.execute
    for dies_at in range(3):
        left = dies_at

        async def dying(self: Any, statement: str, *arguments: object) -> int:
            nonlocal left
            if statement in (seal_sql.FORGET, seal_sql.EMPTY, seal_sql.ADVANCE):
                if left == 0:
                    raise KeyboardInterrupt  # nothing catches it on the way
                left -= 1
            return await real(self, statement, *arguments)

        with monkeypatch.context() as patched:
            patched.setattr(Connection, "execute", dying)
            with pytest.raises(KeyboardInterrupt):
                await seal.sweep()
        assert await head(tracking, run.id) == (2, 0, 0)
    assert await seal.sweep() == 1
    assert (await head(tracking, run.id))[1] == 2
    assert (await drawn(metrics, scope, run.id), await by_key(await metrics.points(scope, run.id))) == expected


async def test_two_sealers_at_once_seal_once(tracking: Tracking, metrics: Metrics, database_url: str) -> None:
    scope = await tracking.scope()
    runs = [await tracking.runs.create(scope) for _ in range(4)]
    for run in runs:
        for part in range(6):
            await log(metrics, scope, run.id, random.Random(part), first=50 * part, points=100)
    expected = [await by_key(await metrics.points(scope, run.id)) for run in runs]
    tracking.clock.forward(minutes=11)
    sealers = [sealer_of(tracking, database_url) for _ in range(3)]
    done = await asyncio.gather(*(each.sweep() for each in sealers))
    assert sum(done) == len(runs)
    for run, points in zip(runs, expected, strict=True):
        assert await by_key(await metrics.points(scope, run.id)) == points
        assert (await head(tracking, run.id))[1] == 6


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
        assert held.lasts
        await tracking.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-lease'"
        )
        await until(lambda: not held.lasts, "the lease was not lost")


async def test_young_batches_and_small_runs_are_left_alone(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    live, small = await tracking.runs.create(scope), await tracking.runs.create(scope)
    await log(metrics, scope, live.id, random.Random(1), first=0, points=4_000)
    await metrics.log(scope, small.id, decode({f"k{place}": place for place in range(50)}))
    seal = sealer_of(tracking, database_url, SealRules(batches=50, points=10_000))
    tracking.clock.forward(minutes=9)
    assert await seal.sweep() == 0
    await log(metrics, scope, live.id, random.Random(1), first=400, points=400)
    tracking.clock.forward(minutes=2)
    assert await seal.sweep() == 1
    assert (await head(tracking, live.id))[:2] == (2, 1)
    wide = await tracking.runs.create(scope)
    for step in range(2):
        await metrics.log(scope, wide.id, decode([{f"k{place}": place for place in range(6_000)}] * (step + 1)))
    tracking.clock.forward(minutes=11)
    assert await seal.sweep() == 0, "two or three points per key are not worth a chunk each"
    await tracking.runs.finish(scope, small.id, status=RunStatus.COMPLETED)
    tracking.clock.forward(minutes=2)
    assert await seal.sweep() == 1, "it was weighed"
    assert await seal.sweep() == 0
    assert await head(tracking, small.id) == (1, 0, 0)
    assert len((await metrics.series(scope, [small.id], SeriesRequest.of()))[small.id]) == 20


async def test_chunks_go_with_their_purged_run(tracking: Tracking, metrics: Metrics, database_url: str) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await log(metrics, scope, run.id, random.Random(1), first=0, points=400)
    tracking.clock.forward(minutes=11)
    seal = sealer_of(tracking, database_url)
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
        await log(metrics, scope, run.id, random.Random(1), first=0, points=400)
    await tracking.database.execute("UPDATE metric_batches SET payload = 'x' WHERE run_id = $1", ids.to_uuid(bad.id))
    tracking.clock.forward(minutes=11)
    seal = sealer_of(tracking, database_url)
    assert await seal.sweep() == 1
    assert await seal.sweep() == 0
    assert (await head(tracking, good.id))[1] == 1
    assert (await head(tracking, bad.id))[1] == 0


async def test_the_task_seals_by_itself(tracking: Tracking, metrics: Metrics, database_url: str) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await log(metrics, scope, run.id, random.Random(1), first=0, points=400)
    tracking.clock.forward(minutes=11)
    seal = sealer_of(tracking, database_url, SealRules(batches=1, points=1, every=timedelta(milliseconds=10)))

    async def sealed_to(seq: int) -> bool:
        return (await head(tracking, run.id))[1] == seq

    task = asyncio.create_task(seal.run())
    try:
        await until(lambda: sealed_to(1), "nothing was sealed")
        # Its connection is lost: it gets the lease again and goes on.
        await tracking.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-sealer'"
        )
        await log(metrics, scope, run.id, random.Random(1), first=400, points=400)
        tracking.clock.forward(minutes=11)
        await until(lambda: sealed_to(2), "sealing did not go on")
        assert (await head(tracking, run.id))[0] == 2
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_live_run_that_logs_very_much_is_sealed_early_but_for_its_end(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    fast, slow = await tracking.runs.create(scope), await tracking.runs.create(scope)
    rng = random.Random(2)
    rules = SealRules(batches=4, points=1_000, points_per_key=1, beyond=10_000, kept=4_000)
    seal = sealer_of(tracking, database_url, rules)
    cursors = []
    for part in range(12):  # 1,000 points each
        await log(metrics, scope, fast.id, rng, first=200 * part, points=200)
        cursors.append((await metrics.read(scope, fast.id, SeriesRequest.of())).cursor)
    await log(metrics, scope, slow.id, rng, first=0, points=1_900)
    expected = (await drawn(metrics, scope, fast.id), await by_key(await metrics.points(scope, fast.id)))
    assert await seal.sweep() == 0, "nothing is a minute old"
    tracking.clock.forward(seconds=61)
    await log(metrics, scope, fast.id, rng, first=9_000, points=1)
    await log(metrics, scope, slow.id, rng, first=9_000, points=1)
    assert await seal.sweep() == 1
    assert (await head(tracking, fast.id))[:2] == (13, 8), "the newest 4,000 points stay as they came"
    assert (await head(tracking, slow.id))[:2] == (2, 0), "it has no more than it may"
    assert await seal.sweep() == 0
    left = await tracking.database.fetchval("SELECT count(*) FROM metric_batches WHERE payload IS NULL")
    assert left == 0, "rows of the ledger that nobody needs any more are gone"
    shown_points = await by_key(await metrics.points(scope, fast.id))
    assert {key: points[:-1] for key, points in shown_points.items()} == expected[1]
    for after, reset in ((cursors[6], True), (cursors[7], False), (cursors[11], False)):
        delta = await anext(await metrics.follow(scope, fast.id, after=after, points=10_000))
        assert delta.reset is reset

    for part in range(7):
        await log(metrics, scope, fast.id, rng, first=10_000 + 200 * part, points=200)
    tracking.clock.forward(minutes=11)
    assert await seal.sweep() == 2, "age seals as ever"
    assert (await head(tracking, fast.id))[:2] == (20, 20)
