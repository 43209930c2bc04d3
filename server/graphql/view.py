"""`/graphql` over HTTP and SSE: Strawberry's view, made to follow the GraphQL-over-HTTP draft and our error shape.

It holds no state of a request, trusts nothing that the gate did not write into the ASGI scope, and never answers a
defect with its text.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, cast

import orjson
import strawberry
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import MissingQueryError
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData, process_result
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from domain.access import Scope
from domain.errors import HTTP_STATUS, BadUserInput, DomainError, MethodNotAllowed, NotFound, UnsupportedMediaType
from server.edge.connections import LiveConnections
from server.edge.identity import Authenticator, caller_of, request_id_of
from server.edge.rates import Rates
from server.figures import SubscriptionFigures
from server.graphql.documents import Documents
from server.graphql.errors import present_all
from server.graphql.socket import SocketAdapter, TransportHandler
from server.graphql.subscriptions import Subscriptions
from server.rest.errors import error_response, retry_after
from server.settings import LimitsSettings

GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
JSON: Final = "application/json"
SSE: Final = "text/event-stream"
_ANY: Final = ("*/*", "application/*")
# Refusals of a whole operation that a client, or a proxy, should see in the status line whatever it accepts.
_ALWAYS_IN_STATUS: Final = frozenset(
    {"UNAUTHENTICATED", "RATE_LIMITED", "OVERLOADED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"}
)

ContextFactory = Callable[[Scope | None, Request | WebSocket, Response | None], Any]
Page = Callable[[Request], Response | Awaitable[Response]]


class Negotiated(Response):
    """Strawberry's scratch response, which also remembers what the client accepts."""

    graphql_json = False


def negotiated(accept: str) -> str:
    """The media type of the answer: the first one listed that is spoken here, application/json otherwise."""
    for part in accept.split(","):
        listed = part.partition(";")[0].strip().lower()
        if listed in (GRAPHQL_RESPONSE, SSE):
            return listed
        if listed == JSON or listed in _ANY:
            return JSON
    return JSON


