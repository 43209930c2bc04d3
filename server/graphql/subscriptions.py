"""Subscriptions: those with the same document, variables and scope share what their events are made into.

Every client has a source of events of its own, opened with its own rights and read at its own pace. When several are
handed the same event, it is executed and encoded once, and each transport only puts the text into its envelope. What
clients with different scopes see is never shared, not even between two sessions of one user.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson
from graphql import ExecutionResult, GraphQLError
from graphql.execution import create_source_event_stream, execute_subscription_event

from domain.access import Scope
from domain.errors import DeadlineExceeded
from server.figures import SubscriptionFigures
from server.graphql.asking import Asked, Asking, OperationContext
from server.graphql.errors import present_all
from server.graphql.executor import OnePassExecutor
from server.graphql.holding import Holding

MOST_KEPT: Final = 4
"""Encoded events that are kept, per operation, for clients that have not taken them yet."""

Encode = Callable[[object], str]
Events = AsyncGenerator[Any, None]


@dataclass(slots=True, eq=False)
class _Made:
    """What became of one event, which is held so that its identity means something; `done` tells when, if not at once.

    A result without errors is a text that everybody can be sent. One with errors is not: they name each client's own
    request.
    """

    event: object
    taken: int = 0
    text: str | None = None
    failed: ExecutionResult | None = None
    done: asyncio.Event | None = None

    @property
    def usable(self) -> bool:
        return self.text is not None or self.failed is not None


class _Shared:
    """An operation that clients of one scope run: how its events are executed, and what has been made of them."""

    def __init__(
        self,
        key: Hashable,
        held: tuple[Scope | None, str, str],
        executor: OnePassExecutor,
        context: OperationContext,
        subscriptions: Subscriptions,
    ) -> None:
        self.key = key
        self.held = held
        self.clients = 0
        self._executor = executor
        self._context = context
        self._subscriptions = subscriptions
        self._kept: OrderedDict[int, _Made] = OrderedDict()

    async def text(self, event: object, context: OperationContext) -> str:
        """The payload that an event becomes for the client of `context`; the first one that comes with it makes it."""
        self._subscriptions.figures.payloads += 1
        made = await self._made(event)
        if made.text is not None:
            return made.text
        return self._subscriptions.payload(cast("ExecutionResult", made.failed), context)

    async def _made(self, event: object) -> _Made:
        while True:
            found = self._kept.get(id(event))
            if found is None:
                return await self._make(event)
            if not found.usable and found.done is not None:
                await found.done.wait()
            if found.usable:
                found.taken += 1
                if found.taken >= self.clients:
                    self._kept.pop(id(event), None)
                return found

    async def _make(self, event: object) -> _Made:
        self._subscriptions.figures.executions += 1
        executor = self._executor.build_per_event_executor(event)
        executor.context_value = self._context.for_operation()
        made = self._kept[id(event)] = _Made(event, taken=1)
        try:
            result = execute_subscription_event(executor)
            if executor.is_awaitable(result):
                made.done = asyncio.Event()
                result = await self._in_time(cast("Awaitable[ExecutionResult]", result))
            finished = cast("ExecutionResult", result)
            if finished.errors:
                made.failed = finished
            else:
                made.text = self._subscriptions.payload(finished, self._context)
        finally:
            if made.done is not None:
                made.done.set()
            if not made.usable or self.clients == 1:
                self._kept.pop(id(event), None)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return made

    async def _in_time(self, result: Awaitable[ExecutionResult]) -> ExecutionResult:
        """A subscription lives as long as its client, but no event takes longer than a query may."""
        seconds = self._subscriptions.limits.graphql_seconds
        try:
            async with asyncio.timeout(seconds):
                return await result
        except TimeoutError:
            return _too_late("an event took", seconds)


class Subscription:
    """One client's: its payloads as JSON texts, or the errors with which it is refused."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        context: OperationContext,
        *,
        refused: Sequence[GraphQLError] = (),
        source: tuple[_Shared, Events] | None = None,
        report: Mapping[str, Any] | None = None,
    ) -> None:
        self.refused = presented(refused, context)
        self._subscriptions = subscriptions
        self._context = context
        self._source = source
        self._report = report

    async def payloads(self) -> AsyncGenerator[str, None]:
        """What to send, until the source ends; one that fails ends with a payload that says so."""
        if self._source is None:
            entries = {"errors": [error.formatted for error in self.refused]}
            yield self._subscriptions.encode({**entries, "extensions": self._report} if self._report else entries)
            return
        shared, events = self._source
        shared = self._subscriptions.enter(shared)
        try:
            async for event in events:
                text = await shared.text(event, self._context)
                yield self._reported(text)
        except Exception as error:  # noqa: BLE001 - presented, or masked, like every other
            wrapped = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
            yield self._subscriptions.payload(ExecutionResult(None, [wrapped]), self._context)
        finally:
            self._subscriptions.leave(shared)
            await events.aclose()

    def _reported(self, text: str) -> str:
        """The first payload tells what was asked about the operation, besides what everybody is sent."""
        report, self._report = self._report, None
        return f'{text[:-1]},"extensions":{self._subscriptions.encode(report)}}}' if report else text


