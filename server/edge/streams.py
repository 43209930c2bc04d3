"""Answers that take long (exports, downloads): cut off when the server stops, or the caller's session or key ends.

A cut answer must never look like a whole one, so its connection is torn instead of being ended in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from domain.errors import Unavailable
from server.edge.connections import LiveConnections
from server.edge.identity import caller_of
from server.logs import get_logger
from server.rest.errors import ShuttingDown

log = get_logger("axonml.streams")

ABORT: Final = "axonml.abort"
"""Where the HTTP protocol leaves a function in the ASGI scope that tears the connection at once."""

ARRIVED: Final = "axonml.arrived"
"""Where the HTTP protocol says in the ASGI scope that the whole body is here: nobody will wait for the rest of it."""


class CutShort(Unavailable):
    """An answer that had begun was broken off."""


class Interruptible(Response):
    """`inner`, until the server stops or the caller may not read on.

    A client sees a body that is shorter than announced, or chunks without an end; a download goes on by `Range`.
    """

    def __init__(self, inner: Response, connections: LiveConnections) -> None:
        self._inner = inner
        self._connections = connections
        self.status_code = inner.status_code
        self.raw_headers = inner.raw_headers
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers. Raises CutShort when the connection cannot be torn from here."""
        ended = asyncio.Event()
        reason = ""

        async def close(_code: int, why: str) -> None:
            nonlocal reason
            reason = why
            ended.set()

        async with self._connections.opened(close, caller_of(scope).scope):
            answering = asyncio.ensure_future(self._inner(scope, receive, send))
            interrupted = asyncio.ensure_future(ended.wait())
            try:
                await asyncio.wait({answering, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                interrupted.cancel()
                finished = answering.done()
                answering.cancel()
                if not finished:
                    with suppress(asyncio.CancelledError):
                        await answering
        if finished:
            answering.result()
            return
        log.info("answer cut short", path=scope["path"], reason=reason)
        await _tear(scope, receive, reason)


def interruptible(response: Response, connections: LiveConnections) -> Interruptible:
    """`response`, made interruptible. Raises ShuttingDown when the server stops already."""
    if connections.stopping.is_set():
        raise ShuttingDown("the server is shutting down", retry_after=1)
    return Interruptible(response, connections)


async def _tear(scope: Scope, receive: Receive, reason: str) -> None:
    abort = cast("Callable[[], None] | None", scope.get(ABORT))
    if abort is None:
        raise CutShort(reason)
    abort()
    while (await receive())["type"] != "http.disconnect":
        pass
