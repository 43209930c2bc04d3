"""Purging runs on a real database: gone at once for readers, removed piece by piece, finished after a crash."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from domain import ids
from domain.access import Scope
from domain.errors import Conflict, NotFound
from domain.events import RunChanged
from domain.runs import PurgeSweeper, RunsRequest
from persistence.run_writes import open_for_write
from persistence.runs import PURGED
from tests.support.tracking import Tracking


async def test_only_archived_runs_are_purged_and_nothing_stays(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope, params=[("a", 1)], tags=[("t", "x")])
    child = await tracking.runs.create(scope, parent_id=run.id)
    await tracking.metric(run.id, "loss", 1.0)
    await tracking.database.execute(
        "INSERT INTO metric_batches (run_id, seq, batch_id, digest, points, payload, created_at)"
        " SELECT $1, n, n::text, '', 1, '', now() FROM generate_series(1, 25) n",
        ids.to_uuid(run.id),
    )
    with pytest.raises(Conflict, match="not archived"):
        await tracking.runs.purge(scope, run.id)
    await tracking.runs.delete(scope, run.id)
    tracking.bus.taken()
    tracking.runs.PURGE_ROWS = 10  # several pieces
    assert await tracking.runs.purge(scope, run.id) == run.id
    assert tracking.bus.taken() == [RunChanged(run.id)]
    for table in ("metric_batches", "metric_chunks", "metric_summaries", "run_params", "run_tags", "run_heads"):
        assert (
            await tracking.database.fetchval(f"SELECT count(*) FROM {table} WHERE run_id = $1", ids.to_uuid(run.id))
            == 0
        )
    assert (await tracking.runs.get(scope, child.id)).parent_id is None
    for call in (tracking.runs.get, tracking.runs.restore, tracking.runs.purge):
        with pytest.raises(NotFound):
            await call(scope, run.id)


async def test_an_interrupted_purge_is_gone_for_readers_and_finished_later(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope, params=[("a", 1)])
    await tracking.runs.delete(scope, run.id)
    await tracking.database.execute("UPDATE runs SET purged_at = now() WHERE id = $1", ids.to_uuid(run.id))
    assert await tracking.runs.find(scope, run.id) is None
    assert (await tracking.runs.page(scope, RunsRequest(archived=True))).nodes == []
    with pytest.raises(NotFound):
        await tracking.runs.restore(scope, run.id)
    async with tracking.database.transaction() as tx:
        with pytest.raises(NotFound):
            await open_for_write(tx, scope, run.id, tracking.clock.at)
    assert await tracking.runs.sweep_purged() == 1
    assert await tracking.database.fetchval("SELECT count(*) FROM runs") == 0
    assert await tracking.runs.sweep_purged() == 0


async def test_a_sweep_looks_at_nothing_but_what_was_purged(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope)
    columns = "workspace_id, experiment_id, owner_id, name, status, stop_requested, config, created_at"
    await tracking.database.execute(
        f"INSERT INTO runs (id, {columns}) SELECT gen_random_uuid(), {columns} FROM runs, generate_series(1, 5000)"
    )
    await tracking.database.execute("ANALYZE runs")
    plan = "\n".join(row[0] for row in await tracking.database.fetch(f"EXPLAIN {PURGED}"))
    assert "runs_purged" in plan
    assert await tracking.runs.sweep_purged() == 0
    assert (await tracking.runs.get(scope, run.id)).id == run.id


async def test_the_sweeper_finishes_purges_in_the_background(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope, params=[("a", 1)])
    await tracking.database.execute(
        "UPDATE runs SET archived_at = now(), purged_at = now() WHERE id = $1", ids.to_uuid(run.id)
    )
    sweeping = asyncio.create_task(PurgeSweeper(runs=tracking.runs, every=timedelta(hours=1)).run())
    while await tracking.database.fetchval("SELECT count(*) FROM runs"):  # noqa: ASYNC110 - PostgreSQL's condition
        await asyncio.sleep(0)
    sweeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweeping
