"""The metrics use-cases: log, read, draw, export, follow."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from domain import ids
from domain.access import KeyScope, Scope
from domain.clock import Clock
from domain.errors import NotFound
from domain.events import EventBus, LiveHub, MetricsAppended, RunChanged
from domain.figures import LiveFigures
from domain.live import SharedReads
from domain.metrics.batch import MAX_KEYS, Column, Draft, batch_id, server_batch_id
from domain.metrics.cursor import read_cursor, write_cursor
from domain.metrics.follow import MetricDelta, Reset, State, follow, reset, stepped
from domain.metrics.ports import MetricKey, MetricsSince, MetricStore
from domain.metrics.requests import KeysRequest, MetricStream, SeriesRequest, SummariesRequest, asked_keys, picks
from domain.metrics.series import MetricSeries
from domain.metrics.summaries import MetricSummary
from domain.paging import Page
from domain.storage import UNLIMITED, Storage
from domain.tail import Step, Tails

STREAM = "metrics"


@dataclass(frozen=True, slots=True)
class MetricsLogged:
    """An accepted batch: how many points, the place after it, and whether the script should end itself."""

    accepted: int
    cursor: str
    stop_requested: bool


@dataclass(frozen=True, slots=True)
class MetricsRead:
    """Series of a run, and the place up to which they are complete."""

    series: list[MetricSeries]
    cursor: str


class Metrics:
    """What may be done with metrics. Every method authorises by the scope it is given."""

    def __init__(
        self, *, store: MetricStore, clock: Clock, bus: EventBus, hub: LiveHub, storage: Storage = UNLIMITED
    ) -> None:
        self._store = store
        self._clock = clock
        self._bus = bus
        self._storage = storage
        self.figures = LiveFigures()
        self._tails: Tails[MetricsSince] = Tails(hub, MetricsAppended, RunChanged)
        self._steps: SharedReads[Step[MetricsSince] | None] = SharedReads()
        self._resets: SharedReads[Reset] = SharedReads(self.figures)

    async def log(self, scope: Scope, run_id: str, draft: Draft, *, batch: str | None = None) -> MetricsLogged:
        """Stores a batch and answers once it is durable.

        Without a batch id the server makes one, so that its own retry after a lost commit stores nothing twice.
        Raises NotFound, Conflict (ended run; a batch id used with other content), BadUserInput, Unavailable (no room).
        """
        run_id = ids.parse("run", run_id, field="run_id")
        await scope.require_of(KeyScope.RUNS_WRITE, run_id, self._store.exists, field="run_id")
        name = server_batch_id() if batch is None else batch_id(batch)
        self._storage.take(draft.size_bytes)
        stored = await self._store.append(scope, run_id, name, draft, self._clock.now())
        if stored.started:
            self._bus.publish(RunChanged(run_id))
        if stored.accepted:
            self._bus.publish(MetricsAppended(run_id, stored.seq))
        return MetricsLogged(stored.accepted, write_cursor(STREAM, run_id, stored.seq), stored.stop_requested)

    async def summaries(
        self, scope: Scope, run_ids: list[str], request: SummariesRequest
    ) -> dict[str, list[MetricSummary]]:
        """Summaries in order of key, for every run id."""
        scope.carry(KeyScope.RUNS_READ)
        return await self._store.summaries(scope, run_ids, request)

    async def keys(self, scope: Scope, run_ids: list[str], request: KeysRequest) -> dict[str, Page[MetricKey]]:
        """A page of metric keys, for every run id."""
        scope.carry(KeyScope.RUNS_READ)
        return await self._store.keys(scope, run_ids, request)

    async def series(self, scope: Scope, run_ids: list[str], request: SeriesRequest) -> dict[str, list[MetricSeries]]:
        """Series in order of key, for every run id. Keys without points in the window are left out."""
        scope.carry(KeyScope.RUNS_READ)
        drawn = await self._store.series(scope, run_ids, request)
        return {run_id: found.series for run_id, found in drawn.items()}

    async def read(self, scope: Scope, run_id: str, request: SeriesRequest) -> MetricsRead:
        """Series of one run and the place where a live reader goes on. Raises NotFound."""
        scope.carry(KeyScope.RUNS_READ)
        run_id = ids.parse("run", run_id)
        await self._require(scope, run_id)
        drawn = (await self._store.series(scope, [run_id], request))[run_id]
        return MetricsRead(drawn.series, write_cursor(STREAM, run_id, drawn.seq))

    async def points(
        self,
        scope: Scope,
        run_id: str,
        keys: Sequence[str] | None = None,
        stream: MetricStream = MetricStream.METRICS,
    ) -> AsyncGenerator[list[Column], None]:
        """Every accepted point of the keys or the stream, each key's in the order accepted, piece by piece.

        Raises NotFound before it begins.
        """
        scope.carry(KeyScope.RUNS_READ)
        run_id = ids.parse("run", run_id)
        asked = asked_keys(keys)
        await self._require(scope, run_id)
        return _picked(self._store.points(scope, run_id, asked), picks(asked, stream))

    async def follow(
        self,
        scope: Scope,
        run_id: str,
        *,
        keys: Sequence[str] | None = None,
        after: str | None = None,
        points: int | None = None,
        stream: MetricStream = MetricStream.METRICS,
    ) -> AsyncGenerator[MetricDelta, None]:
        """The live stream of a run: what lies behind `after` first, then each change, until the run has ended.

        Raises NotFound, or BadUserInput for a cursor of another run or ahead of this one, before it begins.
        """
        run_id = ids.parse("run", run_id, field="run_id")
        scope.require(KeyScope.RUNS_READ, run_id, field="run_id")  # before anybody's reads are shared
        request = SeriesRequest.of(keys, points, stream=stream)
        seq = read_cursor(STREAM, run_id, after)

        async def read(place: int, until: int | None) -> Step[MetricsSince] | None:
            async def fetch() -> Step[MetricsSince] | None:
                self.figures.executions += 1
                found = await self._store.since(scope, run_id, place, until)
                return None if found is None else stepped(found)

            return await self._steps.read((scope.workspace_id, run_id, place, until), fetch)

        async def draw(state: State) -> Reset:
            async def fetch() -> Reset:
                wanted = replace(request, first=MAX_KEYS)
                return reset(run_id, (await self._store.series(scope, [run_id], wanted))[run_id], state)

            return await self._resets.read((scope.workspace_id, run_id, request, state), fetch)

        return follow(self._tails, scope.workspace_id, run_id, request, seq, read=read, draw=draw, figures=self.figures)

    async def _require(self, scope: Scope, run_id: str) -> None:
        if not await self._store.exists(scope, run_id):
            raise NotFound("there is no such run", field="id")


async def _picked(
    pieces: AsyncIterator[list[Column]], picked: Callable[[str], bool]
) -> AsyncGenerator[list[Column], None]:
    async with aclosing(cast("AsyncGenerator[list[Column], None]", pieces)):
        async for columns in pieces:
            if kept := [column for column in columns if picked(column.key)]:
                yield kept
