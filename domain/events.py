"""What happened, as pointers, and the two ports that carry it: the bus between processes and the hub within one.

Events say only where to look; readers fetch what changed from the database after their own cursor. So a lost or
repeated event costs latency, never data. Nothing here may be called inside a database transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RunChanged:
    """An attribute of a run changed (also: it was archived, restored or purged)."""

    run_id: str


@dataclass(frozen=True, slots=True)
class MetricsAppended:
    """Metric batches up to sequence number `seq` of a run are committed."""

    run_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class LogsAppended:
    """Log lines up to sequence number `seq` of a run are committed."""

    run_id: str
    seq: int


Event = RunChanged | MetricsAppended | LogsAppended


class EventBus(Protocol):
    """Carries events to every process on the same database, this one included."""

    def publish(self, event: Event) -> None:
        """Hands an event over; returns at once and never fails. Call it after the commit."""
        ...

    def listen(self, receive: Callable[[Event | None], None]) -> Callable[[], None]:
        """Calls `receive` for every event; None means that events may have been lost. Returns how to stop it."""
        ...


class WakeUp(Protocol):
    """Wakes a reader of one run. It holds no data."""

    async def changed(self) -> bool:
        """Waits until something may have happened to the run since the last call.

        Answers False when the process is stopping: the reader must end its stream.
        """
        ...


class Watch(WakeUp, Protocol):
    """A wake-up flag of one run; `readers` says how many are woken by it, if it is not one."""

    readers: int


class LiveHub(Protocol):
    """Wakes the readers of runs, whichever process the writer is in."""

    def watch(self, run_id: str, *kinds: type[Event]) -> AbstractAsyncContextManager[Watch]:
        """Registers a reader of these kinds of events; of every kind when none is named.

        What happened before entering is the reader's own first read.
        """
        ...


class RunsWatch(WakeUp, Protocol):
    """One reader's wake-up flag for all runs, which remembers, within bounds, which of them it was raised for."""

    def take(self) -> tuple[frozenset[str], bool]:
        """The runs since it was last asked, and whether something may have happened to any other."""
        ...


class RunsHub(LiveHub, Protocol):
    """Also wakes those who watch every run there is. Runs of all workspaces: the reader's own reads decide."""

    def watch_all(self, *kinds: type[Event]) -> AbstractAsyncContextManager[RunsWatch]:
        """Registers a reader of these kinds of events of every run; of every kind when none is named."""
        ...
