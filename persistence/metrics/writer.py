"""The writer of metrics: one task per process that commits whatever waits in one transaction, then whatever came since.

A batch is answered after the commit that stored it. While a commit is under way the next group forms, so there is no
delay by design, and a busy server pays for one commit where it would have paid for hundreds. What waits is bounded in
batches and in points; whoever comes on top is told when to come back. One batch that cannot be stored never takes
others with it, and a caller that goes away disturbs nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from domain.access import Scope
from domain.errors import DomainError, Overloaded, Unavailable
from domain.metrics import Appended, Draft
from persistence.database import Database
from persistence.metrics.group import HEAVY_KEYS, HEAVY_POINTS, Answer, Arrival, Prepared, commit, prepare
from persistence.metrics.rows import off_loop

RETRY_PAUSES: Final = (0.05, 0.25)
GROUP_BATCHES: Final = 500
GROUP_POINTS: Final = 100_000
GROUP_KEYS: Final = 20_000
_LEAST_WAIT, _LONGEST_WAIT = 1, 30
_SMOOTHING: Final = 0.2


@dataclass(frozen=True, slots=True)
class QueueBounds:
    """How much may wait to be committed, what is being committed included."""

    batches: int = 1_000
    points: int = 1_000_000


@dataclass(slots=True, eq=False)
class _Waiting:
    """A batch and the caller who waits for its answer. It counts against the bounds until it was answered.

    `tried`: an attempt to store it was lost, and may have succeeded.
    """

    arrival: Arrival
    answer: asyncio.Future[Appended]
    counts: bool = True
    tried: bool = False


class MetricWriter:
    """Stores batches for as long as somebody runs it. Make one per process and give `run` to its supervisor."""

    def __init__(self, database: Database, bounds: QueueBounds | None = None) -> None:
        self._database = database
        self._bounds = bounds or QueueBounds()
        self._waiting: deque[_Waiting] = deque()
        self._filled = asyncio.Event()
        self._batches = 0
        self._points = 0
        self._stopped = False
        self._seconds_per_group = 0.0

    async def append(self, scope: Scope, run_id: str, batch_id: str, draft: Draft, now: datetime) -> Appended:
        """Stores a batch whole or not at all; answers after the commit, as `MetricStore.append`.

        After a lost commit the batch is stored again under its id, which keeps it once whatever had happened.
        Raises Overloaded when too much waits, Unavailable when the database is away or the writer has stopped.
        """
        self._reserve(draft.points)
        try:
            arrival = await off_loop(_is_heavy(draft), lambda: _arrival(scope, run_id, batch_id, draft, now))
        except BaseException:
            self._release(draft.points)
            raise
        answer: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(arrival, answer))
        self._filled.set()
        if self._stopped:
            self._abandon()
        return await answer

    async def run(self) -> None:
        """Commits group after group, for ever. When it is cancelled, whoever still waits gets Unavailable."""
        self._stopped = False
        group: list[_Waiting] = []
        try:
            while True:
                while self._waiting:
                    group = self._taken()
                    await self._store(group)
                    group = []
                self._filled.clear()
                await self._filled.wait()
        finally:
            # What was under way may have been committed: the same batch id asks again without storing it twice.
            self._stopped = True
            self._answer(group, [_stopped()] * len(group))
            self._abandon()

    def _reserve(self, points: int) -> None:
        """Raises Overloaded. An empty queue takes any batch, so that none is refused for ever."""
        full = self._batches >= self._bounds.batches or self._points + points > self._bounds.points
        if full and self._batches:
            raise Overloaded("too many metrics wait to be stored; try again", retry_after=self._wait())
        self._batches += 1
        self._points += points

    def _release(self, points: int) -> None:
        self._batches -= 1
        self._points -= points

    def _discount(self, waiting: _Waiting) -> None:
        if waiting.counts:
            waiting.counts = False
            self._release(waiting.arrival.draft.points)

    def _wait(self) -> int:
        """Seconds until what waits now should be stored."""
        groups = max(self._batches / GROUP_BATCHES, self._points / GROUP_POINTS) + 1
        return min(max(math.ceil(groups * self._seconds_per_group), _LEAST_WAIT), _LONGEST_WAIT)

    def _taken(self) -> list[_Waiting]:
        """The next group: what waits, within what one transaction should hold; at least one batch."""
        group: list[_Waiting] = []
        points = keys = 0
        while self._waiting and len(group) < GROUP_BATCHES:
            draft = self._waiting[0].arrival.draft
            points, keys = points + draft.points, keys + len(draft.columns)
            if group and (points > GROUP_POINTS or keys > GROUP_KEYS):
                break
            following = self._waiting.popleft()
            if following.answer.done():  # its caller has gone
                self._discount(following)
            else:
                group.append(following)
        return group

    async def _store(self, group: list[_Waiting]) -> None:
        """Commits a group; when it cannot be stored together, in parts, so that what is wrong stays alone."""
        if not group:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answers = await self._committed(group)
        except Exception as error:  # noqa: BLE001 - every caller gets it, and a defect is reported there
            parts = _parts(group, error)
            if len(parts) == 1:
                self._answer(group, [error] * len(group))
                return
            for part in parts:
                await self._store(part)
            return
        took = loop.time() - began
        self._seconds_per_group += _SMOOTHING * (took - self._seconds_per_group)
        self._answer(group, answers)

    async def _committed(self, group: Sequence[_Waiting]) -> list[Answer]:
        arrivals = [each.arrival for each in group]
        for pause in (*RETRY_PAUSES, None):
            try:
                return await commit(self._database, arrivals, again=any(each.tried for each in group))
            except Unavailable as error:
                for each in group:
                    each.tried = True
                if pause is None or _waited_for_a_lock(error):
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt answers or raises")

    def _answer(self, group: Sequence[_Waiting], answers: Sequence[Answer | Exception]) -> None:
        for each, answer in zip(group, answers, strict=True):
            self._discount(each)
            if each.answer.done():  # its caller has gone, or it was answered with its part of the group
                continue
            if isinstance(answer, Exception):
                each.answer.set_exception(_own(answer))
            else:
                each.answer.set_result(answer)

    def _abandon(self) -> None:
        waiting, self._waiting = list(self._waiting), deque()
        self._answer(waiting, [_stopped()] * len(waiting))


def _is_heavy(draft: Draft) -> bool:
    return draft.points > HEAVY_POINTS or len(draft.columns) > HEAVY_KEYS


def _arrival(scope: Scope, run_id: str, batch_id: str, draft: Draft, now: datetime) -> Arrival:
    """Everything about a batch that does not depend on what its run holds, so that it costs no time under locks."""
    prepared: Prepared | None = None
    if not any(column.ahead.any() for column in draft.columns):
        prepared = prepare(draft, None, now)
    return Arrival(scope, run_id, batch_id, draft, draft.digest(), now, prepared)


def _parts(group: list[_Waiting], error: Exception) -> list[list[_Waiting]]:
    """What to commit apart after a failure: nothing for one that concerns the whole database."""
    if _waited_for_a_lock(error):  # somebody holds one of the runs; its batches wait together, once
        by_run: dict[str, list[_Waiting]] = {}
        for each in group:
            by_run.setdefault(each.arrival.run_id, []).append(each)
        return list(by_run.values())
    return [group] if isinstance(error, DomainError) else [[each] for each in group]


def _waited_for_a_lock(error: Exception) -> bool:
    return isinstance(error.__cause__, asyncpg.LockNotAvailableError)


def _stopped() -> Unavailable:
    return Unavailable("the server is shutting down; send the batch again", retry_after=1)


def _own(error: Exception) -> Exception:
    """The error for one of several callers: an edge may write into it, and each raises it with a trace of its own."""
    if not isinstance(error, DomainError):
        return error
    own = type(error)(error.message, field=error.field, retry_after=error.retry_after)
    own.__cause__ = error.__cause__
    return own
