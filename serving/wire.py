"""Frames between a web process and a replica, over a Unix stream socket.

A frame is a fixed header (magic, version, kind, lengths), msgpack metadata of a known struct, and raw
tensor bytes; body and tensors start at multiples of 64 from the start of the frame. Both sides use this
module and neither ever unpickles. Every length is checked before memory is taken for it, so a peer that
lies is cut off with `WireError`, never believed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from domain.tensors import Array, DType
from serving.slab import Region, Slab, SlabError

VERSION: Final = 1
MAX_META_BYTES: Final = 1024 * 1024
MAX_BODY_BYTES: Final = 512 * 1024 * 1024
_MAGIC: Final = 0x41584F4E  # "AXON"
_HEADER: Final = struct.Struct("<IBBHIQ")  # magic, version, kind, reserved, metadata bytes, body bytes
_ALIGN: Final = 64
_STAGING: Final = 256 * 1024
MAX_GREETING: Final = 4096
_PADDING: Final = bytes(_ALIGN)

Chunk = bytes | bytearray | memoryview


class WireError(Exception):
    """The peer sent something that is not a frame of this version, or is larger than allowed."""


class TensorMeta(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A tensor of the body; its bytes follow those of the one before."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


class Hello(msgspec.Struct, frozen=True, tag="hello", array_like=True):
    """First frame of a replica on every connection; a `serving.flight` page and two slabs come along."""

    replica: int
    pid: int


class Predict(msgspec.Struct, frozen=True, tag="predict", array_like=True):
    """Compute `outputs` (None: all) for `tensors`. `deadline_ns` is CLOCK_MONOTONIC, shared by all processes.

    `alone`: not in one batch with others, because a replica died of the batch it was in. `region`: the tensors lie
    there in the slab of requests, and the frame has no body.
    """

    id: int
    deadline_ns: int
    outputs: tuple[str, ...] | None
    tensors: tuple[TensorMeta, ...]
    alone: bool = False
    region: Region | None = None


class Result(msgspec.Struct, frozen=True, tag="result", array_like=True):
    """Outputs of a request, with times in nanoseconds and the rows the replica still has."""

    id: int
    queue_ns: int
    compute_ns: int
    batch_rows: int
    queued_rows: int
    tensors: tuple[TensorMeta, ...]
    region: Region | None = None


class Failure(msgspec.Struct, frozen=True, tag="failure", array_like=True):
    """A request that was not computed. `code` is one of the domain's error codes."""

    id: int
    code: str
    message: str
    queued_rows: int
    retry_after: float | None = None
    field: str | None = None


class Cancel(msgspec.Struct, frozen=True, tag="cancel", array_like=True):
    """Nobody waits for this request any more."""

    id: int


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled", array_like=True):
    """A Cancel was read. Sent at once, also while the model computes: silence means that nobody listens."""

    id: int


Message = Hello | Predict | Result | Failure | Cancel | Cancelled

_KINDS: Final[tuple[type[Message], ...]] = (Hello, Predict, Result, Failure, Cancel, Cancelled)
_NUMBER: Final[Mapping[type[Message], int]] = {kind: number for number, kind in enumerate(_KINDS)}
_DECODERS: Final = tuple(msgspec.msgpack.Decoder(kind) for kind in _KINDS)
_ENCODER: Final = msgspec.msgpack.Encoder()


@dataclass(slots=True)
class Frame:
    """A received message and the arrays that came with it (views of the frame's own memory)."""

    message: Message
    arrays: dict[str, Array]


def describe(arrays: Mapping[str, Array]) -> tuple[TensorMeta, ...]:
    """The metadata of arrays, in order."""
    return tuple(TensorMeta(name, DType(a.dtype.name), a.shape) for name, a in arrays.items())


def encode(message: Message, arrays: Sequence[Array] = ()) -> list[Chunk]:
    """A frame as chunks to be written in order; arrays are referred to, not copied, where contiguous."""
    meta = _ENCODER.encode(message)
    if len(meta) > MAX_META_BYTES:
        raise WireError(f"{len(meta)} bytes of metadata")
    body: list[Chunk] = []
    size = 0
    for array in arrays:
        padding = -size % _ALIGN
        if padding:
            body.append(_PADDING[:padding])
        size += padding + array.nbytes
        if array.nbytes:
            contiguous = np.ascontiguousarray(array)
            body.append(contiguous.reshape(-1).view(np.uint8).data)
    if size > MAX_BODY_BYTES:
        raise WireError(f"{size} bytes of tensors")
    head = _HEADER.pack(_MAGIC, VERSION, _NUMBER[type(message)], 0, len(meta), size) + meta
    return [head + _PADDING[: -len(head) % _ALIGN], *body]


