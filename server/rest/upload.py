"""Receiving a version's file: multipart form data or raw bytes, streamed into the store while they arrive.

The body is never held in memory: the multipart parser is fed chunk by chunk, the file's bytes go on to the store and
only the small parts are kept, within a bound. Part names are a fixed set; a file name is handed on for showing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from domain.errors import BadUserInput, PayloadTooLarge, UnsupportedMediaType
from domain.models import IncomingFile, VersionDraft
from domain.models.files import extra_name
from domain.runs import Tag
from server.rest.handler import InvalidBody, UnreadableBody, decode, media_type, query
from server.rest.route import BYTES, MULTIPART

DISCARD_BYTES: Final = 64 * 1024 * 1024
DISCARD_SECONDS: Final = 5.0
MAX_FIELDS_BYTES: Final = 8 * 1024 * 1024
FILE: Final = "file"
EXTRA: Final = "files"
FIELDS: Final = ("architecture", "description", "metrics", "run_id", "tags", "sha256")


Beside = Callable[[int], Awaitable[IncomingFile]]
"""Room for a further file, of which there are so many already."""


class RawUpload(Struct, kw_only=True):
    """The query of a raw upload."""

    architecture: str | None = None
    description: str | None = None
    metrics: str | None = None
    run_id: str | None = None
    tags: str | None = None
    sha256: str | None = None


def announced(request: Request) -> int | None:
    """The length of the file, where the request tells it before the body is read."""
    length = request.headers.get("content-length", "")
    raw = media_type(request) == BYTES
    return int(length) if raw and length.isascii() and length.isdigit() else None


def check_kind(request: Request) -> None:
    """Raises UnsupportedMediaType for anything but a form or raw bytes, UnreadableBody for a form without boundary."""
    kind = media_type(request)
    if kind not in (MULTIPART, BYTES):
        raise UnsupportedMediaType(f"expected {MULTIPART} or {BYTES}", field="Content-Type")
    if kind == MULTIPART:
        _boundary(request)


@dataclass(frozen=True, slots=True)
class Received:
    """What a request brought beside the weights: what it says about them, and further files by name."""

    draft: VersionDraft
    extras: list[tuple[str, IncomingFile]] = field(default_factory=list)


async def receive(request: Request, incoming: IncomingFile, beside: Beside) -> Received:
    """Streams the weights into `incoming`, and each further file into what `beside` gives for it.

    Raises UnreadableBody (not a whole form), InvalidBody (an unknown, repeated or unreadable part), PayloadTooLarge or
    Conflict (too many files).
    """
    if media_type(request) == BYTES:
        given = query(request, RawUpload)
        async for chunk in chunks(request):
            await incoming.write(chunk)
        texts = {name: value for name in FIELDS if (value := getattr(given, name)) is not None}
        return Received(_draft(None, texts))
    form = _Form()
    targets = [incoming]
    try:
        parser = MultipartParser(_boundary(request), form.callbacks())
        async for chunk in chunks(request):
            parser.write(chunk)
            for place, data in form.taken():
                while len(targets) <= place:
                    targets.append(await beside(len(targets) - 1))
                await targets[place].write(data)
        parser.finalize()
    except FormParserError as error:
        raise UnreadableBody(f"the body is not multipart form data: {error}") from None
    form.check_whole()
    return Received(_draft(form.file_name, form.texts()), list(zip(form.extras, targets[1:], strict=True)))


async def chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes, and a note at its end that nothing of it is left."""
    async for chunk in request.stream():
        if chunk:
            yield chunk
    request.state.body_was_read = True


class EarlyAnswer(Response):
    """An answer given while the body is still coming.

    What comes is discarded for a bounded time and size before the connection closes: a connection that closes on
    unread bytes is reset, and the client would never see the answer.
    """

    @classmethod
    def unless_read(cls, request: Request, answer: Response) -> Response:
        """`answer` itself when the body was read to its end."""
        if getattr(request.state, "body_was_read", False):
            return answer
        headers = {**answer.headers, "Connection": "close"}
        return cls(answer.body, answer.status_code, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Sends the answer, discards, ends."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError, PayloadTooLarge):
            async with asyncio.timeout(DISCARD_SECONDS):
                discarded = 0
                while discarded < DISCARD_BYTES:
                    message = await receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        break
                    discarded += len(message["body"])
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _boundary(request: Request) -> bytes:
    _, options = parse_options_header(request.headers.get("content-type", "").encode("latin-1"))
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046, section 5.1.1
        raise UnreadableBody("multipart/form-data needs a boundary of 1 to 70 characters", field="Content-Type")
    return boundary


@dataclass(slots=True)
class _Form:
    """The state between the parser's callbacks."""

    file_name: str | None = None
    extras: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _name: str = ""
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _fields: dict[str, bytearray] = field(default_factory=dict)
    _kept: int = 0
    _pieces: list[tuple[int, bytes]] = field(default_factory=list)
    _ended: bool = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def taken(self) -> list[tuple[int, bytes]]:
        """The bytes of files that arrived since the last call: of the weights as 0, of the others from 1 on."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def check_whole(self) -> None:
        if not self._ended:
            raise UnreadableBody("the body ends before the form does")
        if FILE not in self._seen:
            raise InvalidBody("the part is missing", field=FILE)

    def texts(self) -> dict[str, str]:
        texts: dict[str, str] = {}
        for name, data in self._fields.items():
            try:
                texts[name] = data.decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidBody("the part is not UTF-8", field=name) from None
        return texts

    def _begin(self) -> None:
        self._name, self._disposition = "", b""

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _open(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not name:
            raise UnreadableBody("a part has no name")
        if name not in (FILE, EXTRA, *FIELDS):
            raise InvalidBody(f"unknown part; known are {FILE}, {EXTRA}, {', '.join(FIELDS)}", field=name[:100])
        if name in self._seen and name != EXTRA:
            raise InvalidBody("the part is given twice", field=name)
        self._seen.add(name)
        self._name = name
        if name == FILE:
            given = options.get(b"filename")
            self.file_name = None if given is None else given.decode("utf-8", "replace")
        elif name == EXTRA:
            self.extras.append(extra_name(options.get(b"filename", b"").decode("utf-8", "replace"), field=EXTRA))
            self._pieces.append((len(self.extras), b""))  # so that an empty one is there too
        else:
            self._fields[name] = bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name in (FILE, EXTRA):
            self._pieces.append((0 if self._name == FILE else len(self.extras), data[start:end]))
            return
        self._kept += end - start
        if self._kept > MAX_FIELDS_BYTES:
            raise PayloadTooLarge(
                f"the parts beside the file may have {MAX_FIELDS_BYTES} bytes together", field=self._name
            )
        self._fields[self._name] += data[start:end]

    def _end(self) -> None:
        self._ended = True


def _draft(file_name: str | None, texts: dict[str, str]) -> VersionDraft:
    tags: dict[str, str] = _json(texts.get("tags"), dict[str, str], "tags") or {}
    return VersionDraft(
        file_name=file_name,
        architecture=texts.get("architecture"),
        description=texts.get("description"),
        metrics=_json(texts.get("metrics"), dict[str, Any], "metrics"),
        run_id=texts.get("run_id"),
        tags=[Tag(key, value) for key, value in tags.items()],
        sha256=texts.get("sha256"),
    )


def _json(text: str | None, form: Any, name: str) -> Any:
    """A part that holds JSON; errors name the part."""
    if text is None:
        return None
    try:
        return decode(text.encode(), form)
    except BadUserInput as problem:
        place = f"{name}.{problem.field}" if problem.field else name
        raise InvalidBody(problem.message, field=place) from None
