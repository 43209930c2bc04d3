"""The live edge of a run's sequence, read once for all who follow it.

A follower is a place in the sequence. Nothing is queued for it: what it is told is whatever lies between its place and
the edge when it asks, so a slow one gets fewer, larger steps. Those who stand at the same place are told with the same
object, which lets everything made from it be made once.

Nobody runs a tail. One follower at a time leads it: waits for the wake-up and reads for all. When that one leaves or is
busy sending, the next one that asks leads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final, Generic, TypeVar, cast

from domain.errors import BadUserInput, NotFound
from domain.events import Event, LiveHub, Watch
from domain.live import patiently

P = TypeVar("P")
V = TypeVar("V")

MOST_KEPT: Final = 5_000
"""Points or lines of recent steps that are kept for those who are a little behind; the newest step in any case."""
MOST_STEPS: Final = 64
_NOTHING: Final = object()
_NOT_YET: Final = object()


@dataclass(slots=True, eq=False)
class Step(Generic[P]):
    """What was read between two places: `pieces`, up to `seq`, while `head` was the newest place there was.

    `state` is the run's at that moment and `over` whether that is the end of it. `size` counts points or lines.
    """

    pieces: tuple[P, ...]
    seq: int
    head: int
    state: Hashable
    over: bool
    size: int = 0
    _made: dict[Hashable, object] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nothing came after it."""
        return self.seq == self.head

    @property
    def final(self) -> bool:
        """Whether nothing will come after it."""
        return self.over and self.complete

    def once(self, key: Hashable, make: Callable[[], V]) -> V:
        """What `make` makes of this step, made by the first who asks for `key`."""
        made = self._made.get(key, _NOTHING)
        if made is _NOTHING:
            made = self._made[key] = make()
        return cast("V", made)


Read = Callable[[int, int | None], Awaitable[Step[P] | None]]
"""Reads what lies after a place, at most up to another; None for a run that is not there."""


@dataclass(slots=True)
class _Turn:
    """One advance of the edge, and what went wrong with it."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None


class Tail(Generic[P]):
    """The newest steps of one run's sequence, one after the other. It begins where a follower found nothing more."""

    def __init__(self, watch: Watch) -> None:
        self.head: int | None = None
        self.state: Hashable = None
        self.over = False
        self.closed = False
        self._watch = watch
        self._steps: deque[tuple[int, Step[P]]] = deque()
        self._size = 0
        self._merged: dict[int, Step[P]] = {}
        self._due = False
        self._led = False
        self._turn = _Turn()
        self._asked = count(1)
        self._state_of = 0

    def ask(self) -> int:
        """The number of a read that is about to begin: what a later one says of the state prevails."""
        return next(self._asked)

    async def changed(self) -> bool:
        """Waits for the run's wake-up. Whoever takes it owes everybody a look."""
        going_on = await self._watch.changed()
        self._due = True
        return going_on

    def meet(self, step: Step[P], number: int) -> None:
        """Takes note of what a follower read on its own."""
        if step.complete and self.head is None:
            self.head = step.seq
        if step.complete and step.seq == self.head:
            self._note(step, number)

    def after(self, seq: int) -> Step[P] | None:
        """The step from `seq` to the edge; None when that is not known any more."""
        if seq == self.head:
            return Step((), seq, seq, self.state, self.over)
        step = self._merged.get(seq)
        if step is None:
            steps = [step for begin, step in self._steps if begin >= seq]
            if not steps or self._steps[-len(steps)][0] != seq:
                return None
            step = steps[0]
            if len(steps) > 1 or not step.complete or (step.state, step.over) != (self.state, self.over):
                pieces = tuple(piece for one in steps for piece in one.pieces)
                step = Step(pieces, steps[-1].seq, steps[-1].seq, self.state, self.over)
            self._merged[seq] = step
        return step

    async def advance(self, read: Read[P]) -> bool:
        """Waits until the edge has moved, or perhaps moved; False when there is nothing more to wait for."""
        turn = self._turn
        if self._led:
            await turn.over.wait()
        else:
            await self._lead(turn, read)
        if turn.error is not None:
            raise turn.error
        return not self.closed

    async def _lead(self, turn: _Turn, read: Read[P]) -> None:
        self._led = True
        try:
            if not self._due and not await self.changed():
                self.closed = True
                return
            head = cast("int", self.head)  # only a follower that has read up to it leads
            number, self._due = self.ask(), False
            try:
                step = await patiently(self, partial(read, head, None))
            except BaseException:
                self._due = True  # the next one looks again
                raise
            if step is None:
                self.closed = True
            else:
                self._take(head, step, number)
        except Exception as error:  # noqa: BLE001 - it is everybody's
            turn.error = error
        finally:
            self._led = False
            self._turn = _Turn()
            turn.over.set()

    def _take(self, head: int, step: Step[P], number: int) -> None:
        self._merged.clear()
        if step.seq > head:
            self._steps.append((head, step))
            self._size += step.size
            while len(self._steps) > 1 and (self._size > MOST_KEPT or len(self._steps) > MOST_STEPS):
                self._size -= self._steps.popleft()[1].size
            self.head = step.seq
        elif not step.complete:  # what follows cannot be told apart any more: begin anew behind it
            self._steps.clear()
            self._size = 0
            self.head = step.head
        if self.head == step.head:
            self._note(step, number)
        else:
            self._due = True

    def _note(self, step: Step[P], number: int) -> None:
        if number > self._state_of:
            self._state_of, self.state, self.over = number, step.state, step.over


