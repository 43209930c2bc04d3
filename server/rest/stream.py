"""`WS /api/training/runs/{id}/stream`: a run's current values and changes of status, pushed to whoever watches.

Refusals are answered before the socket is accepted, with the status and body that a REST request would get. What the
client sends is read and ignored. Nothing is queued for a client: the next message is made once the last one is out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from domain.errors import BadUserInput, DomainError, NotFound
from domain.metrics import MetricStream
from domain.metrics.stream import LEAST_SECONDS, MOST_SECONDS, StatusChanged, ValuesChanged
from schema.scalars import write_datetime, write_float, write_int
from server.edge.connections import SERVICE_RESTART, LiveConnections
from server.edge.identity import request_id_of, scope_of
from server.edge.replies import refuse
from server.rest.errors import ShuttingDown, report
from server.rest.handler import query, services_of
from server.rest.operations import metrics as operations
from server.rest.route import Route

DONE: Final = 1000
TRY_AGAIN_LATER: Final = 1013
GONE: Final = 4404
INTERNAL_ERROR: Final = 4500

Message = ValuesChanged | StatusChanged
_encoder: Final = msgspec.json.Encoder()


class _StreamQuery(Struct):
    interval: Annotated[float, Meta(ge=LEAST_SECONDS, le=MOST_SECONDS)] = 1.0
    stream: Literal["metrics", "system"] = "metrics"


class _Reader:
    """An accepted socket. It is closed once; nothing is sent after that."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.closed = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Sends a message, once the client has read those before; one that does not read is cut off by the server."""
        if self.closed.is_set():
            return
        try:
            await self._socket.send_text(_encoded(message))
        except WebSocketDisconnect:
            self.closed.set()

    async def close(self, code: int, reason: str) -> None:
        """Closes it, unless that has happened. A client that reads nothing does not hold this up."""
        if self.closed.is_set():
            return
        self.closed.set()
        try:
            async with asyncio.timeout(1):
                await self._socket.close(code, reason[:120])
        except (TimeoutError, WebSocketDisconnect):
            pass  # it is gone, or reads nothing: the transport goes with the handler

    async def ignore(self) -> None:
        """Reads what the client sends until it leaves."""
        while (await self._socket.receive())["type"] != "websocket.disconnect":
            pass


async def _serve(socket: WebSocket) -> None:
    connections: LiveConnections = socket.app.state.connections
    request = cast("Request", socket)  # both are connections: headers, query, state
    try:
        if connections.stopping.is_set():
            raise ShuttingDown("the server is shutting down", retry_after=1)
        scope = scope_of(socket)
        asked = query(request, _StreamQuery)
        stream = services_of(request).run_stream.follow(
            scope, socket.path_params["id"], every=asked.interval, stream=MetricStream(asked.stream)
        )
        first = await anext(stream)
    except DomainError as problem:
        await refuse(socket.scope, socket.receive, socket.send, problem, request_id_of(socket.scope))
        return
    async with aclosing(stream):
        await socket.accept()
        reader = _Reader(socket)
        async with connections.opened(reader.close, scope):
            if connections.stopping.is_set():
                await reader.close(SERVICE_RESTART, "the server is restarting")
            await _until_left(reader, first, stream)


async def _until_left(reader: _Reader, first: Message, stream: AsyncGenerator[Message, None]) -> None:
    """Sends until the stream has ended, the client leaves, or somebody closes the socket."""
    parts = [asyncio.ensure_future(part) for part in (_send(reader, first, stream), reader.ignore())]
    closed = asyncio.ensure_future(reader.closed.wait())
    try:
        await asyncio.wait({*parts, closed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for part in (*parts, closed):
            part.cancel()
        await asyncio.gather(*parts, closed, return_exceptions=True)


async def _send(reader: _Reader, first: Message, stream: AsyncGenerator[Message, None]) -> None:
    try:
        last = first
        await reader.send(first)
        async for last in stream:
            await reader.send(last)
    except NotFound as problem:
        await reader.close(GONE, problem.message)
    except DomainError as problem:
        await reader.close(TRY_AGAIN_LATER, problem.message)
    except Exception as error:  # noqa: BLE001 - a defect ends this socket only; it is logged and masked
        report(error, path=operations.RUN_STREAM.path)
        await reader.close(INTERNAL_ERROR, "Internal server error")
    else:
        if isinstance(last, StatusChanged):
            await reader.close(DONE, f"the run is {last.run.status.value}")
        else:
            await reader.close(SERVICE_RESTART, "the server is restarting")


def _encoded(message: Message) -> str:
    kind, data = ("status", _status(message)) if isinstance(message, StatusChanged) else ("metrics", _values(message))
    return _encoder.encode({"type": kind, "data": data}).decode()


def _status(message: StatusChanged) -> dict[str, Any]:
    ended = message.run.ended_at
    return {"status": message.run.status.value, "completed_at": None if ended is None else write_datetime(ended)}


def _values(message: ValuesChanged) -> dict[str, Any]:
    """`epoch` and `step` first, then the keys. A key named step gives way to the step, as in the rows of a run."""
    data: dict[str, Any] = {}
    if message.epoch is not None:
        data["epoch"] = write_float(message.epoch)
    if message.step is not None:
        data["step"] = write_int(message.step)
    return data | {key: write_float(value) for key, value in message.latest.items() if key not in ("epoch", "step")}


async def _explain(_: Request) -> Response:
    raise BadUserInput("this is a WebSocket: connect to it with ws:// or wss://", field="Upgrade")


ROUTES: Final = (Route(operations.RUN_STREAM, _explain),)
SOCKETS: Final = (WebSocketRoute(operations.RUN_STREAM.path, _serve),)
