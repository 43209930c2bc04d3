"""What tests of experiments and runs share: a clock to set, a bus that remembers, a hub to wake, and scopes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from domain import ids
from domain.access import KeyScope, Principal, Scope, UserRole
from domain.events import Event
from domain.experiments import Experiments
from domain.runs import Runs
from persistence.database import Database
from persistence.experiments import PostgresExperiments
from persistence.metrics import PostgresMetrics
from persistence.metrics.writer import QueueBounds
from persistence.runs import PostgresRuns
from tests.support.access import EDITOR

START = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
STALLED_AFTER = timedelta(minutes=5)


class SetClock:
    """Tells the time it was set to."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def forward(self, **of: float) -> datetime:
        self.at += timedelta(**of)
        return self.at


class RecordingBus:
    """Keeps what was published, in order, and hands it on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.listeners: list[Callable[[Event | None], None]] = []

    def publish(self, event: Event) -> None:
        self.events.append(event)
        for receive in list(self.listeners):
            receive(event)

    def listen(self, receive: Callable[[Event | None], None]) -> Callable[[], None]:
        self.listeners.append(receive)
        return lambda: self.listeners.remove(receive)

    def taken(self) -> list[Event]:
        """What was published since the last call."""
        events, self.events = self.events, []
        return events


class _Flag:
    def __init__(self) -> None:
        self.raised = asyncio.Event()
        self.going = True

    readers = 1

    async def changed(self) -> bool:
        await self.raised.wait()
        self.raised.clear()
        return self.going


class _WideFlag(_Flag):
    def __init__(self) -> None:
        super().__init__()
        self.noted: set[str] = set()
        self.others = False

    def notice(self, event: Event | None) -> None:
        if event is None:
            self.others = True
        else:
            self.noted.add(event.run_id)
        self.raised.set()

    def take(self) -> tuple[frozenset[str], bool]:
        taken = frozenset(self.noted), self.others
        self.noted, self.others = set(), False
        return taken


class BusHub:
    """A hub right on a bus: every event of a run wakes its watchers."""

    def __init__(self, bus: RecordingBus) -> None:
        self.bus = bus
        self.flags: list[_Flag] = []

    @asynccontextmanager
    async def watch(self, run_id: str, *kinds: type[Event]) -> AsyncIterator[_Flag]:
        flag = _Flag()

        def receive(event: Event | None) -> None:
            if event is None or (event.run_id == run_id and (not kinds or isinstance(event, kinds))):
                flag.raised.set()

        self.flags.append(flag)
        stop = self.bus.listen(receive)
        try:
            yield flag
        finally:
            stop()
            self.flags.remove(flag)

    @asynccontextmanager
    async def watch_all(self, *kinds: type[Event]) -> AsyncIterator[_WideFlag]:
        flag = _WideFlag()

        def receive(event: Event | None) -> None:
            if event is None or not kinds or isinstance(event, kinds):
                flag.notice(event)

        self.flags.append(flag)
        stop = self.bus.listen(receive)
        try:
            yield flag
        finally:
            stop()
            self.flags.remove(flag)

    def close(self) -> None:
        """As when the process stops."""
        for flag in self.flags:
            flag.going = False
            flag.raised.set()


class Tracking:
    """The use-cases on a real database, with time, events and scopes in the test's hand."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = SetClock()
        self.bus = RecordingBus()
        self.hub = BusHub(self.bus)
        self.repository = PostgresRuns(database)
        self.experiment_repository = PostgresExperiments(database)
        self.experiments = Experiments(experiments=self.experiment_repository, clock=self.clock)
        self.runs = Runs(
            runs=self.repository,
            experiments=self.experiment_repository,
            bus=self.bus,
            hub=self.hub,
            clock=self.clock,
            stalled_after=STALLED_AFTER,
        )

    async def scope(self, email: str = "ada@example.org", slug: str = "default") -> Scope:
        """A user in a workspace, both made when missing."""
        workspace = await self.database.fetchval(
            "INSERT INTO workspaces (id, slug, name, created_at) VALUES ($1, $2, $2, $3)"
            " ON CONFLICT (slug) DO UPDATE SET name = EXCLUDED.name RETURNING id",
            ids.to_uuid(ids.new("wsp")),
            slug,
            START,
        )
        user = await self.database.fetchval(
            "INSERT INTO users (id, email, name, role, default_workspace_id, created_at)"
            " VALUES ($1, $2, $2, 'user', $3, $4)"
            " ON CONFLICT (email) DO UPDATE SET name = EXCLUDED.name RETURNING id",
            ids.to_uuid(ids.new("usr")),
            email,
            workspace,
            START,
        )
        return Scope(
            ids.from_uuid("wsp", workspace),
            Principal(ids.from_uuid("usr", user), email, UserRole.USER, "ses_" + "0" * 32),
            EDITOR,
        )

    async def metric(self, run_id: str, key: str, value: float) -> None:
        """A summary as the metric store keeps it."""
        await self.database.execute(
            "INSERT INTO metric_summaries (run_id, key, last_value, last_step, count, non_finite)"
            " VALUES ($1, $2, $3, 0, 1, 0)",
            ids.to_uuid(run_id),
            key,
            value,
        )


@asynccontextmanager
async def written(database: Database, bounds: QueueBounds | None = None) -> AsyncIterator[PostgresMetrics]:
    """The metric store, its writer running."""
    store = PostgresMetrics(database, bounds)
    writing = asyncio.create_task(store.writer.run())
    try:
        yield store
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


def with_key(scope: Scope, *allowed: KeyScope) -> Scope:
    """The same caller through an API key that carries only these scopes."""
    held = scope.principal
    principal = Principal(held.user_id, held.email, held.role, None, ids.new("key"), frozenset(allowed))
    return Scope(scope.workspace_id, principal, scope.access)
