"""How a refusal or a defect is written on the wire: REST's error body, and GraphQL's for requests that fail whole.

Only `DomainError` may explain itself to a caller. Everything else is a defect: it is logged with its traceback
under the request id, and answered as INTERNAL without a word of what happened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response

from domain.errors import HTTP_STATUS, INTERNAL, DomainError, Unavailable
from server.edge.noted import note
from server.logs import get_logger

log = get_logger("axonml.errors")

_RETRIED: Final = frozenset({"RATE_LIMITED", "OVERLOADED", "UNAVAILABLE"})
MASKED: Final = "something went wrong inside the server; its log has the details under this request id"


class ShuttingDown(Unavailable):
    """The server is stopping; another one, or the next start, will answer."""


def report(error: BaseException, **details: object) -> None:
    """Writes a defect to the log, with its traceback."""
    log.error("request failed", exc_info=error, **details)


def rest_body(error: DomainError | None, request_id: str) -> dict[str, Any]:
    """REST's error body. None stands for a defect."""
    if error is not None:
        note(error)
    return {
        "error": {
            "code": error.code if error else INTERNAL,
            "message": error.message if error else MASKED,
            "field": error.field if error else None,
            "request_id": request_id,
        }
    }


def graphql_field(field: str) -> str:
    """The GraphQL spelling of a domain field: its first part in camelCase, keys inside it untouched."""
    head = field.split(".", 1)[0].split("[", 1)[0]
    words = head.split("_")
    return words[0] + "".join(word[:1].upper() + word[1:] for word in words[1:]) + field[len(head) :]


def graphql_extensions(error: DomainError | None, request_id: str) -> dict[str, Any]:
    """The `extensions` of a GraphQL error. None stands for a defect."""
    if error is not None:
        note(error)
    extensions: dict[str, Any] = {"code": error.code if error else INTERNAL, "requestId": request_id}
    if error is not None and error.field is not None:
        extensions["field"] = graphql_field(error.field)
    if error is not None and error.retry_after is not None:
        extensions["retryAfter"] = error.retry_after
    return extensions


def graphql_body(error: DomainError | None, request_id: str) -> dict[str, Any]:
    """A GraphQL answer for a request that was refused before anything ran."""
    return {
        "errors": [
            {
                "message": error.message if error else MASKED,
                "extensions": graphql_extensions(error, request_id),
            }
        ]
    }


def retry_after(code: str, seconds: float | None) -> str | None:
    """The `Retry-After` header in whole seconds; None where trying again is not the advice."""
    if seconds is None and code not in _RETRIED:
        return None
    return str(max(1, math.ceil(seconds or 0)))


def error_response(
    error: DomainError | None,
    request_id: str,
    *,
    graphql: bool = False,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to a refused request; `error` is None for a defect. `status` overrides the code's own."""
    body = graphql_body(error, request_id) if graphql else rest_body(error, request_id)
    extra = dict(headers or {})
    code = error.code if error else INTERNAL
    if (wait := retry_after(code, error.retry_after if error else None)) is not None:
        extra.setdefault("Retry-After", wait)
    if code == "UNAUTHENTICATED":
        extra.setdefault("WWW-Authenticate", 'Bearer realm="axonml"')
    return Response(
        orjson.dumps(body),
        status_code=status if status is not None else HTTP_STATUS[code],
        headers=extra,
        media_type="application/json",
    )
