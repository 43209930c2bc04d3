"""Bodies of what scripts send in bulk: gzip and zstd undone within bounds, JSON and its lines parsed off the loop.

A compressed body may not grow without limit: both its size and how much larger than sent it becomes are capped, and
it is inflated piece by piece, so a bomb costs one piece.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import zstandard
from starlette.requests import Request

from domain.errors import PayloadTooLarge, UnsupportedMediaType
from server.rest.handler import UnreadableBody

T = TypeVar("T")

MAX_INFLATED: Final = 64 * 1024 * 1024
MAX_RATIO: Final = 200
MAX_MEMBERS: Final = 1_000
"""Members (gzip) or frames (zstd) of one body: each costs a state of its own, and a dozen bytes are one."""

_ALWAYS_ALLOWED: Final = 1024 * 1024
_PIECE: Final = 256 * 1024
_HEAVY: Final = 64 * 1024
_GZIP_WINDOW: Final = 31
_ZSTD_WINDOW: Final = 8 * 1024 * 1024
_ZSTD_PIECE: Final = 512
"""Bytes handed to zstd at once: 4 of them are a block of up to 128 KiB, which bounds what comes out."""

_Inflate: TypeAlias = Callable[[memoryview], Iterator[tuple[bytes, bool]]]


def content_type(request: Request, *known: str) -> str:
    """The media type of the body, one of `known`. Raises UnsupportedMediaType; a charset other than UTF-8, too."""
    found, _, parameters = request.headers.get("content-type", "").partition(";")
    media = found.strip().lower()
    if media not in known:
        raise UnsupportedMediaType(f"expected Content-Type: {' or '.join(known)}", field="Content-Type")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in ("utf-8", "utf8"):
            raise UnsupportedMediaType("the body must be encoded as UTF-8", field="Content-Type")
    return media


async def read_body(request: Request, read: Callable[[bytes], T]) -> T:
    """`read` of the body, decompressed; in a thread when it is large.

    Raises UnsupportedMediaType for an encoding other than gzip and zstd, UnreadableBody for a broken or empty body,
    PayloadTooLarge for one that inflates beyond its bounds.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in _ENCODINGS:
        raise UnsupportedMediaType("expected Content-Encoding: gzip, zstd or none", field="Content-Encoding")
    packed = _ENCODINGS[encoding] is not None
    body = await request.body()
    if not body:
        raise UnreadableBody("the body is empty")

    def work() -> T:
        return read(inflated(body, encoding) if packed else body)

    return await asyncio.to_thread(work) if packed or len(body) > _HEAVY else work()


def inflated(body: bytes, encoding: str = "gzip") -> bytes:
    """The content of a compressed body of one or more members. Raises UnreadableBody, PayloadTooLarge."""
    inflate = _ENCODINGS[encoding]
    if inflate is None:
        return body
    limit = min(MAX_INFLATED, max(_ALWAYS_ALLOWED, MAX_RATIO * len(body)))
    pieces: list[bytes] = []
    size = members = 0
    for piece, begins in inflate(memoryview(body)):
        size += len(piece)
        members += begins
        if size > limit:
            raise PayloadTooLarge(f"the body inflates beyond {limit} bytes")
        if members > MAX_MEMBERS:
            raise PayloadTooLarge(f"the body has more than {MAX_MEMBERS} {encoding} members")
        pieces.append(piece)
    return b"".join(pieces)


def _gunzipped(body: memoryview) -> Iterator[tuple[bytes, bool]]:
    """The content piece by piece, and whether a member begins with it.

    The body is handed over in slices: what zlib leaves of its input it copies, at the end of every member.
    """
    member = None
    place = 0
    rest: bytes | memoryview = b""
    try:
        while rest or place < len(body):
            if not rest:
                rest, place = body[place : place + _PIECE], place + _PIECE
            begins = member is None or member.eof
            if member is None or begins:
                member = zlib.decompressobj(_GZIP_WINDOW)
            piece = member.decompress(rest, _PIECE)
            rest = member.unused_data if member.eof else member.unconsumed_tail
            yield piece, begins
        while member is not None and not member.eof:
            piece = member.decompress(b"", _PIECE)
            if not piece:
                raise UnreadableBody("the gzip body is cut off")
            yield piece, False
    except zlib.error:
        raise UnreadableBody("the body is not valid gzip") from None


def _unzstd(body: memoryview) -> Iterator[tuple[bytes, bool]]:
    """The content piece by piece, and whether a frame begins with it."""
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = unpacker.decompressobj()
    begins, place, rest = True, 0, b""
    try:
        while rest or place < len(body):
            if not rest:
                rest, place = bytes(body[place : place + _ZSTD_PIECE]), place + _ZSTD_PIECE
            if frame.eof:
                frame, begins = unpacker.decompressobj(), True
            piece = frame.decompress(rest)
            rest = frame.unused_data if frame.eof else b""
            yield piece, begins
            begins = False
    except zstandard.ZstdError:
        raise UnreadableBody(f"the body is not valid zstd with a window of at most {_ZSTD_WINDOW} bytes") from None
    if not frame.eof:
        raise UnreadableBody("the zstd body is cut off")


_ENCODINGS: Final[dict[str, _Inflate | None]] = {
    "": None,
    "identity": None,
    "gzip": _gunzipped,
    "x-gzip": _gunzipped,
    "zstd": _unzstd,
}


def parse(text: bytes, *, where: str = "the body") -> Any:
    """A JSON document. Raises UnreadableBody."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        hint = '; NaN and infinities are written as the strings "NaN", "Infinity", "-Infinity"'
        hint = hint if b"NaN" in text or b"Infinity" in text else ""
        raise UnreadableBody(f"{where} is not valid JSON: {reason}{hint}") from None


def parse_lines(text: bytes) -> Iterator[Any]:
    """The documents of NDJSON, one per line; blank lines are skipped. Raises UnreadableBody naming the line."""
    for number, line in enumerate(text.split(b"\n"), start=1):
        if line.strip():
            yield parse(line, where=f"line {number}")
