"""`/graphql` over WebSocket: the graphql-transport-ws protocol, with nothing running before `connection_init`.

A fault of one operation ends that operation; only a fault of the protocol ends the socket, always with the close
code of the protocol. The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

from graphql import GraphQLError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import NonJsonMessageReceived, NonTextMessageReceived, WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
    PingMessage,
    SubscribeMessage,
)

from domain.access import Scope
from domain.errors import DomainError, Overloaded, RateLimited, Unauthenticated
from server.edge.connections import FORBIDDEN, LiveConnection
from server.edge.gate import credentials_of
from server.edge.identity import Credentials, request_id_of
from server.edge.shares import place_in
from server.graphql.errors import is_request_error, present_all, refusal
from server.rest.errors import report

if TYPE_CHECKING:
    from server.graphql.asking import Asked, Asking, OperationContext
    from server.graphql.view import GraphQLView

UNAUTHORIZED = 4401
INTERNAL_ERROR = 4500
TRY_AGAIN_LATER = 1013
_CLOSE_SECONDS = 1.0


class SocketAdapter(ASGIWebSocketAdapter):
    """Text frames only, no frame after the close, and a close that does not wait for a reader that does not read."""

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        while self.ws.application_state != WebSocketState.DISCONNECTED:
            message = await self.ws.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                raise NonTextMessageReceived
            try:
                yield self.view.decode_json(text)
            except ValueError as problem:
                if not ignore_parsing_errors:
                    raise NonJsonMessageReceived from problem

    async def send_json(self, message: Mapping[str, object]) -> None:
        await self.send_text(self.view.encode_json_string(message))

    async def send_text(self, text: str) -> None:
        """Sends a message that is JSON already. Raises WebSocketDisconnected."""
        if self.ws.application_state == WebSocketState.DISCONNECTED:
            raise WebSocketDisconnected
        try:
            await self.ws.send_text(text)
        except WebSocketDisconnect as problem:
            raise WebSocketDisconnected from problem

    async def close(self, code: int, reason: str) -> None:
        if self.ws.application_state == WebSocketState.DISCONNECTED:
            return
        with suppress(TimeoutError):  # it reads nothing: the server cuts it off
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.ws.close(code=code, reason=reason[:120])


def _valid_subscribe(message: Mapping[str, Any]) -> bool:
    payload = message.get("payload")
    return (
        isinstance(message.get("id"), str)
        and bool(message["id"])
        and isinstance(payload, dict)
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("operationName"), str | None)
        and isinstance(payload.get("extensions"), dict | None)
        and (
            isinstance(payload.get("query"), str)
            or (payload.get("query") is None and "persistedQuery" in (payload.get("extensions") or {}))
        )
    )


def _as_graphql(error: Exception) -> GraphQLError:
    return error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)


class AskedOperation(Operation[Any, None]):
    """An operation on a socket with all that its message said."""

    __slots__ = ("extensions",)

    def __init__(self, handler: TransportHandler, message: Mapping[str, Any]) -> None:
        payload = message["payload"]
        super().__init__(
            handler, message["id"], payload.get("query"), payload.get("variables"), payload.get("operationName")
        )
        self.extensions: dict[str, Any] | None = payload.get("extensions")

    def ask(self, asking: Asking, context: OperationContext) -> Asked:
        """What its message asks for, which is then let go: messages may be large, and subscriptions live long."""
        asked = asking.ask(self.query, self.variables, self.operation_name, self.extensions, context)
        self.query, self.variables, self.extensions = "", None, None
        return asked


class TransportHandler(BaseGraphQLTransportWSHandler[Any, None]):
    """One socket: authenticated once by `connection_init`, registered so that it can be told to end."""

    _live: LiveConnection | None = None

    @property
    def _view(self) -> GraphQLView:
        return cast("GraphQLView", self.view)

    @property
    def _socket(self) -> WebSocket:
        return cast("SocketAdapter", self.websocket).ws

    async def handle(self) -> None:
        connections = self._view.connections
        async with connections.opened(self._end) as self._live:
            if connections.stopping.is_set():
                await self._end(1012, "the server is restarting")
            await super().handle()

    async def _end(self, code: int, reason: str) -> None:
        await self.websocket.close(code, reason)
        for operation_id in list(self.operations):
            await self.cleanup_operation(operation_id)

    @staticmethod
    def _get_pre_execution_close_reason(_error: GraphQLError) -> str | None:
        return None  # a syntax error is an `error` of its operation; the socket and its other operations live on

    async def handle_message(self, message: Message) -> None:
        received = cast("object", message)  # whatever JSON the client sent
        if not isinstance(received, dict) or not isinstance(received.get("type"), str):
            await self.handle_invalid_message("a message must be a JSON object with a type")
            return
        if message["type"] in ("ping", "pong", "connection_init") and not isinstance(
            message.get("payload"), dict | None
        ):
            await self.handle_invalid_message("a payload must be a JSON object")
            return
        if message["type"] == "complete" and not isinstance(message.get("id"), str):
            await self.handle_invalid_message("an id must be a string")
            return
        await super().handle_message(message)

    async def handle_ping(self, message: PingMessage) -> None:
        payload = message.get("payload")
        await self.send_message({"type": "pong"} if payload is None else {"type": "pong", "payload": payload})

    async def run_operation(self, operation: Operation[Any, None]) -> None:
        """Runs an operation to its end; a subscription as one of those who share it."""
        try:
            await self._run(cast("AskedOperation", operation))
        except DomainError as problem:
            await operation.send_initial_errors([refusal(problem, self.context.request_id)])
        except WebSocketDisconnected:
            pass  # nobody is there to be told
        except Exception as error:  # noqa: BLE001 - a defect ends this operation only; it is logged and masked
            await operation.send_initial_errors(present_all([_as_graphql(error)], self.context.request_id))

    async def _run(self, operation: AskedOperation) -> None:
        asked = operation.ask(self._view.asking, self.context)
        subscription = await self._view.subscriptions.open(asked, self.context)
        if subscription is None:
            result = await self._view.execute(asked, self.context)
            if is_request_error(result):
                await operation.send_initial_errors(result.errors or [])
                return
            await operation.send_next(result)
        elif subscription.refused:
            await operation.send_initial_errors(list(subscription.refused))
            return
        else:
            adapter = cast("SocketAdapter", self.websocket)
            envelope = f'{{"id":{json.dumps(operation.id)},"type":"next","payload":'
            del asked  # which holds all variables that came
            async with aclosing(subscription.payloads()) as payloads:
                async for payload in payloads:
                    await adapter.send_text(f"{envelope}{payload}}}")
        await operation.send_operation_message({"id": operation.id, "type": "complete"})

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        if not self.connection_acknowledged:
            await self.websocket.close(UNAUTHORIZED, "Unauthorized")
        elif not _valid_subscribe(message):
            await self.handle_invalid_message("a subscribe message needs an id and a payload with a query")
        elif message["id"] in self.operations:
            await self.websocket.close(4409, f"Subscriber for {message['id']} already exists")
        elif len(self.operations) >= self._view.limits.socket_operations:
            most = self._view.limits.socket_operations
            await self._refuse(message, Overloaded(f"at most {most} operations may run on one socket at a time"))
        else:
            try:
                self._view.rates.operation(self.context.scope.principal)
            except RateLimited as problem:
                await self._refuse(message, problem)
                return
            operation = self.operations[message["id"]] = AskedOperation(self, message)
            operation.task = asyncio.create_task(self.run_operation(operation))
            operation.task.add_done_callback(self._task_done)

    async def _refuse(self, message: SubscribeMessage, problem: DomainError) -> None:
        error = refusal(problem, request_id_of(self._socket.scope))
        await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        if self.connection_timed_out:
            return
        if self.connection_init_received:
            await self.websocket.close(4429, "Too many initialisation requests")
            return
        self.connection_init_received = True
        if self.connection_init_timeout_task:
            self.connection_init_timeout_task.cancel()
        try:
            scope = await self._authenticate(message.get("payload") or {})
            place_in(self._socket.scope).move(scope.principal)
        except Unauthenticated as problem:
            brought = not self._credentials(message.get("payload") or {}).empty
            await self.websocket.close(FORBIDDEN if brought else UNAUTHORIZED, problem.message)
        except (RateLimited, Overloaded) as problem:
            await self.websocket.close(TRY_AGAIN_LATER, problem.message)
        except DomainError as problem:
            await self.websocket.close(FORBIDDEN, problem.message)
        except Exception as error:  # noqa: BLE001 - a defect ends this socket only; it is logged and masked
            report(error, path=self._socket.scope["path"])
            await self.websocket.close(INTERNAL_ERROR, "Internal server error")
        else:
            self.context = self._view.make_context(scope, self._socket, None)
            if self._live is not None:
                self._live.scope = scope
            await self.send_message({"type": "connection_ack"})
            self.connection_acknowledged = True

    def _credentials(self, payload: Mapping[str, Any]) -> Credentials:
        """What `connection_init` brought; else what came with the handshake."""
        lowered = {name.lower(): value for name, value in payload.items() if isinstance(value, str)}
        shaken = credentials_of(self._socket.scope)
        workspace = lowered.get("x-axonml-workspace") or lowered.get("workspace") or shaken.workspace
        authorization = lowered.get("authorization")
        if authorization is not None:
            return Credentials(authorization, None, workspace)
        return Credentials(shaken.authorization, shaken.session, workspace)

    async def _authenticate(self, payload: Mapping[str, Any]) -> Scope:
        """Raises Unauthenticated, or NotFound for a workspace that is not the caller's."""
        credentials = self._credentials(payload)
        if credentials.empty:
            raise Unauthenticated("send Authorization in the payload of connection_init")
        return await self._view.rates.authenticate(self._view.authenticator, self._socket.scope, credentials)
