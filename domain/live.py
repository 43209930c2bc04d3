"""What live streams share: one read for all readers that stand at the same place, and patience with the database.

A thousand subscribers of one run wake together and ask the same question; the first of them asks it for all. When
the database is away for a moment, a stream that has begun waits for it: that costs its readers time and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from domain.errors import DeadlineExceeded, Overloaded, Unavailable
from domain.events import WakeUp
from domain.figures import LiveFigures

V = TypeVar("V")

PATIENCE_SECONDS: Final = 120.0
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 5.0
_PASSING: Final = (Unavailable, Overloaded, DeadlineExceeded)


async def patiently(
    watch: WakeUp, read: Callable[[], Awaitable[V | None]], *, patience: float = PATIENCE_SECONDS
) -> V | None:
    """The answer of `read`, tried again while the database is away; None, too, when the process is stopping.

    Raises Unavailable, Overloaded or DeadlineExceeded once it has been away for `patience` seconds.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    pause = _FIRST_PAUSE
    while True:
        try:
            return await read()
        except _PASSING:
            if loop.time() + pause > until:
                raise
        try:
            async with asyncio.timeout(pause):
                while await watch.changed():  # whatever happened will be in the answer
                    pass
        except TimeoutError:
            pause = min(pause * 2, _LONGEST_PAUSE)
        else:
            return None


class SharedReads(Generic[V]):
    """Merges equal reads that have not begun yet.

    A reader never joins a read that is under way: it may have begun before what woke the reader was committed, and
    its answer would then hide that. Each read runs in the task of one of its readers; when that one is cancelled,
    another takes over.
    """

    def __init__(self, figures: LiveFigures | None = None) -> None:
        """`figures` count what is asked, and what is run."""
        self._figures = figures or LiveFigures()
        self._gathering: dict[Hashable, asyncio.Future[V]] = {}

    async def read(self, key: Hashable, fetch: Callable[[], Awaitable[V]]) -> V:
        """The answer of `fetch`, run once for all who ask for `key` in the same turn of the loop."""
        self._figures.reads += 1
        while True:
            shared = self._gathering.get(key)
            if shared is None:
                return await self._lead(key, fetch)
            try:
                return await asyncio.shield(shared)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not shared.cancelled() or (task is not None and task.cancelling()):
                    raise

    async def _lead(self, key: Hashable, fetch: Callable[[], Awaitable[V]]) -> V:
        shared: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._gathering[key] = shared
        try:
            try:
                await asyncio.sleep(0)  # everyone woken in this turn joins
            finally:
                del self._gathering[key]
            self._figures.executions += 1
            answer = await fetch()
        except asyncio.CancelledError:
            shared.cancel()
            raise
        except BaseException as error:
            shared.set_exception(error)
            shared.exception()  # it also reaches the leader, so it is never "not retrieved"
            raise
        shared.set_result(answer)
        return answer
