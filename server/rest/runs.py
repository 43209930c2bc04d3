"""`/api/training/runs`: runs over REST, their life, params and tags. Logs and metrics have modules of their own.

Thin: parse, call the same use-case as the graph, encode. An answer carries the last value of each metric, of at most
the first 1,000 keys.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from domain import ids
from domain import runs as domain
from domain.access import Scope
from domain.errors import NotFound
from domain.experiments import reference
from domain.metrics import MetricSummary, SummariesRequest
from domain.metrics.requests import MAX_SUMMARIES
from domain.paging import PageRequest
from domain.patch import KEEP
from domain.runs import Runs, RunsRequest
from domain.runs.listing import orders_of
from schema.scalars import write_datetime, write_float
from server.edge.identity import scope_of
from server.rest.handler import (
    answer,
    idempotency_key,
    json_body,
    no_content,
    optional_json_body,
    query,
    services_of,
)
from server.rest.operations import runs as operations
from server.rest.route import Route
from server.rest.structs.common import TagsBody
from server.rest.structs.training import (
    ParamsBody,
    Run,
    RunCreate,
    RunFinish,
    RunList,
    RunPatch,
    RunStatus,
    RunStop,
)


class _ListQuery(Struct):
    filter: Annotated[str, Meta(max_length=10_000)] | None = None
    order_by: Annotated[str, Meta(min_length=1, max_length=1_000)] | None = None
    experiment: Annotated[str, Meta(min_length=1, max_length=250)] | None = None
    archived: bool = False
    total: bool = True
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    cursor: Annotated[str, Meta(min_length=1, max_length=2_048)] | None = None


async def _list(request: Request) -> Response:
    asked, scope = query(request, _ListQuery), scope_of(request)
    page = await _runs(request).page(
        scope,
        RunsRequest(
            page=PageRequest.of(asked.limit, asked.cursor),
            filter=asked.filter,
            order=orders_of(asked.order_by),
            archived=asked.archived,
            experiment_id=None if asked.experiment is None else await _experiment(request, scope, asked.experiment),
            offset=asked.offset,
            total=asked.total,
        ),
    )
    summaries = await _summaries(request, scope, [run.id for run in page.nodes])
    return answer(
        RunList(
            items=[_encoded(run, summaries[run.id]) for run in page.nodes],
            total=page.total_count,
            next_cursor=page.cursors[-1] if page.has_next_page else None,
        )
    )


async def _experiment(request: Request, scope: Scope, text: str) -> str:
    experiment_id, name = reference(text)
    found = await services_of(request).experiments.find(scope, experiment_id=experiment_id, name=name)
    if found is None:
        raise NotFound("there is no such experiment", field="experiment")
    return found.id


async def _create(request: Request) -> Response:
    token = idempotency_key(request)
    given = await json_body(request, RunCreate)
    run = await _runs(request).create(
        scope_of(request),
        name=given.name,
        experiment=given.experiment,
        model_type=given.model_type,
        config=None if given.config is UNSET else given.config,
        config_from=given.config_from,
        params=given.params.items(),
        tags=given.tags.items(),
        parent_id=given.parent_id,
        start=given.start,
        notes=given.notes,
        client_token=token,
    )
    return await _answered(request, run, 201)


async def _get(request: Request) -> Response:
    return await _answered(request, await _runs(request).get(scope_of(request), _id(request)))


async def _update(request: Request) -> Response:
    run_id = _id(request)
    given = await json_body(request, RunPatch)
    run = await _runs(request).update(
        scope_of(request),
        run_id,
        name=KEEP if given.name is UNSET else given.name,
        notes=KEEP if given.notes is UNSET else given.notes,
        model_type=KEEP if given.model_type is UNSET else given.model_type,
        experiment=KEEP if given.experiment is UNSET else given.experiment,
    )
    return await _answered(request, run)


async def _delete(request: Request) -> Response:
    await _runs(request).delete(scope_of(request), _id(request))
    return no_content()


async def _purge(request: Request) -> Response:
    await _runs(request).purge(scope_of(request), _id(request))
    return no_content()


def _action(change: Callable[[Runs, Scope, str], Awaitable[domain.Run]]) -> Callable[[Request], Awaitable[Response]]:
    """A handler that changes the run of the path and answers it."""

    async def handle(request: Request) -> Response:
        return await _answered(request, await change(_runs(request), scope_of(request), _id(request)))

    return handle


async def _finish(request: Request) -> Response:
    run_id = _id(request)
    given = await optional_json_body(request, RunFinish) or RunFinish()
    status = domain.RunStatus(given.status.value)
    return await _answered(request, await _runs(request).finish(scope_of(request), run_id, status, given.failure))


async def _stop(request: Request) -> Response:
    run_id = _id(request)
    given = await optional_json_body(request, RunStop) or RunStop()
    return await _answered(request, await _runs(request).stop(scope_of(request), run_id, force=given.force))


async def _params(request: Request) -> Response:
    run_id = _id(request)
    given = await json_body(request, ParamsBody)
    return await _answered(request, await _runs(request).log_params(scope_of(request), run_id, given.items()))


async def _tags(request: Request) -> Response:
    run_id = _id(request)
    given = await json_body(request, TagsBody)
    run = await _runs(request).change_tags(
        scope_of(request),
        run_id,
        put=[(key, value) for key, value in given.items() if value is not None],
        remove=[key for key, value in given.items() if value is None],
    )
    return await _answered(request, run)


def _runs(request: Request) -> Runs:
    return services_of(request).runs


def _id(request: Request) -> str:
    return ids.parse("run", request.path_params["id"], field="id")


async def _answered(request: Request, run: domain.Run, status: int = 200) -> Response:
    summaries = await _summaries(request, scope_of(request), [run.id])
    return answer(_encoded(run, summaries[run.id]), status)


async def _summaries(request: Request, scope: Scope, run_ids: list[str]) -> dict[str, list[MetricSummary]]:
    """The summaries of each run."""
    if not run_ids:
        return {}
    return await services_of(request).metrics.summaries(scope, run_ids, SummariesRequest(first=MAX_SUMMARIES))


def _encoded(run: domain.Run, summaries: list[MetricSummary]) -> Run:
    return Run(
        id=run.id,
        name=run.name,
        status=RunStatus(run.status.value),
        stalled=run.stalled,
        stop_requested=run.stop_requested,
        archived=run.archived,
        model_type=run.model_type,
        config=dict(run.config),
        params={param.key: param.value for param in run.params},
        tags={tag.key: tag.value for tag in run.tags},
        notes=run.notes,
        experiment_id=run.experiment_id,
        user_id=run.owner_id,
        parent_id=run.parent_id,
        created_at=write_datetime(run.created_at),
        started_at=_time(run.started_at),
        completed_at=_time(run.ended_at),
        failure=run.failure,
        # msgspec writes a plain str the same way as one of the three names that the struct allows.
        metrics={each.key: write_float(each.last) for each in summaries},  # type: ignore[misc]  # as above
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else write_datetime(moment)


ROUTES: Final[tuple[Route, ...]] = (
    Route(operations.RUN_LIST, _list),
    Route(operations.RUN_CREATE, _create),
    Route(operations.RUN_GET, _get),
    Route(operations.RUN_UPDATE, _update),
    Route(operations.RUN_DELETE, _delete),
    Route(operations.RUN_START, _action(Runs.start)),
    Route(operations.RUN_FINISH, _finish),
    Route(operations.RUN_STOP, _stop),
    Route(operations.RUN_RESUME, _action(Runs.resume)),
    Route(operations.RUN_RESTORE, _action(Runs.restore)),
    Route(operations.RUN_PURGE, _purge),
    Route(operations.PARAMS_LOG, _params),
    Route(operations.TAGS_SET, _tags),
)
