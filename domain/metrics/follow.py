"""Following a run's metrics: catch up, then every change, exactly once, until the run has ended.

Points come from the store only, so a lost or repeated wake-up changes nothing but time. What readers that stand at the
same place and ask for the same get is one object, made once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

from domain.figures import LiveFigures
from domain.live import patiently
from domain.metrics.batch import Column
from domain.metrics.cursor import write_cursor
from domain.metrics.ports import MetricsSince, RunSeries
from domain.metrics.requests import SeriesRequest
from domain.metrics.series import MetricSeries, joined
from domain.runs import ENDED, RunStatus
from domain.tail import Read, Step, Tails

State = tuple[RunStatus, bool]


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


@dataclass(frozen=True, slots=True)
class Reset:
    """A delta that replaces everything, and the place up to which it was drawn."""

    delta: MetricDelta
    seq: int


def stepped(found: MetricsSince) -> Step[MetricsSince]:
    """What the store answered, as a step of the run's tail."""
    size = sum(map(len, found.columns))
    pieces = (found,) if size or found.sealed else ()
    state: State = (found.status, found.stop_requested)
    return Step(pieces, found.seq, found.head, state, found.status in ENDED, size)


def reset(run_id: str, drawn: RunSeries, state: State) -> Reset:
    """The message to one that is too far behind for single points."""
    return Reset(MetricDelta(write_cursor("metrics", run_id, drawn.seq), drawn.series, *state, True), drawn.seq)


async def follow(
    tails: Tails[MetricsSince],
    workspace_id: str,
    run_id: str,
    request: SeriesRequest,
    seq: int,
    *,
    read: Read[MetricsSince],
    draw: Callable[[State], Awaitable[Reset]],
    figures: LiveFigures,
) -> AsyncGenerator[MetricDelta, None]:
    """Deltas after place `seq`; the first one comes at once. Ends with the run, or when the process stops.

    Raises NotFound for a run that is not there, BadUserInput for a place ahead of the run. A database that goes away
    once the stream has begun is waited for.
    """
    told: State | None = None
    async with tails.follower(workspace_id, run_id, seq, read) as follower:
        while (step := await follower.next()) is not None:
            figures.reads += 1
            if told is not None:
                figures.skipped += max(0, step.seq - seq - 1)
            delta = step.once(request, partial(_exact, run_id, step, request))
            if delta is None:
                drawn = await patiently(follower, partial(draw, cast("State", step.state)))
                if drawn is None:
                    return
                delta, follower.seq = drawn.delta, drawn.seq
                figures.resets += 1
            state, seq = (delta.status, delta.stop_requested), follower.seq
            if delta.series or state != told:
                told = state
                figures.deltas += 1
                yield delta


def _state(step: Step[MetricsSince]) -> State:
    """The run's state at the end of a step. An end is told with what comes last before it."""
    status, stop_requested = cast("State", step.state)  # as `stepped` made it
    return (RunStatus.RUNNING if step.over and not step.complete else status), stop_requested


def _exact(run_id: str, step: Step[MetricsSince], request: SeriesRequest) -> MetricDelta | None:
    """The points the reader asked for, or None when one key has more than a message may hold, or they are sealed."""
    picked = request.picks
    by_key: dict[str, list[Column]] = {}
    for found in step.pieces:
        if found.sealed:
            return None
        for column in found.columns:
            if picked(column.key):
                by_key.setdefault(column.key, []).append(column)
    if any(sum(map(len, parts)) > request.points for parts in by_key.values()):
        return None
    series = [MetricSeries.exact(joined(parts)) for parts in by_key.values()]
    return MetricDelta(write_cursor("metrics", run_id, step.seq), series, *_state(step), False)
