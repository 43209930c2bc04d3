"""Building a draft point by point or column by column, with the rules for left-out steps and for numbers.

Shared by every edge that takes points. A builder is bounded: it refuses the point that would pass a limit before it
stores it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np

from domain.errors import BadUserInput
from domain.metrics.batch import (
    MAX_STEP,
    MAX_TIMESTAMP,
    MIN_STEP,
    MIN_TIMESTAMP,
    NO_TIMESTAMP,
    Draft,
    DraftColumn,
    Floats,
    Ints,
    check_size,
)
from domain.metrics.keys import is_system, metric_key

_NON_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def number(value: Any, *, field: str) -> float:
    """A double from a JSON number or `NaN`, `Infinity`, `-Infinity`. Raises BadUserInput naming `field`."""
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]  # its type was just compared
    if kind is int:
        try:
            return float(value)
        except OverflowError:
            raise BadUserInput("expected a number that fits a double", field=field) from None
    if kind is str and value in _NON_FINITE:
        return _NON_FINITE[value]
    raise BadUserInput(f'expected a number, "NaN", "Infinity" or "-Infinity", got {_named(value)}', field=field)


def whole(value: Any, *, field: str) -> int:
    """A signed 64-bit whole number from a JSON number or its decimal digits. Raises BadUserInput naming `field`."""
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    elif type(value) is str:
        digits = value.removeprefix("-")
        if 1 <= len(digits) <= 19 and digits.isascii() and digits.isdigit():
            value = int(value)
    if type(value) is not int:
        raise BadUserInput(f"expected a whole number, got {_named(value)}", field=field)
    if not MIN_STEP <= value <= MAX_STEP:
        raise BadUserInput("expected a whole number that fits 64 bits", field=field)
    return value


def milliseconds(value: Any, *, field: str) -> int:
    """A time in ms since 1970 within the years 1 to 9999. Raises BadUserInput naming `field`."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise BadUserInput(f"expected whole milliseconds since 1970, got {_named(value)}", field=field)
    if not MIN_TIMESTAMP <= value <= MAX_TIMESTAMP:
        raise BadUserInput("expected milliseconds since 1970 within the years 1 to 9999", field=field)
    return value


def _after(step: int) -> int:
    if step == MAX_STEP:
        raise BadUserInput("there is no step after the largest 64-bit number; send steps", field="step")
    return step + 1


