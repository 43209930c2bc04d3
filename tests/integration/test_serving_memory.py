"""Replicas that grow beyond what they may hold, and what a process keeps after models come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio

from domain.errors import BadUserInput
from domain.serving import ReplicaSet, ReplicaState, ServingConfig
from serving import memory
from serving.pool import LocalServing
from tests.support.models import linear, saved
from tests.support.serving import END, V1, V2, ask, pids, scaling, slow

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 2**20
CYCLES = 100
LOST_BYTES_PER_CYCLE = 40 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalServing]:
    async with LocalServing(tmp_path_factory.mktemp("host") / "run", available_cores=2) as opened:
        yield opened


async def test_a_model_that_needs_more_than_it_may_is_refused(serving: LocalServing, tmp_path: Path) -> None:
    with pytest.raises(BadUserInput, match="once it is warm; 1048576 are allowed") as refused:
        await serving.deploy(slow(tmp_path, max_memory_bytes=MIB))
    assert refused.value.field == "max_memory_bytes"
    assert pids(serving) == []


async def test_a_replica_that_grows_too_large_is_replaced_with_its_reason(
    serving: LocalServing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "PERIOD_SECONDS", 0.02)
    await serving.deploy(slow(tmp_path))
    warm = memory.held(pids(serving)[0], 0)
    await serving.deploy(slow(tmp_path, max_queue_rows=20_000, max_memory_bytes=warm + 64 * MIB))
    (victim,) = pids(serving)
    huge = {"x": np.zeros((16_000, 2048), np.float32)}  # 125 MiB, and seconds of work
    with pytest.raises(BadUserInput, match="two replicas died"):
        await serving.predict(END, V1, huge)
    reasons = []
    async with asyncio.timeout(20):
        async for event in serving.events():
            if event.state is ReplicaState.CRASHED:
                reasons.append(event.reason)
            if len(reasons) == 2 and event.state is ReplicaState.READY:
                break
    assert all(reason is not None and "bytes of memory;" in reason for reason in reasons)
    assert (await serving.predict(END, V1, {"x": np.zeros((1, 2048), np.float32)})).rows == 1
    assert pids(serving) != [victim]
    await serving.retire(END, V1)


async def test_no_limit_means_no_looking(serving: LocalServing, tmp_path: Path) -> None:
    await serving.deploy(scaling(tmp_path, 2))
    assert serving._memory is not None
    async with asyncio.timeout(10):
        await serving._memory  # the watch has nothing to do, so it ends
    await serving.retire(END, V1)


async def test_five_thousand_requests_and_a_hundred_models_leave_nothing_behind(
    serving: LocalServing, tmp_path: Path
) -> None:
    graph, path = saved(tmp_path, linear())
    spec = ReplicaSet(END, V2, str(path), graph, config=ServingConfig(max_batch_rows=1))
    await serving.deploy(scaling(tmp_path, 2))
    me, forkserver = psutil.Process(), psutil.Process(serving.forkserver_pid)
    (replica,) = [psutil.Process(pid) for pid in pids(serving)]
    await asyncio.gather(*(ask(serving, value) for value in range(50)))
    descriptors = me.num_fds(), replica.num_fds(), forkserver.num_fds()
    for start in range(0, 5_000, 50):
        await asyncio.gather(*(ask(serving, value) for value in range(start, start + 50)))
    assert (me.num_fds(), replica.num_fds(), forkserver.num_fds()) == descriptors
    for _ in range(20):
        await serving.deploy(spec)
        await serving.retire(END, V2)
    before = me.memory_info().rss, forkserver.memory_info().rss
    for _ in range(CYCLES):
        await serving.deploy(spec)
        await serving.retire(END, V2)
    after = me.memory_info().rss, forkserver.memory_info().rss
    grown = [now - then for now, then in zip(after, before, strict=True)]
    assert max(grown) < CYCLES * LOST_BYTES_PER_CYCLE, grown
    assert (me.num_fds(), forkserver.num_fds()) == (descriptors[0], descriptors[2])
    assert pids(serving) == [replica.pid]
    await serving.retire(END, V1)
