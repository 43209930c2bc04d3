"""What waits to be sealed, by the sealer's own rule, and who seals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from domain import ids
from domain.metrics import Metrics, decode
from domain.runs import RunStatus
from persistence.database import Database
from persistence.lease import SEALING, Lease
from persistence.metrics.sealer import Sealer, SealRules
from persistence.stats import SEALER, PostgresStats
from tests.support.tracking import Tracking, written

RULES = SealRules(batches=3, points=1_000, points_per_key=100)


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


@pytest.fixture
async def metrics(tracking: Tracking) -> AsyncIterator[Metrics]:
    async with written(tracking.database) as store:
        yield Metrics(store=store, clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)


async def test_what_is_due_is_what_the_sealer_takes(tracking: Tracking, metrics: Metrics, database_url: str) -> None:
    scope, clock = await tracking.scope(), tracking.clock
    stats = PostgresStats(tracking.database, RULES)
    seal = Sealer(database=tracking.database, lease=Lease(database_url, SEALING, name="test"), clock=clock, rules=RULES)
    small, large, ended = [await tracking.runs.create(scope) for _ in range(3)]
    points = [{"step": step, "loss": step * 0.5} for step in range(400)]
    await metrics.log(scope, small.id, decode(points[:5]))
    for _ in range(3):
        await metrics.log(scope, large.id, decode(points))
    await metrics.log(scope, ended.id, decode(points))

    state = await stats.sealing(clock.now(), [])
    assert (state.unsealed_runs, state.unsealed_points, state.due_runs, state.lag) == (3, 1605, 0, None)

    clock.forward(minutes=10, seconds=30)
    state = await stats.sealing(clock.now(), [])
    assert (state.due_runs, state.lag) == (1, timedelta(seconds=30))
    assert (await stats.sealing(clock.now(), [large.id])).due_runs == 0

    await tracking.runs.finish(scope, ended.id, RunStatus.COMPLETED)
    clock.forward(minutes=2)
    state = await stats.sealing(clock.now(), [])
    assert (state.due_runs, state.lag) == (2, timedelta(seconds=150))

    assert await seal.sweep() == state.due_runs
    state = await stats.sealing(clock.now(), [])
    assert (state.unsealed_runs, state.unsealed_points, state.due_runs, state.lag) == (1, 5, 0, None)
    head = await tracking.database.fetchval("SELECT sealed_seq FROM run_heads WHERE run_id = $1", ids.to_uuid(large.id))
    assert head == 3


async def test_the_server_that_seals_is_named(tracking: Tracking, database_url: str) -> None:
    stats = PostgresStats(tracking.database, RULES)
    assert (await stats.sealing(tracking.clock.now(), [])).holder is None
    longest = "h" * 48 + "-01234567"
    async with Lease(database_url, SEALING, name=SEALER + longest).held():
        assert (await stats.sealing(tracking.clock.now(), [])).holder == longest
    async with Lease(database_url, SEALING + 1, name=SEALER + "other").held():
        assert (await stats.sealing(tracking.clock.now(), [])).holder is None


async def test_files_that_several_workspaces_share_count_once(tracking: Tracking) -> None:
    one, two = await tracking.scope(), await tracking.scope("bob@example.com", "other")
    for scope, digest, size in ((one, "a", 10), (two, "a", 10), (two, "b", 5)):
        await tracking.database.execute(
            "INSERT INTO blobs (workspace_id, sha256, size_bytes, created_at) VALUES ($1, $2, $3, now())",
            ids.to_uuid(scope.workspace_id),
            digest,
            size,
        )
    counts = await PostgresStats(tracking.database, RULES).counts()
    assert (counts.users, counts.file_bytes, counts.points) == (2, 15, 0)
