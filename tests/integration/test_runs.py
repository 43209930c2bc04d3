"""Runs on a real database: their life, what is attached to them, who may see them, and changes that meet."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from domain import ids
from domain.access import KeyScope, Scope
from domain.errors import BadUserInput, Conflict, DomainError, Forbidden, NotFound
from domain.events import RunChanged
from domain.paging import PageRequest
from domain.runs import PurgeSweeper, Run, RunsRequest, RunStatus
from persistence.database import Database
from persistence.run_writes import RunWrite, open_all_for_write, open_for_write
from persistence.runs import PURGED
from tests.support.tracking import STALLED_AFTER, Tracking, with_key


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


@pytest.fixture
async def scope(tracking: Tracking) -> Scope:
    return await tracking.scope()


async def test_a_run_keeps_everything_it_was_given(tracking: Tracking, scope: Scope) -> None:
    config = {"z": 1e5, "a": [1, 1.0, None, {"é": True}], "big": 2**62, "text": "1"}
    parent = await tracking.runs.create(scope, name="sweep")
    run = await tracking.runs.create(
        scope,
        name="trial",
        experiment="vision",
        model_type="cnn",
        config=config,
        params=[("lr", 0.1), ("layers", [1, 2]), ("opt", "adam")],
        tags=[("stage", "dev")],
        parent_id=parent.id,
        notes="first\ntry",
    )
    read = await tracking.runs.get(scope, run.id)
    assert read == run
    assert str(read.config) == str(config)
    assert [(param.key, param.value) for param in read.params] == [("layers", [1, 2]), ("lr", 0.1), ("opt", "adam")]
    assert [(tag.key, tag.value) for tag in read.tags] == [("stage", "dev")]
    assert (read.name, read.model_type, read.notes, read.parent_id) == ("trial", "cnn", "first\ntry", parent.id)
    assert (read.status, read.started_at, read.owner_id) == (
        RunStatus.RUNNING,
        read.created_at,
        scope.principal.user_id,
    )
    assert tracking.bus.taken() == [RunChanged(parent.id), RunChanged(run.id)]


async def test_the_whole_life(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope, start=False)
    assert (run.status, run.started_at, run.duration_seconds) == (RunStatus.PENDING, None, None)
    assert run.name.count("-") == 2
    tracking.clock.forward(seconds=2)
    assert (await tracking.runs.start(scope, run.id)).status is RunStatus.RUNNING
    tracking.bus.taken()
    await tracking.runs.start(scope, run.id)
    assert tracking.bus.taken() == []  # nothing changed, nothing published
    tracking.clock.forward(seconds=3.5)
    assert (await tracking.runs.get(scope, run.id)).duration_seconds == 3.5
    asked = await tracking.runs.stop(scope, run.id)
    assert (asked.status, asked.stop_requested) == (RunStatus.RUNNING, True)
    failed = await tracking.runs.finish(scope, run.id, RunStatus.FAILED, "CUDA out of memory")
    assert (failed.failure, failed.ended_at) == ("CUDA out of memory", tracking.clock.at)
    tracking.clock.forward(minutes=1)
    same = await tracking.runs.finish(scope, run.id, RunStatus.FAILED)
    assert (same.failure, same.ended_at) == (failed.failure, failed.ended_at)
    with pytest.raises(Conflict, match="FAILED already; it cannot become COMPLETED"):
        await tracking.runs.finish(scope, run.id)
    resumed = await tracking.runs.resume(scope, run.id)
    assert (resumed.status, resumed.stop_requested, resumed.failure, resumed.ended_at, resumed.stalled) == (
        RunStatus.RUNNING,
        False,
        None,
        None,
        False,
    )
    assert resumed.started_at == failed.started_at
    forced = await tracking.runs.stop(scope, run.id, force=True)
    assert forced.status is RunStatus.STOPPED
    await tracking.runs.delete(scope, run.id)
    with pytest.raises(Conflict, match="restore"):
        await tracking.runs.resume(scope, run.id)
    assert (await tracking.runs.get(scope, run.id)).archived
    assert (await tracking.runs.restore(scope, run.id)).status is RunStatus.STOPPED


async def test_silence_makes_a_run_stalled_and_stoppable_at_once(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope)
    tracking.clock.forward(seconds=STALLED_AFTER.total_seconds())
    assert not (await tracking.runs.get(scope, run.id)).stalled
    tracking.clock.forward(seconds=0.001)
    assert (await tracking.runs.get(scope, run.id)).stalled
    await tracking.runs.log_params(scope, run.id, [("a", 1)])
    assert not (await tracking.runs.get(scope, run.id)).stalled
    tracking.clock.forward(minutes=6)
    assert (await tracking.runs.stop(scope, run.id)).status is RunStatus.STOPPED


async def test_updates_keep_and_clear(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope, name="a", notes="n", model_type="cnn")
    moved = await tracking.experiments.create(scope, name="other")
    changed = await tracking.runs.update(scope, run.id, name="b", notes=None, experiment="other")
    assert (changed.name, changed.notes, changed.model_type, changed.experiment_id) == ("b", None, "cnn", moved.id)
    replaced = await tracking.runs.update(scope, run.id, model_type=None)
    assert (replaced.name, replaced.model_type) == ("b", None)
    with pytest.raises(NotFound) as missing:
        await tracking.runs.update(scope, run.id, experiment="nowhere")
    assert missing.value.field == "experiment"
    await tracking.experiments.delete(scope, moved.id)
    with pytest.raises(Conflict) as archived:
        await tracking.runs.update(scope, run.id, experiment=moved.id)
    assert archived.value.field == "experiment"
    with pytest.raises(Conflict):
        await tracking.runs.create(scope, experiment=moved.id)
    assert await tracking.runs.get(scope, run.id) == replaced


async def test_params_and_tags(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope, start=False, params=[("lr", 0.1)], tags=[("a", "1"), ("b", "2")])
    logged = await tracking.runs.log_params(scope, run.id, [("lr", 0.1), ("n", 5)])
    assert (logged.status, [param.key for param in logged.params]) == (RunStatus.RUNNING, ["lr", "n"])
    with pytest.raises(Conflict, match="'lr'"):
        await tracking.runs.log_params(scope, run.id, [("new", 1), ("lr", 0.2)])
    await tracking.runs.finish(scope, run.id)
    with pytest.raises(Conflict, match="COMPLETED; resume it first"):
        await tracking.runs.log_params(scope, run.id, [("lr", 0.1)])
    tagged = await tracking.runs.change_tags(scope, run.id, put=[("a", "9"), ("c", "3")], remove=["b", "absent"])
    assert [(tag.key, tag.value) for tag in tagged.tags] == [("a", "9"), ("c", "3")]
    assert await tracking.runs.get(scope, run.id) == tagged
    await tracking.runs.delete(scope, run.id)
    with pytest.raises(Conflict):
        await tracking.runs.change_tags(scope, run.id, put=[("a", "x")])


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "a\x00b"}),
        ("experiment", {"experiment": " x"}),
        ("experiment", {"experiment": ids.new("run")}),
        ("model_type", {"model_type": "x" * 251}),
        ("config", {"config": [1]}),
        ("params[0].value", {"params": [("k", float("nan"))]}),
        ("tags[0].key", {"tags": [("\n", "v")]}),
        ("parent_id", {"parent_id": "run_1"}),
        ("notes", {"notes": "x" * 65_537}),
        ("client_token", {"client_token": ""}),
    ],
)
async def test_bad_input_creates_nothing(tracking: Tracking, scope: Scope, field: str, given: dict[str, Any]) -> None:
    with pytest.raises(BadUserInput) as refused:
        await tracking.runs.create(scope, **given)
    assert refused.value.field == field
    assert (await tracking.runs.page(scope, RunsRequest())).total_count == 0
    assert (await tracking.experiments.page(scope, PageRequest())).total_count == 0


async def test_a_bottomless_configuration_is_refused_with_a_token_too(tracking: Tracking, scope: Scope) -> None:
    deep: Any = {}
    for _ in range(5_000):
        deep = {"in": deep}
    with pytest.raises(BadUserInput) as refused:
        await tracking.runs.create(scope, config=deep, client_token="t")
    assert refused.value.field == "config"
    assert (await tracking.runs.create(scope, client_token="t")).config == {}


async def test_parents_must_be_living_runs_of_the_workspace(tracking: Tracking, scope: Scope) -> None:
    other = await tracking.scope("bob@example.org", "other")
    foreign = await tracking.runs.create(other)
    for parent_id in (foreign.id, ids.new("run")):
        with pytest.raises(NotFound) as missing:
            await tracking.runs.create(scope, parent_id=parent_id)
        assert missing.value.field == "parent_id"
    parent = await tracking.runs.create(scope)
    await tracking.runs.delete(scope, parent.id)
    with pytest.raises(Conflict):
        await tracking.runs.create(scope, parent_id=parent.id)
    with pytest.raises(NotFound) as experiment:
        await tracking.runs.create(scope, experiment=ids.new("exp"))
    assert experiment.value.field == "experiment"


async def test_nothing_is_seen_or_changed_across_workspaces(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope)
    other = await tracking.scope("bob@example.org", "other")
    assert await tracking.runs.find(other, run.id) is None
    calls = [
        tracking.runs.update(other, run.id, name="x"),
        tracking.runs.start(other, run.id),
        tracking.runs.finish(other, run.id),
        tracking.runs.stop(other, run.id),
        tracking.runs.resume(other, run.id),
        tracking.runs.delete(other, run.id),
        tracking.runs.restore(other, run.id),
        tracking.runs.purge(other, run.id),
        tracking.runs.log_params(other, run.id, [("a", 1)]),
        tracking.runs.change_tags(other, run.id, put=[("a", "1")]),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call
    with pytest.raises(Forbidden):
        await tracking.runs.finish(with_key(scope, KeyScope.RUNS_READ), run.id)
    with pytest.raises(Forbidden):
        await tracking.runs.get(with_key(scope, KeyScope.MODELS_WRITE), run.id)
    assert (await tracking.runs.get(with_key(scope, KeyScope.RUNS_WRITE), run.id)) == run


async def test_client_tokens_make_one_run(tracking: Tracking, scope: Scope) -> None:
    answers = await asyncio.gather(
        *(tracking.runs.create(scope, name="x", params=[("a", 1)], client_token="t") for _ in range(6))
    )
    assert len({run.id for run in answers}) == 1
    assert (await tracking.runs.page(scope, RunsRequest())).total_count == 1
    assert len(tracking.bus.taken()) == 1
    with pytest.raises(Conflict) as other:
        await tracking.runs.create(scope, name="x", params=[("a", 2)], client_token="t")
    assert other.value.field == "client_token"
    key = with_key(scope, KeyScope.RUNS_WRITE)
    assert (await tracking.runs.create(key, name="x", params=[("a", 1)], client_token="t")).id != answers[0].id


async def settled(*calls: Any) -> list[Run | DomainError]:
    answers = await asyncio.gather(*calls, return_exceptions=True)
    expected = [answer for answer in answers if isinstance(answer, Run | DomainError)]
    assert len(expected) == len(answers), answers
    return expected


async def test_of_many_ends_at_once_one_wins(tracking: Tracking, scope: Scope) -> None:
    for _ in range(5):
        run = await tracking.runs.create(scope)
        ends = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.STOPPED] * 3
        answers = await settled(*(tracking.runs.finish(scope, run.id, end) for end in ends))
        final = (await tracking.runs.get(scope, run.id)).status
        outcome = Counter(answer.status if isinstance(answer, Run) else answer.code for answer in answers)
        assert outcome == {final: 3, "CONFLICT": 6}


async def test_finish_stop_and_resume_at_once_leave_a_state_that_the_rules_allow(
    tracking: Tracking, scope: Scope
) -> None:
    for _ in range(5):
        run = await tracking.runs.create(scope)
        await settled(
            tracking.runs.finish(scope, run.id),
            tracking.runs.stop(scope, run.id),
            tracking.runs.stop(scope, run.id, force=True),
            tracking.runs.resume(scope, run.id),
            tracking.runs.log_params(scope, run.id, [("a", 1)]),
            tracking.runs.change_tags(scope, run.id, put=[("t", "1")]),
        )
        found = await tracking.runs.get(scope, run.id)
        assert [tag.key for tag in found.tags] == ["t"]
        assert (found.ended_at is None) == (found.status is RunStatus.RUNNING)
        assert found.status is not RunStatus.PENDING


async def test_tags_and_params_written_at_once_all_stay(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope)
    await asyncio.gather(
        *(tracking.runs.change_tags(scope, run.id, put=[(f"t{n}", "x")]) for n in range(8)),
        *(tracking.runs.log_params(scope, run.id, [(f"p{n}", n)]) for n in range(8)),
    )
    found = await tracking.runs.get(scope, run.id)
    assert (len(found.tags), len(found.params)) == (8, 8)
    answers = await settled(*(tracking.runs.log_params(scope, run.id, [("same", n)]) for n in range(5)))
    assert sum(isinstance(answer, Run) for answer in answers) == 1


async def test_writers_open_runs_or_are_told_why_not(tracking: Tracking, scope: Scope) -> None:
    pending = await tracking.runs.create(scope, start=False)
    ended = await tracking.runs.create(scope)
    await tracking.runs.finish(scope, ended.id)
    hidden = await tracking.runs.create(scope)
    await tracking.runs.delete(scope, hidden.id)
    other = await tracking.scope("bob@example.org", "other")
    foreign = await tracking.runs.create(other)
    now = tracking.clock.forward(seconds=1)
    wanted = [pending.id, ended.id, hidden.id, foreign.id, ids.new("run")]
    async with tracking.database.transaction() as tx:
        opened = await open_all_for_write(tx, [(scope, run_id) for run_id in wanted], now)
    answers = [opened[scope.workspace_id, run_id] for run_id in wanted]
    first = answers[0]
    assert isinstance(first, RunWrite)
    assert (first.started, first.status, first.started_at, first.metric_seq, first.last_step) == (
        True,
        RunStatus.RUNNING,
        now,
        0,
        None,
    )
    assert [getattr(answer, "code", None) for answer in answers[1:]] == [
        "CONFLICT",
        "CONFLICT",
        "NOT_FOUND",
        "NOT_FOUND",
    ]
    started = await tracking.runs.get(scope, pending.id)
    assert (started.status, started.started_at, started.last_activity_at) == (RunStatus.RUNNING, now, now)
    assert (await tracking.runs.get(scope, ended.id)).last_activity_at == ended.created_at
    await tracking.runs.stop(scope, pending.id)
    async with tracking.database.transaction() as tx:
        again = await open_for_write(tx, scope, pending.id, now)
    assert (again.started, again.stop_requested) == (False, True)
    async with tracking.database.transaction() as tx:
        with pytest.raises(Conflict, match="COMPLETED; resume it first"):
            await open_for_write(tx, scope, ended.id, now)


async def test_a_write_that_waits_for_the_end_of_its_run_is_refused(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope)
    locked, release = asyncio.Event(), asyncio.Event()

    async def end_slowly() -> None:
        async with tracking.database.transaction() as tx:
            await tx.execute("SELECT 1 FROM run_heads WHERE run_id = $1 FOR UPDATE", ids.to_uuid(run.id))
            locked.set()
            await release.wait()
            await tx.execute(
                "UPDATE runs SET status = 'completed', ended_at = $2 WHERE id = $1",
                ids.to_uuid(run.id),
                tracking.clock.at,
            )

    async def write() -> RunWrite:
        async with tracking.database.transaction() as tx:
            return await open_for_write(tx, scope, run.id, tracking.clock.at)

    ending = asyncio.create_task(end_slowly())
    await locked.wait()
    writing = asyncio.create_task(write())
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await tracking.database.fetchval(waits):  # noqa: ASYNC110 - the condition lives in PostgreSQL
        await asyncio.sleep(0)
    release.set()
    await ending
    with pytest.raises(Conflict, match="COMPLETED"):
        await writing


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
