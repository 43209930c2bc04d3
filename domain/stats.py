"""How much there is on the instance, and how its work goes: for administrators, in the graph and for Prometheus.

Counts come from the database, figures from every process of this server. One reading serves whoever asks within a few
seconds, so that a scraper and a page full of panels cost the database one statement each time; what took long to count
is kept for longer. What the processes count can be read while the database does not answer, when it matters most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from domain.access import KeyScope, Scope, UserRole
from domain.clock import Clock
from domain.errors import DeadlineExceeded, DomainError, Forbidden
from domain.figures import Distribution, IngestFigures, LiveFigures, ProcessFigures, Requests, SealingFigures

SHARED_SECONDS: Final = 2.0
DATABASE_SECONDS: Final = 5.0
"""How long the database may count. A scraper that waits ten seconds, as Prometheus does, must hear of the rest."""

REST: Final = 20
"""So many times as long as they took, counts are kept: among millions of runs they are not for nothing."""


@dataclass(frozen=True, slots=True)
class InstanceCounts:
    """How much there is of everything, archived things included, in all workspaces."""

    users: int
    runs: int
    runs_active: int
    points: int
    models: int
    model_versions: int
    endpoints: int
    endpoints_running: int
    database_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class SealingState:
    """What waits to be sealed, and the server that holds the lease. `lag`: for how long the oldest has been due."""

    holder: str | None
    unsealed_runs: int
    unsealed_points: int
    due_runs: int
    lag: timedelta | None


class InstanceStore(Protocol):
    """Counts over everything there is."""

    async def counts(self) -> InstanceCounts:
        """How much there is of everything."""
        ...

    async def sealing(self, now: datetime, left_out: Collection[str]) -> SealingState:
        """What waits to be sealed; `left_out` are runs that are not due, because they are damaged."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database tells."""

    counts: InstanceCounts
    sealing: SealingState


@dataclass(frozen=True, slots=True)
class ServerStats:
    """One reading. What processes counted, they counted since they began; a new process counts from 0.

    `stored` is what the database told, or why it told nothing.
    """

    at: datetime
    version: str
    stored: Stored | DomainError
    processes: tuple[ProcessFigures, ...]

    @property
    def counts(self) -> InstanceCounts:
        """How much there is. Raises what kept the database from telling."""
        return self._told().counts

    @property
    def sealing_state(self) -> SealingState:
        """What waits to be sealed. Raises what kept the database from telling."""
        return self._told().sealing

    def _told(self) -> Stored:
        if isinstance(self.stored, DomainError):
            raise self.stored
        return self.stored

    @property
    def uptime_seconds(self) -> float:
        """Since the host process began."""
        began = min((process.started_at for process in self.processes), default=self.at)
        return max(0.0, (self.at - began).total_seconds())

    @property
    def lag_seconds(self) -> float:
        """For how long the oldest metrics have been due for sealing; 0 when nothing is."""
        lag = self.sealing_state.lag
        return 0.0 if lag is None else max(0.0, lag.total_seconds())

    @property
    def sealing(self) -> SealingFigures:
        """What the sealer of this server did."""
        return next((each.sealing for each in self.processes if each.sealing is not None), SealingFigures())

    @property
    def ingest(self) -> IngestFigures:
        """What all processes stored and refused."""
        return IngestFigures.together([process.ingest for process in self.processes])

    @property
    def live(self) -> LiveFigures:
        """The live streams of all processes."""
        return LiveFigures.together([process.live for process in self.processes])

    @property
    def requests(self) -> list[Requests]:
        """What all processes answered, by route, method and status."""
        return together(request for process in self.processes for request in process.requests)


def together(parts: Iterable[Requests]) -> list[Requests]:
    """Requests of several processes, one row for each route, method and status, in this order."""
    by_kind: dict[tuple[str, str, int], list[Distribution]] = {}
    for part in parts:
        by_kind.setdefault((part.route, part.method, part.status), []).append(part.seconds)
    return [
        Requests(method, route, status, Distribution.together(seconds))
        for (route, method, status), seconds in sorted(by_kind.items(), key=lambda each: each[0])
    ]


class Stats:
    """The use-case: for administrators in a session, and for their API keys with the scope `stats:read`."""

    def __init__(
        self,
        *,
        store: InstanceStore,
        processes: Callable[[], Awaitable[tuple[ProcessFigures, ...]]],
        clock: Clock,
        version: str,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`processes` asks every process of this server."""
        self._store = store
        self._processes = processes
        self._clock = clock
        self._version = version
        self._timer = timer
        self._turn = asyncio.Lock()
        self._read_at = 0.0
        self._reading: ServerStats | None = None
        self._count_again_at = 0.0

    async def read(self, scope: Scope) -> ServerStats:
        """The figures of now, or of at most two seconds ago; the counts may be older when they took long.

        Of a database that does not answer `stored` says why. Raises Forbidden.
        """
        _require(scope)
        async with self._turn:  # whoever waits here finds the reading of whoever came first
            if self._reading is None or self._timer() - self._read_at >= SHARED_SECONDS:
                self._reading = await self._fresh(self._reading)
                self._read_at = self._timer()
            return self._reading

    async def _fresh(self, last: ServerStats | None) -> ServerStats:
        processes = await self._processes()
        now, began = self._clock.now(), self._timer()
        if last is not None and began < self._count_again_at:
            return ServerStats(now, self._version, last.stored, processes)
        stored: Stored | DomainError
        try:
            async with asyncio.timeout(DATABASE_SECONDS):
                stored = await self._count(now, processes)
        except TimeoutError:
            stored = DeadlineExceeded("the database took too long to count what it holds")
        except DomainError as problem:
            stored = problem
        else:
            self._count_again_at = self._timer() + REST * (self._timer() - began)
        return ServerStats(now, self._version, stored, processes)

    async def _count(self, now: datetime, processes: Iterable[ProcessFigures]) -> Stored:
        damaged = [run.run_id for each in processes if each.sealing is not None for run in each.sealing.damaged]
        return Stored(await self._store.counts(), await self._store.sealing(now, damaged))


def _require(scope: Scope) -> None:
    if scope.principal.role is not UserRole.ADMIN:
        raise Forbidden("the figures of the instance are for its administrators")
    scope.carry(KeyScope.STATS_READ)
