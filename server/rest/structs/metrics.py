"""Shapes of metric ingest and of the series read back.

The flat and the NDJSON form are read by the ingest decoder, not by msgspec alone: a flat point is an open object
whose fields are the metric keys. The types here say what it accepts.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from server.rest.structs.common import AnswerBody, BigInt, FloatValue, Key, RequestBody, Timestamp

MAX_POINTS = 100_000

MetricsFlat = Annotated[
    dict[Key, FloatValue | BigInt | None],
    Meta(
        title="MetricsFlat",
        description=(
            "One step of a script: `step` and `timestamp` place the point, every other field is a metric key "
            "(`epoch` too). Null is skipped; booleans, nested values and other strings are refused."
        ),
        min_length=1,
        extra_json_schema={
            "properties": {
                "step": {
                    "description": "Step; left out: the epoch if given, else the run's last step + 1.",
                    "anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^-?[0-9]{1,19}$"}],
                },
                "timestamp": {
                    "description": "Milliseconds since 1970 in UTC; left out: on arrival.",
                    "type": "integer",
                },
            }
        },
    ),
]
MetricsFlatList = Annotated[
    list[MetricsFlat],
    Meta(min_length=1, max_length=MAX_POINTS, description="Several steps, all or none."),
]


class MetricEntry(RequestBody, kw_only=True):
    """One value of one metric."""

    key: Annotated[Key, Meta(description="Metric key.")]
    value: Annotated[FloatValue, Meta(description="The value.")]
    step: Annotated[BigInt | None, Meta(description="Step; left out: the run's last step + 1.")] = None
    timestamp: Annotated[Timestamp | None, Meta(description="Milliseconds since 1970; left out: on arrival.")] = None


class MetricsEntries(RequestBody, kw_only=True):
    """Single values, all or none."""

    metrics: Annotated[list[MetricEntry], Meta(min_length=1, max_length=MAX_POINTS, description="The values.")]


class MetricsColumn(RequestBody, kw_only=True):
    """The points of one metric as columns of equal length."""

    values: Annotated[list[FloatValue], Meta(min_length=1, max_length=MAX_POINTS, description="Value of each point.")]
    steps: Annotated[
        Annotated[list[BigInt], Meta(max_length=MAX_POINTS)] | None,
        Meta(description="Step of each point; left out: on from the run's last step."),
    ] = None
    timestamps: Annotated[
        Annotated[list[Timestamp], Meta(max_length=MAX_POINTS)] | None,
        Meta(description="Milliseconds since 1970 of each point; left out: on arrival."),
    ] = None


class MetricsColumns(RequestBody, kw_only=True):
    """Whole columns by metric key, all or none."""

    series: Annotated[dict[Key, MetricsColumn], Meta(min_length=1, description="Columns by metric key.")]


class MetricsAccepted(AnswerBody, kw_only=True):
    """Points that are durable now."""

    accepted: Annotated[int, Meta(description="How many points were taken.")]
    cursor: Annotated[str, Meta(description="Place after this batch; a valid `after` of the live stream.")]
    stop_requested: Annotated[bool, Meta(description="The script should end itself.")]


class MetricsSeries(AnswerBody, kw_only=True):
    """One metric as columns of equal length, ordered along the chosen axis."""

    steps: Annotated[list[BigInt], Meta(description="Step of each point.")]
    values: Annotated[list[FloatValue], Meta(description="Value of each point (of a bucket: its last).")]
    timestamps: Annotated[list[int], Meta(description="Milliseconds since 1970 of each point.")]
    min: Annotated[
        list[FloatValue] | UnsetType, Meta(description="Smallest value per bucket; only when downsampled.")
    ] = UNSET
    max: Annotated[
        list[FloatValue] | UnsetType, Meta(description="Largest value per bucket; only when downsampled.")
    ] = UNSET
    count: Annotated[BigInt, Meta(description="How many accepted points lie behind these.")]
    downsampled: Annotated[bool, Meta(description="Whether points were merged into buckets.")]


class MetricsRead(AnswerBody, kw_only=True):
    """Series by metric key, and the place up to which they are complete."""

    series: Annotated[dict[str, MetricsSeries], Meta(description="Series by metric key.")]
    cursor: Annotated[str, Meta(description="Everything up to here is included; a valid `after` of the live stream.")]
    next_cursor: Annotated[
        str | None,
        Meta(description="The next page of keys as `cursor`; null after the last, and where keys were named."),
    ]


MetricsRow = Annotated[
    dict[str, FloatValue | BigInt],
    Meta(
        title="MetricsRow",
        description="All values of one step: `step`, `timestamp` (milliseconds since 1970), every key's value.",
    ),
]
MetricsRows = Annotated[list[MetricsRow], Meta(description="One row per step, in step order.")]
