"""Bodies of what scripts send in bulk: read whole or line by line, decompressed on the way, and parsed off the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import msgspec
from starlette.requests import ClientDisconnect, Request

from domain.errors import BadUserInput, DomainError, UnsupportedMediaType
from server.edge.replies import header
from server.edge.streams import ARRIVED
from server.rest.handler import UnreadableBody
from server.rest.inflate import FORMATS, Inflation

T = TypeVar("T")

_HEAVY: Final = 192 * 1024
_INLINE: Final = 16 * 1024
_LINES_AT_ONCE: Final = 64 * 1024
"""Bytes of lines that are collected before they are read, in a thread: a turn of the loop for each."""


def content_type(request: Request, *known: str) -> str:
    """The media type of the body, one of `known`. Raises UnsupportedMediaType; a charset other than UTF-8, too."""
    found, _, parameters = (header(request.scope, b"content-type") or "").partition(";")
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
    inflation = _inflation(request)
    body = await _whole(request)
    if not body:
        raise UnreadableBody(_EMPTY)

    def work() -> T:
        return read(body if inflation is None else b"".join((*inflation.feed(body), *inflation.end())))

    return await asyncio.to_thread(work) if inflation is not None or len(body) > _HEAVY else work()


async def _whole(request: Request) -> bytes:
    """The body; without the framework's loop over its pieces when there is only one."""
    if ARRIVED not in request.scope:
        return await request.body()
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return cast("bytes", message.get("body", b""))


async def read_lines(request: Request, take: Callable[[Any], None], finish: Callable[[], T]) -> T:
    """Hands the document of each line to `take` while the body arrives, so that only one piece of it is held.

    Answers what `finish` makes of them. Blank lines are skipped. Raises as `read_body`, naming the line that is not
    JSON, and what `take` and `finish` raise. The rest of a refused body is read and dropped: a client that is still
    sending would lose the answer.
    """
    lines = _Lines(_inflation(request), take)
    kept: list[bytes] = []
    size = 0
    heavy = False
    problem: DomainError | None = None
    async for chunk in request.stream():
        if problem is not None or not chunk:
            continue
        kept.append(chunk)
        size += len(chunk)
        if size >= _LINES_AT_ONCE:
            heavy = True
            problem = await asyncio.to_thread(_problem_of, lines.feed, b"".join(kept))
            kept, size = [], 0
    if problem is not None:
        raise problem

    def end() -> T:
        lines.end(b"".join(kept))
        return finish()

    return await asyncio.to_thread(end) if heavy or lines.packed or size > _INLINE else end()


class _Lines:
    """Splits content into lines as it arrives."""

    def __init__(self, inflation: Inflation | None, take: Callable[[Any], None]) -> None:
        self._inflation = inflation
        self._take = take
        self._begun: list[bytes] = []  # of the line that has not ended
        self._number = 0
        self._empty = True

    @property
    def packed(self) -> bool:
        """Whether little that arrives may be much to read."""
        return self._inflation is not None

    def feed(self, data: bytes) -> None:
        """Takes the lines that end in what arrived."""
        self._empty = self._empty and not data
        for piece in (data,) if self._inflation is None else self._inflation.feed(data):
            self._split(piece)

    def end(self, data: bytes) -> None:
        """Takes the last lines, after everything arrived."""
        self.feed(data)
        if self._empty:
            raise UnreadableBody(_EMPTY)
        for piece in () if self._inflation is None else self._inflation.end():
            self._split(piece)
        self._line(b"".join(self._begun))

    def _split(self, piece: bytes) -> None:
        first, *others = piece.split(b"\n")
        self._begun.append(first)
        if others:
            self._line(b"".join(self._begun))
            for line in others[:-1]:
                self._line(line)
            self._begun = others[-1:]

    def _line(self, line: bytes) -> None:
        self._number += 1
        if line.strip():
            where = f"line {self._number}"
            document = parse(line, where=where)
            try:
                self._take(document)
            except BadUserInput as problem:  # its field counts documents from 0, and blank lines are none
                raise BadUserInput(f"{where}: {problem.message}", field=problem.field) from None


def _problem_of(work: Callable[[bytes], None], data: bytes) -> DomainError | None:
    try:
        work(data)
    except DomainError as problem:
        return problem
    return None


def _inflation(request: Request) -> Inflation | None:
    """What undoes the body's encoding, if it has one. Raises UnsupportedMediaType."""
    encoding = (header(request.scope, b"content-encoding") or "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in FORMATS:
        raise UnsupportedMediaType("expected Content-Encoding: gzip, zstd or none", field="Content-Encoding")
    return Inflation(encoding)


_EMPTY: Final = "the body is empty"


def parse(text: bytes, *, where: str = "the body") -> Any:
    """A JSON document. Raises UnreadableBody."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        hint = '; NaN and infinities are written as the strings "NaN", "Infinity", "-Infinity"'
        hint = hint if b"NaN" in text or b"Infinity" in text else ""
        raise UnreadableBody(f"{where} is not valid JSON: {reason}{hint}") from None
