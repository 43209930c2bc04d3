"""How many requests and sockets are served at once; whoever comes on top is told to come back.

Counted here and not by the HTTP server, whose refusal is plain text, knows no request id and reaches no access log.
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import Unavailable
from server.edge.identity import request_id_of
from server.edge.replies import refuse

RETRY_SECONDS: Final = 1.0
_ALWAYS: Final = frozenset({"/health"})  # a full server is alive; one that is restarted for being full helps nobody


class Crowd:
    """Answers 503 while `most` HTTP requests and WebSockets are open."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in _ALWAYS:
            await self._app(scope, receive, send)
            return
        if self._open >= self._most:
            problem = Unavailable("the server has too many open requests; try again", retry_after=RETRY_SECONDS)
            # What may still arrive of the body is not read, so the connection cannot serve another request.
            headers = {"Connection": "close"}
            await refuse(scope, receive, send, problem, request_id_of(scope), headers=headers)
            return
        self._open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1
