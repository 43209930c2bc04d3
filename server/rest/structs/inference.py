"""Shapes of endpoints and predictions. Tensors are nested JSON lists here; checking them is not done here."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from server.rest.structs.common import AnswerBody, DateTime, NextCursor, Reference, RequestBody, Slug, Total

Replicas = Annotated[int, Meta(ge=1, le=64)]
Weight = Annotated[int, Meta(ge=0, le=100)]
Share = Annotated[int, Meta(ge=1, le=100)]
Port = Annotated[int, Meta(ge=0, le=65_535)]


class EndpointStatus(StrEnum):
    """Stopped, starting, running, draining, stopped again; or failed, with the reason."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    FAILED = "failed"


class EndpointTraffic(AnswerBody, kw_only=True):
    """A version behind an endpoint and its share of the requests."""

    version_id: Annotated[str | None, Meta(description="The version (`ver_…`); null when it is gone.")]
    model_name: Annotated[str | None, Meta(description="Name of its model; null when it is gone.")]
    version: Annotated[int | None, Meta(description="Its number; null when it is gone.")]
    weight: Annotated[int, Meta(description="Share of the requests in percent; the weights add up to 100.")]
    failure: Annotated[str | None, Meta(description="Why it takes no requests at present; null while it does.")]


class EndpointConfig(AnswerBody, kw_only=True):
    """How an endpoint batches, queues and computes."""

    max_batch_rows: Annotated[int, Meta(description="Most rows in one forward pass.")]
    max_queue_rows: Annotated[int, Meta(description="Most rows waiting; more are answered OVERLOADED.")]
    queue_delay_us: Annotated[int, Meta(description="Longest extra wait for a fuller batch, in microseconds; 0: none.")]
    timeout_ms: Annotated[int, Meta(description="How long a prediction may take in all.")]
    threads: Annotated[int, Meta(description="Compute threads per replica.")]
    drain_timeout_seconds: Annotated[int, Meta(description="Longest time to finish accepted requests when stopping.")]
    max_memory_bytes: Annotated[int, Meta(description="Most memory of one replica, in bytes; 0: no limit.")]
    device: Annotated[str, Meta(description="Where it computes: `cpu`, `cuda:0`, or `cuda` for all GPUs in turn.")]
    force: Annotated[bool, Meta(description="Whether replicas times threads may be more than the cores.")]
    port: Annotated[int | None, Meta(description="The port of its own that it asks for while it runs; 0: any.")]


class EndpointConfigInput(RequestBody, kw_only=True):
    """Settings to change. What is left out stays, or takes its default on a new endpoint."""

    max_batch_rows: Annotated[
        Annotated[int, Meta(ge=1, le=4_096)] | UnsetType, Meta(description="Most rows in one forward pass.")
    ] = UNSET
    max_queue_rows: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType, Meta(description="Most rows waiting per replica.")
    ] = UNSET
    queue_delay_us: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType,
        Meta(description="Longest extra wait for a fuller batch, in microseconds."),
    ] = UNSET
    timeout_ms: Annotated[
        Annotated[int, Meta(ge=1, le=600_000)] | UnsetType, Meta(description="How long a prediction may take in all.")
    ] = UNSET
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=256)] | UnsetType, Meta(description="Compute threads per replica.")
    ] = UNSET
    drain_timeout_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=600)] | UnsetType,
        Meta(description="Longest time to finish accepted requests when stopping."),
    ] = UNSET
    max_memory_bytes: Annotated[
        Annotated[int, Meta(ge=0, le=2**53 - 1)] | UnsetType,
        Meta(description="Most memory of one replica, in bytes; one that holds more is replaced. 0: no limit."),
    ] = UNSET
    device: Annotated[
        Annotated[str, Meta(pattern="^(cpu|cuda(:[0-9]{1,2})?)$")] | UnsetType,
        Meta(description="Where it computes: `cpu`, `cuda:0`, or `cuda` for all GPUs in turn."),
    ] = UNSET
    force: Annotated[
        bool | UnsetType, Meta(description="True allows more replicas times threads than the server has cores.")
    ] = UNSET


class EndpointWarmUp(AnswerBody, kw_only=True):
    """What loading a version cost, in the slowest of its replicas; bytes are those of one replica."""

    version_id: Annotated[str, Meta(description="The version (`ver_…`).")]
    load_ms: Annotated[float, Meta(description="Milliseconds to build the model and map its weights.")]
    batch_one_ms: Annotated[float, Meta(description="Median milliseconds of a forward pass of one row.")]
    batch_max_ms: Annotated[float, Meta(description="Median milliseconds of one of `max_batch_rows` rows.")]
    max_batch_rows: Annotated[int, Meta(description="The rows of the largest batch that was measured.")]
    resident_bytes: Annotated[int, Meta(description="Memory, with pages that replicas share.")]
    private_bytes: Annotated[int, Meta(description="Memory that no other process shares.")]
    device_bytes: Annotated[int, Meta(description="Memory of its GPU; 0 on a CPU.")]
    threads: Annotated[int, Meta(description="Compute threads.")]
    device: Annotated[str, Meta(description="Where it computed.")]
    measured_at: Annotated[DateTime, Meta(description="When it was measured.")]


