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
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from graphql import ExecutionResult, GraphQLError
from graphql.execution import create_source_event_stream, execute_subscription_event

from server.figures import SubscriptionFigures
from server.graphql.errors import present_all
from server.graphql.executor import OnePassExecutor
from server.graphql.extensions import OperationContext, read, refusals

if TYPE_CHECKING:
    import strawberry

    from server.edge.rates import Rates
    from server.graphql.documents import Documents
    from server.settings import LimitsSettings

MOST_TEXTS: Final = 4
"""Encoded events that are kept, per operation, for clients that have not taken them yet."""

Encode = Callable[[object], str]
Events = AsyncGenerator[Any, None]


@dataclass(slots=True, eq=False)
class _Text:
    """What became of one event, which is held so that its identity means something; `made` tells that it is done."""

    event: object
    taken: int = 0
    text: str | None = None
    made: asyncio.Event | None = None


class _Shared:
    """An operation that clients of one scope run: how its events are executed, and the texts that have been made."""

    def __init__(
        self, key: Hashable, executor: OnePassExecutor, context: OperationContext, subscriptions: Subscriptions
    ) -> None:
        self.key = key
        self.clients = 0
        self._executor = executor
        self._context = context
        self._subscriptions = subscriptions
        self._texts: OrderedDict[int, _Text] = OrderedDict()

    async def text(self, event: object) -> str:
        """The payload that an event becomes, made by the first client that comes with it."""
        self._subscriptions.figures.payloads += 1
        while True:
            found = self._texts.get(id(event))
            if found is None:
                return await self._make(event)
            if found.text is None and found.made is not None:
                await found.made.wait()
            if found.text is not None:
                found.taken += 1
                if found.taken >= self.clients:
                    self._texts.pop(id(event), None)
                return found.text

    async def _make(self, event: object) -> str:
        self._subscriptions.figures.executions += 1
        executor = self._executor.build_per_event_executor(event)
        executor.context_value = self._context.for_operation()
        entry = self._texts[id(event)] = _Text(event, taken=1)
        try:
            result = execute_subscription_event(executor)
            if executor.is_awaitable(result):
                entry.made = asyncio.Event()
                result = await cast("Awaitable[ExecutionResult]", result)
            entry.text = self._subscriptions.payload(cast("ExecutionResult", result), self._context)
        finally:
            if entry.made is not None:
                entry.made.set()
            if entry.text is None or self.clients == 1:
                self._texts.pop(id(event), None)
            while len(self._texts) > MOST_TEXTS:
                self._texts.popitem(last=False)
        return entry.text


class Subscription:
    """One client's: its payloads as JSON texts, or the errors with which it is refused."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        context: OperationContext,
        *,
        refused: Sequence[GraphQLError] = (),
        source: tuple[_Shared, Events] | None = None,
    ) -> None:
        self.refused = presented(refused, context)
        self._subscriptions = subscriptions
        self._context = context
        self._source = source

    async def payloads(self) -> AsyncGenerator[str, None]:
        """What to send, until the source ends; one that fails ends with a payload that says so."""
        if self._source is None:
            yield self._subscriptions.encode({"errors": [error.formatted for error in self.refused]})
            return
        shared, events = self._source
        shared = self._subscriptions.enter(shared)
        try:
            async for event in events:
                yield await shared.text(event)
        except Exception as error:  # noqa: BLE001 - presented, or masked, like every other
            wrapped = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
            yield self._subscriptions.payload(ExecutionResult(None, [wrapped]), self._context)
        finally:
            self._subscriptions.leave(shared)
            await events.aclose()


class Subscriptions:
    """The subscriptions of one process."""

    def __init__(
        self,
        schema: strawberry.Schema,
        documents: Documents,
        limits: LimitsSettings,
        rates: Rates,
        *,
        encode: Encode,
        figures: SubscriptionFigures | None = None,
    ) -> None:
        self.figures = figures or SubscriptionFigures()
        self._schema = schema._schema  # noqa: SLF001 - Strawberry has no public name for it
        self._documents = documents
        self._limits = limits
        self._rates = rates
        self.encode = encode
        self._shared: dict[Hashable, _Shared] = {}

    @property
    def sharing(self) -> int:
        """How many different operations are followed now."""
        return len(self._shared)

    async def open(
        self, query: str | None, variables: Mapping[str, Any] | None, name: str | None, context: OperationContext
    ) -> Subscription | None:
        """A subscription on behalf of the caller of `context`; None when this is any other operation, or none."""
        if not query or "subscription" not in query:
            return None
        try:
            known = read(self._documents, self._schema, query, context.scope, self._rates)
        except GraphQLError:
            return None
        operation = known.operation(name)
        if operation is None or operation.kind != "subscription":
            return None
        given = dict(variables or {})
        problems = refusals(known, name, given, context, limits=self._limits, rates=self._rates)
        if problems:
            return Subscription(self, context, refused=problems)
        own = context.for_operation()
        executor = OnePassExecutor.build(self._schema, known.document, None, own, given, name)
        if isinstance(executor, list):
            return Subscription(self, context, refused=executor)
        source: Any = create_source_event_stream(executor)
        if executor.is_awaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            return Subscription(self, context, refused=source.errors or ())
        key = (query, name, _canonical(given), context.scope)
        shared = self._shared.get(key) or _Shared(key, cast("OnePassExecutor", executor), own, self)
        return Subscription(self, own, source=(shared, source))

    def enter(self, shared: _Shared) -> _Shared:
        """One more client of what is shared under this key."""
        current = self._shared.setdefault(shared.key, shared)
        current.clients += 1
        return current

    def leave(self, shared: _Shared) -> None:
        """One client less."""
        shared.clients -= 1
        if not shared.clients:
            del self._shared[shared.key]

    def payload(self, result: ExecutionResult, context: OperationContext) -> str:
        """A result as the JSON text that leaves the server."""
        entries: dict[str, Any] = {"data": result.data}
        if result.errors:
            entries["errors"] = [error.formatted for error in presented(result.errors, context)]
        return self.encode(entries)


def presented(errors: Sequence[GraphQLError], context: OperationContext) -> list[GraphQLError]:
    """Errors in the form that may leave the server."""
    return present_all(errors, context.request_id, hide_suggestions=context.scope is None)


def _canonical(variables: Mapping[str, Any]) -> str:
    """The same text for the same variables, in whatever order they came."""
    try:
        return orjson.dumps(variables, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # whole numbers beyond 64 bits
        return json.dumps(variables, separators=(",", ":"), sort_keys=True)
