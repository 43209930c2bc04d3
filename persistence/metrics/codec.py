"""The stored form of a batch: columns as bytes, small, exact to the bit, and readable by every later version.

    payload  = version (1 byte: 1) · packing (1 byte) · body
    packing  = 0: the body as it is, 1: zlib, 2: zstd; packed bodies begin with their plain length (4 bytes)
    body     = number of keys (4) · for each key: key length (2) · points (4) · key in UTF-8
               · then for each key: steps · timestamps
               · then for each key: values (8 bytes each; in packed bodies all of them by byte plane)
    integers = as in `persistence.metrics.packing`

All numbers are little-endian. A payload that breaks this form raises `CorruptPayload`: it was written by this module,
so that means damage, never bad input.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Collection
from typing import Final

import zstandard

from domain.metrics import Batch, Column, Ints
from persistence.metrics.packing import CorruptPayload, pack_ints, planes, unpack_floats, unpack_ints

_VERSION: Final = 1
_PLAIN, _ZLIB, _ZSTD = 0, 1, 2
_WORTH_PACKING: Final = 256
_SHORT: Final = 128
_MOST_PLAIN: Final = 64 * 1024 * 1024
_COUNT: Final = struct.Struct("<I")
_KEY: Final = struct.Struct("<HI")
_HEAD_OF_ONE: Final = struct.Struct("<BBIHI")
_ONE: Final = struct.Struct("<qBQqBQd")


class _Zstd(threading.local):
    """What packs and unpacks, one of each for every thread: they are no good to two at a time, and slow to make."""

    def __init__(self) -> None:
        self.packer = zstandard.ZstdCompressor(level=1, write_content_size=False)
        self.unpacker = zstandard.ZstdDecompressor(max_window_size=2**27)


_zstd: Final = _Zstd()


def encode(batch: Batch) -> bytes:
    """The payload of a batch."""
    if batch.points == 1:
        (column,) = batch.columns
        name = column.key.encode()
        if len(name) <= _SHORT:
            return _single(name, column)
    head = [_COUNT.pack(len(batch.columns))]
    for column in batch.columns:
        key = column.key.encode()
        head += (_KEY.pack(len(key), len(column)), key)
    packed_ints: dict[bytes, bytes] = {}  # what is logged together mostly shares its steps and times
    for column in batch.columns:
        for numbers in (column.steps, column.timestamps):
            raw = numbers.tobytes()
            known = packed_ints.get(raw)
            if known is None:
                known = packed_ints[raw] = pack_ints(numbers)
            head.append(known)
    integers = b"".join(head)
    values = b"".join(column.values.astype("<f8", copy=False).tobytes() for column in batch.columns)
    size = len(integers) + len(values)
    if size >= _WORTH_PACKING:
        packed = _COUNT.pack(size) + _zstd.packer.compress(integers + planes(values))
        if len(packed) < size:
            return bytes((_VERSION, _ZSTD)) + packed
    return bytes((_VERSION, _PLAIN)) + integers + values


def _single(name: bytes, column: Column) -> bytes:
    """The payload of one point, which is what most scripts send, one request after the other: never worth packing."""
    step, timestamp, value = column.steps.item(0), column.timestamps.item(0), column.values.item(0)
    head = _HEAD_OF_ONE.pack(_VERSION, _PLAIN, 1, len(name), 1)
    return head + name + _ONE.pack(step, 0, 0, timestamp, 0, 0, value)


def decode(payload: bytes, keys: Collection[str] | None = None) -> list[Column]:
    """The columns of a payload, or those of the given keys. Raises CorruptPayload."""
    try:
        return _decode(payload, keys)
    except (struct.error, ValueError, zlib.error, zstandard.ZstdError, IndexError, KeyError) as error:
        raise CorruptPayload("a stored metric batch cannot be read") from error


def _decode(payload: bytes, keys: Collection[str] | None) -> list[Column]:
    version, packing = payload[0], payload[1]
    if version != _VERSION or packing not in (_PLAIN, _ZLIB, _ZSTD):
        raise ValueError("unknown version")
    body = memoryview(payload)[2:]
    if packing != _PLAIN:
        body = _unpacked(body, zstd=packing == _ZSTD)
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
    values = unpack_floats(body[at:], sum(points for _, points in names), by_plane=packing != _PLAIN)
    columns = []
    place = 0
    for (key, points), pair in zip(names, integers, strict=True):
        if pair is not None:
            columns.append(Column(key, pair[0], values[place : place + points], pair[1]))
        place += points
    return columns


def _unpacked(body: memoryview, *, zstd: bool) -> memoryview:
    """The plain body. It is never larger than it says it is."""
    (size,) = _COUNT.unpack_from(body)
    packed = body[_COUNT.size :]
    if not 0 < size <= _MOST_PLAIN:
        raise ValueError("wrong length")
    if zstd:
        plain = _zstd.unpacker.decompress(packed, max_output_size=size, allow_extra_data=False)
    else:
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(packed, size + 1)
        if not unpacker.eof:
            raise ValueError("wrong length")
    if len(plain) != size:
        raise ValueError("wrong length")
    return memoryview(plain)