def _named(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case dict():
            return "an object"
        case list():
            return "a list"
        case float():
            return "a fraction or a number that is too large"
        case _:
            return "something else"


class _Growing:
    """The points of one key so far."""

    __slots__ = ("ahead", "counted", "floor", "steps", "timestamps", "values")

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.ahead: list[int] = []
        self.values: list[float] = []
        self.timestamps: list[int] = []
        self.counted = 0
        self.floor = MIN_STEP

    def taken(self, key: str) -> DraftColumn:
        """The points as a column; what follows counts on from them."""
        column = DraftColumn(
            key,
            np.array(self.steps, np.int64),
            np.array(self.ahead, np.int64),
            np.array(self.values, np.float64),
            np.array(self.timestamps, np.int64),
            complete=not any(self.ahead) and NO_TIMESTAMP not in self.timestamps,
        )
        self.steps, self.ahead, self.values, self.timestamps = [], [], [], []
        return column


class DraftBuilder:
    """Collects points in the order they are accepted. Call `build` once at the end."""

    def __init__(self) -> None:
        self._columns: dict[str, _Growing] = {}
        self._whole: list[DraftColumn] = []
        self._points = 0
        self._counted = 0
        self._floor = MIN_STEP

    def row(self, values: Sequence[tuple[str, float]], step: int | None, timestamp: int | None) -> None:
        """One step of a script: values that share a step. Without one, it is the step after the rows before it."""
        aside = all(is_system(key) for key, _ in values)  # it does not count among the steps of the script
        if step is not None:
            self._floor = self._floor if aside else max(self._floor, step)
            ahead, place = 0, step
        elif aside:
            ahead, place = 1, MIN_STEP
        else:
            self._counted, self._floor = self._counted + 1, _after(self._floor)
            ahead, place = self._counted, self._floor
        for key, value in values:
            self._add(key, value, place, ahead, timestamp)

    def point(self, key: str, value: float, step: int | None, timestamp: int | None) -> None:
        """A single point. Without a step, it is the step after the earlier points of its key."""
        column = self._columns.get(key) or self._open(key)
        if step is None:
            column.counted, column.floor = column.counted + 1, _after(column.floor)
            self._add(key, value, column.floor, column.counted, timestamp)
        else:
            column.floor = max(column.floor, step)
            self._add(key, value, step, 0, timestamp)

    def column(
        self,
        key: str,
        values: Sequence[Any],
        steps: Sequence[Any] | None,
        timestamps: Sequence[Any] | None,
        *,
        field: str,
    ) -> None:
        """Many points of one key. Without steps, they count on from the run's last step.

        Raises BadUserInput naming `field` and the column or element in it.
        """
        length = len(values)
        for name, column in (("steps", steps), ("timestamps", timestamps)):
            if column is not None and len(column) != length:
                raise BadUserInput(
                    f"expected as many {name} as values ({length}), got {len(column)}", field=f"{field}.{name}"
                )
        if length == 0:
            raise BadUserInput("expected at least one value", field=f"{field}.values")
        self._count(length)
        self._then(
            DraftColumn(
                metric_key(key, field=field),
                _ints(steps, whole, f"{field}.steps") if steps is not None else np.full(length, MIN_STEP),
                np.zeros(length, np.int64) if steps is not None else np.arange(1, length + 1, dtype=np.int64),
                _floats(values, f"{field}.values"),
                _ints(timestamps, milliseconds, f"{field}.timestamps")
                if timestamps is not None
                else np.full(length, NO_TIMESTAMP),
                complete=steps is not None and timestamps is not None,
            )
        )

    def plain_column(
        self, key: str, values: Floats, steps: Ints, timestamps: Ints, *, complete: bool, field: str
    ) -> None:
        """Many points of one key, read and checked already, whose steps were all sent; `complete`: their times, too.

        Raises BadUserInput naming `field` for a key that is none.
        """
        length = len(values)
        self._count(length)
        self._then(
            DraftColumn(
                metric_key(key, field=field),
                steps,
                np.zeros(length, np.int64),
                values,
                timestamps,
                complete=complete,
            )
        )

    def build(self) -> Draft:
        """What was collected. Raises BadUserInput for too many keys."""
        single = [column.taken(key) for key, column in self._columns.items() if column.steps]
        columns = _merged(self._columns, self._whole + single) if self._whole else single
        check_size(self._points, len(columns))
        return Draft(tuple(columns))

    def _then(self, column: DraftColumn) -> None:
        """Puts a whole column behind the points of its key that came one by one."""
        before = self._columns.get(column.key)
        if before is not None and before.steps:
            self._whole.append(before.taken(column.key))
        self._whole.append(column)

    def _open(self, key: str) -> _Growing:
        check_size(self._points, len(self._columns) + 1)
        column = self._columns[key] = _Growing()
        return column

    def _add(self, key: str, value: float, step: int, ahead: int, timestamp: int | None) -> None:
        self._count(1)
        column = self._columns.get(key) or self._open(key)
        column.steps.append(step)
        column.ahead.append(ahead)
        column.values.append(value)
        column.timestamps.append(NO_TIMESTAMP if timestamp is None else timestamp)

    def _count(self, points: int) -> None:
        self._points += points
        check_size(self._points, 0)


def _merged(first: Iterable[str], columns: list[DraftColumn]) -> list[DraftColumn]:
    """One column per key, those of the `first` keys before the others, each key's points in the order they came."""
    by_key: dict[str, list[DraftColumn]] = {key: [] for key in first}
    for column in columns:
        by_key.setdefault(column.key, []).append(column)
    return [
        parts[0]
        if len(parts) == 1
        else DraftColumn(
            key,
            np.concatenate([part.steps for part in parts]),
            np.concatenate([part.ahead for part in parts]),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            complete=all(part.complete for part in parts),
        )
        for key, parts in by_key.items()
    ]


def _floats(values: Sequence[Any], field: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    if set(map(type, values)) <= {float, int}:
        with suppress(OverflowError):  # the element is named below
            return np.array(values, np.float64)
    return np.array([number(value, field=f"{field}[{place}]") for place, value in enumerate(values)], np.float64)


def _ints(values: Sequence[Any], read: Callable[..., int], field: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    if set(map(type, values)) <= {int}:
        lowest, highest = (MIN_STEP, MAX_STEP) if read is whole else (MIN_TIMESTAMP, MAX_TIMESTAMP)
        if lowest <= min(values) and max(values) <= highest:
            return np.array(values, np.int64)
    return np.array([read(value, field=f"{field}[{place}]") for place, value in enumerate(values)], np.int64)
