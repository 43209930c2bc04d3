"""Compiles a parsed filter to a SQL condition. Every value, and every key, becomes a parameter; the SQL itself is made
of what a repository wrote down in its `Columns`, and of nothing else.

A condition is never null: a comparison with a missing value is false, also where `not` is around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg

from domain import ids
from domain.errors import BadUserInput
from domain.search import (
    And,
    AttributeTarget,
    Comparison,
    Expression,
    Id,
    IsNull,
    KeyedKind,
    KeyTarget,
    Match,
    Membership,
    Not,
    Operator,
    Or,
    Pattern,
    Value,
)
from persistence.database import Connection

_SQL_OPERATORS: Final = {operator: "<>" if operator is Operator.NE else operator.value for operator in Operator}
_SQL_PATTERNS: Final = {Pattern.LIKE: "LIKE", Pattern.ILIKE: "ILIKE", Pattern.MATCHES: "~"}
_ORDERED: Final = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_TYPES: Final[Mapping[type, str]] = {
    str: "text",
    float: "float8",
    bool: "boolean",
    datetime: "timestamptz",
    Id: "uuid",
}


Leaf = Comparison | Membership | Match | IsNull


@dataclass(frozen=True, slots=True)
class KeyedColumns:
    """The rows under a prefix: `table` aliased x, `owner` ties x to the listed row, `text` and `number` are columns.

    `indexed`: so many first characters of `text` are in an index, in the order of code points.
    """

    table: str
    owner: str
    text: str | None = None
    number: str | None = None
    indexed: int | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """SQL by name: `attributes` the value, `ids` the UUID of ids and references, `keyed` by prefix."""

    attributes: Mapping[str, str]
    ids: Mapping[str, str] = field(default_factory=dict)
    keyed: Mapping[str, KeyedColumns] = field(default_factory=dict)


def compile(  # noqa: A001 - the word for it; the builtin is not used here
    expression: Expression | None, columns: Columns, first_parameter: int
) -> tuple[str, list[object]]:
    """The condition and its arguments, the first of which is `$first_parameter`; `TRUE` for no filter."""
    if expression is None:
        return "TRUE", []
    compiler = _Compiler(columns, first_parameter)
    return compiler.write(expression), compiler.arguments


def bounds(expression: Expression | None, target: KeyTarget) -> tuple[list[Leaf], Expression | None]:
    """The terms about a key that all that is found must meet and only rows of it can meet, and the filter's rest.

    Where a key holds numbers these are `< <= > >=`, which NaN does not meet; else all but `is null`.
    """
    terms = expression.terms if isinstance(expression, And) else () if expression is None else (expression,)
    own = [term for term in terms if isinstance(term, Leaf) and term.target == target and _bounds(term, target)]
    rest = tuple(term for term in terms if term not in own)
    return own, And(rest) if len(rest) > 1 else rest[0] if rest else None


def _bounds(term: Leaf, target: KeyTarget) -> bool:
    if target.kind is KeyedKind.NUMBERS:
        return isinstance(term, Comparison) and term.operator in _ORDERED
    return not isinstance(term, IsNull) or term.negated


def compile_bounds(
    terms: Sequence[Leaf], source: KeyedColumns, row: str, first_parameter: int
) -> tuple[str, list[object]]:
    """The condition of `bounds` on a row of the key itself, and its arguments."""
    compiler = _Compiler(Columns({}), first_parameter)
    met = (compiler.of_row(term, source, row) for term in terms if not isinstance(term, IsNull))
    return " AND ".join(["TRUE", *met]), compiler.arguments


async def fetch(
    connection: Connection, sql: str, arguments: Sequence[object], *, planned: bool = False
) -> list[asyncpg.Record]:
    """Runs a statement with a compiled condition, `planned` for these arguments or for any.

    Raises BadUserInput when PostgreSQL refuses a pattern.
    """
    run = connection.fetch_planned if planned else connection.fetch
    try:
        return await run(sql, *arguments)
    except asyncpg.InvalidRegularExpressionError as error:
        raise BadUserInput("a pattern of 'matches' is too complex", field="filter") from error


class _Compiler:
    def __init__(self, columns: Columns, first_parameter: int) -> None:
        self.columns = columns
        self.first = first_parameter
        self.arguments: list[object] = []

    def parameter(self, value: object, sql_type: str) -> str:
        self.arguments.append(value)
        return f"${self.first + len(self.arguments) - 1}::{sql_type}"

    def write(self, expression: Expression) -> str:
        match expression:
            case And(terms):
                return "(" + " AND ".join(map(self.write, terms)) + ")"
            case Or(terms):
                return "(" + " OR ".join(map(self.write, terms)) + ")"
            case Not(term):
                return f"(NOT {self.write(term)})"
            case Comparison() | Membership() | Match() | IsNull():
                return self.leaf(expression)

    def leaf(self, term: Leaf) -> str:
        target = term.target
        if isinstance(target, KeyTarget):
            return self.keyed(term, target)
        if isinstance(term, IsNull):
            column = self.columns.ids.get(target.name) or self.columns.attributes[target.name]
            return f"({column} IS {'NOT ' if term.negated else ''}NULL)"
        return f"(({self.condition(term, self.column(term, target))}) IS TRUE)"

    def column(self, term: Comparison | Membership | Match, target: AttributeTarget) -> str:
        values = term.values if isinstance(term, Membership) else () if isinstance(term, Match) else (term.value,)
        if any(isinstance(value, Id) for value in values):
            return self.columns.ids[target.name]
        return self.columns.attributes[target.name]

    def keyed(self, term: Leaf, target: KeyTarget) -> str:
        source = self.columns.keyed[target.prefix]
        key = self.parameter(target.key, "text")
        rows = f"SELECT 1 FROM {source.table} x WHERE {source.owner} AND x.key = {key}"  # noqa: S608 - our own SQL
        if isinstance(term, IsNull):
            return f"({'' if term.negated else 'NOT '}EXISTS ({rows}))"
        return f"(EXISTS ({rows} AND {self.of_row(term, source, 'x')}))"

    def of_row(self, term: Comparison | Membership | Match, source: KeyedColumns, row: str) -> str:
        """What a row of the term's key must meet."""
        sample = term.values[0] if isinstance(term, Membership) else "" if isinstance(term, Match) else term.value
        if isinstance(sample, float):
            return self.condition(term, f"{row}.{source.number}")
        term, column = _as_texts(term), f"{row}.{source.text}"
        if source.indexed is None or (start := _cut(term, source.indexed)) is None:
            return self.condition(term, column)
        found = self.condition(start, f'left({column}, {source.indexed}) COLLATE "C"')
        shorter = _cut(term, source.indexed - 1) == term
        return found if shorter else f"{found} AND {self.condition(term, column)}"

    def condition(self, term: Comparison | Membership | Match, column: str) -> str:
        match term:
            case Match(_, operator, pattern, negated):
                found = f"{column} {_SQL_PATTERNS[operator]} {self.parameter(pattern, 'text')}"
                return f"NOT ({found})" if negated else found
            case Membership(_, values, negated):
                listed = self.parameter([_argument(value) for value in values], f"{_TYPES[type(values[0])]}[]")
                return f"{column} <> ALL ({listed})" if negated else f"{column} = ANY ({listed})"
            case Comparison(_, operator, value):
                return self.comparison(column, operator, value)

    def comparison(self, column: str, operator: Operator, value: Value) -> str:
        right = self.parameter(_argument(value), _TYPES[type(value)])
        sign = _SQL_OPERATORS[operator]
        if operator not in _ORDERED:
            return f"{column} {sign} {right}"
        if isinstance(value, str):
            return f'{column} COLLATE "C" {sign} {right}'
        if isinstance(value, float):  # PostgreSQL holds NaN to be above every number
            return f"{column} {sign} {right} AND {column} <> 'NaN'::float8"
        return f"{column} {sign} {right}"


def _argument(value: Value) -> object:
    return ids.to_uuid(value.text) if isinstance(value, Id) else value


def _as_texts(term: Comparison | Membership | Match) -> Comparison | Membership | Match:
    """Params keep true and false as texts."""
    match term:
        case Comparison(target, operator, bool(value)):
            return Comparison(target, operator, str(value).lower())
        case Membership(target, values, negated) if isinstance(values[0], bool):
            return Membership(target, tuple(str(value).lower() for value in values), negated)
    return term


def _cut(term: Comparison | Membership | Match, most: int) -> Comparison | Membership | None:
    """The term that the first characters of a text meet whenever the text equals what is asked for; None for others."""
    match term:
        case Comparison(target, Operator.EQ, str(value)):
            return Comparison(target, Operator.EQ, value[:most])
        case Membership(target, values, False):
            return Membership(target, tuple(str(value)[:most] for value in values), negated=False)
    return None
