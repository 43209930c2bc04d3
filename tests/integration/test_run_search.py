"""Filters, orders and pages of runs in SQL, held against a plain Python evaluation over generated runs."""

from __future__ import annotations

import math
import operator
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput
from domain.paging import PageRequest
from domain.runs import Param, Run, RunOrder, RunsRequest, RunStatus
from persistence.database import Database
from tests.support.tracking import STALLED_AFTER, START, Tracking

PROPERTY = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


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


NAMES = ["resnet-1", "ResNet-2", "bert", "bert-large", "100%", "a_b", "x"]
VALUES: list[Any] = [0.1, 1, 2.5, "adam", "sgd", "0.5", True, "true", None, [1], -3, "1e3"]
METRICS = [0.0, -0.0, 0.1, 1.0, 5.0, -2.0, math.nan, math.inf, -math.inf]


@pytest.fixture
async def world(database: Database) -> World:
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


# --- the naive evaluation ---------------------------------------------------------------------------

Test = Callable[[Seen], bool]
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MISSING = object()


def param_of(key: str) -> Callable[[Seen], Param | None]:
    return lambda seen: next((param for param in seen.run.params if param.key == key), None)


def tag_of(seen: Seen) -> Any:
    return next((tag.value for tag in seen.run.tags if tag.key == "stage"), None)


def number_of(param: Param | None) -> Any:
    return None if param is None else param.number


def text_of(param: Param | None) -> Any:
    return None if param is None else param.text


TEXTS: list[tuple[str, Callable[[Seen], Any]]] = [
    ("name", lambda seen: seen.run.name),
    ("model_type", lambda seen: seen.run.model_type),
    ("notes", lambda seen: seen.run.notes),
    ("tags.stage", tag_of),
    ("params.p", lambda seen: text_of(param_of("p")(seen))),
    ('params."q q"', lambda seen: text_of(param_of("q q")(seen))),
    ("owner", lambda _: "ada@example.org"),
]
NUMBERS: list[tuple[str, Callable[[Seen], Any]]] = [
    ("metrics.loss", lambda seen: seen.metrics.get("loss")),
    ("metrics.`val/acc`", lambda seen: seen.metrics.get("val/acc")),
    ("metrics.none", lambda _: None),
    ("params.p", lambda seen: number_of(param_of("p")(seen))),
    ("duration", lambda seen: seen.run.duration_seconds),
]
TIMES: list[tuple[str, Callable[[Seen], Any]]] = [
    ("created", lambda seen: seen.run.created_at),
    ("started", lambda seen: seen.run.started_at),
    ("ended", lambda seen: seen.run.ended_at),
    ("last_activity", lambda seen: seen.run.last_activity_at),
]
WORDS = ["adam", "true", "Prod", "bert", "resnet-1", "a", "cnn", "x", "100%", "ada@example.org", "it's"]


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


def as_like(pattern: str, flags: int) -> re.Pattern[str]:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    one = {"%": ".*", "_": "."}
    return re.compile("".join(one.get(part, re.escape(part[-1])) for part in parts), re.DOTALL | flags)


