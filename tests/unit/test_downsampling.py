"""Drawing series: what survives, where bucket edges lie, and that they hold still while data is appended."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadUserInput
from domain.metrics import Column, MetricSeries, SeriesAxis, SeriesRequest, collapsed, draw
from domain.metrics.series import shared_out


def _column(steps: list[int], values: list[float], timestamps: list[int] | None = None, key: str = "loss") -> Column:
    times = steps if timestamps is None else timestamps
    return Column(key, np.array(steps, np.int64), np.array(values, np.float64), np.array(times, np.int64))


def _ramp(points: int) -> Column:
    steps = list(range(points))
    return _column(steps, [math.sin(step / 50) for step in steps], [1_000 * step for step in steps])


_steps = st.integers(-(2**63), 2**63 - 1) | st.integers(-100, 100)
_points = st.lists(st.tuples(_steps, st.floats(), st.integers(0, 10**6)), min_size=1, max_size=60)


def _of(points: list[tuple[int, float, int]]) -> Column:
    steps, values, times = zip(*points, strict=True)
    return _column(list(steps), list(values), list(times))


@given(_points)
def test_collapsing_keeps_the_last_accepted_of_each_step(points: list[tuple[int, float, int]]) -> None:
    kept = dict[int, tuple[float, int]]()
    for step, value, time in points:
        kept[step] = (value, time)
    found = collapsed(_of(points))
    assert found.steps.tolist() == sorted(kept)
    assert repr(list(zip(found.values.tolist(), found.timestamps.tolist(), strict=True))) == repr(
        [kept[step] for step in sorted(kept)]
    )


@given(_points, st.integers(1, 20), st.sampled_from(SeriesAxis))
def test_spikes_first_and_last_survive_within_the_bound(
    points: list[tuple[int, float, int]], most: int, axis: SeriesAxis
) -> None:
    column = _of(points)
    exact = draw(column, SeriesRequest.of(points=10_000, axis=axis), 0)
    series = draw(column, SeriesRequest.of(points=most, axis=axis), 0)
    assert len(series.steps) == len(series.values) == len(series.timestamps) <= most
    assert series.count == len(exact.steps)
    assert series.downsampled == (series.count > most)
    assert series.steps[-1] == exact.steps[-1]
    if not series.downsampled:
        assert series.min is series.max is None
        return
    assert series.min is not None
    assert series.max is not None
    if most > 1:
        assert series.steps[0] == exact.steps[0]
    finite = exact.values[np.isfinite(exact.values)]
    if len(finite):
        assert np.nanmin(series.min) == finite.min()
        assert np.nanmax(series.max) == finite.max()
    else:
        assert np.isnan(series.min).all()


def test_few_points_come_as_they_are() -> None:
    series = draw(_column([5, 1, 3], [1.0, math.nan, math.inf]), SeriesRequest.of(points=3), 0)
    assert series.steps.tolist() == [1, 3, 5]
    assert repr(series.values.tolist()) == "[nan, inf, 1.0]"
    assert not series.downsampled


def test_a_spike_in_a_million_points_is_seen() -> None:
    values = np.zeros(1_000_000)
    values[654_321] = 1e9
    steps = np.arange(1_000_000, dtype=np.int64)
    series = draw(Column("loss", steps, values, steps), SeriesRequest.of(points=1_000), 0)
    assert 250 < len(series.steps) <= 1_000
    assert series.max is not None
    assert series.max.max() == 1e9


def _edges(series: MetricSeries) -> set[int]:
    return set(series.steps.tolist()[:-1])


def test_edges_hold_still_or_merge_while_points_are_appended() -> None:
    request = SeriesRequest.of(points=100)
    before = draw(_ramp(500), request, 0)
    for points in (501, 550, 600, 700, 1_000, 1_500, 5_000):
        after = draw(_ramp(points), request, 0)
        known = {edge for edge in _edges(after) if edge < 500 - 1}
        assert known <= _edges(before), points
        if len(after.steps) <= 100 and int(after.steps[2] - after.steps[1]) == int(before.steps[2] - before.steps[1]):
            assert known == _edges(before) & set(range(499))
        before = after if points < 500 else before


def test_an_outlier_does_not_flatten_the_rest() -> None:
    steps = [*range(10_000), 2**60]
    series = draw(_column(steps, [float(step % 97) for step in steps]), SeriesRequest.of(points=500), 0)
    assert len(series.steps) > 200
    assert series.steps[-1] == 2**60


@pytest.mark.parametrize(
    ("axis", "start", "end", "steps"),
    [
        (SeriesAxis.STEP, 3, 5, [3, 4, 5]),
        (SeriesAxis.STEP, 2.5, 4.5, [3, 4]),
        (SeriesAxis.STEP, -math.inf, 1, [0, 1]),
        (SeriesAxis.STEP, 8, math.inf, [8, 9]),
        (SeriesAxis.STEP, math.inf, None, []),
        (SeriesAxis.STEP, None, -math.inf, []),
        (SeriesAxis.STEP, 7, 2, []),
        (SeriesAxis.STEP, 1e300, None, []),
        (SeriesAxis.TIME, 3_000, 5_000, [3, 4, 5]),
        (SeriesAxis.RELATIVE, 1.5, 3, [4, 5]),
    ],
)
def test_windows_are_inclusive_in_the_unit_of_the_axis(
    axis: SeriesAxis, start: float | None, end: float | None, steps: list[int]
) -> None:
    assert draw(_ramp(10), SeriesRequest.of(None, 100, axis, start=start, end=end), 2_000).steps.tolist() == steps


def test_time_orders_by_time_and_steps_collapse_first() -> None:
    column = _column([1, 2, 3, 2], [1, 2, 3, 4], [300, 200, 100, 50])
    series = draw(column, SeriesRequest.of(axis=SeriesAxis.TIME), 0)
    assert series.steps.tolist() == [2, 3, 1]
    assert series.values.tolist() == [4, 3, 1]


@pytest.mark.parametrize(("series", "points"), [(1, 1_000), (200, 1_000), (1_000, 200), (10_000, 20), (10**9, 1)])
def test_many_series_share_what_one_answer_holds(series: int, points: int) -> None:
    assert shared_out(SeriesRequest.of(points=1_000), series).points == points


@pytest.mark.parametrize(
    ("given_", "field"),
    [
        ({"points": 0}, "points"),
        ({"points": 10_001}, "points"),
        ({"start": math.nan}, "from"),
        ({"end": math.nan}, "to"),
        ({"keys": ["a"] * 201}, "keys"),
        ({"keys": ["a", " b"]}, "keys[1]"),
    ],
)
def test_requests_out_of_bounds_are_refused(given_: dict[str, object], field: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        SeriesRequest.of(**given_)  # type: ignore[arg-type]  # each case has its own
    assert refused.value.field == field
