"""The stored form of a batch: columns as bytes, small, exact to the bit, and readable by every later version.

    payload  = version (1 byte: 1) · packing (1 byte) · body
    packing  = 0: the body as it is, 1: zlib; then the body begins with its plain length (4 bytes)
    body     = number of keys (4) · for each key: key length (2) · points (4) · key in UTF-8
               · then for each key: steps · timestamps
               · then for each key: values (8 bytes each; under zlib all of them by byte plane)
    integers = first (8) · width (1: 0, 1, 2, 4 or 8) · step (8 when width is 0) or differences (width bytes each)

All numbers are little-endian; differences wrap at 64 bits. A payload that breaks this form raises `CorruptPayload`:
it was written by this module, so that means damage, never bad input.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from typing import Final

import numpy as np

from domain.metrics import Batch, Column, Floats, Ints

_VERSION: Final = 1
_PLAIN, _ZLIB = 0, 1
_WORTH_PACKING: Final = 256
_COUNT: Final = struct.Struct("<I")
_KEY: Final = struct.Struct("<HI")
_FIRST: Final = struct.Struct("<QB")
_STRIDE: Final = struct.Struct("<Q")
_WIDTHS: Final = ((1, np.int8), (2, np.int16), (4, np.int32), (8, np.int64))
_DTYPES: Final = {1: "<i1", 2: "<i2", 4: "<i4", 8: "<i8"}


class CorruptPayload(Exception):  # noqa: N818 - reads as a condition
    """A stored batch is damaged."""


def encode(batch: Batch) -> bytes:
    """The payload of a batch."""
    head = [_COUNT.pack(len(batch.columns))]
    for column in batch.columns:
        key = column.key.encode()
        head += (_KEY.pack(len(key), len(column)), key)
    for column in batch.columns:
        head += (_pack_ints(column.steps), _pack_ints(column.timestamps))
    integers = b"".join(head)
    values = b"".join(column.values.astype("<f8", copy=False).tobytes() for column in batch.columns)
    size = len(integers) + len(values)
    if size >= _WORTH_PACKING:
        packed = _COUNT.pack(size) + zlib.compress(integers + _planes(values), level=1)
        if len(packed) < size:
            return bytes((_VERSION, _ZLIB)) + packed
    return bytes((_VERSION, _PLAIN)) + integers + values


def decode(payload: bytes, keys: Collection[str] | None = None) -> list[Column]:
    """The columns of a payload, or those of the given keys. Raises CorruptPayload."""
    try:
        return _decode(payload, keys)
    except (struct.error, ValueError, zlib.error, IndexError, KeyError) as error:
        raise CorruptPayload("a stored metric batch cannot be read") from error


def _decode(payload: bytes, keys: Collection[str] | None) -> list[Column]:
    version, packing = payload[0], payload[1]
    if version != _VERSION or packing not in (_PLAIN, _ZLIB):
        raise ValueError("unknown version")
    body = memoryview(payload)[2:]
    if packing == _ZLIB:
        (size,) = _COUNT.unpack_from(body)
        unpacker = zlib.decompressobj()
        body = memoryview(unpacker.decompress(body[_COUNT.size :], size + 1))
        if len(body) != size or not unpacker.eof:
            raise ValueError("wrong length")
    (count,) = _COUNT.unpack_from(body)
    at = _COUNT.size
    names: list[tuple[str, int]] = []
    for _ in range(count):
        length, points = _KEY.unpack_from(body, at)
        at += _KEY.size
        names.append((str(body[at : at + length], "utf-8"), points))
        at += length
    integers: list[tuple[Ints, Ints] | None] = []
    for key, points in names:
        wanted = keys is None or key in keys
        steps, at = _unpack_ints(body, at, points, wanted)
        timestamps, at = _unpack_ints(body, at, points, wanted)
        integers.append((steps, timestamps) if wanted else None)
    values = _values(body[at:], sum(points for _, points in names), packing == _ZLIB)
    columns = []
    place = 0
    for (key, points), pair in zip(names, integers, strict=True):
        if pair is not None:
            columns.append(Column(key, pair[0], values[place : place + points], pair[1]))
        place += points
    return columns


def _planes(values: bytes) -> bytes:
    """All first bytes, then all second bytes, and so on: exponents of neighbours then pack well."""
    return np.frombuffer(values, np.uint8).reshape(-1, 8).T.tobytes()


def _values(raw: memoryview, points: int, planes: bool) -> Floats:
    if len(raw) != 8 * points:
        raise ValueError("wrong length")
    if planes:
        raw = memoryview(np.frombuffer(raw, np.uint8).reshape(8, -1).T.tobytes())
    return np.frombuffer(raw, "<f8").astype(np.float64, copy=False)


def _pack_ints(numbers: Ints) -> bytes:
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


def _unpack_ints(body: memoryview, at: int, points: int, wanted: bool) -> tuple[Ints, int]:
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
