"""Replicas that are killed, hang or are killed by what they compute: who is answered, and how soon."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from domain.errors import BadUserInput, DeadlineExceeded
from domain.serving import PredictionResult, ReplicaState
from serving import replicas
from serving.pool import LocalServing
from tests.support.serving import END, V1, ask, pids, scaling, slow

pytestmark = pytest.mark.asyncio(loop_scope="module")

BACK_SECONDS = 0.2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalServing]:
    """One backend for the module: its forkserver takes a second or two to start."""
    async with LocalServing(tmp_path_factory.mktemp("host") / "run", available_cores=2) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def serving(backend: LocalServing) -> AsyncIterator[LocalServing]:
    """The backend with nothing deployed, and no event of an earlier test."""
    yield backend
    for status in backend.status(END):
        await backend.retire(END, status.version_id)
    while not backend._events.empty():
        backend._events.get_nowait()


async def computing(serving: LocalServing) -> None:
    """Until the only replica computes something."""
    async with asyncio.timeout(20):
        while True:
            (slot,) = serving._sets[END, V1]._slots
            if slot.connection is not None and slot.connection._flight.read():
                return
            await asyncio.sleep(0.001)


def kill(serving: LocalServing) -> float:
    (victim,) = pids(serving)
    os.kill(victim, signal.SIGKILL)
    return time.monotonic()


async def test_kills_in_quick_succession_cost_nobody_an_answer_and_little_time(
    serving: LocalServing, tmp_path: Path
) -> None:
    await serving.deploy(scaling(tmp_path, 2))
    answers: list[tuple[float, bool]] = []
    failures: list[Exception] = []
    done = False
    more = asyncio.Condition()

    async def caller(value: int) -> None:
        while not done:
            try:
                result = await ask(serving, value)
            except Exception as error:  # noqa: BLE001 - the test wants to see every one
                failures.append(error)
            else:
                assert result.outputs["y"][0, 0] == 2 * value
                answers.append((time.monotonic(), result.retried))
            async with more:
                more.notify_all()

    async def grow(count: int) -> None:
        target = len(answers) + count
        async with asyncio.timeout(20), more:
            await more.wait_for(lambda: len(answers) >= target or failures)

    callers = [asyncio.create_task(caller(value)) for value in range(1, 17)]
    await grow(100)
    back = []
    for _ in range(2):
        killed = kill(serving)
        seen = len(answers)
        await grow(100)
        back.append(min(moment for moment, retried in answers[seen:] if retried) - killed)
    done = True
    await asyncio.gather(*callers)
    assert failures == []
    assert serving.status(END)[0].replicas[0].restarts == 2
    assert max(back) < BACK_SECONDS, back


async def test_inputs_that_end_two_replicas_are_refused_and_harm_nobody_else(
    serving: LocalServing, tmp_path: Path
) -> None:
    await serving.deploy(slow(tmp_path, max_batch_rows=256))
    poison = {"x": np.full((256, 2048), 13, np.float32)}

    async def innocent(value: int) -> PredictionResult:
        return await serving.predict(END, V1, {"x": np.full((1, 2048), value, np.float32)})

    guilty = asyncio.create_task(serving.predict(END, V1, poison))
    await computing(serving)
    others = [asyncio.create_task(innocent(value)) for value in range(8)]
    await asyncio.sleep(0)
    for _ in range(2):
        await computing(serving)  # the guilty one is first in line, so first to be computed again
        (victim,) = pids(serving)
        kill(serving)
        async with asyncio.timeout(20):
            while victim in pids(serving):  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.001)
    with pytest.raises(BadUserInput, match="two replicas died") as refused:
        await guilty
    assert refused.value.field == "inputs"
    answers = await asyncio.gather(*others)
    assert all(answer.retried for answer in answers)
    with pytest.raises(BadUserInput, match="not tried again"):
        await serving.predict(END, V1, poison)
    assert (await innocent(13)).rows == 1
    assert serving.status(END)[0].replicas[0].restarts == 2


async def test_a_forward_that_never_ends_ends_its_replica(
    serving: LocalServing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "HANG_MS", 50)
    await serving.deploy(slow(tmp_path, max_batch_rows=2048, timeout_ms=50))
    with pytest.raises(DeadlineExceeded):
        await serving.predict(END, V1, {"x": np.zeros((2048, 2048), np.float32)})
    async with asyncio.timeout(20):
        async for event in serving.events():
            if event.state is ReplicaState.CRASHED:
                break
    assert event.reason == "one forward ran for too long"
    assert any("this replica hangs" in line for line in event.stderr)
    late = time.monotonic() + 20
    assert (await serving.predict(END, V1, {"x": np.zeros((1, 2048), np.float32)}, deadline=late)).rows == 1
