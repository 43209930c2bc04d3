"""Plain lists in the order of a metric or param, found by way of the index over its values.

The runs of such a list lie in stretches: first those whose value is a number, then (of params) those whose value is
another text, at last those without one. Each stretch but the last is in an index in its order, so a page is read by
walking to it and stopping when it is full, however many runs there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from domain.access import Scope
from domain.paging import KeyValue
from domain.runs import Moment, RunListing
from domain.search import KeyedKind, KeyTarget
from persistence import search
from persistence.database import Connection
from persistence.run_query import (
    RUN_SEARCH,
    Ordered,
    SortColumn,
    Statement,
    after_cursor,
    condition,
    first_characters,
    sort_columns,
)
from persistence.tables.runs import PARAM_PREFIX

# The parts of the sort key, as columns of the walked rows w.
_PARTS: Final = {
    KeyedKind.NUMBERS: (("w.last_value", "float8"),),
    KeyedKind.MIXED: (("w.number", "float8"), ("w.text", "text")),
}
# The rows of each stretch; in the stretch at place n, the first n parts are null. The numbers of params are finite;
# those of metrics need not be, and NaN comes last, as if there were no value.
_STRETCHES: Final = {
    KeyedKind.NUMBERS: ("w.last_value < 'NaN'::float8",),
    KeyedKind.MIXED: ("w.number IS NOT NULL", "w.number IS NULL"),
}
_INDEXED_TEXT: Final = f'left(w.text, {PARAM_PREFIX}) COLLATE "C"'


async def walk(connection: Connection, scope: Scope, wanted: RunListing, at: Moment) -> list[asyncpg.Record] | None:
    """A page of rows of RUN_COLUMNS and sort keys, one more when more follow.

    None when the list has another order, or the page reaches, or may reach, into the runs without a value.
    """
    target = wanted.order[0].target if wanted.order else None
    if not isinstance(target, KeyTarget) or wanted.offset:
        return None
    behind = wanted.behind
    stretches = len(_STRETCHES[target.kind])
    reached = 0 if behind is None else next((n for n in range(stretches) if behind[n] is not None), stretches)
    if reached == stretches:
        return None
    own, rest = search.bounds(wanted.filter, target)
    walked = _Walk(scope, replace(wanted, filter=rest), at, target, own)
    rows: list[asyncpg.Record] = []
    for stretch in range(reached, stretches):
        sql, arguments = walked.page(stretch, behind if stretch == reached else None, already=len(rows))
        rows += await search.fetch(connection, sql, arguments, planned=True)
        if len(rows) > wanted.page.first:
            return rows
    # A run without a value does not meet a bound on it, so there nothing follows.
    return rows if own else None


@dataclass(frozen=True, slots=True)
class _Walk:
    """A list in the order of `target`. `own` are the filter's terms on the walked rows, `wanted` has the others."""

    scope: Scope
    wanted: RunListing
    at: Moment
    target: KeyTarget
    own: Sequence[search.Leaf]

    def page(self, stretch: int, behind: Sequence[KeyValue] | None, already: int) -> tuple[str, list[object]]:
        """What a page that has `already` so many rows lacks, from one stretch: behind the cursor, if it lies there."""
        source = RUN_SEARCH.keyed[self.target.prefix]
        where, arguments = condition(self.scope, self.wanted, self.at)
        own, values = search.compile_bounds(self.own, source, "w", len(arguments) + 1)
        statement = Statement([*arguments, *values])
        where += f" AND {own} AND w.key = {statement.parameter(self.target.key)}::text"
        where += f" AND {_STRETCHES[self.target.kind][stretch]}"
        keys = self._keys(stretch)
        if behind is not None:
            where += self._bound(stretch, statement, behind[stretch])
        more, joins = sort_columns(self.wanted.order, statement, first=1)
        keys += more
        page = Ordered(
            f"{source.table} w JOIN runs r ON r.id = w.run_id {joins}",
            where,
            keys,
            after_cursor(None if behind is None else behind[stretch:], keys, statement),
            limit=self.wanted.page.first + 1 - already,
        )
        nulls = "".join(f"NULL::{kind} AS k{place}, " for place, (_, kind) in enumerate(self._parts[:stretch]))
        return page.wide(f"({page.narrow}) s", more=nulls), statement.arguments

    @property
    def _parts(self) -> Sequence[tuple[str, str]]:
        return _PARTS[self.target.kind]

    def _keys(self, stretch: int) -> list[SortColumn]:
        order = self.wanted.order
        return [
            SortColumn(
                first_characters(column, order) if kind == "text" else column,
                f"k{place}",
                kind,
                order[0].descending,
                nullable=False,
            )
            for place, (column, kind) in enumerate(self._parts)
            if place >= stretch
        ]

    def _bound(self, stretch: int, statement: Statement, value: KeyValue) -> str:
        """Where to start walking: said again by the cursor's condition, but not in a form that bounds a scan."""
        column, kind = self._parts[stretch]
        descending = self.wanted.order[0].descending
        if kind == "text":
            # The start of a text is not above the text, so it bounds from below only, unless all of it is compared.
            if descending and first_characters(column, self.wanted.order) != _INDEXED_TEXT:
                return ""
            column = _INDEXED_TEXT
        return f" AND {column} {'<=' if descending else '>='} {statement.parameter(value)}::{kind}"
