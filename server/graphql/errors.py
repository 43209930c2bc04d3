"""GraphQL errors as a caller may see them: a code on each, and nothing of what went wrong inside.

Allow-list, not block-list: only `DomainError` and what GraphQL itself says about the document or its variables keep
their message. Everything else is logged under the request id and answered as INTERNAL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult

from domain.errors import BadUserInput, DomainError, QueryTooComplex
from server.rest.errors import MASKED, graphql_extensions, report

_VARIABLE: Final = re.compile(r"Variable '\$(?P<name>\w+)' has invalid value(?: at \.?(?P<place>\S+))?: ")
_MISSING: Final = re.compile(r"(?:unknown|required) field '(?P<name>\w+)'")
_ABOUT_THE_REQUEST: Final = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)
_LONGEST: Final = 1_000
_SUGGESTION: Final = re.compile(r" ?Did you mean [^?]*\?", re.IGNORECASE)
_ABORTED: Final = ("Validation aborted.", "Parsing aborted.")


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


def _about_input(error: GraphQLError, cause: BaseException | None) -> bool:
    """Whether GraphQL itself refused the document, a variable or an argument.

    graphql-core reports those without a path, or, inside an operation, as errors of its own with the nodes they
    concern. A literal that a scalar refuses comes with the scalar's ValueError, found while validating: with nodes, and
    no path. An output value that does not fit its type has a path and no nodes, and is a defect of ours.
    """
    if cause is None or isinstance(cause, _ABOUT_THE_REQUEST) or _VARIABLE.match(error.message):
        return True
    if isinstance(cause, ValueError):
        return bool(error.nodes) and not error.path
    return isinstance(cause, GraphQLError) and bool(cause.nodes or not error.path)


def _input_field(message: str) -> str | None:
    """What a refused variable should be changed in, without the variable's own name unless it is all there is."""
    variable = _VARIABLE.match(message)
    if variable is None:
        return None
    named = _MISSING.search(message)
    parts = [part for part in (variable["place"], named["name"] if named else None) if part]
    return ".".join(parts) or str(variable["name"])


def _extensions(error: GraphQLError, request_id: str) -> tuple[str, dict[str, Any]]:
    cause = _cause(error)
    if isinstance(cause, DomainError):
        return cause.message, graphql_extensions(cause, request_id)
    if _about_input(error, cause):
        aborted = error.message.endswith(_ABORTED)
        # The message may repeat the whole input, so it is cut.
        refusal = (QueryTooComplex if aborted else BadUserInput)(error.message[:_LONGEST])
        extensions = graphql_extensions(refusal, request_id)
        if (place := _input_field(error.message)) is not None:
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


def is_request_error(result: ExecutionResult) -> bool:
    """Whether an operation failed as a whole, before any field was resolved: its answer has no `data` at all."""
    return bool(result.errors) and result.data is None and not any(error.path for error in result.errors or ())
