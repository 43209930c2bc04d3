"""The stored form of a sealed chunk: the points of one series in the order accepted, and levels to draw it from.

    payload, level = version (1 byte: 1) · packing (1) · rows (4) · body
    packing        = 0: the body as it is, 1: zstd; then the length of the body (4) comes before it
    body           = payload: steps · timestamps · values by plane
                     level:   width (1) · steps · timestamps · counts · values, lows and highs by plane

Integers and planes are those of `persistence.metrics.packing`. `fine` and `coarse` are by step, `times` is by time;
each is left out where it would hardly be shorter than what it stands in for. Damage raises `CorruptPayload`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import zstandard

from domain.metrics import Column
from domain.metrics.pyramid import Level
from persistence.metrics.packing import CorruptPayload, pack_ints, planes, unpack_floats, unpack_ints

MOST_POINTS: Final = 32_768
# Two more buckets than the share of points: the first point's own, and one for a chunk that begins inside a bucket.
FINE_SHARE: Final = 32
COARSE_SHARE: Final = 1_024
TIMES_SHARE: Final = 256
_SPARE: Final = 2
_FEWEST_FOR_FINE: Final = 256
_FEWEST_FOR_COARSE: Final = 8_192
_FEWEST_FOR_TIMES: Final = 2_048

_VERSION: Final = 1
_PLAIN, _ZSTD = 0, 1
_HEAD: Final = struct.Struct("<BBI")
_LENGTH: Final = struct.Struct("<I")
_WORTH_PACKING: Final = 128
_EFFORT: Final = 3


@dataclass(frozen=True, slots=True)
class Packed:
    """A chunk as it is stored: its bounds, its points, and its levels where it has them."""

    first_step: int
    last_step: int
    points: int
    payload: bytes
    fine: bytes | None
    coarse: bytes | None
    times: bytes | None

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.payload) + sum(len(level or b"") for level in (self.fine, self.coarse, self.times))


def pack(column: Column) -> Packed:
    """A chunk of at most MOST_POINTS points."""
    points = len(column)
    fine = coarse = times = None
    if points >= _FEWEST_FOR_FINE:
        level = Level.of(column).widened(points // FINE_SHARE + _SPARE)
        fine = pack_level(level)
        if points >= _FEWEST_FOR_COARSE:
            coarse = pack_level(level.widened(points // COARSE_SHARE + _SPARE))
    if points >= _FEWEST_FOR_TIMES:
        times = pack_level(Level.of(column, timed=True).widened(points // TIMES_SHARE + _SPARE))
    return Packed(int(column.steps.min()), int(column.steps.max()), points, pack_points(column), fine, coarse, times)


def pack_points(column: Column) -> bytes:
    """The payload of a chunk."""
    values = planes(column.values.astype("<f8", copy=False).tobytes())
    return _packed(len(column), pack_ints(column.steps) + pack_ints(column.timestamps) + values)


def unpack_points(key: str, payload: bytes) -> Column:
    """The points of a chunk in the order accepted. Raises CorruptPayload."""
    try:
        points, body = _unpacked(payload)
        steps, at = unpack_ints(body, 0, points)
        timestamps, at = unpack_ints(body, at, points)
        return Column(key, steps, unpack_floats(body[at:], points, by_plane=True), timestamps)
    except (struct.error, ValueError, IndexError, KeyError, zstandard.ZstdError) as error:
        raise CorruptPayload("a stored metric chunk cannot be read") from error


def pack_level(level: Level) -> bytes:
    """The stored form of a level."""
    numbers = np.concatenate([level.values, level.low, level.high]).astype("<f8", copy=False)
    integers = pack_ints(level.steps) + pack_ints(level.timestamps) + pack_ints(level.counts)
    return _packed(len(level), bytes((level.width,)) + integers + planes(numbers.tobytes()))


def unpack_level(stored: bytes, *, timed: bool = False) -> Level:
    """A level, by time or by step. Raises CorruptPayload."""
    try:
        rows, body = _unpacked(stored)
        steps, at = unpack_ints(body, 1, rows)
        timestamps, at = unpack_ints(body, at, rows)
        counts, at = unpack_ints(body, at, rows)
        values, low, high = unpack_floats(body[at:], 3 * rows, by_plane=True).reshape(3, rows)
        return Level(body[0], steps, values, timestamps, low, high, counts, timed)
    except (struct.error, ValueError, IndexError, KeyError, zstandard.ZstdError) as error:
        raise CorruptPayload("a stored metric level cannot be read") from error


def _packed(rows: int, body: bytes) -> bytes:
    if len(body) >= _WORTH_PACKING:
        packed = _LENGTH.pack(len(body)) + zstandard.ZstdCompressor(level=_EFFORT).compress(body)
        if len(packed) < len(body):
            return _HEAD.pack(_VERSION, _ZSTD, rows) + packed
    return _HEAD.pack(_VERSION, _PLAIN, rows) + body


def _unpacked(stored: bytes) -> tuple[int, memoryview]:
    version, packing, rows = _HEAD.unpack_from(stored)
    if version != _VERSION or packing not in (_PLAIN, _ZSTD) or not 1 <= rows <= MOST_POINTS:
        raise ValueError("unknown form")
    body = memoryview(stored)[_HEAD.size :]
    if packing == _PLAIN:
        return rows, body
    (size,) = _LENGTH.unpack_from(body)
    if size > 64 + 3 * 8 * 2 * MOST_POINTS:
        raise ValueError("wrong length")
    plain = zstandard.ZstdDecompressor().decompress(body[_LENGTH.size :], max_output_size=size)
    if len(plain) != size:
        raise ValueError("wrong length")
    return rows, memoryview(plain)
