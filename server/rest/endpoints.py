"""`/api/inference/...` and deploying: endpoints and predictions over REST. Thin; predicting touches no database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

from msgspec import UNSET, Meta, Struct, UnsetType, structs
from starlette.requests import Request
from starlette.responses import Response

from domain import endpoints as domain
from domain import ids
from domain.access import Scope
from domain.endpoints import ConfigChanges, PredictionRequest
from domain.endpoints.warm_ups import WarmUpReport
from schema.scalars import write_datetime
from server.edge.identity import scope_of
from server.rest.handler import InvalidBody, answer, idempotency_key, json_body, no_content, query, services_of
from server.rest.models import PageQuery
from server.rest.operations import endpoints as operations
from server.rest.operations.endpoints import STICKY, VERSION
from server.rest.operations.models import VERSION_DEPLOY
from server.rest.route import Route
from server.rest.structs.inference import (
    Endpoint,
    EndpointConfig,
    EndpointConfigInput,
    EndpointCreate,
    EndpointList,
    EndpointPatch,
    EndpointStatus,
    EndpointTraffic,
    EndpointWarmUp,
    Predictions,
    PredictRequest,
    PredictResponse,
)
from server.rest.structs.models import Deploy


class _WaitQuery(Struct, kw_only=True):
    wait: Annotated[float, Meta(ge=0, le=300)] = 0


def _config(
    given: EndpointConfigInput | UnsetType | None, port: int | UnsetType | None = UNSET
) -> ConfigChanges | None:
    values = {} if given is None or given is UNSET else structs.asdict(given)
    values = {name: value for name, value in {**values, "port": port}.items() if value is not UNSET}
    return cast("ConfigChanges", values) if values else None


async def endpoint_bodies(request: Request, scope: Scope, found: Sequence[domain.Endpoint]) -> list[Endpoint]:
    """Endpoints as REST shows them; the versions behind them are read together."""
    wanted = sorted({share.version_id for endpoint in found for share in endpoint.traffic})
    versions = await services_of(request).endpoints.served_versions(scope, wanted)
    reports = await services_of(request).endpoints.warm_ups(scope, [endpoint.id for endpoint in found])
    return [
        Endpoint(
            id=endpoint.id,
            name=endpoint.name,
            status=EndpointStatus(endpoint.status.value),
            status_reason=endpoint.status_reason,
            model_version_id=next(
                (share.version_id for share in endpoint.traffic[:1] if share.version_id in versions), None
            ),
            traffic=[
                EndpointTraffic(
                    version_id=share.version_id if share.version_id in versions else None,
                    model_name=versions[share.version_id].model_name if share.version_id in versions else None,
                    version=versions[share.version_id].version if share.version_id in versions else None,
                    weight=share.weight,
                    failure=share.failure,
                )
                for share in endpoint.traffic
            ],
            replicas=endpoint.replicas,
            config=EndpointConfig(
                max_batch_rows=endpoint.config.max_batch_rows,
                max_queue_rows=endpoint.config.max_queue_rows,
                queue_delay_us=endpoint.config.queue_delay_us,
                timeout_ms=endpoint.config.timeout_ms,
                threads=endpoint.config.threads,
                drain_timeout_seconds=endpoint.config.drain_timeout_seconds,
                max_memory_bytes=endpoint.config.max_memory_bytes,
                device=endpoint.config.device,
                force=endpoint.config.force,
                port=endpoint.config.port,
            ),
            warm_ups=[_warm_up(report) for report in reports.get(endpoint.id, [])],
            port=endpoint.port,
            host=endpoint.host,
            user_id=endpoint.owner_id,
            created_at=write_datetime(endpoint.created_at),
            updated_at=write_datetime(endpoint.updated_at),
        )
        for endpoint in found
    ]


def _warm_up(report: WarmUpReport) -> EndpointWarmUp:
    measured = report.measured
    return EndpointWarmUp(
        version_id=report.version_id,
        load_ms=measured.load_ms,
        batch_one_ms=measured.batch_one_ms,
        batch_max_ms=measured.batch_max_ms,
        max_batch_rows=report.max_batch_rows,
        resident_bytes=measured.resident_bytes,
        private_bytes=measured.private_bytes,
        device_bytes=measured.device_bytes,
        threads=measured.threads,
        device=report.device,
        measured_at=write_datetime(report.measured_at),
    )


async def _settled(request: Request, scope: Scope, endpoint: domain.Endpoint, seconds: float) -> Response:
    """The endpoint after waiting, at most so long, for what the request set going."""
    if seconds > 0:
        endpoint = await services_of(request).endpoints.settled(scope, endpoint, seconds)
    return answer((await endpoint_bodies(request, scope, [endpoint]))[0])


async def _list(request: Request) -> Response:
    scope, given = scope_of(request), query(request, PageQuery)
    page = await services_of(request).endpoints.list(scope, given.page(), offset=given.offset)
    return answer(
        EndpointList(
            items=await endpoint_bodies(request, scope, page.nodes),
            total=page.total_count,
            next_cursor=page.cursors[-1] if page.has_next_page and page.cursors else None,
        )
    )


async def _create(request: Request) -> Response:
    scope, given = scope_of(request), await json_body(request, EndpointCreate)
    endpoint = await services_of(request).endpoints.create(
        scope,
        name=given.name,
        version_id=given.model_version_id,
        replicas=given.replicas,
        config=_config(given.config, UNSET if given.port is None else given.port),
        start=given.start,
        client_token=idempotency_key(request),
    )
    return answer((await endpoint_bodies(request, scope, [endpoint]))[0], 201)


async def _get(request: Request) -> Response:
    scope = scope_of(request)
    endpoint = await services_of(request).endpoints.get(scope, request.path_params["id"])
    return answer((await endpoint_bodies(request, scope, [endpoint]))[0])


async def _update(request: Request) -> Response:
    scope, wait = scope_of(request), query(request, _WaitQuery).wait
    given = await json_body(request, EndpointPatch)
    endpoint = await services_of(request).endpoints.update(
        scope,
        request.path_params["id"],
        version_id=None if given.model_version_id is UNSET else given.model_version_id,
        weight=None if given.weight is UNSET else given.weight,
        replicas=None if given.replicas is UNSET else given.replicas,
        traffic=None if given.traffic is UNSET else given.traffic,
        config=_config(given.config, given.port),
    )
    return await _settled(request, scope, endpoint, wait)


async def _delete(request: Request) -> Response:
    await services_of(request).endpoints.delete(scope_of(request), request.path_params["id"])
    return no_content()


async def _start(request: Request) -> Response:
    scope, wait = scope_of(request), query(request, _WaitQuery).wait
    endpoint = await services_of(request).endpoints.start(scope, request.path_params["id"])
    return await _settled(request, scope, endpoint, wait)


async def _stop(request: Request) -> Response:
    scope, wait = scope_of(request), query(request, _WaitQuery).wait
    endpoint = await services_of(request).endpoints.stop(scope, request.path_params["id"])
    return await _settled(request, scope, endpoint, wait)


async def _deploy(request: Request) -> Response:
    scope, wait = scope_of(request), query(request, _WaitQuery).wait
    given = await json_body(request, Deploy)
    services = services_of(request)
    version = await services.models.get_version(scope, request.path_params["id"], request.path_params["v"])
    endpoint = await services.endpoints.deploy(
        scope,
        version.id,
        endpoint=given.endpoint,
        weight=given.weight,
        replicas=given.replicas,
        config=_config(given.config),
        client_token=idempotency_key(request),
    )
    return await _settled(request, scope, endpoint, wait)


async def _predict(request: Request) -> Response:
    given = await json_body(request, PredictRequest)
    by_instance = given.instances is not UNSET
    if by_instance == (given.inputs is not UNSET):
        raise InvalidBody("give either inputs or instances", field="inputs")
    name = request.path_params["name"]
    if ids.looks_like_id(name):
        name = ids.parse("end", name, field="name")
    rows: Any = given.instances if by_instance else given.inputs
    sticky = request.headers.get(STICKY) or given.id
    asked = PredictionRequest(name, rows, by_instance, given.timeout_ms, sticky)
    found = await services_of(request).endpoints.predict(scope_of(request), asked)
    said = {VERSION: str(found.version)}
    if by_instance:
        return answer(Predictions(predictions=found.outputs), headers=said)
    return answer(
        PredictResponse(
            outputs=found.outputs,
            endpoint=found.endpoint,
            version=found.version,
            rows=found.rows,
            latency_ms=found.latency_ms,
        ),
        headers=said,
    )


ROUTES: Final = (
    Route(VERSION_DEPLOY, _deploy),
    Route(operations.ENDPOINT_LIST, _list),
    Route(operations.ENDPOINT_CREATE, _create),
    Route(operations.ENDPOINT_GET, _get),
    Route(operations.ENDPOINT_UPDATE, _update),
    Route(operations.ENDPOINT_DELETE, _delete),
    Route(operations.ENDPOINT_START, _start),
    Route(operations.ENDPOINT_STOP, _stop),
    Route(operations.PREDICT, _predict),
)