@st.composite
def leaves(draw: st.DrawFn) -> tuple[str, Test]:
    kind = draw(st.sampled_from(["text", "number", "time", "in", "like", "null", "status", "flag", "id"]))
    sign = draw(st.sampled_from(list(SIGNS)))
    if kind == "text":
        name, get = draw(st.sampled_from([each for each in TEXTS if each[0] != "owner"]))
        value: Any = draw(st.sampled_from(WORDS))
        return f"{name} {sign} {quoted(value)}", compared(get, sign, value)
    if kind == "number":
        name, get = draw(st.sampled_from(NUMBERS))
        value = draw(st.sampled_from([0.0, 0.1, 1.0, 2.5, -2.0, 1000.0, math.inf, -math.inf, math.nan]))
        if math.isnan(value):
            sign = draw(st.sampled_from(["=", "!="]))
        return f"{name} {sign} {value!r}", compared(get, sign, value)
    if kind == "time":
        name, get = draw(st.sampled_from(TIMES))
        value = START + timedelta(seconds=draw(st.integers(0, 1500)))
        return f"{name} {sign} {quoted(value.isoformat())}", compared(get, sign, value)
    if kind == "in":
        name, get = draw(st.sampled_from(TEXTS))
        values = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4))
        negated = draw(st.booleans())
        listed = ", ".join(map(quoted, values))
        return (
            f"{name} {'not ' * negated}in ({listed})",
            lambda seen: get(seen) is not None and (get(seen) in values) != negated,
        )
    if kind == "like":
        name, get = draw(st.sampled_from(TEXTS))
        negated = draw(st.booleans())
        word, pattern, compiled = draw(st.sampled_from(PATTERNS))
        match = compiled.search if word == "matches" else compiled.fullmatch
        return (
            f"{name} {'not ' * negated}{word} {quoted(pattern)}",
            lambda seen: get(seen) is not None and (match(get(seen)) is not None) != negated,
        )
    if kind == "null":
        name, get = draw(st.sampled_from(TEXTS + NUMBERS[:3] + TIMES))
        negated = draw(st.booleans())
        return f"{name} is {'not ' * negated}null", lambda seen: (get(seen) is None) != negated
    if kind == "status":
        status = draw(st.sampled_from(list(RunStatus)))
        sign = draw(st.sampled_from(["=", "!="]))
        return f"status {sign} {status.name}", lambda seen: SIGNS[sign](seen.run.status, status)
    if kind == "id":
        run_id = ids.new("run")
        return f"id != '{run_id}'", lambda _: True
    name = draw(st.sampled_from(["stalled", "stop_requested"]))
    return f"{name} = true", lambda seen: bool(getattr(seen.run, name))


PATTERNS = [
    (word, pattern, as_like(pattern, re.IGNORECASE if word == "ilike" else 0))
    for word in ("like", "ilike")
    for pattern in ("resnet%", "%e%", "_", "100\\%", "a\\_b", "", "%\n%", "ada%")
] + [("matches", pattern, re.compile(pattern)) for pattern in ("^res", "t-[0-9]+$", "(?i)prod|QA", "e.b", "^.$")]


def combined(parts: st.SearchStrategy[tuple[str, Test]]) -> st.SearchStrategy[tuple[str, Test]]:
    pairs = st.tuples(parts, parts)
    return st.one_of(
        pairs.map(lambda p: (f"({p[0][0]}) and ({p[1][0]})", lambda seen: p[0][1](seen) and p[1][1](seen))),
        pairs.map(lambda p: (f"({p[0][0]}) OR ({p[1][0]})", lambda seen: p[0][1](seen) or p[1][1](seen))),
        parts.map(lambda p: (f"not ({p[0]})", lambda seen: not p[1](seen))),
    )


FILTERS = st.recursive(leaves(), combined, max_leaves=5)


@PROPERTY
@given(asked=st.lists(FILTERS, min_size=3, max_size=6))
async def test_filters_find_what_a_plain_evaluation_finds(world: World, asked: list[tuple[str, Test]]) -> None:
    for text, test in asked:
        living = [seen for seen in world.seen if not seen.run.archived and test(seen)]
        page = await world.tracking.runs.page(world.scope, RunsRequest(page=PageRequest.of(200, None), filter=text))
        assert {run.id for run in page.nodes} == {seen.run.id for seen in living}, text
        assert page.total_count == len(living), text


ORDERS: dict[str, Callable[[Seen], tuple[Any, ...]]] = {
    "name": lambda seen: (seen.run.name,),
    "status": lambda seen: (seen.run.status.value,),
    "created": lambda seen: (seen.run.created_at,),
    "started": lambda seen: (seen.run.started_at,),
    "ended": lambda seen: (seen.run.ended_at,),
    "duration": lambda seen: (seen.run.duration_seconds,),
    "model_type": lambda seen: (seen.run.model_type,),
    "metrics.loss": lambda seen: (None if math.isnan(seen.metrics.get("loss", math.nan)) else seen.metrics["loss"],),
    "params.p": lambda seen: (number_of(param_of("p")(seen)), text_of(param_of("p")(seen))),
}


