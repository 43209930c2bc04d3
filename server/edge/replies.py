"""Refusing a request from inside a middleware, in the shape its protocol expects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.types import Receive, Scope, Send

from domain.errors import DomainError
from server.rest.errors import error_response

_FIRST: Final = "axonml.headers"


def header(scope: Scope, name: bytes) -> str | None:
    """The first value of a request header; `name` is lower-case. Nobody may change the headers of a request."""
    first = scope.get(_FIRST)
    if first is None:  # a dozen are asked for before a route sees the request
        first = scope[_FIRST] = dict(reversed(scope["headers"]))
    value = first.get(name)
    return None if value is None else bytes(value).decode("latin-1")


def is_graphql(scope: Scope) -> bool:
    """Whether the caller expects GraphQL's error shape."""
    return bool(scope["path"] == "/graphql")


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    problem: DomainError | None,
    request_id: str,
    *,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answers the request with `problem`; a WebSocket is refused before it is accepted."""
    response = error_response(problem, request_id, graphql=is_graphql(scope), headers=headers)
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": problem.code if problem else "INTERNAL"})
        return
    await send(
        {"type": "websocket.http.response.start", "status": response.status_code, "headers": response.raw_headers}
    )
    await send({"type": "websocket.http.response.body", "body": response.body})
