"""The live hub: who is waiting for which run in this process, and waking them. It holds no data at all.

A watch is one flag. Everything that may have happened sets it; the reader then looks into the database itself. Should
every notice be lost, a slow beat still wakes all readers, so a broken bus costs seconds and never a hung stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.events import Event, EventBus, RunsWatch, Watch

BEAT_SECONDS = 5.0
MOST_NOTED = 10_000


class _Flag:
    """A wake-up flag."""

    def __init__(self, kinds: tuple[type[Event], ...]) -> None:
        self._kinds = kinds
        self._raised = asyncio.Event()
        self.ending = False
        self.readers = 1

    def notice(self, event: Event | None) -> None:
        if event is None or not self._kinds or isinstance(event, self._kinds):
            self._raised.set()

    def end(self) -> None:
        self.ending = True
        self._raised.set()

    async def changed(self) -> bool:
        await self._raised.wait()
        if not self.ending:
            self._raised.clear()
        return not self.ending


class _WideFlag(_Flag):
    """A flag for every run. It notes which ones, at most `MOST_NOTED`; beyond that it says: others."""

    def __init__(self, kinds: tuple[type[Event], ...]) -> None:
        super().__init__(kinds)
        self._noted: set[str] = set()
        self._others = False

    def notice(self, event: Event | None) -> None:
        if event is None:
            self._others = True
        elif self._kinds and not isinstance(event, self._kinds):
            return
        elif event.run_id not in self._noted and len(self._noted) >= MOST_NOTED:
            self._others = True
        else:
            self._noted.add(event.run_id)
        self._raised.set()

    def take(self) -> tuple[frozenset[str], bool]:
        taken = frozenset(self._noted), self._others
        self._noted.clear()
        self._others = False
        return taken


class Hub:
    """`RunsHub` on top of an event bus.

    Enter it before the first watch; leaving it ends every watch with False. `beat` is to be run by the process's
    supervisor. `beat_seconds` is the longest that a reader can miss something when notices get lost.
    """

    def __init__(self, bus: EventBus, *, beat_seconds: float = BEAT_SECONDS) -> None:
        self._bus = bus
        self._beat_seconds = beat_seconds
        self._watching: dict[str, set[_Flag]] = {}
        self._watching_all: set[_WideFlag] = set()
        self._ending = False

    @property
    def watching(self) -> int:
        """How many readers there are."""
        return sum(flag.readers for flags in self._watching.values() for flag in flags) + len(self._watching_all)

    async def __aenter__(self) -> Hub:
        self._unlisten = self._bus.listen(self._receive)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()
        self._unlisten()

    def end(self) -> None:
        """Ends every watch, those to come as well. The process is stopping."""
        self._ending = True
        for flags in self._watching.values():
            for flag in flags:
                flag.end()
        for wide in self._watching_all:
            wide.end()

    async def beat(self) -> None:
        """Wakes every reader now and then, for ever."""
        while True:
            await asyncio.sleep(self._beat_seconds)
            self._receive(None)

    @asynccontextmanager
    async def watch(self, run_id: str, *kinds: type[Event]) -> AsyncIterator[Watch]:
        flag = _Flag(kinds)
        if self._ending:
            flag.end()
        flags = self._watching.setdefault(run_id, set())
        flags.add(flag)
        try:
            yield flag
        finally:
            flags.discard(flag)
            if not flags and self._watching.get(run_id) is flags:
                del self._watching[run_id]

    @asynccontextmanager
    async def watch_all(self, *kinds: type[Event]) -> AsyncIterator[RunsWatch]:
        flag = _WideFlag(kinds)
        if self._ending:
            flag.end()
        self._watching_all.add(flag)
        try:
            yield flag
        finally:
            self._watching_all.discard(flag)

    def _receive(self, event: Event | None) -> None:
        for wide in self._watching_all:
            wide.notice(event)
        if event is not None:
            for flag in self._watching.get(event.run_id, ()):
                flag.notice(event)
            return
        for flags in self._watching.values():
            for flag in flags:
                flag.notice(None)
