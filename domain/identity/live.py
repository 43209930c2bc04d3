"""A very short memory of what the database said about a session or key.

An entry is good for a fraction of a second and counts from before the read began, so what another process ended is
noticed within that time; what this process ends is dropped at once, reads already under way included. Absence is
never remembered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

V = TypeVar("V")

SECONDS = 0.5


class LiveCache(Generic[V]):
    """Values by key, loaded by one reader at a time per key."""

    def __init__(
        self,
        load: Callable[[str], Awaitable[V | None]],
        *,
        seconds: float = SECONDS,
        most: int = 10_000,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._seconds = seconds
        self._most = most
        self._ticks = ticks
        self._entries: dict[str, tuple[float, V]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._drops = 0

    async def get(self, key: str) -> V | None:
        """The value as it was at most `seconds` ago, or None."""
        entry = self._fresh(key)
        if entry is not None:
            return entry
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            entry = self._fresh(key)
            return entry if entry is not None else await self._read(key)

    def amend(self, key: str, value: V) -> None:
        """Corrects what is remembered of a key, without making it any younger."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries[key] = (entry[0], value)

    def drop(self, key: str) -> None:
        """Forgets a key, and makes reads under way not remember what they find."""
        self._drops += 1
        self._entries.pop(key, None)

    def drop_where(self, chosen: Callable[[V], bool]) -> None:
        """Forgets every value that is chosen, as `drop` does."""
        self._drops += 1
        for key in [key for key, (_, value) in self._entries.items() if chosen(value)]:
            del self._entries[key]

    def _fresh(self, key: str) -> V | None:
        entry = self._entries.get(key)
        if entry is None or self._ticks() - entry[0] >= self._seconds:
            return None
        return entry[1]

    async def _read(self, key: str) -> V | None:
        started, drops = self._ticks(), self._drops
        value = await self._load(key)
        self._entries.pop(key, None)  # so that a new entry goes to the end: the dictionary stays ordered by age
        if value is not None and drops == self._drops:
            while len(self._entries) >= self._most:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = (started, value)
        return value
