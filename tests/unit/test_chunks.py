"""The bytes of sealed chunks: what is packed comes back to the bit, and damage is named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.metrics import Column
from domain.metrics.pyramid import Level
from persistence.metrics.chunks import (
    MOST_POINTS,
    pack,
    pack_level,
    pack_points,
    unpack_level,
    unpack_points,
)
from persistence.metrics.packing import CorruptPayload

_whole = st.integers(-(2**63), 2**63 - 1) | st.integers(-50, 50)
_points = st.lists(st.tuples(_whole, st.floats(), _whole), min_size=1, max_size=80)


def _of(points: list[tuple[int, float, int]]) -> Column:
    steps, values, times = zip(*points, strict=True)
    return Column("k", np.array(steps, np.int64), np.array(values, np.float64), np.array(times, np.int64))


def _ramp(points: int) -> Column:
    steps = np.arange(points, dtype=np.int64)
    return Column("k", steps, np.sin(steps / 7.0), steps * 1_000)


@given(_points)
def test_points_come_back_to_the_bit_and_in_order(points: list[tuple[int, float, int]]) -> None:
    column = _of(points)
    found = unpack_points("k", pack_points(column))
    assert found.key == "k"
    assert found.steps.tobytes() == column.steps.tobytes()
    assert found.values.tobytes() == column.values.tobytes()
    assert found.timestamps.tobytes() == column.timestamps.tobytes()


@given(_points, st.integers(2, 40))
def test_levels_come_back_to_the_bit(points: list[tuple[int, float, int]], most: int) -> None:
    level = Level.of(_of(points)).widened(most)
    found = unpack_level(pack_level(level))
    assert found.width == level.width
    for name in ("steps", "values", "timestamps", "low", "high", "counts"):
        assert getattr(found, name).tobytes() == getattr(level, name).tobytes(), name


def test_a_full_chunk_has_two_levels_far_shorter_than_its_points() -> None:
    packed = pack(_ramp(MOST_POINTS))
    assert packed.fine is not None
    assert packed.coarse is not None
    assert (packed.first_step, packed.last_step, packed.points) == (0, MOST_POINTS - 1, MOST_POINTS)
    assert len(packed.coarse) < 2_000, "a coarse level stays in its row"
    assert len(packed.fine) < len(packed.payload) / 5
    assert len(unpack_level(packed.fine)) <= MOST_POINTS // 32 + 2
    assert len(unpack_level(packed.coarse)) <= MOST_POINTS // 1_024 + 2
    assert packed.size < 12 * MOST_POINTS


def test_a_short_chunk_is_its_points() -> None:
    packed = pack(_of([(3, math.nan, 1), (1, 2.0, 1)]))
    assert (packed.fine, packed.coarse, packed.first_step, packed.last_step) == (None, None, 1, 3)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: pack_points(_ramp(300))[:40] + tail))
def test_damage_is_named(damaged: bytes) -> None:
    for unpack in (lambda: unpack_points("k", damaged), lambda: unpack_level(damaged)):
        with pytest.raises(CorruptPayload):
            unpack()


@pytest.mark.parametrize("cut", [1, 5, 9, 200])
def test_a_cut_chunk_is_named(cut: int) -> None:
    whole = pack(_ramp(1_000))
    assert whole.fine is not None
    with pytest.raises(CorruptPayload):
        unpack_points("k", whole.payload[:-cut])
    with pytest.raises(CorruptPayload):
        unpack_level(whole.fine[:-cut])
