"""Deny by default: who may pass, over HTTP and WebSocket, decided before any route is looked at.

Whatever is not on the literal list in `server.edge.public` needs a caller. A Bearer credential is tried alone: a
request that carries one never falls back to a cookie. A cookie counts only from our own origin. Credentials in a
query string are never read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import BadUserInput, DomainError, Forbidden, Unauthenticated
from server.edge import public
from server.edge.confinement import confinement_of
from server.edge.connections import LiveConnections
from server.edge.cookies import Cookies, read
from server.edge.identity import NOBODY, Authenticator, Caller, Credentials, request_id_of, set_caller
from server.edge.rates import Rates
from server.edge.replies import header, refuse
from server.edge.scrapers import PATH as SCRAPED
from server.edge.scrapers import Scrapers
from server.edge.shares import Shares

WORKSPACE_HEADER: Final = b"x-axonml-workspace"
_CREDENTIALS: Final = "axonml.credentials"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN_BASIC: Final = "Authorization: Basic is not taken from a page of another origin; use Bearer"
_FOREIGN: Final = "a request with a session cookie must come from this server's own pages"


def credentials_of(scope: Scope) -> Credentials:
    """The credentials of a WebSocket handshake that is authenticated later, by `connection_init`."""
    return cast("Credentials", scope.get(_CREDENTIALS, Credentials()))


def is_public(method: str, path: str) -> bool:
    """Whether this is on the public list."""
    method = "GET" if method == "HEAD" else method
    place = (method, path)
    return (
        place in public.ROUTES
        or place in public.PAGES
        or (method == "GET" and path.startswith(public.ASSETS) and "/../" not in path)
    )


def _is_page(scope: Scope) -> bool:
    method = "GET" if scope.get("method") == "HEAD" else scope.get("method", "")
    return (method, scope["path"]) in public.SIGNED_IN_PAGES


def same_origin(scope: Scope) -> bool | None:
    """Whether a browser sent this from one of our own pages; None when nothing tells (not a browser)."""
    site = header(scope, b"sec-fetch-site")
    origin = header(scope, b"origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    if origin is not None:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == (header(scope, b"host") or "").lower()
    return True if site is not None else None


class Gate:
    """Resolves the caller, and refuses every request that has none and is not public."""

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        cookies: Cookies,
        rates: Rates,
        connections: LiveConnections,
        *,
        shares: Shares,
        foreign_origins: Iterable[str] = (),
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._cookies = cookies
        self._rates = rates
        self._foreign_origins = frozenset(foreign_origins)
        self._shares = shares
        self._scrapers = Scrapers(connections)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._admit(scope)
            place = self._shares.enter(scope, caller.scope)
        except DomainError as problem:
            await refuse(scope, receive, send, problem, request_id_of(scope))
            return
        set_caller(scope, caller)
        try:
            await self._app(scope, receive, send)
        finally:
            place.leave()

    async def _admit(self, scope: Scope) -> Caller:
        credentials = self._credentials(scope)
        path = scope["path"]
        if scope["type"] == "websocket":
            if path in public.CHECKED_INSIDE:
                scope[_CREDENTIALS] = credentials
                self._rates.visit(scope)
                return NOBODY
        elif is_public(scope["method"], path):
            self._rates.visit(scope)
            if (scope["method"], path) in public.EITHER_WAY:
                return await self._resolve(scope, credentials)
            return NOBODY
        caller = await self._resolve(scope, credentials)
        if caller.scope is not None:
            self._rates.request(scope, caller.scope.principal)
        elif caller.problem is None:
            self._rates.visit(scope)
        if path not in public.CHECKED_INSIDE and not _is_page(scope):
            confinement = confinement_of(caller.require())
            if confinement is not None:
                method = "GET" if scope.get("method") == "HEAD" else scope.get("method", "")
                confinement.check_route(method, path)
        return caller

    def _credentials(self, scope: Scope) -> Credentials:
        """Raises Forbidden for a cookie, a password, or a WebSocket, from a foreign origin."""
        if [name for name, _ in scope["headers"]].count(b"authorization") > 1:
            raise BadUserInput("send one Authorization header", field="Authorization")
        authorization = header(scope, b"authorization")
        workspace = header(scope, WORKSPACE_HEADER)
        own = same_origin(scope)
        listed = header(scope, b"origin") in self._foreign_origins
        socket = scope["type"] == "websocket"
        if socket and own is False and not listed:
            raise Forbidden("a WebSocket from a page of another origin is refused")
        if authorization is not None:
            # A browser that was once given a name and a password for this host adds them to every page's requests.
            known_to_browsers = not authorization.lower().startswith("bearer")
            if known_to_browsers and own is False and not listed and scope["method"] not in _SAFE:
                raise Forbidden(_FOREIGN_BASIC)
            return Credentials(authorization, None, workspace)
        jar = read(scope)
        session = jar.get(self._cookies.session_name)
        if session is None and self._cookies.refresh_name not in jar:
            return Credentials(None, None, workspace)
        if (socket or scope["method"] not in _SAFE) and own is not True:
            raise Forbidden(_FOREIGN)
        return Credentials(None, session, workspace)

    async def _resolve(self, scope: Scope, credentials: Credentials) -> Caller:
        if credentials.empty:
            return NOBODY
        try:
            asking = self._rates.authenticate(self._authenticator, scope, credentials)
            found = await (self._scrapers.resolve(credentials, asking) if scope["path"] == SCRAPED else asking)
        except Unauthenticated as problem:
            return Caller(problem=problem)
        return Caller(found, via="bearer" if credentials.authorization is not None else "cookie")
