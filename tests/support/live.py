"""A server process as far as live data goes: a bus and a hub of its own, and the use-cases that talk through them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broadcaster import BroadcastBackend

from domain.access import Scope
from domain.logs import Logs
from domain.metrics import Metrics
from domain.runs import Runs
from persistence.bus import BroadcastBus
from persistence.database import Database
from persistence.experiments import PostgresExperiments
from persistence.listener import ListenBackend
from persistence.live import Hub
from persistence.logs import PostgresLogs
from persistence.metrics import PostgresMetrics
from persistence.redis_bus import RedisBus
from persistence.runs import PostgresRuns
from server.supervision import Supervisor
from tests.support.tracking import STALLED_AFTER, SetClock, Tracking


class Process:
    """One process on a database that it may share with others."""

    def __init__(self, database: Database, backend: BroadcastBackend, *, beat_seconds: float) -> None:
        self.database = database
        self.clock = SetClock()
        self.backend = backend
        self.bus = BroadcastBus(self.backend)
        self.hub = Hub(self.bus, beat_seconds=beat_seconds)
        self.metric_rows = PostgresMetrics(database)
        self.metrics = Metrics(store=self.metric_rows, clock=self.clock, bus=self.bus, hub=self.hub)
        self.logs = Logs(store=PostgresLogs(database), clock=self.clock, bus=self.bus, hub=self.hub)
        self.runs = Runs(
            runs=PostgresRuns(database),
            experiments=PostgresExperiments(database),
            bus=self.bus,
            hub=self.hub,
            clock=self.clock,
            stalled_after=STALLED_AFTER,
        )

    async def scope(self, slug: str = "default") -> Scope:
        """A user in a workspace."""
        return await Tracking(self.database).scope(f"{slug}@example.org", slug)


@asynccontextmanager
async def process(
    database: Database,
    url: str,
    *,
    beat_seconds: float = 600,
    quiet_seconds: float = 600,
    supervised: bool = True,
    redis: bool = False,
) -> AsyncIterator[Process]:
    """A running process whose bus is at `url`. The slow beat is out of the way unless a test asks for it."""
    backend = (
        RedisBus(url, quiet_seconds=quiet_seconds, reply_seconds=2)
        if redis
        else ListenBackend(url, database, quiet_seconds=quiet_seconds, reply_seconds=2)
    )
    running = Process(database, backend, beat_seconds=beat_seconds)
    async with Supervisor() as supervisor, running.hub:
        supervisor.keep("metrics: write", running.metric_rows.writer.run)
        if supervised:
            supervisor.keep("bus: receive", running.bus.receive)
            supervisor.keep("bus: send", running.bus.send)
            supervisor.keep("live: beat", running.hub.beat)
        yield running
