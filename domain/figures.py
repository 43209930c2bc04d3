"""What a process counts about its own work, for whoever runs the server: sums that only grow, and states of now.

Each object is written by the one event loop that does the work and read by nobody but that loop, so nothing is locked
and counting costs an addition. Labels come from sets that the code bounds: error codes, routes, statuses; never ids.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from domain.storage import Standing

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


@dataclass(slots=True)
class Distribution:
    """How often a value was at most each of `bounds`, and above the bound before; the last count is of those beyond."""

    bounds: tuple[float, ...] = SECONDS
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Their mean; None without any."""
        return self.sum / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """About the value that `share` of all lie below: it is exact to the bounds around it. None without any."""
        wanted = share * self.count
        below = 0
        for place, count in enumerate(self.counts):
            if count and below + count >= wanted:
                low = self.bounds[place - 1] if place else 0.0
                high = self.bounds[place] if place < len(self.bounds) else low  # nobody knows how far beyond
                return low + (high - low) * (wanted - below) / count
            below += count
        return None

    @property
    def p50(self) -> float | None:
        """Half of the values are at most about this."""
        return self.quantile(0.5)

    @property
    def p95(self) -> float | None:
        """95 of 100 values are at most about this."""
        return self.quantile(0.95)

    @property
    def p99(self) -> float | None:
        """99 of 100 values are at most about this."""
        return self.quantile(0.99)

    @classmethod
    def together(cls, parts: Iterable[Distribution], bounds: tuple[float, ...] = SECONDS) -> Distribution:
        """The values of several, which all have `bounds`."""
        every = list(parts)
        counts = [sum(column) for column in zip(*(part.counts for part in every), strict=True)]
        return cls(bounds, counts, sum(part.sum for part in every))


@dataclass(slots=True)
class IngestFigures:
    """Metrics that came: what was stored, what was refused by which code, what waits, and how commits went."""

    batches: int = 0
    points: int = 0
    bytes: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    queued_batches: int = 0
    queued_points: int = 0
    group_batches: Distribution = field(default_factory=lambda: Distribution(SIZES))
    commit_seconds: Distribution = field(default_factory=Distribution)

    def stored(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Counts batches that a commit made durable, each by its points and bytes."""
        self.batches += len(sizes)
        self.points += sum(points for points, _ in sizes)
        self.bytes += sum(size for _, size in sizes)

    def refuse(self, code: str) -> None:
        """Counts a batch that was refused, by the code of the error."""
        self.refused[code] = self.refused.get(code, 0) + 1

    @classmethod
    def together(cls, parts: Sequence[IngestFigures]) -> IngestFigures:
        """Those of several processes."""
        refused: dict[str, int] = {}
        for part in parts:
            for code, count in part.refused.items():
                refused[code] = refused.get(code, 0) + count
        return cls(
            sum(part.batches for part in parts),
            sum(part.points for part in parts),
            sum(part.bytes for part in parts),
            refused,
            sum(part.queued_batches for part in parts),
            sum(part.queued_points for part in parts),
            Distribution.together((part.group_batches for part in parts), SIZES),
            Distribution.together(part.commit_seconds for part in parts),
        )


@dataclass(frozen=True, slots=True)
class DamagedRun:
    """A run whose metrics could not be sealed, and when that is tried again."""

    run_id: str
    reason: str
    since: datetime
    attempts: int
    next_try_at: datetime


@dataclass(slots=True)
class SealingFigures:
    """What the sealer of this process did since the process began. `damaged` names the first of `damaged_runs`."""

    holds_lease: bool = False
    sweeps: int = 0
    last_sweep_at: datetime | None = None
    batches: int = 0
    points: int = 0
    chunks: int = 0
    failures: int = 0
    last_failure: str | None = None
    damaged_runs: int = 0
    damaged: list[DamagedRun] = field(default_factory=list)
    step_seconds: Distribution = field(default_factory=Distribution)

    def failed(self, error: Exception) -> None:
        """Counts something that went wrong."""
        self.failures += 1
        self.last_failure = f"{type(error).__name__}: {error}"[:300]


@dataclass(slots=True)
class LiveFigures:
    """Live streams: who reads now, what they were sent, and how much work was shared or left out.

    `reads` were asked for by readers and `executions` of them run: the others shared an answer. `skipped` are batches
    that came merged with a later one because the reader was slow, and `resets` messages that replaced points.
    Subscriptions took `payloads`, of which `encodings` were executed and encoded: the others shared a text.
    """

    connections: int = 0
    readers: int = 0
    reads: int = 0
    executions: int = 0
    deltas: int = 0
    skipped: int = 0
    resets: int = 0
    payloads: int = 0
    encodings: int = 0

    @classmethod
    def together(cls, parts: Sequence[LiveFigures]) -> LiveFigures:
        """Those of several processes."""
        return cls(*(sum(getattr(part, name) for part in parts) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Requests:
    """HTTP requests of one method, route and status, by the seconds until the answer began."""

    method: str
    route: str
    status: int
    seconds: Distribution


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """Database connections of a process: open, idle, the most there may be, and who waits for one."""

    open: int
    idle: int
    most: int
    waiting: int


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """Everything one process of the server counts. `worker` is 0 for the host, else the number of the web worker."""

    worker: int
    pid: int
    started_at: datetime
    memory_bytes: int
    cpu_seconds: float
    ingest: IngestFigures
    live: LiveFigures
    pool: PoolFigures
    requests: tuple[Requests, ...]
    sealing: SealingFigures | None = None
    storage: tuple[Standing, ...] = ()
