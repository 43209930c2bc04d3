"""How large a body may be, by the group its path belongs to; counted while it arrives, never buffered here."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import BadUserInput, DomainError, PayloadTooLarge
from server.edge.identity import request_id_of
from server.edge.replies import header, refuse
from server.settings import LimitsSettings, StorageSettings

_INGEST: Final = re.compile(r"/api/training/runs/[^/]+/(?:metrics|logs|params|tags)")
_UPLOAD: Final = re.compile(r"/api/models/[^/]+/versions(?:/[^/]+/content)?")
_PREDICT: Final = re.compile(r"/api/inference/predict/[^/]+")
_DRAINED: Final = 64 * 1024 * 1024
_DRAIN_SECONDS: Final = 2.0
_FORM_OVERHEAD: Final = 1024 * 1024


def _announced(scope: Scope, limit: int, too_large: DomainError) -> DomainError | None:
    length = header(scope, b"content-length")
    if length is None:
        return None
    if not (length.isascii() and length.isdigit()):
        return BadUserInput("Content-Length is not a number", field="Content-Length")
    return too_large if len(length) > 18 or int(length) > limit else None


async def _drain(scope: Scope, receive: Receive) -> None:
    """Reads some of a refused body and forgets it.

    Closing a connection on which data is still arriving makes the client lose the answer, and most clients read it
    only after they have sent everything. Whoever sends without end is cut off all the same.
    """
    if header(scope, b"expect") is not None:
        return  # the client waits for our word before it sends
    left = _DRAINED
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
    except TimeoutError:
        return


class BodyLimits:
    """Answers 413 for a body over its limit, before reading it when its length is announced."""

    def __init__(self, app: ASGIApp, limits: LimitsSettings, storage: StorageSettings) -> None:
        self._app = app
        self._limits = limits
        self._groups = (
            (_INGEST, limits.ingest_body_bytes),
            (_PREDICT, limits.predict_body_bytes),
            (_UPLOAD, storage.max_upload_bytes + _FORM_OVERHEAD),
        )

    def limit(self, path: str) -> int:
        """The largest body that `path` takes, in bytes."""
        if path == "/graphql":
            return self._limits.graphql_body_bytes
        for pattern, limit in self._groups:
            if pattern.fullmatch(path):
                return limit
        return self._limits.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self.limit(scope["path"])
        too_large = PayloadTooLarge(f"the body may have at most {limit} bytes here")
        started = False

        async def answer(problem: DomainError) -> None:
            await _drain(scope, receive)
            await refuse(scope, receive, send, problem, request_id_of(scope), headers={"Connection": "close"})

        announced = _announced(scope, limit, too_large)
        if announced is not None:
            await answer(announced)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise too_large
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            if received > limit and message["type"] == "http.response.start":
                await _drain(scope, receive)
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except PayloadTooLarge as problem:
            if problem is not too_large or started:
                raise
            await answer(too_large)
