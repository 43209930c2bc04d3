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
from cross_web import AsyncHTTPRequestAdapter, StarletteRequestAdapter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData, process_result
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from domain.access import Scope
from domain.errors import HTTP_STATUS, BadUserInput, DomainError, Forbidden, MethodNotAllowed, NotFound
from server.edge.connections import LiveConnections
from server.edge.identity import Authenticator, caller_of, request_id_of
from server.edge.rates import Rates
from server.figures import SubscriptionFigures
from server.graphql.asking import ASKED, Asked, Asking
from server.graphql.documents import Documents
from server.graphql.errors import is_request_error, refusal
from server.graphql.persisted import KeptTexts, PersistedQueryNotFound, Texts
from server.graphql.requests import GRAPHQL_RESPONSE, SSE, negotiated, posted, queried
from server.graphql.socket import SocketAdapter, TransportHandler
from server.graphql.subscriptions import Subscriptions, presented
from server.rest.errors import error_response, retry_after
from server.settings import LimitsSettings

_PAGE: Final = "text/html"
_ALLOWED: Final = "GET, POST"
# Refusals of a whole operation that a client, or a proxy, should see in the status line whatever it accepts.
_ALWAYS_IN_STATUS: Final = frozenset(
    {"UNAUTHENTICATED", "RATE_LIMITED", "OVERLOADED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"}
)

ContextFactory = Callable[[Scope | None, Request | WebSocket, Response | None], Any]
Page = Callable[[Request], Response | Awaitable[Response]]


class Negotiated(Response):
    """Strawberry's scratch response, which also remembers what the client accepts."""

    graphql_json = False


def encode(data: object) -> str:
    """JSON text. Whole numbers beyond 64 bits and other values orjson refuses fall back to the standard library."""
    try:
        return orjson.dumps(data).decode()
    except TypeError:
        return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _retry_after(errors: Iterable[Mapping[str, Any]]) -> str | None:
    """When an operation that answered nothing may be tried again: after the longest wait that was asked for."""
    extensions = [error.get("extensions", {}) for error in errors]
    waits = [retry_after(each.get("code", ""), each.get("retryAfter")) for each in extensions]
    return max((wait for wait in waits if wait is not None), key=int, default=None)