def _offset(meta: int) -> int:
    """Where the body starts: after header and metadata, at a multiple of 64."""
    end = _HEADER.size + meta
    return end + -end % _ALIGN


def _lengths(head: Chunk | memoryview) -> tuple[int, int, int]:
    """Kind, metadata bytes and body bytes of a header; WireError when it is not one."""
    magic, version, kind, _reserved, meta, body = _HEADER.unpack_from(head)
    if magic != _MAGIC:
        raise WireError("not a frame")
    if version != VERSION:
        raise WireError(f"frame version {version}, expected {VERSION}")
    if kind >= len(_KINDS) or meta > MAX_META_BYTES or body > MAX_BODY_BYTES:
        raise WireError(f"frame of kind {kind} with {meta} + {body} bytes is out of bounds")
    return kind, meta, body


def _decode(kind: int, meta: memoryview, body: memoryview, slab: Slab | None) -> Frame:
    try:
        message = _DECODERS[kind].decode(meta)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # bad UTF-8 is a plain ValueError
        raise WireError(f"bad metadata: {error}") from None
    tensors = message.tensors if isinstance(message, Predict | Result) else ()
    if isinstance(message, Predict | Result) and message.region is not None:
        if slab is None or len(body):
            raise WireError("a region where there is none")
        try:
            body = slab.body(message.region)
        except SlabError as error:
            raise WireError(str(error)) from None
    arrays: dict[str, Array] = {}
    position = 0
    for tensor in tensors:
        if any(size < 0 for size in tensor.shape):
            raise WireError("a negative size")
        position += -position % _ALIGN
        dtype = tensor.dtype.numpy
        end = position + math.prod(tensor.shape) * dtype.itemsize
        if end > len(body) or tensor.name in arrays:
            raise WireError("tensors do not fit the body")
        arrays[tensor.name] = np.frombuffer(body[position:end], dtype).reshape(tensor.shape)
        position = end
    if position != len(body):
        raise WireError("bytes left over after the last tensor")
    return Frame(message, arrays)


class FrameReader:
    """Cuts a byte stream into frames: fill `buffer()`, say how much with `received(n)`, take the frames.

    Small frames are gathered in one staging buffer (many per read); a frame that does not fit gets memory
    of its own, into which the rest of it is read directly. `slab` is where the peer lays large tensors.
    """

    def __init__(self, slab: Slab | None = None) -> None:
        self._slab = slab
        self._staging = bytearray(_STAGING)
        self._view = memoryview(self._staging)
        self._start = 0
        self._end = 0
        self._large: memoryview | None = None
        self._filled = 0

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._large is not None:
            return self._large[self._filled :]
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == _STAGING:
            rest = bytes(self._view[self._start : self._end])
            self._view[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        return self._view[self._end :]

    def received(self, count: int) -> Iterator[Frame]:
        """Account for `count` bytes written to `buffer()`; yields the frames they complete.

        Raises WireError, after which the connection is of no use.
        """
        if self._large is not None:
            self._filled += count
            if self._filled == len(self._large):
                whole, self._large = self._large, None
                yield _cut(whole, self._slab)
            return
        self._end += count
        while self._end - self._start >= _HEADER.size:
            _kind, meta, body = _lengths(self._view[self._start : self._end])
            total = _offset(meta) + body
            have = self._end - self._start
            if have >= total:
                whole = memoryview(bytearray(self._view[self._start : self._start + total]))
                self._start += total
                yield _cut(whole, self._slab)
            elif total > _STAGING:
                self._large = memoryview(bytearray(total))
                self._large[:have] = self._view[self._start : self._end]
                self._filled = have
                self._start = self._end = 0
                return
            else:
                return


def decode_one(data: bytes) -> Frame:
    """The single small frame that `data` is. Raises WireError."""
    if len(data) < _HEADER.size:
        raise WireError("not a frame")
    _kind, meta, body = _lengths(data)
    if len(data) != _offset(meta) + body:
        raise WireError("not one whole frame")
    return _cut(memoryview(data))


def _cut(whole: memoryview, slab: Slab | None = None) -> Frame:
    kind, meta, _body = _lengths(whole)
    return _decode(kind, whole[_HEADER.size : _HEADER.size + meta], whole[_offset(meta) :], slab)
