"""`/api/experiments`: experiments over REST. Thin: parse, call the same use-case as the graph, encode."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from domain import experiments as domain
from domain.paging import PageRequest
from schema.scalars import write_datetime
from server.edge.identity import scope_of
from server.rest.handler import answer, idempotency_key, json_body, query, services_of
from server.rest.operations import experiments as operations
from server.rest.route import Route
from server.rest.structs.training import Experiment, ExperimentCreate, ExperimentList


class _ListQuery(Struct):
    filter: Annotated[str, Meta(max_length=10_000)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    cursor: Annotated[str, Meta(min_length=1, max_length=2_048)] | None = None


async def _list(request: Request) -> Response:
    asked = query(request, _ListQuery)
    page = await services_of(request).experiments.page(
        scope_of(request),
        PageRequest.of(asked.limit, asked.cursor),
        filter_text=asked.filter,
        offset=asked.offset,
    )
    return answer(
        ExperimentList(
            items=[_experiment(found) for found in page.nodes],
            total=page.total_count,
            next_cursor=page.cursors[-1] if page.has_next_page else None,
        )
    )


async def _create(request: Request) -> Response:
    token = idempotency_key(request)
    given = await json_body(request, ExperimentCreate)
    made = await services_of(request).experiments.create(
        scope_of(request), name=given.name, description=given.description, client_token=token
    )
    return answer(_experiment(made), 201)


async def _get(request: Request) -> Response:
    found = await services_of(request).experiments.get(scope_of(request), request.path_params["id"])
    return answer(_experiment(found))


def _experiment(found: domain.Experiment) -> Experiment:
    return Experiment(
        id=found.id,
        number=found.number,
        name=found.name,
        description=found.description,
        user_id=found.owner_id,
        archived=found.archived,
        created_at=write_datetime(found.created_at),
        updated_at=write_datetime(found.updated_at),
    )


ROUTES: Final[tuple[Route, ...]] = (
    Route(operations.EXPERIMENT_LIST, _list),
    Route(operations.EXPERIMENT_CREATE, _create),
    Route(operations.EXPERIMENT_GET, _get),
)
