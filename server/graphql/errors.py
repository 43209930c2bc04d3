"""GraphQL errors as a caller may see them: a code on each, and nothing of what went wrong inside.

Allow-list, not block-list: only `DomainError` and what GraphQL itself says about the document or its variables keep
their message. Everything else is logged under the request id and answered as INTERNAL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from graphql import GraphQLError

from domain.errors import BadUserInput, DomainError, QueryTooComplex
from server.rest.errors import MASKED, graphql_extensions, report

_VARIABLE: Final = re.compile(
    r"^Variable '\$(?P<name>\w+)'(?: got invalid value .*? at '(?P<place>[^']+)')?", re.DOTALL
)
_SUGGESTION: Final = re.compile(r" ?Did you mean [^?]*\?", re.IGNORECASE)
_ABORTED: Final = "Validation aborted."


class PresentedError(GraphQLError):
    """An error in its final form. The errors of one operation pass several hands; the first one presents them."""


def _cause(error: GraphQLError) -> BaseException | None:
    """The exception at the bottom, through the layers that graphql-core and Strawberry wrap around it."""
    cause: BaseException | None = error
    while isinstance(cause, GraphQLError):
        if cause.original_error is None:
            return None if cause is error else cause
        cause = cause.original_error
    return cause


def _about_input(cause: BaseException | None) -> bool:
    """Whether GraphQL itself refused the document, a variable or an argument.

    graphql-core reports those as errors of their own with the nodes they concern. An output value that does not
    fit its type is wrapped instead: its cause has no nodes, and it is a defect of ours.
    """
    if cause is None:
        return True
    return isinstance(cause, GraphQLError) and bool(cause.nodes)


def _input_field(error: GraphQLError) -> str | None:
    found = _VARIABLE.match(error.message)
    if found is None:
        return None
    return found["place"] or found["name"]


def _extensions(error: GraphQLError, request_id: str) -> tuple[str, dict[str, Any]]:
    cause = _cause(error)
    if isinstance(cause, DomainError):
        return cause.message, graphql_extensions(cause, request_id)
    if _about_input(cause):
        if error.message == _ABORTED:
            refusal: DomainError = QueryTooComplex("the document takes too long to validate")
        else:
            refusal = BadUserInput(error.message)
        extensions = graphql_extensions(refusal, request_id)
        if (place := _input_field(error)) is not None:
            extensions["field"] = place
        return refusal.message, extensions
    report(cause if cause is not None else error, graphql_path=list(error.path or ()))
    return MASKED, graphql_extensions(None, request_id)


def present(error: GraphQLError, request_id: str, *, hide_suggestions: bool = False) -> PresentedError:
    """`error` in the form that may leave the server."""
    if isinstance(error, PresentedError):
        return error
    message, extensions = _extensions(error, request_id)
    if hide_suggestions:
        message = _SUGGESTION.sub("", message).rstrip()
    return PresentedError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )


def present_all(
    errors: Sequence[GraphQLError], request_id: str, *, hide_suggestions: bool = False
) -> list[GraphQLError]:
    """Every error in the form that may leave the server."""
    return [present(error, request_id, hide_suggestions=hide_suggestions) for error in errors]


def refusal(problem: DomainError, request_id: str) -> PresentedError:
    """An operation that is refused before it runs."""
    return PresentedError(problem.message, extensions=graphql_extensions(problem, request_id))
