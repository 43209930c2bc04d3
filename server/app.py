"""The ASGI application: every route behind the edge, built from use-cases that somebody else composed.

It opens nothing and owns no background work: whoever serves it has started what it needs, and stops it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import strawberry
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Router, WebSocketRoute
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from domain import access
from domain.errors import BadUserInput, DomainError, MethodNotAllowed, NotFound
from domain.identity import ClientInfo
from resolvers.context import Context, Services
from server.edge.bodies import BodyLimits
from server.edge.connections import LiveConnections
from server.edge.cookies import Cookies
from server.edge.gate import Gate
from server.edge.headers import SecurityHeaders
from server.edge.hosts import TrustedHosts, trusted_hosts
from server.edge.identity import Authenticator, request_id_of
from server.edge.replies import is_graphql
from server.edge.request_log import RequestLog
from server.graphql.extensions import OnePassExecutor, extensions
from server.graphql.view import ContextFactory, GraphQLView, Page
from server.rest.errors import error_response
from server.rest.handler import starlette_routes
from server.rest.health import routes as health_routes
from server.rest.route import Route
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Composed:
    """What the composition root hands to the application.

    `ready` raises Unavailable while the server cannot do its work. `routes` are the REST routes of the nouns,
    `sockets` their WebSocket routes.
    """

    services: Services
    ready: Callable[[], Awaitable[None]]
    routes: Sequence[Route] = ()
    sockets: Sequence[WebSocketRoute] = ()


def context_factory(services: Services, cookies: Cookies) -> ContextFactory:
    """Builds the context of a caller, over HTTP and WebSocket."""

    def make(scope: access.Scope | None, connection: Request | WebSocket, response: Response | None) -> Context:
        return Context(
            services=services,
            scope=scope,
            request_id=request_id_of(connection.scope),
            client=client_of(connection),
            cookies=cookies.of(connection.scope, response) if response is not None else None,
        )

    return make


def client_of(connection: Request | WebSocket) -> ClientInfo:
    """Where a request came from."""
    address = connection.client.host if connection.client is not None else None
    return ClientInfo(address, connection.headers.get("user-agent")).cleaned()


class Dispatcher:
    """Routes, answering what Starlette would answer in plain text in our error shape.

    Routes find the use-cases in `request.app.state`.
    """

    def __init__(self, routes: Iterable[BaseRoute], **state: object) -> None:
        self.state = SimpleNamespace(**state)
        self._router = Router(list(routes), redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        try:
            await self._router(scope, receive, send)
        except HTTPException as refusal:
            if scope["type"] != "http":
                raise
            response = error_response(
                _as_problem(refusal, scope),
                request_id_of(scope),
                graphql=is_graphql(scope),
                status=refusal.status_code,
                headers=refusal.headers,
            )
            await response(scope, receive, send)


def _as_problem(refusal: HTTPException, scope: Scope) -> DomainError:
    if refusal.status_code == 404:
        return NotFound("there is nothing at this path")
    if refusal.status_code == 405:
        allowed = (refusal.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"{scope['method']} is not supported here; use {allowed}")
    return BadUserInput(refusal.detail)


def edge(app: ASGIApp, settings: Settings, authenticator: Authenticator, cookies: Cookies) -> ASGIApp:
    """`app` behind everything that happens to a request before a route sees it; the last one wrapped comes first."""
    https = (settings.server.public_url or "").startswith("https://")
    app = Gate(app, authenticator, cookies, foreign_origins=settings.server.cors_origins)
    app = BodyLimits(app, settings.limits, settings.storage)
    if settings.server.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.server.cors_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "X-Axonml-Workspace", "X-Request-Id"),
            expose_headers=("X-Request-Id", "Retry-After"),
        )
    app = TrustedHosts(app, trusted_hosts(settings.server))
    app = SecurityHeaders(app, https=https)
    return RequestLog(app)


def graphql_schema(settings: Settings) -> strawberry.Schema:
    """The served schema with the limits of `settings`."""
    from schema.build import build

    return build(extensions(settings.limits), OnePassExecutor)


def create_app(
    settings: Settings,
    composed: Composed,
    connections: LiveConnections,
    *,
    pages: Sequence[BaseRoute] = (),
    page: Page | None = None,
) -> ASGIApp:
    """The application. `pages` are the routes of the browser's pages, `page` what a browser gets at `/graphql`."""
    services = composed.services
    cookies = Cookies(secure=(settings.server.public_url or "").startswith("https://"))
    view = GraphQLView(
        graphql_schema(settings),
        make_context=context_factory(services, cookies),
        authenticator=services.identity,
        connections=connections,
        limits=settings.limits,
        page=page,
    )
    rest = [*health_routes(services.version, composed.ready, connections), *composed.routes]
    routes: list[BaseRoute] = [
        StarletteRoute("/graphql", view),
        WebSocketRoute("/graphql", view),
        *starlette_routes(rest),
        *composed.sockets,
        *pages,
    ]
    dispatcher = Dispatcher(routes, services=services, settings=settings, connections=connections, cookies=cookies)
    return edge(dispatcher, settings, services.identity, cookies)
