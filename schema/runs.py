"""The part of the graph that reads and follows runs, their params and tags; `run_changes` is what changes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from domain import runs
from domain.metrics import MetricStream, SeriesAxis
from domain.runs import RunChangeKind, RunStatus
from resolvers import runs as resolve
from schema.node import Node
from schema.orders import RunOrder, orders
from schema.paging import Connection
from schema.scalars import JSON, FloatValue

if TYPE_CHECKING:
    from resolvers.context import Context
    from schema.experiments import Experiment
    from schema.identity import User
    from schema.logs import LogConnection
    from schema.metrics import MetricKey, MetricSeries, MetricSummary
    from schema.models import ModelVersion


strawberry.enum(RunStatus)
strawberry.enum(RunChangeKind)


@strawberry.type
class Param:
    key: str
    value: JSON | None
    text: str


@strawberry.type
class Tag:
    key: str
    value: str


@strawberry.type
class Deleted:
    id: strawberry.ID


def _series(
    parent: strawberry.Parent[runs.Run],
    info: strawberry.Info[Context, None],
    *,
    keys: list[str] | None = None,
    points: int = 1000,
    axis: SeriesAxis = SeriesAxis.STEP,
    start: Annotated[FloatValue | None, strawberry.argument(name="from")] = None,
    end: Annotated[FloatValue | None, strawberry.argument(name="to")] = None,
    stream: MetricStream = MetricStream.METRICS,
) -> Awaitable[Any]:
    return resolve.series(parent, info, keys=keys, points=points, axis=axis, start=start, end=end, stream=stream)


@strawberry.type
class Run(Node):
    name: str
    status: RunStatus
    stalled: bool
    stop_requested: bool
    archived: bool
    model_type: str | None
    config: JSON
    params: list[Param]
    tags: list[Tag]
    notes: str | None
    failure: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_seconds: float | None
    last_activity_at: datetime | None
    owner: Annotated[Annotated[User, strawberry.lazy("schema.identity")], strawberry.field(resolver=resolve.owner)]
    experiment: Annotated[
        Annotated[Experiment, strawberry.lazy("schema.experiments")], strawberry.field(resolver=resolve.experiment)
    ]
    parent: Annotated[
        Annotated[Run, strawberry.lazy("schema.runs")] | None, strawberry.field(resolver=resolve.parent_run)
    ]
    children: Annotated[
        Connection[Annotated[Run, strawberry.lazy("schema.runs")]], strawberry.field(resolver=resolve.children)
    ]
    metrics: Annotated[
        list[Annotated[MetricSummary, strawberry.lazy("schema.metrics")]], strawberry.field(resolver=resolve.metrics)
    ]
    metric_keys: Annotated[
        Connection[Annotated[MetricKey, strawberry.lazy("schema.metrics")]],
        strawberry.field(resolver=resolve.metric_keys),
    ]
    series: Annotated[
        list[Annotated[MetricSeries, strawberry.lazy("schema.metrics")]], strawberry.field(resolver=_series)
    ]
    logs: Annotated[Annotated[LogConnection, strawberry.lazy("schema.logs")], strawberry.field(resolver=resolve.logs)]
    model_versions: Annotated[
        Connection[Annotated[ModelVersion, strawberry.lazy("schema.models")]],
        strawberry.field(resolver=resolve.model_versions),
    ]

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, runs.Run)


@strawberry.type
class RunChange:
    kind: RunChangeKind
    run_id: strawberry.ID
    run: Run | None


async def _runs(
    info: strawberry.Info[Context, None],
    *,
    filter: str | None = None,  # noqa: A002 - the contract's name
    order_by: list[RunOrder] | None = None,
    experiment_id: strawberry.ID | None = None,
    archived: bool = False,
    first: int | None = 50,
    after: str | None = None,
) -> Any:
    wanted = resolve.request(
        info,
        first=first,
        after=after,
        filter_text=filter,
        order=orders(order_by),
        archived=archived,
        experiment_id=None if experiment_id is None else str(experiment_id),
    )
    return await resolve.runs(info, wanted)


def _list_updates(
    info: strawberry.Info[Context, None],
    filter: str | None = None,  # noqa: A002 - the contract's name
    experiment_id: strawberry.ID | None = None,
) -> Any:
    return resolve.runs_updated(info, filter, None if experiment_id is None else str(experiment_id))


@strawberry.type
class RunQuery:
    runs: Annotated[Connection[Run], strawberry.field(resolver=_runs)]
    run: Annotated[Run | None, strawberry.field(resolver=resolve.run)]


@strawberry.type
class RunSubscription:
    run_updated: Annotated[
        AsyncIterator[Run],
        strawberry.subscription(resolver=resolve.run_updated),
    ]
    runs_updated: Annotated[AsyncIterator[RunChange], strawberry.subscription(resolver=_list_updates)]
