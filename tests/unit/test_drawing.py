"""Drawing from stored pieces, without a database: whatever form they are in, the answer is that of all points."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import ids
from domain.metrics import Batch, Column, SeriesAxis, SeriesRequest, draw, joined
from domain.metrics.batch import MAX_STEP, MIN_STEP
from domain.metrics.series import window_bounds
from persistence.metrics import chunks, codec, read_sql
from persistence.metrics.drawing import Drawing

BEGAN = datetime(2026, 1, 31, tzinfo=UTC)
_STARTED = round(BEGAN.timestamp() * 1000)
_point = st.tuples(
    st.integers(-40, 400) | st.integers(MIN_STEP, MAX_STEP),
    st.floats() | st.sampled_from([math.nan, math.inf, -0.0]),
    st.integers(_STARTED - 500, _STARTED + 5_000),
)
_ramp = st.builds(
    lambda first, count: [(first + place, math.sin(place), _STARTED + place) for place in range(count)],
    st.integers(-50, 600),
    st.integers(1, 150),
)
_pieces = st.lists(_ramp | st.lists(_point, min_size=1, max_size=40), min_size=1, max_size=6)
_paces = st.lists(
    st.tuples(st.integers(8, 60), st.integers(1, 3), st.sampled_from([0, 1, 7, 100, -1])), min_size=1, max_size=6
)


def _history(paces: list[tuple[int, int, int]]) -> list[list[tuple[int, float, int]]]:
    """Consecutive pieces of one series: as many points, so many steps and ms apart; neighbours may share a moment."""
    pieces, step, time = [], 0, _STARTED
    for count, stride, pause in paces:
        piece = []
        for _ in range(count):
            piece.append((step, math.sin(step), time))
            step, time = step + stride, time + pause
        pieces.append(piece)
    return pieces


_bound = st.none() | st.floats(-60, 700) | st.sampled_from([-math.inf, math.inf, 2.0**63])


@pytest.fixture(autouse=True)
def levels_of_short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_FEWEST_FOR_FINE", 8)
    monkeypatch.setattr(chunks, "_FEWEST_FOR_COARSE", 24)
    monkeypatch.setattr(chunks, "FINE_SHARE", 3)
    monkeypatch.setattr(chunks, "COARSE_SHARE", 9)
    monkeypatch.setattr(chunks, "_FEWEST_FOR_TIMES", 8)
    monkeypatch.setattr(chunks, "TIMES_SHARE", 4)


class _Stored:
    """Pieces as `SERIES` and `MORE` answer them: all but the last `tail` ones as chunks."""

    def __init__(self, pieces: list[Column], tail: int, request: SeriesRequest) -> None:
        self.chunks = [chunks.pack(piece) for piece in pieces[: len(pieces) - tail]]
        by_step = request.axis is SeriesAxis.STEP
        low, high = window_bounds(request) if by_step else (MIN_STEP, MAX_STEP)
        run = ids.to_uuid(ids.new("run"))
        head = {"run_id": run, "began": BEGAN, "kind": read_sql.HEAD, "place": 9, "keys": None}
        self.run_id = ids.from_uuid("run", run)
        self.rows: list[Any] = [head]
        for place, chunk in enumerate(self.chunks):
            kind, data = read_sql.POINTS, chunk.payload
            if by_step and chunk.fine is not None:
                kind, data = (read_sql.FINE, chunk.fine)
                if chunk.coarse is not None:
                    kind, data = (read_sql.COARSE, chunk.coarse)
            if not by_step and chunk.times is not None:
                kind, data = read_sql.TIMES, chunk.times
            outside = chunk.last_step < low or chunk.first_step > high
            bounds = {"first_step": chunk.first_step, "last_step": chunk.last_step}
            row = {"id": place + 1, "key": "k", "kind": kind, "data": None if outside else data, **bounds}
            self.rows.append(head | row)
        for piece in pieces[len(pieces) - tail :]:
            self.rows.append(head | {"kind": read_sql.BATCH, "data": codec.encode(Batch((piece,)))})

    def more(self, wanted: dict[int, int]) -> list[Any]:
        return [
            {"id": id_, "data": self.chunks[id_ - 1].payload if kind == read_sql.POINTS else self.chunks[id_ - 1].fine}
            for id_, kind in wanted.items()
        ]


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    _pieces | _paces.map(_history),
    st.integers(0, 2),
    st.integers(1, 40),
    st.sampled_from(SeriesAxis),
    st.tuples(_bound, _bound),
)
def test_stored_pieces_draw_what_all_points_draw(
    points: list[list[tuple[int, float, int]]],
    tail: int,
    most: int,
    axis: SeriesAxis,
    window: tuple[float | None, float | None],
) -> None:
    pieces = []
    for part in points:
        steps, values, times = zip(*part, strict=True)
        pieces.append(Column("k", np.array(steps, np.int64), np.array(values), np.array(times, np.int64)))
    request = SeriesRequest.of(None, most, axis, start=window[0], end=window[1])
    exact = draw(joined(pieces), request, _STARTED)
    stored = _Stored(pieces, min(tail, len(pieces)), request)
    drawing = Drawing([stored.run_id], stored.rows, request)
    drawing.advance()
    rounds = 0
    while wanted := drawing.wanted:
        rounds += 1
        drawing.take(stored.more(wanted))
        drawing.advance()
    assert rounds <= 4
    answer = drawing.series()[stored.run_id]
    assert answer.seq == 9
    if not exact.count:
        assert answer.series == []
        return
    (series,) = answer.series
    assert (series.key, series.count, series.downsampled) == ("k", exact.count, exact.downsampled)
    for name in ("steps", "values", "timestamps", "min", "max"):
        np.testing.assert_array_equal(getattr(series, name), getattr(exact, name), err_msg=name)


@pytest.mark.parametrize("axis", [SeriesAxis.TIME, SeriesAxis.RELATIVE])
@pytest.mark.parametrize("pause", [0, 1, 250])
def test_a_drawing_by_time_much_coarser_than_the_levels_needs_no_points(axis: SeriesAxis, pause: int) -> None:
    pieces = [
        Column("k", steps, np.sin(steps), _STARTED + steps // 50 * 50 * pause)
        for steps in (np.arange(first, first + 1_000) for first in range(0, 20_000, 1_000))
    ]
    request = SeriesRequest.of(None, 20, axis)
    stored = _Stored(pieces, 1, request)
    drawing = Drawing([stored.run_id], stored.rows, request)
    drawing.advance()
    assert drawing.wanted == {}
    (series,) = drawing.series()[stored.run_id].series
    exact = draw(joined(pieces), request, _STARTED)
    for name in ("steps", "values", "timestamps", "min", "max"):
        np.testing.assert_array_equal(getattr(series, name), getattr(exact, name), err_msg=name)
    begin, end = _STARTED + 5 * pause * 1_000 + 1, _STARTED + 9 * pause * 1_000
    near = SeriesRequest.of(None, 20, SeriesAxis.TIME, start=begin, end=end)
    stored = _Stored(pieces, 1, near)
    drawing = Drawing([stored.run_id], stored.rows, near)
    drawing.advance()
    assert len(drawing.wanted) <= 2, "only the pieces at the edges of the window"
