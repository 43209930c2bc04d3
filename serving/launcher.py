"""The host's side of the forkserver: starts it, restarts it, asks it for replicas, ends both.

Everything here is event driven (descriptors on the loop). It must never fork this process for a replica,
and never signal a process by a number that may have been given to another: pidfds only.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from domain.errors import BadUserInput
from domain.serving import ReplicaFailed
from serving import control

_START_SECONDS: Final = 120.0
_STATUS_SECONDS: Final = 0.2
_STDERR_LINES: Final = 40
_LINE_BYTES: Final = 2000
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")

logger = logging.getLogger(__name__)

_Forked = tuple[int, int, "asyncio.Future[int | None]"]


class ForkServerEnded(ReplicaFailed):
    """The forkserver died while it was asked for a replica."""


class OutputTail:
    """The last lines a child wrote, read from a pipe as they come. Owns the reading end."""

    def __init__(self, fd: int, name: str) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._partial = b""
        self._lines: deque[str] = deque(maxlen=_STDERR_LINES)
        self._loop.add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._fd)
            return
        *whole, self._partial = (self._partial + data).split(b"\n")
        for line in whole:
            self._add(line)
        if len(self._partial) > _LINE_BYTES:
            self._add(self._partial)
            self._partial = b""

    def _add(self, line: bytes) -> None:
        text = line[:_LINE_BYTES].decode(errors="replace")
        self._lines.append(text)
        logger.info("%s: %s", self._name, text)

    def lines(self) -> tuple[str, ...]:
        """What is known so far, oldest first, including what just arrived."""
        if self._fd >= 0:
            self._read()
        rest = (self._partial.decode(errors="replace"),) if self._partial else ()
        return (*self._lines, *rest)

    def close(self) -> None:
        """Stop reading."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class ReplicaProcess:
    """A forked replica, as the host sees it: its pid, its lifeline, its output, its end."""

    def __init__(
        self, pid: int, pidfd: int, lifeline: socket.socket, tail: OutputTail, status: asyncio.Future[int | None]
    ) -> None:
        self.pid = pid
        self.ended = asyncio.Event()
        self.tail = tail
        self.sentence: str | None = None  # why we ended it, when we did
        self._pidfd = pidfd
        self._lifeline = lifeline
        self._status = status
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pidfd, self._on_end)

    def _on_end(self) -> None:
        self._loop.remove_reader(self._pidfd)
        with suppress(ChildProcessError):  # ours only if the forkserver died and we inherit its orphans
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        self.ended.set()

    async def load(self, request: control.Load) -> control.Ready:
        """Have it load a model. Raises BadUserInput (the model is at fault) or ReplicaFailed."""
        try:
            await self._loop.sock_sendall(self._lifeline, control.pack_control(request))
            answer = await self._answer()
        except OSError:
            answer = None
        if isinstance(answer, control.Ready):
            return answer
        if answer is None:
            raise ReplicaFailed(f"a replica ended while loading: {await self.reason()}", stderr=self.tail.lines())
        if answer.code == BadUserInput.code:
            raise BadUserInput(answer.message, field=answer.field)
        raise ReplicaFailed(f"the model could not be loaded: {answer.message}", stderr=self.tail.lines())

    async def _answer(self) -> control.Ready | control.Refused | None:
        reader = control.ControlReader()
        while data := await self._loop.sock_recv(self._lifeline, 65536):
            for payload in reader.feed(data):
                answer: control.Ready | control.Refused = msgspec.msgpack.decode(payload, type=control.FromReplica)
                return answer
        return None

    async def reason(self) -> str:
        """How it ended, in words; waits for the end."""
        await self.ended.wait()
        if self.sentence is not None:
            return self.sentence
        status: int | None = None
        with suppress(TimeoutError):
            status = await asyncio.wait_for(asyncio.shield(self._status), _STATUS_SECONDS)
        if status is None:
            return "it ended for an unknown reason"
        if status == control.DEVICE_LOST:
            return "its GPU reported an error"
        if status == control.HANGING:
            return "one forward ran for too long"
        if status < 0:
            with suppress(ValueError):
                return f"it was ended by {signal.Signals(-status).name}"
        return f"it ended with status {status}"

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal it, if it still runs."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def drain(self, seconds: float) -> None:
        """Let it finish what it has; whether it does shows in `ended`."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self._loop.sock_sendall(self._lifeline, control.pack_control(control.Drain()))
                await self.ended.wait()

    async def close(self) -> None:
        """Make sure that it is gone, and let go of its descriptors."""
        self.kill()
        try:
            await self.ended.wait()
        finally:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._lifeline.close()
            self.tail.close()


class ForkServer:
    """The forkserver as an object: `spawn` starts it when needed; `keep` restarts it when it dies."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._starting = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._channel: socket.socket | None = None
        self._tail: OutputTail | None = None
        self._up: asyncio.Future[None] | None = None
        self._died = asyncio.Event()
        self._died.set()
        self._stopped = False
        self._tokens = itertools.count(1)
        self._spawning: dict[int, asyncio.Future[_Forked]] = {}
        self._statuses: dict[int, asyncio.Future[int | None]] = {}

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and not self._died.is_set() else None

    async def start(self) -> None:
        """Start it if it does not run. Raises ReplicaFailed with what it wrote."""
        async with self._starting:
            if self._stopped:
                raise ReplicaFailed("the server is shutting down")
            if not self._died.is_set():
                return
            self._release()
            self._launch()
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await self._wait_up()
            except TimeoutError:
                self._kill()
                raise ReplicaFailed(f"the forkserver was not ready within {_START_SECONDS:.0f} s") from None

    def _launch(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, fixed arguments
                [sys.executable, "-P", "-m", "serving.forkserver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                pass_fds=(theirs.fileno(),),
                env=self._environment(),
                cwd="/",
            )
        finally:
            theirs.close()
            os.close(write)
        loop = asyncio.get_running_loop()
        self._tail = OutputTail(read, "forkserver")
        self._pidfd = os.pidfd_open(self._process.pid)
        self._channel = ours
        self._died.clear()
        self._up = loop.create_future()
        ours.setblocking(False)
        loop.add_reader(ours, self._on_message)
        loop.add_reader(self._pidfd, self._on_death)

    def _environment(self) -> dict[str, str]:
        """No secret of the host's reaches a process that runs models; thread pools are bounded."""
        kept = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        cores = str(self._cores)
        return kept | {
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": cores,
            "MKL_NUM_THREADS": cores,
            "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads must not spin on cores the web process needs
            "MALLOC_ARENA_MAX": "2",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the order in which the driver counts them
        }

    async def _wait_up(self) -> None:
        if self._up is not None:
            await self._up

    def _on_message(self) -> None:
        if self._channel is None:
            return
        try:
            data, fds, _flags, _address = socket.recv_fds(self._channel, control.MAX_FORK_MESSAGE, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            asyncio.get_running_loop().remove_reader(self._channel)  # its pidfd tells the rest
            return
        message = msgspec.msgpack.decode(data, type=control.FromForkserver)
        if isinstance(message, control.Up):
            if self._up is not None and not self._up.done():
                self._up.set_result(None)
        elif isinstance(message, control.Exited):
            status = self._statuses.pop(message.pid, None)
            if status is not None and not status.done():
                status.set_result(message.status)
        else:
            self._on_spawned(message, fds)

    def _on_spawned(self, message: control.Spawned | control.NotSpawned, fds: list[int]) -> None:
        waiting = self._spawning.pop(message.token, None)
        if isinstance(message, control.Spawned):
            status: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
            self._statuses[message.pid] = status
            if waiting is not None and not waiting.done():
                waiting.set_result((message.pid, fds[0], status))
            else:
                os.close(fds[0])  # whoever asked has gone; so has the lifeline, and with it the replica
        elif waiting is not None and not waiting.done():
            waiting.set_exception(ReplicaFailed(f"no process for a replica: {message.message}"))

    def _on_death(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        if self._process is not None:
            self._process.wait()
        lines = self._tail.lines() if self._tail is not None else ()
        error = ForkServerEnded("the forkserver ended", stderr=lines)
        for waiting in (self._up, *self._spawning.values()):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
        for status in self._statuses.values():
            if not status.done():
                status.set_result(None)
        self._spawning.clear()
        self._statuses.clear()
        self._died.set()

    async def spawn(self, name: str) -> ReplicaProcess:
        """Fork a replica. Raises ReplicaFailed when that is impossible now."""
        try:
            return await self._spawn(name)
        except ForkServerEnded:
            return await self._spawn(name)  # it died before we knew; the next one is fresh

    async def _spawn(self, name: str) -> ReplicaProcess:
        await self.start()
        if self._channel is None:
            raise ForkServerEnded("the forkserver ended")
        ours, theirs = socket.socketpair()
        read, write = os.pipe2(os.O_CLOEXEC)
        ours.setblocking(False)
        tail = OutputTail(read, name)
        token = next(self._tokens)
        waiting: asyncio.Future[_Forked] = asyncio.get_running_loop().create_future()
        self._spawning[token] = waiting
        try:
            request = msgspec.msgpack.encode(control.Spawn(token))
            socket.send_fds(self._channel, [request], [theirs.fileno(), write])
            pid, pidfd, status = await waiting
        except BaseException as error:
            ours.close()
            tail.close()
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                os.close(waiting.result()[1])  # cancelled between the answer and this line
            if isinstance(error, OSError):
                await self._died.wait()
                raise ForkServerEnded(f"the forkserver does not answer: {error}") from None
            raise
        finally:
            self._spawning.pop(token, None)
            theirs.close()
            os.close(write)
        return ReplicaProcess(pid, pidfd, ours, tail, status)

    async def keep(self) -> None:
        """Restart it whenever it dies, with backoff, until cancelled."""
        delay = 0.1
        while True:
            await self._died.wait()
            try:
                await self.start()
                delay = 0.1
            except ReplicaFailed as error:
                logger.error("%s: %s", error.message, " | ".join(error.stderr[-3:]))  # noqa: TRY400
                await asyncio.sleep(delay)
                delay = min(10.0, delay * 2)

    def _kill(self) -> None:
        if self._process is not None and not self._died.is_set():
            self._process.kill()

    def _release(self) -> None:
        """Let go of the descriptors of one that has died."""
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None
        if self._tail is not None:
            self._tail.close()
            self._tail = None
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    async def stop(self) -> None:
        """End it, for good: it has nothing to lose."""
        self._stopped = True
        self._kill()
        await self._died.wait()
        self._release()
