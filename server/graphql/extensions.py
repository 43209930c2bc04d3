"""What every operation passes through, over HTTP, SSE and WebSocket alike.

In order: the document is looked up with its limits and validation; an anonymous caller is held to the public root
fields; the context gets fresh loaders; the clock runs; errors leave in their final form. No extension here wraps
single fields, so a field costs what its resolver costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Protocol, Self

from graphql import GraphQLError, OperationType
from graphql.execution import Executor
from strawberry.execution import optimized_is_awaitable
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types import StreamExecutionResult

from domain.access import Scope
from domain.errors import BadUserInput, DeadlineExceeded, DomainError, Unauthenticated
from server.edge import public
from server.edge.identity import SIGN_IN
from server.graphql.documents import Documents, KnownDocument
from server.graphql.errors import present_all, refusal
from server.graphql.limits import check_cost, check_inputs
from server.settings import LimitsSettings


class OperationContext(Protocol):
    """What the extensions need to know of a context."""

    @property
    def scope(self) -> Scope | None:
        """The caller; None for an anonymous one."""
        ...

    @property
    def request_id(self) -> str:
        """Under which the log speaks of this operation."""
        ...

    def for_operation(self) -> Self:
        """The same caller with fresh loaders."""
        ...


class OnePassExecutor(Executor[Any]):
    """graphql-core's plain executor: no incremental delivery, and one cheap test for awaitables everywhere.

    Strawberry passes its own test to queries but not to subscriptions, so it is set here.
    """

    build_resolve_info = StrawberryGraphQLCoreExecutionContext.build_resolve_info

    def __init__(self, *args: Any, operation_extensions: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_awaitable = optimized_is_awaitable  # type: ignore[assignment] # narrower than TypeGuard, same answer
        self.operation_extensions = operation_extensions


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
    """Parsing, limits and validation in one look-up; then what this caller may run."""

    def __init__(self, documents: Documents, limits: LimitsSettings) -> None:
        self._documents = documents
        self._limits = limits
        self._known: KnownDocument | None = None

    def on_parse(self) -> Iterator[None]:
        execution = self.execution_context
        if execution.query:
            schema = execution.schema._schema  # noqa: SLF001 - Strawberry has no public name for it
            try:
                self._known = self._documents.get(schema, execution.query, explorer=_context(self).scope is not None)
                execution.graphql_document = self._known.document
            except GraphQLError:
                # Strawberry parses again and reports it where it reports syntax errors.
                execution.parse_options["max_tokens"] = self._limits.graphql_tokens
        yield

    def on_validate(self) -> Iterator[None]:
        if self._known is not None:
            self.execution_context.validation_rules = ()
            self._judge(self._known)
        yield

    def _judge(self, known: KnownDocument) -> None:
        execution = self.execution_context
        context = _context(self)
        name = execution._provided_operation_name  # noqa: SLF001 - the public property guesses
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
                execution.pre_execution_errors = list(known.errors)
                return
            if operation is not None and operation.measure is not None:
                check_cost(operation.measure, execution.variables or {}, self._limits)
                check_inputs(operation.inputs, execution.variables or {}, self._limits)
        except DomainError as problem:
            execution.pre_execution_errors = [refusal(problem, context.request_id)]


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


def extensions(limits: LimitsSettings) -> list[Callable[[], SchemaExtension]]:
    """The extensions of one process, made anew for each operation; they share one store of documents."""
    documents = Documents(limits)
    return [
        PresentErrors,
        PerOperation,
        partial(KnownDocuments, documents, limits),
        partial(Deadline, limits.graphql_seconds),
    ]
