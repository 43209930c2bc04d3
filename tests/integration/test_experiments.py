"""Experiments on a real database: numbers, names, archive, lists, and makers who meet."""

from __future__ import annotations

import asyncio

import pytest

from domain import ids
from domain.access import KeyScope
from domain.errors import BadUserInput, Conflict, Forbidden, NotFound
from domain.experiments import Experiment
from domain.paging import PageRequest
from persistence.database import Connection
from persistence.experiments import PostgresExperiments
from tests.support.tracking import Tracking, with_key


async def test_numbers_count_per_workspace_and_stay(tracking: Tracking) -> None:
    ada, bob = await tracking.scope(), await tracking.scope("bob@example.org", "other")
    first = await tracking.experiments.create(ada, name="first", description="about it")
    second = await tracking.experiments.create(ada, name="second")
    foreign = await tracking.experiments.create(bob, name="first")
    assert (first.number, second.number, foreign.number) == (1, 2, 1)
    await tracking.experiments.delete(ada, second.id)
    assert (await tracking.experiments.create(ada, name="second")).number == 3
    assert (await tracking.experiments.get(ada, second.id)).number == 2
    assert first.owner_id == ada.principal.user_id
    assert first.description == "about it"


async def test_names_are_unique_among_the_living(tracking: Tracking) -> None:
    scope = await tracking.scope()
    first = await tracking.experiments.create(scope, name="vision")
    with pytest.raises(Conflict) as taken:
        await tracking.experiments.create(scope, name="vision")
    assert taken.value.field == "name"
    await tracking.experiments.delete(scope, first.id)
    second = await tracking.experiments.create(scope, name="vision")
    with pytest.raises(Conflict) as clash:
        await tracking.experiments.restore(scope, first.id)
    assert clash.value.field == "name"
    other = await tracking.experiments.create(scope, name="audio")
    with pytest.raises(Conflict):
        await tracking.experiments.update(scope, other.id, name="vision")
    assert (await tracking.experiments.find(scope, name="vision")) == second
    await tracking.experiments.update(scope, second.id, name="vision-2")
    restored = await tracking.experiments.restore(scope, first.id)
    assert not restored.archived
    assert (await tracking.experiments.find(scope, name="vision")) == restored


@pytest.mark.parametrize("name", ["", " x", "x" * 251, "a\nb", "exp_" + "0" * 32, "0" * 32])
async def test_unusable_names_are_refused(tracking: Tracking, name: str) -> None:
    scope = await tracking.scope()
    with pytest.raises(BadUserInput) as refused:
        await tracking.experiments.create(scope, name=name)
    assert refused.value.field == "name"
    assert (await tracking.experiments.page(scope, PageRequest())).nodes == []


async def test_updates_change_what_they_name(tracking: Tracking) -> None:
    scope = await tracking.scope()
    made = await tracking.experiments.create(scope, name="a", description="old")
    later = tracking.clock.forward(seconds=5)
    renamed = await tracking.experiments.update(scope, made.id, name="b")
    assert (renamed.name, renamed.description, renamed.updated_at) == ("b", "old", later)
    tracking.clock.forward(seconds=5)
    same = await tracking.experiments.update(scope, made.id, name="b")
    assert same.updated_at == later
    cleared = await tracking.experiments.update(scope, made.id, description=None)
    assert cleared.description is None
    await tracking.experiments.delete(scope, made.id)
    with pytest.raises(Conflict, match="restore"):
        await tracking.experiments.update(scope, made.id, name="c")


