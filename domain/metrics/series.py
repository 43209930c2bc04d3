"""Drawing a metric: equal steps collapsed, a window cut out, and at most N buckets in which no spike is lost.

Bucket edges are multiples of a power of two of the step or the time in ms since 1970, the smallest power that leaves
few enough occupied buckets. RELATIVE drawings have the edges of TIME ones. So edges do not move while points are
appended (a bucket may only merge with its neighbour), and a far outlier does not flatten the rest. The first point
always keeps a bucket of its own. Pure numpy; linear but for one sort.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from domain.metrics.batch import MAX_STEP, MIN_STEP, Column, Floats, Ints
from domain.metrics.requests import SeriesAxis, SeriesRequest

MOST_BUCKETS: Final = 200_000
_SIGN: Final = np.uint64(1 << 63)


@dataclass(frozen=True, slots=True, eq=False)
class MetricSeries:
    """One metric as columns of equal length, in order of x (of a live delta: in the order accepted).

    `min` and `max` are the band of the finite values per bucket (NaN where a bucket has none), and None unless
    downsampled. `count` is how many points the columns stand for.
    """

    key: str
    steps: Ints
    values: Floats
    timestamps: Ints
    min: Floats | None
    max: Floats | None
    count: int
    downsampled: bool

    @classmethod
    def exact(cls, column: Column) -> MetricSeries:
        """The points as they are."""
        return cls(column.key, column.steps, column.values, column.timestamps, None, None, len(column), False)


def joined(parts: list[Column]) -> Column:
    """One column from several of one key, in the order accepted. `parts` must not be empty."""
    if len(parts) == 1:
        return parts[0]
    return Column(
        parts[0].key,
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.timestamps for part in parts]),
    )


def collapsed(column: Column) -> Column:
    """Ordered by step, each step once: with the point that was accepted last."""
    steps = column.steps
    if len(steps) < 2 or bool((steps[1:] > steps[:-1]).all()):
        return column
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    return taken(column, order[last])


def by_time(column: Column) -> Column:
    """Ordered by time, equal times as they were."""
    times = column.timestamps
    if bool((times[1:] >= times[:-1]).all()):
        return column
    return taken(column, np.argsort(times, kind="stable"))


def taken(column: Column, places: npt.NDArray[Any] | slice) -> Column:
    """Some of its points."""
    return Column(column.key, column.steps[places], column.values[places], column.timestamps[places])


def shared_out(request: SeriesRequest, series: int) -> SeriesRequest:
    """The request with each of so many series, of all runs drawn together, bounded so that the answer is.

    Each may then get fewer buckets than asked for.
    """
    return replace(request, points=min(request.points, max(1, MOST_BUCKETS // max(1, series))))


def draw(column: Column, request: SeriesRequest, started_ms: int) -> MetricSeries:
    """The series that `request` asks for, of all accepted points of one key.

    `started_ms` is where the RELATIVE axis begins, in ms since 1970. The answer may be empty.
    """
    column = collapsed(column)
    timed = request.axis is not SeriesAxis.STEP
    if timed:
        column = by_time(column)
    x = column.timestamps if timed else column.steps
    low, high = window_bounds(request, started_ms)
    first = len(x) if low > MAX_STEP else int(np.searchsorted(x, np.int64(low), "left"))
    last = 0 if high < MIN_STEP else int(np.searchsorted(x, np.int64(high), "right"))
    window = slice(first, max(first, last))
    column, x = taken(column, window), x[window]
    if len(column) <= request.points:
        return MetricSeries.exact(column)
    return _bucketed(column, x, request.points)


def window_bounds(request: SeriesRequest, started_ms: int = 0) -> tuple[int, int]:
    """The lowest and highest step or time (in ms since 1970) of a request, both inclusive.

    One lies beyond 64 bits when nothing can satisfy it. `started_ms` is where the RELATIVE axis begins.
    """
    unit, zero = (1_000, started_ms) if request.axis is SeriesAxis.RELATIVE else (1, 0)
    low = MIN_STEP if request.start is None else _bounded(request.start * unit, zero, math.ceil)
    high = MAX_STEP if request.end is None else _bounded(request.end * unit, zero, math.floor)
    return low, high


def _bounded(bound: float, zero: int, rounded: Any) -> int:
    """A bound, counted from `zero`, in 64 bits, or one beyond them when nothing can satisfy it."""
    if math.isinf(bound):
        inward = (bound < 0) == (rounded is math.ceil)
        if inward:
            return MIN_STEP if bound < 0 else MAX_STEP
        return MAX_STEP + 1 if bound > 0 else MIN_STEP - 1
    whole: int = zero + rounded(bound)
    if rounded is math.ceil:
        return max(MIN_STEP, min(whole, MAX_STEP + 1))
    return min(MAX_STEP, max(whole, MIN_STEP - 1))


def _bucketed(column: Column, x: Ints, points: int) -> MetricSeries:
    """At most `points` buckets; `x` is in order, has more elements than that, and may repeat."""
    starts = np.zeros(1, np.intp) if points == 1 else bucket_starts(x, bucket_width(x, points))
    ends = np.append(starts[1:], len(x)) - 1
    low, high = band(column.values, column.values, starts)
    return MetricSeries(
        key=column.key,
        steps=column.steps[ends],
        values=column.values[ends],
        timestamps=column.timestamps[ends],
        min=low,
        max=high,
        count=len(column),
        downsampled=True,
    )


def band(low: Floats, high: Floats, starts: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """The lowest and highest finite value of each bucket; NaN where it has none. `low`, `high`: of what is united."""
    lowest = np.minimum.reduceat(np.where(np.isfinite(low), low, np.inf), starts)
    highest = np.maximum.reduceat(np.where(np.isfinite(high), high, -np.inf), starts)
    return np.where(np.isinf(lowest), np.nan, lowest), np.where(np.isinf(highest), np.nan, highest)


def bucket_width(x: Ints, points: int) -> int:
    """The smallest k for which buckets of width 2^k number at most `points`, which is at least 2. `x` is in order."""
    histogram = np.bincount(_differing(x), minlength=65)
    at_least = histogram[::-1].cumsum()[::-1]  # at_least[b]: neighbours that differ in bit b-1 or above
    width = 0
    while at_least[width + 1 :].any() and int(at_least[width + 1]) + 2 > points:
        width += 1
    return width


def bucket_starts(x: Ints, width: int) -> npt.NDArray[np.intp]:
    """Where each bucket of width 2^`width` begins; the first point has one of its own. `x` is in order, not empty."""
    if len(x) == 1:
        return np.zeros(1, np.intp)
    return np.concatenate(([0, 1], np.flatnonzero(_differing(x) > width) + 2))


def _differing(x: Ints) -> npt.NDArray[np.int64]:
    """The highest bit in which neighbours differ, from the second point on: k+1 for buckets wider than 2^k to unite."""
    order_kept = x.view(np.uint64) ^ _SIGN
    return _bit_length(order_kept[2:] ^ order_kept[1:-1])


def _bit_length(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Bits needed to write each number: 0 for 0. Exact, because each half fits a double."""
    high = (numbers >> np.uint64(32)).astype(np.float64)
    low = (numbers & np.uint64(0xFFFF_FFFF)).astype(np.float64)
    return np.where(high > 0, np.frexp(high)[1] + 32, np.frexp(low)[1]).astype(np.int64)
