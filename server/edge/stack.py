"""The edge put together: the order in which a request passes its layers, and what routes it in the end."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import BadUserInput, DomainError, MethodNotAllowed, NotFound
from server.edge.addresses import ClientAddress
from server.edge.bodies import BodyLimits
from server.edge.connections import LiveConnections
from server.edge.cookies import Cookies
from server.edge.crowd import Crowd
from server.edge.gate import Gate
from server.edge.headers import SecurityHeaders
from server.edge.hosts import TrustedHosts, trusted_hosts
from server.edge.identity import Authenticator, request_id_of
from server.edge.only import is_elsewhere
from server.edge.paths import Paths
from server.edge.rates import Rates
from server.edge.replies import is_graphql
from server.edge.request_log import RequestLog
from server.edge.shares import Shares
from server.figures import RequestFigures
from server.rest.errors import error_response
from server.settings import Settings


class Dispatcher:
    """Routes, answering what Starlette would answer in plain text in our error shape.

    Routes find the use-cases in `request.app.state`.
    """

    def __init__(self, routes: Iterable[BaseRoute], **state: object) -> None:
        self.state = SimpleNamespace(**state)
        known = list(routes)
        self._paths = Paths(known)
        self._router = Router(known, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        found = self._paths.find(scope)
        try:
            if is_elsewhere(scope):
                raise HTTPException(404)
            if found is None:
                await self._router(scope, receive, send)
                return
            route, scope["path_params"] = found
            scope["route"], scope["endpoint"] = route, route.endpoint
            response = await route.endpoint(Request(scope, receive, send))
            await response(scope, receive, send)
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


def edge(
    app: ASGIApp,
    settings: Settings,
    authenticator: Authenticator,
    cookies: Cookies,
    figures: RequestFigures,
    *,
    rates: Rates,
    connections: LiveConnections,
) -> ASGIApp:
    """`app` behind everything that happens to a request before a route sees it; the last one wrapped comes first."""
    https = (settings.server.public_url or "").startswith("https://")
    app = Gate(
        app,
        authenticator,
        cookies,
        rates,
        connections,
        shares=Shares(settings.limits),
        foreign_origins=settings.server.cors_origins,
    )
    app = BodyLimits(app, settings.limits, settings.storage)
    if settings.server.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.server.cors_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=(
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "X-Axonml-Cost",
                "X-Axonml-Sticky",
                "X-Axonml-Workspace",
                "X-Request-Id",
            ),
            expose_headers=("X-Request-Id", "X-Axonml-Version", "Retry-After", "RateLimit", "RateLimit-Policy"),
        )
    app = TrustedHosts(app, trusted_hosts(settings.server))
    app = Crowd(app, settings.limits.connections)
    app = RequestLog(app, figures)
    if settings.server.trusted_proxies:
        app = ClientAddress(app, settings.server.trusted_proxies)
    return SecurityHeaders(app, https=https)