async def test_other_workspaces_and_weak_keys_are_kept_out(tracking: Tracking) -> None:
    ada, bob = await tracking.scope(), await tracking.scope("bob@example.org", "other")
    made = await tracking.experiments.create(ada, name="secret")
    assert await tracking.experiments.find(bob, experiment_id=made.id) is None
    assert await tracking.experiments.find(bob, name="secret") is None
    with pytest.raises(NotFound):
        await tracking.experiments.update(bob, made.id, name="mine")
    with pytest.raises(NotFound):
        await tracking.experiments.delete(bob, made.id)
    with pytest.raises(Forbidden):
        await tracking.experiments.create(with_key(ada, KeyScope.RUNS_READ), name="x")
    with pytest.raises(Forbidden):
        await tracking.experiments.page(with_key(ada, KeyScope.PREDICT), PageRequest())
    with pytest.raises(BadUserInput, match="a run"):
        await tracking.experiments.get(ada, ids.new("run"))
    with pytest.raises(NotFound):
        await tracking.experiments.get(ada, ids.new("exp"))


async def test_client_tokens_answer_the_first_result(tracking: Tracking) -> None:
    scope = await tracking.scope()
    answers = await asyncio.gather(
        *(tracking.experiments.create(scope, name="once", client_token="t1") for _ in range(5))
    )
    assert len({answer.id for answer in answers}) == 1
    with pytest.raises(Conflict) as other:
        await tracking.experiments.create(scope, name="twice", client_token="t1")
    assert other.value.field == "client_token"


async def test_pages_follow_each_other_and_filters_narrow(tracking: Tracking) -> None:
    scope = await tracking.scope()
    for place in range(7):
        tracking.clock.forward(seconds=place // 3)  # some are made at the same time
        await tracking.experiments.create(scope, name=f"e{place}", description="odd" if place % 2 else None)
    archived = await tracking.experiments.find(scope, name="e3")
    assert archived is not None
    await tracking.experiments.delete(scope, archived.id)
    seen: list[str] = []
    request = PageRequest.of(4, None)
    while True:
        page = await tracking.experiments.page(scope, request)
        assert page.total_count == 6
        seen += [each.name for each in page.nodes]
        if not page.has_next_page:
            break
        request = PageRequest.of(4, page.cursors[-1])
    assert seen == ["e6", "e5", "e4", "e2", "e1", "e0"]
    odd = await tracking.experiments.page(scope, PageRequest(), filter_text='description = "odd"')
    assert [each.name for each in odd.nodes] == ["e5", "e1"]
    gone = await tracking.experiments.page(scope, PageRequest(), filter_text="archived = true")
    assert [each.name for each in gone.nodes] == ["e3"]
    skipped = await tracking.experiments.page(scope, PageRequest.of(2, None), offset=3)
    assert [each.name for each in skipped.nodes] == ["e2", "e1"]
    with pytest.raises(BadUserInput) as foreign:
        await tracking.experiments.page(scope, PageRequest.of(4, odd.cursors[0]))
    assert foreign.value.field == "after"
    with pytest.raises(BadUserInput, match="column 1"):
        await tracking.experiments.page(scope, PageRequest(), filter_text="metrics.loss < 1")


async def test_runs_that_name_a_missing_experiment_meet_in_one(tracking: Tracking) -> None:
    scope = await tracking.scope()
    runs = await asyncio.gather(*(tracking.runs.create(scope, experiment="shared") for _ in range(8)))
    assert len({run.experiment_id for run in runs}) == 1
    default = await tracking.runs.create(scope)
    found = await tracking.experiments.find(scope, name="Default")
    assert found is not None
    assert default.experiment_id == found.id
    assert found.number == 2
    by_id = await tracking.runs.create(scope, experiment=found.id)
    assert by_id.experiment_id == found.id


async def test_a_run_whose_experiment_takes_its_name_this_moment_joins_it(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    made = await tracking.experiments.create(scope, name="before")
    saved, go_on = asyncio.Event(), asyncio.Event()
    save = PostgresExperiments._save

    async def slow(self: PostgresExperiments, tx: Connection, new: Experiment) -> None:
        await save(self, tx, new)
        saved.set()
        await go_on.wait()

    monkeypatch.setattr(PostgresExperiments, "_save", slow)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(tracking.experiments.update(scope, made.id, name="after"))
        await saved.wait()
        creating = group.create_task(tracking.runs.create(scope, experiment="after"))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while not await tracking.database.fetchval(waiting):
            pass
        go_on.set()
    assert creating.result().experiment_id == made.id
