"""Levels of a series: what is drawn from them is exactly what is drawn from all points."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.metrics import Column, MetricSeries, SeriesRequest, draw, joined
from domain.metrics.pyramid import Level, arranged, draw_levels, too_coarse, within

_steps = st.integers(-(2**63), 2**63 - 1) | st.integers(-100, 100) | st.integers(0, 5_000)
_values = st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf])
_points = st.lists(st.tuples(_steps, _values, st.integers(0, 10**6)), min_size=1, max_size=80)
_ramps = st.builds(
    lambda first, stride, count: [(first + stride * place, math.sin(place), place) for place in range(count)],
    st.integers(-3_000, 3_000),
    st.integers(1, 40),
    st.integers(1, 300),
)
_bounds = st.none() | st.floats(-300, 6_000) | st.sampled_from([-math.inf, math.inf, -1e300, 1e300, 2.0**63])


def _of(points: list[tuple[int, float, int]]) -> Column:
    steps, values, times = zip(*points, strict=True)
    return Column("k", np.array(steps, np.int64), np.array(values, np.float64), np.array(times, np.int64))


_COLUMNS = ("steps", "values", "timestamps", "min", "max")


def _same(drawn: MetricSeries | None, exact: MetricSeries) -> bool:
    if drawn is None:
        return exact.count == 0
    if (drawn.key, drawn.count, drawn.downsampled) != (exact.key, exact.count, exact.downsampled):
        return False
    columns = ((getattr(series, name) for name in _COLUMNS) for series in (drawn, exact))
    return all(
        one is other is None or (one is not None and other is not None and np.array_equal(one, other, equal_nan=True))
        for one, other in zip(*columns, strict=True)
    )


def _drawn(parts: list[Column], request: SeriesRequest, limits: list[int]) -> tuple[MetricSeries | None, int]:
    """Draws from the coarsest levels, going finer only where asked to; also how many pieces needed their points."""
    spans = [(int(part.steps.min()), int(part.steps.max())) for part in parts]
    choices: list[list[Level]] = []
    for group in arranged(spans, request):
        together = joined([parts[place] for place in group.places])
        if group.whole:
            choices.append([Level.of(together).widened(limit) for limit in limits] + [Level.of(together)])
        elif (level := within(together, request)) is not None:
            choices.append([level])
    if not choices:
        return None, 0
    while True:
        answer = draw_levels("k", [choice[0] for choice in choices], request.points)
        if isinstance(answer, MetricSeries):
            return answer, sum(len(choice) == 1 for choice in choices)
        for choice in choices:
            if too_coarse(choice[0], answer):
                del choice[0]


@settings(max_examples=400)
@given(
    st.lists(_points | _ramps, min_size=1, max_size=6),
    st.integers(1, 40),
    _bounds,
    _bounds,
    st.lists(st.integers(2, 30), max_size=2).map(sorted),
)
def test_levels_draw_exactly_what_points_draw(
    parts: list[list[tuple[int, float, int]]], most: int, start: float | None, end: float | None, limits: list[int]
) -> None:
    columns = [_of(part) for part in parts]
    request = SeriesRequest.of(None, most, start=start, end=end)
    exact = draw(joined(columns), request, 0)
    assert _same(_drawn(columns, request, limits)[0], exact)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 120), min_size=1, max_size=12), st.integers(1, 30), st.integers(-500, 500))
def test_a_long_series_in_pieces_is_drawn_exactly(sizes: list[int], most: int, first: int) -> None:
    steps = iter(range(first, first + sum(sizes)))
    columns = [_of([(step, math.cos(step * 1.7), step * 3) for step in islice(steps, size)]) for size in sizes]
    request = SeriesRequest.of(None, most)
    assert _same(_drawn(columns, request, [4, 16])[0], draw(joined(columns), request, 0))


def test_a_drawing_much_coarser_than_the_levels_needs_no_points() -> None:
    steps = np.arange(1_000_000, dtype=np.int64)
    whole = Column("k", steps, np.sin(steps / 1_000), steps)
    parts = [
        Column("k", whole.steps[at : at + 32_768], whole.values[at : at + 32_768], whole.timestamps[at : at + 32_768])
        for at in range(0, 1_000_000, 32_768)
    ]
    request = SeriesRequest.of(None, 1_000)
    drawn, decoded = _drawn(parts, request, [34, 1_026])
    assert _same(drawn, draw(whole, request, 0))
    assert decoded == 0


def test_a_level_is_as_narrow_as_its_bound_allows_and_counts_every_step() -> None:
    level = Level.of(_of([(step, float(step), 0) for step in range(1_000)]))
    wide = level.widened(34)
    assert (wide.width, len(wide), int(wide.counts.sum())) == (5, 33, 1_000)
    assert wide.steps[0] == 0
    assert wide.steps[1] == 31
    assert (wide.low[1], wide.high[1], wide.counts[1]) == (1.0, 31.0, 31)
    assert level.widened(1_000) is level


def test_pieces_that_share_a_step_or_are_cut_need_their_points() -> None:
    everything = SeriesRequest.of()
    assert [(group.places, group.whole) for group in arranged([(10, 19), (0, 9), (19, 30)], everything)] == [
        ((1,), True),
        ((0, 2), False),
    ]
    cut = SeriesRequest.of(start=5, end=15)
    assert [(group.places, group.whole) for group in arranged([(0, 9), (10, 12), (13, 20), (21, 22)], cut)] == [
        ((0,), False),
        ((1,), True),
        ((2,), False),
    ]
