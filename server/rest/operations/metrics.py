"""Logging metrics and reading them back."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from server.rest.operations.common import RUN_ID
from server.rest.route import CSV, JSON, NDJSON, Answer, Content, OneOf, Operation, Param, Raw, json_answer
from server.rest.structs.common import FloatValue
from server.rest.structs.metrics import (
    MetricsAccepted,
    MetricsColumns,
    MetricsEntries,
    MetricsFlat,
    MetricsFlatList,
    MetricsRead,
    MetricsRows,
)

_LINES = Raw({"type": "string", "description": "One JSON value per line, each in one of the JSON forms."})
_TABLE = Raw({"type": "string", "description": "Columns key, step, timestamp, value; one accepted point per row."})
_POINTS = Raw({"type": "string", "description": "One object {key, step, timestamp, value} per line."})

METRICS_LOG = Operation(
    method="post",
    path="/api/training/runs/{id}/metrics",
    operation_id="metricsLog",
    tag="metrics",
    summary="Log metrics",
    description=(
        "Takes a batch in any of the forms below, all or nothing, and answers when it is durable. The Idempotency-Key"
        " is the batch id: the same batch again answers the first result, another one with the same key is a conflict."
        " A pending run starts; an ended run is a conflict. Equal steps are all kept; the last accepted is shown."
        " A body may be sent with Content-Encoding: gzip."
    ),
    params=(RUN_ID,),
    request=Content(
        "One flat object, a list of them, single values, columns, or lines of any of these.",
        {
            JSON: OneOf((MetricsFlat, MetricsFlatList, MetricsEntries, MetricsColumns)),
            NDJSON: _LINES,
        },
    ),
    answers={200: json_answer(MetricsAccepted, "The points are durable.")},
    errors=(409,),
    idempotent=True,
)
METRICS_READ = Operation(
    method="get",
    path="/api/training/runs/{id}/metrics",
    operation_id="runMetrics",
    tag="metrics",
    summary="Read metrics",
    description=(
        "Series of a run, at most `points` buckets per key: first, last, smallest and largest value of a bucket"
        " survive. With `format=rows` the same as rows; `csv` and `ndjson` stream every accepted point."
    ),
    params=(
        RUN_ID,
        Param(
            "keys",
            list[Annotated[str, Meta(min_length=1, max_length=250)]],
            "Metric keys, the parameter repeated for each, at most 200; left out: the first 20 keys in order.",
        ),
        Param("points", Annotated[int, Meta(ge=1, le=10_000)], "Most buckets per key.", default=1000),
        Param("axis", Literal["step", "time", "relative"], "What `from` and `to` mean.", default="step"),
        Param(
            "from",
            FloatValue,
            "Smallest x: a step, milliseconds since 1970, or seconds since the start of the run.",
        ),
        Param("to", FloatValue, "Largest x, in the same unit."),
        Param(
            "format",
            Literal["series", "rows", "csv", "ndjson"],
            "The form of the answer.",
            default="series",
        ),
    ),
    answers={
        200: Answer(
            "The metrics.",
            {JSON: OneOf((MetricsRead, MetricsRows)), CSV: _TABLE, NDJSON: _POINTS},
        )
    },
)

OPERATIONS = (METRICS_LOG, METRICS_READ)
