"""An ear on a bus: what its listeners were handed, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from domain.events import Event
from persistence.bus import BroadcastBus


class Ear:
    """What a bus hands to its listeners."""

    def __init__(self, bus: BroadcastBus) -> None:
        self.heard: list[Event | None] = []
        self._changed = asyncio.Event()
        bus.listen(self._hear)

    def _hear(self, event: Event | None) -> None:
        self.heard.append(event)
        self._changed.set()

    async def until(self, satisfied: Callable[[list[Event | None]], bool]) -> None:
        """Waits, at most 20 seconds."""
        async with asyncio.timeout(20):
            while not satisfied(self.heard):
                self._changed.clear()
                await self._changed.wait()

    async def connected(self) -> None:
        """The first gap says that the link is up."""
        await self.until(lambda heard: None in heard)
        self.heard.clear()
