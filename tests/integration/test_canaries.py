"""Several versions behind one endpoint: shares, sticky requests, versions that do not load or die, and the way back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from domain.access import Scope
from domain.endpoints import Endpoint, EndpointStatus, Prediction, PredictionRequest
from domain.errors import BadUserInput, Conflict
from domain.models import ModelVersion
from persistence.database import Database
from tests.support.registry import InProcess, Registry

WAIT = 20
ROW = [1.0, 2.0, 3.0, 4.0]


@pytest.fixture
async def registry(database: Database, tmp_path: Path) -> Registry:
    made = Registry(database, tmp_path / "blobs")
    await made.blobs.open()
    return made


async def _two(registry: Registry, scope: Scope) -> tuple[Endpoint, ModelVersion, ModelVersion]:
    """A running endpoint with its first version, and a second version."""
    first, second = await registry.version(scope, 1.0), await registry.version(scope, 2.0)
    endpoint = await registry.endpoints.deploy(scope, first.id, endpoint="e")
    return await registry.endpoints.settled(scope, endpoint, WAIT), first, second


async def _deployed(registry: Registry, scope: Scope, version: ModelVersion, weight: int) -> Endpoint:
    made = await registry.endpoints.deploy(scope, version.id, endpoint="e", weight=weight)
    return await registry.endpoints.settled(scope, made, WAIT)


async def _answers(registry: Registry, scope: Scope, count: int = 200) -> dict[str, int]:
    """The version that answered, by sticky text; what it answered was its own."""
    found = {}
    for number in range(count):
        answer = await registry.endpoints.predict(scope, PredictionRequest("e", [ROW], sticky=f"user {number}"))
        assert answer.outputs[0][0] == float(answer.version)
        found[f"user {number}"] = answer.version
    return found


async def _until(registry: Registry, scope: Scope, true: Callable[[Endpoint], bool]) -> Endpoint:
    async with asyncio.timeout(WAIT):
        while True:
            if true(found := await registry.endpoints.get(scope, "e")):
                return found
            await asyncio.sleep(0.01)


def _shares(endpoint: Endpoint) -> dict[str, int]:
    return {share.version_id: share.weight for share in endpoint.traffic}


async def test_a_canary_takes_its_share_is_promoted_and_rolled_back(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    async with registry.running():
        endpoint, first, second = await _two(registry, scope)
        before = len(registry.backend.deployed)
        canary = await _deployed(registry, scope, second, 20)
        assert (canary.status, _shares(canary)) == (EndpointStatus.RUNNING, {first.id: 80, second.id: 20})
        assert len(registry.backend.deployed) == before + 1, "what serves is not loaded again"
        at_20 = await _answers(registry, scope)
        assert await _answers(registry, scope) == at_20, "the same text meets the same version"
        assert 20 <= Counter(at_20.values())[2] <= 60
        more = await registry.endpoints.update(scope, "e", version_id=second.id, weight=50)
        await registry.endpoints.settled(scope, more, WAIT)
        at_50 = await _answers(registry, scope)
        assert {who for who, version in at_20.items() if version == 2} < {who for who, v in at_50.items() if v == 2}
        assert len(registry.backend.deployed) == before + 1, "a share that grows loads nothing"
        without = [await registry.endpoints.predict(scope, PredictionRequest("e", [ROW])) for _ in range(60)]
        assert {answer.version for answer in without} == {1, 2}
        with pytest.raises(Conflict, match="'e'"):
            await registry.models.delete_version(scope, first.id)
        with pytest.raises(Conflict, match="'e'"):
            await registry.models.delete_version(scope, second.id)
        back = await registry.endpoints.update(scope, "e", version_id=second.id, weight=0)
        assert _shares(await registry.endpoints.settled(scope, back, WAIT)) == {first.id: 100}
        assert set((await _answers(registry, scope, 20)).values()) == {1}
        assert list(registry.backend.sets) == [(endpoint.id, first.id)]
        promoted = await _deployed(registry, scope, second, 100)
        assert _shares(promoted) == {second.id: 100}
        assert set((await _answers(registry, scope, 20)).values()) == {2}
        assert list(registry.backend.sets) == [(endpoint.id, second.id)]
        await registry.models.delete_version(scope, first.id)


async def test_predictions_of_one_operation_meet_one_version_unless_they_say_otherwise(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    async with registry.running():
        _, _, second = await _two(registry, scope)
        await _deployed(registry, scope, second, 50)
        for _ in range(8):
            registry.backend.submissions.clear()
            found = await registry.endpoints.predict_many(scope, [PredictionRequest("e", [ROW])] * 40)
            assert registry.backend.submissions == [40]
            assert len({answer.version for answer in found if isinstance(answer, Prediction)}) == 1
        sticky = [PredictionRequest("e", [ROW], sticky=f"user {number}") for number in range(40)]
        found = await registry.endpoints.predict_many(scope, sticky)
        alone = await _answers(registry, scope, 40)
        assert [answer.version for answer in found if isinstance(answer, Prediction)] == list(alone.values())
        for text in ("", "x" * 257):
            with pytest.raises(BadUserInput) as refused:
                await registry.endpoints.predict(scope, PredictionRequest("e", [ROW], sticky=text))
            assert refused.value.field == "sticky"


async def test_a_canary_that_does_not_load_leaves_the_shares(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    async with registry.running():
        _, first, second = await _two(registry, scope)
        registry.backend.refuse, registry.backend.refused = "too large", {second.id}
        kept = await _deployed(registry, scope, second, 20)
        assert (kept.status, _shares(kept), kept.pending) == (EndpointStatus.RUNNING, {first.id: 100}, None)
        assert kept.status_reason is not None
        assert "too large" in kept.status_reason
        assert set((await _answers(registry, scope, 20)).values()) == {1}
        registry.backend.refuse = None
        assert _shares(await _deployed(registry, scope, second, 20)) == {first.id: 80, second.id: 20}


async def test_the_others_answer_for_a_version_that_dies(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    done = asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            await registry.endpoints.predict(scope, PredictionRequest("e", [ROW]))
            await asyncio.sleep(0)

    async with registry.running():
        endpoint, first, second = await _two(registry, scope)
        await _deployed(registry, scope, second, 40)
        async with asyncio.TaskGroup() as clients:
            for _ in range(4):
                clients.create_task(client())
            registry.backend.crash(endpoint.id, second.id)
            shown = await _until(registry, scope, lambda now: any(share.failure for share in now.traffic))
            done.set()
        assert (shown.status, _shares(shown)) == (EndpointStatus.RUNNING, {first.id: 60, second.id: 40})
        assert {share.version_id: share.failure for share in shown.traffic} == {
            first.id: None,
            second.id: "kept dying\nout of memory",
        }
        assert shown.status_reason is not None
        assert "out of memory" in shown.status_reason
        assert set((await _answers(registry, scope, 30)).values()) == {1}
        await registry.endpoints.settled(scope, endpoint, WAIT)
        assert list(registry.backend.sets) == [(endpoint.id, first.id)]
        # The same shares once more load it again.
        again = await _deployed(registry, scope, second, 40)
        assert [share.failure for share in again.traffic] == [None, None]
        assert set((await _answers(registry, scope, 30)).values()) == {1, 2}
        registry.backend.crash(endpoint.id, first.id)
        registry.backend.crash(endpoint.id, second.id)
        await _until(registry, scope, lambda now: now.status is EndpointStatus.FAILED)


async def test_after_a_restart_what_loads_serves(database: Database, tmp_path: Path) -> None:
    before = Registry(database, tmp_path / "blobs")
    await before.blobs.open()
    scope = await before.tracking.scope()
    async with before.running():
        endpoint, first, second = await _two(before, scope)
        await _deployed(before, scope, second, 40)
        # Killed in the middle of another change: it goes on with that one.
        before.backend.gate = asyncio.Event()
        third = await before.version(scope, 3.0)
        await before.endpoints.deploy(scope, third.id, endpoint="e", weight=50)
    after = Registry(database, tmp_path / "blobs", backend=InProcess())
    after.backend.refuse, after.backend.refused = "it does not load", {third.id}
    await after.operator.restore()  # a server does this before it answers anybody
    assert (await after.endpoints.get(scope, "e")).status is EndpointStatus.STARTING
    async with after.running():
        found = await after.endpoints.settled(scope, endpoint, WAIT)
        assert found.status is EndpointStatus.RUNNING
        assert _shares(found) == {first.id: 30, second.id: 20, third.id: 50}
        assert {share.version_id for share in found.traffic if share.failure} == {third.id}
        assert set((await _answers(after, scope, 60)).values()) == {1, 2}
        assert set(after.backend.sets) == {(endpoint.id, first.id), (endpoint.id, second.id)}


async def test_shares_that_make_no_sense_are_refused(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    async with registry.running():
        first, second = await registry.version(scope, 1.0), await registry.version(scope, 2.0)
        with pytest.raises(Conflict) as alone:
            await registry.endpoints.deploy(scope, first.id, endpoint="e", weight=50)
        assert alone.value.field == "weight"
        made = await _deployed(registry, scope, first, 100)
        for given, field in (
            ({"weight": 10}, "weight"),
            ({"version_id": second.id, "weight": 101}, "weight"),
            ({"traffic": {first.id: 50, second.id: 40}}, "traffic"),
            ({"traffic": {first.id: 100}, "weight": 3}, "traffic"),
        ):
            with pytest.raises(BadUserInput) as refused:
                await registry.endpoints.update(scope, "e", **given)
            assert refused.value.field == field
        split = await registry.endpoints.update(scope, "e", traffic={first.id: 30, second.id: 70})
        assert _shares(await registry.endpoints.settled(scope, split, WAIT)) == {first.id: 30, second.id: 70}
        assert (await registry.endpoints.get(scope, made.id)).deployment == split.pending


async def test_no_request_fails_while_shares_replicas_and_settings_change(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    done = asyncio.Event()
    seen: Counter[int] = Counter()

    async def client(name: str) -> None:
        while not done.is_set():
            answer = await registry.endpoints.predict(scope, PredictionRequest("e", [ROW], sticky=name))
            assert answer.outputs[0][0] == float(answer.version)
            seen[answer.version] += 1

    async with registry.running():
        endpoint, first, second = await _two(registry, scope)
        async with asyncio.TaskGroup() as clients:
            for number in range(6):
                clients.create_task(client(f"user {number}"))
            for weight in (10, 50, 90, 30, 100):
                await _deployed(registry, scope, second, weight)
            for replicas in (2, 1):
                await registry.endpoints.update(scope, "e", replicas=replicas)
                await registry.endpoints.settled(scope, endpoint, WAIT)
            # Several at once: each is applied to what the one before left.
            await asyncio.gather(
                registry.endpoints.update(scope, "e", config={"max_batch_rows": 8}),
                registry.endpoints.update(scope, "e", version_id=first.id, weight=25),
                registry.endpoints.update(scope, "e", replicas=2),
            )
            settled = await registry.endpoints.settled(scope, endpoint, WAIT)
            done.set()
        assert (settled.config.max_batch_rows, settled.replicas) == (8, 2)
        assert _shares(settled) == {first.id: 25, second.id: 75}
        assert {(spec.replicas, spec.config.max_batch_rows) for spec, _ in registry.backend.sets.values()} == {(2, 8)}
    assert set(seen) == {1, 2}


async def test_a_change_while_starting_and_a_stop_while_switching(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    async with registry.running():
        first, second = await registry.version(scope, 1.0), await registry.version(scope, 2.0)
        registry.backend.gate = asyncio.Event()
        endpoint = await registry.endpoints.deploy(scope, first.id, endpoint="e")
        changed = await registry.endpoints.update(scope, "e", version_id=second.id)
        assert changed.status is EndpointStatus.STARTING
        registry.backend.gate.set()
        settled = await registry.endpoints.settled(scope, endpoint, WAIT)
        assert (settled.status, _shares(settled)) == (EndpointStatus.RUNNING, {second.id: 100})
        assert list(registry.backend.sets) == [(endpoint.id, second.id)]
        registry.backend.gate = asyncio.Event()
        await registry.endpoints.deploy(scope, first.id, endpoint="e", weight=50)
        stopping = await registry.endpoints.stop(scope, "e")
        twice = await registry.endpoints.stop(scope, "e")
        assert stopping.status is twice.status is EndpointStatus.DRAINING
        with pytest.raises(Conflict, match="DRAINING"):
            await registry.endpoints.delete(scope, "e")
        registry.backend.gate.set()
        settled = await registry.endpoints.settled(scope, endpoint, WAIT)
        assert (settled.status, _shares(settled)) == (EndpointStatus.STOPPED, {second.id: 100})
        assert registry.backend.sets == {}
        await registry.endpoints.delete(scope, "e")
