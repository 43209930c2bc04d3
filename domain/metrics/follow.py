"""Following a run's metrics: catch up, then every change, exactly once, until the run has ended.

A follower is a place in the run's sequence and a wake-up flag; nothing is queued for it. When it is slow, its next
read simply covers more. Points come from the store only, so a lost or repeated wake-up changes nothing but time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from domain.errors import BadUserInput, NotFound
from domain.events import LiveHub, MetricsAppended, RunChanged
from domain.live import patiently
from domain.metrics.batch import MAX_KEYS
from domain.metrics.cursor import write_cursor
from domain.metrics.ports import MetricsSince, RunSeries
from domain.metrics.requests import SeriesRequest
from domain.metrics.series import MetricSeries
from domain.runs import ENDED, RunStatus


@dataclass(frozen=True, slots=True)
class MetricDelta:
    """One message: points that became visible, the place after them, and the state of the run there.

    With `reset` the series replace what the reader holds; they are drawn, not exact.
    """

    cursor: str
    series: list[MetricSeries]
    status: RunStatus
    stop_requested: bool
    reset: bool


async def follow(
    hub: LiveHub,
    run_id: str,
    request: SeriesRequest,
    seq: int,
    *,
    since: Callable[[int], Awaitable[MetricsSince | None]],
    draw: Callable[[SeriesRequest], Awaitable[RunSeries]],
) -> AsyncGenerator[MetricDelta, None]:
    """Deltas after place `seq`; the first one comes at once. Ends with the run, or when the process stops.

    Raises NotFound for a run that is not there, BadUserInput for a place ahead of the run. A database that goes away
    once the stream has begun is waited for.
    """
    told: tuple[RunStatus, bool] | None = None
    async with hub.watch(run_id, MetricsAppended, RunChanged) as watch:
        while True:
            found = await (since(seq) if told is None else patiently(watch, partial(since, seq)))
            if found is None:
                if told is None:
                    raise NotFound("there is no such run", field="run_id")
                return
            if seq > found.head:
                raise BadUserInput("the cursor lies ahead of the run", field="after")
            seq, series, reset = found.seq, _exact(found, request), False
            if series is None:
                drawn = await patiently(watch, partial(draw, replace(request, first=MAX_KEYS)))
                if drawn is None:
                    return
                seq, series, reset = drawn.seq, drawn.series, True
            state = (found.status, found.stop_requested)
            if series or state != told:
                told = state
                yield MetricDelta(write_cursor("metrics", run_id, seq), series, *state, reset)
            if seq < found.head:
                continue
            if found.status in ENDED:
                return
            if not await watch.changed():
                return


def _exact(found: MetricsSince, request: SeriesRequest) -> list[MetricSeries] | None:
    """The points the reader asked for, or None when one key has more than a message may hold, or they are sealed."""
    if found.sealed:
        return None
    columns = found.columns
    if request.keys is not None:
        wanted = frozenset(request.keys)
        columns = [column for column in columns if column.key in wanted]
    if any(len(column) > request.points for column in columns):
        return None
    return [MetricSeries.exact(column) for column in columns]
