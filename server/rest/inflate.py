"""Compressed bodies undone as they arrive, within bounds: a bomb costs one piece, and a member of twelve bytes a state.

Both how much comes out and how much larger that is than what was sent are capped.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

import zstandard

from domain.errors import PayloadTooLarge
from server.rest.handler import UnreadableBody

MAX_INFLATED: Final = 64 * 1024 * 1024
MAX_RATIO: Final = 200
MAX_MEMBERS: Final = 1_000
"""Members (gzip) or frames (zstd) of one body: each costs a state of its own, and a dozen bytes are one."""

ENCODING: Final = "Content-Encoding"
_ALWAYS_ALLOWED: Final = 1024 * 1024
_PIECE: Final = 256 * 1024
_GZIP_WINDOW: Final = 31
_ZSTD_WINDOW: Final = 8 * 1024 * 1024
_ZSTD_PIECE: Final = 512
"""Bytes handed to zstd at once: 4 of them are a block of up to 128 KiB, which bounds what comes out."""


class _Format(Protocol):
    """One way of packing. A piece of content comes with whether a member begins with it."""

    def feed(self, data: memoryview) -> Iterator[tuple[bytes, bool]]:
        """The content of what arrived. Raises UnreadableBody."""

    def end(self) -> Iterator[tuple[bytes, bool]]:
        """What is left after everything arrived. Raises UnreadableBody when something is missing."""


class _Gzip:
    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._begins = True

    def feed(self, data: memoryview) -> Iterator[tuple[bytes, bool]]:
        # In slices: what zlib leaves of its input it copies, at the end of every member.
        for place in range(0, len(data), _PIECE):
            rest: bytes | memoryview = data[place : place + _PIECE]
            while rest:
                if self._member.eof:
                    self._member, self._begins = zlib.decompressobj(_GZIP_WINDOW), True
                yield self._inflate(rest), self._begins
                self._begins = False
                rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def end(self) -> Iterator[tuple[bytes, bool]]:
        while not self._member.eof:
            piece = self._inflate(b"")
            if not piece:
                raise UnreadableBody("the gzip body is cut off")
            yield piece, False

    def _inflate(self, data: bytes | memoryview) -> bytes:
        try:
            return self._member.decompress(data, _PIECE)
        except zlib.error:
            raise UnreadableBody("the body is not valid gzip") from None


class _Zstd:
    def __init__(self) -> None:
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._frame = self._unpacker.decompressobj()
        self._begins = True

    def feed(self, data: memoryview) -> Iterator[tuple[bytes, bool]]:
        for place in range(0, len(data), _ZSTD_PIECE):
            rest = bytes(data[place : place + _ZSTD_PIECE])
            while rest:
                if self._frame.eof:
                    self._frame, self._begins = self._unpacker.decompressobj(), True
                try:
                    piece = self._frame.decompress(rest)
                except zstandard.ZstdError:
                    limit = f"a window of at most {_ZSTD_WINDOW} bytes"
                    raise UnreadableBody(f"the body is not valid zstd with {limit}") from None
                yield piece, self._begins
                self._begins = False
                rest = self._frame.unused_data if self._frame.eof else b""

    def end(self) -> Iterator[tuple[bytes, bool]]:
        if not self._frame.eof:
            raise UnreadableBody("the zstd body is cut off")
        yield from ()


FORMATS: Final[dict[str, type[_Gzip] | type[_Zstd]]] = {"gzip": _Gzip, "x-gzip": _Gzip, "zstd": _Zstd}


class Inflation:
    """The content of one compressed body. `encoding` is one of FORMATS."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._format: _Format = FORMATS[encoding]()
        self._received = self._size = self._members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content of what arrived, in pieces. Raises UnreadableBody, PayloadTooLarge."""
        self._received += len(data)
        return self._counted(self._format.feed(memoryview(data)))

    def end(self) -> Iterator[bytes]:
        """What is left, after everything arrived. Raises as `feed`."""
        return self._counted(self._format.end())

    def _counted(self, pieces: Iterator[tuple[bytes, bool]]) -> Iterator[bytes]:
        limit = min(MAX_INFLATED, max(_ALWAYS_ALLOWED, MAX_RATIO * self._received))
        for piece, begins in pieces:
            self._size += len(piece)
            self._members += begins
            if self._size > limit:
                raise self._too_large(limit)
            if self._members > MAX_MEMBERS:
                raise PayloadTooLarge(f"the body has more than {MAX_MEMBERS} {self._encoding} members", field=ENCODING)
            yield piece

    def _too_large(self, limit: int) -> PayloadTooLarge:
        most = f"at most {MAX_INFLATED} bytes"
        if limit < MAX_INFLATED:
            most += f", and beyond {_ALWAYS_ALLOWED} bytes at most {MAX_RATIO} times what was sent"
        return PayloadTooLarge(
            f"the body inflates beyond {limit} bytes; a compressed one may hold {most}. Send it in parts",
            field=ENCODING,
        )
