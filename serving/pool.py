"""`LocalServing`: the serving port, answered by replica processes of this machine.

Owned by the host's lifespan as an async context manager; on leaving it, every process it started has
ended. The forkserver starts with the first deployment. This side must never import torch.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from weakref import WeakValueDictionary

from domain.errors import Unavailable
from domain.serving import (
    NotServing,
    PredictionResult,
    ReplicaEvent,
    ReplicaSet,
    SetStatus,
    WarmUp,
    check_device_exists,
    check_threads,
    threads_for,
)
from domain.tensors import Array
from serving import cores, devices, memory
from serving.dispatch import check_batch_fits, compute
from serving.launcher import ForkServer
from serving.replicas import RunningSet
from serving.sharing import SetWatcher, SharedSet

_EVENTS_KEPT: Final = 10_000

logger = logging.getLogger(__name__)

Key = tuple[str, str]


class LocalServing:
    """Replica sets on this machine. Implements `domain.serving.ServingBackend`.

    `run_dir` (made with mode 0700, or already so) holds the replicas' sockets and belongs to this object
    alone. `available_cores` and `gpus` override what the machine reports. `stop_seconds` bounds the drain on stop.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        available_cores: int | None = None,
        gpus: int | None = None,
        stop_seconds: float = 10.0,
    ) -> None:
        self._run_dir = run_dir
        self._cores = available_cores if available_cores is not None else cores.available()
        self._gpus = gpus if gpus is not None else devices.available()
        self._stop_seconds = stop_seconds
        self._forkserver = ForkServer(self._cores)
        self._keeper: asyncio.Task[None] | None = None
        self._memory: asyncio.Task[None] | None = None
        self._sets: dict[Key, RunningSet] = {}
        self._starting: set[RunningSet] = set()
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._events: asyncio.Queue[ReplicaEvent | None] = asyncio.Queue(_EVENTS_KEPT)
        self._stopped = False
        self._watcher: SetWatcher | None = None

    def watched(self, watcher: SetWatcher) -> None:
        """Tells `watcher` of every replica set to come, so that other processes may use it. Before the first."""
        self._watcher = watcher

    def shared(self) -> list[SharedSet]:
        """Every set that takes requests."""
        return [running.shared() for running in self._sets.values()]

    def end_silent(self, set_id: str, index: int) -> None:
        """Ends a replica that, as another process found, answers nobody any more."""
        for running in self._sets.values():
            if running.set_id == set_id:
                running.end_silent(index)

    async def __aenter__(self) -> Self:
        _private_directory(self._run_dir)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def forkserver_pid(self) -> int | None:
        """The forkserver's process id while it runs; None before the first deployment."""
        return self._forkserver.pid

    async def deploy(self, spec: ReplicaSet) -> WarmUp:
        threads = self._check(spec)
        key = (spec.endpoint_id, spec.version_id)
        async with self._locks.setdefault(key, asyncio.Lock()):
            self._refuse_stopped()
            if self._keeper is None:
                self._keeper = asyncio.create_task(self._forkserver.keep(), name="forkserver")
            running = RunningSet(
                spec,
                threads=threads,
                run_dir=self._run_dir,
                forkserver=self._forkserver,
                report=self._report,
                watcher=self._watcher,
            )
            self._starting.add(running)
            try:
                report = await running.start()
            finally:
                self._starting.discard(running)
            if self._stopped:
                await running.stop(drain_seconds=0)
                self._refuse_stopped()
            before = self._sets.get(key)
            self._sets[key] = running  # the flip: from here on the new replicas get the requests
            running.became_current()
            self._watch_memory()
            if before is not None:
                await before.stop(drain_seconds=before.spec.config.drain_timeout_ms / 1000)
            return report

    def _check(self, spec: ReplicaSet) -> int:
        """Threads per replica. Raises BadUserInput when the set cannot run well here."""
        config = spec.config
        threads = config.threads or threads_for(spec.replicas, self._cores)
        if not config.force:
            check_threads(spec.replicas, threads, self._cores)
        check_device_exists(config.device, self._gpus)
        check_batch_fits(spec.architecture, config.max_batch_rows)
        return threads

    async def retire(self, endpoint_id: str, version_id: str) -> None:
        key = (endpoint_id, version_id)
        async with self._locks.setdefault(key, asyncio.Lock()):
            running = self._sets.pop(key, None)
            if running is not None:
                await running.stop(drain_seconds=running.spec.config.drain_timeout_ms / 1000)
                memory.trim()

    def _watch_memory(self) -> None:
        if self._memory is None or self._memory.done():
            self._memory = asyncio.create_task(memory.watch(self._sets.values), name="memory of replicas")

    async def predict(
        self,
        endpoint_id: str,
        version_id: str,
        inputs: Mapping[str, Array],
        *,
        deadline: float | None = None,
        outputs: Sequence[str] | None = None,
    ) -> PredictionResult:
        running = self._sets.get((endpoint_id, version_id))
        if running is None:
            raise NotServing("this version is not being served")
        spec = running.spec
        return await compute(
            running.dispatch, spec.architecture, spec.config, inputs, deadline=deadline, outputs=outputs
        )

    def status(self, endpoint_id: str) -> tuple[SetStatus, ...]:
        found = (running.status() for (endpoint, _), running in self._sets.items() if endpoint == endpoint_id)
        return tuple(status for status in found if status is not None)

    async def events(self) -> AsyncIterator[ReplicaEvent]:
        while (event := await self._events.get()) is not None:
            yield event

    def _report(self, event: ReplicaEvent) -> None:
        if self._events.full():
            self._events.get_nowait()  # nobody listens; `status` still tells the truth
        self._events.put_nowait(event)

    def _refuse_stopped(self) -> None:
        if self._stopped:
            raise Unavailable("the server is shutting down")

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        for starting in list(self._starting):
            starting.abort()
        running = list(self._sets.values())
        self._sets.clear()
        await asyncio.gather(
            *(
                one.stop(drain_seconds=min(self._stop_seconds, one.spec.config.drain_timeout_ms / 1000))
                for one in running
            )
        )
        for task in (self._keeper, self._memory):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._forkserver.stop()
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(None)


def _private_directory(path: Path) -> None:
    """Make `path` a 0700 directory of ours, or check that it is one; old sockets in it are removed."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
        raise RuntimeError(f"{path} must be a directory of this user with mode 0700")
    for leftover in path.glob("*.sock"):
        leftover.unlink()
