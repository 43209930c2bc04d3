"""The forms of a metric batch that scripts send most, read from JSON straight into columns.

Only what is plain is taken here: many points by key, or columns, each with its step, all numbers finite. Everything
else, and everything that is wrong, is left to `domain.metrics.decode`, which knows every form and names every field.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, Final, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta, Struct

from domain.errors import BadUserInput
from domain.metrics import Draft, DraftBuilder, Floats, Ints
from domain.metrics.batch import MAX_TIMESTAMP, MIN_TIMESTAMP, NO_TIMESTAMP

_WORTH: Final = 512
"""Smaller bodies are read as fast without."""

_Time: TypeAlias = Annotated[int, Meta(ge=MIN_TIMESTAMP, le=MAX_TIMESTAMP)]


class _Point(Struct, gc=False, forbid_unknown_fields=True):
    key: str
    value: float
    step: int
    timestamp: _Time = NO_TIMESTAMP


class _Series(Struct, gc=False, forbid_unknown_fields=True):
    values: list[float]
    steps: list[int]
    timestamps: list[_Time] | None = None


class _Points(Struct, forbid_unknown_fields=True):
    metrics: list[_Point]


class _Columns(Struct, forbid_unknown_fields=True):
    series: dict[str, _Series]


_points: Final = msgspec.json.Decoder(_Points)
_columns: Final = msgspec.json.Decoder(_Columns)
_KEY, _VALUE, _STEP, _TIMESTAMP = map(attrgetter, ("key", "value", "step", "timestamp"))


def plain(body: bytes) -> Draft | None:
    """The draft of a plain body; None when it is not one."""
    if len(body) < _WORTH:
        return None
    start = body[:64].lstrip(b" \t\r\n{")
    try:
        if start.startswith(b'"metrics"'):
            return _of_points(_points.decode(body).metrics)
        if start.startswith(b'"series"'):
            return _of_columns(_columns.decode(body).series)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError, BadUserInput):
        pass
    return None


def _of_points(points: list[_Point]) -> Draft | None:
    if not points:
        return None
    keys = list(map(_KEY, points))
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    count = len(points)
    values = np.fromiter(map(_VALUE, points), np.float64, count)
    steps = np.fromiter(map(_STEP, points), np.int64, count)
    timestamps = np.fromiter(map(_TIMESTAMP, points), np.int64, count)
    of = np.fromiter(map(places.__getitem__, keys), np.int64, count)
    order = np.argsort(of, kind="stable")  # each key's points stay in the order in which they were sent
    ends = np.cumsum(np.bincount(of)).tolist()
    values, steps, timestamps = values[order], steps[order], timestamps[order]
    timed = bool((timestamps != NO_TIMESTAMP).all())
    builder = DraftBuilder()
    start = 0
    for key, end in zip(places, ends, strict=True):
        part = slice(start, end)
        builder.plain_column(key, values[part], steps[part], timestamps[part], complete=timed, field="metrics")
        start = end
    return _built(builder, len(places))


def _of_columns(series: dict[str, _Series]) -> Draft | None:
    builder = DraftBuilder()
    for key, column in series.items():
        count, timestamps = len(column.values), column.timestamps
        if not count == len(column.steps) == (count if timestamps is None else len(timestamps)) or not count:
            return None
        times = np.full(count, NO_TIMESTAMP) if timestamps is None else _whole(timestamps)
        complete = timestamps is not None
        values: Floats = np.array(column.values, np.float64)
        builder.plain_column(key, values, _whole(column.steps), times, complete=complete, field="series")
    return _built(builder, len(series)) if series else None


def _whole(numbers: Sequence[int]) -> Ints:
    return np.array(numbers, np.int64)


def _built(builder: DraftBuilder, keys: int) -> Draft | None:
    """None when two spellings of one key came: their points have an order, which columns lost."""
    draft = builder.build()
    return draft if len(draft.columns) == keys else None
