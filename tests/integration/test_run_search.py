"""Filters, orders and pages of runs in SQL, held against a plain Python evaluation over generated runs.

Nothing here changes the runs, so that all tests of this file share them.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import ids
from domain.paging import PageRequest
from domain.runs import RunsRequest, RunStatus
from persistence.database import Database
from tests.support.clusters import Cluster
from tests.support.run_world import (
    LONG,
    NUMBERS,
    ORDERS,
    SIGNS,
    TEXTS,
    TIMES,
    Seen,
    Test,
    World,
    compared,
    in_order,
    make_world,
    number_of_p,
    orders,
    quoted,
    text_of_p,
)
from tests.support.tracking import START

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROPERTY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres_cluster: Cluster) -> AsyncIterator[World]:
    url = postgres_cluster.create()
    async with Database(url) as database:
        yield await make_world(database)
    postgres_cluster.drop(url)


WORDS = [
    "adam",
    "true",
    "Prod",
    "bert",
    "resnet-1",
    "a",
    "cnn",
    "x",
    "100%",
    "ada@example.org",
    "it's",
    LONG,
    LONG + "ab",
]


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
    assert await world.by_pages(size, order=orders(order), archived=archived) == expected


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
        found = await world.by_pages(size, filter=text or None, order=orders(order), total=size == 7)
        assert found == expected


OF_A_PARAM: list[tuple[str, Test]] = [
    ("", lambda _: True),
    ("params.p >= 1", compared(number_of_p, ">=", 1)),
    ("params.p != 1 and params.p < 3", lambda seen: compared(number_of_p, "!=", 1)(seen) and number_of_p(seen) < 3),
    ("params.p = 'adam'", compared(text_of_p, "=", "adam")),
    ("params.p > '0.5'", compared(text_of_p, ">", "0.5")),
    (f"params.p = '{LONG}ab'", compared(text_of_p, "=", LONG + "ab")),
    (f"params.p in ('sgd', '{LONG}', '{LONG}aa')", lambda seen: text_of_p(seen) in ("sgd", LONG, LONG + "aa")),
    ("params.p not in ('sgd', '1')", lambda seen: text_of_p(seen) is not None and text_of_p(seen) not in ("sgd", "1")),
    ("params.p = true", compared(text_of_p, "=", "true")),
    ("params.p like 'y%'", lambda seen: (text_of_p(seen) or "").startswith("y")),
    ("params.p is not null", lambda seen: text_of_p(seen) is not None),
    ("params.p is null", lambda seen: text_of_p(seen) is None),
    ("not params.p = 'adam'", lambda seen: text_of_p(seen) != "adam"),
    (
        "params.p < 1 or params.p = 'adam'",
        lambda seen: compared(number_of_p, "<", 1)(seen) or text_of_p(seen) == "adam",
    ),
    (
        "params.p < 2 and metrics.loss < 5",
        lambda seen: all(
            (compared(number_of_p, "<", 2)(seen), compared(lambda each: each.metrics.get("loss"), "<", 5)(seen))
        ),
    ),
]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("text", "meets"), OF_A_PARAM, ids=[text[:40] or "no filter" for text, _ in OF_A_PARAM])
async def test_pages_in_the_order_of_the_param_that_is_filtered_by(
    world: World, text: str, meets: Test, descending: bool
) -> None:
    living = [seen for seen in world.seen if not seen.run.archived and meets(seen)]
    for then in ([], [("metrics.loss", False)], [("name", True)]):
        order = [("params.p", descending), *then]
        expected = in_order(living, order)
        for size in (1, 7, 200):
            assert await world.by_pages(size, filter=text or None, order=orders(order), total=False) == expected
