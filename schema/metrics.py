"""The part of the graph about metrics: summaries, keys, series, writing points, following them live."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from domain.metrics import ComparisonRequest, MetricStream, SeriesAxis
from domain.runs import RunStatus
from resolvers import metrics as resolve
from schema.paging import Connection
from schema.scalars import BigInt, FloatSeries, FloatValue, IntSeries

if TYPE_CHECKING:
    from resolvers.context import Context

strawberry.enum(MetricStream)
strawberry.enum(SeriesAxis)
strawberry.enum(RunStatus)


@strawberry.type
class MetricSummary:
    key: str
    last: FloatValue | None
    last_step: BigInt | None
    min: FloatValue | None
    max: FloatValue | None
    mean: FloatValue | None
    count: BigInt
    non_finite: BigInt


@strawberry.type
class MetricKey:
    key: str


MetricKeyConnection = Connection[MetricKey]


@strawberry.type
class MetricSeries:
    key: str
    steps: IntSeries
    values: FloatSeries
    timestamps: IntSeries
    min: FloatSeries | None
    max: FloatSeries | None
    count: BigInt
    downsampled: bool


@strawberry.type
class RunSeries:
    run_id: strawberry.ID
    series: list[MetricSeries]


@strawberry.type
class MetricDelta:
    cursor: str
    series: list[MetricSeries]
    status: RunStatus
    stop_requested: bool
    reset: bool


@strawberry.input
class MetricPointInput:
    key: str
    value: FloatValue
    step: BigInt | None = None
    timestamp: datetime | None = None


@strawberry.input
class MetricSeriesInput:
    key: str
    values: FloatSeries
    steps: IntSeries | None = None
    timestamps: IntSeries | None = None


@strawberry.input
class MetricsLogInput:
    run_id: strawberry.ID
    batch_id: str | None = None
    points: list[MetricPointInput] | None = None
    series: list[MetricSeriesInput] | None = None


@strawberry.type
class MetricsLogged:
    accepted: BigInt
    cursor: str
    stop_requested: bool


async def _compare(
    info: strawberry.Info[Context, None],
    *,
    run_ids: list[strawberry.ID],
    keys: list[str],
    points: int = 1000,
    axis: SeriesAxis = SeriesAxis.STEP,
    start: Annotated[FloatValue | None, strawberry.argument(name="from")] = None,
    end: Annotated[FloatValue | None, strawberry.argument(name="to")] = None,
) -> Any:
    wanted = ComparisonRequest.of(list(map(str, run_ids)), keys, points=points, axis=axis, start=start, end=end)
    return await resolve.runs_series(info.context, wanted)


async def _log(
    info: strawberry.Info[Context, None], given: Annotated[MetricsLogInput, strawberry.argument(name="input")]
) -> Any:
    draft = resolve.draft_of(given.points, given.series)
    return await resolve.metrics_log(info.context, given.run_id, given.batch_id, draft)


def _follow(
    info: strawberry.Info[Context, None],
    run_id: strawberry.ID,
    keys: list[str] | None = None,
    after: str | None = None,
    points: int = 1000,
    *,
    stream: MetricStream = MetricStream.METRICS,
) -> Any:
    return resolve.run_metrics(info.context, run_id, keys=keys, after=after, points=points, stream=stream)


@strawberry.type
class MetricQuery:
    runs_series: Annotated[list[RunSeries], strawberry.field(resolver=_compare)]


@strawberry.type
class MetricMutation:
    metrics_log: Annotated[MetricsLogged, strawberry.mutation(resolver=_log)]


@strawberry.type
class MetricSubscription:
    run_metrics: Annotated[AsyncGenerator[MetricDelta, None], strawberry.subscription(resolver=_follow)]
