"""Sixty generated runs of every kind, and a plain Python evaluation of what filters and orders mean over them."""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from domain.access import Scope
from domain.paging import PageRequest
from domain.runs import Param, Run, RunOrder, RunsRequest, RunStatus
from persistence.database import Database
from tests.support.tracking import Tracking


@dataclass
class Seen:
    """A run with its last metric values, as the evaluator sees it."""

    run: Run
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class World:
    tracking: Tracking
    scope: Scope
    seen: list[Seen]

    async def names(self, text: str, **more: Any) -> list[str]:
        page = await self.tracking.runs.page(
            self.scope, RunsRequest(page=PageRequest.of(200, None), filter=text, **more)
        )
        return [run.name for run in page.nodes]

    async def by_pages(self, size: int, **asked: Any) -> list[str]:
        """The ids of a whole list, page by page."""
        found: list[str] = []
        after: str | None = None
        while True:
            page = await self.tracking.runs.page(self.scope, RunsRequest(page=PageRequest.of(size, after), **asked))
            assert page.has_previous_page == (after is not None)
            found += [run.id for run in page.nodes]
            if not page.has_next_page:
                return found
            assert len(page.nodes) == size
            after = page.cursors[-1]


NAMES = ["resnet-1", "ResNet-2", "bert", "bert-large", "100%", "a_b", "x"]
LONG = "y" * 95  # two texts that are equal as far as texts are ordered, one that is not
VALUES: list[Any] = [
    0.1,
    1,
    2.5,
    "adam",
    "sgd",
    "0.5",
    True,
    "true",
    None,
    [1],
    -3,
    "1e3",
    LONG + "ab",
    LONG + "aa",
    LONG,
]
METRICS = [0.0, -0.0, 0.1, 1.0, 5.0, -2.0, math.nan, math.inf, -math.inf]


async def make_world(database: Database) -> World:
    tracking = Tracking(database)
    scope = await tracking.scope()
    other = await tracking.scope("bob@example.org", "other")
    await tracking.runs.create(other, name="foreign")
    choose = random.Random(7)
    made: list[tuple[str, dict[str, float]]] = []
    for _ in range(60):
        tracking.clock.forward(seconds=choose.choice([0, 1, 60]))
        run = await tracking.runs.create(
            scope,
            name=choose.choice(NAMES),
            experiment=choose.choice(["Default", "vision"]),
            model_type=choose.choice([None, "cnn", "transformer"]),
            params=[(key, choose.choice(VALUES)) for key in ("p", "q q") if choose.random() < 0.7],
            tags=[("stage", choose.choice(["dev", "qa", "Prod"]))] if choose.random() < 0.6 else [],
            start=choose.random() < 0.8,
            notes=choose.choice([None, "line\nbreak", "see x"]),
        )
        if choose.random() < 0.5:
            tracking.clock.forward(seconds=choose.choice([1, 2.5]))
            end = choose.choice([RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.STOPPED])
            await tracking.runs.finish(scope, run.id, end)
        if choose.random() < 0.15:
            await tracking.runs.delete(scope, run.id)
        metrics = {key: choose.choice(METRICS) for key in ("loss", "val/acc") if choose.random() < 0.7}
        for key, value in metrics.items():
            await tracking.metric(run.id, key, value)
        made.append((run.id, metrics))
    found = await tracking.runs.by_ids(scope, [run_id for run_id, _ in made])
    return World(tracking, scope, [Seen(found[run_id], metrics) for run_id, metrics in made])


# --- the plain evaluation ---------------------------------------------------------------------------

Test = Callable[[Seen], bool]
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def param_of(key: str) -> Callable[[Seen], Param | None]:
    return lambda seen: next((param for param in seen.run.params if param.key == key), None)


def tag_of(seen: Seen) -> Any:
    return next((tag.value for tag in seen.run.tags if tag.key == "stage"), None)


def number_of(param: Param | None) -> Any:
    return None if param is None else param.number


def text_of(param: Param | None) -> Any:
    return None if param is None else param.text


def text_of_p(seen: Seen) -> Any:
    return text_of(param_of("p")(seen))


def number_of_p(seen: Seen) -> Any:
    return number_of(param_of("p")(seen))


TEXTS: list[tuple[str, Callable[[Seen], Any]]] = [
    ("name", lambda seen: seen.run.name),
    ("model_type", lambda seen: seen.run.model_type),
    ("notes", lambda seen: seen.run.notes),
    ("tags.stage", tag_of),
    ("params.p", text_of_p),
    ('params."q q"', lambda seen: text_of(param_of("q q")(seen))),
    ("owner", lambda _: "ada@example.org"),
]
NUMBERS: list[tuple[str, Callable[[Seen], Any]]] = [
    ("metrics.loss", lambda seen: seen.metrics.get("loss")),
    ("metrics.`val/acc`", lambda seen: seen.metrics.get("val/acc")),
    ("metrics.none", lambda _: None),
    ("params.p", number_of_p),
    ("duration", lambda seen: seen.run.duration_seconds),
]
TIMES: list[tuple[str, Callable[[Seen], Any]]] = [
    ("created", lambda seen: seen.run.created_at),
    ("started", lambda seen: seen.run.started_at),
    ("ended", lambda seen: seen.run.ended_at),
    ("last_activity", lambda seen: seen.run.last_activity_at),
]


def compared(get: Callable[[Seen], Any], sign: str, value: Any) -> Test:
    def test(seen: Seen) -> bool:
        found = get(seen)
        if found is None:
            return False
        if isinstance(value, float) and math.isnan(value):  # the only way to ask for NaN
            return math.isnan(found) == (sign == "=")
        return SIGNS[sign](found, value)

    return test


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


ORDERS: dict[str, Callable[[Seen], tuple[Any, ...]]] = {
    "name": lambda seen: (seen.run.name,),
    "status": lambda seen: (seen.run.status.value,),
    "created": lambda seen: (seen.run.created_at,),
    "started": lambda seen: (seen.run.started_at,),
    "ended": lambda seen: (seen.run.ended_at,),
    "duration": lambda seen: (seen.run.duration_seconds,),
    "model_type": lambda seen: (seen.run.model_type,),
    "metrics.loss": lambda seen: (None if math.isnan(seen.metrics.get("loss", math.nan)) else seen.metrics["loss"],),
    "params.p": lambda seen: (number_of_p(seen), text_of_p(seen)),
}


TEXT_ORDERS = {"name", "status", "model_type", "params.p"}


def in_order(seen: list[Seen], order: list[tuple[str, bool]]) -> list[str]:
    """Sorted by the last key first, so that each sort keeps the ones after it."""
    ranked = sorted(seen, key=lambda each: (each.run.created_at, each.run.id), reverse=True)
    width = 96 // max(1, sum(name in TEXT_ORDERS for name, _ in order))

    def part_of(each: Seen, name: str, place: int) -> Any:
        part = ORDERS[name](each)[place]
        return part[:width] if isinstance(part, str) else part

    for name, descending in reversed(order):
        for place in reversed(range(len(ORDERS[name](seen[0])))):
            key = partial(part_of, name=name, place=place)
            present = [each for each in ranked if key(each) is not None]
            absent = [each for each in ranked if key(each) is None]
            # Python's reverse sort keeps equal items in order, too.
            ranked = sorted(present, key=key, reverse=descending) + absent
    return [each.run.id for each in ranked]


def orders(order: list[tuple[str, bool]]) -> tuple[RunOrder, ...]:
    return tuple(RunOrder(name, descending) for name, descending in order)
