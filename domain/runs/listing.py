"""How runs are listed: the names their filters and orders know, and requests checked into typed listings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

from domain.errors import BadUserInput
from domain.paging import Keyset, KeyValue, PageRequest
from domain.runs.entity import Moment, RunStatus
from domain.search import (
    Attribute,
    AttributeKind,
    AttributeTarget,
    Expression,
    KeyedKind,
    KeyTarget,
    Target,
    Vocabulary,
    mentions,
    parse,
    parse_target,
)

MAX_ORDERS: Final = 3
MAX_OFFSET: Final = 10_000

_TEXT = Attribute(AttributeKind.TEXT)
_TIME = Attribute(AttributeKind.TIME)
_BOOLEAN = Attribute(AttributeKind.BOOLEAN)

RUN_VOCABULARY: Final = Vocabulary(
    attributes={
        "id": Attribute(AttributeKind.ID, id_kind="run"),
        "name": _TEXT,
        "status": Attribute(AttributeKind.CHOICE, choices=tuple(status.value for status in RunStatus)),
        "created": _TIME,
        "started": _TIME,
        "ended": _TIME,
        "duration": Attribute(AttributeKind.NUMBER),
        "last_activity": _TIME,
        "archived": _BOOLEAN,
        "stalled": _BOOLEAN,
        "stop_requested": _BOOLEAN,
        "model_type": _TEXT,
        "owner": Attribute(AttributeKind.REFERENCE, id_kind="usr"),
        "experiment": Attribute(AttributeKind.REFERENCE, id_kind="exp"),
        "parent": Attribute(AttributeKind.ID, id_kind="run"),
        "notes": _TEXT,
        "failure": _TEXT,
    },
    keyed={"metrics": KeyedKind.NUMBERS, "params": KeyedKind.MIXED, "tags": KeyedKind.TEXTS},
)
"""Durations are in seconds; `owner` is an address or an id, `experiment` a name or an id."""

_ORDERS: Final = frozenset(
    {
        "name",
        "status",
        "created",
        "started",
        "ended",
        "duration",
        "last_activity",
        "model_type",
        "owner",
        "experiment",
    }
)
_ORDER_VOCABULARY: Final = Vocabulary(
    attributes={name: kind for name, kind in RUN_VOCABULARY.attributes.items() if name in _ORDERS},
    keyed={prefix: kind for prefix, kind in RUN_VOCABULARY.keyed.items() if kind is not KeyedKind.TEXTS},
)


@dataclass(frozen=True, slots=True)
class RunOrder:
    """One sort key as a client writes it."""

    field: str
    descending: bool = True


@dataclass(frozen=True, slots=True)
class RunsRequest:
    """What a client asks of a list of runs. Hashable: parents asking alike are answered together.

    `offset` skips items and goes without a cursor. `total` false leaves the length of the list uncounted.
    """

    page: PageRequest = field(default_factory=PageRequest)
    filter: str | None = None
    order: tuple[RunOrder, ...] = ()
    archived: bool = False
    experiment_id: str | None = None
    offset: int = 0
    total: bool = True


@dataclass(frozen=True, slots=True)
class SortKey:
    """One checked sort key; missing values (and NaN) come last in both directions."""

    target: Target
    descending: bool

    @property
    def types(self) -> tuple[type, ...]:
        """The Python types of its parts in a cursor: of a param, its number and then its text."""
        if isinstance(self.target, KeyTarget):
            return (float, str) if self.target.kind is KeyedKind.MIXED else (float,)
        kind = self.target.attribute.kind
        return (datetime if kind is AttributeKind.TIME else float if kind is AttributeKind.NUMBER else str,)


@dataclass(frozen=True, slots=True)
class RunListing:
    """A checked request. `archived` None lists both, because the filter decides by itself."""

    page: PageRequest
    filter: Expression | None
    order: tuple[SortKey, ...]
    archived: bool | None
    experiment_id: str | None
    keyset: Keyset
    offset: int
    total: bool

    @property
    def behind(self) -> tuple[KeyValue, ...] | None:
        """The sort key, time and id of the run that the page follows; None for the first page."""
        key = self._after
        return key[:-1] if key is not None and _moves(self.order) else key

    def as_of(self, at: Moment) -> Moment:
        """When the list is looked at. In an order that moves with the time, all pages follow from the first one's."""
        key = self._after
        seen = key[-1] if key is not None and _moves(self.order) else None
        return replace(at, now=seen) if isinstance(seen, datetime) else at

    def cursor(self, key: tuple[KeyValue, ...], at: Moment) -> str:
        """The cursor of the run with this sort key, time and id, on a page that is looked at now."""
        return self.keyset.encode((*key, self.as_of(at).now) if _moves(self.order) else key)

    @property
    def _after(self) -> tuple[KeyValue, ...] | None:
        return None if self.page.after is None else self.keyset.decode(self.page.after)