class Subscriptions:
    """The subscriptions of one process."""

    def __init__(self, asking: Asking, *, encode: Encode, figures: SubscriptionFigures | None = None) -> None:
        self.figures = figures or SubscriptionFigures()
        self.limits = asking.limits
        self.encode = encode
        self._asking = asking
        self._shared: dict[Hashable, _Shared] = {}
        self._holding = Holding()

    @property
    def sharing(self) -> int:
        """How many different operations are followed now."""
        return len(self._shared)

    async def open(self, asked: Asked, context: OperationContext) -> Subscription | None:
        """A subscription on behalf of the caller of `context`; None when this is any other operation, or none."""
        if asked.operation is None or asked.operation.kind != "subscription":
            return None
        report = asked.report(self.limits)
        problems = self._asking.refusals(asked, context)
        if problems:
            return Subscription(self, context, refused=problems, report=report)
        declared = asked.operation.variables
        variables = {name: value for name, value in asked.variables.items() if name in declared}
        held = (context.scope, asked.text, _canonical(variables))
        own = context.for_operation()
        executor = OnePassExecutor.build(self._asking.schema, asked.known.document, None, own, variables, asked.name)
        if isinstance(executor, list):
            return Subscription(self, context, refused=executor)
        with self._holding.checked(*held):
            source: Any = create_source_event_stream(executor)
            if executor.is_awaitable(source):
                source = await self._opened(source)
        if isinstance(source, ExecutionResult):
            return Subscription(self, context, refused=source.errors or ())
        key = (*held, asked.name)
        shared = self._shared.get(key) or _Shared(key, held, cast("OnePassExecutor", executor), own, self)
        return Subscription(self, own, source=(shared, source), report=report)

    async def _opened(self, source: Awaitable[Any]) -> Any:
        """The events of a subscription, which may take no longer to open than a query."""
        try:
            async with asyncio.timeout(self.limits.graphql_seconds):
                return await source
        except TimeoutError:
            return _too_late("the subscription took", self.limits.graphql_seconds)

    def enter(self, shared: _Shared) -> _Shared:
        """One more client of what is shared under this key."""
        current = self._shared.setdefault(shared.key, shared)
        current.clients += 1
        self._holding.take(*current.held)
        return current

    def leave(self, shared: _Shared) -> None:
        """One client less."""
        shared.clients -= 1
        self._holding.release(*shared.held)
        if not shared.clients:
            del self._shared[shared.key]

    def payload(self, result: ExecutionResult, context: OperationContext) -> str:
        """A result as the JSON text that leaves the server."""
        entries: dict[str, Any] = {"data": result.data}
        if result.errors:
            entries["errors"] = [error.formatted for error in presented(result.errors, context)]
        return self.encode(entries)


def _too_late(what: str, seconds: float) -> ExecutionResult:
    late = DeadlineExceeded(f"{what} longer than {seconds:g} s and was ended")
    return ExecutionResult(None, [GraphQLError(late.message, original_error=late)])


def presented(errors: Sequence[GraphQLError], context: OperationContext) -> list[GraphQLError]:
    """Errors in the form that may leave the server."""
    return present_all(errors, context.request_id, hide_suggestions=context.scope is None)


def _canonical(variables: Mapping[str, Any]) -> str:
    """The same text for the same variables, in whatever order they came."""
    try:
        return orjson.dumps(variables, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # whole numbers beyond 64 bits
        return json.dumps(variables, separators=(",", ":"), sort_keys=True)
