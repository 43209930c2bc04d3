"""Metrics: from fields and inputs to the use-cases, and the loaders that other nouns hang them under."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

from strawberry.dataloader import DataLoader

from domain.errors import BadUserInput
from domain.metrics import (
    ComparisonRequest,
    Draft,
    DraftBuilder,
    KeysRequest,
    MetricDelta,
    MetricKey,
    MetricSeries,
    MetricsLogged,
    MetricStream,
    MetricSummary,
    SeriesRequest,
    SummariesRequest,
    metric_key,
)
from domain.paging import Page
from resolvers.batching import by_parent

if TYPE_CHECKING:
    from domain.access import Scope
    from resolvers.context import Context, Services


@dataclass(frozen=True, slots=True)
class MetricLoaders:
    """What hangs under runs, for keys (run id, request)."""

    summaries: DataLoader[tuple[str, SummariesRequest], list[MetricSummary]]
    keys: DataLoader[tuple[str, KeysRequest], Page[MetricKey]]
    series: DataLoader[tuple[str, SeriesRequest], list[MetricSeries]]

    @classmethod
    def of(cls, services: Services, scope: Scope) -> MetricLoaders:
        """Loaders that read as `scope`."""
        metrics = services.metrics
        return cls(
            summaries=by_parent(partial(metrics.summaries, scope)),
            keys=by_parent(partial(metrics.keys, scope)),
            series=by_parent(partial(metrics.series, scope)),
        )


@dataclass(frozen=True, slots=True)
class RunSeries:
    """The series of one run among several."""

    run_id: str
    series: list[MetricSeries]


class GivenPoint(Protocol):
    """A point as the graph's input carries it."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def step(self) -> int | None: ...
    @property
    def timestamp(self) -> datetime | None: ...


class GivenSeries(Protocol):
    """A column as the graph's input carries it."""

    @property
    def key(self) -> str: ...
    @property
    def values(self) -> Sequence[float]: ...
    @property
    def steps(self) -> Sequence[int] | None: ...
    @property
    def timestamps(self) -> Sequence[int] | None: ...


def draft_of(points: Sequence[GivenPoint] | None, series: Sequence[GivenSeries] | None) -> Draft:
    """The checked batch of an input. Raises BadUserInput naming the element, also when there is no point at all."""
    builder = DraftBuilder()
    for place, point in enumerate(points or ()):
        when = point.timestamp
        builder.point(
            metric_key(point.key, field=f"points[{place}].key"),
            point.value,
            point.step,
            None if when is None else round(when.timestamp() * 1000),
        )
    for place, column in enumerate(series or ()):
        builder.column(column.key, column.values, column.steps, column.timestamps, field=f"series[{place}]")
    draft = builder.build()
    if draft.points == 0:
        raise BadUserInput("expected at least one point, in points or series", field="points")
    return draft


async def metrics_log(context: Context, run_id: str, batch: str | None, draft: Draft) -> MetricsLogged:
    """Writes points."""
    return await context.services.metrics.log(context.require_scope(), run_id, draft, batch=batch)


async def runs_series(context: Context, wanted: ComparisonRequest) -> list[RunSeries]:
    """Series of the runs that are there, in the order of the ids, from one read of the metrics."""
    scope = context.require_scope()
    found = await context.loaders.runs.runs.load_many(wanted.run_ids)
    run_ids = [run.id for run in found if run is not None]
    if not run_ids:
        return []
    series = await context.services.metrics.series(scope, run_ids, wanted.series)
    return [RunSeries(run_id, series[run_id]) for run_id in run_ids]


async def run_metrics(
    context: Context, run_id: str, *, keys: Sequence[str] | None, after: str | None, points: int, stream: MetricStream
) -> AsyncGenerator[MetricDelta, None]:
    """New points of a run until it ends or the reader leaves."""
    deltas = await context.services.metrics.follow(
        context.require_scope(), run_id, keys=keys, after=after, points=points, stream=stream
    )
    async with aclosing(deltas):
        async for delta in deltas:
            yield delta
