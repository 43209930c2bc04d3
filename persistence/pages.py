"""One page under each of many parents in one statement: a LATERAL query per parent, with its capped count.

The SQL handed in is made of constants of the repositories; every value travels as a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from asyncpg import Record

from domain import ids
from domain.errors import BadUserInput
from domain.paging import EXACT_TOTAL_LIMIT, NOT_COUNTED, Keyset, KeyValue, Page, PageRequest, Total
from persistence import search
from persistence.database import Connection

T = TypeVar("T")
MAX_OFFSET: Final = 10_000
FIRST_ARGUMENT: Final = 4


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """What is listed and how.

    `where` refers to the parent as `p.id` and to `arguments` as `$4`, `$5`, ... (see FIRST_ARGUMENT); `order` are
    columns of `source`, all descending, with their SQL types; `key` gives their values in the form of the cursor.
    """

    columns: str
    source: str
    where: str
    order: tuple[tuple[str, str], ...]
    keyset: Keyset
    item: Callable[[Record], T]
    key: Callable[[Record], tuple[KeyValue, ...]]
    arguments: tuple[object, ...] = field(default=())


async def pages(
    connection: Connection, listing: Listing[T], parents: Sequence[UUID], page: PageRequest, offset: int = 0
) -> dict[UUID, Page[T]]:
    """A page for every parent, an empty one where there is nothing.

    Raises BadUserInput for a cursor of another list, or an offset together with a cursor or above 10,000.
    """
    if not 0 <= offset <= MAX_OFFSET:
        raise BadUserInput(f"expected 0 to {MAX_OFFSET}", field="offset")
    if offset and page.after is not None:
        raise BadUserInput("an offset does not go together with a cursor", field="offset")
    arguments: list[object] = [list(parents), page.first + 1, offset, *listing.arguments]

    def bound(value: object) -> str:
        arguments.append(value)
        return f"${len(arguments)}"

    names = ", ".join(name for name, _ in listing.order)
    after = ""
    if page.after is not None:
        values = [_stored(value, kind) for value, (_, kind) in zip(_decoded(listing, page), listing.order, strict=True)]
        places = ", ".join(f"{bound(value)}::{kind}" for value, (_, kind) in zip(values, listing.order, strict=True))
        after = f"AND ({names}) < ({places})"
    inner = ", ".join(f"{name} DESC" for name, _ in listing.order)
    # Counting reads on to the limit of the count, however short the page.
    total = (
        f"SELECT count(*) AS total FROM (SELECT 1 FROM {listing.source} WHERE {listing.where}"  # noqa: S608 - as below
        f" LIMIT {EXACT_TOTAL_LIMIT + 1}) counted"
        if page.total
        else "SELECT 0 AS total"
    )
    sql = f"""
        SELECT p.id AS parent_key, t.total, x.*
          FROM unnest($1::uuid[]) WITH ORDINALITY AS p(id, place)
         CROSS JOIN LATERAL ({total}) t
          LEFT JOIN LATERAL (
               SELECT {listing.columns}, row_number() OVER (ORDER BY {inner}) AS row_place
                 FROM {listing.source} WHERE {listing.where} {after}
                ORDER BY {inner} LIMIT $2 OFFSET $3) x ON true
         ORDER BY p.place, x.row_place"""  # noqa: S608 - constants of the repositories; values are parameters
    rows = await search.fetch(connection, sql, arguments)
    grouped: dict[UUID, list[Record]] = {parent: [] for parent in parents}
    for row in rows:
        grouped[UUID(bytes=row["parent_key"].bytes)].append(row)
    return {parent: _page(listing, found, page, offset) for parent, found in grouped.items()}


def _decoded(listing: Listing[Any], page: PageRequest) -> tuple[KeyValue, ...]:
    values = listing.keyset.decode(page.after or "")
    if any(value is None for value in values):
        raise BadUserInput("not a cursor of this list", field="after")
    return values


def _stored(value: KeyValue, kind: str) -> object:
    """The value of a cursor as the database compares it; ids travel in their prefixed form."""
    if kind != "uuid":
        return value
    text = str(value)
    return ids.to_uuid(ids.parse(ids.kind_of(text, field="after"), text, field="after"))


def _page(listing: Listing[T], rows: Sequence[Record], page: PageRequest, offset: int) -> Page[T]:
    total = Total.capped(rows[0]["total"] if rows else 0) if page.total else NOT_COUNTED
    items = [row for row in rows if row["row_place"] is not None]
    shown = items[: page.first]
    return Page(
        nodes=[listing.item(row) for row in shown],
        cursors=[listing.keyset.encode(listing.key(row)) for row in shown],
        has_next_page=len(items) > page.first,
        has_previous_page=page.after is not None or offset > 0,
        total=total,
    )
