"""The part of the graph about runs, their params and tags."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from domain import runs
from domain.errors import BadUserInput
from domain.metrics import SeriesAxis
from domain.patch import KEEP
from domain.runs import RunChangeKind, RunStatus
from resolvers import runs as resolve
from resolvers.experiments import not_null
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
) -> Awaitable[Any]:
    return resolve.series(parent, info, keys=keys, points=points, axis=axis, start=start, end=end)


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


@strawberry.input
class ParamInput:
    key: str
    value: JSON | None = strawberry.UNSET


@strawberry.input
class TagInput:
    key: str
    value: str


@strawberry.input
class RunCreateInput:
    name: str | None = None
    experiment: str | None = None
    model_type: str | None = None
    config: JSON | None = None
    params: list[ParamInput] | None = None
    tags: list[TagInput] | None = None
    parent_id: strawberry.ID | None = None
    start: bool = True
    notes: str | None = None
    client_token: str | None = None


@strawberry.input
class RunUpdateInput:
    id: strawberry.ID
    name: Maybe[str | None] = None
    notes: Maybe[str | None] = None
    model_type: Maybe[str | None] = None
    experiment: Maybe[str | None] = None


@strawberry.input
class RunIdInput:
    id: strawberry.ID


@strawberry.input
class RunFinishInput:
    id: strawberry.ID
    status: RunStatus = RunStatus.COMPLETED
    failure: str | None = None


@strawberry.input
class RunStopInput:
    id: strawberry.ID
    force: bool = False


@strawberry.input
class ParamsLogInput:
    run_id: strawberry.ID
    params: list[ParamInput]


@strawberry.input
class TagsSetInput:
    run_id: strawberry.ID
    tags: list[TagInput]


@strawberry.input
class TagsDeleteInput:
    run_id: strawberry.ID
    keys: list[str]


@strawberry.input
class RunIdsInput:
    ids: list[strawberry.ID]


@strawberry.input
class RunsUpdateInput:
    ids: list[strawberry.ID]
    experiment: Maybe[str | None] = None
    tags_set: list[TagInput] | None = None
    tags_delete: list[str] | None = None


@strawberry.type
class RunsChanged:
    ids: list[strawberry.ID]


_IdsInput = Annotated[RunIdsInput, strawberry.argument(name="input")]
_IdInput = Annotated[RunIdInput, strawberry.argument(name="input")]


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


def _params(given: list[ParamInput]) -> list[tuple[str, Any]]:
    """GraphQL cannot say "required, and may be null", so what was left out is refused here."""
    for place, param in enumerate(given):
        if param.value is strawberry.UNSET:
            raise BadUserInput(
                "expected a value; a param without one is written as null", field=f"params[{place}].value"
            )
    return [(param.key, param.value) for param in given]


async def _create(
    info: strawberry.Info[Context, None], given: Annotated[RunCreateInput, strawberry.argument(name="input")]
) -> Any:
    context = info.context
    return await context.services.runs.create(
        context.require_scope(),
        name=given.name,
        experiment=given.experiment,
        model_type=given.model_type,
        config=given.config,
        params=_params(given.params or []),
        tags=[(tag.key, tag.value) for tag in given.tags or []],
        parent_id=None if given.parent_id is None else str(given.parent_id),
        start=given.start,
        notes=given.notes,
        client_token=given.client_token,
    )


async def _update(
    info: strawberry.Info[Context, None], given: Annotated[RunUpdateInput, strawberry.argument(name="input")]
) -> Any:
    context = info.context
    return await context.services.runs.update(
        context.require_scope(),
        str(given.id),
        name=KEEP if given.name is None else not_null(given.name.value, "name"),
        notes=KEEP if given.notes is None else given.notes.value,
        model_type=KEEP if given.model_type is None else given.model_type.value,
        experiment=KEEP if given.experiment is None else not_null(given.experiment.value, "experiment"),
    )


async def _start(info: strawberry.Info[Context, None], given: _IdInput) -> Any:
    return await info.context.services.runs.start(info.context.require_scope(), str(given.id))


async def _finish(
    info: strawberry.Info[Context, None], given: Annotated[RunFinishInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.runs.finish(
        info.context.require_scope(), str(given.id), given.status, given.failure
    )


async def _stop(
    info: strawberry.Info[Context, None], given: Annotated[RunStopInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.runs.stop(info.context.require_scope(), str(given.id), force=given.force)


async def _resume(info: strawberry.Info[Context, None], given: _IdInput) -> Any:
    return await info.context.services.runs.resume(info.context.require_scope(), str(given.id))


async def _delete(info: strawberry.Info[Context, None], given: _IdInput) -> Any:
    return await info.context.services.runs.delete(info.context.require_scope(), str(given.id))


async def _restore(info: strawberry.Info[Context, None], given: _IdInput) -> Any:
    return await info.context.services.runs.restore(info.context.require_scope(), str(given.id))


async def _purge(info: strawberry.Info[Context, None], given: _IdInput) -> Any:
    return resolve.Deleted(await info.context.services.runs.purge(info.context.require_scope(), str(given.id)))


async def _update_many(
    info: strawberry.Info[Context, None], given: Annotated[RunsUpdateInput, strawberry.argument(name="input")]
) -> Any:
    changed = await info.context.services.runs.many.update(
        info.context.require_scope(),
        list(map(str, given.ids)),
        experiment=KEEP if given.experiment is None else not_null(given.experiment.value, "experiment"),
        tags_set=[(tag.key, tag.value) for tag in given.tags_set or []],
        tags_delete=given.tags_delete or [],
    )
    return resolve.RunsChanged(changed)


async def _delete_many(info: strawberry.Info[Context, None], given: _IdsInput) -> Any:
    changed = await info.context.services.runs.many.delete(info.context.require_scope(), list(map(str, given.ids)))
    return resolve.RunsChanged(changed)


async def _restore_many(info: strawberry.Info[Context, None], given: _IdsInput) -> Any:
    changed = await info.context.services.runs.many.restore(info.context.require_scope(), list(map(str, given.ids)))
    return resolve.RunsChanged(changed)


async def _purge_many(info: strawberry.Info[Context, None], given: _IdsInput) -> Any:
    changed = await info.context.services.runs.many.purge(info.context.require_scope(), list(map(str, given.ids)))
    return resolve.RunsChanged(changed)


async def _log_params(
    info: strawberry.Info[Context, None], given: Annotated[ParamsLogInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.runs.log_params(
        info.context.require_scope(), str(given.run_id), _params(given.params)
    )


async def _set_tags(
    info: strawberry.Info[Context, None], given: Annotated[TagsSetInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.runs.change_tags(
        info.context.require_scope(), str(given.run_id), put=[(tag.key, tag.value) for tag in given.tags]
    )


async def _delete_tags(
    info: strawberry.Info[Context, None], given: Annotated[TagsDeleteInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.runs.change_tags(
        info.context.require_scope(), str(given.run_id), remove=given.keys
    )


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
class RunMutation:
    run_create: Annotated[Run, strawberry.mutation(resolver=_create)]
    run_update: Annotated[Run, strawberry.mutation(resolver=_update)]
    run_start: Annotated[Run, strawberry.mutation(resolver=_start)]
    run_finish: Annotated[Run, strawberry.mutation(resolver=_finish)]
    run_stop: Annotated[Run, strawberry.mutation(resolver=_stop)]
    run_resume: Annotated[Run, strawberry.mutation(resolver=_resume)]
    run_delete: Annotated[Run, strawberry.mutation(resolver=_delete)]
    run_restore: Annotated[Run, strawberry.mutation(resolver=_restore)]
    run_purge: Annotated[Deleted, strawberry.mutation(resolver=_purge)]
    runs_update: Annotated[RunsChanged, strawberry.mutation(resolver=_update_many)]
    runs_delete: Annotated[RunsChanged, strawberry.mutation(resolver=_delete_many)]
    runs_restore: Annotated[RunsChanged, strawberry.mutation(resolver=_restore_many)]
    runs_purge: Annotated[RunsChanged, strawberry.mutation(resolver=_purge_many)]
    params_log: Annotated[Run, strawberry.mutation(resolver=_log_params)]
    tags_set: Annotated[Run, strawberry.mutation(resolver=_set_tags)]
    tags_delete: Annotated[Run, strawberry.mutation(resolver=_delete_tags)]


@strawberry.type
class RunSubscription:
    run_updated: Annotated[
        AsyncIterator[Run],
        strawberry.subscription(resolver=resolve.run_updated),
    ]
    runs_updated: Annotated[AsyncIterator[RunChange], strawberry.subscription(resolver=_list_updates)]
