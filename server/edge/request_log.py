"""The outermost layer: every request gets an id, one line in the access log, and an answer whatever happens inside.

The line of a request that was refused says why.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import DomainError
from domain.unique import unique
from server.edge.identity import caller_of, request_id_of, set_request_id
from server.edge.noted import Noted, begin
from server.edge.rates import rate_headers
from server.edge.replies import header, refuse
from server.figures import RequestFigures
from server.logs import get_logger, write_line
from server.rest.errors import report

ACCESS: Final = "axonml.access"
log = get_logger(ACCESS)
_access: Final = logging.getLogger(ACCESS)

_VALID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_QUIET: Final = frozenset({"/health", "/health/ready"})


class RequestLog:
    """Takes a valid `X-Request-Id` or makes one, answers it, and logs the outcome under it."""

    def __init__(self, app: ASGIApp, figures: RequestFigures) -> None:
        self._app = app
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = header(scope, b"x-request-id")
        request_id = given if given is not None and _VALID.fullmatch(given) else unique()
        set_request_id(scope, request_id)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0
        size = 0
        gone = False
        noted = begin()

        async def watched(message: Message) -> None:
            nonlocal status, size, gone
            kind = message["type"]
            if kind in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                status = int(message.get("status", 101))  # an HTTPStatus would be written as its name
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *rate_headers(scope)]
                message = {**message, "headers": headers}
                self._figures.add(scope, status, time.perf_counter() - started)
            elif kind == "http.response.body":
                size += len(message.get("body", b""))
            elif kind == "websocket.close":
                noted.closed(message)
                status = status or self._refused(scope, started)
            try:
                await send(message)
            except OSError:  # how a server says that the client of a WebSocket has left
                gone = True
                raise

        try:
            await self._app(scope, receive, watched)
        except DomainError as problem:
            if status:
                log.warning("answer broken off", path=scope["path"], code=problem.code, reason=problem.message)
            else:
                await refuse(scope, receive, watched, problem, request_id)
        except Exception as error:  # noqa: BLE001 - the last line of defence: a defect is logged and masked
            if not gone:
                report(error, path=scope["path"])
            if not status:
                await refuse(scope, receive, watched, None, request_id)
        finally:
            self._write(scope, status, size, time.perf_counter() - started, noted)

    def _refused(self, scope: Scope, started: float) -> int:
        """Counts a socket that was closed before it was opened; answers the status that this amounts to."""
        self._figures.add(scope, 403, time.perf_counter() - started)
        return 403

    def _write(self, scope: Scope, status: int, size: int, seconds: float, noted: Noted) -> None:
        level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
        if not _access.isEnabledFor(level):
            return
        caller = caller_of(scope).scope
        client = scope.get("client")
        write_line(
            ACCESS,
            level,
            "request",
            {
                "method": scope.get("method", "WEBSOCKET"),
                "path": scope["path"],
                "status": status,
                "bytes": size,
                "ms": round(seconds * 1000, 2),
                "client": client[0] if client else None,
                "user": caller.principal.user_id if caller else None,
                "request_id": request_id_of(scope),
                **noted.fields(),
            },
        )
