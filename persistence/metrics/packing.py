"""The byte forms of columns of numbers that batches and chunks share.

    integers = first (8) · width (1: 0, 1, 2, 4 or 8) · step (8 when width is 0) or differences (width bytes each)
    by plane = all first bytes, then all second bytes, and so on: exponents of neighbours then pack well

All numbers are little-endian; differences wrap at 64 bits. Readers may raise struct.error or ValueError for bytes
that are no such form; the codecs turn that into `CorruptPayload`.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from domain.metrics import Floats, Ints

_FIRST: Final = struct.Struct("<QB")
_STRIDE: Final = struct.Struct("<Q")
_WIDTHS: Final = ((1, np.int8), (2, np.int16), (4, np.int32), (8, np.int64))
_DTYPES: Final = {1: "<i1", 2: "<i2", 4: "<i4", 8: "<i8"}


class CorruptPayload(Exception):  # noqa: N818 - reads as a condition
    """What is stored of a metric is damaged."""


def planes(values: bytes) -> bytes:
    """Numbers of 8 bytes, by plane."""
    return np.frombuffer(values, np.uint8).reshape(-1, 8).T.tobytes()


def unpack_floats(raw: memoryview, points: int, *, by_plane: bool) -> Floats:
    """So many doubles, which must be all there is."""
    if len(raw) != 8 * points:
        raise ValueError("wrong length")
    if by_plane:
        raw = memoryview(np.frombuffer(raw, np.uint8).reshape(8, -1).T.tobytes())
    return np.frombuffer(raw, "<f8").astype(np.float64, copy=False)


def pack_ints(numbers: Ints) -> bytes:
    """Whole numbers, at least one."""
    bits = numbers.view(np.uint64)
    first = int(bits[0])
    if len(bits) == 1:
        return _FIRST.pack(first, 0) + _STRIDE.pack(0)
    steps = (bits[1:] - bits[:-1]).view(np.int64)  # unsigned arithmetic wraps without a warning
    lowest, highest = int(steps.min()), int(steps.max())
    if lowest == highest:
        return _FIRST.pack(first, 0) + _STRIDE.pack(lowest % 2**64)
    for width, kind in _WIDTHS:
        limits = np.iinfo(kind)
        if limits.min <= lowest and highest <= limits.max:
            return _FIRST.pack(first, width) + steps.astype(_DTYPES[width]).tobytes()
    raise AssertionError("every difference fits 64 bits")


def unpack_ints(body: memoryview, at: int, points: int, *, wanted: bool = True) -> tuple[Ints, int]:
    """So many whole numbers from place `at`, and the place behind them; when not wanted, only the place."""
    first, width = _FIRST.unpack_from(body, at)
    at += _FIRST.size
    if width == 0:
        (stride,) = _STRIDE.unpack_from(body, at)
        end = at + _STRIDE.size
        if not wanted:
            return np.empty(0, np.int64), end
        ramp = np.arange(points, dtype=np.uint64) * np.uint64(stride) + np.uint64(first)
        return ramp.view(np.int64), end
    end = at + width * (points - 1)
    if not wanted:
        return np.empty(0, np.int64), end
    numbers = np.empty(points, np.uint64)
    numbers[0] = first
    numbers[1:] = np.frombuffer(body[at:end], _DTYPES[width]).astype(np.int64).view(np.uint64)
    return np.cumsum(numbers, dtype=np.uint64).view(np.int64), end
