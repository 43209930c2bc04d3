"""Models on a GPU: the same answers, weights moved once, no context before the fork."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import psutil
import pytest

from domain.errors import BadUserInput
from domain.serving import ReplicaSet, ServingConfig
from serving import devices
from serving.pool import LocalServing
from tests.support.models import mlp, saved
from tests.support.serving import END, V1, V2, scaling

needs_gpu = pytest.mark.skipif(devices.available() == 0, reason="this machine has no GPU that torch can use")


async def test_without_a_gpu_nothing_is_deployed_on_one(tmp_path: Path) -> None:
    async with LocalServing(tmp_path / "run", gpus=0) as serving:
        for device in ("cuda", "cuda:0"):
            with pytest.raises(BadUserInput, match="no CUDA device") as refused:
                await serving.deploy(scaling(tmp_path, 2, config=ServingConfig(device=device)))
            assert refused.value.field == "device"
        assert serving.forkserver_pid is None


@needs_gpu
async def test_a_gpu_answers_as_a_cpu_does(tmp_path: Path) -> None:
    graph, path = saved(tmp_path, mlp())
    x = np.random.default_rng(0).normal(size=(300, *graph.inputs[0].row_shape)).astype(np.float32)
    async with LocalServing(tmp_path / "run", available_cores=4) as serving:
        for version, device in ((V1, "cpu"), (V2, "cuda")):
            await serving.deploy(
                ReplicaSet(END, version, str(path), graph, replicas=2, config=ServingConfig(device=device, threads=1))
            )
        cpu, gpu = [status.warm_up for status in serving.status(END)]
        assert cpu.device_bytes == 0
        assert gpu.device_bytes > 0
        answers = await asyncio.gather(*(serving.predict(END, version, {"x": x}) for version in (V1, V2) * 5))
        for answer in answers:
            (name,) = answer.outputs
            np.testing.assert_allclose(answer.outputs[name], answers[0].outputs[name], rtol=1e-3, atol=1e-4)
        maps = Path(f"/proc/{psutil.Process(serving.forkserver_pid).pid}/maps").read_text()
        assert "/dev/nvidia" not in maps  # no context before the fork
