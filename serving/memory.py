"""How much memory replicas hold, and giving back what a process no longer needs.

A limit of the address space is of no use with torch, which maps far more than it touches; so replicas with a limit are
looked at once a second, from outside, where no allocation of theirs can be in the way. Nothing is looked at unless some
replica has a limit.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

import psutil

PERIOD_SECONDS = 1.0


class Limited(Protocol):
    """Replicas that may have a limit."""

    def end_oversized(self) -> None:
        """End those that hold more than they may."""
        ...

    @property
    def limited(self) -> bool:
        """Whether they have one."""
        ...


def held(pid: int, limit: int) -> int:
    """Bytes a process holds: those resident, and if these are above `limit` its share of them, which costs more to ask.

    Pages that several processes map, such as weights and libraries, count for each in proportion. 0: it is gone.
    """
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        resident = int(process.memory_info().rss)
        return resident if resident <= limit else int(process.memory_full_info().pss)
    return 0


async def watch(sets: Callable[[], Iterable[Limited]]) -> None:
    """Looks at the replicas every second while any has a limit; returns when none has."""
    while any(one.limited for one in sets()):
        await asyncio.sleep(PERIOD_SECONDS)
        for one in list(sets()):
            one.end_oversized()


def trim() -> None:
    """Give the pages that the allocator keeps back to the system, where the C library can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
