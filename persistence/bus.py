"""The event bus between processes: Broadcaster on a PostgreSQL backend of our own.

Events reach this process's listeners at once; other processes get them by NOTIFY, merged and sent apart from every
transaction, because a NOTIFY inside one would make all commits wait for each other. Nothing here carries data, and
nothing may be published from inside a transaction. Whenever events may have been lost, listeners are given None.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from broadcaster import Broadcast, BroadcastBackend

from domain import ids
from domain.errors import BadUserInput, DomainError
from domain.events import Event, LogsAppended, MetricsAppended, RunChanged
from persistence.listener import CHANNEL, GAP

SEND_EVERY: Final = 0.03
MAX_NOTICE: Final = 7_900
MAX_PENDING: Final = 20_000
_LONGEST_PAUSE: Final = 5.0
_json: Final = json.JSONEncoder(separators=(",", ":"))

_KINDS: Final[dict[str, type[Event]]] = {"m": MetricsAppended, "l": LogsAppended, "r": RunChanged}
_LETTERS: Final = {kind: letter for letter, kind in _KINDS.items()}


class _Pending:
    """Events waiting to be sent: one per kind and run, with the highest sequence number.

    Too many at once become one word: look at everything.
    """

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], int] = {}
        self._overflown = False

    def __bool__(self) -> bool:
        return self._overflown or bool(self._events)

    def add(self, event: Event) -> None:
        self.put((_LETTERS[type(event)], event.run_id), 0 if isinstance(event, RunChanged) else event.seq)

    def put(self, key: tuple[str, str], seq: int) -> None:
        if self._overflown:
            return
        if key not in self._events and len(self._events) >= MAX_PENDING:
            self._events.clear()
            self._overflown = True
            return
        self._events[key] = max(self._events.get(key, 0), seq)

    def take(self, origin: str) -> tuple[str, list[tuple[tuple[str, str], int]]]:
        """The next notice, at most MAX_NOTICE bytes, and what it holds, to be put back if it cannot be sent."""
        if self._overflown:
            self._overflown = False
            return json.dumps({"from": origin, "gap": True}), [(("", ""), 0)]
        taken: list[tuple[tuple[str, str], int]] = []
        parts: list[str] = []
        size = len(origin) + 32
        for key, seq in self._events.items():
            part = _json.encode((*key, seq))
            size += len(part) + 1
            if size > MAX_NOTICE:
                break
            taken.append((key, seq))
            parts.append(part)
        for key, _ in taken:
            del self._events[key]
        return f'{{"from":"{origin}","events":[{",".join(parts)}]}}', taken

    def put_back(self, taken: list[tuple[tuple[str, str], int]]) -> None:
        for key, seq in taken:
            if key == ("", ""):
                self._events.clear()
                self._overflown = True
            else:
                self.put(key, seq)


class BroadcastBus:
    """`EventBus` of one process.

    `receive` and `send` are to be run by the process's supervisor, once each; either may be started again after it
    failed. A backend must never lose a notice without a GAP in its place.
    """

    def __init__(self, backend: BroadcastBackend, *, send_every: float = SEND_EVERY) -> None:
        self._backend = backend
        self._broadcast = Broadcast(backend=backend)
        self._send_every = send_every
        self._origin = secrets.token_hex(8)
        self._listeners: list[Callable[[Event | None], None]] = []
        self._pending = _Pending()
        self._waiting = asyncio.Event()
        self._subscribing = asyncio.Lock()

    def publish(self, event: Event) -> None:
        self._deliver(event)
        self._pending.add(event)
        self._waiting.set()

    def listen(self, receive: Callable[[Event | None], None]) -> Callable[[], None]:
        self._listeners.append(receive)

        def stop() -> None:
            with suppress(ValueError):
                self._listeners.remove(receive)

        return stop

    def _deliver(self, event: Event | None) -> None:
        for receive in tuple(self._listeners):
            receive(event)

    async def send(self) -> None:
        """Sends what is pending, at most one notice per tick. A lost database delays; it loses nothing."""
        pause = self._send_every
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            notice, taken = self._pending.take(self._origin)
            sent = False
            try:
                await self._broadcast.publish(CHANNEL, notice)
                sent = True
            except DomainError:
                pass  # the database is away: what it is about is kept and tried again
            finally:
                if not sent:
                    self._pending.put_back(taken)
                    self._waiting.set()  # also for the task that is started when this one dies
            pause = self._send_every if sent else min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause)
            if self._pending:
                self._waiting.set()

    async def receive(self) -> None:
        """Hands on what other processes send, for ever; raises when Broadcaster's own task has died.

        The only subscription of the process, made under a lock: Broadcaster loses subscribers that arrive together.
        """
        async with self._subscribing, self._connected(), self._broadcast.subscribe(CHANNEL) as notices:
            while True:
                notice = await self._next(notices)
                for event in _read(notice.message, self._origin):
                    self._deliver(event)

    async def _next(self, notices: Any) -> Any:
        """The next notice. Unlike Broadcaster's own wait, it ends when Broadcaster's listener has died."""
        coming = asyncio.ensure_future(notices.get())
        listening: asyncio.Task[None] = self._broadcast._listener_task  # noqa: SLF001 - there is no other way to see it
        try:
            await asyncio.wait((coming, listening), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                listening.result()
                raise RuntimeError("Broadcaster stopped listening")
            return coming.result()
        finally:
            coming.cancel()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        await self._broadcast.connect()
        try:
            yield
        finally:
            listening: asyncio.Task[None] = self._broadcast._listener_task  # noqa: SLF001 - as above
            listening.cancel()
            await asyncio.wait((listening,))
            # Not Broadcaster's disconnect: it raises what its listener died of, and then leaves the backend connected.
            await self._backend.disconnect()


def _read(message: str, origin: str) -> list[Event | None]:
    """The events of a notice from another process; what cannot be read counts as a gap."""
    if message == GAP:
        return [None]
    try:
        notice = json.loads(message)
        if notice["from"] == origin:
            return []
        if notice.get("gap"):
            return [None]
        return [_event(letter, run_id, seq) for letter, run_id, seq in notice["events"]]
    except (ValueError, KeyError, TypeError, AttributeError, BadUserInput):
        return [None]


def _event(letter: str, run_id: str, seq: int) -> Event:
    run_id = ids.parse("run", run_id)
    kind = _KINDS[letter]
    return RunChanged(run_id) if kind is RunChanged else kind(run_id, int(seq))  # type: ignore[call-arg]  # has a seq