class Endpoint(AnswerBody, kw_only=True):
    """A name under which predictions are served."""

    id: Annotated[str, Meta(description="Endpoint id (`end_…`).")]
    name: Annotated[str, Meta(description="Name, unique among the living endpoints of the workspace.")]
    status: Annotated[EndpointStatus, Meta(description="Whether it can answer.")]
    status_reason: Annotated[str | None, Meta(description="Why it failed or what it waits for.")]
    model_version_id: Annotated[
        str | None, Meta(description="The version with the largest share (`ver_…`); null: none deployed.")
    ]
    traffic: Annotated[list[EndpointTraffic], Meta(description="Versions and their shares.")]
    replicas: Annotated[int, Meta(description="Copies of each version.")]
    config: Annotated[EndpointConfig, Meta(description="How it batches, queues and computes.")]
    warm_ups: Annotated[list[EndpointWarmUp], Meta(description="What loading the versions behind it cost last.")]
    port: Annotated[int | None, Meta(description="Its own TCP port; null: the server's only.")]
    host: Annotated[str | None, Meta(description="The server at work for it; null while none is.")]
    user_id: Annotated[str, Meta(description="Who made it (`usr_…`).")]
    created_at: Annotated[DateTime, Meta(description="When it was made.")]
    updated_at: Annotated[DateTime, Meta(description="When its settings or traffic last changed.")]


class EndpointList(AnswerBody, kw_only=True):
    """A page of endpoints, newest first."""

    items: Annotated[list[Endpoint], Meta(description="The endpoints of this page.")]
    total: Total
    next_cursor: NextCursor


class EndpointCreate(RequestBody, kw_only=True):
    """An endpoint to be made, stopped unless told otherwise."""

    name: Annotated[Slug, Meta(description="Name, unique among the living endpoints of the workspace.")]
    model_version_id: Annotated[Reference, Meta(description="The version that takes its requests (`ver_…`).")]
    replicas: Annotated[Replicas, Meta(description="Copies of the model.")] = 1
    config: Annotated[EndpointConfigInput | None, Meta(description="Settings that differ from the defaults.")] = None
    port: Annotated[
        Port | None, Meta(description="A port of its own from the configured range while it runs; 0: any; null: none.")
    ] = None
    start: Annotated[bool, Meta(description="True starts it at once.")] = False


class EndpointPatch(RequestBody, kw_only=True):
    """Changes to an endpoint. What is left out stays. A running endpoint switches over without a gap."""

    model_version_id: Annotated[Reference | UnsetType, Meta(description="The version to serve instead.")] = UNSET
    weight: Annotated[
        Weight | UnsetType,
        Meta(description="Its share in percent, the others keeping their proportions; left out: 100; 0: none."),
    ] = UNSET
    traffic: Annotated[
        dict[str, Share] | UnsetType, Meta(description="Share in percent by version id; they add up to 100.")
    ] = UNSET
    port: Annotated[
        Port | UnsetType | None,
        Meta(description="A port of its own from the configured range while it runs; 0: any; null: none."),
    ] = UNSET
    replicas: Annotated[Replicas | UnsetType, Meta(description="Copies of the model.")] = UNSET
    config: Annotated[EndpointConfigInput | UnsetType, Meta(description="Settings to change.")] = UNSET


class PredictRequest(RequestBody, kw_only=True):
    """Rows to predict: exactly one of `inputs` and `instances`."""

    inputs: Annotated[
        list[Any] | dict[str, list[Any]] | UnsetType,
        Meta(description="Rows, when the model has one input; or rows by input name."),
    ] = UNSET
    instances: Annotated[
        list[Any] | UnsetType, Meta(description="Rows in the TensorFlow Serving form; answers `predictions`.")
    ] = UNSET
    timeout_ms: Annotated[
        Annotated[int, Meta(ge=1, le=600_000)] | None, Meta(description="Deadline; left out: that of the endpoint.")
    ] = None
    id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None,
        Meta(description="The same id meets the same version while the shares stay; `X-Axonml-Sticky` comes first."),
    ] = None


class PredictResponse(AnswerBody, kw_only=True):
    """Predictions, in the order of the rows."""

    outputs: Annotated[
        list[Any] | dict[str, list[Any]],
        Meta(description="Rows, when the model has one output or `inputs` were rows; else rows by output name."),
    ]
    endpoint: Annotated[str, Meta(description="Name of the endpoint.")]
    version: Annotated[int, Meta(description="Number of the version that computed this.")]
    rows: Annotated[int, Meta(description="How many rows were predicted.")]
    latency_ms: Annotated[float, Meta(description="Time from the request's arrival to its answer.")]


class Predictions(AnswerBody, kw_only=True):
    """The answer to `instances`."""

    predictions: Annotated[list[Any], Meta(description="Predictions, in the order of the rows.")]