def in_order(seen: list[Seen], order: list[tuple[str, bool]]) -> list[str]:
    """Sorted by the last key first, so that each sort keeps the ones after it."""
    ranked = sorted(seen, key=lambda each: (each.run.created_at, each.run.id), reverse=True)
    for name, descending in reversed(order):
        parts = len(ORDERS[name](seen[0]))
        for place in reversed(range(parts)):
            present = [each for each in ranked if ORDERS[name](each)[place] is not None]
            absent = [each for each in ranked if ORDERS[name](each)[place] is None]
            # Python's reverse sort keeps equal items in order, too.
            present.sort(key=lambda each: ORDERS[name](each)[place], reverse=descending)
            ranked = present + absent
    return [each.run.id for each in ranked]


@PROPERTY
@given(
    order=st.lists(st.tuples(st.sampled_from(list(ORDERS)), st.booleans()), max_size=3),
    size=st.integers(1, 60),
    archived=st.booleans(),
)
async def test_pages_follow_each_other_in_every_order(
    world: World, order: list[tuple[str, bool]], size: int, archived: bool
) -> None:
    expected = in_order([seen for seen in world.seen if seen.run.archived == archived], order)
    found: list[str] = []
    after: str | None = None
    while True:
        page = await world.tracking.runs.page(
            world.scope,
            RunsRequest(
                page=PageRequest.of(size, after),
                order=tuple(RunOrder(name, descending) for name, descending in order),
                archived=archived,
            ),
        )
        assert page.has_previous_page == (after is not None)
        found += [run.id for run in page.nodes]
        assert page.has_next_page == (len(found) < len(expected))
        if not page.has_next_page:
            break
        after = page.cursors[-1]
    assert found == expected


BOUNDS: list[tuple[str, Callable[[float], bool]]] = [
    ("", lambda _: True),
    ("metrics.loss < 1", lambda value: value < 1),
    ("metrics.loss <= 1 and metrics.loss > -2", lambda value: -2 < value <= 1),
    ("metrics.loss >= 0", lambda value: value >= 0),
    ("metrics.loss > 5", lambda value: value > 5),
    ("not metrics.loss < 1", lambda value: not value < 1),
    ("metrics.loss < 1 or metrics.loss > 2", lambda value: value < 1 or value > 2),
    ("metrics.loss = 1", lambda value: value == 1),
    ("metrics.loss != 1", lambda value: value != 1),
]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("text", "meets"), BOUNDS, ids=[text or "no filter" for text, _ in BOUNDS])
@pytest.mark.parametrize("then", [None, "name"])
async def test_pages_in_the_order_of_the_metric_that_is_filtered_by(
    world: World, text: str, meets: Callable[[float], bool], descending: bool, then: str | None
) -> None:
    def wanted(seen: Seen) -> bool:
        value = seen.metrics.get("loss")
        if value is None:
            return text == "" or text.startswith("not")  # a comparison with what is missing is false
        return meets(value)

    order = [("metrics.loss", descending), *([] if then is None else [(then, False)])]
    expected = in_order([seen for seen in world.seen if not seen.run.archived and wanted(seen)], order)
    for size in (1, 7, 200):
        found: list[str] = []
        after: str | None = None
        while True:
            page = await world.tracking.runs.page(
                world.scope,
                RunsRequest(
                    page=PageRequest.of(size, after),
                    filter=text or None,
                    order=tuple(RunOrder(name, down) for name, down in order),
                    total=size == 7,
                ),
            )
            found += [run.id for run in page.nodes]
            if not page.has_next_page:
                break
            after = page.cursors[-1]
        assert found == expected


async def test_stalled_and_archived_as_attributes(world: World) -> None:
    world.tracking.clock.forward(seconds=STALLED_AFTER.total_seconds() + 1)
    running = [seen.run for seen in world.seen if seen.run.status is RunStatus.RUNNING and not seen.run.archived]
    assert running
    assert len(await world.names("stalled = true")) == len(running)
    archived = [seen for seen in world.seen if seen.run.archived]
    assert len(await world.names("archived = true")) == len(archived)
    assert len(await world.names("archived = true or archived = false")) == len(world.seen)


