"""How connections are read and written: uvicorn's protocols with bounds on what a client may hold up, and for how long.

Everything behind the edge counts what it takes, but a head exists before there is a request to count for, and what a
client does not read lies in a connection that no request may own any more: without these bounds a single connection
could fill the memory, and a few slow ones could hold every place.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, Final, cast

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from domain.errors import BadUserInput
from domain.unique import unique
from server.edge.request_log import ACCESS
from server.edge.streams import ABORT, ARRIVED
from server.logs import write_line
from server.rest.errors import rest_body
from server.settings import LimitsSettings

HEAD_BYTES: Final = 64 * 1024
_NAMED: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_UNREADABLE: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n"
)


class BoundedConfig(uvicorn.Config):
    """What uvicorn hands to each of its protocols, with our limits."""

    def __init__(self, app: Any, limits: LimitsSettings, **options: Any) -> None:
        super().__init__(app, http=BoundedHttp, ws=BoundedSocket, **options)
        self.limits = limits


def _unreadable(problem: BadUserInput, client: tuple[str, int] | None) -> bytes:
    """A whole answer, for what never becomes a request; the access log has its request id."""
    request_id = unique()
    fields = {"status": 400, "client": client[0] if client else None, "reason": problem.message}
    write_line(ACCESS, logging.INFO, "unreadable request", {**fields, "request_id": request_id})
    body = orjson.dumps(rest_body(problem, request_id))
    return _UNREADABLE % len(body) + body


class HeadTooLargeError(Exception):
    """The address and the headers of a request are larger than they may be."""


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose request line and headers exceed HEAD_BYTES, or take longer than the limit."""

    config: BoundedConfig
    resumed = 0
    _reading_head = True
    _content = False
    _head_bytes = 0
    _head_until: float | None = None
    _late: asyncio.TimerHandle | None = None

    @property
    def held_up(self) -> bool:
        """Whether nothing can be written until the client reads."""
        return self.flow.write_paused or self.transport.is_closing()

    def resume_writing(self) -> None:
        self.resumed += 1
        super().resume_writing()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # A header or a trailer that never ends is kept inside the parser, so what arrives without content counts too.
        arriving = self._head_bytes + len(data)
        self._content = False
        super().data_received(data)
        if not self._content and not self.transport.is_closing():
            self._head_bytes = max(self._head_bytes, arriving)
            if self._head_bytes > HEAD_BYTES:
                self._hang_up(_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the words are ours
        """Refuses what is no request, or more of a head than may be, in the form of every other refusal."""
        problem = BadUserInput("this is no HTTP/1.1 request that can be read")
        if self._head_bytes > HEAD_BYTES:
            problem = BadUserInput(f"the address and the headers must together be at most {HEAD_BYTES} bytes")
        self._hang_up(_unreadable(problem, self.client))

    def _hang_up(self, reason: bytes) -> None:
        """Says why, unless that would fall into an answer, or be a second one to the same request."""
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or not cycle.response_started or (cycle.response_complete and self._reading_head):
            self.transport.write(reason)
        self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[ABORT] = self.transport.abort  # type: ignore[typeddict-unknown-key] # ASGI has no word for it
        self._reading_head, self._head_bytes = True, 0
        self._await_head()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if self._reading_head:  # a trailer is no header: it comes after everybody has looked
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._reading_head = False
        self._head_until = None
        named = _NAMED.match(self.url)
        if named is not None:  # a whole address names the host itself, and the header is ignored (RFC 9112, 3.2.2)
            self.headers[:] = [each for each in self.headers if each[0] != b"host"]
            self.headers.append((b"host", named[1]))
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.scope["method"] != "HEAD":
            self.cycle.transport = cast("asyncio.Transport", HeadWithBody(self.transport, self.loop))

    def on_body(self, body: bytes) -> None:
        self._content, self._head_bytes = True, 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._content = True
        super().on_message_complete()
        self.scope[ARRIVED] = True  # type: ignore[typeddict-unknown-key] # as above

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # none is waiting; and who drips the rest of an answered body is not idle
            self._await_head()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            raise HeadTooLargeError  # the parser stops, and we answer 400

    def _await_head(self) -> None:
        # One timer serves all requests that come before it rings: one for each would be started and stopped in vain.
        self._head_until = self.loop.time() + self.config.limits.receive_seconds
        if self._late is None:
            self._late = self.loop.call_at(self._head_until, self._look_for_head)

    def _look_for_head(self) -> None:
        self._late = None
        if self._head_until is None or self.transport.is_closing():
            return
        if self.loop.time() < self._head_until:
            self._late = self.loop.call_at(self._head_until, self._look_for_head)
        else:
            self.transport.close()


class HeadWithBody:
    """What an answer is written to: its head leaves together with the first of its body, in one call of the system.

    A head that nothing follows at once leaves alone, before the event loop does anything else that was asked of it
    later. An answer without a body is none for this.
    """

    __slots__ = ("_begun", "_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._begun = False
        self._head = b""

    def write(self, data: bytes) -> None:
        if not self._begun:
            self._begun, self._head = True, data
            self._loop.call_soon(self._flush)
        elif self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)


class BoundedSocket(WebSocketsSansIOProtocol):
    """Keeps nothing for a client that sends and does not read: neither answers to its pings nor empty fragments."""

    resumed = 0

    @property
    def held_up(self) -> bool:
        """Whether nothing can be written until the client reads."""
        return not self.writable.is_set() or self.transport.is_closing()

    def resume_writing(self) -> None:
        self.resumed += 1
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            # A body, too many headers or one too long: uvicorn would neither answer nor ever close the connection.
            problem = "a WebSocket handshake has no body, at most 128 headers and none longer than 8 KiB"
            self.transport.write(_unreadable(BadUserInput(problem), self.client))
            self.transport.close()

    async def send(self, message: Any) -> None:
        if not self.handshake_complete and self.transport.is_closing():
            raise ClientDisconnected  # nothing was agreed with a client that has left: uvicorn would log what follows
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # it was refused, which uvicorn takes for a handshake that was forgotten

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # takes the pong, and lets it go

    def handle_cont(self, event: Frame) -> None:
        if event.data or event.fin:
            super().handle_cont(event)
