"""What filters, orders and cursors of runs mean in SQL: the parts that the statements of run lists are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import asyncpg

from domain import ids
from domain.access import ResourceKind, Scope
from domain.paging import KeyValue
from domain.runs import Moment, RunListing, SortKey
from domain.search import AttributeKind, KeyedKind, KeyTarget
from persistence import search
from persistence.reach import linked, within
from persistence.tables.runs import PARAM_PREFIX

# $1 workspace, $2 now, $3 the time before which a silent run is stalled. All three appear in `BASE`.
_FIXED: Final = 3
BASE: Final = "r.workspace_id = $1 AND r.purged_at IS NULL AND $2::timestamptz >= $3::timestamptz"
MAX_SORT_TEXT: Final = PARAM_PREFIX
"""Texts are ordered by their first characters, shared out over the sort keys, so that cursors stay short."""

RUN_SEARCH: Final = search.Columns(
    attributes={
        "name": "r.name",
        "status": "r.status",
        "created": "r.created_at",
        "started": "r.started_at",
        "ended": "r.ended_at",
        "duration": "EXTRACT(EPOCH FROM COALESCE(r.ended_at, $2) - r.started_at)::float8",
        "last_activity": "r.last_activity_at",
        "archived": "(r.archived_at IS NOT NULL)",
        "stalled": "(r.status = 'running' AND GREATEST(r.started_at, r.last_activity_at) < $3)",
        "stop_requested": "r.stop_requested",
        "model_type": "r.model_type",
        "owner": "(SELECT u.email FROM users u WHERE u.id = r.owner_id)",
        "experiment": "(SELECT e.name FROM experiments e WHERE e.id = r.experiment_id)",
        "notes": "r.notes",
        "failure": "r.failure",
    },
    ids={"id": "r.id", "owner": "r.owner_id", "experiment": "r.experiment_id", "parent": "r.parent_id"},
    keyed={
        "metrics": search.KeyedColumns("metric_summaries", "x.run_id = r.id", number="last_value"),
        "params": search.KeyedColumns(
            "run_params", "x.run_id = r.id", text="text", number="number", indexed=PARAM_PREFIX
        ),
        "tags": search.KeyedColumns("run_tags", "x.run_id = r.id", text="value"),
    },
)

RUN_COLUMNS: Final = """
    r.id, r.name, r.status, r.stop_requested, r.model_type, r.config, r.notes, r.failure, r.created_at, r.started_at,
    r.ended_at, r.last_activity_at, r.archived_at, r.owner_id, r.experiment_id, r.parent_id,
    (SELECT json_agg(json_build_array(p.key, p.value::json, p.text)) FROM run_params p WHERE p.run_id = r.id) AS params,
    (SELECT json_agg(json_build_array(t.key, t.value)) FROM run_tags t WHERE t.run_id = r.id) AS tags
