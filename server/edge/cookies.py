"""The browser's session in cookies: `HttpOnly`, `SameSite`, and `Secure` with a name prefix wherever HTTPS is used.

Scripts of a page can never read them, and a request that carries them is only taken from our own origin. The refresh
token lives for days, so it travels only to the two paths that can use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

from domain.identity import Tokens
from server.edge.replies import header

SESSION: Final = "axonml_session"
REFRESH: Final = "axonml_refresh"
REFRESH_PATHS: Final = ("/api/auth/refresh", "/graphql")


def read(scope: Scope) -> Mapping[str, str]:
    """The cookies of a request, by name."""
    text = header(scope, b"cookie")
    return cookie_parser(text) if text is not None else {}


class Cookies:
    """Names and attributes of the session cookies. `secure`: the server is reached over HTTPS."""

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure
        # `__Host-` demands Path=/, so a cookie with a path of its own gets the weaker prefix (RFC 6265bis).
        self.session_name = ("__Host-" if secure else "") + SESSION
        self.refresh_name = ("__Secure-" if secure else "") + REFRESH

    def presented(self, scope: Scope) -> str | None:
        """The access token of the session cookie, from our own pages alone.

        Where nothing but cookies came, the gate has looked at the origin of every request that may change something.
        """
        return None if header(scope, b"authorization") is not None else read(scope).get(self.session_name)

    def keep(self, response: Response, tokens: Tokens) -> None:
        """Sets the cookies on an answer. The session cookie outlives its token, so that it can be renewed."""
        age = max(0, tokens.session_expires_in)
        self._set(response, self.session_name, tokens.access, "/", age)
        for path in REFRESH_PATHS:
            self._set(response, self.refresh_name, tokens.refresh, path, age)

    def clear(self, response: Response) -> None:
        """Removes all of them."""
        self._set(response, self.session_name, "", "/", 0)
        for path in REFRESH_PATHS:
            self._set(response, self.refresh_name, "", path, 0)

    def _set(self, response: Response, name: str, value: str, path: str, age: int) -> None:
        response.set_cookie(
            name,
            value,
            max_age=age,
            path=path,
            secure=self._secure,
            httponly=True,
            samesite="lax" if path == "/" else "strict",
        )

    def of(self, scope: Scope, response: Response) -> RequestCookies:
        """The cookies of one request and its answer."""
        return RequestCookies(self, self.presented(scope), read(scope).get(self.refresh_name), response)


class RequestCookies:
    """The session cookies of one HTTP request, as the use-cases see them."""

    def __init__(
        self, cookies: Cookies, access_token: str | None, refresh_token: str | None, response: Response
    ) -> None:
        self._cookies = cookies
        self._access_token = access_token
        self._refresh_token = refresh_token
        self._response = response

    @property
    def access_token(self) -> str | None:
        """The access token of the session cookie that came with the request."""
        return self._access_token

    @property
    def refresh_token(self) -> str | None:
        """The refresh token that came with the request."""
        return self._refresh_token

    def keep(self, tokens: Tokens) -> None:
        """Sets the cookies of a session on the answer."""
        self._cookies.keep(self._response, tokens)

    def clear(self) -> None:
        """Removes them."""
        self._cookies.clear(self._response)