class Adapter(StarletteRequestAdapter):
    """Strawberry's view of a request, with the query string as it came."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.query_string: bytes = request.scope["query_string"]

    async def get_body(self) -> bytes:
        # Not `body()`: the request would keep it, and a subscription keeps the request.
        return b"".join([chunk async for chunk in self._request.stream()])


def _check_get(request: Request) -> None:
    """Raises Forbidden for a GET with credentials that a browser adds by itself, to whatever page asks for it."""
    if caller_of(request.scope).via == "cookie":
        raise Forbidden("a session cookie does not sign a GET in; send the operation by POST")
    authorization = request.headers.get("authorization", "bearer")
    if not authorization.lower().startswith("bearer"):
        raise Forbidden("with GET only Authorization: Bearer is taken; send the operation by POST")


class GraphQLView(GraphQL[Any, None]):
    """The GraphQL endpoint as an ASGI application for `http` and `websocket`.

    `make_context` builds the context of a caller; `documents` is the store that the schema's extensions use; `texts`
    knows which text a request stands for (None: any, and those that are kept); `page` answers a browser's GET (None:
    404).
    """

    request_adapter_class = Adapter
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
        texts: Texts | None = None,
        page: Page | None = None,
        figures: SubscriptionFigures | None = None,
    ) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            allow_queries_via_get=True,
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
        core = schema._schema  # noqa: SLF001 - Strawberry has no public name for it
        self.asking = Asking(core, documents or Documents(limits), texts or KeptTexts(), limits, rates)
        self.subscriptions = Subscriptions(self.asking, encode=encode, figures=figures)
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
        allowed = _ALLOWED
        try:
            if request.method in ("GET", "HEAD") and _PAGE in request.headers.get("accept", ""):
                return await self._browser(request)
            if request.method == "GET":
                allowed = "POST"  # if this operation is not for GET
                _check_get(request)
            elif request.method != "POST":
                raise MethodNotAllowed(f"{request.method} is not supported here; send operations by POST")
            return await self.run(request)
        except MethodNotAllowed as problem:
            return error_response(problem, request_id, graphql=True, headers={"Allow": allowed})
        except DomainError as problem:
            return error_response(problem, request_id, graphql=True)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it; the access log shows it

    async def _browser(self, request: Request) -> Response:
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

    def should_render_graphql_ide(self, request: Any) -> bool:  # noqa: ARG002
        return False  # a browser was given its page before

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.method == "GET":
            return queried(headers, cast("Adapter", request).query_string)
        return posted(headers, await request.get_body())

    async def execute_operation(  # noqa: PLR0917 - Strawberry's signature
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,  # noqa: ARG002
        request_data: GraphQLRequestData | list[GraphQLRequestData],
        context: Any,
        root_value: None,  # noqa: ARG002
        sub_response: Response,  # noqa: ARG002
    ) -> Any:
        data = cast("GraphQLRequestData", request_data)
        try:
            asked = self.asking.ask(data.query, data.variables, data.operation_name, data.extensions, context)
        except PersistedQueryNotFound as problem:
            # An answer like those of other documents that cannot run; clients look for it there.
            return ExecutionResult(None, [refusal(problem, request_id_of(request.scope))])
        kind = asked.operation.kind if asked.operation is not None else None
        if request.method == "GET" and kind not in (None, "query"):
            raise MethodNotAllowed(f"a {kind} is sent by POST; GET runs queries only")
        if data.protocol == "sse":
            subscription = await self.subscriptions.open(asked, context)
            return subscription.payloads() if subscription is not None else self._once(asked, context)
        if kind == "subscription":
            raise BadUserInput(f"subscriptions need a WebSocket (graphql-transport-ws) or Accept: {SSE}", field="query")
        return await self.execute(asked, context)

    async def execute(self, asked: Asked, context: Any) -> ExecutionResult:
        """The result of a query or a mutation, or why it may not run, with errors that may leave the server.

        Raises BadUserInput when the request does not tell which operation of its document to run.
        """
        known = asked.known
        if asked.operation is None and known.refusal is None and not known.broken:
            raise BadUserInput(
                "name the one operation to run; the document has none of that name, or several", field="operationName"
            )
        found = self.asking.refusals(asked, context)
        if found:
            result = ExecutionResult(None, found, asked.report(self.limits))
        else:
            result = await self.schema.execute(
                asked.text,
                variable_values=asked.variables,
                context_value=context,
                operation_name=asked.name,
                allowed_operation_types={OperationType.QUERY, OperationType.MUTATION},
                operation_extensions={ASKED: asked},
            )
        if result.errors:
            result.errors = presented(result.errors, context)
        return result

    async def _once(self, asked: Asked, context: Any) -> AsyncGenerator[str, None]:
        """A query or a mutation over SSE: a stream of one payload."""
        try:
            result = await self.execute(asked, context)
        except DomainError as problem:
            result = ExecutionResult(None, [refusal(problem, context.request_id)])
        yield self.encode_json(self._body(result))

    async def _process_stream_result(self, request: Request, value: Any, all_pending: list[Any]) -> tuple[Any, Any]:  # noqa: ARG002
        return value, all_pending  # encoded already, for a subscription once for all its clients

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:  # noqa: ARG002
        return self._body(result)

    @staticmethod
    def _body(result: ExecutionResult) -> GraphQLHTTPResponse:
        data = process_result(result)
        if is_request_error(result):
            data.pop("data")  # the draft wants no `data` entry at all
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
                response.status_code = HTTP_STATUS.get(code, 400)
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
