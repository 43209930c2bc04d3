"""Keyset paging: what a page is, and the opaque cursors that lead from one to the next.

A cursor holds the sort key of one item, bound to the list it came from (field, order, filter). It is checked for
form, version, binding and value types before anything reads it, so a forged cursor is BadUserInput and never SQL.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

from domain.errors import BadUserInput

T = TypeVar("T")

DEFAULT_FIRST = 50
MAX_FIRST = 200
EXACT_TOTAL_LIMIT = 10_000

KeyValue = str | int | float | bool | datetime | None

_VERSION = 1
_json: Final = json.JSONEncoder(separators=(",", ":"))
_MAX_CURSOR = 2_048


@dataclass(frozen=True, slots=True)
class PageRequest:
    """How much of a list is wanted, and after which item. `first` was checked; `after` is an opaque cursor.

    `total` false leaves the length of the list uncounted.
    """

    first: int = DEFAULT_FIRST
    after: str | None = None
    total: bool = True

    @classmethod
    def of(cls, first: int | None, after: str | None, *, most: int = MAX_FIRST, total: bool = True) -> PageRequest:
        """Raises BadUserInput when `first` is outside 0..`most` or the cursor is absurdly long."""
        wanted = DEFAULT_FIRST if first is None else first
        if not 0 <= wanted <= most:
            raise BadUserInput(f"first must lie between 0 and {most}, got {wanted}", field="first")
        if after is not None and len(after) > _MAX_CURSOR:
            raise BadUserInput("not a cursor of this list", field="after")
        return cls(wanted, after, total)


@dataclass(frozen=True, slots=True)
class PageInfo:
    """Where a page lies in its list."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclass(frozen=True, slots=True)
class Edge(Generic[T]):
    """One item and the cursor that leads past it."""

    cursor: str
    node: T


@dataclass(frozen=True, slots=True)
class Total:
    """How long a list is: exact up to a limit, a lower bound beyond it."""

    counted: int
    exact: bool = True

    @classmethod
    def capped(cls, counted: int) -> Total:
        """From a count that stopped at EXACT_TOTAL_LIMIT + 1."""
        return cls(min(counted, EXACT_TOTAL_LIMIT), counted <= EXACT_TOTAL_LIMIT)


NOT_COUNTED: Final = Total(0, exact=False)
"""Of a list whose length nobody asked for."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list: items, their cursors, whether more follow, and the length of the list."""

    nodes: list[T]
    cursors: list[str]
    has_next_page: bool
    has_previous_page: bool
    total: Total

    @property
    def edges(self) -> list[Edge[T]]:
        return [Edge(cursor, node) for cursor, node in zip(self.cursors, self.nodes, strict=True)]

    @property
    def page_info(self) -> PageInfo:
        return PageInfo(
            self.has_next_page,
            self.has_previous_page,
            self.cursors[0] if self.cursors else None,
            self.cursors[-1] if self.cursors else None,
        )

    @property
    def total_count(self) -> int | None:
        return self.total.counted if self.total.exact else None

    @property
    def total_count_at_least(self) -> int:
        return self.total.counted


@dataclass(frozen=True, slots=True)
class Keyset:
    """The cursor codec of one list.

    `binding` names the list, its order and its filter; a cursor of another binding is refused. `types` gives the
    Python type of each part of the sort key; every part may also be null.
    """

    binding: tuple[str, ...]
    types: tuple[type, ...]

    def encode(self, key: tuple[KeyValue, ...]) -> str:
        """The opaque cursor of an item with this sort key."""
        document = ",".join((f'[{_VERSION},"{_digest(self.binding)}"', *map(_text, key))) + "]"
        return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")

    def decode(self, cursor: str) -> tuple[KeyValue, ...]:
        """The sort key inside a cursor. Raises BadUserInput unless this very list made it."""
        refusal = BadUserInput("not a cursor of this list (its order and filter must stay the same)", field="after")
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            document = json.loads(raw)
        except (binascii.Error, ValueError, RecursionError):
            raise refusal from None
        if not isinstance(document, list) or len(document) != 2 + len(self.types):
            raise refusal
        if document[:2] != [_VERSION, _digest(self.binding)]:
            raise refusal
        try:
            key = tuple(_typed(value, kind) for value, kind in zip(document[2:], self.types, strict=True))
            if self.encode(key) != cursor:
                raise refusal
        except (ValueError, TypeError, OverflowError):
            raise refusal from None
        return key


@lru_cache(maxsize=4_096)
def _digest(binding: tuple[str, ...]) -> str:
    return hashlib.sha256("\x1f".join(binding).encode()).hexdigest()[:12]


def _text(value: KeyValue) -> str:
    """A part of the sort key in JSON. Every batch of a run is answered with a number, which needs no encoder."""
    return str(value) if type(value) is int else _json.encode(_plain(value))


def _plain(value: KeyValue) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value


def _typed(value: Any, kind: type[Any]) -> KeyValue:
    if value is None:
        return None
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError(value)
        return moment
    if kind is float:
        if isinstance(value, bool):
            raise TypeError(value)
        number = float(value)
        if isinstance(value, str) and math.isfinite(number):
            raise ValueError(value)
        return number
    if kind is int and (isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63):
        raise TypeError(value)
    if not isinstance(value, kind):
        raise TypeError(value)
    if isinstance(value, str) and b"\x00" in value.encode():  # half a surrogate pair, which JSON can spell, is no text
        raise ValueError(value)
    checked: KeyValue = value
    return checked
