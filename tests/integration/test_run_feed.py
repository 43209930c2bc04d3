"""Following lists of runs on a real database: what comes, changes and goes, shared, merged and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput, Forbidden, NotFound
from domain.events import RunChanged
from domain.metrics import decode
from domain.runs import RunChange, RunChangeKind, RunStatus, feed
from persistence.database import Database
from tests.support.live import Process, process
from tests.support.tracking import with_key

ADDED, UPDATED, REMOVED = RunChangeKind.ADDED, RunChangeKind.UPDATED, RunChangeKind.REMOVED


@pytest.fixture
async def live(database: Database, database_url: str) -> AsyncIterator[Process]:
    async with process(database, database_url) as running:
        yield running


class Reader:
    """A follower in a task of its own."""

    def __init__(self, live: Process, scope: Scope, filter_text: str | None = None, **given: Any) -> None:
        self._live = live
        self.changes: AsyncGenerator[RunChange, None] = live.runs.list_updates(scope, filter_text=filter_text, **given)
        self._next: asyncio.Task[RunChange] | None = None

    async def begun(self) -> Reader:
        """Once the feed knows its list, so that the next change is told."""
        watching = self._live.hub.watching
        self._next = asyncio.ensure_future(anext(self.changes))
        async with asyncio.timeout(10):
            while self._live.hub.watching == watching or not _opened(self._live):
                if self._next.done():
                    self._next.result()
                await asyncio.sleep(0)
        return self

    async def next(self) -> RunChange:
        task, self._next = self._next or asyncio.ensure_future(anext(self.changes)), None
        async with asyncio.timeout(10):
            return await task

    async def told(self) -> tuple[RunChangeKind, str]:
        change = await self.next()
        return change.kind, change.run_id

    async def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self.changes.aclose()


def _opened(live: Process) -> bool:
    return all(one._watch is not None for one in live.runs._feeds._feeds.values())


async def test_runs_come_change_and_go(live: Process) -> None:
    scope = await live.scope()
    old = await live.runs.create(scope)
    reader = await Reader(live, scope).begun()
    new = await live.runs.create(scope, name="new")
    added = await reader.next()
    assert (added.kind, added.run) == (ADDED, await live.runs.get(scope, new.id))
    await live.runs.change_tags(scope, old.id, put=[("a", "b")])
    updated = await reader.next()
    assert (updated.kind, updated.run_id) == (UPDATED, old.id)
    assert updated.run is not None
    assert [tag.key for tag in updated.run.tags] == ["a"]
    await live.runs.delete(scope, new.id)
    removed = await reader.next()
    assert (removed.kind, removed.run_id) == (REMOVED, new.id)
    assert removed.run is not None
    assert removed.run.archived
    await live.runs.restore(scope, new.id)
    assert await reader.told() == (ADDED, new.id)
    await live.runs.delete(scope, new.id)
    await live.runs.purge(scope, new.id)
    gone = await reader.next()
    assert (gone.kind, gone.run_id, gone.run) == (REMOVED, new.id, None)
    await reader.close()
    assert live.hub.watching == 0


async def test_metrics_move_runs_in_and_out_of_a_filter(live: Process) -> None:
    scope = await live.scope()
    run, other = await live.runs.create(scope), await live.runs.create(scope)
    await live.metrics.log(scope, other.id, decode({"loss": 0.9}))
    reader = await Reader(live, scope, "metrics.loss < 0.5 and status = running").begun()
    await live.metrics.log(scope, run.id, decode({"loss": 0.4}))
    assert await reader.told() == (ADDED, run.id)
    await live.metrics.log(scope, run.id, decode({"loss": 0.3}))
    assert await reader.told() == (UPDATED, run.id)
    await live.metrics.log(scope, other.id, decode({"loss": 0.8}))
    await live.metrics.log(scope, run.id, decode({"loss": 0.7}))
    assert await reader.told() == (REMOVED, run.id)
    await live.metrics.log(scope, other.id, decode({"loss": 0.1}))
    assert await reader.told() == (ADDED, other.id)
    await live.runs.finish(scope, other.id)
    assert await reader.told() == (REMOVED, other.id)
    await reader.close()


async def test_a_busy_run_is_told_about_twice_a_second(live: Process) -> None:
    scope = await live.scope()
    run = await live.runs.create(scope)
    reader = await Reader(live, scope).begun()
    loop = asyncio.get_running_loop()
    begun, told = loop.time(), 0

    async def write() -> None:
        while loop.time() < begun + 1.5:
            await live.metrics.log(scope, run.id, decode({"loss": 1}))
        await live.runs.finish(scope, run.id)

    writing = asyncio.ensure_future(write())
    while True:
        change = await reader.next()
        told += 1
        if change.run is not None and change.run.status is RunStatus.COMPLETED:
            break
    await writing
    assert told <= 2 * (loop.time() - begun) + 2
    await reader.close()


async def test_followers_of_one_list_share_its_reads_and_each_is_told_everything(
    live: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await live.scope()
    reads: list[str] = []
    for name in ("marks", "standing", "by_ids"):
        real = getattr(live.runs._runs, name)

        async def counted(*given: Any, _name: str = name, _real: Any = real, **more: Any) -> Any:
            reads.append(_name)
            return await _real(*given, **more)

        monkeypatch.setattr(live.runs._runs, name, counted)
    first = await Reader(live, scope, "status = running").begun()
    readers = [first, *(Reader(live, scope, " status = running ") for _ in range(49))]
    waiting = [asyncio.ensure_future(reader.told()) for reader in readers]
    (shared,) = live.runs._feeds._feeds.values()
    async with asyncio.timeout(10):
        while len(shared.followers) < len(readers):  # noqa: ASYNC110 - the feed has no event for it
            await asyncio.sleep(0)
    assert live.hub.watching == 1
    run = await live.runs.create(scope)
    assert await asyncio.gather(*waiting) == [(ADDED, run.id)] * 50
    assert reads.count("marks") == 1
    assert reads.count("standing") == 1
    assert reads.count("by_ids") == 1
    # The one that drives the feed may leave at any moment: another takes over.
    await first.close()
    await live.runs.finish(scope, run.id)
    assert await asyncio.gather(*(reader.told() for reader in readers[1:])) == [(REMOVED, run.id)] * 49
    for reader in readers[1:]:
        await reader.close()
    assert live.hub.watching == 0


async def test_changes_that_a_slow_follower_has_not_taken_are_merged(live: Process) -> None:
    scope = await live.scope()
    slow, quick = await Reader(live, scope).begun(), Reader(live, scope)
    following = asyncio.ensure_future(quick.told())
    first = await live.runs.create(scope)
    assert await slow.told() == (ADDED, first.id)
    assert await following == (ADDED, first.id)
    brief = await live.runs.create(scope)
    assert await quick.told() == (ADDED, brief.id)
    await live.runs.delete(scope, brief.id)
    assert await quick.told() == (REMOVED, brief.id)
    for name in ("a", "b", "c"):
        await live.runs.update(scope, first.id, name=name)
        assert await quick.told() == (UPDATED, first.id)
    change = await slow.next()
    assert (change.kind, change.run_id) == (UPDATED, first.id)
    assert change.run is not None
    assert change.run.name == "c"
    last = await live.runs.create(scope)
    assert await slow.told() == (ADDED, last.id)
    await slow.close()
    await quick.close()


async def test_only_runs_of_the_workspace_and_of_the_experiment_are_told(live: Process) -> None:
    scope, foreign = await live.scope(), await live.scope("other")
    vision = (await live.runs.create(scope, experiment="vision")).experiment_id
    reader = await Reader(live, scope, experiment_id=vision).begun()
    await live.runs.create(foreign, experiment="vision")
    moved = await live.runs.create(scope, experiment="speech")
    await live.runs.update(scope, moved.id, experiment="vision")
    assert await reader.told() == (ADDED, moved.id)
    await live.runs.update(scope, moved.id, experiment="speech")
    assert await reader.told() == (REMOVED, moved.id)
    await reader.close()


async def test_lost_notices_and_time_alone_are_found_by_a_look_at_the_list(
    live: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK_SECONDS", 0.0)
    scope = await live.scope()
    kept, left, gone = [await live.runs.create(scope) for _ in range(3)]
    reader = await Reader(live, scope, "stalled = false").begun()
    monkeypatch.setattr(live.bus, "publish", lambda _event: None)
    new = await live.runs.create(scope)
    await live.runs.change_tags(scope, left.id, put=[("a", "b")])
    await live.runs.delete(scope, gone.id)
    live.hub._receive(None)
    told = [await reader.told() for _ in range(3)]
    assert sorted(told, key=str) == sorted([(ADDED, new.id), (UPDATED, left.id), (REMOVED, gone.id)], key=str)
    live.clock.forward(minutes=6)
    live.hub._receive(None)
    told = [await reader.told() for _ in range(3)]
    assert {kind for kind, _ in told} == {REMOVED}
    assert {run_id for _, run_id in told} == {kept.id, left.id, new.id}
    await reader.close()


async def test_a_restart_ends_it_and_bad_input_is_refused(live: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = await live.scope()
    for given, error, field in (
        ({"filter_text": "status ="}, BadUserInput, "filter"),
        ({"experiment_id": ids.new("run")}, BadUserInput, "experiment_id"),
        ({"experiment_id": ids.new("exp")}, NotFound, "experiment_id"),
    ):
        with pytest.raises(error) as refused:
            await anext(live.runs.list_updates(scope, **given))
        assert refused.value.field == field
    with pytest.raises(Forbidden):
        await anext(live.runs.list_updates(with_key(scope)))
    monkeypatch.setattr(feed, "MOST_RUNS", 1)
    await live.runs.create(scope)
    reader = await Reader(live, scope).begun()
    await reader.close()
    await live.runs.create(scope)
    with pytest.raises(BadUserInput) as long:
        await anext(live.runs.list_updates(scope))
    assert long.value.field == "filter"
    assert live.hub.watching == 0
    last = await Reader(live, scope, "name = 'nobody'").begun()
    live.hub.end()
    with pytest.raises(StopAsyncIteration):
        await last.next()


async def test_another_process_hears_of_it(database: Database, database_url: str, live: Process) -> None:
    scope = await live.scope()
    async with process(database, database_url) as second:
        reader = await Reader(second, scope).begun()
        async with asyncio.timeout(10):
            heard = asyncio.Event()
            stop = second.bus.listen(lambda _event: heard.set())
            while not heard.is_set():  # until its LISTEN stands
                live.bus.publish(RunChanged(ids.new("run")))
                await asyncio.sleep(0.02)
            stop()
        run = await live.runs.create(scope)
        assert await reader.told() == (ADDED, run.id)
        await reader.close()
