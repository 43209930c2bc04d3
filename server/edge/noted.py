"""Why a request was refused, for its line in the access log.

Whoever words a refusal notes it here, whichever transport it leaves by: an answer in the graph is a 200, and a refusal
of the edge is no more than a number.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from starlette.types import Message

from domain.errors import DomainError

MOST_FIELD: Final = 80
MOST_REASON: Final = 200

_CLIENTS_FAULT: Final = 4400
_ABOUT_RIGHTS: Final = frozenset({"UNAUTHENTICATED", "FORBIDDEN", "MFA_REQUIRED"})
# The words of these are ours. Those about input may repeat it, and input may be a secret.
_OUR_WORDS: Final = _ABOUT_RIGHTS | {"RATE_LIMITED", "OVERLOADED", "PAYLOAD_TOO_LARGE", "DEADLINE_EXCEEDED"}


class Noted:
    """The first refusal of one request, however many its operations meet; one about rights counts before all others."""

    __slots__ = ("code", "field", "reason")

    def __init__(self) -> None:
        self.code: str | None = None
        self.field: str | None = None
        self.reason: str | None = None

    def refused(self, problem: DomainError) -> None:
        """Takes note of it."""
        code = problem.code
        if self.code is not None and (self.code in _ABOUT_RIGHTS or code not in _ABOUT_RIGHTS):
            return
        self.code = code
        self.field = problem.field[:MOST_FIELD] if problem.field is not None else None
        self.reason = problem.message[:MOST_REASON] if code in _OUR_WORDS else None

    def closed(self, message: Message) -> None:
        """Takes note of a socket that the server closes because of what its client did, as the protocol names it."""
        if self.code is None and message.get("code", 1000) >= _CLIENTS_FAULT:
            self.code, self.reason = str(message["code"]), (message.get("reason") or "")[:MOST_REASON]

    def fields(self) -> dict[str, str | None]:
        """What the line says of it; nothing where nothing was refused."""
        if self.code is None:
            return {}
        return {"code": self.code, "field": self.field, "reason": self.reason}


_UNDER_WAY: Final[ContextVar[Noted | None]] = ContextVar("axonml_noted", default=None)


def begin() -> Noted:
    """A request begins, with all tasks that it starts."""
    noted = Noted()
    _UNDER_WAY.set(noted)
    return noted


def note(problem: DomainError) -> None:
    """Somebody is refused in the request under way."""
    noted = _UNDER_WAY.get()
    if noted is not None:
        noted.refused(problem)
