"""What the executor reads in one pass is what graphql-core answers value by value, errors and all."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any, NewType

import numpy as np
import pytest
import strawberry
from graphql import Undefined, parse, validate
from graphql.execution import Executor, create_source_event_stream, execute_subscription_event
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.dataloader import DataLoader
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from resolvers.batching import by_parent, for_several, under
from schema.scalars import JSON, SCALARS, BigInt, FloatSeries, FloatValue
from server.graphql.executor import OnePassExecutor


class ValueByValue(Executor[Any]):
    """graphql-core, with nothing but what Strawberry needs."""

    build_resolve_info = StrawberryGraphQLCoreExecutionContext.build_resolve_info

    def __init__(self, *args: Any, operation_extensions: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_awaitable = optimized_is_awaitable  # type: ignore[assignment] # as the other one
        self.operation_extensions = operation_extensions


class Later:
    """An awaitable that may be awaited any number of times."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


Odd = NewType("Odd", int)
"""A scalar that has no form for some values."""


@strawberry.enum
class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Context:
    """What one operation reads: the values under each parent, or why they cannot be read."""

    below: Any
    reads: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        async def fetch(parents: list[str], arguments: object) -> dict[str, Any]:
            self.reads.append((sorted(map(str, parents)), arguments))
            if isinstance(self.below, Exception):
                raise self.below
            return dict.fromkeys(parents, self.below)

        self.loader: DataLoader[Any, Any] = by_parent(fetch)


Info = strawberry.Info[Context, None]


@strawberry.type
class Leaves:
    text: str
    maybe: str | None
    number: int
    big: BigInt
    real: FloatValue | None
    column: FloatSeries
    color: Color
    moment: datetime | None
    data: JSON | None
    labels: list[str]
    odd: Odd


@strawberry.type
class Marked(Leaves):
    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        if getattr(value, "mark", None) == "broken":
            raise ValueError("no type")
        return getattr(value, "mark", None) != "other"


@for_several
def _edge(parent: strawberry.Parent[Any], info: Info, first: int = 3, refuse: bool = False) -> Awaitable[Any]:
    if refuse:
        raise ValueError("refused")
    return under(info.context.loader, parent, first)


async def _late(parent: strawberry.Parent[Any]) -> Any:
    await asyncio.sleep(0)
    if isinstance(parent.maybe, Exception):
        raise parent.maybe
    return parent.maybe


@strawberry.type
class Thing(Marked):
    id: strawberry.ID
    one: Leaves | None
    strict: Marked
    leaves: list[Leaves]
    marked: list[Marked | None] | None
    edge: list[Leaves] = strawberry.field(resolver=_edge)
    lenient: list[Marked | None] | None = strawberry.field(resolver=_edge)
    late: str | None = strawberry.field(resolver=_late)


@strawberry.type
class Query:
    things: list[Thing]
    lenient: list[Thing | None] | None
    thing: Thing | None


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self) -> AsyncGenerator[Thing, None]:
        while True:
            yield good()


ODD = strawberry.scalar(name="Odd", serialize=lambda value: value if value % 2 else None)
CONFIG = StrawberryConfig(scalar_map={**SCALARS, Odd: ODD})
ONE_PASS = strawberry.Schema(Query, None, Subscription, config=CONFIG, execution_context_class=OnePassExecutor)
STOCK = strawberry.Schema(Query, config=CONFIG, execution_context_class=ValueByValue)


def good(**others: Any) -> Any:
    """An object that is right for every type."""
    values = {
        "text": "a",
        "maybe": None,
        "number": 1,
        "big": 2**60,
        "real": float("nan"),
        "column": np.array([1.0, np.inf]),
        "color": Color.BLUE,
        "moment": datetime(2026, 1, 31, 9, 30, tzinfo=UTC),
        "data": {"a": [1]},
        "labels": ["x"],
        "odd": 1,
        "mark": None,
    }
    return SimpleNamespace(**(values | others))


WRONGS = [None, Undefined, "text", 8, [], [None], object(), ValueError("wrong"), Later("later"), Later(KeyError("x"))]
WRONG = st.sampled_from(WRONGS)
LEAVES = ["text", "maybe", "number", "big", "real", "column", "color", "moment", "data", "labels", "odd"]


