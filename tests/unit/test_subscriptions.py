"""Subscriptions that share: one execution and one encoding for the same event, and only for the same scope."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self

import pytest
import strawberry

from domain.access import Principal, Scope, UserRole
from domain.errors import Conflict, DomainError
from domain.identity import ClientInfo
from server.edge.rates import Rates
from server.graphql.asking import Asking
from server.graphql.documents import Documents
from server.graphql.executor import OnePassExecutor
from server.graphql.extensions import extensions
from server.graphql.persisted import KeptTexts
from server.graphql.subscriptions import Subscription, Subscriptions
from server.graphql.view import encode
from server.settings import LimitsSettings, RatesSettings
from tests.support.access import EDITOR

TICKS = "subscription ($since: Int! = 0, $to: Int! = 3) { ticks(since: $since, to: $to) { number who } }"
LIMITS, RATES = LimitsSettings(), Rates(RatesSettings())


def scope(session: str) -> Scope:
    return Scope("wsp_1", Principal("usr_1", "ann@example.com", UserRole.USER, session_id=session), EDITOR)


@dataclass
class Context:
    """A caller, and the events that all callers are handed."""

    scope: Scope | None
    events: list[Tick]
    request_id: str = "r"
    client: ClientInfo = field(default_factory=ClientInfo)
    problem: DomainError | None = None
    gate: asyncio.Event | None = None
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    resolved: list[int] = field(default_factory=list)

    def for_operation(self) -> Self:
        return replace(self)


Info = strawberry.Info[Context, None]


@strawberry.type
class Tick:
    number: int

    @strawberry.field
    def odd(self, info: Info) -> int:
        info.context.resolved.append(self.number)
        if self.number % 2 == 0:
            raise Conflict("this is even")
        return self.number

    @strawberry.field
    async def who(self, info: Info) -> str:
        if info.context.gate is not None:
            await info.context.gate.wait()
        assert info.context.scope is not None
        return str(info.context.scope.principal.session_id)


@strawberry.type
class Query:
    @strawberry.field
    def nothing(self) -> bool:
        return True


@strawberry.type
class Subscribing:
    @strawberry.subscription
    async def ticks(self, info: Info, since: int = 0, to: int = 3) -> AsyncGenerator[Tick, None]:
        info.context.opened.append(info.context.request_id)
        try:
            for event in info.context.events[since:to]:
                yield event
            if to > len(info.context.events):
                raise Conflict("there are no more")
        finally:
            info.context.closed.append(info.context.request_id)


SCHEMA = strawberry.Schema(
    Query, subscription=Subscribing, extensions=extensions(LIMITS, RATES), execution_context_class=OnePassExecutor
)


async def _never() -> AsyncGenerator[int, None]:
    await asyncio.Event().wait()
    raise AssertionError("nothing sets it")


@strawberry.type
class Hanging(Subscribing):
    never: Annotated[AsyncGenerator[int, None], strawberry.subscription(resolver=_never)]


ASKING = Asking(SCHEMA._schema, Documents(LIMITS), KeptTexts(), LIMITS, RATES)


@pytest.fixture
def subscriptions() -> Subscriptions:
    return Subscriptions(ASKING, encode=encode)


@pytest.fixture
def ann() -> Context:
    return Context(scope("ses_1"), [Tick(number=number) for number in range(3)])


async def opened(subscriptions: Subscriptions, context: Context, text: str = TICKS, **variables: Any) -> Subscription:
    subscription = await subscriptions.open(ASKING.ask(text, variables, None, None, context), context)
    assert subscription is not None
    return subscription


async def numbers(subscription: Subscription) -> list[int]:
    return [json.loads(text)["data"]["ticks"]["number"] async for text in subscription.payloads()]


async def together(*subscriptions: Subscription) -> list[list[str]]:
    """The payloads of all, each taking one after the other in turn."""
    streams = [subscription.payloads() for subscription in subscriptions]
    taken: list[list[str]] = [[] for _ in streams]
    for place, stream in enumerate(streams):
        taken[place].append(await anext(stream))
    for place, stream in enumerate(streams):
        taken[place] += [text async for text in stream]
    return taken


async def test_the_same_operation_of_one_scope_is_executed_once_for_each_event(
    subscriptions: Subscriptions, ann: Context
) -> None:
    many = [await opened(subscriptions, replace(ann, request_id=str(place))) for place in range(50)]
    streams = [one.payloads() for one in many]
    for stream in streams:
        await anext(stream)  # one after the other they join
    subscriptions.figures.payloads = subscriptions.figures.executions = 0
    for number in (1, 2):
        texts = {await anext(stream) for stream in streams}
        assert [json.loads(text) for text in texts] == [{"data": {"ticks": {"number": number, "who": "ses_1"}}}]
    assert (subscriptions.figures.payloads, subscriptions.figures.executions) == (100, 2)
    assert len(ann.opened) == 50
    for stream in streams:
        await stream.aclose()
    assert len(ann.closed) == 50
    assert subscriptions.sharing == 0


@pytest.mark.parametrize(
    ("other", "text", "variables"),
    [
        (scope("ses_2"), TICKS, {}),
        (replace(scope("ses_1"), workspace_id="wsp_2"), TICKS, {}),
        (scope("ses_1"), TICKS + " ", {}),
        (scope("ses_1"), TICKS, {"to": 3}),
    ],
)
async def test_another_scope_document_or_variables_share_nothing(
    subscriptions: Subscriptions, ann: Context, other: Scope, text: str, variables: dict[str, Any]
) -> None:
    first, second = await together(
        await opened(subscriptions, ann), await opened(subscriptions, replace(ann, scope=other), text, **variables)
    )
    assert subscriptions.figures.executions == 6
    assert [json.loads(text)["data"]["ticks"]["who"] for text in second] == [other.principal.session_id] * 3
    assert len(first) == 3


async def test_variables_are_the_same_in_any_order(subscriptions: Subscriptions, ann: Context) -> None:
    one, other = await opened(subscriptions, ann, since=0, to=3), await opened(subscriptions, ann, to=3, since=0)
    streams = one.payloads(), other.payloads()
    await asyncio.gather(*map(anext, streams))
    subscriptions.figures.executions = 0
    assert await anext(streams[0]) == await anext(streams[1])
    assert subscriptions.figures.executions == 1
    for stream in streams:
        await stream.aclose()


async def test_one_that_leaves_while_it_executes_for_all_leaves_it_to_the_next(
    subscriptions: Subscriptions, ann: Context
) -> None:
    gate = asyncio.Event()
    ann.gate = gate
    streams = [(await opened(subscriptions, ann)).payloads() for _ in range(3)]
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    while subscriptions.figures.payloads < 3:  # noqa: ASYNC110 - all three are at it
        await asyncio.sleep(0)
    assert subscriptions.figures.executions == 1
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    gate.set()
    async with asyncio.timeout(10):
        texts = await asyncio.gather(*waiting[1:])
    assert texts[0] == texts[1]
    assert subscriptions.figures.executions == 2
    for stream in streams:
        await stream.aclose()
    assert subscriptions.sharing == 0


async def test_one_that_is_slow_keeps_nothing_for_itself_and_goes_on(
    subscriptions: Subscriptions, ann: Context
) -> None:
    ann.events += [Tick(number=number) for number in range(3, 20)]
    slow = (await opened(subscriptions, ann, to=20)).payloads()
    await anext(slow)
    assert await numbers(await opened(subscriptions, ann, to=20)) == list(range(20))
    rest = [json.loads(text)["data"]["ticks"]["number"] async for text in slow]
    assert rest == list(range(1, 20))


async def test_what_fails_is_executed_once_and_named_by_each_clients_own_request(
    subscriptions: Subscriptions, ann: Context
) -> None:
    text = "subscription { ticks { odd } }"
    streams = [
        (await opened(subscriptions, replace(ann, request_id=name), text)).payloads() for name in ("ann-1", "ann-2")
    ]
    for stream in streams:
        await anext(stream)  # one after the other they join
    ann.resolved.clear()
    fine = [await anext(stream) for stream in streams]
    failed = [json.loads(await anext(stream)) for stream in streams]
    assert fine[0] == fine[1]
    assert ann.resolved == [1, 2]
    assert [each["errors"][0]["extensions"]["requestId"] for each in failed] == ["ann-1", "ann-2"]
    assert all(each["errors"][0]["extensions"]["code"] == "CONFLICT" for each in failed)
    for stream in streams:
        await stream.aclose()


async def test_an_event_that_takes_too_long_is_left_out_and_the_rest_follow(ann: Context) -> None:
    limits = LimitsSettings(graphql_seconds=0.05)
    asking = Asking(SCHEMA._schema, Documents(limits), KeptTexts(), limits, RATES)
    ann.gate = asyncio.Event()
    subscription = await Subscriptions(asking, encode=encode).open(asking.ask(TICKS, None, None, None, ann), ann)
    assert subscription is not None
    stream = subscription.payloads()
    late = json.loads(await anext(stream))
    assert late["errors"][0]["extensions"]["code"] == "DEADLINE_EXCEEDED"
    ann.gate.set()
    assert [json.loads(text)["data"]["ticks"]["number"] async for text in stream] == [1, 2]


async def test_a_subscription_that_does_not_open_in_time_is_refused(ann: Context) -> None:
    limits = LimitsSettings(graphql_seconds=0.05)
    schema = strawberry.Schema(Query, subscription=Hanging, execution_context_class=OnePassExecutor)
    asking = Asking(schema._schema, Documents(limits), KeptTexts(), limits, RATES)
    asked = asking.ask("subscription { never }", None, None, None, ann)
    subscription = await Subscriptions(asking, encode=encode).open(asked, ann)
    assert subscription is not None
    assert subscription.refused[0].extensions is not None
    assert subscription.refused[0].extensions["code"] == "DEADLINE_EXCEEDED"


async def test_a_source_that_fails_says_so_to_its_own_client(subscriptions: Subscriptions, ann: Context) -> None:
    texts = [text async for text in (await opened(subscriptions, ann, to=4)).payloads()]
    last = json.loads(texts[-1])
    assert len(texts) == 4
    assert last["data"] is None
    assert last["errors"][0]["extensions"]["code"] == "CONFLICT"
    assert subscriptions.sharing == 0


@pytest.mark.parametrize(
    ("text", "variables", "code"),
    [
        ("subscription { unknown }", {}, "BAD_USER_INPUT"),
        (TICKS, {"to": "x"}, "BAD_USER_INPUT"),
        (
            "subscription { " + " ".join(f"a{n}: ticks {{ number }}" for n in range(LIMITS.graphql_aliases + 1)) + " }",
            {},
            "QUERY_TOO_COMPLEX",
        ),
    ],
)
async def test_refusals(
    subscriptions: Subscriptions, ann: Context, text: str, variables: dict[str, Any], code: str
) -> None:
    refused = await opened(subscriptions, ann, text, **variables)
    assert refused.refused[0].extensions is not None
    assert refused.refused[0].extensions["code"] == code
    (only,) = [json.loads(text) async for text in refused.payloads()]
    assert only["errors"][0]["extensions"]["code"] == code
    assert "data" not in only
    assert ann.opened == []


async def test_anonymous_callers_are_refused_before_anything_is_opened(
    subscriptions: Subscriptions, ann: Context
) -> None:
    refused = await opened(subscriptions, replace(ann, scope=None))
    assert refused.refused[0].extensions is not None
    assert refused.refused[0].extensions["code"] == "UNAUTHENTICATED"
    assert ann.opened == []


@pytest.mark.parametrize("text", ["{", "{ nothing }", "query A { nothing } subscription B { ticks { number } }"])
async def test_everything_else_is_somebody_elses(subscriptions: Subscriptions, ann: Context, text: str) -> None:
    assert await subscriptions.open(ASKING.ask(text, None, None, None, ann), ann) is None
