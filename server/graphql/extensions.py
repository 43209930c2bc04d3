"""What every query and mutation passes through, over HTTP, SSE and WebSocket alike.

In order: the document is looked up with its limits and validation; an anonymous caller is held to the public root
fields; the context gets fresh loaders; the clock runs; errors leave in their final form. No extension here wraps
single fields, so a field costs what its resolver costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

from graphql import GraphQLError, OperationType
from strawberry.extensions import SchemaExtension
from strawberry.types import StreamExecutionResult

from domain.errors import DeadlineExceeded
from server.edge.rates import Rates
from server.graphql.asking import ASKED, Asked, OperationContext, read, refusals
from server.graphql.documents import Documents, KnownDocument
from server.graphql.errors import present_all
from server.settings import LimitsSettings


def _context(extension: SchemaExtension) -> OperationContext:
    context: OperationContext = extension.execution_context.context
    return context


class PresentErrors(SchemaExtension):
    """Every error gets its code; what must not be seen is logged and masked."""

    def on_operation(self) -> Iterator[None]:
        yield
        self._present(self.execution_context.result)

    def on_stream_result(self, result: StreamExecutionResult) -> Iterator[None]:
        self._present(result)
        yield

    def _present(self, result: Any) -> None:
        errors: list[GraphQLError] | None = getattr(result, "errors", None)
        if errors:
            context = _context(self)
            result.errors = present_all(errors, context.request_id, hide_suggestions=context.scope is None)


class PerOperation(SchemaExtension):
    """Loaders live as long as one operation, also on a WebSocket."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.context = _context(self).for_operation()
        yield


class KnownDocuments(SchemaExtension):
    """Parsing, limits and validation in one look-up; then what this caller may run.

    An operation that came through `Asking` brings the result of both along, and is neither read nor charged again.
    """

    def __init__(self, documents: Documents, limits: LimitsSettings, rates: Rates) -> None:
        self._documents = documents
        self._limits = limits
        self._rates = rates
        self._known: KnownDocument | None = None

    @property
    def _asked(self) -> Asked | None:
        return (self.execution_context.operation_extensions or {}).get(ASKED)

    def on_parse(self) -> Iterator[None]:
        execution = self.execution_context
        if self._asked is not None:
            execution.graphql_document = self._asked.known.document
        elif execution.query:
            schema = execution.schema._schema  # noqa: SLF001 - Strawberry has no public name for it
            self._known = read(self._documents, schema, execution.query, _context(self).scope, self._rates)
            execution.graphql_document = self._known.document
        yield

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        execution.validation_rules = ()
        if self._known is not None:
            name = execution._provided_operation_name  # noqa: SLF001 - the public property guesses
            found = refusals(
                self._known, name, execution.variables or {}, _context(self), limits=self._limits, rates=self._rates
            )
            if found:
                execution.pre_execution_errors = found
        yield

    def get_results(self) -> dict[str, Any]:
        return {} if self._asked is None else self._asked.report(self._limits)


class Deadline(SchemaExtension):
    """Queries and mutations end in time; subscriptions live as long as their socket."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def on_execute(self) -> AsyncIterator[None]:
        if self.execution_context.operation_type.value == OperationType.SUBSCRIPTION.value:
            yield
            return
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            raise DeadlineExceeded(f"the operation took longer than {self._seconds:g} s and was ended") from None


def extensions(
    limits: LimitsSettings, rates: Rates, documents: Documents | None = None
) -> list[Callable[[], SchemaExtension]]:
    """The extensions of one process, made anew for each operation; they share one store of documents."""
    documents = documents or Documents(limits)
    return [
        PresentErrors,
        PerOperation,
        partial(KnownDocuments, documents, limits, rates),
        partial(Deadline, limits.graphql_seconds),
    ]
