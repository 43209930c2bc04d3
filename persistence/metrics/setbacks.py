"""Runs that could not be sealed: left out for a while, then tried again, ever more rarely.

A payload that cannot be read today may be restored tomorrow, so nothing is given up; and one run must not cost the
others their turn, so nothing is tried again at once.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from domain import ids
from domain.figures import DamagedRun, SealingFigures

FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(hours=1)
MOST_SHOWN: Final = 100
_MOST_DOUBLINGS: Final = 10


class Setbacks:
    """The runs that wait for their next try; shown in the figures of the sealer."""

    def __init__(self, figures: SealingFigures) -> None:
        self._figures = figures
        self._runs: dict[UUID, DamagedRun] = {}

    def left_out(self, now: datetime) -> list[UUID]:
        """Whose next try lies ahead."""
        return [run for run, damaged in self._runs.items() if damaged.next_try_at > now]

    def note(self, run: UUID, error: Exception, now: datetime) -> DamagedRun:
        """One more try failed."""
        before = self._runs.get(run)
        attempts = 1 if before is None else before.attempts + 1
        pause = min(FIRST_PAUSE * 2 ** min(attempts - 1, _MOST_DOUBLINGS), LONGEST_PAUSE)
        reason = f"{type(error).__name__}: {error}"[:300]
        since = now if before is None else before.since
        noted = self._runs[run] = DamagedRun(ids.from_uuid("run", run), reason, since, attempts, now + pause)
        self._show()
        return noted

    def forget(self, runs: Collection[UUID]) -> None:
        """These were sealed, or are not due any more: purged, say."""
        for run in runs:
            self._runs.pop(run, None)
        self._show()

    def over(self, now: datetime) -> set[UUID]:
        """Whose next try has come."""
        return {run for run, damaged in self._runs.items() if damaged.next_try_at <= now}

    def _show(self) -> None:
        self._figures.damaged_runs = len(self._runs)
        self._figures.damaged = list(self._runs.values())[:MOST_SHOWN]
