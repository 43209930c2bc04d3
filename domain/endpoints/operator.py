"""Makes the replicas follow the recorded state of the endpoints of this server.

For every endpoint at most one task is at work. It reads the recorded state, does one step towards it, records the
outcome and looks again until nothing is left to do; so whatever order changes come in, replicas and record end up
consistent, also after a restart of the server. The routes kept here are the only way to a prediction: one appears
when its version is loaded and disappears before its version is retired. Nothing here is told to callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from domain.clock import Clock
from domain.endpoints import lifecycle
from domain.endpoints.entities import (
    Deployment,
    Endpoint,
    EndpointStatus,
    EndpointTraffic,
    Route,
    RoutedVersion,
    ServedVersion,
)
from domain.endpoints.ports import EndpointHosting, Listeners, RouteWatcher
from domain.endpoints.warm_ups import WarmUpReport
from domain.errors import DeadlineExceeded, DomainError, Overloaded, Unavailable
from domain.models.ports import BlobStore
from domain.serving import ReplicaSet, ReplicaState, ServingBackend, ServingConfig

T = TypeVar("T")

RETRY_SECONDS = 1.0
MAX_REASON = 4_000
BEAT_SECONDS = 5.0
LEAVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A version as it is loaded."""

    served: ServedVersion
    replicas: int
    config: ServingConfig

    def fits(self, wanted: Deployment) -> bool:
        return self.replicas == wanted.replicas and self.config == wanted.config.serving()