def encode(data: object) -> str:
    """JSON text. Whole numbers beyond 64 bits and other values orjson refuses fall back to the standard library."""
    try:
        return orjson.dumps(data).decode()
    except TypeError:
        return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _text_or_none(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise BadUserInput(f"{name} must be a string or null", field=name)
    return value


def _object_or_none(data: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = data.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadUserInput(f"{name} must be an object or null", field=name)
    return value


def _retry_after(errors: Iterable[Mapping[str, Any]]) -> str | None:
    """When an operation that answered nothing may be tried again: after the longest wait that was asked for."""
    extensions = [error.get("extensions", {}) for error in errors]
    waits = [retry_after(each.get("code", ""), each.get("retryAfter")) for each in extensions]
    return max((wait for wait in waits if wait is not None), key=int, default=None)


class GraphQLView(GraphQL[Any, None]):
    """The GraphQL endpoint as an ASGI application for `http` and `websocket`.

    `make_context` builds the context of a caller; `documents` is the store that the schema's extensions use; `page`
    answers a browser's GET (None: 404).
    """

    graphql_transport_ws_handler_class = TransportHandler
    websocket_adapter_class = SocketAdapter

    def __init__(
        self,
        schema: strawberry.Schema,
        *,
        make_context: ContextFactory,
        authenticator: Authenticator,
        connections: LiveConnections,
        limits: LimitsSettings,
        rates: Rates,
        documents: Documents | None = None,
        page: Page | None = None,
        figures: SubscriptionFigures | None = None,
    ) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            allow_queries_via_get=False,
            subscription_protocols=("graphql-transport-ws", "graphql-sse"),
            connection_init_wait_timeout=timedelta(seconds=limits.socket_init_seconds),
            max_subscriptions_per_connection=limits.socket_operations,
            allowed_origins=("*",),  # the gate has judged the origin, with the settings' list
        )
        self.make_context = make_context
        self.authenticator = authenticator
        self.connections = connections
        self.limits = limits
        self.rates = rates
        self.subscriptions = Subscriptions(
            schema, documents or Documents(limits), limits, rates, encode=encode, figures=figures
        )
        self._page = page

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self.run(WebSocket(scope, receive=receive, send=send))
            return
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        request_id = request_id_of(request.scope)
        try:
            if request.method in ("GET", "HEAD"):
                return await self._browser(request)
            if request.method != "POST":
                raise MethodNotAllowed(f"{request.method} is not supported here; send operations by POST")
            return await self.run(request)
        except MethodNotAllowed as problem:
            return error_response(problem, request_id, graphql=True, headers={"Allow": "GET, POST"})
        except DomainError as problem:
            return error_response(problem, request_id, graphql=True)
        except HTTPException as problem:
            return error_response(BadUserInput(problem.reason), request_id, graphql=True, status=problem.status_code)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it; the access log shows it

    async def _browser(self, request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            raise MethodNotAllowed("operations are sent by POST; GET serves the page for browsers only")
        if self._page is None:
            raise NotFound("there is no page here")
        page = self._page(request)
        return page if isinstance(page, Response) else await page

    # Strawberry's hooks.

    def encode_json(self, data: object) -> str:
        return data if isinstance(data, str) else encode(data)  # a whole message is an object, or has been encoded

    def decode_json(self, data: str | bytes) -> object:
        return orjson.loads(data)

    async def get_context(self, request: Request | WebSocket, response: Any) -> Any:
        if isinstance(request, WebSocket):
            return self.make_context(None, request, None)  # `connection_init` replaces it
        return self.make_context(caller_of(request.scope).scope, request, response)

    async def get_sub_response(self, request: Request | WebSocket) -> Response:
        scratch = Negotiated()
        scratch.status_code = None  # type: ignore[assignment] # Strawberry's sign for "nobody set one"
        del scratch.headers["content-length"]
        scratch.graphql_json = negotiated(request.headers.get("accept", "*/*")) == GRAPHQL_RESPONSE
        return scratch

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise UnsupportedMediaType("the body must not be compressed", field="Content-Encoding")
        kind, _, parameters = headers.get("content-type", "").partition(";")
        if kind.strip().lower() != JSON:
            raise UnsupportedMediaType(f"expected Content-Type: {JSON}", field="Content-Type")
        charset = parameters.lower().partition("charset=")[2].strip(' "')
        if charset not in ("", "utf-8", "utf8"):
            raise UnsupportedMediaType("JSON must be encoded as UTF-8", field="Content-Type")
        try:
            data = orjson.loads(await request.get_body())
        except orjson.JSONDecodeError as problem:
            raise BadUserInput(f"the body is not valid JSON: {problem}") from None
        if isinstance(data, list):
            raise BadUserInput("batches are not supported; send one operation per request")
        if not isinstance(data, dict):
            raise BadUserInput("the body must be a JSON object with the key query")
        text = _text_or_none(data, "query")
        if not text:
            raise BadUserInput("the operation's text is missing", field="query")
        return GraphQLRequestData(
            query=text,
            variables=_object_or_none(data, "variables"),
            operation_name=_text_or_none(data, "operationName"),
            extensions=_object_or_none(data, "extensions"),
            protocol="sse" if negotiated(headers.get("accept", "")) == SSE else "http",
        )

    async def execute_operation(  # noqa: PLR0917 - Strawberry's signature
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        request_data: GraphQLRequestData | list[GraphQLRequestData],
        context: Any,
        root_value: None,
        sub_response: Response,
    ) -> Any:
        if isinstance(request_data, GraphQLRequestData) and request_data.protocol == "sse":
            asked = request_data.query, request_data.variables, request_data.operation_name
            subscription = await self.subscriptions.open(*asked, context)
            if subscription is not None:
                return subscription.payloads()
        return await super().execute_operation(
            request, request_adapter, request_data, context, root_value, sub_response
        )

    async def _process_stream_result(self, request: Request, value: Any, all_pending: list[Any]) -> tuple[Any, Any]:
        if isinstance(value, str):
            return value, all_pending  # of a subscription, encoded once for all its clients
        return await super()._process_stream_result(request, value, all_pending)

    async def execute_single(  # noqa: PLR0917 - Strawberry's signature
        self,
        request: Request,  # noqa: ARG002
        request_adapter: AsyncHTTPRequestAdapter,  # noqa: ARG002
        sub_response: Response,  # noqa: ARG002
        context: Any,
        root_value: None,
        request_data: GraphQLRequestData,
    ) -> ExecutionResult:
        try:
            return await self.schema.execute(
                request_data.query,
                root_value=root_value,
                variable_values=request_data.variables,
                context_value=context,
                operation_name=request_data.operation_name,
                allowed_operation_types={OperationType.QUERY, OperationType.MUTATION},
                operation_extensions=request_data.extensions,
            )
        except CannotGetOperationTypeError as problem:
            raise BadUserInput(problem.as_http_error_reason(), field="operationName") from None
        except InvalidOperationTypeError:
            raise BadUserInput(
                f"subscriptions need a WebSocket (graphql-transport-ws) or Accept: {SSE}", field="query"
            ) from None
        except MissingQueryError:
            raise BadUserInput("the operation's text is missing", field="query") from None

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        if result.errors:
            anonymous = caller_of(request.scope).scope is None
            result.errors = present_all(result.errors, request_id_of(request.scope), hide_suggestions=anonymous)
        data = process_result(result)
        if result.errors and result.data is None and not any(error.path for error in result.errors):
            data.pop("data")  # the request failed as a whole: the draft wants no `data` entry at all
        return data

    def create_response(self, response_data: Any, sub_response: Response) -> Response:
        response = super().create_response(response_data, sub_response)
        accepted = isinstance(sub_response, Negotiated) and sub_response.graphql_json
        if accepted:
            response.headers["content-type"] = f"{GRAPHQL_RESPONSE}; charset=utf-8"
        if response_data.get("data") is None and (wait := _retry_after(response_data.get("errors", ()))) is not None:
            response.headers["retry-after"] = wait
        if "data" not in response_data:
            code = response_data["errors"][0].get("extensions", {}).get("code", "BAD_USER_INPUT")
            if accepted or code in _ALWAYS_IN_STATUS:
                response.status_code = HTTP_STATUS[code]
            if code == "UNAUTHENTICATED":
                response.headers["www-authenticate"] = 'Bearer realm="axonml"'
        return response

    async def create_streaming_response(
        self,
        request: Request | WebSocket,
        stream: Callable[[], AsyncIterator[str]],
        sub_response: Response,
        headers: Mapping[str, str],
    ) -> Response:
        source = cast("AsyncGenerator[str, None]", stream())
        until = self.connections.until_stopping(source, caller_of(request.scope).scope)
        return StreamingResponse(until, headers={**sub_response.headers, **headers})
