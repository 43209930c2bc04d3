"""Endpoints on a real database: their life, switching, crashes, restarts, several servers, and merged predictions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from domain.access import KeyScope, Scope
from domain.endpoints import Endpoint, EndpointStatus, Prediction, PredictionRequest
from domain.errors import BadUserInput, Conflict, Forbidden, NotFound, Unavailable
from domain.paging import PageRequest
from domain.serving import InferenceError
from persistence.database import Database
from tests.support.registry import InProcess, Registry
from tests.support.tracking import with_key

WAIT = 20
ROW = [1.0, 2.0, 3.0, 4.0]


@pytest.fixture
async def registry(database: Database, tmp_path: Path) -> Registry:
    made = Registry(database, tmp_path / "blobs")
    await made.blobs.open()
    return made


async def test_a_deployed_version_answers(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope, 3.0)
    async with registry.running():
        endpoint = await registry.endpoints.deploy(scope, version.id, endpoint="e")
        assert endpoint.status is EndpointStatus.STARTING
        endpoint = await registry.endpoints.settled(scope, endpoint, WAIT)
        assert (endpoint.status, endpoint.status_reason, endpoint.host) == (EndpointStatus.RUNNING, None, "here")
        for inputs, outputs in (
            ([ROW], [[3.0, 6.0, 9.0, 12.0]]),
            ({"x": [ROW]}, {"y": [[3.0, 6.0, 9.0, 12.0]]}),
        ):
            answer = await registry.endpoints.predict(scope, PredictionRequest("e", inputs))
            assert (answer.outputs, answer.endpoint, answer.version, answer.rows) == (outputs, "e", 1, 1)
            assert answer.latency_ms > 0
        by_row = await registry.endpoints.predict(scope, PredictionRequest(endpoint.id, [ROW, ROW], instances=True))
        assert by_row.outputs == [[3.0, 6.0, 9.0, 12.0]] * 2
        stopping = await registry.endpoints.stop(scope, "e")
        assert stopping.status is EndpointStatus.DRAINING
        with pytest.raises(Unavailable):  # at once, whatever is still being drained
            await registry.endpoints.predict(scope, PredictionRequest("e", [ROW]))
        assert (await registry.endpoints.settled(scope, endpoint, WAIT)).status is EndpointStatus.STOPPED
        assert registry.backend.sets == {}
        await registry.endpoints.delete(scope, "e")
        with pytest.raises(NotFound):
            await registry.endpoints.predict(scope, PredictionRequest("e", [ROW]))


async def test_switching_flips_once_the_new_version_is_loaded(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    first, second = await registry.version(scope, 1.0), await registry.version(scope, 2.0)
    async with registry.running():
        endpoint = await registry.endpoints.deploy(scope, first.id, endpoint="e")
        await registry.endpoints.settled(scope, endpoint, WAIT)
        registry.backend.gate = asyncio.Event()
        switching = await registry.endpoints.deploy(scope, second.id, endpoint="e")
        assert switching.status is EndpointStatus.RUNNING
        assert switching.traffic == endpoint.traffic
        assert switching.status_reason is not None
        assert (await _predict(registry, scope)).version == 1
        registry.backend.gate.set()
        settled = await registry.endpoints.settled(scope, endpoint, WAIT)
        assert [share.version_id for share in settled.traffic] == [second.id]
        assert settled.status_reason is None
        answer = await _predict(registry, scope)
        assert (answer.version, answer.outputs) == (2, [[2.0, 4.0, 6.0, 8.0]])
        assert list(registry.backend.sets) == [(endpoint.id, second.id)]


async def test_a_change_that_does_not_load_leaves_what_serves(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    first, second = await registry.version(scope, 1.0), await registry.version(scope, 2.0)
    async with registry.running():
        endpoint = await registry.endpoints.deploy(scope, first.id, endpoint="e")
        await registry.endpoints.settled(scope, endpoint, WAIT)
        registry.backend.refuse = "it does not load"
        await registry.endpoints.deploy(scope, second.id, endpoint="e")
        settled = await registry.endpoints.settled(scope, endpoint, WAIT)
        assert settled.status is EndpointStatus.RUNNING
        assert settled.pending is None
        assert settled.status_reason is not None
        assert "it does not load" in settled.status_reason
        assert (await _predict(registry, scope)).version == 1


async def test_failing_to_start_tells_the_reason_and_the_error_output(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    registry.backend.refuse = "the model could not be loaded"
    async with registry.running():
        endpoint = await registry.endpoints.deploy(scope, version.id, endpoint="e")
        settled = await registry.endpoints.settled(scope, endpoint, WAIT)
        assert settled.status is EndpointStatus.FAILED
        assert settled.status_reason == "the model could not be loaded\nTraceback\nValueError: broken"
        registry.backend.refuse = None
        again = await registry.endpoints.start(scope, "e")
        assert (await registry.endpoints.settled(scope, again, WAIT)).status is EndpointStatus.RUNNING


async def test_replicas_that_keep_dying_fail_the_endpoint(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    async with registry.running():
        endpoint = await registry.endpoints.deploy(scope, version.id, endpoint="e")
        await registry.endpoints.settled(scope, endpoint, WAIT)
        registry.backend.crash(endpoint.id, version.id)
        failed = await _until(registry, scope, endpoint, EndpointStatus.FAILED)
        assert failed.status_reason == "kept dying\nout of memory"

        async def reason() -> str:
            with pytest.raises(Unavailable) as refused:
                await _predict(registry, scope)
            return str(refused.value)

        async with asyncio.timeout(WAIT):  # whoever predicts learns of it a moment later; until then nothing serves
            while "FAILED" not in (said := await reason()):
                assert "kept dying" in said or "not being served" in said
                await asyncio.sleep(0)


async def test_what_ran_is_started_again_after_a_restart(database: Database, tmp_path: Path) -> None:
    before = Registry(database, tmp_path / "blobs")
    await before.blobs.open()
    scope = await before.tracking.scope()
    running, stopped = await before.version(scope, 2.0), await before.version(scope, 3.0)
    async with before.running():
        first = await before.endpoints.deploy(scope, running.id, endpoint="runs")
        second = await before.endpoints.create(scope, name="stopped", version_id=stopped.id)
        await before.endpoints.settled(scope, first, WAIT)
    after = Registry(database, tmp_path / "blobs", backend=InProcess())
    after.backend.gate = asyncio.Event()
    async with after.running():
        starting = await _until(after, scope, first, EndpointStatus.STARTING)
        with pytest.raises(Unavailable) as soon:
            await after.endpoints.predict(scope, PredictionRequest("runs", [ROW]))
        assert soon.value.retry_after is not None
        after.backend.gate.set()
        settled = await after.endpoints.settled(scope, starting, WAIT)
        assert settled.status is EndpointStatus.RUNNING
        assert (await after.endpoints.predict(scope, PredictionRequest("runs", [ROW]))).version == 1
        assert (await after.endpoints.get(scope, second.id)).status is EndpointStatus.STOPPED


async def test_another_server_names_the_one_at_work(database: Database, tmp_path: Path) -> None:
    here, there = Registry(database, tmp_path / "a"), Registry(database, tmp_path / "b", host="there")
    await here.blobs.open()
    await there.blobs.open()
    scope = await here.tracking.scope()
    version = await here.version(scope)
    async with here.running(), there.running():
        endpoint = await here.endpoints.deploy(scope, version.id, endpoint="e")
        await here.endpoints.settled(scope, endpoint, WAIT)
        with pytest.raises(Unavailable, match="'here'"):
            await there.endpoints.predict(scope, PredictionRequest("e", [ROW]))
        with pytest.raises(Unavailable, match="'here'"):
            await there.endpoints.stop(scope, "e")
        assert (await _predict(here, scope)).rows == 1
        await here.endpoints.stop(scope, "e")
        await here.endpoints.settled(scope, endpoint, WAIT)
        # The bytes are on the other server only.
        moved = await there.endpoints.start(scope, "e")
        failed = await there.endpoints.settled(scope, moved, WAIT)
        assert (failed.status, failed.status_reason) == (
            EndpointStatus.FAILED,
            "the file of this version is not on this server",
        )


async def test_endpoints_of_a_lost_server_are_taken_over_when_asked(database: Database, tmp_path: Path) -> None:
    """Both share the blob store; "here" is killed, or stops, and comes back."""
    here, there = Registry(database, tmp_path / "a"), Registry(database, tmp_path / "a", host="there")
    await here.blobs.open()
    scope = await here.tracking.scope()
    version = await here.version(scope)
    async with here.running(), there.running():
        for name in ("e", "f", "g"):
            await here.endpoints.deploy(scope, version.id, endpoint=name)
        endpoint = await here.endpoints.get(scope, "e")
        for name in ("e", "f", "g"):
            await here.endpoints.settled(scope, await here.endpoints.get(scope, name), WAIT)
        with pytest.raises(Unavailable, match="'here'"):
            await there.endpoints.start(scope, "e")
        # Nobody has heard of it for a while, though it still runs.
        await database.execute("UPDATE serving_hosts SET seen_at = seen_at - interval '31 seconds' WHERE name = 'here'")
        with pytest.raises(Unavailable, match="start the endpoint to run it here"):
            await there.endpoints.predict(scope, PredictionRequest("e", [ROW]))
        moved = await there.endpoints.start(scope, "e")
        assert (moved.status, moved.host) == (EndpointStatus.STARTING, "there")
        assert (await there.endpoints.settled(scope, moved, WAIT)).status is EndpointStatus.RUNNING
        assert (await _predict(there, scope)).rows == 1
        assert (await there.endpoints.stop(scope, "f")).status is EndpointStatus.STOPPED
        # A crash of what it no longer owns concerns nobody; when it beats again it lets go of it.
        here.backend.crash(endpoint.id, version.id)
        assert not await here.endpoint_rows.beat("here")
        here.operator.reconsider()
        for name in ("e", "f", "g"):
            await here.endpoints.settled(scope, await here.endpoints.get(scope, name), WAIT)
        assert list(here.backend.sets) == [((await here.endpoints.get(scope, "g")).id, version.id)]
        assert (await there.endpoints.get(scope, "e")).status is EndpointStatus.RUNNING
        with pytest.raises(Unavailable, match="'there'"):
            await here.endpoints.predict(scope, PredictionRequest(endpoint.id, [ROW]))
    # Both have stopped in order, so either may have what the other ran, at once.
    again = Registry(database, tmp_path / "a")
    async with again.running():
        mine = await again.endpoints.start(scope, "e")
        assert mine.host == "here"
        assert (await again.endpoints.settled(scope, mine, WAIT)).status is EndpointStatus.RUNNING


async def test_changes_at_once_end_in_one_consistent_state(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    versions = [await registry.version(scope, float(factor)) for factor in range(1, 5)]
    async with registry.running():
        made = await asyncio.gather(
            *(registry.endpoints.deploy(scope, version.id, endpoint="e") for version in versions)
        )
        assert len({endpoint.id for endpoint in made}) == 1
        for turn in range(6):
            await asyncio.gather(
                registry.endpoints.stop(scope, "e"),
                registry.endpoints.start(scope, "e"),
                registry.endpoints.deploy(scope, versions[turn % 4].id, endpoint="e"),
                registry.endpoints.update(scope, "e", version_id=versions[(turn + 1) % 4].id),
            )
        endpoint = await registry.endpoints.settled(scope, made[0], WAIT)
        assert endpoint.status in (EndpointStatus.RUNNING, EndpointStatus.STOPPED)
        if endpoint.status is EndpointStatus.RUNNING:
            assert endpoint.deployment is not None
            (share,) = endpoint.deployment.traffic
            assert list(registry.backend.sets) == [(endpoint.id, share.version_id)]
            (number,) = [v.version for v in versions if v.id == share.version_id]
            assert (await _predict(registry, scope)).version == number
        else:
            assert registry.backend.sets == {}
        last = await registry.endpoints.deploy(scope, versions[0].id, endpoint="e")
        await registry.endpoints.settled(scope, last, WAIT)
        assert (await _predict(registry, scope)).version == 1


async def test_no_request_fails_while_versions_are_swapped(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    versions = [await registry.version(scope, float(factor)) for factor in (1, 2)]
    done = asyncio.Event()
    seen: set[int] = set()

    async def client() -> None:
        while not done.is_set():
            answer = await _predict(registry, scope)
            assert answer.outputs[0][0] == float(answer.version)
            seen.add(answer.version)

    async with registry.running():
        endpoint = await registry.endpoints.deploy(scope, versions[0].id, endpoint="e")
        await registry.endpoints.settled(scope, endpoint, WAIT)
        async with asyncio.TaskGroup() as clients:
            for _ in range(4):
                clients.create_task(client())
            for turn in range(1, 8):
                await registry.endpoints.deploy(scope, versions[turn % 2].id, endpoint="e")
                await registry.endpoints.settled(scope, endpoint, WAIT)
            done.set()
    assert seen == {1, 2}


async def test_predictions_of_one_operation_are_one_submission_and_fail_alone(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope, 2.0)
    async with registry.running():
        endpoint = await registry.endpoints.deploy(scope, version.id, endpoint="e")
        await registry.endpoints.settled(scope, endpoint, WAIT)
        registry.backend.submissions.clear()
        asked = [PredictionRequest("e", [[float(i)] * 4]) for i in range(60)]
        found = await registry.endpoints.predict_many(
            scope, [*asked, PredictionRequest("e", [[1.0]]), PredictionRequest("nowhere", [ROW])]
        )
        assert registry.backend.submissions == [60]
        answers = [answer for answer in found[:60] if isinstance(answer, Prediction)]
        assert [answer.outputs for answer in answers] == [[[2.0 * i] * 4] for i in range(60)]
        assert isinstance(found[60], BadUserInput)
        assert isinstance(found[61], NotFound)
        registry.backend.submissions.clear()
        mixed = await registry.endpoints.predict_many(
            scope, [PredictionRequest("e", [ROW]), PredictionRequest("e", [[666.0] * 4]), PredictionRequest("e", [ROW])]
        )
        assert [type(answer) for answer in mixed] == [Prediction, InferenceError, Prediction]
        assert registry.backend.submissions == [3, 1, 1, 1]


async def test_a_warm_prediction_asks_no_database(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    async with registry.running():
        endpoint = await registry.endpoints.deploy(scope, version.id, endpoint="e")
        await registry.endpoints.settled(scope, endpoint, WAIT)

        def refuse(*_: object) -> None:
            raise AssertionError("a statement was sent")

        with monkeypatch.context() as patched:
            patched.setattr(Database, "raw", refuse)
            assert (await _predict(registry, scope)).rows == 1


async def test_bounds_are_refused_with_their_field(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    for given, field in (
        ({"replicas": 3}, "replicas"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": 2, "config": {"threads": 2}}, "config.threads"),
        ({"config": {"max_batch_rows": 0}}, "config.max_batch_rows"),
        ({"config": {"timeout_ms": 600_001}}, "config.timeout_ms"),
    ):
        with pytest.raises(BadUserInput) as refused:
            await registry.endpoints.create(scope, name="e", version_id=version.id, **given)
        assert refused.value.field == field
    for name in ("../e", "e/x", "", "a" * 129, "e\x00", "end_" + "0" * 32):
        with pytest.raises(BadUserInput):
            await registry.endpoints.create(scope, name=name, version_id=version.id)
    assert (await registry.endpoints.list(scope, PageRequest())).nodes == []


async def test_rules_about_names_versions_and_capacity(database: Database, tmp_path: Path) -> None:
    registry = Registry(database, tmp_path / "blobs", most=1)
    await registry.blobs.open()
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    bare = await registry.upload(scope, "m", b"\x80\x04.", file_name="m.pkl")
    made = await registry.endpoints.create(scope, name="a", version_id=version.id, client_token="t")
    assert (await registry.endpoints.create(scope, name="a", version_id=version.id, client_token="t")).id == made.id
    with pytest.raises(Conflict):
        await registry.endpoints.create(scope, name="a", version_id=version.id)
    with pytest.raises(Conflict, match="EXECUTABLE"):
        await registry.endpoints.create(scope, name="b", version_id=bare.id)
    with pytest.raises(Conflict, match="'a'"):  # also while it is stopped
        await registry.models.delete_version(scope, version.id)
    with pytest.raises(Conflict, match="'a'"):
        await registry.models.delete(scope, "m")
    async with registry.running():
        await registry.endpoints.start(scope, "a")
        with pytest.raises(Conflict, match="at most 1"):
            await registry.endpoints.create(scope, name="b", version_id=version.id, start=True)
        assert [e.name for e in (await registry.endpoints.list(scope, PageRequest())).nodes] == ["a"]
        with pytest.raises(Conflict, match="stop it first"):
            await registry.endpoints.delete(scope, "a")


async def test_nothing_leaks_to_other_workspaces_and_keys(registry: Registry) -> None:
    scope, other = await registry.tracking.scope(), await registry.tracking.scope("bob@example.org", "other")
    version = await registry.version(scope)
    async with registry.running():
        endpoint = await registry.endpoints.deploy(scope, version.id, endpoint="e")
        await registry.endpoints.settled(scope, endpoint, WAIT)
        for name in ("e", endpoint.id):
            with pytest.raises(NotFound):
                await registry.endpoints.predict(other, PredictionRequest(name, [ROW]))
        with pytest.raises(NotFound):
            await registry.endpoints.deploy(other, version.id, endpoint="e")
        assert await registry.endpoints.by_ids(other, [endpoint.id]) == {}
        key = with_key(scope, KeyScope.PREDICT)
        assert (await registry.endpoints.predict(key, PredictionRequest("e", [ROW]))).rows == 1
        with pytest.raises(Forbidden):
            await registry.endpoints.stop(key, "e")
        with pytest.raises(Forbidden):
            await registry.endpoints.predict(with_key(scope, KeyScope.RUNS_WRITE), PredictionRequest("e", [ROW]))


async def _predict(registry: Registry, scope: Scope) -> Prediction:
    return await registry.endpoints.predict(scope, PredictionRequest("e", [ROW]))


async def _until(registry: Registry, scope: Scope, endpoint: Endpoint, status: EndpointStatus) -> Endpoint:
    async with asyncio.timeout(WAIT):
        while True:
            found = await registry.endpoints.get(scope, endpoint.id)
            if found.status is status:
                return found
            await asyncio.sleep(0.01)
