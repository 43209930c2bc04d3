"""What a client asks for, made out once for every transport: which document, whether it may run, what it costs.

An operation is looked up, and charged, here alone. `Asked` then travels with it to whatever executes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from graphql import GraphQLError, GraphQLSchema

from domain.access import Scope
from domain.errors import BadUserInput, DomainError, RateLimited, Unauthenticated
from domain.identity import ClientInfo
from server.edge import public
from server.edge.confinement import confinement_of
from server.edge.identity import SIGN_IN
from server.edge.rates import Rates
from server.graphql.documents import Documents, KnownDocument, KnownOperation, unread
from server.graphql.errors import refusal
from server.graphql.limits import check_cost, check_inputs
from server.graphql.persisted import Texts, digest_of
from server.settings import LimitsSettings

ASKED: Final = "axonml.asked"
"""Under which an executed operation finds what was made out about it, among its extensions."""

READING: Final = 2
"""What a character of a document costs that is read for the first time, in resolved fields."""


class OperationContext(Protocol):
    """What the extensions need to know of a context."""

    @property
    def scope(self) -> Scope | None:
        """The caller; None for an anonymous one."""
        ...

    @property
    def problem(self) -> DomainError | None:
        """Why the credentials of an anonymous caller are refused; None when there were none."""
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


def read(documents: Documents, schema: GraphQLSchema, text: str, caller: Scope | None, rates: Rates) -> KnownDocument:
    """The document of `text`; a caller who has spent too much gets its refusal."""
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
    if known.broken:
        return list(known.errors)
    operation = known.operation(name)
    try:
        # Everything below speaks about the operation that will run, so it must be certain which one that is.
        if operation is None and known.refusal is None:
            raise BadUserInput("name the one operation to run; the document has none of that name, or several")
        if context.scope is None and (
            operation is None or not operation.root_names <= public.ROOT_FIELDS[operation.kind]
        ):
            raise context.problem or Unauthenticated(SIGN_IN)
        confinement = None if context.scope is None else confinement_of(context.scope)
        if confinement is not None and operation is not None:
            confinement.check_fields(operation.kind, operation.root_names)
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


@dataclass(frozen=True, slots=True)
class Asked:
    """One operation as a client asked for it."""

    text: str
    name: str | None
    variables: dict[str, Any]
    known: KnownDocument
    digest: str | None = None
    """The hash that came with the text, when it is to be kept under it."""

    priced: bool = False
    """Whether the answer should say what the operation costs."""

    @property
    def operation(self) -> KnownOperation | None:
        """The operation to run; None when the document does not tell which one."""
        return self.known.operation(self.name)

    def report(self, limits: LimitsSettings) -> dict[str, Any]:
        """The `extensions` of the answer: what the operation asks for, and the limits, if that was asked."""
        operation = self.operation
        if not self.priced or operation is None or operation.measure is None:
            return {}
        measure = operation.measure
        return {
            "cost": {
                "requested": measure.cost(self.variables),
                "limit": limits.graphql_cost,
                "depth": measure.depth,
                "depthLimit": limits.graphql_depth,
                "aliases": measure.aliases,
                "aliasLimit": limits.graphql_aliases,
                "directives": measure.directives,
                "directiveLimit": limits.graphql_directives,
                "rootFields": measure.root_fields,
            }
        }


class Asking:
    """Makes out what is asked for, against one schema and with the limits of one process."""

    def __init__(
        self, schema: GraphQLSchema, documents: Documents, texts: Texts, limits: LimitsSettings, rates: Rates
    ) -> None:
        self.schema = schema
        self.limits = limits
        self._documents = documents
        self._texts = texts
        self._rates = rates

    def ask(
        self,
        query: str | None,
        variables: Mapping[str, Any] | None,
        name: str | None,
        extensions: Mapping[str, Any] | None,
        context: OperationContext,
    ) -> Asked:
        """What the parameters of a request stand for.

        Raises BadUserInput for those that are no request, PersistedQueryNotFound for a hash that is not known, and
        Forbidden for a text that is not served here.
        """
        extensions = extensions or {}
        digest = digest_of(extensions)
        text = self._texts.find(query or None, digest, context.scope)
        known = read(self._documents, self.schema, text, context.scope, self._rates)
        kept = digest if query else None
        return Asked(text, name, dict(variables or {}), known, kept, priced=extensions.get("cost") is True)

    def refusals(self, asked: Asked, context: OperationContext) -> list[GraphQLError]:
        """Why the caller of `context` may not run what it asked for; empty when it may, and is charged."""
        found = refusals(asked.known, asked.name, asked.variables, context, limits=self.limits, rates=self._rates)
        if not found and asked.digest is not None and context.scope is not None:
            self._texts.keep(asked.text, asked.digest, context.scope)
        return found
