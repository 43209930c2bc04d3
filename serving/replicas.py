"""One replica set at work: its slots, who gets the next request, and what happens when a replica dies.

A slot is a place for one replica process; it is refilled when the process dies, with growing pauses, until
too many deaths in a short time end the whole set. Every task started here is owned by the set and ended
with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from domain.errors import BadUserInput, DomainError
from domain.serving import (
    ReplicaEvent,
    ReplicaFailed,
    ReplicaSet,
    ReplicaState,
    ReplicaStatus,
    SetStatus,
    WarmUp,
)
from domain.tensors import Array
from serving import control, memory
from serving.connection import ReplicaConnection, ReplicaGoneError, connect
from serving.dispatch import Answer, Dispatch, Lane
from serving.launcher import ForkServer, ReplicaProcess
from serving.sharing import SetWatcher, SharedReplica, SharedSet

MAX_DEATHS: Final = 5
DEATH_WINDOW_SECONDS: Final = 60.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
_LOAD_SECONDS: Final = 600.0
_END_SECONDS: Final = 5.0
HANG_MS = 30_000
"""A forward that runs for longer, with somebody having given up on it, ends its replica."""

logger = logging.getLogger(__name__)


class _Slot:
    """A place for one replica. `connection` is set exactly while it takes requests."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.state = ReplicaState.STARTING
        self.process: ReplicaProcess | None = None
        self.connection: ReplicaConnection | None = None
        self.path: Path | None = None
        self.restarts = 0
        self.reason: str | None = None

    def status(self) -> ReplicaStatus:
        pid = self.process.pid if self.process is not None else None
        queued = self.connection.load if self.connection is not None else 0
        return ReplicaStatus(self.index, self.state, pid, self.restarts, queued, self.reason)


