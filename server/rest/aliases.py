"""Aliases, stages, comparison and lineage of model versions over REST. Thin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from domain import ids
from domain.models import aliases as domain
from domain.models import comparison
from domain.models.tensors import StoredTensor
from domain.paging import PageRequest
from schema.scalars import write_datetime, write_float
from server.edge.identity import scope_of
from server.rest.endpoints import endpoint_bodies
from server.rest.handler import answer, json_body, no_content, query, services_of
from server.rest.models import version_bodies
from server.rest.operations import aliases as operations
from server.rest.route import Route
from server.rest.structs.aliases import (
    DifferenceKind,
    MetricComparison,
    ModelAlias,
    ModelAliasList,
    ModelAliasSet,
    ModelVersionComparison,
    ModelVersionStageSet,
    TensorDifference,
    ValueDifference,
)
from server.rest.structs.inference import EndpointList
from server.rest.structs.models import ModelVersionList, TensorSpec


class _CompareQuery(Struct, kw_only=True):
    to: Annotated[str, Meta(min_length=1, max_length=129)]
    to_model: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class _Piece(Struct, kw_only=True):
    """Which part of a list without offsets."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[str, Meta(min_length=1, max_length=2_048)] | None = None

    def page(self) -> PageRequest:
        return PageRequest.of(self.limit, self.cursor)


# --- aliases and stages --------------------------------------------------------------------------


def _alias(found: domain.ModelAlias) -> ModelAlias:
    return ModelAlias(
        alias=found.name,
        version=found.version,
        version_id=found.version_id,
        updated_at=write_datetime(found.updated_at),
    )


async def _list(request: Request) -> Response:
    found = await services_of(request).aliases.of_model(scope_of(request), request.path_params["id"])
    return answer(ModelAliasList(items=[_alias(each) for each in found], total=len(found), next_cursor=None))


async def _set(request: Request) -> Response:
    scope, given = scope_of(request), await json_body(request, ModelAliasSet)
    model, alias = request.path_params["id"], request.path_params["alias"]
    return answer(_alias(await services_of(request).aliases.set_numbered(scope, model, alias, given.version)))


async def _delete(request: Request) -> Response:
    scope = scope_of(request)
    await services_of(request).aliases.delete(scope, request.path_params["id"], request.path_params["alias"])
    return no_content()


async def _stage(request: Request) -> Response:
    scope, given = scope_of(request), await json_body(request, ModelVersionStageSet)
    version = await services_of(request).aliases.set_stage(
        scope,
        request.path_params["id"],
        request.path_params["v"],
        domain.Stage(given.stage.value),
        archive_existing=given.archive_existing,
    )
    return answer((await version_bodies(request, scope, [version]))[0])


# --- comparison ----------------------------------------------------------------------------------


async def _compare(request: Request) -> Response:
    scope, given = scope_of(request), query(request, _CompareQuery)
    found = await services_of(request).comparisons.compare_named(
        scope, request.path_params["id"], request.path_params["v"], to=given.to, to_model=given.to_model
    )
    left, right = await version_bodies(request, scope, [found.left, found.right])
    return answer(
        ModelVersionComparison(
            left=left,
            right=right,
            same_file=found.same_file,
            metrics=[
                MetricComparison(key=each.key, left=_figure(each.left), right=_figure(each.right))
                for each in found.metrics
            ],
            config=_values(found.config),
            architecture=_values(found.architecture),
            tensors=None if found.tensors is None else [_tensors(each) for each in found.tensors],
        )
    )


def _figure(value: float | None) -> Any:
    return None if value is None else write_float(value)


def _values(found: Sequence[comparison.ValueDifference] | None) -> list[ValueDifference] | None:
    if found is None:
        return None
    return [
        ValueDifference(path=each.path, change=_kind(each.change), left=each.left, right=each.right) for each in found
    ]


def _tensors(found: comparison.TensorDifference) -> TensorDifference:
    return TensorDifference(
        name=found.name, change=_kind(found.change), left=_tensor(found.left), right=_tensor(found.right)
    )


def _tensor(found: StoredTensor | None) -> TensorSpec | None:
    return None if found is None else TensorSpec(name=found.name, dtype=found.dtype, shape=found.shape)


def _kind(found: comparison.DifferenceKind) -> DifferenceKind:
    return DifferenceKind(found.value)


# --- lineage -------------------------------------------------------------------------------------


async def _version_endpoints(request: Request) -> Response:
    scope, page, services = scope_of(request), query(request, _Piece).page(), services_of(request)
    version = await services.models.get_version(scope, request.path_params["id"], request.path_params["v"])
    found = (await services.endpoints.of_versions(scope, [version.id], page))[version.id]
    return answer(
        EndpointList(
            items=await endpoint_bodies(request, scope, found.nodes),
            total=found.total_count,
            next_cursor=found.cursors[-1] if found.has_next_page and found.cursors else None,
        )
    )


async def _run_versions(request: Request) -> Response:
    scope, page, services = scope_of(request), query(request, _Piece).page(), services_of(request)
    run_id = ids.parse("run", request.path_params["id"])
    run = await services.runs.get(scope, run_id)
    found = (await services.models.versions_of_runs(scope, [run.id], page))[run.id]
    return answer(
        ModelVersionList(
            items=await version_bodies(request, scope, found.nodes),
            total=found.total_count,
            next_cursor=found.cursors[-1] if found.has_next_page and found.cursors else None,
        )
    )


ROUTES: Final = (
    Route(operations.ALIAS_LIST, _list),
    Route(operations.ALIAS_SET, _set),
    Route(operations.ALIAS_DELETE, _delete),
    Route(operations.STAGE_SET, _stage),
    Route(operations.COMPARE, _compare),
    Route(operations.VERSION_ENDPOINTS, _version_endpoints),
    Route(operations.RUN_VERSIONS, _run_versions),
)
