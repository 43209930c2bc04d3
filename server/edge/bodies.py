"""How large a body may be, by the group its path belongs to, and how slow; counted while it arrives, never buffered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import cached_property
from typing import Final, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import BadUserInput, DeadlineExceeded, DomainError, PayloadTooLarge
from server.edge.identity import request_id_of
from server.edge.replies import header, is_graphql, refuse
from server.edge.streams import ABORT, ARRIVED
from server.rest.errors import error_response
from server.settings import LimitsSettings, StorageSettings

_INGEST: Final = re.compile(r"/api/training/runs/[^/]+/(?:metrics|logs?|params|tags)")
_UPLOAD: Final = re.compile(r"/api/models/[^/]+/versions(?:/[^/]+/(?:content|files/[^/]+))?")
_PREDICT: Final = re.compile(r"/api/inference/predict/[^/]+")
_DRAINED: Final = 64 * 1024 * 1024
_DRAIN_SECONDS: Final = 2.0
_FORM_OVERHEAD: Final = 1024 * 1024
_LEAST_RATE: Final = 1024
_REQUEST_TIMEOUT: Final = 408


def is_batch(path: str) -> bool:
    """Whether a POST here brings a batch of a run, or something to predict: a script may do so very often."""
    return _INGEST.fullmatch(path) is not None or _PREDICT.fullmatch(path) is not None


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


class _Body:
    """The body of one request while it arrives."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int, seconds: float) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = limit
        self._received = 0
        self._seconds = seconds
        self._waited = 0.0
        self._arriving = True
        self._given_up = False
        self.answering = False

    @cached_property
    def too_large(self) -> PayloadTooLarge:
        """The refusal of this body, and of no other."""
        return PayloadTooLarge(f"the body may have at most {self._limit} bytes here")

    def announced(self) -> DomainError | None:
        """What is wrong with the length that was announced, if anything."""
        length = header(self._scope, b"content-length")
        if length is None:
            return None
        if not (length.isascii() and length.isdigit()):
            return BadUserInput("Content-Length is not a number", field="Content-Length")
        return self.too_large if len(length) > 18 or int(length) > self._limit else None

    async def receive(self) -> Message:
        """The next message; raises PayloadTooLarge once there is too much.

        Of a client that is too slow the application hears only that it has gone: it was answered here.
        """
        if not self._arriving:
            return await self._receive()
        message: Message | None
        if ARRIVED in self._scope and not self._given_up:
            message = await self._receive()
        else:
            message = None if self._given_up else await self._in_time()
        if message is None:
            await self._give_up()
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            self._arriving = message.get("more_body", False)
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                raise self.too_large
        return message

    async def _in_time(self) -> Message | None:
        """The next message; None when the client took too long. Only the time spent waiting for it counts."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._seconds + self._received / _LEAST_RATE - self._waited):
                return await self._receive()
        except TimeoutError:
            return None
        finally:
            self._waited += loop.time() - began

    async def _give_up(self) -> None:
        """Answers that the body comes too slowly, or tears the connection when an answer has begun."""
        if self._given_up:
            return
        self._given_up = True
        if self.answering:
            cast("Callable[[], None]", self._scope.get(ABORT, lambda: None))()
            return
        problem = DeadlineExceeded(
            f"the body must arrive within {self._seconds:g} s, or by {_LEAST_RATE} bytes in each second"
        )
        request_id, graphql = request_id_of(self._scope), is_graphql(self._scope)
        headers = {"Connection": "close"}
        response = error_response(problem, request_id, graphql=graphql, status=_REQUEST_TIMEOUT, headers=headers)
        await response(self._scope, self._receive, self._send)

    async def send(self, message: Message) -> None:
        """Passes the answer on; after too much the connection serves no further request."""
        if self._given_up:
            return
        self.answering = True
        if self._received > self._limit and message["type"] == "http.response.start":
            await self._drain()
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await self._send(message)

    async def refuse(self, problem: DomainError) -> None:
        """Answers with `problem` and closes the connection."""
        await self._drain()
        headers = {"Connection": "close"}
        await refuse(self._scope, self._receive, self._send, problem, request_id_of(self._scope), headers=headers)

    async def _drain(self) -> None:
        if self._arriving:
            await _drain(self._scope, self._receive)


class BodyLimits:
    """Answers 413 for a body over its limit, before reading it when its length is announced; 408 for one too slow."""

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
        body = _Body(scope, receive, send, self.limit(scope["path"]), self._limits.receive_seconds)
        announced = body.announced()
        if announced is not None:
            await body.refuse(announced)
            return
        try:
            await self._app(scope, body.receive, body.send)
        except PayloadTooLarge as problem:
            if problem is not body.too_large or body.answering:
                raise
            await body.refuse(problem)