async def test_references_by_id_and_by_name(world: World) -> None:
    vision = await world.tracking.experiments.find(world.scope, name="vision")
    assert vision is not None
    living = [seen for seen in world.seen if not seen.run.archived]
    wanted = sorted(seen.run.name for seen in living if seen.run.experiment_id == vision.id)
    assert sorted(await world.names(f"experiment = '{vision.id}'")) == wanted
    assert sorted(await world.names("experiment = 'vision'")) == wanted
    assert sorted(await world.names("", experiment_id=vision.id)) == wanted
    assert len(await world.names(f"owner = '{world.scope.principal.user_id}'")) == len(living)
    run = living[0].run
    assert await world.names(f"id in ('{run.id}')") == [run.name]


async def test_refusals(world: World) -> None:
    async def refused(field: str, **request: Any) -> str:
        with pytest.raises(BadUserInput) as caught:
            await world.tracking.runs.page(world.scope, RunsRequest(**request))
        assert caught.value.field == field
        return caught.value.message

    assert "column 6" in await refused("filter", filter="name ? 1")
    assert "metrics.<key>" in await refused("order_by[0].field", order=(RunOrder("notes"),))
    assert "tags" in await refused("order_by[1].field", order=(RunOrder("name"), RunOrder("tags.x")))
    await refused("order_by", order=(RunOrder("name"),) * 4)
    await refused("experiment_id", experiment_id=ids.new("run"))
    await refused("offset", offset=-1)
    first = await world.tracking.runs.page(world.scope, RunsRequest(page=PageRequest.of(2, None)))
    cursor = first.cursors[-1]
    for changed in (
        {"filter": "name = 'x'"},
        {"order": (RunOrder("name"),)},
        {"archived": True},
        {"experiment_id": ids.new("exp")},
    ):
        await refused("after", page=PageRequest.of(2, cursor), **changed)
    await refused("offset", page=PageRequest.of(2, cursor), offset=3)
    await refused("after", page=PageRequest.of(2, "garbage"))


async def test_hostile_texts_stay_values(world: World) -> None:
    hostile = "'; DROP TABLE runs; --"
    assert await world.names(f"name = {quoted(hostile)}") == []
    assert await world.names("metrics.\"x'; DROP TABLE runs; --\" > 0 or params.`$1` = '$2'") == []
    assert len(await world.names("id is not null")) > 0
    named = await world.tracking.runs.create(world.scope, name=hostile)
    assert await world.names(f"name = {quoted(hostile)}") == [named.name]


async def test_nested_pages_take_two_statements_however_many_parents(world: World) -> None:
    parents = [seen.run for seen in world.seen if not seen.run.archived][:20]
    for place, parent in enumerate(parents):
        for child in range(place % 4):
            world.tracking.clock.forward(seconds=1)
            await world.tracking.runs.create(world.scope, name=f"{place}.{child}", parent_id=parent.id)
    request = RunsRequest(page=PageRequest.of(2, None), order=(RunOrder("name", descending=False),))
    pages = await world.tracking.runs.children(world.scope, [parent.id for parent in parents], request)
    for place, parent in enumerate(parents):
        page = pages[parent.id]
        assert [run.name for run in page.nodes] == [f"{place}.{child}" for child in range(min(place % 4, 2))]
        assert page.total_count == place % 4
        assert page.has_next_page == (place % 4 > 2)
    cursor = pages[parents[3].id].cursors[-1]
    following = await world.tracking.runs.children(
        world.scope, [parents[3].id], RunsRequest(page=PageRequest.of(2, cursor), order=request.order)
    )
    assert [run.name for run in following[parents[3].id].nodes] == ["3.2"]
    owners = await world.tracking.runs.of_owners(
        world.scope, [world.scope.principal.user_id], RunsRequest(page=PageRequest.of(1, None))
    )
    (only,) = owners.values()
    assert only.nodes[0].name == "19.2"
