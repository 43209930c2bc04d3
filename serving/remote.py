"""Predictions in a web worker: straight to the replicas that the host keeps, over connections of its own.

What is loaded, and which sockets the replicas listen on, the host says; nothing here starts or ends a process. A set
that the host withdraws takes no new requests, finishes those it has, and is then reported as drained.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from domain.architecture import parse_text
from domain.serving import NotServing, PredictionResult, ReplicaFailed
from domain.tensors import Array
from serving.connection import ReplicaConnection, ReplicaGoneError, connect
from serving.dispatch import Dispatch, Lane, compute
from serving.sharing import SharedReplica, SharedSet

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0

logger = logging.getLogger(__name__)

Key = tuple[str, str]


class _Lane:
    """A replica as the host announced it, and our connection to it while there is one."""

    def __init__(self, replica: SharedReplica) -> None:
        self.replica = replica
        self.connection: ReplicaConnection | None = None
        self.lost = asyncio.Event()

    def on_lost(self) -> None:
        self.connection = None
        self.lost.set()

    async def keep(self, connected: Callable[[], None]) -> None:
        """Connected for as long as the host announces it: it may be cut off without being dead."""
        pause = _FIRST_PAUSE
        while True:
            self.lost.clear()
            try:
                self.connection = await connect(Path(self.replica.socket_path), self.on_lost)
            except (OSError, ReplicaGoneError):
                pass  # it has just died, and the host is about to say so
            else:
                pause = _FIRST_PAUSE
                connected()
                await self.lost.wait()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


class _RemoteSet:
    """One replica set of the host, used from here."""

    def __init__(self, shared: SharedSet, silent: Callable[[str, int], None]) -> None:
        self.set_id = shared.set_id
        self.architecture = parse_text(shared.architecture)
        self.config = shared.config
        self._silent = silent
        self._lanes: dict[str, _Lane] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.dispatch = Dispatch(
            shared.config.max_queue_rows, self._ready, self._end_silent, name=f"endpoint {shared.endpoint_id}"
        )
        self.update(shared)

    def update(self, shared: SharedSet) -> None:
        """What the host says now."""
        listed = {replica.socket_path: replica for replica in shared.replicas}
        for path in self._lanes.keys() - listed.keys():
            self._drop(path)
        for path, replica in listed.items():
            if path not in self._lanes:
                lane = self._lanes[path] = _Lane(replica)
                self._tasks[path] = asyncio.create_task(lane.keep(self.dispatch.notify), name=f"replica at {path}")
        if shared.failure is not None:
            self.dispatch.failure = ReplicaFailed(shared.failure, stderr=shared.stderr)
        self.dispatch.notify()

    def _ready(self) -> Iterator[Lane]:
        return ((lane.replica.index, lane.connection) for lane in self._lanes.values() if lane.connection is not None)

    def _end_silent(self, index: int) -> None:
        self._silent(self.set_id, index)

    def _drop(self, path: str) -> None:
        self._tasks.pop(path).cancel()
        lane = self._lanes.pop(path)
        if lane.connection is not None:
            lane.connection.close()

    async def finish(self) -> None:
        """Takes no more requests, finishes those it has, and closes its connections."""
        self.dispatch.closing = True
        try:
            await self.dispatch.idle.wait()
        finally:
            self.close()

    def close(self) -> None:
        """Ends its connections at once."""
        self.dispatch.closing = True
        for path in list(self._lanes):
            self._drop(path)


class RemoteServing:
    """Implements `domain.serving.Predicts` in a web worker.

    `drained` is told the id of a withdrawn set once nothing here uses it; `silent` of a replica that answers nobody.
    """

    def __init__(self, *, drained: Callable[[str], None], silent: Callable[[str, int], None]) -> None:
        self._drained = drained
        self._silent = silent
        self._sets: dict[Key, _RemoteSet] = {}
        self._replaced: dict[str, _RemoteSet] = {}
        self._finishing: set[asyncio.Task[None]] = set()

    def changed(self, shared: SharedSet) -> None:
        """The host has loaded a set, or its replicas changed."""
        key = (shared.endpoint_id, shared.version_id)
        current = self._sets.get(key)
        if current is not None and current.set_id == shared.set_id:
            current.update(shared)
            return
        if current is not None:
            self._replaced[current.set_id] = current  # its withdrawal follows
        self._sets[key] = _RemoteSet(shared, self._silent)

    def withdrawn(self, set_id: str) -> None:
        """The host is about to end a set."""
        found = self._replaced.pop(set_id, None)
        for key, current in list(self._sets.items()):
            if current.set_id == set_id:
                found = self._sets.pop(key)
        if found is None:
            self._drained(set_id)
            return
        task = asyncio.create_task(self._finish(found), name=f"replica set {set_id} is drained")
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, ending: _RemoteSet) -> None:
        await ending.finish()
        self._drained(ending.set_id)

    async def predict(
        self,
        endpoint_id: str,
        version_id: str,
        inputs: Mapping[str, Array],
        *,
        deadline: float | None = None,
        outputs: Sequence[str] | None = None,
    ) -> PredictionResult:
        """As the port says."""
        found = self._sets.get((endpoint_id, version_id))
        if found is None:
            raise NotServing("this version is not being served")
        return await compute(
            found.dispatch, found.architecture, found.config, inputs, deadline=deadline, outputs=outputs
        )

    async def close(self) -> None:
        """Ends every connection."""
        for remote in (*self._sets.values(), *self._replaced.values()):
            remote.close()
        self._sets.clear()
        self._replaced.clear()
        for task in self._finishing:
            task.cancel()
        if self._finishing:
            await asyncio.wait(self._finishing)
