"""The typed tree of a parsed filter. Values already have the type of what they are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from domain.search.vocabulary import Attribute, KeyedKind


class Operator(Enum):
    """The operators between a target and one value."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


class Pattern(Enum):
    """The operators between a text and a pattern.

    LIKE and ILIKE: `%` any characters, `_` one, backslash escapes; ILIKE ignores case. MATCHES: a regular expression
    of `domain.search.regex`, found anywhere in the text.
    """

    LIKE = "like"
    ILIKE = "ilike"
    MATCHES = "matches"


@dataclass(frozen=True, slots=True)
class Id:
    """A canonical id used as a value."""

    text: str


Value = str | float | bool | datetime | Id


@dataclass(frozen=True, slots=True)
class AttributeTarget:
    """An attribute of the listed object."""

    name: str
    attribute: Attribute


@dataclass(frozen=True, slots=True)
class KeyTarget:
    """A key under a prefix, such as `metrics.loss`."""

    prefix: str
    key: str
    kind: KeyedKind


Target = AttributeTarget | KeyTarget


@dataclass(frozen=True, slots=True)
class Comparison:
    """`target operator value`."""

    target: Target
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Membership:
    """`target [not] in (values)`; all values have one type. False for a missing target, negated or not."""

    target: Target
    values: tuple[Value, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Match:
    """`target [not] like|ilike|matches pattern`; `pattern` is in the database's spelling. False when missing."""

    target: Target
    operator: Pattern
    pattern: str
    negated: bool


@dataclass(frozen=True, slots=True)
class IsNull:
    """`target is [not] null`: whether it is missing."""

    target: Target
    negated: bool


@dataclass(frozen=True, slots=True)
class And:
    """True when all terms are."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True when one term is."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True when the term is not."""

    term: Expression


Expression = Comparison | Membership | Match | IsNull | And | Or | Not


def targets(expression: Expression) -> Iterator[Target]:
    """Everything that the filter names, in order of the text."""
    match expression:
        case And(terms) | Or(terms):
            for term in terms:
                yield from targets(term)
        case Not(term):
            yield from targets(term)
        case Comparison() | Membership() | Match() | IsNull():
            yield expression.target


def mentions(expression: Expression, attribute: str) -> bool:
    """Whether the filter names this attribute."""
    return any(isinstance(target, AttributeTarget) and target.name == attribute for target in targets(expression))
