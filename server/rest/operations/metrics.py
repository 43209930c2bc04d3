"""Logging metrics and reading them back."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from server.rest.operations.common import RUN_ID
from server.rest.route import (
    ARROW,
    BINARY,
    CSV,
    JSON,
    NDJSON,
    Answer,
    Content,
    OneOf,
    Operation,
    Param,
    Raw,
    json_answer,
)
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
_TABLE = Raw(
    {
        "type": "string",
        "description": (
            "Columns key, step, timestamp, value; one accepted point per row. A key that begins with = + - @ (or their"
            " full-width forms) or ' has one ' before it, so that no spreadsheet runs it; readers take that sign off."
        ),
    }
)
_ARROW = Raw(
    {
        **BINARY.schema,
        "description": (
            "An Arrow IPC stream of key (utf8), step (int64), timestamp (ms, UTC), value (float64), one accepted point"
            " per row. A stream without its end-of-stream mark was broken off."
        ),
    }
)
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
        " A body may be sent with Content-Encoding: gzip or zstd."
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
        " survive. With `format=rows` the same as rows, which have the last value of a bucket alone; `csv`, `ndjson`"
        " and `arrow` stream every accepted point of the keys named, or of all; an answer that ends without being whole"
        " was broken off."
    ),
    params=(
        RUN_ID,
        Param(
            "keys",
            list[Annotated[str, Meta(min_length=1, max_length=250)]],
            "Metric keys, the parameter repeated for each, at most 200; left out: a page of all keys, in order.",
        ),
        Param("limit", Annotated[int, Meta(ge=1, le=200)], "Most keys of a page.", default=20),
        Param(
            "cursor",
            Annotated[str, Meta(min_length=1, max_length=2_048)],
            "The `next_cursor` of the page of keys before; not together with `keys`, nor in an export.",
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
            Literal["series", "rows", "csv", "ndjson", "arrow"],
            "The form of the answer; left out: that whose media type `Accept` names first, else `series`.",
        ),
        Param(
            "stream",
            Literal["metrics", "system"],
            "What is answered where no keys are named: the script's metrics, or its load (`system/…`).",
            default="metrics",
        ),
    ),
    answers={
        200: Answer(
            "The metrics.",
            {JSON: OneOf((MetricsRead, MetricsRows)), CSV: _TABLE, NDJSON: _POINTS, ARROW: _ARROW},
        )
    },
)

RUN_STREAM = Operation(
    method="get",
    path="/api/training/runs/{id}/stream",
    operation_id="runStream",
    tag="metrics",
    summary="Live metrics (WebSocket)",
    description=(
        "A WebSocket handshake, authenticated by its `Authorization` header, or by the session cookie with a matching"
        " Origin; what is wrong with it is answered with a status below before the socket opens."
        ' First `{"type": "metrics", "data": {"epoch", "step", key: value, …}}` with the current values, empty when'
        " there are none; then at most one such message per interval with the latest value of every key that got points"
        ' (NaN and infinities as strings); `{"type": "status", "data": {"status", "completed_at"}}` on each change.'
        " `step` is the highest step of the run, `epoch` its latest epoch where it logs one. When the run ends, the"
        " last values come at once, then the final status; that of a run that had ended follows its current values."
        " Closes with 1000 after the final status, 1012 when the server goes down (connect again), 1013 when the client"
        " does not read or the database stays away, 4403 when the session ends, 4404 when the run is purged."
        " What the client sends is ignored. Without a handshake the answer is 400."
    ),
    params=(
        RUN_ID,
        Param(
            "interval",
            Annotated[float, Meta(ge=0.1, le=60)],
            "Least seconds between two `metrics` messages.",
            default=1,
        ),
        Param(
            "stream",
            Literal["metrics", "system"],
            "Which values are sent: the script's metrics, or its load (`system/…`).",
            default="metrics",
        ),
    ),
    answers={101: Answer("The protocol is switched; messages follow.")},
)

OPERATIONS = (METRICS_LOG, METRICS_READ, RUN_STREAM)
