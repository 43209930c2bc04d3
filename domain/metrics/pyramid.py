"""Drawing from buckets made beforehand: levels of a stored series, and one drawing from the levels of many pieces.

What is drawn here equals `series.draw` over the raw points, exactly: buckets of width 2^k are unions of narrower
ones, so a level may stand in for its points whenever the drawing's buckets turn out no narrower than the level's.
Whether they do is decided from the levels themselves; when they do not, finer levels are asked for, never guessed.
Only the STEP axis is drawn so: steps order the points of a piece, times need not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from domain.metrics.batch import Column, Floats, Ints
from domain.metrics.requests import SeriesRequest
from domain.metrics.series import MetricSeries, band, bucket_starts, bucket_width, collapsed, window_bounds


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """A series in buckets of width 2^`width`, in order of step; its first point has a bucket of its own.

    `steps`, `values` and `timestamps` are those of each bucket's last point, `low` and `high` its extremes among the
    finite values (NaN without one), `counts` its distinct steps. All have one length, at least 1. With width 0 the
    buckets are the points.
    """

    width: int
    steps: Ints
    values: Floats
    timestamps: Ints
    low: Floats
    high: Floats
    counts: Ints

    def __len__(self) -> int:
        return len(self.steps)

    @classmethod
    def of(cls, column: Column) -> Level:
        """The points of a column, each step once, with the value accepted last. It must not be empty."""
        kept = collapsed(column)
        finite = np.where(np.isfinite(kept.values), kept.values, np.nan)
        return cls(0, kept.steps, kept.values, kept.timestamps, finite, finite, np.ones(len(kept.steps), np.int64))

    def widened(self, most: int) -> Level:
        """The same series in at most `most` (at least 2) buckets, as narrow as that allows."""
        width = max(self.width, bucket_width(self.steps, most))
        return self if width == self.width else self.united(bucket_starts(self.steps, width), width)

    def united(self, starts: npt.NDArray[np.intp], width: int) -> Level:
        """The same series in the buckets of width 2^`width` that begin at the places `starts`."""
        ends = np.append(starts[1:], len(self)) - 1
        low, high = band(self.low, self.high, starts)
        counts = np.add.reduceat(self.counts, starts)
        return Level(width, self.steps[ends], self.values[ends], self.timestamps[ends], low, high, counts)


def draw_levels(key: str, levels: Sequence[Level], points: int) -> MetricSeries | int:
    """The drawing of several pieces of one series, in order of step and without a step in common.

    Answers a width instead when pieces are too coarse: those wider than 2^it are needed in a finer level. `levels`
    must not be empty.
    """
    whole = levels[0] if len(levels) == 1 else _joined(levels)
    count = int(whole.counts.sum())
    if count > 1 and points == 1:
        return _series(key, whole.united(np.zeros(1, np.intp), 64), count)
    # Buckets that are apart in any level are apart in the points, so this is never more than the true width.
    width = bucket_width(whole.steps, max(2, points))
    if any(level.width > width and len(level) < int(level.counts.sum()) for level in levels):
        return width
    if count <= points:
        return MetricSeries.exact(Column(key, whole.steps, whole.values, whole.timestamps))
    return _series(key, whole.united(bucket_starts(whole.steps, width), width), count)


def _joined(levels: Sequence[Level]) -> Level:
    return Level(
        max(level.width for level in levels),
        np.concatenate([level.steps for level in levels]),
        np.concatenate([level.values for level in levels]),
        np.concatenate([level.timestamps for level in levels]),
        np.concatenate([level.low for level in levels]),
        np.concatenate([level.high for level in levels]),
        np.concatenate([level.counts for level in levels]),
    )


def _series(key: str, drawn: Level, count: int) -> MetricSeries:
    return MetricSeries(key, drawn.steps, drawn.values, drawn.timestamps, drawn.low, drawn.high, count, True)


@dataclass(frozen=True, slots=True)
class Group:
    """Pieces of a series, by their places, that are drawn together; `whole` when their levels may be used.

    Otherwise they share steps, or a bound of the window runs through them, and their points are needed.
    """

    places: tuple[int, ...]
    whole: bool


def arranged(spans: Sequence[tuple[int, int]], request: SeriesRequest) -> list[Group]:
    """Which pieces the window of a STEP request takes in, in order of step; those that share steps, in order given.

    `spans` are the first and last step of each piece.
    """
    low, high = window_bounds(request)
    inside = sorted((first, last, place) for place, (first, last) in enumerate(spans) if first <= high and last >= low)
    groups: list[Group] = []
    open_places: list[int] = []
    reach = None
    for first, last, place in inside:
        if reach is not None and max(first, low) > reach:
            groups.append(_group(open_places, spans, low, high))
            open_places = []
        open_places.append(place)
        reach = min(last, high) if reach is None else max(reach, min(last, high))
    if open_places:
        groups.append(_group(open_places, spans, low, high))
    return groups


def _group(places: list[int], spans: Sequence[tuple[int, int]], low: int, high: int) -> Group:
    (first, last) = spans[places[0]]
    return Group(tuple(sorted(places)), len(places) == 1 and low <= first and last <= high)


def within(column: Column, request: SeriesRequest) -> Level | None:
    """The points of a column inside the window of a STEP request; None without one."""
    low, high = window_bounds(request)
    inside = np.flatnonzero((column.steps >= low) & (column.steps <= high))
    if not len(inside):
        return None
    if len(inside) == len(column):
        return Level.of(column)
    return Level.of(Column(column.key, column.steps[inside], column.values[inside], column.timestamps[inside]))
