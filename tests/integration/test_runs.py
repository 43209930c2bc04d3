"""Runs on a real database: their life, what is attached to them, and who may see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from domain import ids
from domain.access import KeyScope, Scope
from domain.errors import BadUserInput, Conflict, Forbidden, NotFound
from domain.events import RunChanged
from domain.paging import PageRequest
from domain.runs import Run, RunsRequest, RunStatus
from tests.support.tracking import STALLED_AFTER, Tracking, with_key


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
    assert (await tracking.runs.stop(scope, run.id)).status is RunStatus.STOPPED


async def test_every_write_is_a_sign_of_life(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope)
    writes: list[Callable[[], Awaitable[Run]]] = [
        lambda: tracking.runs.log_params(scope, run.id, [("a", 1)]),
        lambda: tracking.runs.change_tags(scope, run.id, put=[("t", "1")]),
        lambda: tracking.runs.change_tags(scope, run.id, put=[("t", "1")]),  # nothing new, and alive all the same
        lambda: tracking.runs.change_tags(scope, run.id, remove=["t"]),
        lambda: tracking.runs.update(scope, run.id, notes="warming up"),
        lambda: tracking.runs.update(scope, run.id, name="renamed"),
    ]
    for write in writes:
        tracking.clock.forward(minutes=6)
        assert (await tracking.runs.get(scope, run.id)).stalled
        await write()
        alive = await tracking.runs.get(scope, run.id)
        assert (alive.stalled, alive.last_activity_at) == (False, tracking.clock.now())
    ended = await tracking.runs.finish(scope, run.id)
    tracking.clock.forward(minutes=6)
    assert (await tracking.runs.update(scope, run.id, notes="good")).last_activity_at == ended.last_activity_at


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
