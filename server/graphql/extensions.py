"""What every query and mutation passes through, over HTTP, SSE and WebSocket alike.

In order: the document is looked up with its limits and validation; an anonymous caller is held to the public root
fields; the context gets fresh loaders; the clock runs; errors leave in their final form. No extension here wraps
single fields, so a field costs what its resolver costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Protocol, Self

from graphql import GraphQLError, GraphQLSchema, OperationType
from strawberry.extensions import SchemaExtension
from strawberry.types import StreamExecutionResult

from domain.access import Scope
from domain.errors import BadUserInput, DeadlineExceeded, DomainError, RateLimited, Unauthenticated
from domain.identity import ClientInfo
from server.edge import public
from server.edge.identity import SIGN_IN
from server.edge.rates import Rates
from server.graphql.documents import Documents, KnownDocument, unread
from server.graphql.errors import present_all, refusal
from server.graphql.limits import check_cost, check_inputs
from server.settings import LimitsSettings

READING: Final = 2
"""What a character of a document costs that is read for the first time, in resolved fields."""


class OperationContext(Protocol):
    """What the extensions need to know of a context."""

    @property
    def scope(self) -> Scope | None:
        """The caller; None for an anonymous one."""
        ...

    @property
    def client(self) -> ClientInfo:
        """Where the operation came from."""
        ...

    @property
    def request_id(self) -> str:
        """Under which the log speaks of this operation."""
        ...

    def for_operation(self) -> Self:
        """The same caller with fresh loaders."""
        ...


def _context(extension: SchemaExtension) -> OperationContext:
    context: OperationContext = extension.execution_context.context
    return context


def read(documents: Documents, schema: GraphQLSchema, text: str, caller: Scope | None, rates: Rates) -> KnownDocument:
    """The document of `text`; a caller who has spent too much gets its refusal. Raises GraphQLError."""
    explorer = caller is not None
    if caller is not None and not documents.knows(text, explorer=explorer):
        try:
            rates.spend(caller.principal, READING * len(text))
        except RateLimited as problem:
            return unread(problem)
    return documents.get(schema, text, explorer=explorer)


def refusals(
    known: KnownDocument,
    name: str | None,
    variables: Mapping[str, Any],
    context: OperationContext,
    *,
    limits: LimitsSettings,
    rates: Rates,
) -> list[GraphQLError]:
    """Why the caller of `context` may not run the operation `name` of a document; empty when it may, and is charged."""
    operation = known.operation(name)
    try:
        # Everything below speaks about the operation that will run, so it must be certain which one that is.
        if operation is None and known.refusal is None:
            raise BadUserInput("name the one operation to run; the document has none of that name, or several")
        if context.scope is None and (
            operation is None or not operation.root_names <= public.ROOT_FIELDS[operation.kind]
        ):
            raise Unauthenticated(SIGN_IN)
        if known.refusal is not None:
            raise known.refusal
        if known.errors:
            return list(known.errors)
        if operation is not None and operation.measure is not None:
            cost = check_cost(operation.measure, variables, limits)
            check_inputs(operation.inputs, variables, limits)
            if context.scope is not None:
                rates.spend(context.scope.principal, cost)
            rates.guess(operation.root_names, context.client.address, operation.measure.root_fields)
    except DomainError as problem:
        return [refusal(problem, context.request_id)]
    return []


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
    """Parsing, limits and validation in one look-up; then what this caller may run."""

    def __init__(self, documents: Documents, limits: LimitsSettings, rates: Rates) -> None:
        self._documents = documents
        self._limits = limits
        self._rates = rates
        self._known: KnownDocument | None = None

    def on_parse(self) -> Iterator[None]:
        execution = self.execution_context
        if execution.query:
            try:
                schema = execution.schema._schema  # noqa: SLF001 - Strawberry has no public name for it
                self._known = read(self._documents, schema, execution.query, _context(self).scope, self._rates)
                execution.graphql_document = self._known.document
            except GraphQLError:
                # Strawberry parses again and reports it where it reports syntax errors.
                execution.parse_options["max_tokens"] = self._limits.graphql_tokens
        yield

    def on_validate(self) -> Iterator[None]:
        if self._known is not None:
            execution = self.execution_context
            execution.validation_rules = ()
            name = execution._provided_operation_name  # noqa: SLF001 - the public property guesses
            found = refusals(
                self._known, name, execution.variables or {}, _context(self), limits=self._limits, rates=self._rates
            )
            if found:
                execution.pre_execution_errors = found
        yield


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
