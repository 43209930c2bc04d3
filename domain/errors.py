"""The one tree of errors a use-case may raise, and the table that gives each its HTTP status.

Every edge (GraphQL, REST, WebSocket) translates these and nothing else; an exception outside this tree is a
defect and is answered as INTERNAL with its message withheld. Messages are read by people: they say what was
wrong, what was expected, and never carry SQL, paths or stack traces.
"""

from __future__ import annotations

from typing import ClassVar

INTERNAL = "INTERNAL"


class DomainError(Exception):
    """A refusal with a stable `code`.

    `field` names the input the caller must change, in the spelling of the domain (snake_case); edges may
    re-case it. `retry_after` is in seconds and set only when trying again later can help.
    """

    code: ClassVar[str] = INTERNAL

    def __init__(self, message: str, *, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after = retry_after


class Unauthenticated(DomainError):
    """No valid credentials were presented."""

    code = "UNAUTHENTICATED"


class MfaRequired(DomainError):
    """The first factor was right; a second one must follow."""

    code = "MFA_REQUIRED"


class Forbidden(DomainError):
    """The caller is known and may see the object, but may not do this to it."""

    code = "FORBIDDEN"


class NotFound(DomainError):
    """The object does not exist, or does not exist for this caller."""

    code = "NOT_FOUND"


class BadUserInput(DomainError):
    """The input is malformed or outside its bounds; `field` says which part."""

    code = "BAD_USER_INPUT"


class MethodNotAllowed(DomainError):
    """The route exists, but not for this method."""

    code = "METHOD_NOT_ALLOWED"


class Conflict(DomainError):
    """The input is well-formed, but contradicts the present state."""

    code = "CONFLICT"


class PayloadTooLarge(DomainError):
    """The body, or something inside it, is larger than its limit."""

    code = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(DomainError):
    """The content type or encoding of the body is not one the route reads."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class RateLimited(DomainError):
    """The caller asked too often; `retry_after` says when to ask again."""

    code = "RATE_LIMITED"


class Overloaded(DomainError):
    """A bounded queue is full; `retry_after` estimates when there will be room."""

    code = "OVERLOADED"


class QueryTooComplex(DomainError):
    """The GraphQL document passes a limit on depth, breadth or cost."""

    code = "QUERY_TOO_COMPLEX"


class Unavailable(DomainError):
    """Something the server depends on is away at present."""

    code = "UNAVAILABLE"


class DeadlineExceeded(DomainError):
    """The work did not finish within the time the caller or the server allows."""

    code = "DEADLINE_EXCEEDED"


HTTP_STATUS: dict[str, int] = {
    "UNAUTHENTICATED": 401,
    "MFA_REQUIRED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "BAD_USER_INPUT": 400,
    "METHOD_NOT_ALLOWED": 405,
    "CONFLICT": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "RATE_LIMITED": 429,
    "OVERLOADED": 429,
    "QUERY_TOO_COMPLEX": 400,
    INTERNAL: 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