class Follower(Generic[P]):
    """One reader's place. `seq` may be set forward when the reader learnt what lies before by other means."""

    def __init__(self, tail: Tail[P], seq: int, read: Read[P]) -> None:
        self.seq = seq
        self._tail = tail
        self._read = read
        self._told: object = _NOTHING
        self._ended = False

    async def changed(self) -> bool:
        """Waits for a wake-up of the run; False when the process is stopping."""
        return await self._tail.changed()

    async def next(self) -> Step[P] | None:
        """The next step, the first one at once; None after the end of the run, and when the process is stopping.

        Raises NotFound for a run that is not there, BadUserInput for a place ahead of the run. A database that goes
        away once the first step was told is waited for.
        """
        tail = self._tail
        while not self._ended:
            if self._told is _NOTHING or tail.head is None or self.seq < tail.head:
                step = None if self._told is _NOTHING or tail.head is None else tail.after(self.seq)
                step = step or await self._look()
                if step is None:
                    return None
            elif self.seq == tail.head and tail.state != self._told:
                step = Step((), self.seq, self.seq, tail.state, tail.over)
            elif self.seq == tail.head and tail.over:
                return None
            elif await tail.advance(self._read):
                continue
            else:
                return None
            self.seq, self._ended = step.seq, step.final
            self._told = _NOT_YET if step.over and not step.complete else step.state
            return step
        return None

    async def _look(self) -> Step[P] | None:
        """Reads on its own up to the edge, so that it stands there with all others afterwards."""
        tail, begun = self._tail, self._told is not _NOTHING
        until = tail.head if tail.head is not None and tail.head > self.seq else None
        number, read = tail.ask(), partial(self._read, self.seq, until)
        step = await (patiently(tail, read) if begun else read())
        if step is None:
            if not begun:
                raise NotFound("there is no such run", field="run_id")
            return None
        if self.seq > step.head:
            raise BadUserInput("the cursor lies ahead of the run", field="after")
        tail.meet(step, number)
        return step


@dataclass(slots=True, eq=False)
class _Followed(Generic[P]):
    tail: Tail[P]
    watch: Watch
    watching: AsyncExitStack
    followers: int = 0

    def count(self, more: int) -> None:
        self.followers += more
        self.watch.readers = self.followers


class Tails(Generic[P]):
    """The tails of all runs that somebody follows. Events of `kinds` move them."""

    def __init__(self, hub: LiveHub, *kinds: type[Event]) -> None:
        self._hub = hub
        self._kinds = kinds
        self._followed: dict[tuple[str, str], _Followed[P]] = {}

    @asynccontextmanager
    async def follower(self, workspace_id: str, run_id: str, seq: int, read: Read[P]) -> AsyncIterator[Follower[P]]:
        """A follower of a run that stands at `seq`."""
        key = (workspace_id, run_id)
        followed = self._followed.get(key)
        if followed is None or followed.tail.over or followed.tail.closed:  # it may have been resumed since
            watching = AsyncExitStack()
            watch = await watching.enter_async_context(self._hub.watch(run_id, *self._kinds))
            followed = self._followed[key] = _Followed(Tail(watch), watch, watching)
        followed.count(+1)
        try:
            yield Follower(followed.tail, seq, read)
        finally:
            followed.count(-1)
            if not followed.followers:
                if self._followed.get(key) is followed:
                    del self._followed[key]
                await followed.watching.aclose()
