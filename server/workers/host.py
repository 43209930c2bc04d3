"""The host's end: starts the web workers, tells them what they need to know, and starts those again that died.

The listening socket is bound once, by the host, and inherited by every worker; the host itself accepts nothing on it.
Workers are told of replica sets and routes in the order in which these change, and a set is ended only when no worker
has a request in it. Only processes that were started here may use the control socket.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from domain.control import DatabaseKind, HostControl
from domain.endpoints import EndpointOperator, Route
from server.logs import get_logger
from server.settings import Settings
from server.settings_sources import dumped
from server.supervision import Supervisor
from server.workers import messages
from server.workers.gathering import Gathering
from server.workers.messages import SOCKET_NAME, ToHost, ToWorker
from serving.pool import LocalServing
from serving.sharing import SharedSet

log = get_logger("axonml.workers")

PROGRAM: Final = "server.workers.program"
MAX_UNREAD: Final = 256 * 1024 * 1024
_CREDENTIALS: Final = struct.Struct("3i")


class WorkerEndedError(Exception):
    """A web worker ended although nobody had asked it to."""


class WorkerFailedError(Exception):
    """A web worker ended before it had served for the first time."""


class _Peer:
    """A worker that is connected."""

    def __init__(self, pid: int, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self._writer = writer

    def send(self, message: ToWorker) -> None:
        if self._writer.transport.get_write_buffer_size() > MAX_UNREAD:
            self._writer.transport.abort()  # it has not listened for very long; it ends, and is started again
        if not self._writer.is_closing():
            self._writer.write(messages.encode(message))


class WorkerPool:
    """`settings.server.workers` web processes on the socket `bound`.

    Create it before the first replica set is loaded. `attach` the operator, `open` the control socket, `start` the
    workers under a supervisor, wait until they are `ready`, and `stop` them before anything that they use.
    """

    def __init__(self, settings: Settings, data: Path, bound: socket.socket, serving: LocalServing) -> None:
        self._settings = settings
        self._data = data
        self._bound = bound
        self._serving = serving
        self._count = settings.server.workers
        self._peers: set[_Peer] = set()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._routes: dict[str, Route] = {}
        self._draining: dict[str, set[_Peer]] = {}
        self._changed = asyncio.Event()
        self._served: set[int] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self._gathering = Gathering()
        self._ever_ready = False
        self._failure: WorkerFailedError | None = None
        self._stopping = False
        serving.watched(self)

    # --- what the workers are told ---------------------------------------------------------------

    def attach(
        self,
        operator: EndpointOperator,
        control: HostControl,
        *,
        dsn: str,
        version: str,
        started_at: datetime,
        database: DatabaseKind,
    ) -> None:
        """What the workers ask, and what they are told first."""
        self._operator = operator
        self._control = control
        self._welcome = messages.Welcome(dumped(self._settings), dsn, version, operator.host, database, started_at)
        operator.watched(self)

    def changed(self, shared: SharedSet) -> None:
        """`SetWatcher`."""
        self._tell(messages.SetChanged(shared))

    async def withdrawn(self, set_id: str) -> None:
        """`SetWatcher`."""
        self._draining[set_id] = set(self._peers)
        self._tell(messages.SetWithdrawn(set_id))
        try:
            await self._until(lambda: not self._draining[set_id])
        finally:
            del self._draining[set_id]

    def opened(self, route: Route) -> None:
        """`RouteWatcher`."""
        self._routes[route.endpoint_id] = route
        self._tell(messages.RouteOpened(route))

    def closed(self, endpoint_id: str) -> None:
        """`RouteWatcher`."""
        self._routes.pop(endpoint_id, None)
        self._tell(messages.RouteClosed(endpoint_id))

    def _tell(self, message: ToWorker) -> None:
        for peer in self._peers:
            peer.send(message)

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._changed.clear()
            await self._changed.wait()

    # --- what the workers say --------------------------------------------------------------------

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listens on the control socket, which is the user's alone, for as long as the block runs."""
        path = self._data / SOCKET_NAME
        listening = _bound_privately(path)
        server = await asyncio.start_unix_server(self._met, sock=listening)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)
            for task in self._answers:
                task.cancel()
            if self._answers:
                await asyncio.wait(self._answers)

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pid, uid = _other_end(writer)
        if uid != os.geteuid() or pid not in {process.pid for process in self._processes.values()}:
            log.warning("refused a process at the control socket", pid=pid, uid=uid)
            writer.close()
            return
        peer = _Peer(pid, writer)
        peer.send(self._welcome)
        for shared in self._serving.shared():
            peer.send(messages.SetChanged(shared))
        for route in self._routes.values():
            peer.send(messages.RouteOpened(route))
        self._peers.add(peer)
        try:
            async for message in messages.from_worker(reader):
                self._take(peer, message)
        except messages.BrokenFrameError as problem:
            log.error("a web worker broke the protocol", worker=pid, problem=str(problem))  # noqa: TRY400 - nothing to trace
        finally:
            self._peers.discard(peer)
            self._served.discard(pid)
            for using in self._draining.values():
                using.discard(peer)
            self._changed.set()
            writer.close()

    def _take(self, peer: _Peer, message: ToHost) -> None:
        match message:
            case messages.Serving():
                log.info("web worker serves", worker=peer.pid)
                self._served.add(peer.pid)
                self._changed.set()
            case messages.Drained(set_id):
                self._draining.get(set_id, set()).discard(peer)
                self._changed.set()
            case messages.Silent(set_id, index):
                self._serving.end_silent(set_id, index)
            case messages.Woken(endpoint_id, serves, generation):
                self._operator.woken(endpoint_id, serves=serves, generation=generation)
            case messages.Forgotten(endpoint_id):
                self._operator.forget(endpoint_id)
            case messages.AskStatus(number):
                self._answer(self._status(peer, number))
            case messages.AskFigures(number):
                self._answer(self._figures(peer, number))
            case messages.OwnFigures(number, figures):
                self._gathering.answered(peer, number, figures)
            case messages.AskSettled(number, endpoint_id, seconds):
                self._answer(self._settled(peer, number, endpoint_id, seconds))

    def _answer(self, answering: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(answering, name="answer to a web worker")
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _status(self, peer: _Peer, number: int) -> None:
        peer.send(messages.Status(number, await self._control.status()))

    async def _figures(self, peer: _Peer, number: int) -> None:
        slots = {process.pid: slot for slot, process in self._processes.items()}
        asked = {slots[each.pid]: each for each in self._peers if each.pid in self._served and each.pid in slots}
        figures = (*await self._control.figures(), *await self._gathering.ask(asked))
        peer.send(messages.Figures(number, figures))

    async def _settled(self, peer: _Peer, number: int, endpoint_id: str, seconds: float) -> None:
        await self._operator.settled(endpoint_id, seconds)
        peer.send(messages.Settled(number))

    # --- their processes -------------------------------------------------------------------------

    def start(self, supervisor: Supervisor) -> None:
        """Hands every worker to the supervisor, which starts it again, with backoff, whenever it ends."""
        for number in range(1, self._count + 1):
            supervisor.keep(f"web worker {number}", partial(self._run, number))

    async def ready(self) -> None:
        """Waits until every worker serves, or all are to stop. Raises WorkerFailedError when one ends before it has."""
        await self._until(lambda: self._stopping or self._failure is not None or len(self._served) == self._count)
        if self._failure is not None:
            raise self._failure
        self._ever_ready = True

    async def _run(self, number: int) -> None:
        """One worker from its start to its end. Raises WorkerEndedError unless the host is stopping."""
        if self._stopping:
            await asyncio.get_running_loop().create_future()
        descriptor = self._bound.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            PROGRAM,
            str(descriptor),
            str(self._data),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(descriptor,),
            start_new_session=True,  # Ctrl-C reaches the host alone, which then asks the workers to stop
            env={**os.environ, "PYTHONPATH": _import_path()},
        )
        self._processes[number] = process
        if self._stopping:  # while the process was on its way
            process.terminate()
        log.info("web worker started", worker=process.pid)
        served = False
        try:
            ended = asyncio.ensure_future(process.wait())
            serving = asyncio.ensure_future(self._until(lambda: process.pid in self._served))
            try:
                await asyncio.wait((ended, serving), return_when=asyncio.FIRST_COMPLETED)
                served = serving.done()
                await ended
            finally:
                serving.cancel()
                ended.cancel()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            del self._processes[number]
            self._changed.set()
        if self._stopping:
            await asyncio.get_running_loop().create_future()
        reason = f"process {process.pid} {_how(process.returncode)}"
        if not served and not self._ever_ready:
            self._failure = WorkerFailedError(f"a web worker could not start ({reason}); the log has the reason")
            self._changed.set()
        # It may have changed endpoints and not have said so any more.
        await self._operator.sweep()
        raise WorkerEndedError(reason)

    async def stop(self, seconds: float) -> None:
        """Asks every worker to finish what is in flight and end; after `seconds` they are ended."""
        self._stopping = True
        self._changed.set()
        self._tell(messages.Stop())
        connected = {peer.pid for peer in self._peers}
        for process in self._processes.values():
            if process.pid not in connected:
                process.terminate()  # still starting
        try:
            async with asyncio.timeout(seconds):
                await self._until(lambda: not self._processes)
        except TimeoutError:
            for process in list(self._processes.values()):
                log.error("a web worker did not stop in time", worker=process.pid, seconds=seconds)  # noqa: TRY400 - as above
                process.kill()
            await self._until(lambda: not self._processes)


def _bound_privately(path: Path) -> socket.socket:
    """A Unix socket at `path`, of any length, that only this user may connect to."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        made.bind(f"/proc/self/fd/{directory}/{path.name}")  # socket addresses end at 107 bytes
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)  # before it listens, so nobody can have connected
    except BaseException:
        made.close()
        raise
    finally:
        os.close(directory)
    made.setblocking(False)
    return made


def _other_end(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """Process and user at the other end, as the kernel has them."""
    connected = writer.get_extra_info("socket")
    pid, uid, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def _import_path() -> str:
    """Where a worker finds the very code that the host runs."""
    ours = str(Path(__file__).resolve().parents[2])
    given = os.environ.get("PYTHONPATH")
    return ours if not given else f"{ours}{os.pathsep}{given}"


def _how(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"ended with status {returncode}"
