"""What every subject works with: the folder, the database server, the client's processes, the sizes, the results."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.client import Drivers, Outcome
from benchmarks.report import Results, Row, rounded
from benchmarks.servers import Databases

if TYPE_CHECKING:
    from benchmarks.reads import Dataset


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, and how long. `seconds` is the window of one value."""

    seconds: float
    warmup: float
    clients: tuple[int, ...]
    batches: tuple[int, ...]
    search_runs: int
    search_metrics: int
    history_steps: int
    long_series: tuple[int, ...]
    """Lengths of the series only AxonML is asked for."""
    big_search: tuple[int, int] | None
    """Runs and metrics of the search only AxonML is asked for."""
    subscribers: tuple[int, ...]
    live_seconds: float
    step_limit: float
    """A step that takes longer is given up, and named in the table."""
    artifact_mib: int

    def text(self) -> str:
        """For the facts."""
        return f"{self.seconds:g} s a value, {self.search_runs:,} runs × {self.search_metrics} metrics to search"


FULL_SIZES = Sizes(4, 1, (1, 4, 16), (1, 100, 1000), 3000, 20, 20_000, (1_000_000,), None, (1, 100, 1000), 8, 420, 1024)
QUICK_SIZES = Sizes(0.7, 0.3, (1, 4), (1, 1000), 200, 20, 2_000, (50_000,), None, (1, 20), 2, 120, 64)


@dataclass(slots=True)
class Session:
    """One run of the program."""

    place: Path
    databases: Databases
    drivers: Drivers
    sizes: Sizes
    results: Results
    datasets: dict[str, Dataset] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Progress, for the person who waits."""
        print(f"  {text}", file=sys.stderr, flush=True)

    def put(self, row: Row, column: str, value: float, outcome: Outcome | None = None) -> None:
        """A value of a row, with what its measurement says about itself."""
        row.values[column] = value if outcome is None or outcome.latencies else float("nan")
        if outcome is not None:
            row.details[column] = rounded(
                p50_ms=outcome.quantile(0.5) * 1000,
                p99_ms=outcome.quantile(0.99) * 1000,
                answers=len(outcome.latencies),
                seconds=outcome.seconds,
                client_cores=outcome.client_cpu,
                failures=outcome.failures,
            )
            if outcome.failures:
                row.notes[column] = f"{outcome.failures} requests failed, the first with: {outcome.first_failure}"
            elif outcome.client_cpu > 0.9:
                row.notes[column] = "the client itself was at its limit (over 90 % of a core)"
        note = f"  ({row.notes[column]})" if column in row.notes else ""
        self.say(f"{column:9} {row.group}: {row.name}: {row.values[column]:,.4g} {row.unit}{note}")
