"""How busy the machine and the server are: readings of counters, the figures between two of them, and who may ask.

A `Host` reads counters; rates exist only between two readings, and are computed here. Everybody who asks within 0.4
seconds shares one reading, so a thousand subscribers cost what one costs, and nothing is read while nobody asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from domain.access import KeyScope, Scope
from domain.clock import Clock
from domain.errors import BadUserInput, Forbidden

MIN_INTERVAL: Final = 0.5
MAX_INTERVAL: Final = 60.0
SHARED_SECONDS: Final = 0.4
"""A reading younger than this answers everybody; less than the shortest interval, so nobody hears one twice."""

FIRST_WINDOW: Final = 0.25
"""Seconds between the two readings that the first figures come from."""

LONGEST_WINDOW: Final = MAX_INTERVAL + 10
"""An older reading says nothing about now: a rate over it would be an average of long ago."""

_READ_SCOPES: Final = (KeyScope.RUNS_READ, KeyScope.MODELS_READ, KeyScope.ENDPOINTS_READ, KeyScope.STATS_READ)


@dataclass(frozen=True, slots=True)
class DiskMetrics:
    """A file system that the server writes to. `name` says what it holds, `path` where it is mounted."""

    name: str
    path: str
    used_bytes: int
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class GpuMetrics:
    """One graphics processor; None for what it does not tell. Temperature in °C, power in watts."""

    index: int
    name: str
    utilization_percent: float | None
    memory_used_bytes: int
    memory_total_bytes: int
    temperature: float | None
    power_watts: float | None


@dataclass(frozen=True, slots=True)
class HostReading:
    """Counters of the machine and of the server's processes, at one moment.

    `seconds` is a clock that only goes forward. CPU times are seconds summed over all cores. `processes` holds the CPU
    seconds of each process of the server by (process id, time of its start).
    """

    seconds: float
    cpu_busy: float
    cpu_total: float
    cores: int
    memory_used_bytes: int
    memory_total_bytes: int
    disks: tuple[DiskMetrics, ...]
    received_bytes: int
    sent_bytes: int
    gpus: tuple[GpuMetrics, ...]
    processes: dict[tuple[int, float], float]
    process_memory_bytes: int
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class SystemMetrics:
    """The load of the machine and of the server. Percentages are 0 to 100; the server's own are of one core."""

    at: datetime
    cpu_percent: float
    cores: int
    memory_used_bytes: int
    memory_total_bytes: int
    disks: tuple[DiskMetrics, ...]
    network_received_per_second: float
    network_sent_per_second: float
    network_received_bytes: int
    network_sent_bytes: int
    gpus: tuple[GpuMetrics, ...]
    process_memory_bytes: int
    process_cpu_percent: float
    process_count: int
    uptime_seconds: float


class Host(Protocol):
    """The machine this process runs on."""

    async def read(self) -> HostReading:
        """Its counters now. Never raises for a part that cannot be read: that part is empty."""
        ...


def between(earlier: HostReading, later: HostReading, at: datetime) -> SystemMetrics:
    """The figures of the time between two readings. A counter that was set back counts as standing still."""
    seconds = max(later.seconds - earlier.seconds, 1e-9)
    total = later.cpu_total - earlier.cpu_total
    busy = (later.cpu_busy - earlier.cpu_busy) / total * 100 if total > 0 else 0.0
    # A process that began in between is not known to have worked only since then: it counts from its next reading on.
    worked = sum(
        max(0.0, used - earlier.processes[process])
        for process, used in later.processes.items()
        if process in earlier.processes
    )
    return SystemMetrics(
        at=at,
        cpu_percent=min(100.0, max(0.0, busy)),
        cores=later.cores,
        memory_used_bytes=later.memory_used_bytes,
        memory_total_bytes=later.memory_total_bytes,
        disks=later.disks,
        network_received_per_second=max(0, later.received_bytes - earlier.received_bytes) / seconds,
        network_sent_per_second=max(0, later.sent_bytes - earlier.sent_bytes) / seconds,
        network_received_bytes=later.received_bytes,
        network_sent_bytes=later.sent_bytes,
        gpus=later.gpus,
        process_memory_bytes=later.process_memory_bytes,
        process_cpu_percent=worked / seconds * 100,
        process_count=len(later.processes),
        uptime_seconds=later.uptime_seconds,
    )


class System:
    """What may be asked about the machine: by everybody who is signed in, and by API keys that may read anything."""

    def __init__(
        self,
        *,
        host: Host,
        clock: Clock,
        timer: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`timer` is the clock of the host's readings."""
        self._host = host
        self._clock = clock
        self._timer = timer
        self._pause = pause
        self._turn = asyncio.Lock()
        self._reading: HostReading | None = None
        self._metrics: SystemMetrics | None = None

    async def now(self, scope: Scope) -> SystemMetrics:
        """The figures of now. Raises Forbidden for an API key that may read nothing."""
        _require(scope)
        return await self._measured()

    async def follow(self, scope: Scope, interval_seconds: float) -> AsyncGenerator[SystemMetrics, None]:
        """The figures now, then every `interval_seconds`, until the reader leaves.

        Raises Forbidden, or BadUserInput for an interval outside 0.5 to 60 seconds, before it begins.
        """
        _require(scope)
        if not MIN_INTERVAL <= interval_seconds <= MAX_INTERVAL:
            raise BadUserInput(
                f"expected {MIN_INTERVAL:g} to {MAX_INTERVAL:g} seconds, got {interval_seconds:g}",
                field="interval_seconds",
            )
        return self._follow(interval_seconds)

    async def _follow(self, interval: float) -> AsyncGenerator[SystemMetrics, None]:
        while True:
            metrics = await self._measured()
            due = self._timer() + interval
            yield metrics
            await self._pause(max(0.0, due - self._timer()))

    async def _measured(self) -> SystemMetrics:
        async with self._turn:  # whoever waits here finds the reading of whoever came first
            earlier = self._reading
            age = None if earlier is None else self._timer() - earlier.seconds
            if self._metrics is not None and age is not None and age < SHARED_SECONDS:
                return self._metrics
            if earlier is None or age is None or age > LONGEST_WINDOW:
                earlier = await self._host.read()
                await self._pause(FIRST_WINDOW)
            later = await self._host.read()
            self._metrics = between(earlier, later, self._clock.now())
            self._reading = later
            return self._metrics


def _require(scope: Scope) -> None:
    if not any(scope.principal.allows(each) for each in _READ_SCOPES):
        names = ", ".join(f"'{each.value}'" for each in _READ_SCOPES)
        raise Forbidden(f"this API key lacks every scope that reads: {names}")