class RunningSet:
    """The replicas of one `ReplicaSet`. `start` once; then `predict`; `stop` ends it for good."""

    def __init__(
        self,
        spec: ReplicaSet,
        *,
        threads: int,
        run_dir: Path,
        forkserver: ForkServer,
        report: Callable[[ReplicaEvent], None],
        watcher: SetWatcher | None = None,
    ) -> None:
        self.set_id = uuid.uuid4().hex
        self.spec = spec
        self._threads = threads
        self._run_dir = run_dir
        self._forkserver = forkserver
        self._report = report
        self._watcher = watcher
        self._current = False
        self._slots = [_Slot(index) for index in range(spec.replicas)]
        self._tasks: list[asyncio.Task[None]] = []
        self._deaths: deque[float] = deque()
        self._closing = False
        self._warm_up: WarmUp | None = None
        self.dispatch = Dispatch(
            spec.config.max_queue_rows, self._lanes, self._end_silent, name=f"endpoint {spec.endpoint_id}"
        )

    @property
    def failure(self) -> ReplicaFailed | None:
        """Why it takes no requests any more; None while it does."""
        return self.dispatch.failure

    def _lanes(self) -> Iterator[Lane]:
        return ((slot.index, slot.connection) for slot in self._slots if slot.connection is not None)

    # --- starting --------------------------------------------------------------------------------

    async def start(self) -> WarmUp:
        """Load every replica. Raises BadUserInput or ReplicaFailed, with nothing left running."""
        reports: list[control.Ready] = []
        try:
            # The first alone: it checks the digest, fills the page cache and finds what is wrong.
            reports.append(await self._fill(self._slots[0], verify=True))
            if len(self._slots) > 1:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._fill(slot)) for slot in self._slots[1:]]
                reports.extend(task.result() for task in tasks)
        except BaseException as error:
            await self._empty_all()
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from None
            raise
        self._warm_up = WarmUp(
            load_ms=max(r.load_ms for r in reports),
            batch_one_ms=max(r.batch_one_ms for r in reports),
            batch_max_ms=max(r.batch_max_ms for r in reports),
            resident_bytes=max(r.resident_bytes for r in reports),
            private_bytes=max(r.private_bytes for r in reports),
            device_bytes=max(r.device_bytes for r in reports),
            threads=self._threads,
            parameters=self.spec.architecture.parameter_count,
        )
        for slot in self._slots:
            task = asyncio.create_task(self._keep(slot), name=f"replica {self.spec.endpoint_id} {slot.index}")
            task.add_done_callback(self._on_keeper_done)
            self._tasks.append(task)
        return self._warm_up

    async def _fill(self, slot: _Slot, *, verify: bool = False) -> control.Ready:
        """Start a process in a slot, load the model, connect."""
        self._set_state(slot, ReplicaState.STARTING)
        config = self.spec.config
        process = await self._forkserver.spawn(f"replica {self.spec.endpoint_id}/{slot.index}")
        slot.process = process
        if self._closing:  # stopped while the process was on its way
            raise ReplicaFailed("the server is shutting down")
        path = self._run_dir / f"{uuid.uuid4().hex}.sock"
        request = control.Load(
            replica=slot.index,
            architecture=self.spec.architecture.to_text(),
            weights_path=self.spec.weights_path,
            weights_sha256=self.spec.weights_sha256 if verify else None,
            socket_path=str(path),
            threads=self._threads,
            max_batch_rows=config.max_batch_rows,
            max_queue_rows=config.max_queue_rows,
            queue_delay_us=config.queue_delay_us,
            hang_ms=max(HANG_MS, config.timeout_ms),
            measure=self._warm_up is None,
            device=config.device,
        )
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                ready = await process.load(request)
                self._refuse_oversized(process.pid)
                slot.connection = await connect(path, lambda: self._on_lost(slot, process))
        except TimeoutError:
            raise ReplicaFailed(f"not loaded within {_LOAD_SECONDS:.0f} s", stderr=process.tail.lines()) from None
        except (OSError, ReplicaGoneError):
            process.kill()
            raise ReplicaFailed(f"a replica ended: {await process.reason()}", stderr=process.tail.lines()) from None
        finally:
            if self._watcher is None or slot.connection is None:
                path.unlink(missing_ok=True)  # nobody else needs the name
            else:
                slot.path = path
        self._set_state(slot, ReplicaState.READY)
        return ready

    @property
    def limited(self) -> bool:
        """Whether its replicas may hold so much memory only."""
        return self.spec.config.max_memory_bytes > 0

    def _refuse_oversized(self, pid: int) -> None:
        limit = self.spec.config.max_memory_bytes
        if self._warm_up is None and limit and (held := memory.held(pid, limit)) > limit:
            raise BadUserInput(
                f"a replica holds {held} bytes once it is warm; {limit} are allowed", field="max_memory_bytes"
            )

    def end_oversized(self) -> None:
        """End replicas that hold more memory than they may; others take their place."""
        limit = self.spec.config.max_memory_bytes
        for slot in self._slots:
            if limit and slot.process is not None and (held := memory.held(slot.process.pid, limit)) > limit:
                slot.process.sentence = f"it held {held} bytes of memory; {limit} are allowed (max_memory_bytes)"
                logger.warning("replica %s/%s: %s", self.spec.endpoint_id, slot.index, slot.process.sentence)
                slot.process.kill()

    def _on_lost(self, slot: _Slot, process: ReplicaProcess) -> None:
        """The connection ended: the replica is dead, or as good as dead."""
        if slot.process is process:
            slot.connection = None
            self._notify()
        process.kill()

    # --- keeping ---------------------------------------------------------------------------------

    async def _keep(self, slot: _Slot) -> None:
        """Refill the slot whenever its process dies, until cancelled or the set has failed."""
        try:
            while slot.process is not None:
                reason = await slot.process.reason()
                if self._closing:
                    return
                stderr = slot.process.tail.lines()
                while not self._bury(slot, reason, stderr):
                    await self._empty(slot)
                    await asyncio.sleep(self._pause())
                    slot.restarts += 1
                    try:
                        await self._fill(slot)
                        break
                    except DomainError as error:
                        reason = error.message
                        stderr = error.stderr if isinstance(error, ReplicaFailed) else ()
                else:
                    return
        finally:
            await self._empty(slot)

    def _bury(self, slot: _Slot, reason: str, stderr: tuple[str, ...]) -> bool:
        """Record a death; whether it was one too many."""
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - DEATH_WINDOW_SECONDS:
            self._deaths.popleft()
        slot.reason = reason
        self._set_state(slot, ReplicaState.CRASHED, reason, stderr)
        if len(self._deaths) <= MAX_DEATHS:
            return False
        self._fail(slot, f"{len(self._deaths)} replica deaths within a minute; the last: {reason}", stderr)
        return True

    def _pause(self) -> float:
        """Nothing after the first two deaths within a minute, then 0.1 s doubling to 10 s."""
        count = len(self._deaths)
        return 0.0 if count <= 2 else float(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (count - 3)))

    def _fail(self, slot: _Slot, reason: str, stderr: tuple[str, ...]) -> None:
        self.dispatch.failure = ReplicaFailed(reason, stderr=stderr)
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        for other in self._slots:
            other.state = ReplicaState.FAILED
        self._set_state(slot, ReplicaState.FAILED, reason, stderr)

    def _on_keeper_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a replica's supervisor failed", exc_info=error)
            if self.failure is None:
                self._fail(self._slots[self._tasks.index(task)], f"{type(error).__name__}: {error}", ())

    def _set_state(
        self, slot: _Slot, state: ReplicaState, reason: str | None = None, stderr: tuple[str, ...] = ()
    ) -> None:
        slot.state = state
        self._report(ReplicaEvent(self.spec.endpoint_id, self.spec.version_id, slot.index, state, reason, stderr))
        self._notify()

    def _notify(self) -> None:
        """Wake everybody who waits for a replica, or for the end, also in other processes."""
        self.dispatch.notify()
        self._share()

    def became_current(self) -> None:
        """From here on it takes the requests of its endpoint and version."""
        self._current = True
        self._share()

    def _share(self) -> None:
        if self._watcher is not None and self._current and not self._closing:
            self._watcher.changed(self.shared())

    def shared(self) -> SharedSet:
        """As web workers need to know it."""
        failure = self.failure
        return SharedSet(
            self.set_id,
            self.spec.endpoint_id,
            self.spec.version_id,
            self.spec.architecture.to_text(),
            self.spec.config,
            tuple(
                SharedReplica(slot.index, str(slot.path))
                for slot in self._slots
                if slot.connection is not None and slot.path is not None
            ),
            failure.message if failure else None,
            failure.stderr if failure else (),
        )

    def end_silent(self, index: int) -> None:
        """Another process found that a replica answers nobody any more."""
        self._end_silent(index)

    async def predict(
        self, inputs: Mapping[str, Array], rows: int, deadline: float, outputs: tuple[str, ...] | None
    ) -> Answer:
        """As `Dispatch.predict`."""
        return await self.dispatch.predict(inputs, rows, deadline, outputs)

    def _end_silent(self, index: int) -> None:
        """End a replica whose listening thread answers nobody any more."""
        for slot in self._slots:
            if slot.index == index and slot.connection is not None:
                slot.connection.close()

    # --- ending ----------------------------------------------------------------------------------

    def status(self) -> SetStatus | None:
        """None while it loads for the first time."""
        if self._warm_up is None:
            return None
        failure = self.failure
        return SetStatus(
            self.spec.version_id,
            tuple(slot.status() for slot in self._slots),
            self._warm_up,
            failure.message if failure else None,
            failure.stderr if failure else (),
        )

    async def stop(self, *, drain_seconds: float) -> None:
        """Take no more requests, let those accepted finish for `drain_seconds`, end every process."""
        self._closing = self.dispatch.closing = True
        if self.failure is None:
            for slot in self._slots:
                self._set_state(slot, ReplicaState.DRAINING)
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await asyncio.gather(self.dispatch.idle.wait(), self._withdrawn())
        draining = [slot.process.drain(_END_SECONDS) for slot in self._slots if slot.connection and slot.process]
        await asyncio.gather(*draining)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._empty_all()
        if self.failure is None:
            for slot in self._slots:
                self._set_state(slot, ReplicaState.STOPPED)

    async def _withdrawn(self) -> None:
        if self._watcher is not None and self._current:
            await self._watcher.withdrawn(self.set_id)

    def abort(self) -> None:
        """End the processes of a set that is still starting; `start` then raises."""
        self._closing = self.dispatch.closing = True
        for slot in self._slots:
            if slot.process is not None:
                slot.process.kill()

    async def _empty(self, slot: _Slot) -> None:
        process, slot.process = slot.process, None
        connection, slot.connection = slot.connection, None
        path, slot.path = slot.path, None
        if connection is not None:
            connection.close()
        if path is not None:
            path.unlink(missing_ok=True)
        if process is not None:
            await process.close()

    async def _empty_all(self) -> None:
        for slot in self._slots:
            await self._empty(slot)
