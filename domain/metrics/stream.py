"""The current values of a run and what becomes of them, at a pace the reader chooses: for gauges and simple dashboards.

Unlike `follow` it hands out no points: only the latest value of each key, and every state the run goes through. A
reader that is slow misses values in between and nothing else. Nothing is queued for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Final

from domain import ids
from domain.access import ResourceKind, Scope
from domain.errors import BadUserInput, NotFound
from domain.events import LiveHub, MetricsAppended, RunChanged, Watch
from domain.live import SharedReads, patiently
from domain.metrics.batch import MAX_KEYS
from domain.metrics.requests import MetricStream, SummariesRequest
from domain.metrics.service import Metrics
from domain.metrics.summaries import MetricSummary
from domain.runs import ENDED, Run, Runs, RunStatus

LEAST_SECONDS: Final = 0.1
MOST_SECONDS: Final = 60.0
_BREATH: Final = 0.05

Values = Mapping[str, MetricSummary]


@dataclass(frozen=True, slots=True)
class ValuesChanged:
    """The latest values of the keys that got points since the message before; in the first message, of all keys.

    `step` is the highest step of the run so far and `epoch` its latest epoch, each None when there is none.
    """

    latest: Mapping[str, float]
    step: int | None
    epoch: float | None


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """The run, in a status other than before. Of an ended run it is the last message."""

    run: Run


class RunStream:
    """The use-case. Readers of one run that wake together share their reads."""

    def __init__(self, *, runs: Runs, metrics: Metrics, hub: LiveHub) -> None:
        self._runs = runs
        self._metrics = metrics
        self._hub = hub
        self._states: SharedReads[tuple[Run | None]] = SharedReads(metrics.figures)
        self._values: SharedReads[Values] = SharedReads(metrics.figures)

    async def follow(
        self, scope: Scope, run_id: str, *, every: float = 1.0, stream: MetricStream = MetricStream.METRICS
    ) -> AsyncGenerator[ValuesChanged | StatusChanged, None]:
        """The current values at once, then at most one ValuesChanged in `every` seconds and each change of status.

        What was accepted before the run ended comes, without a wait, before its final status, which ends the stream.
        It also ends when the process stops. Raises BadUserInput (`every`), NotFound, also when the run is purged.
        """
        if not LEAST_SECONDS <= every <= MOST_SECONDS:
            raise BadUserInput(f"expected {LEAST_SECONDS} to {MOST_SECONDS} seconds", field="interval")
        canonical = ids.parse("run", run_id, field="id")
        loop = asyncio.get_running_loop()
        told: Values | None = None
        status: RunStatus | None = None
        due = 0.0
        async with self._hub.watch(canonical, MetricsAppended, RunChanged) as watch:
            while True:
                run = await self._state(scope, canonical, None if told is None else watch)
                if run is None:
                    return
                ended = run.status in ENDED
                behind = not ended and loop.time() < due
                if not behind:
                    # Read after the state: when that is final, nothing can come after these values.
                    values = await self._latest(scope, canonical, stream, None if told is None else watch)
                    if values is None:
                        return
                    changed = _changed(told, values)
                    if told is None or changed:
                        self._metrics.figures.deltas += 1
                        yield _message(changed, values)
                        due = loop.time() + every
                    told = values
                if ended or (status is not None and run.status is not status):
                    yield StatusChanged(run)
                status = run.status
                if ended or not await _woken(watch, due - loop.time() if behind else None):
                    return

    async def _state(self, scope: Scope, run_id: str, watch: Watch | None) -> Run | None:
        """The run; None when the process is stopping. Without a watch the database is not waited for."""

        async def fetch() -> tuple[Run | None]:
            return (await self._runs.find(scope, run_id),)

        async def read() -> tuple[Run | None]:
            return await self._states.read((scope.workspace_id, scope.reach(ResourceKind.RUNS), run_id), fetch)

        found = await (read() if watch is None else patiently(watch, read))
        if found is None:
            return None
        if found[0] is None:
            raise NotFound("there is no such run", field="id")
        return found[0]

    async def _latest(self, scope: Scope, run_id: str, stream: MetricStream, watch: Watch | None) -> Values | None:
        wanted = SummariesRequest(first=MAX_KEYS, stream=stream)

        async def fetch() -> Values:
            summaries = (await self._metrics.summaries(scope, [run_id], wanted))[run_id]
            return {summary.key: summary for summary in summaries}

        async def read() -> Values:
            return await self._values.read((scope.workspace_id, run_id, stream), fetch)

        return await (read() if watch is None else patiently(watch, read))


def _changed(told: Values | None, values: Values) -> list[MetricSummary]:
    """The keys that got points: a new one, or one with a higher count."""
    if told is None:
        return list(values.values())
    return [new for key, new in values.items() if key not in told or told[key].count != new.count]


def _message(changed: list[MetricSummary], values: Values) -> ValuesChanged:
    epoch = values.get("epoch")
    return ValuesChanged(
        latest={summary.key: summary.last for summary in changed},
        step=max((summary.last_step for summary in values.values()), default=None),
        epoch=None if epoch is None else epoch.last,
    )


async def _woken(watch: Watch, seconds: float | None) -> bool:
    """Waits for a change, at most `seconds`; what comes in quick succession is taken as one. False: the end."""
    try:
        async with asyncio.timeout(seconds):
            if not await watch.changed():
                return False
    except TimeoutError:
        return True
    await asyncio.sleep(_BREATH)
    return True
