"""Deny by default: who may pass, over HTTP and WebSocket, decided before any route is looked at.

Whatever is not on the literal list in `server.edge.public` needs a caller. A Bearer credential is tried alone: a
request that carries one never falls back to a cookie. A cookie counts only from our own origin. Credentials in a
query string are never read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import BadUserInput, DomainError, Forbidden, Unauthenticated
from server.edge import public
from server.edge.cookies import Cookies, read
from server.edge.identity import NOBODY, Authenticator, Caller, request_id_of, set_caller
from server.edge.replies import header, refuse

WORKSPACE_HEADER: Final = b"x-axonml-workspace"
_CREDENTIALS: Final = "axonml.credentials"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN_BASIC: Final = "Authorization: Basic is not taken from a page of another origin; use Bearer"
_FOREIGN: Final = "a request with a session cookie must come from this server's own pages"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brought to prove who sends it."""

    authorization: str | None = None
    session: str | None = None
    workspace: str | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was brought."""
        return self.authorization is None and self.session is None


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
        self, app: ASGIApp, authenticator: Authenticator, cookies: Cookies, *, foreign_origins: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._cookies = cookies
        self._foreign_origins = frozenset(foreign_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            set_caller(scope, await self._admit(scope))
        except DomainError as problem:
            await refuse(scope, receive, send, problem, request_id_of(scope))
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> Caller:
        credentials = self._credentials(scope)
        path = scope["path"]
        if scope["type"] == "websocket":
            if path in public.CHECKED_INSIDE:
                scope[_CREDENTIALS] = credentials
                return NOBODY
        elif is_public(scope["method"], path):
            return NOBODY
        caller = await self._resolve(credentials)
        if path not in public.CHECKED_INSIDE:
            caller.require()
        return caller

    def _credentials(self, scope: Scope) -> Credentials:
        """Raises Forbidden for a cookie, a password, or a WebSocket, from a foreign origin."""
        if sum(name == b"authorization" for name, _ in scope["headers"]) > 1:
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

    async def _resolve(self, credentials: Credentials) -> Caller:
        if credentials.empty:
            return NOBODY
        try:
            scope = await self._authenticator.authenticate(
                authorization=credentials.authorization,
                session=credentials.session,
                workspace=credentials.workspace,
            )
        except Unauthenticated as problem:
            return Caller(problem=problem)
        return Caller(scope, via="bearer" if credentials.authorization is not None else "cookie")
