"""Parsed, measured and validated documents, kept by their text: one look-up on the way of a repeated query.

Bounded by number and by the length of all texts together, because a syntax tree takes a few hundred times the
memory of its text. Callers who have signed in and those who have not fill shelves of their own: strangers push nobody's
documents out, and never see the hints that others get. Beyond that nothing here depends on who asks.
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
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    TokenKind,
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
ANONYMOUS_BUDGET: Final = 32 * 1024
LONGEST_KEPT: Final = 16 * 1024
LONGEST: Final = 256 * 1024
"""Characters of a document. One token can be a comment or a string of megabytes, and each character is read in Python;
data belongs into variables."""

LONGEST_ANONYMOUS: Final = 8 * 1024
"""The same for callers who have not signed in: enough for every operation that is public."""
MOST_DIGITS: Final = 1_000
"""Of a whole number in a document. Python reads 4,300 at most, and no field takes more than fit a double, about 310."""
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


def _check_numbers(document: DocumentNode) -> None:
    """Raises GraphQLError for a whole number that is too long for anything to read."""
    assert document.loc is not None  # noqa: S101 - the parser was not told to forget the places
    token = document.loc.start_token
    while token.next is not None:
        token = token.next
        digits = len((token.value or "").removeprefix("-")) if token.kind is TokenKind.INT else 0
        if digits > MOST_DIGITS:
            problem = f"a whole number may have at most {MOST_DIGITS} digits, this one has {digits}."
            raise GraphQLSyntaxError(document.loc.source, token.start, problem)


@dataclass(frozen=True, slots=True)
class KnownOperation:
    """One operation of a document."""

    kind: str
    root_names: frozenset[str]
    measure: Measure | None
    inputs: Mapping[str, GraphQLInputType]
    variables: frozenset[str]
    """Those that it declares; what else comes with it does not matter."""


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A document; `errors` is what validation found, or the fault of one that is `broken`: that does not parse.

    `refusal` is the limit that it passes.
    """

    document: DocumentNode
    operations: Mapping[str | None, KnownOperation]
    errors: tuple[GraphQLError, ...] = ()
    refusal: DomainError | None = None
    broken: bool = False

    def operation(self, name: str | None) -> KnownOperation | None:
        """The operation to run: by name, or the only one."""
        if name is not None:
            return self.operations.get(name)
        return next(iter(self.operations.values())) if len(self.operations) == 1 else None


def unread(refusal: DomainError) -> KnownDocument:
    """In place of a document that is not read at all."""
    return KnownDocument(_UNREAD, {}, refusal=refusal)


def broken(fault: GraphQLError) -> KnownDocument:
    """In place of a document that does not parse."""
    return KnownDocument(_UNREAD, {}, errors=(fault,), broken=True)


def _is_public(operation: KnownOperation) -> bool:
    return operation.root_names <= public.ROOT_FIELDS[operation.kind]


class _Shelf:
    """Documents by their text; the one that was not asked for longest makes room."""

    def __init__(self, most: int, budget: int) -> None:
        self._most = most
        self._budget = budget
        self._known: OrderedDict[str, KnownDocument] = OrderedDict()
        self._length = 0

    def __contains__(self, text: str) -> bool:
        return text in self._known

    def get(self, text: str) -> KnownDocument | None:
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
        return known

    def keep(self, text: str, known: KnownDocument) -> None:
        self._known[text] = known
        self._length += len(text)
        while len(self._known) > self._most or self._length > self._budget:
            oldest, _ = self._known.popitem(last=False)
            self._length -= len(oldest)


class Documents:
    """The documents one process has seen, for one schema."""

    def __init__(self, limits: LimitsSettings) -> None:
        self._limits = limits
        self._trusted: dict[str, KnownDocument] = {}
        self._signed_in = _Shelf(limits.graphql_documents, TEXT_BUDGET)
        self._anonymous = _Shelf(limits.graphql_documents, ANONYMOUS_BUDGET)
        self.hits = 0
        self.misses = 0

    def trust(self, schema: GraphQLSchema, text: str) -> KnownDocument:
        """Reads a document and keeps it for good. Raises GraphQLError or DomainError for one that could not run."""
        known = self._read(schema, text, explorer=True)
        if known.refusal is not None:
            raise known.refusal
        if known.errors:
            raise known.errors[0]
        self._trusted[text] = known
        return known

    def knows(self, text: str, *, explorer: bool) -> bool:
        """Whether the document was read already, for callers of the same kind."""
        return text in self._trusted or text in (self._signed_in if explorer else self._anonymous)

    def get(self, schema: GraphQLSchema, text: str, *, explorer: bool) -> KnownDocument:
        """The document of `text`. `explorer` says whether the caller may be helped with suggestions.

        What is longer than this caller may send is not read at all: its `refusal` says so.
        """
        known = self._trusted.get(text)
        if known is not None:
            self.hits += 1
            return known
        longest = LONGEST if explorer else LONGEST_ANONYMOUS
        if len(text) > longest:
            return unread(
                QueryTooComplex(
                    f"the document has {len(text)} characters; at most {longest} are allowed: send data in variables"
                )
            )
        shelf = self._signed_in if explorer else self._anonymous
        known = shelf.get(text)
        if known is not None:
            self.hits += 1
            return known
        self.misses += 1
        try:
            known = self._read(schema, text, explorer=explorer)
        except GraphQLError as fault:
            return broken(fault)
        if len(text) <= LONGEST_KEPT:
            shelf.keep(text, known)
        return known

    def _read(self, schema: GraphQLSchema, text: str, *, explorer: bool) -> KnownDocument:
        document = parse(text, max_tokens=self._limits.graphql_tokens)
        _check_numbers(document)
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
                definition.operation.value,
                names,
                measure,
                inputs_of(schema, definition),
                frozenset(variable.variable.name.value for variable in definition.variable_definitions or ()),
            )
        if refusal is not None:
            return KnownDocument(document, operations, refusal=refusal)
        if not explorer and not any(_is_public(operation) for operation in operations.values()):
            return KnownDocument(document, operations)  # nothing in it may run: what is wrong with it does not matter
        errors = validate(schema, document, RULES, hide_suggestions=not explorer)
        if any(error.message == _ABORTED for error in errors):
            refusal = QueryTooComplex("fields and fragments repeat each other too often; select each field once")
        return KnownDocument(document, operations, tuple(errors), refusal)
