"""The writer of metrics: one task per process that commits whatever waits in one transaction, then whatever came since.

A batch is answered after the commit that stored it. While a commit is under way the next group forms, so there is no
delay by design, and a busy server pays for one commit where it would have paid for hundreds. What waits is bounded in
batches and in points; whoever comes on top is told when to come back. One batch that cannot be stored never takes
others with it, and a caller that goes away disturbs nobody.

The batches of a run that somebody else has locked are set aside: they wait for the lock in a transaction of their own,
in their order, while everybody else's go on.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import asyncpg

from domain.access import Scope
from domain.errors import DomainError, Overloaded, Unavailable
from domain.figures import IngestFigures
from domain.metrics import Appended, Draft
from persistence.database import Database
from persistence.metrics.group import HEAVY_KEYS, HEAVY_POINTS, commit, commit_known
from persistence.metrics.known import KnownRuns
from persistence.metrics.plan import Answer, Arrival, Prepared, prepare
from persistence.metrics.rows import off_loop
from persistence.run_writes import RunIsBusy

RETRY_PAUSES: Final = (0.05, 0.25)
GROUP_BATCHES: Final = 500
GROUP_POINTS: Final = 100_000
GROUP_KEYS: Final = 20_000
ASIDE_AT_ONCE: Final = 3
"""Runs that wait for a lock at the same time: each holds a connection of the pool."""

ASIDE_SHARE: Final = 4
"""What is set aside may fill one part in so many of the bounds."""

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
        self._known = KnownRuns()
        self._waiting: deque[_Waiting] = deque()
        self._aside: dict[str, deque[_Waiting]] = {}
        self._aside_slots = asyncio.Semaphore(ASIDE_AT_ONCE)
        self._filled = asyncio.Event()
        self._batches = 0
        self._points = 0
        self._stopped = False
        self._seconds_per_group = 0.0
        self._figures = IngestFigures()

    @property
    def figures(self) -> IngestFigures:
        """What was counted so far, and what waits now."""
        return replace(self._figures, queued_batches=self._batches, queued_points=self._points)

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
            async with asyncio.TaskGroup() as asides:
                while True:
                    while self._waiting:
                        group = self._taken()
                        for run_id in self._set_aside(await self._store(group)):
                            asides.create_task(self._store_aside(run_id))
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
            self._figures.refuse(Overloaded.code)
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
        """The next group: what waits, within what one transaction should hold; without the runs that are set aside."""
        group: list[_Waiting] = []
        points = keys = 0
        while self._waiting and len(group) < GROUP_BATCHES:
            arrival = self._waiting[0].arrival
            aside = self._aside.get(arrival.run_id)
            if aside is None:
                points, keys = points + arrival.draft.points, keys + len(arrival.draft.columns)
                if group and (points > GROUP_POINTS or keys > GROUP_KEYS):
                    break
            following = self._waiting.popleft()
            if following.answer.done():  # its caller has gone
                self._discount(following)
            elif aside is None:
                group.append(following)
            else:
                self._put_aside(aside, following)
        return group

    async def _store(self, group: list[_Waiting]) -> list[_Waiting]:
        """Commits a group in its order and answers it; what is left belongs to runs that somebody else has locked."""
        if not group:
            return []
        left = await self._store_known(group)
        return await self._store_any(left) if left else []

    async def _store_known(self, group: list[_Waiting]) -> list[_Waiting]:
        """Stores what needs no reading; what is left, because of an error too, is for `_store_any`."""
        if any(each.tried for each in group):
            return group
        began = time.perf_counter()
        try:
            answers = await commit_known(self._database, [each.arrival for each in group], self._known, self._figures)
        except Exception as error:  # noqa: BLE001 - a repeated id, or what is reported when it happens again
            for each in group:
                each.tried = True  # without an answer nobody knows
            if isinstance(error, Unavailable):
                self._known.clear()  # whoever answers next may be another server
            return group
        return self._answer_stored(group, answers, time.perf_counter() - began)

    async def _store_any(self, group: list[_Waiting], *, wait: bool = False) -> list[_Waiting]:
        """Stores a group; when it cannot be stored together, each batch alone, so that what is wrong stays alone."""
        began = time.perf_counter()
        try:
            answers = await self._committed(group, wait=wait)
        except Exception as error:  # noqa: BLE001 - every caller gets it, and a defect is reported there
            if len(group) == 1 or isinstance(error, DomainError):  # it concerns the whole database, or the one batch
                self._answer(group, [error] * len(group))
                return []
            busy: list[_Waiting] = []
            for each in group:
                locked = any(one.arrival.run_id == each.arrival.run_id for one in busy)  # what follows waits behind it
                busy += [each] if locked else await self._store_any([each], wait=wait)
            return busy
        took = time.perf_counter() - began
        return self._answer_stored(group, [None if isinstance(one, RunIsBusy) else one for one in answers], took)

    def _answer_stored(
        self, group: Sequence[_Waiting], answers: Sequence[Answer | None], took: float
    ) -> list[_Waiting]:
        """Answers what a commit that took so many seconds decided about; what has no answer is left."""
        decided = [(each, answer) for each, answer in zip(group, answers, strict=True) if answer is not None]
        if decided:
            self._seconds_per_group += _SMOOTHING * (took - self._seconds_per_group)
            self._figures.group_batches.add(len(decided))
            self._figures.commit_seconds.add(took)
            self._answer([each for each, _ in decided], [answer for _, answer in decided])
        return [each for each, answer in zip(group, answers, strict=True) if answer is None]

    async def _committed(self, group: Sequence[_Waiting], *, wait: bool) -> list[Answer]:
        arrivals = [each.arrival for each in group]
        for pause in (*RETRY_PAUSES, None):
            try:
                again = any(each.tried for each in group)
                return await commit(self._database, arrivals, self._known, self._figures, again=again, wait=wait)
            except Unavailable as error:
                for each in group:
                    each.tried = True
                if pause is None or isinstance(error.__cause__, asyncpg.LockNotAvailableError):
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt answers or raises")

    def _set_aside(self, busy: Sequence[_Waiting]) -> list[str]:
        """Sets batches aside; the runs for which nothing was before."""
        new = []
        for each in busy:
            run_id = each.arrival.run_id
            if run_id not in self._aside:
                self._aside[run_id] = deque()
                new.append(run_id)
            self._put_aside(self._aside[run_id], each)
        return new

    def _put_aside(self, aside: deque[_Waiting], waiting: _Waiting) -> None:
        """Keeps a batch until its run is free, unless too much is kept: the others need the room."""
        batches = sum(map(len, self._aside.values()))
        points = sum(each.arrival.draft.points for queue in self._aside.values() for each in queue)
        if batches * ASIDE_SHARE >= self._bounds.batches or points * ASIDE_SHARE >= self._bounds.points:
            refusal = Overloaded(
                "the run is being changed, and too much waits for it; try again", retry_after=_LEAST_WAIT
            )
            self._answer([waiting], [refusal])
        else:
            aside.append(waiting)

    async def _store_aside(self, run_id: str) -> None:
        """Stores what was set aside of a run, and whatever comes meanwhile, as soon as its lock is free."""
        aside = self._aside[run_id]
        group: list[_Waiting] = []
        try:
            async with self._aside_slots:
                while aside:
                    group = [aside.popleft() for _ in range(min(len(aside), GROUP_BATCHES))]
                    await self._store_any(group, wait=True)
                    group = []
        finally:
            del self._aside[run_id]
            self._answer([*group, *aside], [_stopped()] * (len(group) + len(aside)))

    def _answer(self, group: Sequence[_Waiting], answers: Sequence[Answer | Exception]) -> None:
        for each, answer in zip(group, answers, strict=True):
            self._discount(each)
            if each.answer.done():  # its caller has gone, or it was answered with its part of the group
                continue
            if isinstance(answer, Exception):
                self._figures.refuse(getattr(answer, "code", DomainError.code))
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
    if not draft.counts_on:
        prepared = prepare(draft, None, now)
    return Arrival(scope, run_id, batch_id, draft, draft.digest(), now, prepared)


def _stopped() -> Unavailable:
    return Unavailable("the server is shutting down; send the batch again", retry_after=1)


def _own(error: Exception) -> Exception:
    """The error for one of several callers: an edge may write into it, and each raises it with a trace of its own."""
    if not isinstance(error, DomainError):
        return error
    own = type(error)(error.message, field=error.field, retry_after=error.retry_after)
    own.__cause__ = error.__cause__
    return own
