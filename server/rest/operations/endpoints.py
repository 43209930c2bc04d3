"""Endpoints and predictions over REST."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.rest.operations.common import ENDPOINT, PAGE, WAIT
from server.rest.route import JSON, NO_CONTENT, Answer, OneOf, Operation, Param, json_answer, json_body
from server.rest.structs.inference import (
    Endpoint,
    EndpointCreate,
    EndpointList,
    EndpointPatch,
    Predictions,
    PredictRequest,
    PredictResponse,
)

STICKY = "X-Axonml-Sticky"
VERSION = "X-Axonml-Version"

_ENDPOINT = json_answer(Endpoint, "The endpoint as it is now.")

ENDPOINT_LIST = Operation(
    method="get",
    path="/api/inference/endpoints",
    operation_id="endpoints",
    tag="inference",
    summary="List endpoints",
    description="The endpoints of the workspace, newest first.",
    params=PAGE,
    answers={200: json_answer(EndpointList, "A page of endpoints.")},
)
ENDPOINT_CREATE = Operation(
    method="post",
    path="/api/inference/endpoints",
    operation_id="endpointCreate",
    tag="inference",
    summary="Make an endpoint",
    description=(
        "Makes an endpoint, stopped unless `start` is true. A name that an endpoint of the workspace has, or a version"
        " that cannot be served, is a conflict."
    ),
    request=json_body(EndpointCreate, "The endpoint to make."),
    answers={201: json_answer(Endpoint, "The new endpoint.")},
    errors=(409,),
    idempotent=True,
)
ENDPOINT_GET = Operation(
    method="get",
    path="/api/inference/endpoints/{id}",
    operation_id="endpoint",
    tag="inference",
    summary="Get an endpoint",
    description="One endpoint by id or name.",
    params=(ENDPOINT,),
    answers={200: json_answer(Endpoint, "The endpoint.")},
)
ENDPOINT_UPDATE = Operation(
    method="put",
    path="/api/inference/endpoints/{id}",
    operation_id="endpointUpdate",
    tag="inference",
    summary="Change an endpoint",
    description=(
        "Changes what the body names and keeps the rest. A running endpoint switches over without a gap; what cannot be"
        " loaded leaves it as it was, and `status_reason` says why."
    ),
    params=(ENDPOINT, WAIT),
    request=json_body(EndpointPatch, "The changes."),
    answers={200: _ENDPOINT},
    errors=(409,),
)
ENDPOINT_DELETE = Operation(
    method="delete",
    path="/api/inference/endpoints/{id}",
    operation_id="endpointDelete",
    tag="inference",
    summary="Delete an endpoint",
    description="Deletes an endpoint that is stopped or failed; one that runs is a conflict. Its versions stay.",
    params=(ENDPOINT,),
    answers=NO_CONTENT,
    errors=(409,),
)
ENDPOINT_START = Operation(
    method="post",
    path="/api/inference/endpoints/{id}/start",
    operation_id="endpointStart",
    tag="inference",
    summary="Start an endpoint",
    description="Loads the model and serves it. A running or starting endpoint stays as it is.",
    params=(ENDPOINT, WAIT),
    answers={200: _ENDPOINT},
    errors=(409,),
)
ENDPOINT_STOP = Operation(
    method="post",
    path="/api/inference/endpoints/{id}/stop",
    operation_id="endpointStop",
    tag="inference",
    summary="Stop an endpoint",
    description="Takes no new requests, finishes what it accepted, and unloads. A stopped endpoint stays as it is.",
    params=(ENDPOINT, WAIT),
    answers={200: _ENDPOINT},
    errors=(409,),
)
PREDICT = Operation(
    method="post",
    path="/api/inference/predict/{name}",
    operation_id="predict",
    tag="inference",
    summary="Predict",
    description=(
        "Computes the rows, batched with those of other callers. `inputs` answers `outputs` in the same form (rows, or"
        " rows by name); `instances` answers `predictions`. An endpoint that does not run is UNAVAILABLE, a full queue"
        " OVERLOADED."
    ),
    params=(
        Param("name", Annotated[str, Meta(min_length=1, max_length=128)], "Name or id of the endpoint.", "path"),
        Param(
            STICKY,
            Annotated[str, Meta(min_length=1, max_length=256)],
            "The same text meets the same version while the shares stay.",
            "header",
        ),
    ),
    request=json_body(PredictRequest, "The rows."),
    answers={
        200: Answer(
            "The predictions.",
            {JSON: OneOf((PredictResponse, Predictions))},
            {VERSION: "Number of the version that computed this."},
        )
    },
    errors=(504,),
)

OPERATIONS = (
    ENDPOINT_LIST,
    ENDPOINT_CREATE,
    ENDPOINT_GET,
    ENDPOINT_UPDATE,
    ENDPOINT_DELETE,
    ENDPOINT_START,
    ENDPOINT_STOP,
    PREDICT,
)
