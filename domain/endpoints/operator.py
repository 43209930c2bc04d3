"""Makes the replicas follow the recorded state of the endpoints of this server.

For every endpoint at most one task is at work. It reads the recorded state, does one step towards it, records the
outcome and looks again until nothing is left to do; so whatever order changes come in, replicas and record end up
consistent, also after a restart of the server. The routes kept here are the only way to a prediction: one appears
when its version is loaded and disappears before its version is retired. Nothing here is told to callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from domain.clock import Clock
from domain.endpoints import lifecycle
from domain.endpoints.entities import Deployment, Endpoint, EndpointStatus, Route, ServedVersion
from domain.endpoints.ports import EndpointHosting, RouteWatcher
from domain.errors import DeadlineExceeded, DomainError, Overloaded, Unavailable
from domain.models.ports import BlobStore
from domain.serving import ReplicaSet, ReplicaState, ServingBackend

T = TypeVar("T")

RETRY_SECONDS = 1.0
MAX_REASON = 4_000


class EndpointOperator:
    """Runs the endpoints whose `host` is this server. Start `run` once, in the process that owns the backend."""

    def __init__(
        self, *, hosting: EndpointHosting, backend: ServingBackend, blobs: BlobStore, clock: Clock, host: str
    ) -> None:
        self._hosting = hosting
        self._backend = backend
        self._blobs = blobs
        self._clock = clock
        self.host = host
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._closed_at: dict[str, int] = {}
        self._loaded: dict[tuple[str, str], Deployment] = {}
        self._routes: dict[tuple[str, str], Route] = {}
        self._watcher: RouteWatcher | None = None

    # --- for the use-cases -----------------------------------------------------------------------

    def route(self, workspace_id: str, endpoint: str) -> Route | None:
        """What answers for an endpoint, given by name or id; None when nothing does."""
        return self._routes.get((workspace_id, endpoint))

    def wake(self, endpoint: Endpoint) -> None:
        """The record of an endpoint changed. One that is to stop takes no more requests from here on."""
        self.woken(endpoint.id, serves=endpoint.status.serves, generation=endpoint.generation)

    def woken(self, endpoint_id: str, *, serves: bool, generation: int) -> None:
        """The same, said by another process."""
        if not serves:
            self._closed_at[endpoint_id] = generation
            self._close(endpoint_id)
        self._enqueue(endpoint_id)

    def forget(self, endpoint_id: str) -> None:
        """The endpoint is deleted."""
        self._close(endpoint_id)
        self._enqueue(endpoint_id)

    async def settled(self, endpoint_id: str, seconds: float) -> None:
        """Waits until nothing is left to do for an endpoint, or the time is over."""
        if endpoint_id not in self._busy:
            return
        done = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(endpoint_id, []).append(done)
        await asyncio.wait((done,), timeout=seconds)
        done.cancel()

    # --- for the host ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Restores what was running when the server ended, then follows every change until it is cancelled."""
        self._busy.clear()
        self._again.clear()
        while not self._queue.empty():
            self._queue.get_nowait()
        async with asyncio.TaskGroup() as tasks:
            await self.restore()
            tasks.create_task(self._observe(), name="endpoints: replica events")
            while True:
                endpoint_id = await self._queue.get()
                tasks.create_task(self._settle(endpoint_id), name=f"endpoint {endpoint_id}")

    async def restore(self) -> None:
        """Marks what was RUNNING here and is not loaded as STARTING, and takes up all unfinished work."""
        for endpoint in await self._hosting.of_host(self.host):
            deployment = endpoint.deployment
            if deployment is None or (endpoint.id, deployment.version_id) not in self._loaded:
                await self._hosting.amend(endpoint.id, partial(lifecycle.restarted, now=self._clock.now()))
            self._enqueue(endpoint.id)

    async def sweep(self) -> None:
        """Looks at every active endpoint: a process that changed some may have ended before it said so."""
        for endpoint in await _patiently(partial(self._hosting.of_host, self.host)):
            self._enqueue(endpoint.id)

    def watched(self, watcher: RouteWatcher) -> None:
        """Tells `watcher` every way that is open, and from now on every one that opens or closes."""
        self._watcher = watcher
        for route in dict.fromkeys(self._routes.values()):
            watcher.opened(route)

    def _enqueue(self, endpoint_id: str) -> None:
        if endpoint_id in self._busy:
            self._again.add(endpoint_id)
        else:
            self._busy.add(endpoint_id)
            self._queue.put_nowait(endpoint_id)

    async def _observe(self) -> None:
        async for event in self._backend.events():
            if event.state is not ReplicaState.FAILED or not self._has_failed(event.endpoint_id, event.version_id):
                continue
            self._loaded.pop((event.endpoint_id, event.version_id), None)
            reason = _reason(event.reason or "its replicas kept dying", event.stderr)
            transition = partial(lifecycle.crashed, version_id=event.version_id, reason=reason, now=self._clock.now())
            await _patiently(partial(self._hosting.amend, event.endpoint_id, transition))
            self._enqueue(event.endpoint_id)

    def _has_failed(self, endpoint_id: str, version_id: str) -> bool:
        """Whether nothing of a version is left that could answer (a failed replacement leaves the old set)."""
        sets = [loaded for loaded in self._backend.status(endpoint_id) if loaded.version_id == version_id]
        return bool(sets) and all(loaded.failure is not None for loaded in sets)

    # --- one endpoint ----------------------------------------------------------------------------

    async def _settle(self, endpoint_id: str) -> None:
        """Steps until nothing is left to do."""
        try:
            while True:
                self._again.discard(endpoint_id)
                while not await self._step(endpoint_id):
                    continue
                if endpoint_id not in self._again:
                    return
        finally:
            self._busy.discard(endpoint_id)
            for waiter in self._waiting.pop(endpoint_id, []):
                if not waiter.done():
                    waiter.set_result(None)

    async def _step(self, endpoint_id: str) -> bool:
        """One step towards the recorded state; whether nothing is left to do."""
        endpoint = await _patiently(partial(self._hosting.load, endpoint_id))
        if endpoint is None or endpoint.host != self.host or not endpoint.status.active:
            await self._unload(endpoint_id)
            if endpoint is None:
                self._closed_at.pop(endpoint_id, None)
            return True
        if endpoint.status is EndpointStatus.DRAINING:
            await self._unload(endpoint_id)
            await self._amend(endpoint, partial(lifecycle.drained, generation=endpoint.generation))
            return False
        target = endpoint.pending or endpoint.deployment
        if target is None:
            await self._failed(endpoint, "it has no version to serve")
            return False
        starting = endpoint.status is EndpointStatus.STARTING
        if starting or endpoint.pending is not None or self._loaded.get((endpoint_id, target.version_id)) != target:
            await self._deploy(endpoint, target)
            return False
        await self._unload(endpoint_id, keep=target.version_id)
        return True

    async def _deploy(self, endpoint: Endpoint, target: Deployment) -> None:
        """Loads the target, records the outcome and, when it was not overtaken, opens the way to it."""
        served = await _patiently(partial(self._hosting.served_version, target.version_id))
        if served is None:
            await self._failed(endpoint, "the version is gone, or cannot be served")
            return
        try:
            path = await self._blobs.path(served.sha256)
            await self._backend.deploy(
                ReplicaSet(
                    endpoint_id=endpoint.id,
                    version_id=target.version_id,
                    weights_path=path,
                    architecture=served.architecture,
                    replicas=target.replicas,
                    config=target.config.serving(),
                    weights_sha256=served.sha256,
                )
            )
        except DomainError as error:
            await self._failed(endpoint, _reason(error.message, getattr(error, "stderr", ())))
            return
        except Exception:
            await self._failed(endpoint, "an internal error; the server's log has the details")
            raise
        self._loaded[endpoint.id, target.version_id] = target
        after = await self._amend(
            endpoint, partial(lifecycle.loaded, generation=endpoint.generation, deployment=target)
        )
        if after is not None and after.status is EndpointStatus.RUNNING and after.deployment == target:
            self._open(after, served)

    async def _failed(self, endpoint: Endpoint, reason: str) -> None:
        current = endpoint.deployment
        serving = current is not None and (endpoint.id, current.version_id) in self._loaded
        await self._amend(
            endpoint, partial(lifecycle.failed, generation=endpoint.generation, reason=reason, serving=serving)
        )

    async def _amend(self, endpoint: Endpoint, transition: Callable[..., Endpoint]) -> Endpoint | None:
        timed = partial(transition, now=self._clock.now())
        return await _patiently(partial(self._hosting.amend, endpoint.id, timed))

    async def _unload(self, endpoint_id: str, keep: str | None = None) -> None:
        """Retires every loaded version of an endpoint, except one."""
        if keep is None:
            self._close(endpoint_id)
        for version_id in {loaded.version_id for loaded in self._backend.status(endpoint_id)} - {keep}:
            await self._backend.retire(endpoint_id, version_id)
            self._loaded.pop((endpoint_id, version_id), None)

    def _open(self, endpoint: Endpoint, served: ServedVersion) -> None:
        """From here on requests reach this version; whatever served before gets no new ones."""
        if self._closed_at.get(endpoint.id, 0) > endpoint.generation:
            return
        route = Route(
            endpoint.id,
            endpoint.workspace_id,
            endpoint.name,
            served.version_id,
            served.version,
            served.architecture.inputs,
            served.architecture.outputs,
            endpoint.config,
            endpoint.generation,
        )
        self._routes[route.workspace_id, route.name] = route
        self._routes[route.workspace_id, route.endpoint_id] = route
        if self._watcher is not None:
            self._watcher.opened(route)

    def _close(self, endpoint_id: str) -> None:
        for place in [place for place, route in self._routes.items() if route.endpoint_id == endpoint_id]:
            del self._routes[place]
        if self._watcher is not None:
            self._watcher.closed(endpoint_id)


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats a call to the record until the database answers: what the replicas do must be recorded."""
    while True:
        try:
            return await call()
        except (Unavailable, Overloaded, DeadlineExceeded):
            await asyncio.sleep(RETRY_SECONDS)


def _reason(message: str, stderr: Sequence[str]) -> str:
    """What happened and the last lines of error output, in a bounded size."""
    return "\n".join((message, *stderr))[:MAX_REASON].replace("\x00", "\ufffd")
