"""Owned background tasks: started by one supervisor, restarted with backoff, stopped together and in time.

No module may create a task that nobody waits for. Whoever needs background work hands a coroutine function to
the supervisor of the process, which reports every death of it and ends it at shutdown.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from server.logs import get_logger

log = get_logger("axonml.supervision")

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 30.0
HEALTHY_AFTER: Final = 60.0


@dataclass(slots=True)
class TaskStatus:
    """What is known about one background task."""

    name: str
    restarts: int = 0
    running: bool = False
    last_error: str | None = None


class Supervisor:
    """Runs background tasks until it is closed.

    A task that returns or raises is started again: after 0.1 s at first, doubling up to 30 s, from the start
    again once it has stayed up for 60 s. Leaving the context cancels all tasks and waits at most
    `stop_seconds` for them.
    """

    def __init__(self, *, stop_seconds: float = 5.0) -> None:
        self._stop_seconds = stop_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._status: dict[str, TaskStatus] = {}
        self._closed = False

    def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Runs `run` for as long as the supervisor lives. Raises ValueError for a name that is taken."""
        if self._closed:
            raise ValueError("the supervisor is closed")
        if name in self._tasks:
            raise ValueError(f"there is already a background task named {name!r}")
        status = self._status[name] = TaskStatus(name)
        self._tasks[name] = asyncio.create_task(self._restarting(run, status), name=name)

    def status(self) -> list[TaskStatus]:
        """Every task, in the order in which they were handed over."""
        return list(self._status.values())

    async def _restarting(self, run: Callable[[], Awaitable[None]], status: TaskStatus) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        while True:
            started = loop.time()
            status.running = True
            try:
                await run()
                status.last_error = "it returned"
                log.warning("background task returned", task=status.name)
            except Exception as error:  # a dying task must not take the others with it; it is reported and restarted
                status.last_error = f"{type(error).__name__}: {error}"
                log.exception("background task died", task=status.name)
            finally:
                status.running = False
            if loop.time() - started >= HEALTHY_AFTER:
                delay = FIRST_DELAY
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, LONGEST_DELAY)
            status.restarts += 1

    async def close(self) -> None:
        """Ends every task. Those that ignore their cancellation for too long are reported by name."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=self._stop_seconds)
            for task in stuck:
                log.error("background task did not stop", task=task.get_name(), seconds=self._stop_seconds)
        self._tasks.clear()

    async def __aenter__(self) -> Supervisor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