"""


@dataclass(frozen=True, slots=True)
class SortColumn:
    """One sort key in SQL: an expression over r, its name in the inner select, and its type."""

    expression: str
    name: str
    sql_type: str
    descending: bool
    nullable: bool = True

    @property
    def ordering(self) -> str:
        return f"{self.name} {'DESC' if self.descending else 'ASC'}{' NULLS LAST' if self.nullable else ''}"

    def after(self, parameter: str, value: KeyValue) -> str | None:
        """The condition for lying behind `value` in this key; None when nothing does."""
        if value is None:
            return None
        behind = f"{self.name} {'<' if self.descending else '>'} {parameter}::{self.sql_type}"
        return f"({behind} OR {self.name} IS NULL)" if self.nullable else behind

    def same(self, parameter: str, value: KeyValue) -> str:
        return f"{self.name} IS NULL" if value is None else f"{self.name} = {parameter}::{self.sql_type}"


@dataclass(slots=True)
class Statement:
    """SQL under construction and its arguments."""

    arguments: list[object] = field(default_factory=list)

    def parameter(self, value: object) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}"


def cursor_key(row: asyncpg.Record, wanted: RunListing) -> tuple[KeyValue, ...]:
    """The sort key of a row, its time and its id, of which the list makes its cursor."""
    parts = sum(len(key.types) for key in wanted.order)
    return (*(row[f"k{place}"] for place in range(parts)), row["created_at"], ids.from_uuid("run", row["id"]))


def condition(scope: Scope, wanted: RunListing, at: Moment) -> tuple[str, list[object]]:
    """What a run must meet to be listed, and the arguments so far."""
    arguments: list[object] = [ids.to_uuid(scope.workspace_id), at.now, at.stalled_before]
    reach = scope.reach(ResourceKind.RUNS)
    readable, values = within(reach, "r.id", _FIXED + 1)
    arguments += values
    # Whether a run is nested in one that may not be read is not told to a filter either.
    parent = linked(reach, "r.parent_id", _FIXED + 1)
    columns = RUN_SEARCH if reach.whole else replace(RUN_SEARCH, ids={**RUN_SEARCH.ids, "parent": parent})
    found, values = search.compile(wanted.filter, columns, len(arguments) + 1)
    arguments += values
    where = f"{BASE}{readable} AND {found}"
    if wanted.archived is not None:
        where += f" AND r.archived_at IS {'NOT ' if wanted.archived else ''}NULL"
    if wanted.experiment_id is not None:
        arguments.append(ids.to_uuid(wanted.experiment_id))
        where += f" AND r.experiment_id = ${len(arguments)}::uuid"
    return where, arguments


def first_characters(column: str, order: Sequence[SortKey]) -> str:
    """What a text is ordered by, in a list of this order."""
    texts = sum(key.types.count(str) for key in order)
    return f'left({column}, {MAX_SORT_TEXT // max(texts, 1)}) COLLATE "C"'


def sort_columns(order: Sequence[SortKey], statement: Statement, first: int = 0) -> tuple[list[SortColumn], str]:
    """The sort keys from place `first` on, and the joins that bring metrics and params to them: one row at most."""
    keys: list[SortColumn] = []
    joins: list[str] = []
    place = sum(len(key.types) for key in order[:first])

    def add(expression: str, sql_type: str, sort: SortKey) -> None:
        if sql_type == "text":
            expression = first_characters(expression, order)
        keys.append(SortColumn(expression, f"k{place + len(keys)}", sql_type, sort.descending))

    for sort in order[first:]:
        target = sort.target
        if not isinstance(target, KeyTarget):
            kind = target.attribute.kind
            sql_type = {AttributeKind.TIME: "timestamptz", AttributeKind.NUMBER: "float8"}.get(kind, "text")
            add(RUN_SEARCH.attributes[target.name], sql_type, sort)
            continue
        source = RUN_SEARCH.keyed[target.prefix]
        row = f"j{len(joins)}"
        key = statement.parameter(target.key)
        joins.append(f"LEFT JOIN {source.table} {row} ON {row}.run_id = r.id AND {row}.key = {key}::text")
        add(f"NULLIF({row}.{source.number}, 'NaN'::float8)", "float8", sort)
        if target.kind is KeyedKind.MIXED:
            add(f"{row}.{source.text}", "text", sort)
    return keys, " ".join(joins)


def after_cursor(place: Sequence[KeyValue] | None, keys: Sequence[SortColumn], statement: Statement) -> str:
    """The rows behind a place: those behind it in the first key, or level there and behind in the next, ….

    A place has the value of each key, and then the time and id of the run, as cursors hold them.
    """
    if place is None:
        return "TRUE"
    *values, created, run_id = place
    uuid = ids.to_uuid(ids.parse("run", str(run_id), field="after"))
    tail = f"(created_at, id) < ({statement.parameter(created)}::timestamptz, {statement.parameter(uuid)}::uuid)"
    if not keys:
        return tail
    branches: list[str] = []
    level: list[str] = []
    for key, value in zip(keys, values, strict=True):
        parameter = "" if value is None else statement.parameter(value)
        behind = key.after(parameter, value)
        if behind is not None:
            branches.append(" AND ".join([*level, behind]))
        level.append(key.same(parameter, value))
    branches.append(" AND ".join([*level, tail]))
    return "(" + " OR ".join(f"({branch})" for branch in branches) + ")"


@dataclass(frozen=True, slots=True)
class Ordered:
    """A page in SQL. `narrow` finds its runs, with nothing but their keys; `wide` is all of RUN_COLUMNS for them."""

    source: str
    where: str
    keys: Sequence[SortColumn]
    after: str
    limit: int
    offset: int = 0

    @property
    def narrow(self) -> str:
        listed = "".join(f", {key.expression} AS {key.name}" for key in self.keys)
        return f"""
            SELECT * FROM (SELECT r.id, r.created_at {listed} FROM {self.source} WHERE {self.where}) s
            WHERE {self.after} ORDER BY {", ".join(self._ordering)} LIMIT {self.limit} OFFSET {self.offset}
        """  # noqa: S608 - our own SQL, numbers and parameters

    def wide(self, found: str, more: str = "") -> str:
        """`found` yields the rows of `narrow` as s, and the columns `more`."""
        names = "".join(f", s.{key.name}" for key in self.keys)
        return f"""
            SELECT {more} {RUN_COLUMNS} {names} FROM {found} JOIN runs r ON r.id = s.id
            ORDER BY {", ".join(f"s.{part}" for part in self._ordering)}
        """  # noqa: S608 - as above

    @property
    def _ordering(self) -> list[str]:
        return [*(key.ordering for key in self.keys), "created_at DESC", "id DESC"]
