"""The SQL of run lists: pages under many parents in one statement, and the marks by which changes are seen.

Written as one form: parents (one nameless parent for a plain list) joined laterally to their page. The level's count
is one more statement, made only when somebody wants the total. Plain lists in the order of a metric or param are
walked along an index instead, see `run_walks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from domain.access import Scope
from domain.paging import EXACT_TOTAL_LIMIT
from domain.runs import Moment, RunListing
from persistence import search
from persistence.database import Connection
from persistence.run_query import BASE, RUN_SEARCH, Ordered, Statement, after_cursor, condition, sort_columns
from persistence.run_walks import walk

_PARENT_COLUMN: Final = {"experiment": "r.experiment_id", "owner": "r.owner_id", "parent": "r.parent_id"}


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
    at = wanted.as_of(at)
    where, arguments = condition(scope, wanted, at)
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
                planned=wanted.filter is not None,
            )
        }
    if parents is None:
        walked = await walk(connection, scope, wanted, at)
        if walked is not None:
            return {None: FoundPage(walked, counts.get(None))}
    statement = Statement(arguments)
    keys, joins = sort_columns(wanted.order, statement)
    after = after_cursor(wanted.behind, keys, statement)
    page = Ordered(
        f"runs r {joins}", f"{where} AND {tie}", keys, after, limit=wanted.page.first + 1, offset=wanted.offset
    )
    sql = page.wide(f"{given} CROSS JOIN LATERAL ({page.narrow}) s", more="p.id AS parent,")
    planned = wanted.filter is not None or bool(wanted.order)
    rows = await search.fetch(connection, sql, statement.arguments, planned=planned)
    found: dict[UUID | None, list[asyncpg.Record]] = {place: [] for place in places}
    for row in rows:
        found[_own(row["parent"])].append(row)
    return {place: FoundPage(page, counts.get(place)) for place, page in found.items()}


_STALLED: Final = RUN_SEARCH.attributes["stalled"]
_MARK: Final = f"r.xmin::text || ' ' || h.metric_seq || ' ' || COALESCE({_STALLED}, false)"
"""Differs once the run, its params or tags were written, once it has new points, and once it became stalled."""
_MARKED: Final = "FROM runs r JOIN run_heads h ON h.run_id = r.id WHERE"


async def fetch_marks(
    connection: Connection, scope: Scope, wanted: RunListing, at: Moment, most: int
) -> list[asyncpg.Record]:
    """`id` and `mark` of the runs that a list holds, at most `most` of them. Pages and orders play no part."""
    where, arguments = condition(scope, wanted, at)
    sql = f"SELECT r.id, {_MARK} AS mark {_MARKED} {where} LIMIT {most}"
    return await search.fetch(connection, sql, arguments)


async def fetch_standing(
    connection: Connection, scope: Scope, wanted: RunListing, at: Moment, run_ids: Sequence[UUID]
) -> list[asyncpg.Record]:
    """`id`, `mark` and whether the list holds it (`listed`), of those of the runs that exist."""
    where, arguments = condition(scope, wanted, at)
    arguments.append(list(run_ids))
    sql = (
        f"SELECT r.id, {_MARK} AS mark, ({where}) AS listed {_MARKED} {BASE} AND r.id = ANY(${len(arguments)}::uuid[])"
    )
    return await search.fetch(connection, sql, arguments)


def _own(value: UUID | None) -> UUID | None:
    """Asyncpg's UUID as the standard one, which it equals but need not hash like."""
    return None if value is None else UUID(bytes=value.bytes)
