"""One running server process, started by us or adopted: signalling it and waiting for its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess

import psutil

_POLL_SECONDS = 0.2


class ServerProcess:
    """A postmaster. `child` is set when this process started it and must collect its exit status."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._child = child
        self._process = psutil.Process(pid)  # remembers the start time, so a reused id is never signalled

    @property
    def alive(self) -> bool:
        """Whether the process runs; collects the exit status of an ended child."""
        if self._child is not None:
            return self._child.poll() is None
        try:
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    async def exited(self) -> None:
        """Return when the process has ended."""
        while self.alive:
            if not await self._wait_by_descriptor():
                await asyncio.sleep(_POLL_SECONDS)

    async def _wait_by_descriptor(self) -> bool:
        """Sleep in the event loop until the kernel reports the end; False where it has no such report."""
        if not hasattr(os, "pidfd_open"):
            return False
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return False
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return not self.alive

    async def stop(self, *, fast_limit: float) -> str:
        """End the server: fast, then immediate, then by force; says which of them it took."""
        steps = (("fast", signal.SIGINT, fast_limit), ("immediate", signal.SIGQUIT, 10.0))
        for name, number, limit in steps:
            self._signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.exited(), limit)
                return name
        self._signal(signal.SIGKILL)
        await self.exited()
        return "kill"

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._process.send_signal(number)
