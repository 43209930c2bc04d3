"""What this process knows of the runs that it last wrote to, so that the next batch needs no reading.

It is a guess, never the truth: other processes write to the same runs. Whoever uses it writes only where the run's
head, under its lock, still has the sequence number of the guess; every accepted batch moves that number on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from domain.metrics import MetricSummary
from persistence.metrics.plan import Arrival, OpenRun

MOST_KEYS: Final = 50_000
"""Summaries kept at most, a few hundred bytes each; the runs written to longest ago are forgotten first."""


@dataclass(slots=True)
class KnownRun:
    """A running run as this process left it. `keys` is how many keys it has, None when nobody counted them."""

    workspace_id: str
    seq: int
    last_step: int | None
    keys: int | None
    summaries: dict[str, MetricSummary]

    @property
    def size(self) -> int:
        """How much it counts against the bound."""
        return len(self.summaries) + 1

    def covers(self, arrival: Arrival) -> bool:
        """Whether a batch can be taken by what is known: each of its keys is, or surely does not exist yet."""
        if arrival.scope.workspace_id != self.workspace_id:
            return False
        if self.keys == len(self.summaries):
            return True
        return all(column.key in self.summaries for column in arrival.draft.columns)


class KnownRuns:
    """What is known of each run, bounded."""

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self._most = most_keys
        self._runs: dict[str, KnownRun] = {}
        self._kept = 0

    def get(self, run_id: str) -> KnownRun | None:
        """The run, if it is known."""
        return self._runs.get(run_id)

    def learn(self, workspace_id: str, run: OpenRun) -> None:
        """Keeps what a run came to by a commit. Call it after the commit."""
        run_id = run.run_id
        known = self._runs.get(run_id)
        self.forget((run_id,))  # while it still counts for what it was kept with
        if known is None or known.seq != run.stored:  # somebody else wrote to it since
            known = KnownRun(workspace_id, run.seq, run.last_step, run.keys, dict(run.before))
        elif known.summaries is not run.before:
            known.summaries.update(run.before)
        known.summaries.update(run.changed)
        known.seq, known.last_step = run.seq, run.last_step
        known.keys = known.keys if run.keys is None else run.keys
        self._kept += known.size
        self._runs[run_id] = known  # at the end: the one written to last
        while self._kept > self._most:
            self.forget((next(iter(self._runs)),))

    def forget(self, run_ids: Iterable[str]) -> None:
        """Forgets runs: nobody knows any more what they hold."""
        for run_id in run_ids:
            known = self._runs.pop(run_id, None)
            if known is not None:
                self._kept -= known.size

    def clear(self) -> None:
        """Forgets everything."""
        self._runs.clear()
        self._kept = 0
