"""The composition root: the one place where adapters meet use-cases.

It opens the pool, builds every adapter, hands them to the use-cases and the use-cases to the application, and gives the
background work to the supervisor of the process. Nothing here decides anything.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from broadcaster import BroadcastBackend

from domain.audit import AuditLog, AuditSealer
from domain.clock import SystemClock
from domain.endpoints import EndpointOperator, EndpointRunner, Endpoints, PortRange, Predictor, Room
from domain.errors import Unavailable
from domain.experiments import Experiments
from domain.logs import LogBounds, Logs
from domain.metrics import Metrics
from domain.metrics.stream import RunStream
from domain.models.aliases import ModelAliases
from domain.models.comparison import VersionComparisons
from domain.models.tensors import Tensors
from domain.runs import PurgeSweeper, Runs
from domain.stats import Stats
from domain.storage import Storage
from domain.system import System
from persistence import migrate
from persistence.audit import PostgresAudit
from persistence.blobs import LocalBlobs
from persistence.bus import BroadcastBus
from persistence.database import Database, PoolSettings
from persistence.endpoints import PostgresEndpoints
from persistence.experiments import PostgresExperiments
from persistence.lease import SEALING, Lease
from persistence.listener import ListenBackend
from persistence.live import Hub
from persistence.logs import PostgresLogs
from persistence.metrics import PostgresMetrics, QueueBounds
from persistence.metrics.sealer import Sealer, SealRules
from persistence.models.aliases import PostgresAliases
from persistence.models.tensors import PostgresTensors
from persistence.reclaim import Reclaimer
from persistence.runs import PostgresRuns
from persistence.space import DiskGauge
from persistence.stats import SEALER, PostgresStats
from resolvers.context import Services
from server.app import Composed
from server.control import LocalControl
from server.dedicated import is_free
from server.edge.connections import LiveConnections
from server.figures import OwnFigures, RequestFigures, SubscriptionFigures
from server.host import LocalHost
from server.registry import COLLECT_EVERY, Registry
from server.rest.routes import ROUTES, SOCKETS
from server.security.opening import identity_opened
from server.security.webauthn import relying_party
from server.settings import Settings, SettingsError
from server.supervision import Supervisor
from server.workers.link import HostLink
from serving import devices
from serving.cores import available

BLOBS: Final = "blobs"
HOST_NAME: Final = "host"
# Of its 100, so that there is room for maintenance and for a second look.
BUNDLED_CONNECTIONS: Final = 90


@asynccontextmanager
async def compose(
    settings: Settings,
    dsn: str,
    control: LocalControl | HostLink,
    *,
    supervisor: Supervisor,
    connections: LiveConnections,
    version: str,
) -> AsyncIterator[Composed]:
    """Everything the application needs, for as long as the context is entered.

    `control` says whether this process owns the replicas, and with them the background work of the whole server, or
    is one of its web workers.

    Raises DatabaseUnusable, SettingsError when the event bus or passkeys cannot be set up, and SettingsError or
    RootSecretError when the root secret cannot be used.
    """
    data = settings.server.data_dir
    clock = SystemClock()
    async with Database(dsn, PoolSettings(max_size=pool_size(settings))) as database:
        bus = BroadcastBus(bus_backend(settings, dsn, database))
        async with (
            Hub(bus) as hub,
            identity_opened(
                database,
                settings.auth,
                data,
                clock,
                relying_party=relying_party(settings),
                origin=settings.server.origin,
                connections=connections,
                keep=supervisor.keep,
            ) as identity,
        ):
            experiment_rows, run_rows = PostgresExperiments(database), PostgresRuns(database)
            audit_rows = PostgresAudit(database)
            blobs = LocalBlobs(data / BLOBS, min_free_bytes=settings.storage.min_free_bytes)
            await blobs.open()
            endpoint_rows = PostgresEndpoints(database)
            metric_rows = PostgresMetrics(
                database, QueueBounds(settings.metrics.queue_batches, settings.metrics.queue_points)
            )
            bundled = data / "postgres" if settings.database.url is None else None
            storage = Storage(
                DiskGauge(database, files=data / BLOBS, postgres=bundled),
                min_free=settings.storage.min_free_bytes,
                processes=settings.server.workers,
            )
            await storage.measure()
            operator: EndpointOperator | None = None
            runner: EndpointRunner
            if isinstance(control, LocalControl):
                runner = operator = EndpointOperator(
                    hosting=endpoint_rows,
                    backend=control.serving,
                    blobs=blobs,
                    clock=clock,
                    host=host_name(data),
                    listeners=control.listeners,
                )
                await operator.restore()
            else:
                runner = control.endpoints
            runs = Runs(
                runs=run_rows,
                experiments=experiment_rows,
                bus=bus,
                hub=hub,
                clock=clock,
                stalled_after=timedelta(seconds=settings.metrics.stalled_after_seconds),
                storage=storage,
            )
            metrics = Metrics(store=metric_rows, clock=clock, bus=bus, hub=hub, storage=storage)
            rules = SealRules(
                live_after=timedelta(seconds=settings.metrics.seal_after_seconds),
                ended_after=timedelta(seconds=settings.metrics.seal_ended_after_seconds),
                every=timedelta(seconds=settings.metrics.seal_every_seconds),
                beyond=settings.metrics.seal_beyond_points,
            )
            registry = Registry.of(settings.storage, database, metric_rows, blobs=blobs, clock=clock, storage=storage)
            tensor_rows = PostgresTensors(database)
            services = Services(
                identity=identity,
                experiments=Experiments(experiments=experiment_rows, clock=clock, storage=storage),
                runs=runs,
                metrics=metrics,
                run_stream=RunStream(runs=runs, metrics=metrics, hub=hub),
                logs=Logs(
                    store=PostgresLogs(database, log_bounds(settings)), clock=clock, bus=bus, hub=hub, storage=storage
                ),
                models=registry.models,
                uploads=registry.uploads,
                model_files=registry.files,
                aliases=ModelAliases(
                    aliases=PostgresAliases(database), models=registry.models, clock=clock, storage=storage
                ),
                comparisons=VersionComparisons(models=registry.models, tensors=tensor_rows, runs=runs),
                tensors=Tensors(tensor_rows),
                endpoints=Endpoints(
                    endpoints=endpoint_rows,
                    models=registry.rows,
                    operator=runner,
                    predictor=Predictor(endpoints=endpoint_rows, operator=runner, backend=control.serving),
                    clock=clock,
                    cores=available(),
                    room=room(settings),
                    gpus=devices.available(),
                ),
                system=System(
                    # The bundled database may have been put on a disk of its own.
                    host=LocalHost(
                        {"data": data, "files": data / BLOBS, "database": data / "postgres"}, cores=available()
                    ),
                    clock=clock,
                ),
                stats=Stats(
                    store=PostgresStats(database, rules), processes=control.figures, clock=clock, version=version
                ),
                audit=AuditLog(audit_rows),
                version=version,
                features=("live", "registry", "serving"),
            )
            requests = RequestFigures()
            subscriptions = SubscriptionFigures()
            own = OwnFigures(
                requests=requests,
                ingest=lambda: metric_rows.writer.figures,
                live=metrics.figures,
                pool=database.figures,
                connections=connections,
                readers=hub,
                storage=storage,
                subscriptions=subscriptions,
            )
            control.observe(own)
            supervisor.keep("disk space", storage.watch)
            supervisor.keep("metrics: write", metric_rows.writer.run)
            supervisor.keep("bus: receive", bus.receive)
            supervisor.keep("bus: send", bus.send)
            supervisor.keep("live: beat", hub.beat)
            supervisor.keep("sessions", partial(connections.watch, identity.ended))
            if operator is not None:  # what one process of a server does for all of them
                sealer = Sealer(
                    database=database,
                    lease=Lease(dsn, SEALING, name=SEALER + operator.host),
                    clock=clock,
                    rules=rules,
                    storage=storage,
                )
                own.sealing = sealer.figures
                if bundled is not None:
                    supervisor.keep("dead rows", Reclaimer(dsn, storage).run)
                supervisor.keep("metrics: seal", sealer.run)
                supervisor.keep("audit log: chain", AuditSealer(audit_rows).run)
                supervisor.keep("endpoints", operator.run)
                for name, work in registry.background.items():
                    supervisor.keep(name, work)
                supervisor.keep("purge sweeper", PurgeSweeper(runs=services.runs, every=COLLECT_EVERY).run)
            yield Composed(
                services=services,
                ready=partial(_ready, database),
                routes=ROUTES,
                sockets=SOCKETS,
                requests=requests,
                subscriptions=subscriptions,
                operator=operator,
                storage=storage,
            )


def log_bounds(settings: Settings) -> LogBounds:
    """How much of each run's log is kept."""
    given = settings.metrics
    return LogBounds(given.run_log_lines, given.run_log_bytes, given.run_log_line_characters)


