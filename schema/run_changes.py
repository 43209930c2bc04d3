"""The part of the graph that changes runs, their params and tags."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from domain import runs
from domain.access import Scope
from domain.errors import BadUserInput
from domain.patch import KEEP
from domain.runs import Runs, RunStatus
from domain.runs.bulk import ManyRuns
from resolvers import runs as resolve
from resolvers.experiments import not_null
from schema.runs import Deleted, Run
from schema.scalars import JSON

if TYPE_CHECKING:
    from resolvers.context import Context


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
    config_from: strawberry.ID | None = None
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


def _one(change: Callable[[Runs, Scope, str], Awaitable[runs.Run]]) -> Callable[..., Awaitable[Any]]:
    """A change of one run that needs nothing but its id."""

    async def resolver(info: strawberry.Info[Context, None], given: _IdInput) -> Any:
        return await change(info.context.services.runs, info.context.require_scope(), str(given.id))

    return resolver


def _each(change: Callable[[ManyRuns, Scope, Sequence[str]], Awaitable[list[str]]]) -> Callable[..., Awaitable[Any]]:
    """A change of many runs that needs nothing but their ids."""

    async def resolver(info: strawberry.Info[Context, None], given: _IdsInput) -> Any:
        scope = info.context.require_scope()
        return resolve.RunsChanged(await change(info.context.services.runs.many, scope, list(map(str, given.ids))))

    return resolver


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
        config_from=None if given.config_from is None else str(given.config_from),
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


@strawberry.type
class RunMutation:
    run_create: Annotated[Run, strawberry.mutation(resolver=_create)]
    run_update: Annotated[Run, strawberry.mutation(resolver=_update)]
    run_start: Annotated[Run, strawberry.mutation(resolver=_one(Runs.start))]
    run_finish: Annotated[Run, strawberry.mutation(resolver=_finish)]
    run_stop: Annotated[Run, strawberry.mutation(resolver=_stop)]
    run_resume: Annotated[Run, strawberry.mutation(resolver=_one(Runs.resume))]
    run_delete: Annotated[Run, strawberry.mutation(resolver=_one(Runs.delete))]
    run_restore: Annotated[Run, strawberry.mutation(resolver=_one(Runs.restore))]
    run_purge: Annotated[Deleted, strawberry.mutation(resolver=_purge)]
    runs_update: Annotated[RunsChanged, strawberry.mutation(resolver=_update_many)]
    runs_delete: Annotated[RunsChanged, strawberry.mutation(resolver=_each(ManyRuns.delete))]
    runs_restore: Annotated[RunsChanged, strawberry.mutation(resolver=_each(ManyRuns.restore))]
    runs_purge: Annotated[RunsChanged, strawberry.mutation(resolver=_each(ManyRuns.purge))]
    params_log: Annotated[Run, strawberry.mutation(resolver=_log_params)]
    tags_set: Annotated[Run, strawberry.mutation(resolver=_set_tags)]
    tags_delete: Annotated[Run, strawberry.mutation(resolver=_delete_tags)]
