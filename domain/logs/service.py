"""The log use-cases and what they need of the store: append, page, download, follow."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Protocol, cast

from domain import ids
from domain.access import KeyScope, Scope
from domain.clock import Clock
from domain.errors import BadUserInput, NotFound
from domain.events import EventBus, LiveHub, LogsAppended, RunChanged
from domain.live import SharedReads
from domain.logs.lines import LogDraft, LogLine
from domain.logs.progress import newest
from domain.logs.requests import LogLevel, LogsRequest, bounded
from domain.metrics import batch_id, read_cursor, write_cursor
from domain.metrics.batch import server_batch_id
from domain.paging import Page
from domain.runs import ENDED, RunStatus
from domain.storage import UNLIMITED, Storage
from domain.tail import Step, Tails

STREAM: Final = "logs"


@dataclass(frozen=True, slots=True)
class LinesStored:
    """Lines that are durable: how many, the number of the last one, and what became of the run.

    `started` tells that they started a pending run, or may have done so in an attempt whose answer was lost.
    """

    accepted: int
    last_seq: int
    stop_requested: bool
    started: bool = False


@dataclass(frozen=True, slots=True)
class LinesSince:
    """The next lines after some place, read in one snapshot; `head` is the newest number there is."""

    lines: list[LogLine]
    head: int
    status: RunStatus


@dataclass(frozen=True, slots=True)
class LogsAppendedResult:
    """Accepted lines: how many, the place after them, and whether the script should end itself."""

    accepted: int
    cursor: str
    stop_requested: bool


@dataclass(frozen=True, slots=True)
class LogDelta:
    """One message: new lines, the place after them, and the status of the run there."""

    cursor: str
    lines: list[LogLine]
    status: RunStatus


class LogStore(Protocol):
    """Keeps the lines of runs in the order of commits."""

    async def exists(self, scope: Scope, run_id: str) -> bool:
        """Whether the scope may see such a run."""
        ...

    async def append(self, scope: Scope, run_id: str, batch: str, draft: LogDraft, now: datetime) -> LinesStored:
        """Stores a batch whole or not at all; answers after the commit.

        The same batch id with the same lines answers the first result, with other lines it raises Conflict.
        Raises NotFound, and Conflict for an ended or archived run.
        """
        ...

    async def pages(self, scope: Scope, run_ids: list[str], request: LogsRequest) -> dict[str, Page[LogLine]]:
        """A page of lines, oldest first, for every run id."""
        ...

    async def before_last(self, scope: Scope, run_id: str, lines: int) -> int | None:
        """The place after which the newest so many lines lie; None for a run that is not there."""
        ...

    async def since(self, scope: Scope, run_id: str, seq: int) -> LinesSince | None:
        """The next lines after `seq`, bounded in number and size; None for a run that is not there."""
        ...

    def lines(self, scope: Scope, run_id: str, level: LogLevel | None) -> AsyncIterator[list[LogLine]]:
        """Every line, some at a time, up to the newest at the start. Memory stays flat."""
        ...


class Logs:
    """What may be done with logs. Every method authorises by the scope it is given."""

    def __init__(
        self, *, store: LogStore, clock: Clock, bus: EventBus, hub: LiveHub, storage: Storage = UNLIMITED
    ) -> None:
        self._store = store
        self._clock = clock
        self._bus = bus
        self._storage = storage
        self._tails: Tails[LogLine] = Tails(hub, LogsAppended, RunChanged)
        self._steps: SharedReads[Step[LogLine] | None] = SharedReads()

    async def append(
        self, scope: Scope, run_id: str, draft: LogDraft, *, batch: str | None = None
    ) -> LogsAppendedResult:
        """Stores lines and answers once they are durable.

        Raises NotFound, Conflict, BadUserInput, Unavailable (no room).
        """
        run_id = ids.parse("run", run_id, field="run_id")
        await scope.require_of(KeyScope.RUNS_WRITE, run_id, self._store.exists, field="run_id")
        name = server_batch_id() if batch is None else batch_id(batch)
        self._storage.take(draft.size_bytes)
        stored = await self._store.append(scope, run_id, name, draft, self._clock.now())
        if stored.started:
            self._bus.publish(RunChanged(run_id))
        self._bus.publish(LogsAppended(run_id, stored.last_seq))
        return LogsAppendedResult(stored.accepted, write_cursor(STREAM, run_id, stored.last_seq), stored.stop_requested)

    async def pages(self, scope: Scope, run_ids: list[str], request: LogsRequest) -> dict[str, Page[LogLine]]:
        """A page of lines, oldest first, for every run id. Raises BadUserInput for a foreign cursor."""
        scope.carry(KeyScope.RUNS_READ)
        return await self._store.pages(scope, run_ids, request)

    async def page(self, scope: Scope, run_id: str, request: LogsRequest) -> Page[LogLine]:
        """A page of one run's lines. Raises NotFound, BadUserInput."""
        run_id = await self._visible(scope, run_id, field="id")
        return (await self._store.pages(scope, [run_id], request))[run_id]

    async def lines(self, scope: Scope, run_id: str, level: LogLevel | None = None) -> AsyncIterator[list[LogLine]]:
        """Every line in order, some at a time. Raises NotFound before it begins."""
        run_id = await self._visible(scope, run_id, field="id")
        return self._store.lines(scope, run_id, level)

    async def follow(
        self, scope: Scope, run_id: str, *, after: str | None = None, tail: int | None = None
    ) -> AsyncGenerator[LogDelta, None]:
        """The live log of a run: what lies behind `after` first, or the newest `tail` lines, then new ones, until the
        run has ended.

        Raises NotFound, or BadUserInput for a cursor of another run, before it begins.
        """
        run_id = ids.parse("run", run_id, field="run_id")
        scope.require(KeyScope.RUNS_READ, run_id, field="run_id")  # before anybody's reads are shared
        if bounded(tail, "tail") is None:
            return self._follow(scope, run_id, read_cursor(STREAM, run_id, after))
        if after is not None:
            raise BadUserInput(
                "tail begins at the end of the log and after at a cursor: give one of them", field="tail"
            )
        begin = await self._store.before_last(scope, run_id, cast("int", tail))
        if begin is None:
            raise NotFound("there is no such run", field="run_id")
        return self._follow(scope, run_id, begin)

    async def _follow(self, scope: Scope, run_id: str, seq: int) -> AsyncGenerator[LogDelta, None]:
        async def read(place: int, until: int | None) -> Step[LogLine] | None:
            async def fetch() -> Step[LogLine] | None:
                found = await self._store.since(scope, run_id, place)
                return None if found is None else _stepped(found, place, until)

            return await self._steps.read((scope.workspace_id, run_id, place, until), fetch)

        told: RunStatus | None = None
        async with self._tails.follower(scope.workspace_id, run_id, seq, read) as follower:
            while (step := await follower.next()) is not None:
                delta = step.once(None, partial(_told, run_id, step))
                if delta.lines or delta.status != told:
                    told = delta.status
                    yield delta

    async def _visible(self, scope: Scope, run_id: str, *, field: str) -> str:
        scope.carry(KeyScope.RUNS_READ)
        run_id = ids.parse("run", run_id, field=field)
        if not await self._store.exists(scope, run_id):
            raise NotFound("there is no such run", field=field)
        return run_id


def _stepped(found: LinesSince, seq: int, until: int | None) -> Step[LogLine]:
    """What the store answered after `seq`, up to `until`, as a step of the run's tail."""
    lines = tuple(line for line in found.lines if until is None or line.seq <= until)
    if until is not None and len(lines) < len(found.lines):
        seq = until  # whatever else was there is gone
    elif lines:
        seq = lines[-1].seq
    return Step(lines, seq, found.head, found.status, found.status in ENDED, len(lines))


def _told(run_id: str, step: Step[LogLine]) -> LogDelta:
    status = cast("RunStatus", step.state)  # as `_stepped` made it
    if step.over and not step.complete:
        status = RunStatus.RUNNING  # the end is told with what comes last before it
    return LogDelta(write_cursor(STREAM, run_id, step.seq), newest(step.pieces), status)
