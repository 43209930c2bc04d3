"""The scalars of the graph: how numbers, times and columns of numbers look on the wire.

JSON numbers hold whole numbers exactly only within ±(2^53−1), and know neither NaN nor infinity; these scalars say
what is written instead. Input is checked here, so that a wrong value is refused before any resolver runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NewType

import numpy as np
import strawberry
from strawberry.scalars import JSON

__all__ = ["JSON", "SCALARS", "BigInt", "FloatSeries", "FloatValue", "IntSeries"]

BigInt = NewType("BigInt", int)
FloatValue = NewType("FloatValue", float)
IntSeries = NewType("IntSeries", Sequence[int])
FloatSeries = NewType("FloatSeries", Sequence[float])

_SAFE = 2**53 - 1
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def write_int(value: int) -> int | str:
    """A whole number as JSON keeps it exactly."""
    return value if -_SAFE <= value <= _SAFE else str(value)


def read_int(value: Any) -> int:
    """A signed 64-bit whole number from a JSON number or a decimal string."""
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise ValueError("expected a whole number or a decimal string")
    if isinstance(value, float):
        if not value.is_integer() or abs(value) > _SAFE:
            raise ValueError("expected a whole number; beyond 2^53 send a decimal string")
        value = int(value)
    if isinstance(value, str):
        digits = value.removeprefix("-")
        if not (1 <= len(digits) <= 19 and digits.isascii() and digits.isdigit()):
            raise ValueError("expected a whole number or a decimal string")
        value = int(value)
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("expected a whole number that fits 64 bits")
    return number


def write_float(value: float) -> float | str:
    """A double as JSON can carry it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def read_float(value: Any) -> float:
    """A double from a JSON number, or from `NaN`, `Infinity`, `-Infinity`."""
    if isinstance(value, str):
        try:
            return _NON_FINITE[value]
        except KeyError:
            raise ValueError('expected a number, "NaN", "Infinity" or "-Infinity"') from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('expected a number, "NaN", "Infinity" or "-Infinity"')
    try:
        return float(value)
    except OverflowError:
        raise ValueError("expected a number that fits a double") from None


def write_ints(values: Sequence[int] | np.ndarray[Any, Any]) -> list[int | str]:
    """A column of whole numbers, in one pass when all are exact as JSON numbers."""
    column = np.asarray(values, dtype=np.int64)
    plain: list[int | str] = column.tolist()
    if column.size and (int(column.max()) > _SAFE or int(column.min()) < -_SAFE):
        return [write_int(int(value)) for value in plain]
    return plain


def write_floats(values: Sequence[float] | np.ndarray[Any, Any]) -> list[float | str]:
    """A column of doubles, in one pass when all are finite."""
    column = np.asarray(values, dtype=np.float64)
    plain: list[float | str] = column.tolist()
    if not np.isfinite(column).all():
        for place in np.flatnonzero(~np.isfinite(column)):
            plain[place] = write_float(float(column[place]))
    return plain


def read_ints(value: Any) -> list[int]:
    """A column of whole numbers."""
    if not isinstance(value, list):
        raise ValueError("expected a list of whole numbers")
    if set(map(type, value)) == {int} and min(value) >= -(2**63) and max(value) < 2**63:
        return value  # what nearly every column is, and may be long
    return [read_int(element) for element in value]


def read_floats(value: Any) -> list[float]:
    """A column of doubles."""
    if not isinstance(value, list):
        raise ValueError("expected a list of numbers")
    if set(map(type, value)) <= {int, float}:
        with suppress(OverflowError):  # refused below
            return list(map(float, value))
    return [read_float(element) for element in value]


def write_datetime(value: datetime) -> str:
    """RFC 3339, UTC, milliseconds."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_datetime(value: Any) -> datetime:
    """A moment with its offset. A time without an offset is refused: it would name no moment."""
    if not isinstance(value, str) or len(value) > 40:
        raise ValueError("expected an RFC 3339 time")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("expected an RFC 3339 time with its offset, for example 2026-01-31T09:30:00Z") from None


SCALARS: dict[object, Any] = {
    BigInt: strawberry.scalar(name="BigInt", serialize=write_int, parse_value=read_int),
    FloatValue: strawberry.scalar(name="FloatValue", serialize=write_float, parse_value=read_float),
    IntSeries: strawberry.scalar(name="IntSeries", serialize=write_ints, parse_value=read_ints),
    FloatSeries: strawberry.scalar(name="FloatSeries", serialize=write_floats, parse_value=read_floats),
    datetime: strawberry.scalar(name="DateTime", serialize=write_datetime, parse_value=read_datetime),
}
