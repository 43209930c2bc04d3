"""The long-lived connections of this process, so that they can be told to end: at shutdown, or with a session.

One that was opened with rights that have changed ends too: whoever is still welcome comes back with those of now.

Streams do not poll for a shutdown: they are registered here and are closed, or wait on `stopping`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from domain.access import Principal, Scope
from domain.errors import DomainError
from server.logs import get_logger

log = get_logger("axonml.connections")

SERVICE_RESTART: Final = 1012
FORBIDDEN: Final = 4403
WATCH_SECONDS: Final = 0.5

T = TypeVar("T")
Ended = Callable[[Iterable[Scope]], Awaitable[Iterable[Scope]]]
Close = Callable[[int, str], Awaitable[None]]


class Held(Protocol):
    """What may be held as long as a scope holds. `scope` is None while there is none to ask about."""

    @property
    def scope(self) -> Scope | None:
        """By whose rights it is held."""

    @property
    def close(self) -> Close:
        """Ends it."""


@dataclass(slots=True, eq=False)
class LiveConnection:
    """One open WebSocket or stream. `scope` is None until it has authenticated."""

    close: Close
    scope: Scope | None = None


class LiveConnections:
    """Registry of open WebSockets and streams, and the event that ends every stream."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._open: set[LiveConnection] = set()
        self._remembered: set[Held] = set()

    @property
    def open_count(self) -> int:
        """How many WebSockets and streams are open."""
        return len(self._open)

    @asynccontextmanager
    async def opened(self, close: Close, scope: Scope | None = None) -> AsyncIterator[LiveConnection]:
        """Registers a WebSocket for as long as the block runs."""
        connection = LiveConnection(close, scope)
        self._open.add(connection)
        try:
            yield connection
        finally:
            self._open.discard(connection)

    def remember(self, held: Held) -> None:
        """Has something ended with its scope as a connection would be, that is none: a shutdown leaves it alone."""
        self._remembered.add(held)

    def forget(self, held: Held) -> None:
        """Undoes `remember`."""
        self._remembered.discard(held)

    async def stop(self) -> None:
        """Ends every stream: WebSockets are closed with 1012, on which clients reconnect."""
        self.stopping.set()
        await self._close(list(self._open), SERVICE_RESTART, "the server is restarting")

    async def end_session(self, session_id: str) -> None:
        """Closes the WebSockets and streams that a session opened."""
        await self._end_of(lambda principal: principal.session_id == session_id)

    async def end_api_key(self, api_key_id: str) -> None:
        """Closes the WebSockets and streams that an API key opened."""
        await self._end_of(lambda principal: principal.api_key_id == api_key_id)

    async def watch(self, ended: Ended) -> None:
        """Runs for ever: closes what was opened by scopes that no longer hold, whichever process ended that."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            held = {one.scope for one in (*self._open, *self._remembered) if one.scope is not None}
            if not held:
                continue
            try:
                gone = set(await ended(held))
            except DomainError as problem:  # the database is away; the next round asks again
                log.warning("could not check the sessions of open sockets", reason=problem.message)
                continue
            if gone:
                await self._end(gone.__contains__)

    async def _end_of(self, chosen: Callable[[Principal], bool]) -> None:
        await self._end(lambda scope: chosen(scope.principal))

    async def _end(self, chosen: Callable[[Scope], bool]) -> None:
        held = (*self._open, *self._remembered)
        ended = [one for one in held if one.scope is not None and chosen(one.scope)]
        await self._close(ended, FORBIDDEN, "the session has ended, or its rights have changed")

    async def _close(self, connections: Iterable[Held], code: int, reason: str) -> None:
        results = await asyncio.gather(*(one.close(code, reason) for one in connections), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                log.warning("closing a socket failed", exc_info=result)

    async def until_stopping(
        self, source: AsyncGenerator[T, None], scope: Scope | None = None
    ) -> AsyncGenerator[T, None]:
        """The items of `source` until it ends, the server stops, or `scope` no longer holds.

        `source` is closed in any case.
        """
        ended = asyncio.Event()

        async def close(_code: int, _reason: str) -> None:
            ended.set()

        ends = [asyncio.ensure_future(self.stopping.wait()), asyncio.ensure_future(ended.wait())]
        following: asyncio.Future[T] | None = None
        try:
            async with self.opened(close, scope):
                while True:
                    following = asyncio.ensure_future(anext(source))
                    await asyncio.wait({following, *ends}, return_when=asyncio.FIRST_COMPLETED)
                    if ended.is_set() or not following.done():
                        return
                    try:
                        item = following.result()
                    except StopAsyncIteration:
                        return
                    yield item
        finally:
            for end in ends:
                end.cancel()
            if following is not None and not following.done():
                following.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await following
            await source.aclose()
