"""The host process: holds the data directory, runs PostgreSQL, serves HTTP, and ends all of it in order.

Nothing here knows a noun. A start that fails says so in one line; a stop is bounded in every step, because whoever
asked for it is waiting.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from domain import audit
from domain.control import DatabaseKind
from domain.errors import DomainError
from server import lock, logs
from server.edge.connections import LiveConnections
from server.logs import get_logger
from server.settings import Settings
from server.supervision import Supervisor
from server.web_server import STREAMS_SECONDS, Server, bounded, keep_for_good, web_server, wind_down

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from server.app import Composed
    from server.dedicated import DedicatedPorts
    from server.workers.host import WorkerPool

log = get_logger("axonml.process")

POSTGRES_DIRECTORY: Final = "postgres"
RUN_DIRECTORY: Final = "run"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StartupError(Exception):
    """The server cannot start; the message is for the person who started it."""


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not yet listening. Raises StartupError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as problem:
        raise StartupError(f"cannot listen on {host}: {problem.strerror}") from None
    # asyncio switches Nagle's algorithm off only on sockets that say they are TCP.
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as problem:
        bound.close()
        if problem.errno == errno.EADDRINUSE:
            raise StartupError(
                f"port {port} on {host} is in use; stop what uses it, or pass another --port (0 takes a free one)"
            ) from None
        raise StartupError(f"cannot listen on {host}:{port}: {problem.strerror}") from None
    bound.set_inheritable(False)
    return bound


class Host:
    """One server: everything between the command line and the end of the process.

    `announce` prints the few lines for the person at the terminal.
    """

    def __init__(self, settings: Settings, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._announce = announce
        self._version = installed_version("axonml")
        self._stop = asyncio.Event()
        self._server: Server | None = None
        self._workers: WorkerPool | None = None
        self._workers_started = False
        self._drained = asyncio.Event()
        self._connections = LiveConnections()

    async def run(self) -> None:
        """Starts, serves until a signal comes, and stops. Raises StartupError."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            main = asyncio.create_task(self._serve(), name="host")
            stop = asyncio.create_task(self._stop.wait(), name="stop signal")
            await asyncio.wait({main, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not main.done():
                await self._wind_down(main)
            stop.cancel()
            await main
        except asyncio.CancelledError:
            log.info("stopped before it had started")
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _signalled(self, number: int) -> None:
        if self._stop.is_set():
            log.warning("second signal: ending at once", signal=signal.Signals(number).name)
            os._exit(128 + number)
        log.info("stopping", signal=signal.Signals(number).name)
        self._stop.set()

    async def _wind_down(self, main: asyncio.Task[None]) -> None:
        """Not ready, then streams, then requests; what comes after is in the order of `_serve`'s contexts."""
        self._connections.stopping.set()
        if self._workers is not None and self._workers_started:
            await self._workers.stop(STREAMS_SECONDS + 2 * self._settings.server.shutdown_seconds)
            self._drained.set()
        elif self._server is not None:
            await wind_down(self._server, self._connections)
        else:
            main.cancel()  # still starting

    async def _serve(self) -> None:
        settings = self._settings
        grace = settings.server.shutdown_seconds
        async with AsyncExitStack() as stack:
            try:
                data = lock.prepare(settings.server.data_dir)
                stack.enter_context(lock.held(data))
            except lock.DataDirectoryError as problem:
                raise StartupError(str(problem)) from None
            bound = bind(settings.server.host, settings.server.port)
            stack.callback(bound.close)
            # Port 0 is a wish; from here on the settings tell what it has become, which passkeys depend on.
            taken = settings.server.model_copy(update={"port": bound.getsockname()[1]})
            self._settings = settings = settings.model_copy(update={"server": taken})
            supervisor = Supervisor(stop_seconds=grace)
            # Closed again before what it works on; here it only makes sure that a failed start leaves no task.
            stack.push_async_callback(supervisor.close)
            dsn = await self._database(stack, data, supervisor)
            composed = await self._composed(stack, data, bound, dsn, supervisor)
            if self._workers is not None:
                # Only a host that has a port to serve needs an application of its own.
                self._dedicated.serve_with(partial(_application, settings, composed, self._connections), settings)
                await self._serve_by_workers(stack, self._workers, supervisor)
                return
            app = _application(settings, composed, self._connections)
            self._dedicated.serve_with(lambda: app, settings)
            self._server = web_server(app, settings, self._greet)
            keep_for_good()
            await self._server.serve(sockets=[bound])
            if not self._stop.is_set():
                raise StartupError("the web server ended by itself; the log has the reason")

    async def _serve_by_workers(self, stack: AsyncExitStack, workers: WorkerPool, supervisor: Supervisor) -> None:
        from server.workers.host import WorkerFailedError

        await stack.enter_async_context(workers.open())
        self._workers_started = True
        workers.start(supervisor)
        try:
            await workers.ready()
        except WorkerFailedError as problem:
            raise StartupError(str(problem)) from None
        if not self._stop.is_set():
            self._greet()
        await self._drained.wait()

    async def _database(self, stack: AsyncExitStack, data: Path, supervisor: Supervisor) -> str:
        from persistence import migrate
        from persistence.database import DatabaseUnusable
        from persistence.postgres import BundledPostgres, PostgresError, Reserve

        grace = self._settings.server.shutdown_seconds
        try:
            if self._settings.database.url is not None:
                dsn = self._settings.database.url.get_secret_value()
            else:
                directory = data / POSTGRES_DIRECTORY
                reserve = Reserve(directory / "reserve", self._settings.storage.reserve_bytes)
                bundled = BundledPostgres(directory, start_limit=self._settings.database.start_seconds, reserve=reserve)
                await stack.enter_async_context(bounded("PostgreSQL", grace + 15, bundled.stop))
                dsn = await bundled.start()
                supervisor.keep("postgresql", bundled.watch)
                supervisor.keep("disk reserve", reserve.keep)
            await migrate.upgrade(dsn)
        except (PostgresError, DatabaseUnusable) as problem:
            raise StartupError(str(problem)) from None
        return dsn

    async def _composed(
        self, stack: AsyncExitStack, data: Path, bound: socket.socket, dsn: str, supervisor: Supervisor
    ) -> Composed:
        from persistence.database import DatabaseUnusable
        from server.compose import compose
        from server.control import LocalControl
        from server.dedicated import DedicatedPorts
        from server.security.secrets import RootSecretError
        from server.workers.host import WorkerPool
        from serving.pool import LocalServing

        settings = self._settings
        grace = settings.server.shutdown_seconds
        serving = LocalServing(data / RUN_DIRECTORY, stop_seconds=grace / 2)
        started_at = datetime.now(UTC)
        database = DatabaseKind.BUNDLED if settings.database.url is None else DatabaseKind.EXTERNAL
        listeners = self._dedicated = DedicatedPorts(settings.server.host)
        control = LocalControl(
            serving,
            supervisor,
            version=self._version,
            started_at=started_at,
            database=database,
            listeners=listeners,
        )
        if settings.server.workers > 1:
            self._workers = WorkerPool(settings, data, bound, serving)
        composing = compose(
            settings, dsn, control, supervisor=supervisor, connections=self._connections, version=self._version
        )
        try:
            await serving.__aenter__()  # makes its directory; processes come with the first endpoint
            composed = await composing.__aenter__()
            if self._workers is not None and composed.operator is not None:
                self._workers.attach(
                    composed.operator, control, dsn=dsn, version=self._version, started_at=started_at, database=database
                )
            # Left in the opposite order: background work, then the children, then the pools.
            await stack.enter_async_context(bounded("pools", grace, lambda: composing.__aexit__(None, None, None)))
            await stack.enter_async_context(bounded("children", grace, serving.stop))
            await stack.enter_async_context(bounded("ports of endpoints", grace, listeners.stop))
            await stack.enter_async_context(bounded("background tasks", grace, supervisor.close))
            identity = composed.services.identity
            # Read only while it is needed: once there is an administrator the operator may take the file away.
            password = settings.auth.first_admin_password() if await identity.founder.required() else None
            async with audit.during(composed.services.audit, audit.Event("authSetup", "start")):
                self._setup_token = await identity.founder.ensure(
                    email=settings.auth.admin_email, password=password.get_secret_value() if password else None
                )
        except (DatabaseUnusable, RootSecretError) as problem:
            raise StartupError(str(problem)) from None
        except DomainError as problem:
            at = "" if problem.field is None else f"auth.{problem.field}: "
            raise StartupError(f"the server cannot be set up: {at}{problem}") from None
        return composed

    def _greet(self) -> None:
        url = self._settings.server.origin
        lines = [f"AxonML {self._version} is running", f"  URL       {url}"]
        if self._settings.graphql.trusted_documents is None:
            lines.append(f"  GraphiQL  {url}/graphql")
        if self._setup_token is not None:
            lines.append(f"  Set up    {url}/setup#{self._setup_token}")
            lines.append("            (opens once, to make the first administrator)")
        self._announce("\n".join(lines))

    _setup_token: str | None = None
    _dedicated: DedicatedPorts


def _application(settings: Settings, composed: Composed, connections: LiveConnections) -> ASGIApp:
    from server.app import create_app
    from server.web.pages import graphiql
    from server.web.pages import routes as pages

    return create_app(settings, composed, connections, pages=pages(), page=graphiql)


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Runs a server until it is told to stop. Raises StartupError or SettingsError."""
    import uvloop

    logs.configure(settings.log.level, settings.log.format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, announce))


async def _run(settings: Settings, announce: Callable[[str], None]) -> None:
    await Host(settings, announce).run()
