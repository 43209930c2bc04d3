"""Runs that cannot be sealed: left out, shown, tried again ever more rarely, and sealed once they are whole again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.errors import DeadlineExceeded
from domain.figures import SealingFigures
from domain.metrics import Metrics, decode
from persistence.lease import SEALING, Lease
from persistence.metrics.sealer import Sealer, SealRules
from persistence.metrics.setbacks import FIRST_PAUSE, LONGEST_PAUSE, Setbacks
from tests.support.tracking import START, Tracking, written

EVERYTHING = SealRules(batches=1, points=1, points_per_key=1)


@pytest.fixture
async def metrics(tracking: Tracking) -> AsyncIterator[Metrics]:
    async with written(tracking.database) as store:
        yield Metrics(store=store, clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)


def sealer(tracking: Tracking, url: str) -> Sealer:
    return Sealer(
        database=tracking.database,
        lease=Lease(url, SEALING, name="test-sealer", every=0.05),
        clock=tracking.clock,
        rules=EVERYTHING,
    )


async def test_a_damaged_run_is_tried_again_and_sealed_once_it_is_whole(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    bad, good = await tracking.runs.create(scope), await tracking.runs.create(scope)
    for run in (bad, good):
        await metrics.log(scope, run.id, decode([{"step": step, "loss": step * 0.5} for step in range(400)]))
    where = ids.to_uuid(bad.id)
    whole = await tracking.database.fetchval("SELECT payload FROM metric_batches WHERE run_id = $1", where)
    await tracking.database.execute("UPDATE metric_batches SET payload = 'x' WHERE run_id = $1", where)
    tracking.clock.forward(minutes=11)
    seal = sealer(tracking, database_url)

    assert await seal.sweep() == 1, "the other one is sealed"
    (damaged,) = seal.figures.damaged
    assert (damaged.run_id, damaged.attempts, damaged.next_try_at) == (bad.id, 1, tracking.clock.now() + FIRST_PAUSE)
    assert (seal.figures.points, seal.figures.batches, seal.figures.failures) == (400, 1, 1)

    await seal.sweep()
    assert seal.figures.damaged[0].attempts == 1, "too early"
    tracking.clock.forward(minutes=1)
    await seal.sweep()
    assert seal.figures.damaged[0].attempts == 2
    assert seal.figures.damaged[0].since == damaged.since

    await tracking.database.execute("UPDATE metric_batches SET payload = $2 WHERE run_id = $1", where, whole)
    tracking.clock.forward(minutes=2)
    assert await seal.sweep() == 1
    assert (seal.figures.damaged_runs, seal.figures.damaged, seal.figures.points) == (0, [], 800)
    assert (seal.figures.sweeps, seal.figures.last_sweep_at) == (4, tracking.clock.now())


async def test_a_run_that_takes_too_long_lets_the_others_pass_next_time(
    tracking: Tracking, metrics: Metrics, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    slow, quick = await tracking.runs.create(scope), await tracking.runs.create(scope)
    for run in (slow, quick):
        await metrics.log(scope, run.id, decode([{"step": step, "loss": step * 0.5} for step in range(400)]))
    tracking.clock.forward(minutes=11)
    seal = sealer(tracking, database_url)
    really = seal.seal

    async def hanging(run: UUID, *, ended: bool) -> bool:
        if ids.from_uuid("run", run) == slow.id:
            raise DeadlineExceeded("the database query took longer than it may")
        return await really(run, ended=ended)

    monkeypatch.setattr(seal, "seal", hanging)
    with pytest.raises(DeadlineExceeded):
        await seal.sweep()
    await seal.sweep()
    assert (seal.figures.points, seal.figures.damaged[0].run_id) == (400, slow.id)


@given(st.integers(1, 200))
def test_pauses_grow_to_an_hour_and_no_further(tries: int) -> None:
    figures = SealingFigures()
    setbacks, run, now = Setbacks(figures), UUID(int=7), START
    last = timedelta(0)
    for _ in range(tries):
        noted = setbacks.note(run, ValueError("x" * 1000), now)
        pause = noted.next_try_at - now
        assert last <= pause <= LONGEST_PAUSE
        assert setbacks.left_out(noted.next_try_at - timedelta(microseconds=1)) == [run]
        assert setbacks.left_out(noted.next_try_at) == []
        last, now = pause, noted.next_try_at
    assert figures.damaged_runs == 1
    assert len(figures.damaged[0].reason) <= 300
    setbacks.forget([run])
    assert figures.damaged_runs == 0