def room(settings: Settings) -> Room:
    """How many endpoints, and ports of their own, this server has room for."""
    given = settings.inference
    free = partial(is_free, settings.server.host)
    return Room(given.max_endpoints, PortRange(given.default_port_range_start, given.default_port_range_end, free))


def pool_size(settings: Settings) -> int:
    """Most database connections of this process. The bundled PostgreSQL is shared out among the processes."""
    if settings.database.url is not None or settings.server.workers == 1:
        return settings.database.pool_size
    # Every worker and the host, each with its pool and a connection that listens.
    return min(settings.database.pool_size, BUNDLED_CONNECTIONS // (settings.server.workers + 1) - 1)


def host_name(data: Path) -> str:
    """The name of this server among those on the same database; it stays with the data directory."""
    file = data / HOST_NAME
    if not file.exists():
        draft = file.with_suffix(".new")
        draft.write_text(f"{socket.gethostname()[:48]}-{secrets.token_hex(4)}\n")
        draft.replace(file)
    return file.read_text().strip()


def bus_backend(settings: Settings, dsn: str, database: Database) -> BroadcastBackend:
    """What carries events between processes. Raises SettingsError."""
    if settings.bus.url is None:
        return ListenBackend(dsn, database)
    from persistence.redis_bus import RedisBus  # only who uses Redis loads its client

    try:
        return RedisBus(settings.bus.url.get_secret_value())
    except ValueError as problem:
        raise SettingsError([f"bus.url: {problem}"]) from None


async def _ready(database: Database) -> None:
    if not await migrate.at_head(database):
        raise Unavailable("the database is not at this server's migrations")
