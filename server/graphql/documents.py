"""Parsed, measured and validated documents, kept by their text: one look-up on the way of a repeated query.

Bounded by number and by the length of all texts together, because a syntax tree takes a few hundred times the
memory of its text. Nothing here depends on who asks, except that hints are left out for callers who may not explore.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLInputType,
    GraphQLSchema,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    ValidationContext,
    parse,
    specified_rules,
    validate,
)
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from domain.errors import DomainError, QueryTooComplex
from server.edge import public
from server.graphql.limits import Measure, Meter, check, inputs_of
from server.settings import LimitsSettings

TEXT_BUDGET: Final = 256 * 1024
LONGEST_KEPT: Final = 16 * 1024
LONGEST: Final = 256 * 1024
"""Characters of a document. One token can be a comment or a string of megabytes, and each character is read in Python;
data belongs into variables."""

LONGEST_ANONYMOUS: Final = 8 * 1024
"""The same for callers who have not signed in: enough for every operation that is public."""
MOST_COMPARED: Final = 50_000
"""The library's units of comparing fields that share a name, two for each pair: fifty fragments beside each other that
repeat a few fields take a tenth of it."""

_ABORTED: Final = "Validation aborted."


class BoundedOverlaps(OverlappingFieldsCanBeMergedRule):
    """The one rule that compares pairs; within its own bound a document could hold the process up for half a second."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = MOST_COMPARED


# What Strawberry itself validates with.
RULES: Final = (
    *(BoundedOverlaps if rule is OverlappingFieldsCanBeMergedRule else rule for rule in specified_rules),
    MaybeNullValidationRule,
    OneOfInputValidationRule,
)
_UNREAD: Final = parse("{ __typename }")


@dataclass(frozen=True, slots=True)
class KnownOperation:
    """One operation of a document."""

    kind: str
    root_names: frozenset[str]
    measure: Measure | None
    inputs: Mapping[str, GraphQLInputType]


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A document that parsed; `errors` is what validation found, `refusal` the limit that it passes."""

    document: DocumentNode
    operations: Mapping[str | None, KnownOperation]
    errors: tuple[GraphQLError, ...] = ()
    refusal: DomainError | None = None

    def operation(self, name: str | None) -> KnownOperation | None:
        """The operation to run: by name, or the only one."""
        if name is not None:
            return self.operations.get(name)
        return next(iter(self.operations.values())) if len(self.operations) == 1 else None


def unread(refusal: DomainError) -> KnownDocument:
    """In place of a document that is not read at all."""
    return KnownDocument(_UNREAD, {}, refusal=refusal)


def _is_public(operation: KnownOperation) -> bool:
    return operation.root_names <= public.ROOT_FIELDS[operation.kind]


class Documents:
    """The documents one process has seen, for one schema."""

    def __init__(self, limits: LimitsSettings) -> None:
        self._limits = limits
        self._known: OrderedDict[tuple[str, bool], KnownDocument] = OrderedDict()
        self._length = 0
        self.hits = 0
        self.misses = 0

    def knows(self, text: str, *, explorer: bool) -> bool:
        """Whether the document was read already, for callers of the same kind."""
        return (text, explorer) in self._known

    def get(self, schema: GraphQLSchema, text: str, *, explorer: bool) -> KnownDocument:
        """The document of `text`. `explorer` says whether the caller may be helped with suggestions.

        What is longer than this caller may send is not read at all: its `refusal` says so. Raises GraphQLError when
        it does not parse.
        """
        longest = LONGEST if explorer else LONGEST_ANONYMOUS
        if len(text) > longest:
            return unread(
                QueryTooComplex(
                    f"the document has {len(text)} characters; at most {longest} are allowed: send data in variables"
                )
            )
        key = (text, explorer)
        known = self._known.get(key)
        if known is not None:
            self.hits += 1
            self._known.move_to_end(key)
            return known
        self.misses += 1
        known = self._read(schema, text, explorer=explorer)
        if len(text) <= LONGEST_KEPT:
            self._keep(key, known)
        return known

    def _keep(self, key: tuple[str, bool], known: KnownDocument) -> None:
        self._known[key] = known
        self._length += len(key[0])
        while len(self._known) > self._limits.graphql_documents or self._length > TEXT_BUDGET:
            (oldest, _), _ = self._known.popitem(last=False)
            self._length -= len(oldest)

    def _read(self, schema: GraphQLSchema, text: str, *, explorer: bool) -> KnownDocument:
        document = parse(text, max_tokens=self._limits.graphql_tokens)
        operations: dict[str | None, KnownOperation] = {}
        try:
            meter = Meter(schema, document)
        except DomainError as problem:
            return KnownDocument(document, {}, refusal=problem)
        refusal: DomainError | None = None
        for definition in document.definitions:
            if not isinstance(definition, OperationDefinitionNode):
                continue
            names = meter.root_names(definition)
            measure: Measure | None = None
            try:
                measure = meter.measure(definition)
                check(definition, measure, self._limits)
            except DomainError as problem:
                refusal = refusal or problem
            operations[definition.name.value if definition.name else None] = KnownOperation(
                definition.operation.value, names, measure, inputs_of(schema, definition)
            )
        if refusal is not None:
            return KnownDocument(document, operations, refusal=refusal)
        if not explorer and not any(_is_public(operation) for operation in operations.values()):
            return KnownDocument(document, operations)  # nothing in it may run: what is wrong with it does not matter
        errors = validate(schema, document, RULES, hide_suggestions=not explorer)
        if any(error.message == _ABORTED for error in errors):
            refusal = QueryTooComplex("fields and fragments repeat each other too often; select each field once")
        return KnownDocument(document, operations, tuple(errors), refusal)
