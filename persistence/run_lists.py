"""The SQL of run lists: filters, orders, keyset pages, and pages under many parents in one statement.

Written as one form: parents (one nameless parent for a plain list) joined laterally to their page. The level's count
is one more statement, made only when somebody wants the total.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import asyncpg

from domain import ids
from domain.access import Scope
from domain.paging import EXACT_TOTAL_LIMIT, KeyValue
from domain.runs import Moment, RunListing, SortKey
from domain.search import AttributeKind, KeyedKind, KeyTarget
from persistence import search
from persistence.database import Connection

# $1 workspace, $2 now, $3 the time before which a silent run is stalled. All three appear in `_BASE`.
_FIXED: Final = 3
_BASE: Final = "r.workspace_id = $1 AND r.purged_at IS NULL AND $2::timestamptz >= $3::timestamptz"
_PARENT_COLUMN: Final = {"experiment": "r.experiment_id", "owner": "r.owner_id", "parent": "r.parent_id"}
_MAX_SORT_TEXT: Final = 96
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
        "params": search.KeyedColumns("run_params", "x.run_id = r.id", text="text", number="number"),
        "tags": search.KeyedColumns("run_tags", "x.run_id = r.id", text="value"),
    },
)

RUN_COLUMNS: Final = """
    r.id, r.name, r.status, r.stop_requested, r.model_type, r.config, r.notes, r.failure, r.created_at, r.started_at,
    r.ended_at, r.last_activity_at, r.archived_at, r.owner_id, r.experiment_id, r.parent_id,
    (SELECT json_agg(json_build_array(p.key, p.value, p.text)) FROM run_params p WHERE p.run_id = r.id) AS params,
    (SELECT json_agg(json_build_array(t.key, t.value)) FROM run_tags t WHERE t.run_id = r.id) AS tags
"""


@dataclass(frozen=True, slots=True)
class _Key:
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
class _Statement:
    """SQL under construction and its arguments."""

    arguments: list[object] = field(default_factory=list)

    def parameter(self, value: object) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}"


@dataclass(frozen=True, slots=True)
class FoundPage:
    """The rows of one parent's page (one more than asked for when more follow) and its capped count, if wanted."""

    rows: list[asyncpg.Record]
    counted: int | None


async def fetch_pages(
    connection: Connection,
    scope: Scope,
    wanted: RunListing,
    at: Moment,
    parents: tuple[str, Sequence[UUID]] | None = None,
) -> dict[UUID | None, FoundPage]:
    """Pages by parent; under None when `parents` (kind, ids) is None. Rows carry RUN_COLUMNS and their sort keys."""
    where, arguments = _condition(scope, wanted, at)
    places: list[UUID | None] = [None] if parents is None else list(parents[1])
    arguments.append(places)
    given = f"unnest(${len(arguments)}::uuid[]) AS p(id)"
    tie = "TRUE" if parents is None else f"{_PARENT_COLUMN[parents[0]]} = p.id"
    counts: dict[UUID | None, int] = {}
    if wanted.total:
        counts = {
            _own(row["parent"]): row["n"]
            for row in await search.fetch(
                connection,
                "SELECT p.id AS parent, (SELECT count(*) FROM (SELECT 1 FROM runs r"  # noqa: S608 - our own SQL
                f" WHERE {where} AND {tie} LIMIT {EXACT_TOTAL_LIMIT + 1}) c) AS n FROM {given}",
                arguments,
            )
        }
    if parents is None:
        walked = await _walk(connection, scope, wanted, at)
        if walked is not None:
            return {None: FoundPage(walked, counts.get(None))}
    statement = _Statement(arguments)
    keys, joins = _keys(wanted.order, statement)
    after = _after(wanted, keys, statement)
    listed = "".join(f", {key.expression} AS {key.name}" for key in keys)
    ordering = ", ".join([*(key.ordering for key in keys), "created_at DESC", "id DESC"])
    names = "".join(f", r.{key.name}" for key in keys)
    rows = await search.fetch(
        connection,
        f"""
        SELECT p.id AS parent, {RUN_COLUMNS} {names} FROM {given} CROSS JOIN LATERAL (
            SELECT * FROM (SELECT r.* {listed} FROM runs r {joins} WHERE {where} AND {tie}) s
            WHERE {after} ORDER BY {ordering} LIMIT {wanted.page.first + 1} OFFSET {wanted.offset}
        ) r ORDER BY {", ".join(f"r.{part}" for part in ordering.split(", "))}
        """,  # noqa: S608 - our own SQL, numbers and parameters
        statement.arguments,
    )
    found: dict[UUID | None, list[asyncpg.Record]] = {place: [] for place in places}
    for row in rows:
        found[_own(row["parent"])].append(row)
    return {place: FoundPage(page, counts.get(place)) for place, page in found.items()}


