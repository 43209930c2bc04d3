"""Changing many runs in one step, on a real database."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from domain import ids
from domain.access import KeyScope, Scope
from domain.errors import BadUserInput, Conflict, DomainError, Forbidden, NotFound
from domain.events import RunChanged
from domain.runs import PurgeSweeper, RunsRequest, Tag
from tests.support.tracking import START, Tracking, with_key


async def _runs(tracking: Tracking, scope: Scope, count: int = 3, **given: Any) -> list[str]:
    made = [(await tracking.runs.create(scope, **given)).id for _ in range(count)]
    tracking.bus.taken()
    return made


async def _left(tracking: Tracking, count: int) -> None:
    """Waits until so many rows of runs are left."""
    async with asyncio.timeout(10):
        while await tracking.database.fetchval("SELECT count(*) FROM runs") != count:  # noqa: ASYNC110 - rows, no event
            await asyncio.sleep(0.01)


async def test_tags_and_experiment_of_many_runs_change_together(tracking: Tracking, scope: Scope) -> None:
    first, second, third = await _runs(tracking, scope, tags=[("old", "1"), ("kept", "2")])
    vision = (await tracking.runs.create(scope, experiment="vision")).experiment_id
    tracking.bus.taken()
    bare = str(ids.to_uuid(second))
    changed = await tracking.runs.many.update(
        scope, [third, bare, third], experiment="vision", tags_set=[("new", "3")], tags_delete=["old", "absent"]
    )
    assert changed == [third, second]
    assert tracking.bus.taken() == [RunChanged(third), RunChanged(second)]
    for run_id in (second, third):
        run = await tracking.runs.get(scope, run_id)
        assert run.tags == (Tag("kept", "2"), Tag("new", "3"))
        assert run.experiment_id == vision
    assert (await tracking.runs.get(scope, first)).tags == (Tag("kept", "2"), Tag("old", "1"))
    # What is so already is left out, and nobody is told.
    assert await tracking.runs.many.update(scope, [first, second], tags_set=[("new", "3")]) == [first]
    assert tracking.bus.taken() == [RunChanged(first)]
    assert await tracking.runs.many.update(scope, [first]) == []
    assert await tracking.runs.many.update(scope, []) == []


async def test_delete_restore_and_purge_many(tracking: Tracking, scope: Scope) -> None:
    first, second, third = await _runs(tracking, scope)
    await tracking.metric(first, "loss", 1.0)
    assert await tracking.runs.many.delete(scope, [second, first]) == [second, first]
    assert await tracking.runs.many.delete(scope, [third, first]) == [third]
    assert (await tracking.runs.page(scope, RunsRequest())).total_count == 0
    assert await tracking.runs.many.restore(scope, [third]) == [third]
    with pytest.raises(Conflict, match="not archived") as living:
        await tracking.runs.many.purge(scope, [first, second, third])
    assert living.value.field == "ids[2]"
    assert (await tracking.runs.get(scope, first)).archived
    tracking.bus.taken()
    assert await tracking.runs.many.purge(scope, [second, first, second]) == [second, first]
    assert tracking.bus.taken() == [RunChanged(second), RunChanged(first)]
    assert await tracking.runs.by_ids(scope, [first, second]) == {}
    sweeping = asyncio.create_task(PurgeSweeper(runs=tracking.runs, every=timedelta(hours=1)).run())
    await _left(tracking, 1)
    assert await tracking.database.fetchval("SELECT count(*) FROM metric_summaries") == 0
    # It is woken again by the next bulk purge, long before its hour.
    await tracking.runs.many.delete(scope, [third])
    await tracking.runs.many.purge(scope, [third])
    await _left(tracking, 0)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)


async def test_one_refusal_refuses_all_and_names_the_place(tracking: Tracking, scope: Scope) -> None:
    first, second, third = await _runs(tracking, scope)
    (foreign,) = await _runs(tracking, await tracking.scope("bob@example.org", "other"), 1)
    await tracking.runs.delete(scope, third)
    tracking.bus.taken()
    for given, error, field in (
        ([first, second, first, ids.new("run")], NotFound, "ids[3]"),
        ([first, foreign], NotFound, "ids[1]"),
        ([first, first, third], Conflict, "ids[2]"),
        ([first, "run_1"], BadUserInput, "ids[1]"),
        ([ids.new("exp")], BadUserInput, "ids[0]"),
        ([first] * 1_001, BadUserInput, "ids"),
    ):
        with pytest.raises(DomainError) as refused:
            await tracking.runs.many.update(scope, given, tags_set=[("a", "b")])
        assert (type(refused.value), refused.value.field) == (error, field)
    for more, field in (
        ({"tags_set": [("a", "1"), ("a", "2")]}, "tags_set[1].key"),
        ({"tags_delete": ["ok", ""]}, "tags_delete[1]"),
        ({"experiment": "nowhere"}, "experiment"),
    ):
        with pytest.raises(DomainError) as refused:
            await tracking.runs.many.update(scope, [first], **more)
        assert refused.value.field == field
    assert tracking.bus.taken() == []
    assert all(run.tags == () for run in (await tracking.runs.by_ids(scope, [first, second, third])).values())
    reader = with_key(scope, KeyScope.RUNS_READ)
    many = tracking.runs.many
    for use in (many.update, many.delete, many.restore, many.purge):
        with pytest.raises(Forbidden):
            await use(reader, [first])


async def test_writers_of_the_same_runs_in_any_order_never_deadlock(tracking: Tracking, scope: Scope) -> None:
    made = await _runs(tracking, scope, 20)
    many = tracking.runs.many
    await asyncio.gather(
        *(many.update(scope, made if turn % 2 else made[::-1], tags_set=[(f"key{turn}", "1")]) for turn in range(10)),
        *(tracking.runs.change_tags(scope, run_id, put=[("single", "1")]) for run_id in made),
    )
    for run in (await tracking.runs.by_ids(scope, made)).values():
        assert len(run.tags) == 11


async def test_a_thousand_runs_at_once(tracking: Tracking, scope: Scope) -> None:
    first = await tracking.runs.create(scope)
    await tracking.database.execute(
        "INSERT INTO runs (id, workspace_id, experiment_id, owner_id, name, status, stop_requested, config, created_at)"
        " SELECT gen_random_uuid(), $1, $2, $3, 'n' || n, 'completed', false, '{}', $4 FROM generate_series(1, 999) n",
        *map(ids.to_uuid, (scope.workspace_id, first.experiment_id, first.owner_id)),
        START,
    )
    await tracking.database.execute(
        "INSERT INTO run_heads (run_id, metric_seq, log_seq, points) SELECT id, 0, 0, 0 FROM runs"
        " ON CONFLICT DO NOTHING"
    )
    made = [ids.from_uuid("run", row["id"]) for row in await tracking.database.fetch("SELECT id FROM runs")]
    many = tracking.runs.many
    took: dict[str, float] = {}

    async def timed(name: str, work: Any) -> None:
        begun = time.perf_counter()
        assert await work == made
        took[name] = time.perf_counter() - begun

    await timed("update", many.update(scope, made, experiment="Default", tags_set=[("a", "b"), ("c", "d")]))
    await timed("delete", many.delete(scope, made))
    await timed("restore", many.restore(scope, made))
    await many.delete(scope, made)
    await timed("purge", many.purge(scope, made))
    assert await tracking.runs.sweep_purged() == 1_000
    print(took)  # noqa: T201 - shown with -s
    assert max(took.values()) < 5, took
