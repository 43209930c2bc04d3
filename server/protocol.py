"""How HTTP is read off a connection: uvicorn's parser with a bound on the head of a request, in bytes and in time.

Everything behind the edge counts what it takes, but a head exists before there is a request to count for: without
these bounds a single connection could fill the memory, and a few slow ones could hold every place.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.edge.streams import ABORT

HEAD_BYTES: Final = 64 * 1024
HEAD_SECONDS: Final = 30.0
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class HeadTooLargeError(Exception):
    """The address and the headers of a request are larger than they may be."""


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose request line and headers exceed HEAD_BYTES, or take longer than HEAD_SECONDS."""

    _reading_head = True
    _head_bytes = 0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # A header that never ends is kept inside the parser, so what arrives is counted too.
        arriving = self._head_bytes + len(data) if self._reading_head else 0
        super().data_received(data)
        if self._reading_head and not self.transport.is_closing():
            self._head_bytes = max(self._head_bytes, arriving)
            if self._head_bytes > HEAD_BYTES:
                self.transport.write(_TOO_LARGE)
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
        self._stop_waiting()
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            raise HeadTooLargeError  # the parser stops, and uvicorn answers 400

    def _await_head(self) -> None:
        self._stop_waiting()
        self._late = self.loop.call_later(HEAD_SECONDS, self._close_late)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close_late(self) -> None:
        if self._reading_head and not self.transport.is_closing():
            self.transport.close()