class EndpointOperator:
    """Runs the endpoints whose `host` is this server. Start `run` once, in the process that owns the backend."""

    def __init__(
        self,
        *,
        hosting: EndpointHosting,
        backend: ServingBackend,
        blobs: BlobStore,
        clock: Clock,
        host: str,
        listeners: Listeners | None = None,
    ) -> None:
        self._hosting = hosting
        self._backend = backend
        self._blobs = blobs
        self._clock = clock
        self.host = host
        self._listeners = listeners
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._closed_at: dict[str, int] = {}
        self._loaded: dict[tuple[str, str], _Loaded] = {}
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
        try:
            async with asyncio.TaskGroup() as tasks:
                await self.restore()
                tasks.create_task(self._beat(), name="endpoints: sign of life")
                tasks.create_task(self._observe(), name="endpoints: replica events")
                while True:
                    endpoint_id = await self._queue.get()
                    tasks.create_task(self._settle(endpoint_id), name=f"endpoint {endpoint_id}")
        finally:
            with suppress(Unavailable, Overloaded, DeadlineExceeded, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self._hosting.leave(self.host)

    async def restore(self) -> None:
        """Marks what was RUNNING here and is not loaded as STARTING, and takes up all unfinished work.

        A server does so before it answers anybody, so that nothing is shown as running that does not run yet.
        """
        await self._hosting.beat(self.host)
        for endpoint in await self._hosting.of_host(self.host):
            if not any((endpoint.id, share.version_id) in self._loaded for share in endpoint.traffic):
                await self._hosting.amend(endpoint.id, partial(lifecycle.restarted, now=self._clock.now()))
            self._enqueue(endpoint.id)

    async def sweep(self) -> None:
        """Looks at every active endpoint: a process that changed some may have ended before it said so."""
        for endpoint in await _patiently(partial(self._hosting.of_host, self.host)):
            self._enqueue(endpoint.id)

    def reconsider(self) -> None:
        """Looks at everything that is loaded: whether it is still this server's."""
        for endpoint_id in {endpoint_id for endpoint_id, _ in self._loaded}:
            self._enqueue(endpoint_id)

    async def _beat(self) -> None:
        """Tells the other servers that this one is there. After a silence they may have taken endpoints over."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if not await _patiently(partial(self._hosting.beat, self.host)):
                self.reconsider()

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
            self._narrow(event.endpoint_id, event.version_id)
            reason = _reason(event.reason or "its replicas kept dying", event.stderr)
            transition = partial(
                lifecycle.crashed,
                host=self.host,
                version_id=event.version_id,
                reason=reason,
                now=self._clock.now(),
            )
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
            done = False
            while not done or endpoint_id in self._again:
                self._again.discard(endpoint_id)
                done = await self._step(endpoint_id)
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
        failed: set[str] = set()
        if endpoint.pending is None:
            failed = {share.version_id for share in endpoint.traffic if share.failure}
        changing = endpoint.status is EndpointStatus.STARTING or endpoint.pending is not None
        if changing or self._missing(endpoint, target, but=failed):
            await self._deploy(endpoint, target, but=failed)
            return False
        if not await self._listens(endpoint):
            return False
        self._open(endpoint, target)
        await self._unload(endpoint_id, keep={share.version_id for share in target.traffic} - failed)
        return True

    def _missing(self, endpoint: Endpoint, target: Deployment, *, but: AbstractSet[str]) -> list[EndpointTraffic]:
        """What of the target is not loaded as it should be, with what is not loaded at all first."""
        missing = []
        for share in target.traffic:
            loaded = self._loaded.get((endpoint.id, share.version_id))
            if share.version_id not in but and (loaded is None or not loaded.fits(target)):
                missing.append((loaded is not None, share))
        return [share for _, share in sorted(missing, key=lambda each: each[0])]

    async def _deploy(self, endpoint: Endpoint, target: Deployment, *, but: AbstractSet[str]) -> None:
        """Loads what is missing, records the outcome and, when it was not overtaken, opens the way to it."""
        failures = {share.version_id: share.failure for share in endpoint.traffic if share.version_id in but}
        for share in self._missing(endpoint, target, but=but):
            if endpoint.id in self._again:
                return  # the record has changed: what is loaded so far may no longer be wanted
            problem = await self._load(endpoint, share.version_id, target)
            if problem is not None and (endpoint.pending is not None or len(target.traffic) == 1):
                await self._failed(endpoint, problem)
                return
            if problem is not None:
                failures[share.version_id] = problem
        reasons = {version_id: reason or "" for version_id, reason in failures.items()}
        if len(reasons) == len(target.traffic):
            await self._failed(endpoint, "\n".join(reasons.values())[:MAX_REASON])
            return
        if not await self._listens(endpoint):
            return
        after = await self._amend(
            endpoint,
            partial(lifecycle.loaded, generation=endpoint.generation, deployment=target, failures=reasons),
        )
        if after is not None and after.status is EndpointStatus.RUNNING and after.deployment == target:
            self._open(after, target)

    async def _load(self, endpoint: Endpoint, version_id: str, target: Deployment) -> str | None:
        """Loads one version as the target says; what is wrong with it, if anything."""
        served = await _patiently(partial(self._hosting.served_version, version_id))
        if served is None:
            return "the version is gone, or cannot be served"
        config = target.config.serving()
        try:
            path = await self._blobs.path(served.sha256)
            measured = await self._backend.deploy(
                ReplicaSet(
                    endpoint_id=endpoint.id,
                    version_id=version_id,
                    weights_path=path,
                    architecture=served.architecture,
                    replicas=target.replicas,
                    config=config,
                    weights_sha256=served.sha256,
                )
            )
        except DomainError as error:
            return _reason(error.message, getattr(error, "stderr", ()))
        except Exception:
            await self._failed(endpoint, "an internal error; the server's log has the details")
            raise
        report = WarmUpReport(version_id, measured, config.max_batch_rows, config.device, self._clock.now())
        await _patiently(partial(self._hosting.warmed, endpoint.id, report))
        self._loaded[endpoint.id, version_id] = _Loaded(served, target.replicas, config)
        return None

    async def _listens(self, endpoint: Endpoint) -> bool:
        """Has its own port answer, when it has one; whether it does. A failure is recorded."""
        if self._listeners is None:
            return True
        try:
            if endpoint.port is None:
                await self._listeners.close(endpoint.id)
            else:
                await self._listeners.open(endpoint.id, endpoint.name, endpoint.port)
        except DomainError as error:
            await self._failed(endpoint, error.message)
            return False
        return True

    async def _failed(self, endpoint: Endpoint, reason: str) -> None:
        serving = any((endpoint.id, share.version_id) in self._loaded for share in endpoint.traffic)
        await self._amend(
            endpoint, partial(lifecycle.failed, generation=endpoint.generation, reason=reason, serving=serving)
        )

    async def _amend(self, endpoint: Endpoint, transition: Callable[..., Endpoint]) -> Endpoint | None:
        timed = partial(transition, now=self._clock.now())
        return await _patiently(partial(self._hosting.amend, endpoint.id, timed))

    async def _unload(self, endpoint_id: str, keep: AbstractSet[str] = frozenset()) -> None:
        """Retires every loaded version of an endpoint, except these."""
        if not keep:
            self._close(endpoint_id)
        for version_id in {loaded.version_id for loaded in self._backend.status(endpoint_id)} - keep:
            await self._backend.retire(endpoint_id, version_id)
            self._loaded.pop((endpoint_id, version_id), None)
        if not keep and self._listeners is not None:
            await self._listeners.close(endpoint_id)

    def _open(self, endpoint: Endpoint, target: Deployment) -> None:
        """From here on requests reach these versions; whatever served before gets no new ones."""
        if self._closed_at.get(endpoint.id, 0) > endpoint.generation:
            return
        versions = []
        for share in target.traffic:
            loaded = self._loaded.get((endpoint.id, share.version_id))
            if loaded is not None:
                served = loaded.served
                inputs, outputs = served.architecture.inputs, served.architecture.outputs
                versions.append(RoutedVersion(share.version_id, served.version, share.weight, inputs, outputs))
        if versions:
            self._lead(
                Route(
                    endpoint.id,
                    endpoint.workspace_id,
                    endpoint.name,
                    tuple(versions),
                    endpoint.config,
                    endpoint.generation,
                )
            )

    def _lead(self, route: Route) -> None:
        if self._routes.get((route.workspace_id, route.endpoint_id)) == route:
            return
        self._routes[route.workspace_id, route.name] = route
        self._routes[route.workspace_id, route.endpoint_id] = route
        if self._watcher is not None:
            self._watcher.opened(route)

    def _narrow(self, endpoint_id: str, version_id: str) -> None:
        """A version has failed: its requests go to the others, at once."""
        for route in {route for route in self._routes.values() if route.endpoint_id == endpoint_id}:
            left = tuple(version for version in route.versions if version.version_id != version_id)
            if left:
                self._lead(replace(route, versions=left))

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
