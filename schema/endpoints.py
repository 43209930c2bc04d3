"""The part of the graph about endpoints and predictions."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import strawberry

from domain import endpoints
from domain.endpoints import ConfigChanges, PredictionRequest
from domain.endpoints.warm_ups import WarmUpReport
from domain.errors import BadUserInput
from resolvers import endpoints as resolve
from resolvers.runs import Deleted as DeletedId
from schema.models import ModelVersion
from schema.node import Node
from schema.paging import Connection
from schema.runs import Deleted
from schema.scalars import JSON, BigInt

if TYPE_CHECKING:
    from resolvers.context import Context
    from schema.identity import User


strawberry.enum(endpoints.EndpointStatus)


@strawberry.type
class EndpointTraffic:
    version: Annotated[ModelVersion | None, strawberry.field(resolver=resolve.version_of_traffic)]
    weight: int
    failure: str | None


@strawberry.type
class EndpointConfig:
    max_batch_rows: int
    max_queue_rows: int
    queue_delay_us: int
    timeout_ms: int
    threads: int
    drain_timeout_seconds: int
    max_memory_bytes: BigInt
    device: str
    force: bool
    port: int | None


def _measured(name: str) -> Any:
    """A field of what was measured."""

    def resolver(parent: strawberry.Parent[WarmUpReport]) -> Any:
        return getattr(parent.measured, name)

    return strawberry.field(resolver=resolver)


@strawberry.type
class EndpointWarmUp:
    version: Annotated[ModelVersion | None, strawberry.field(resolver=resolve.version_of_traffic)]
    load_ms: Annotated[float, _measured("load_ms")]
    batch_one_ms: Annotated[float, _measured("batch_one_ms")]
    batch_max_ms: Annotated[float, _measured("batch_max_ms")]
    max_batch_rows: int
    resident_bytes: Annotated[BigInt, _measured("resident_bytes")]
    private_bytes: Annotated[BigInt, _measured("private_bytes")]
    device_bytes: Annotated[BigInt, _measured("device_bytes")]
    threads: Annotated[int, _measured("threads")]
    device: str
    measured_at: datetime


@strawberry.type
class Endpoint(Node):
    name: str
    status: endpoints.EndpointStatus
    status_reason: str | None
    traffic: list[EndpointTraffic]
    replicas: int
    config: EndpointConfig
    warm_ups: Annotated[list[EndpointWarmUp], strawberry.field(resolver=resolve.warm_ups)]
    port: int | None
    host: str | None
    owner: Annotated[Annotated[User, strawberry.lazy("schema.identity")], strawberry.field(resolver=resolve.owner)]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, endpoints.Endpoint)


@strawberry.type
class Prediction:
    outputs: JSON
    endpoint: str
    version: int
    rows: int
    latency_ms: float


@strawberry.input
class EndpointConfigInput:
    max_batch_rows: int | None = strawberry.UNSET
    max_queue_rows: int | None = strawberry.UNSET
    queue_delay_us: int | None = strawberry.UNSET
    timeout_ms: int | None = strawberry.UNSET
    threads: int | None = strawberry.UNSET
    drain_timeout_seconds: int | None = strawberry.UNSET
    max_memory_bytes: BigInt | None = strawberry.UNSET
    device: str | None = strawberry.UNSET
    force: bool | None = strawberry.UNSET


@strawberry.input
class EndpointCreateInput:
    name: str
    version_id: strawberry.ID
    replicas: int = 1
    config: EndpointConfigInput | None = strawberry.UNSET
    port: int | None = strawberry.UNSET
    start: bool = False
    client_token: str | None = strawberry.UNSET


@strawberry.input
class EndpointTrafficInput:
    version_id: strawberry.ID
    weight: int


@strawberry.input
class EndpointUpdateInput:
    id: strawberry.ID
    version_id: strawberry.ID | None = strawberry.UNSET
    weight: int | None = strawberry.UNSET
    traffic: list[EndpointTrafficInput] | None = strawberry.UNSET
    port: int | None = strawberry.UNSET
    replicas: int | None = strawberry.UNSET
    config: EndpointConfigInput | None = strawberry.UNSET


@strawberry.input
class EndpointIdInput:
    id: strawberry.ID


@strawberry.input
class ModelVersionDeployInput:
    version_id: strawberry.ID
    endpoint: str
    replicas: int | None = strawberry.UNSET
    config: EndpointConfigInput | None = strawberry.UNSET
    weight: int | None = strawberry.UNSET


def _given(value: Any) -> Any:
    """The value, None when it was left out: nothing of an endpoint can be cleared."""
    return None if value is strawberry.UNSET else value


def _config(given: EndpointConfigInput | None, port: int | None = strawberry.UNSET) -> ConfigChanges | None:
    values = {}
    if given is not None and given is not strawberry.UNSET:
        for name in ConfigChanges.__annotations__.keys() - {"port"}:
            if (value := _given(getattr(given, name))) is not None:
                values[name] = value
    if port is not strawberry.UNSET:
        values["port"] = port
    return cast("ConfigChanges", values) if values else None


def _shares(given: list[EndpointTrafficInput] | None) -> dict[str, int] | None:
    if given is None or given is strawberry.UNSET:
        return None
    shares = {str(share.version_id): share.weight for share in given}
    if len(shares) < len(given):
        raise BadUserInput("a version is named twice", field="traffic")
    return shares


def _predict(
    info: strawberry.Info[Context, None],
    endpoint: str,
    inputs: JSON,
    timeout_ms: int | None = strawberry.UNSET,
    sticky: str | None = strawberry.UNSET,
) -> Awaitable[Any]:
    request = PredictionRequest(endpoint, inputs, timeout_ms=_given(timeout_ms), sticky=_given(sticky))
    return resolve.predict(info, request)


async def _create(
    info: strawberry.Info[Context, None], given: Annotated[EndpointCreateInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.endpoints.create(
        info.context.require_scope(),
        name=given.name,
        version_id=str(given.version_id),
        replicas=given.replicas,
        config=_config(given.config, given.port),
        start=given.start,
        client_token=_given(given.client_token),
    )


async def _update(
    info: strawberry.Info[Context, None], given: Annotated[EndpointUpdateInput, strawberry.argument(name="input")]
) -> Any:
    version_id = _given(given.version_id)
    return await info.context.services.endpoints.update(
        info.context.require_scope(),
        resolve.endpoint_id(str(given.id)),
        version_id=None if version_id is None else str(version_id),
        weight=_given(given.weight),
        traffic=_shares(given.traffic),
        replicas=_given(given.replicas),
        config=_config(given.config, given.port),
    )


async def _delete(
    info: strawberry.Info[Context, None], given: Annotated[EndpointIdInput, strawberry.argument(name="input")]
) -> Any:
    scope = info.context.require_scope()
    return DeletedId(await info.context.services.endpoints.delete(scope, resolve.endpoint_id(str(given.id))))


async def _start(
    info: strawberry.Info[Context, None], given: Annotated[EndpointIdInput, strawberry.argument(name="input")]
) -> Any:
    scope = info.context.require_scope()
    return await info.context.services.endpoints.start(scope, resolve.endpoint_id(str(given.id)))


async def _stop(
    info: strawberry.Info[Context, None], given: Annotated[EndpointIdInput, strawberry.argument(name="input")]
) -> Any:
    scope = info.context.require_scope()
    return await info.context.services.endpoints.stop(scope, resolve.endpoint_id(str(given.id)))


async def _deploy(
    info: strawberry.Info[Context, None], given: Annotated[ModelVersionDeployInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.endpoints.deploy(
        info.context.require_scope(),
        str(given.version_id),
        endpoint=given.endpoint,
        weight=_given(given.weight),
        replicas=_given(given.replicas),
        config=_config(given.config),
    )


@strawberry.type
class EndpointQuery:
    endpoints: Annotated[Connection[Endpoint], strawberry.field(resolver=resolve.endpoints)]
    endpoint: Annotated[Endpoint | None, strawberry.field(resolver=resolve.endpoint)]
    predict: Annotated[Prediction, strawberry.field(resolver=_predict)]


@strawberry.type
class EndpointMutation:
    model_version_deploy: Annotated[Endpoint, strawberry.mutation(resolver=_deploy)]
    endpoint_create: Annotated[Endpoint, strawberry.mutation(resolver=_create)]
    endpoint_update: Annotated[Endpoint, strawberry.mutation(resolver=_update)]
    endpoint_delete: Annotated[Deleted, strawberry.mutation(resolver=_delete)]
    endpoint_start: Annotated[Endpoint, strawberry.mutation(resolver=_start)]
    endpoint_stop: Annotated[Endpoint, strawberry.mutation(resolver=_stop)]
