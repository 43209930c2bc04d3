"""The stored form of a batch: columns as bytes, small, exact to the bit, and readable by every later version.

    payload  = version (1 byte: 1) · packing (1 byte) · body
    packing  = 0: the body as it is, 1: zlib; then the body begins with its plain length (4 bytes)
    body     = number of keys (4) · for each key: key length (2) · points (4) · key in UTF-8
               · then for each key: steps · timestamps
               · then for each key: values (8 bytes each; under zlib all of them by byte plane)
    integers = as in `persistence.metrics.packing`

All numbers are little-endian. A payload that breaks this form raises `CorruptPayload`: it was written by this module,
so that means damage, never bad input.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from typing import Final

from domain.metrics import Batch, Column, Ints
from persistence.metrics.packing import CorruptPayload, pack_ints, planes, unpack_floats, unpack_ints

_VERSION: Final = 1
_PLAIN, _ZLIB = 0, 1
_WORTH_PACKING: Final = 256
_COUNT: Final = struct.Struct("<I")
_KEY: Final = struct.Struct("<HI")


def encode(batch: Batch) -> bytes:
    """The payload of a batch."""
    head = [_COUNT.pack(len(batch.columns))]
    for column in batch.columns:
        key = column.key.encode()
        head += (_KEY.pack(len(key), len(column)), key)
    for column in batch.columns:
        head += (pack_ints(column.steps), pack_ints(column.timestamps))
    integers = b"".join(head)
    values = b"".join(column.values.astype("<f8", copy=False).tobytes() for column in batch.columns)
    size = len(integers) + len(values)
    if size >= _WORTH_PACKING:
        packed = _COUNT.pack(size) + zlib.compress(integers + planes(values), level=1)
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
        steps, at = unpack_ints(body, at, points, wanted=wanted)
        timestamps, at = unpack_ints(body, at, points, wanted=wanted)
        integers.append((steps, timestamps) if wanted else None)
    values = unpack_floats(body[at:], sum(points for _, points in names), by_plane=packing == _ZLIB)
    columns = []
    place = 0
    for (key, points), pair in zip(names, integers, strict=True):
        if pair is not None:
            columns.append(Column(key, pair[0], values[place : place + points], pair[1]))
        place += points
    return columns
