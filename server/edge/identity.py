"""What the gate found out about the caller of one request, and how the layers behind it read that.

The answer travels in the ASGI scope under one key. Only the gate writes it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, cast

from starlette.requests import HTTPConnection

from domain.access import Scope
from domain.errors import DomainError, Unauthenticated
from domain.identity import ClientInfo

_IDENTITY: Final = "axonml.identity"
_REQUEST_ID: Final = "axonml.request_id"

SIGN_IN: Final = "sign in first: send an access token or an API key as Authorization: Bearer"


class Authenticator(Protocol):
    """Turns credentials into a scope. The identity use-cases implement it."""

    async def authenticate(
        self, *, authorization: str | None = None, session: str | None = None, workspace: str | None = None
    ) -> Scope:
        """The caller's scope.

        `authorization` is the header as it came, `session` the access token of the session cookie (never
        given together), `workspace` the workspace asked for. Raises Unauthenticated for credentials that are
        malformed, unknown or expired, NotFound for a workspace that is not the caller's.
        """
        ...


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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a scope, or nobody with the reason why the credentials that came were refused."""

    scope: Scope | None = None
    problem: DomainError | None = None
    via: Literal["bearer", "cookie"] | None = None

    def require(self) -> Scope:
        """Raises the reason for the refusal, or Unauthenticated when no credentials came."""
        if self.scope is None:
            raise self.problem or Unauthenticated(SIGN_IN)
        return self.scope


NOBODY: Final = Caller()


def set_caller(scope: MutableMapping[str, Any], caller: Caller) -> None:
    """Called by the gate, once per request."""
    scope[_IDENTITY] = caller


def caller_of(scope: MutableMapping[str, Any]) -> Caller:
    """The caller of this request; nobody when the gate let it pass as public."""
    return cast("Caller", scope.get(_IDENTITY, NOBODY))


def scope_of(connection: HTTPConnection) -> Scope:
    """The caller's scope. Raises Unauthenticated on a public route without credentials."""
    return caller_of(connection.scope).require()


def client_of(connection: HTTPConnection) -> ClientInfo:
    """Where a request came from, and what sent it."""
    address = connection.client.host if connection.client is not None else None
    return ClientInfo(address, connection.headers.get("user-agent")).cleaned()


def set_request_id(scope: MutableMapping[str, Any], request_id: str) -> None:
    """Called by the outermost middleware, once per request."""
    scope[_REQUEST_ID] = request_id


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """The id under which the log speaks of this request."""
    return str(scope.get(_REQUEST_ID, ""))