@dataclass(frozen=True, slots=True)
class RunParents:
    """What a nested list hangs under: experiments, owners or parent runs, by canonical id."""

    kind: Literal["experiment", "owner", "parent"]
    ids: tuple[str, ...]


def listing(request: RunsRequest) -> RunListing:
    """Checks a request. Raises BadUserInput naming `filter`, `order_by`, `after` or `offset`.

    Runs are ordered newest first; that also breaks the ties of every other order.
    """
    expression = parse(request.filter, RUN_VOCABULARY)
    order = _order(request.order)
    if not 0 <= request.offset <= MAX_OFFSET:
        raise BadUserInput(f"expected 0 to {MAX_OFFSET}", field="offset")
    if request.offset and request.page.after is not None:
        raise BadUserInput("an offset does not go together with a cursor", field="offset")
    archived = None if expression is not None and mentions(expression, "archived") else request.archived
    binding = (
        "runs",
        request.experiment_id or "",
        str(archived),
        (request.filter or "").strip(),
        *(f"{key.field}\x1e{key.descending}" for key in request.order),
    )
    types = (*(kind for key in order for kind in key.types), datetime, str, *([datetime] if _moves(order) else []))
    keyset = Keyset(binding, types)
    if request.page.after is not None:
        keyset.decode(request.page.after)
    return RunListing(
        request.page, expression, order, archived, request.experiment_id, keyset, request.offset, request.total
    )


def orders_of(text: str | None) -> tuple[RunOrder, ...]:
    """Sort keys from one text such as `metrics.loss asc, created`; descending is the default.

    A comma or a space inside a quoted key belongs to the key. What a key means is checked by `listing`.
    """
    if text is None:
        return ()
    orders: list[RunOrder] = []
    for part in _split(text):
        field_name, _, direction = part.strip().rpartition(" ")
        if field_name and direction.lower() in ("asc", "desc"):
            orders.append(RunOrder(field_name.strip(), direction.lower() == "desc"))
        else:
            orders.append(RunOrder(part.strip()))
    return tuple(orders)


def _split(text: str) -> list[str]:
    """The parts between the commas that stand outside quotes."""
    parts = [""]
    quote = ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'`":
            quote = character
        if character == "," and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _moves(order: tuple[SortKey, ...]) -> bool:
    """Whether runs move in this order by the mere passing of time: the durations of running ones grow."""
    return any(isinstance(key.target, AttributeTarget) and key.target.name == "duration" for key in order)


def _order(given: tuple[RunOrder, ...]) -> tuple[SortKey, ...]:
    if len(given) > MAX_ORDERS:
        raise BadUserInput(f"at most {MAX_ORDERS} sort keys, got {len(given)}", field="order_by")
    keys: list[SortKey] = []
    for place, wanted in enumerate(given):
        where = f"order_by[{place}].field"
        keys.append(SortKey(parse_target(wanted.field, _ORDER_VOCABULARY, field=where), wanted.descending))
    return tuple(keys)
