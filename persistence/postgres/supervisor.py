"""Starts, adopts, watches and stops the bundled PostgreSQL.

The server runs in a session of its own, so a Ctrl-C meant for AxonML does not reach it before the drain, and
it outlives a host that was killed; the next host adopts it. This module never opens a TCP port, never runs
the server as root, and keeps no state outside its directory (a short socket directory excepted).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from persistence.postgres import account as accounts
from persistence.postgres import binaries, cluster
from persistence.postgres.account import Account
from persistence.postgres.binaries import Binaries
from persistence.postgres.errors import PostgresError
from persistence.postgres.process import ServerProcess
from persistence.postgres.reserve import Reserve

_log = logging.getLogger(__name__)

ROLE = "axonml"
DATABASE = "axonml"
_FIRST_BACKOFF, _LONGEST_BACKOFF, _STEADY_SECONDS = 0.5, 30.0, 60.0
_POLL_SECONDS = 0.03
# What the server prints while processes of a killed predecessor are still going away.
_PREDECESSOR_LEAVING = ("shared memory block", "lock file")
_DISK_FULL = "No space left on device"


@dataclass(frozen=True, slots=True)
class _Launched:
    server: ServerProcess
    sockets: Path
    adopted: bool


class BundledPostgres:
    """A private PostgreSQL below `directory` (made, with mode 0700, when missing; its parent must exist).

    `start_limit` is in seconds and leaves room for crash recovery. `reserve` is given up when the server is to be
    started and the disk is full. `overrides` replaces server settings and
    `programs` the bundled binaries; both exist for tests, which trade durability for speed and also run on
    other releases. One object is used by one event loop; a second object
    on the same directory, here or in another process, adopts the first one's server.
    """

    def __init__(
        self,
        directory: Path,
        version: int = 18,
        *,
        start_limit: float = 120.0,
        reserve: Reserve | None = None,
        overrides: Mapping[str, str] | None = None,
        programs: Binaries | None = None,
    ) -> None:
        version = programs.version if programs is not None else version
        self._programs = programs
        self._layout = cluster.Layout(Path(os.path.abspath(directory)), version)  # noqa: PTH100 - keep symlinks
        self._start_limit = start_limit
        self._reserve = reserve
        self._overrides = dict(overrides or {})
        self._lock = asyncio.Lock()
        self._server: ServerProcess | None = None
        self._sockets: Path | None = None
        self._ready = False
        self._stopping = False

    @property
    def running(self) -> bool:
        """Whether the server is up and has answered since it was started."""
        return self._ready and self._server is not None and self._server.alive

    @property
    def pid(self) -> int | None:
        """The process id of the living server."""
        return self._server.pid if self._server is not None and self._server.alive else None

    @property
    def dsn(self) -> str:
        """The URL of AxonML's database, for a role that owns it and is no superuser."""
        return self._url(ROLE, DATABASE)

    @property
    def superuser_dsn(self) -> str:
        """The URL for maintenance (backup, creating databases in tests); never for requests."""
        return self._url(cluster.SUPERUSER, "postgres")

    async def start(self) -> str:
        """Bring the server up, or adopt the one that runs, and return `dsn` once it answers.

        Raises PostgresError (DirectoryUnreachable when its user cannot enter the directory). After the start
        limit the server is left running, because ending a crash recovery would only make it begin again; the
        next start adopts it.
        """
        async with self._lock:
            self._stopping = False
            return await self._bring_up()

    async def stop(self, *, fast_limit: float = 30.0) -> None:
        """End the server, waiting at most about `fast_limit` + 10 seconds; does nothing when none runs."""
        self._stopping = True
        async with self._lock:
            server, self._server, self._ready = self._server, None, False
            if server is None or not server.alive:
                return
            how = await server.stop(fast_limit=fast_limit)
            if self._sockets is not None and self._layout.directory not in self._sockets.parents:
                with contextlib.suppress(OSError):  # the short directory outside ours; the next start makes it again
                    self._sockets.rmdir()
            _log.log(logging.INFO if how == "fast" else logging.WARNING, "PostgreSQL stopped (%s)", how)

    async def watch(self) -> None:
        """Restart the server whenever it ends by itself; returns after `stop`. Run by the caller's supervisor.

        A restart that fails is reported and tried again, waiting twice as long each time (0.5 to 30 s).
        """
        backoff = _FIRST_BACKOFF
        while (server := self._server) is not None and not self._stop_requested():
            since = time.monotonic()
            await server.exited()
            if self._stop_requested():
                return
            self._ready = False
            _log.error("PostgreSQL (process %d) ended unexpectedly; restarting it", server.pid)
            if time.monotonic() - since > _STEADY_SECONDS:
                backoff = _FIRST_BACKOFF
            while not await self._restarted():
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF)

    def _stop_requested(self) -> bool:
        return self._stopping

    async def _restarted(self) -> bool:
        """Whether there is nothing more to restart: the server is up again, or a stop was asked for."""
        async with self._lock:
            if self._stopping:
                return True
            try:
                await self._bring_up()
            except PostgresError as error:
                _log.error("PostgreSQL did not come back: %s", error)
                return False
            return True

    async def _bring_up(self) -> str:
        if self.running:
            return self.dsn
        deadline = time.monotonic() + self._start_limit
        while True:
            launched = await self._launch_to_the_end(deadline)
            if await self._answers(launched.server, deadline):
                break
            # It ended while starting. Its predecessor may be leaving still; anything else is final.
            report = await asyncio.to_thread(cluster.recent_log, self._layout)
            if time.monotonic() > deadline or not any(sign in report for sign in _PREDECESSOR_LEAVING):
                if self._reserve is not None and _DISK_FULL in report:
                    self._reserve.release()  # for the next try: more is needed than was free
                raise PostgresError(f"PostgreSQL ended while starting: {report}")
            await asyncio.sleep(0.2)
        self._ready = True
        _log.info("PostgreSQL %s (process %d)", "adopted" if launched.adopted else "started", launched.server.pid)
        return self.dsn

    async def _launch_to_the_end(self, deadline: float) -> _Launched:
        """Launch in a thread. A cancellation waits for the thread, so that `stop` knows what it started."""
        task = asyncio.ensure_future(asyncio.to_thread(self._launch, deadline))
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
        if task.exception() is None:
            self._server, self._sockets = task.result().server, task.result().sockets
        if cancelled is not None:
            raise cancelled
        return task.result()

    def _launch(self, deadline: float) -> _Launched:
        """Prepare the directory and start or adopt the server (in a thread). Raises PostgresError."""
        layout = self._layout
        account = accounts.choose(layout.data)
        self._make_directory(account)
        account.require_reach(layout.directory)
        while True:
            with cluster.start_lock(layout) as held:
                if held:
                    return self._launch_locked(account, deadline)
            if time.monotonic() > deadline:
                raise PostgresError(f"another process has been starting PostgreSQL in {layout.directory} for too long")
            time.sleep(_POLL_SECONDS)

    def _make_directory(self, account: Account) -> None:
        directory = self._layout.directory
        account.make_directory(directory)
        if not account.switch:
            return
        status = directory.stat()
        if status.st_uid != account.uid and not status.st_mode & 0o001:
            raise accounts.DirectoryUnreachable(
                f"{directory} exists, belongs to another user than {account.name!r}, which runs PostgreSQL, and is "
                f"closed to it. Give it to that user: chown {account.name}: {directory}"
            )

    def _launch_locked(self, account: Account, deadline: float) -> _Launched:
        layout = self._layout
        if (found := cluster.postmaster(layout)) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended this moment
                return _Launched(ServerProcess(found.pid), found.socket_directory, adopted=True)
        if self._reserve is not None:
            self._reserve.release_if_needed()
        programs = self._programs or binaries.reachable(layout.version, account, layout.directory)
        for role in (cluster.SUPERUSER, ROLE):
            cluster.password(layout, role)
        durable = self._overrides.get("fsync") != "off"
        cluster.initialise(layout, programs, account, durable=durable)
        account.make_directory(layout.logs)
        sockets = cluster.socket_directory(layout, account)
        output = os.open(layout.logs / "start.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            command: list[str | Path] = [programs.program("postgres"), "-D", layout.data]
            child = account.spawn(
                [*command, *cluster.settings(layout, sockets, self._overrides)],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            raise PostgresError(f"PostgreSQL could not be executed: {error}") from error
        finally:
            os.close(output)
        server = ServerProcess(child.pid, child)
        # The lock is held until the server has signed its own lock file: a second starter must find it there.
        while server.alive and cluster.postmaster(layout) is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return _Launched(server, sockets, adopted=False)

    async def _answers(self, server: ServerProcess, deadline: float) -> bool:
        """Wait until the server answers and holds our role and database; False when it ends instead."""
        while server.alive:
            try:
                patience = min(max(deadline - time.monotonic(), 0.2), 5)
                connection = await asyncpg.connect(self.superuser_dsn, timeout=patience)
            except asyncpg.InvalidPasswordError as error:
                raise PostgresError(
                    f"PostgreSQL refuses the password in {self._layout.secret(cluster.SUPERUSER)}; restore that "
                    "file from a backup"
                ) from error
            except (
                OSError,
                TimeoutError,
                asyncpg.PostgresConnectionError,
                asyncpg.OperatorInterventionError,
            ) as error:
                if time.monotonic() > deadline:
                    raise PostgresError(
                        f"PostgreSQL has not become ready within {self._start_limit:.0f} s ({error}); it may be "
                        "recovering from a crash and is left running: start AxonML again to keep waiting. Its "
                        f"logs are in {self._layout.logs}."
                    ) from error
                await asyncio.sleep(_POLL_SECONDS)
                continue
            try:
                await self._provide_database(connection)
            finally:
                await connection.close()
            return True
        return False

    async def _provide_database(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        # Closing the connection gives the lock back; it is for a second starter that adopted this new server.
        await connection.execute("SELECT pg_advisory_lock(1)")
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", ROLE):
            secret = cluster.password(self._layout, ROLE)  # letters, digits, - and _ only
            await connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{secret}'")
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")

    def _url(self, role: str, database: str) -> str:
        if self._sockets is None:
            raise PostgresError("the bundled PostgreSQL has not been started")
        secret = quote(cluster.password(self._layout, role), safe="")
        return f"postgresql://{role}:{secret}@/{database}?host={quote(str(self._sockets), safe='')}&port={cluster.PORT}"