async def _walk(connection: Connection, scope: Scope, wanted: RunListing, at: Moment) -> list[asyncpg.Record] | None:
    """A page in the order of a metric, by way of the index over its values, as far as runs have one that is a number.

    None when the page reaches, or may reach, into the runs that have none: they come last, and are not in the index.
    """
    sort = wanted.order[0] if wanted.order else None
    if sort is None or not isinstance(sort.target, KeyTarget) or sort.target.kind is not KeyedKind.NUMBERS:
        return None
    behind = None if wanted.page.after is None else wanted.keyset.decode(wanted.page.after)[0]
    if wanted.offset or (wanted.page.after is not None and behind is None):
        return None
    own, rest = search.bounds(wanted.filter, sort.target)
    where, arguments = _condition(scope, replace(wanted, filter=rest), at)
    bounds, values = search.compile_bounds(own, "w.last_value", len(arguments) + 1)
    statement = _Statement([*arguments, *values])
    bounds += f" AND w.key = {statement.parameter(sort.target.key)}::text AND w.last_value < 'NaN'::float8"
    if behind is not None:  # said again by what follows, but not in a form that bounds a scan
        bounds += f" AND w.last_value {'<=' if sort.descending else '>='} {statement.parameter(behind)}::float8"
    more, joins = _keys(wanted.order[1:], statement, first=1)
    keys = [_Key("w.last_value", "k0", "float8", sort.descending, nullable=False), *more]
    after = _after(wanted, keys, statement)
    listed = "".join(f", {key.expression} AS {key.name}" for key in keys)
    ordering = ", ".join([*(key.ordering for key in keys), "created_at DESC", "id DESC"])
    names = "".join(f", r.{key.name}" for key in keys)
    rows = await search.fetch(
        connection,
        f"""
        SELECT {RUN_COLUMNS} {names} FROM (
            SELECT * FROM (
                SELECT r.* {listed} FROM metric_summaries w JOIN runs r ON r.id = w.run_id {joins}
                WHERE {where} AND {bounds}
            ) s
            WHERE {after} ORDER BY {ordering} LIMIT {wanted.page.first + 1}
        ) r ORDER BY {", ".join(f"r.{part}" for part in ordering.split(", "))}
        """,  # noqa: S608 - our own SQL, numbers and parameters
        statement.arguments,
    )
    # A run without the metric does not meet a bound on it, so there nothing follows.
    return rows if own or len(rows) > wanted.page.first else None


_STALLED: Final = RUN_SEARCH.attributes["stalled"]
_MARK: Final = f"r.xmin::text || ' ' || h.metric_seq || ' ' || COALESCE({_STALLED}, false)"
"""Differs once the run, its params or tags were written, once it has new points, and once it became stalled."""
_MARKED: Final = "FROM runs r JOIN run_heads h ON h.run_id = r.id WHERE"


async def fetch_marks(
    connection: Connection, scope: Scope, wanted: RunListing, at: Moment, most: int
) -> list[asyncpg.Record]:
    """`id` and `mark` of the runs that a list holds, at most `most` of them. Pages and orders play no part."""
    where, arguments = _condition(scope, wanted, at)
    sql = f"SELECT r.id, {_MARK} AS mark {_MARKED} {where} LIMIT {most}"
    return await search.fetch(connection, sql, arguments)


async def fetch_standing(
    connection: Connection, scope: Scope, wanted: RunListing, at: Moment, run_ids: Sequence[UUID]
) -> list[asyncpg.Record]:
    """`id`, `mark` and whether the list holds it (`listed`), of those of the runs that exist."""
    where, arguments = _condition(scope, wanted, at)
    arguments.append(list(run_ids))
    sql = (
        f"SELECT r.id, {_MARK} AS mark, ({where}) AS listed {_MARKED} {_BASE} AND r.id = ANY(${len(arguments)}::uuid[])"
    )
    return await search.fetch(connection, sql, arguments)


def cursor_key(row: asyncpg.Record, wanted: RunListing) -> tuple[KeyValue, ...]:
    """The sort key of a row, as the list's cursors hold it."""
    parts = sum(len(key.types) for key in wanted.order)
    return (*(row[f"k{place}"] for place in range(parts)), row["created_at"], ids.from_uuid("run", row["id"]))


def _own(value: UUID | None) -> UUID | None:
    """Asyncpg's UUID as the standard one, which it equals but need not hash like."""
    return None if value is None else UUID(bytes=value.bytes)


def _condition(scope: Scope, wanted: RunListing, at: Moment) -> tuple[str, list[object]]:
    arguments: list[object] = [ids.to_uuid(scope.workspace_id), at.now, at.stalled_before]
    condition, values = search.compile(wanted.filter, RUN_SEARCH, _FIXED + 1)
    arguments += values
    where = f"{_BASE} AND {condition}"
    if wanted.archived is not None:
        where += f" AND r.archived_at IS {'NOT ' if wanted.archived else ''}NULL"
    if wanted.experiment_id is not None:
        arguments.append(ids.to_uuid(wanted.experiment_id))
        where += f" AND r.experiment_id = ${len(arguments)}::uuid"
    return where, arguments


def _keys(order: Sequence[SortKey], statement: _Statement, first: int = 0) -> tuple[list[_Key], str]:
    """The sort keys, numbered from `first`, and the joins that bring metrics and params to them: one row at most."""
    texts = sum(key.types.count(str) for key in order)
    width = _MAX_SORT_TEXT // max(texts, 1)
    keys: list[_Key] = []
    joins: list[str] = []

    def add(expression: str, sql_type: str, sort: SortKey) -> None:
        if sql_type == "text":
            expression = f'left({expression}, {width}) COLLATE "C"'
        keys.append(_Key(expression, f"k{first + len(keys)}", sql_type, sort.descending))

    for sort in order:
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


def _after(wanted: RunListing, keys: Sequence[_Key], statement: _Statement) -> str:
    """The rows behind the cursor: those behind it in the first key, or level there and behind in the next, …."""
    if wanted.page.after is None:
        return "TRUE"
    *values, created, run_id = wanted.keyset.decode(wanted.page.after)
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
