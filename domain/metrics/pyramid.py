"""Drawing from buckets made beforehand: levels of a stored series, and one drawing from the levels of many pieces.

What is drawn here equals `series.draw` over the raw points, exactly: buckets of width 2^k are unions of narrower
ones, so a level may stand in for its points whenever the drawing's buckets turn out no narrower than the level's.
Whether they do is decided from the levels themselves; when they do not, finer levels are asked for, never guessed.
A level is one by step or one by time; RELATIVE drawings are TIME drawings in another window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from domain.metrics.batch import Column, Floats, Ints
from domain.metrics.requests import SeriesRequest
from domain.metrics.series import (
    MetricSeries,
    band,
    bucket_starts,
    bucket_width,
    by_time,
    collapsed,
    taken,
    window_bounds,
)

EXACT: Final = -1
"""The width of a drawing that shows every point: not even equal times are united."""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """A series in buckets of width 2^`width` of step or, when `timed`, of time, in that order.

    The first point has a bucket of its own. `steps`, `values` and `timestamps` are those of each bucket's last point,
    `low` and `high` its extremes among the finite values (NaN without one), `counts` its distinct steps. All have one
    length, at least 1. When timed, equal times are in order of step. `of` makes a bucket of every point.
    """

    width: int
    steps: Ints
    values: Floats
    timestamps: Ints
    low: Floats
    high: Floats
    counts: Ints
    timed: bool = False

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def x(self) -> Ints:
        """What orders the buckets."""
        return self.timestamps if self.timed else self.steps

    @classmethod
    def of(cls, column: Column, *, timed: bool = False) -> Level:
        """The points of a column, each step once, with the value accepted last. It must not be empty."""
        kept = by_time(collapsed(column)) if timed else collapsed(column)
        finite = np.where(np.isfinite(kept.values), kept.values, np.nan)
        ones = np.ones(len(kept), np.int64)
        return cls(0, kept.steps, kept.values, kept.timestamps, finite, finite, ones, timed)

    def widened(self, most: int) -> Level:
        """The same series in at most `most` (at least 2) buckets, as narrow as that allows."""
        width = max(self.width, bucket_width(self.x, most))
        if width == self.width and len(self) <= most:
            return self
        return self.united(bucket_starts(self.x, width), width)

    def part(self, rows: slice) -> Level:
        """Some of its buckets."""
        return Level(
            self.width,
            self.steps[rows],
            self.values[rows],
            self.timestamps[rows],
            self.low[rows],
            self.high[rows],
            self.counts[rows],
            self.timed,
        )

    def united(self, starts: npt.NDArray[np.intp], width: int) -> Level:
        """The same series in the buckets of width 2^`width` that begin at the places `starts`."""
        ends = np.append(starts[1:], len(self)) - 1
        low, high = band(self.low, self.high, starts)
        counts = np.add.reduceat(self.counts, starts)
        return Level(width, self.steps[ends], self.values[ends], self.timestamps[ends], low, high, counts, self.timed)


def draw_levels(key: str, levels: Sequence[Level], points: int) -> MetricSeries | int:
    """The drawing of several pieces of one series, in order of step or all timed, without a step in common.

    Answers a width instead when pieces are too coarse: those `too_coarse` for it are needed in a finer level. `levels`
    must not be empty.
    """
    whole = levels[0] if len(levels) == 1 else _joined(levels)
    count = int(whole.counts.sum())
    if count > 1 and points == 1:
        return _series(key, whole.united(np.zeros(1, np.intp), 64), count)
    # Buckets that are apart in any level are apart in the points, so this is never more than the true width.
    width = EXACT if count <= points else bucket_width(whole.x, max(2, points))
    if any(too_coarse(level, width) for level in levels):
        return width
    if width == EXACT:
        return MetricSeries.exact(Column(key, whole.steps, whole.values, whole.timestamps))
    return _series(key, whole.united(bucket_starts(whole.x, width), width), count)


def too_coarse(level: Level, width: int) -> bool:
    """Whether a drawing in buckets of 2^`width`, or of single points (EXACT), needs this piece in a finer level."""
    return level.width > width and len(level) < int(level.counts.sum())


def _joined(levels: Sequence[Level]) -> Level:
    return Level(
        max(level.width for level in levels),
        np.concatenate([level.steps for level in levels]),
        np.concatenate([level.values for level in levels]),
        np.concatenate([level.timestamps for level in levels]),
        np.concatenate([level.low for level in levels]),
        np.concatenate([level.high for level in levels]),
        np.concatenate([level.counts for level in levels]),
        levels[0].timed,
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
    return Level.of(column if len(inside) == len(column) else taken(column, inside))


def windowed(level: Level, bounds: tuple[int, int]) -> Level | None:
    """The part of a timed level of single points between two times, both inclusive; None without one."""
    first = int(np.searchsorted(level.timestamps, bounds[0], "left"))
    end = int(np.searchsorted(level.timestamps, bounds[1], "right"))
    if first >= end:
        return None
    return level if end - first == len(level) else level.part(slice(first, end))


def in_time(levels: Sequence[Level]) -> list[list[int]]:
    """Timed levels without a step in common, by their places, in order of time; those that overlap go together.

    Levels may stand one behind the other when that is the order of their points by time, then step.
    """
    ends = [
        ((int(level.timestamps[0]), int(level.steps[0])), (int(level.timestamps[-1]), int(level.steps[-1])))
        for level in levels
    ]
    groups: list[list[int]] = []
    reach = (0, 0)
    for place in sorted(range(len(levels)), key=ends.__getitem__):
        first, last = ends[place]
        if groups and first < reach:
            groups[-1].append(place)
            reach = max(reach, last)
        else:
            groups.append([place])
            reach = last
    return groups
