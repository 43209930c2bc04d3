"""Following one run on a real database: each change, its silence, and the end."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput, NotFound
from domain.runs import RunStatus
from tests.support.tracking import STALLED_AFTER, Tracking


async def test_updates_follow_each_change_and_end_with_the_run(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope)
    updates = tracking.runs.updates(scope, run.id)
    assert (await anext(updates)).name == run.name
    waiting = asyncio.ensure_future(anext(updates))
    await asyncio.sleep(0)
    await tracking.runs.update(scope, run.id, name="renamed")
    assert (await waiting).name == "renamed"
    await tracking.runs.stop(scope, run.id)
    await tracking.runs.finish(scope, run.id, RunStatus.STOPPED)
    latest = await anext(updates)
    assert (latest.status, latest.stop_requested) == (RunStatus.STOPPED, True)  # two changes, one message
    await tracking.runs.delete(scope, run.id)
    assert (await anext(updates)).archived
    await tracking.runs.purge(scope, run.id)
    with pytest.raises(StopAsyncIteration):
        await anext(updates)
    assert tracking.hub.flags == []


async def test_updates_tell_when_silence_begins_to_count_and_end_with_the_process(
    tracking: Tracking, scope: Scope
) -> None:
    run = await tracking.runs.create(scope)
    tracking.clock.forward(seconds=STALLED_AFTER.total_seconds() - 0.05)
    updates = tracking.runs.updates(scope, run.id)
    assert not (await anext(updates)).stalled
    tracking.clock.at += timedelta(seconds=1)
    assert (await anext(updates)).stalled  # no event: time alone
    tracking.hub.close()
    with pytest.raises(StopAsyncIteration):
        await anext(updates)


async def test_updates_of_an_unknown_run_are_refused(tracking: Tracking, scope: Scope) -> None:
    other = await tracking.scope("bob@example.org", "other")
    run = await tracking.runs.create(other)
    for run_id in (run.id, ids.new("run")):
        with pytest.raises(NotFound):
            await anext(tracking.runs.updates(scope, run_id))
    with pytest.raises(BadUserInput):
        await anext(tracking.runs.updates(scope, "nonsense"))
