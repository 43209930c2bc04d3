"""The metrics use-cases: log, read, draw, export, follow."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from domain import ids
from domain.access import KeyScope, Scope
from domain.clock import Clock
from domain.errors import NotFound
from domain.events import EventBus, LiveHub, MetricsAppended, RunChanged
from domain.live import SharedReads
from domain.metrics.batch import Column, Draft, batch_id, server_batch_id
from domain.metrics.cursor import read_cursor, write_cursor
from domain.metrics.follow import MetricDelta, follow
from domain.metrics.ports import MetricKey, MetricsSince, MetricStore, RunSeries
from domain.metrics.requests import KeysRequest, SeriesRequest, SummariesRequest, asked_keys
from domain.metrics.series import MetricSeries
from domain.metrics.summaries import MetricSummary
from domain.paging import Page

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

    def __init__(self, *, store: MetricStore, clock: Clock, bus: EventBus, hub: LiveHub) -> None:
        self._store = store
        self._clock = clock
        self._bus = bus
        self._hub = hub
        self._deltas: SharedReads[MetricsSince | None] = SharedReads()
        self._drawings: SharedReads[dict[str, RunSeries]] = SharedReads()

    async def log(self, scope: Scope, run_id: str, draft: Draft, *, batch: str | None = None) -> MetricsLogged:
        """Stores a batch and answers once it is durable.

        Without a batch id the server makes one, so that its own retry after a lost commit stores nothing twice.
        Raises NotFound, Conflict (ended run; a batch id used with other content), BadUserInput.
        """
        scope.require(KeyScope.RUNS_WRITE)
        run_id = ids.parse("run", run_id, field="run_id")
        name = server_batch_id() if batch is None else batch_id(batch)
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
        scope.require(KeyScope.RUNS_READ)
        return await self._store.summaries(scope, run_ids, request)

    async def keys(self, scope: Scope, run_ids: list[str], request: KeysRequest) -> dict[str, Page[MetricKey]]:
        """A page of metric keys, for every run id."""
        scope.require(KeyScope.RUNS_READ)
        return await self._store.keys(scope, run_ids, request)

    async def series(self, scope: Scope, run_ids: list[str], request: SeriesRequest) -> dict[str, list[MetricSeries]]:
        """Series in order of key, for every run id. Keys without points in the window are left out."""
        scope.require(KeyScope.RUNS_READ)
        drawn = await self._store.series(scope, run_ids, request)
        return {run_id: found.series for run_id, found in drawn.items()}

    async def read(self, scope: Scope, run_id: str, request: SeriesRequest) -> MetricsRead:
        """Series of one run and the place where a live reader goes on. Raises NotFound."""
        scope.require(KeyScope.RUNS_READ)
        run_id = ids.parse("run", run_id)
        await self._require(scope, run_id)
        drawn = (await self._store.series(scope, [run_id], request))[run_id]
        return MetricsRead(drawn.series, write_cursor(STREAM, run_id, drawn.seq))

    async def points(self, scope: Scope, run_id: str, keys: Sequence[str] | None = None) -> AsyncIterator[list[Column]]:
        """Every accepted point, each key's in the order accepted, piece by piece. Raises NotFound before it begins."""
        scope.require(KeyScope.RUNS_READ)
        run_id = ids.parse("run", run_id)
        asked = asked_keys(keys)
        await self._require(scope, run_id)
        return self._store.points(scope, run_id, asked)

    async def follow(
        self,
        scope: Scope,
        run_id: str,
        *,
        keys: Sequence[str] | None = None,
        after: str | None = None,
        points: int | None = None,
    ) -> AsyncGenerator[MetricDelta, None]:
        """The live stream of a run: what lies behind `after` first, then each change, until the run has ended.

        Raises NotFound, or BadUserInput for a cursor of another run or ahead of this one, before it begins.
        """
        scope.require(KeyScope.RUNS_READ)
        run_id = ids.parse("run", run_id, field="run_id")
        request = SeriesRequest.of(keys, points)
        seq = read_cursor(STREAM, run_id, after)

        async def since(place: int) -> MetricsSince | None:
            key = (scope.workspace_id, run_id, place)
            return await self._deltas.read(key, lambda: self._store.since(scope, run_id, place))

        async def draw(wanted: SeriesRequest) -> RunSeries:
            key = (scope.workspace_id, run_id, wanted)
            return (await self._drawings.read(key, lambda: self._store.series(scope, [run_id], wanted)))[run_id]

        return follow(self._hub, run_id, request, seq, since=since, draw=draw)

    async def _require(self, scope: Scope, run_id: str) -> None:
        if not await self._store.exists(scope, run_id):
            raise NotFound("there is no such run", field="id")
