"""What a version takes over from the run that made it: the last values of its metrics."""

from __future__ import annotations

from typing import Any, Final

from domain.access import KeyScope, Scope
from domain.metrics.ports import MetricStore
from domain.metrics.requests import SummariesRequest
from domain.models.rules import MAX_METRICS, checked_metrics

_ALL: Final = SummariesRequest(first=MAX_METRICS)


class CarriedMetrics:
    """Reads what runs measured, for versions that are registered with a run."""

    def __init__(self, metrics: MetricStore) -> None:
        self._metrics = metrics

    async def onto(self, scope: Scope, run_id: str | None, given: dict[str, Any]) -> dict[str, Any]:
        """`given`, and of the run's other metrics the last values, in order of key while there is room.

        Nothing of a run that the caller may not read, or whose metrics an API key may not: then only what was given.
        """
        if run_id is None or not scope.principal.allows(KeyScope.RUNS_READ):
            return given
        found = (await self._metrics.summaries(scope, [run_id], _ALL)).get(run_id, [])
        measured = checked_metrics({summary.key: summary.last for summary in found})
        others = [(key, value) for key, value in measured.items() if key not in given]
        return {**given, **dict(others[: MAX_METRICS - len(given)])}