@st.composite
def objects(draw: st.DrawFn, /, **others: Any) -> Any:
    """An object that is right, or wrong in a few places."""
    made = good(**others)
    for name in draw(
        st.lists(st.sampled_from([*LEAVES, "mark", *others]), max_size=draw(st.sampled_from([0, 0, 1, 4])))
    ):
        if name == "mark":
            made.mark = draw(st.sampled_from(["other", "broken"]))
        elif draw(st.booleans()):
            setattr(made, name, draw(WRONG))
        elif hasattr(made, name):
            delattr(made, name)
    return made


def listed(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists of them, sometimes with an element that is none, or no list at all."""
    right, mixed = st.lists(elements, max_size=3), st.lists(elements | WRONG, max_size=3)
    return st.one_of(right, right, right.map(tuple), mixed, WRONG)


@st.composite
def things(draw: st.DrawFn) -> Any:
    leaves = objects()
    return draw(
        objects(
            id=f"t{draw(st.integers(0, 5))}",
            one=draw(leaves),
            strict=draw(leaves),
            leaves=draw(listed(leaves)),
            marked=draw(listed(leaves)),
        )
    )


LEAF_FIELDS = [
    *LEAVES,
    "again: text",
    "__typename",
    "text @include(if: $yes)",
    "number @skip(if: $yes)",
    "... { big color }",
    "... @include(if: $yes) { color real }",
]
BELOW = [
    "one",
    "strict",
    "leaves",
    "marked",
    "edge",
    "lenient",
    "other: edge(first: 1)",
    "not: edge(refuse: $yes)",
]


@st.composite
def selections(draw: st.DrawFn, more: tuple[str, ...] = ()) -> str:
    """Fields of `Leaves`, and of `Thing` those of `more`."""
    names = draw(st.lists(st.sampled_from(LEAF_FIELDS), min_size=1, max_size=5))
    for name in draw(st.lists(st.sampled_from(more), max_size=3, unique=True)) if more else ():
        below = "" if name in {"id", "late"} else f" {draw(selections())}"
        names.insert(draw(st.integers(0, len(names))), name + below)
    return "{ " + " ".join(names) + " }"


@st.composite
def operations(draw: st.DrawFn) -> str:
    root = draw(st.sampled_from(["things", "lenient", "thing"]))
    selected = draw(selections((*BELOW, "id", "late")))
    return f"query ($yes: Boolean!) {{ __typename @skip(if: $yes) {root} {selected} }}"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors are what is expected here; writing all of them to the log takes longer than finding them."""
    monkeypatch.setattr(logging.getLogger("strawberry.execution"), "disabled", True)


async def answer(schema: strawberry.Schema, text: str, root: Any, below: Any, variables: dict[str, Any]) -> Any:
    """Data in its order, errors, and what was read from the loader."""
    context = Context(below)
    result: Any = await schema.execute(text, variables, context_value=context, root_value=root)
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(left)  # what an error left behind is settled in the background; it must not outlive the loop
    errors = Counter(json.dumps(error.formatted, sort_keys=True) for error in result.errors or ())
    return json.dumps(result.data, default=repr), errors, context.reads


@settings(max_examples=50, deadline=None)
@given(
    operation=operations(),
    found=st.lists(things(), max_size=3) | listed(things()),
    below=listed(objects()) | st.just(OSError("unreadable")),
    yes=st.booleans(),
)
def test_both_executors_answer_the_same(operation: str, found: Any, below: Any, yes: bool) -> None:
    one = found[0] if isinstance(found, list | tuple) and found else found
    root = SimpleNamespace(things=found, lenient=found, thing=one)
    assert not validate(STOCK._schema, parse(operation))
    variables = {"yes": yes}

    async def both() -> tuple[Any, Any]:
        return (
            await answer(ONE_PASS, operation, root, below, variables),
            await answer(STOCK, operation, root, below, variables),
        )

    ours, theirs = asyncio.run(both())
    assert ours == theirs


@pytest.mark.parametrize("wrong", WRONGS, ids=lambda wrong: type(wrong).__name__)
async def test_a_single_wrong_value_is_answered_the_same_wherever_it_is(wrong: object) -> None:
    leaves = "{ __typename " + " ".join(name for name in LEAVES if name != "labels") + " }"  # which is a list
    wrongs = [good(**{name: wrong}) for name in LEAVES] + [good(mark=mark) for mark in ("other", "broken")] + [wrong]
    page = [
        vars(good(id="a", one=good(), strict=good(), leaves=[good()], marked=[good()])) | others
        for one in wrongs
        for others in (
            vars(one) if isinstance(one, SimpleNamespace) else {},
            {"one": one},
            {"strict": one},
            {"leaves": [good(), one]},
            {"marked": [one, good()]},
        )
    ]
    text = f"{{ lenient {{ id one {leaves} strict {leaves} leaves {leaves} marked {leaves} {' '.join(LEAVES)} }} }}"
    for attributes in page:
        root = SimpleNamespace(lenient=[SimpleNamespace(**attributes)])
        ours = await answer(ONE_PASS, text, root, [], {})
        assert ours == await answer(STOCK, text, root, [], {})
    text = f"{{ lenient {{ id edge {leaves} lenient {leaves} }} }}"
    root = SimpleNamespace(lenient=[good(id="a"), good(id="b")])
    for below in [*([good(), one] for one in wrongs), wrong]:
        assert await answer(ONE_PASS, text, root, below, {}) == await answer(STOCK, text, root, below, {})
    for below in ([good()], wrong):
        root = SimpleNamespace(lenient=[good(id="a"), wrong, good(id="b")])
        assert await answer(ONE_PASS, text, root, below, {}) == await answer(STOCK, text, root, below, {})
        bare = "{ lenient { __typename edge { __typename } } }"
        assert await answer(ONE_PASS, bare, root, [wrong], {}) == await answer(STOCK, bare, root, [wrong], {})
        alone = "{ lenient { __typename } }"
        assert await answer(ONE_PASS, alone, root, [], {}) == await answer(STOCK, alone, root, [], {})


@pytest.fixture
def single_fields(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often graphql-core executed a field by itself, by name."""
    counted: Counter[str] = Counter()
    executed = Executor.execute_field

    def counting(self: Any, parent_type: Any, source: Any, details: Any, path: Any, context: Any) -> Any:  # noqa: PLR0917
        counted[f"{parent_type.name}.{path.key}"] += 1
        return executed(self, parent_type, source, details, path, context)

    monkeypatch.setattr(Executor, "execute_field", counting)
    return counted


async def test_a_page_is_executed_in_one_pass(single_fields: Counter[str]) -> None:
    page = [good(id=f"t{place}") for place in range(50)]
    text = "{ things { id text color edge { number real } other: edge(first: 9) { text } } }"
    data, errors, reads = await answer(ONE_PASS, text, SimpleNamespace(things=page), [good(), good()], {})
    assert not errors
    assert json.loads(data)["things"][49] == {
        "id": "t49",
        "text": "a",
        "color": "BLUE",
        "edge": [{"number": 1, "real": "NaN"}] * 2,
        "other": [{"text": "a"}] * 2,
    }
    assert [(len(parents), first) for parents, first in reads] == [(50, 3), (50, 9)]
    assert single_fields == {"Query.things": 1}


async def test_leaves_beside_other_fields_are_still_read_in_one_pass(single_fields: Counter[str]) -> None:
    page = [good(id=f"t{place}", maybe="m", leaves=[good()]) for place in range(3)]
    text = "{ things { text late id leaves { text } } }"
    data, errors, _ = await answer(ONE_PASS, text, SimpleNamespace(things=page), [], {})
    assert not errors
    assert json.loads(data)["things"][0] == {"text": "a", "late": "m", "id": "t0", "leaves": [{"text": "a"}]}
    assert list(json.loads(data)["things"][0]) == ["text", "late", "id", "leaves"]
    assert single_fields == {"Query.things": 1, "Thing.late": 3, "Thing.leaves": 3}


async def test_a_subscription_remembers_nothing_of_events_that_are_over() -> None:
    document = parse("subscription { ticks { text leaves { text } } }")
    executor = OnePassExecutor.build(ONE_PASS._schema, document)
    assert isinstance(executor, OnePassExecutor)
    source: Any = create_source_event_stream(executor)
    events = await source if executor.is_awaitable(source) else source
    before = {name: len(value) for name, value in vars(executor).items() if isinstance(value, dict)}
    for _ in range(3):
        event = good(leaves=[good()])
        result: Any = execute_subscription_event(executor.build_per_event_executor(event))
        assert (await result if executor.is_awaitable(result) else result).errors is None
    assert {name: len(value) for name, value in vars(executor).items() if isinstance(value, dict)} == before
    await events.aclose()
