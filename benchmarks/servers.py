"""The servers that are measured, as processes, and the one PostgreSQL they share.

One server runs at a time, each on a database of its own. Everything lives in one temporary folder that records which
processes belong to it, so that what a killed run left behind is ended, by process id, by the next run. Nothing here
listens on anything but the loopback address.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import orjson
import psutil

from benchmarks.client import Connection, request, send_all
from persistence.postgres import BundledPostgres
from persistence.postgres.cluster import Layout, postmaster
from persistence.postgres.process import ServerProcess

REPOSITORY: Final = Path(__file__).parents[1]
PEERS: Final = Path(__file__).parent / ".venv" / "bin"
START_LIMIT: Final = 180.0
_PREFIX: Final = "axonml-bench-"
_OWNER: Final = "owner"
_CHILDREN: Final = "children"
_STOP_SECONDS: Final = 10.0
_KILL_ROUNDS: Final = 20
_POLL: Final = 0.05
_LOG_SHOWN: Final = 2_000
_FOREIGN: Final = ("AXONML_", "JWT_", "RUST_", "MLFLOW_")
NONE: Final[Mapping[str, str]] = {}


class ServerFailed(Exception):  # noqa: N818 - reads as a condition
    """A server did not start, or what is needed to start it is missing."""


@contextmanager
def folder() -> Iterator[Path]:
    """The folder of this run; first the leftovers of runs that were killed are removed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if _is_abandoned(left):
            _remove(left)
    place = Path(tempfile.mkdtemp(prefix=_PREFIX))
    place.chmod(0o711)  # as root the database runs under another account, which must reach its directory
    (place / _OWNER).write_text(_identity(os.getpid()), "ascii")
    try:
        yield place
    finally:
        _remove(place)


def _identity(pid: int) -> str:
    return f"{pid} {psutil.Process(pid).create_time()}"


def _living(identity: str) -> psutil.Process | None:
    pid, created = identity.split()
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(pid))
        if process.create_time() == float(created):
            return process
    return None


def _is_abandoned(place: Path) -> bool:
    try:
        return _living((place / _OWNER).read_text("ascii")) is None
    except (OSError, ValueError):
        return False  # somebody else's, or being made this moment


def _remove(place: Path) -> None:
    record = place / _CHILDREN
    for line in record.read_text("ascii").splitlines() if record.exists() else ():
        _end(line)
    for data in place.glob("*/pg[0-9]*"):
        found = postmaster(Layout(data.parent, int(data.name.removeprefix("pg"))))
        if found is not None:
            asyncio.run(ServerProcess(found.pid).stop(fast_limit=10))
    shutil.rmtree(place, ignore_errors=True)


def _end(identity: str) -> None:
    """Ends the process that was started under that identity and all of its session, each by its own id.

    Every server is started as the leader of a session, whose number the kernel gives to nobody else while a member
    lives: so what outlives its parent, or is started while the others end, is found too.
    """
    leader = _living(identity)
    session = int(identity.split(maxsplit=1)[0])
    if leader is None and psutil.pid_exists(session):
        return  # the number was given to another program: nothing of ours is left
    if leader is not None:
        with suppress(psutil.NoSuchProcess):
            leader.send_signal(signal.SIGTERM)
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            leader.wait(_STOP_SECONDS)
    for _ in range(_KILL_ROUNDS):
        left = _members(session)
        if not left:
            return
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, timeout=_STOP_SECONDS)


def _members(session: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(psutil.Process(pid))
    return found


class Databases:
    """The bundled PostgreSQL, as AxonML ships and sets it, and databases in it."""

    def __init__(self, place: Path) -> None:
        self._bundled = BundledPostgres(place / "postgres")

    async def start(self) -> None:
        """Brings it up."""
        await self._bundled.start()

    async def stop(self) -> None:
        """Ends it."""
        await self._bundled.stop(fast_limit=15)

    async def fresh(self, name: str) -> str:
        """An empty database of that name; its URL for the role that owns it."""
        admin = await asyncpg.connect(self._bundled.superuser_dsn)
        try:
            await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            await admin.execute(f'CREATE DATABASE "{name}" OWNER axonml')
        finally:
            await admin.close()
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of a database."""
        return urlsplit(self._bundled.dsn)._replace(path=f"/{name}").geturl()

    @asynccontextmanager
    async def connected(self, name: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection to a database as its owner."""
        connection = await asyncpg.connect(self.url(name))
        try:
            yield connection
        finally:
            await connection.close()

    async def version(self) -> str:
        """The server's version."""
        async with self.connected("axonml") as connection:
            return str(await connection.fetchval("SHOW server_version"))

    async def statement(self, name: str, text: str) -> None:
        """Runs a maintenance statement such as VACUUM, with the privileges it needs."""
        admin = await asyncpg.connect(urlsplit(self._bundled.superuser_dsn)._replace(path=f"/{name}").geturl())
        try:
            await admin.execute(text)
        finally:
            await admin.close()

    async def size(self, name: str) -> int:
        """Bytes of all tables of a database, with their indexes and out-of-line values."""
        async with self.connected(name) as connection:
            return int(
                await connection.fetchval(
                    "SELECT COALESCE(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
                    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm')"
                    " AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
                )
            )


@dataclass(slots=True)
class Server:
    """A running server process. `key` is the credential its API wants, if any; `account` address and password."""

    process: psutil.Process
    identity: str
    port: int
    log: Path
    key: str | None = None
    account: tuple[str, str] | None = None
    started_seconds: float = 0.0
    _popen: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def family(self) -> list[psutil.Process]:
        """It and every process of its session."""
        return _members(self.process.pid)

    def memory(self) -> int:
        """Proportional set size of all its processes, in bytes; the database is not among them."""
        total = 0
        for one in self.family():
            with suppress(psutil.NoSuchProcess):
                total += one.memory_full_info().pss
        return total

    def busy_seconds(self) -> float:
        """Processor time of all its processes so far; the database is not among them."""
        total = 0.0
        for one in self.family():
            with suppress(psutil.NoSuchProcess):
                spent = one.cpu_times()
                total += spent.user + spent.system
        return total

    def stop(self) -> None:
        """Ends it, and waits."""
        _end(self.identity)
        if self._popen is not None:
            self._popen.wait(_STOP_SECONDS)


def free_port() -> int:
    """A port nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running(
    place: Path, name: str, command: Sequence[str | Path], port: int, *, environment: Mapping[str, str], health: str
) -> AsyncIterator[Server]:
    """A server started by `command`, from when `health` answers 200 until the block ends. Raises ServerFailed."""
    kept = {key: text for key, text in os.environ.items() if not key.startswith(_FOREIGN)}
    log = place / f"{name}-{port}.log"
    began = time.monotonic()
    with log.open("wb") as output:
        popen = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs meanwhile
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**kept, "PYTHONUNBUFFERED": "1", **environment},
            cwd=REPOSITORY if name != "mlflow" else place,
            start_new_session=True,
        )
    server = Server(psutil.Process(popen.pid), _identity(popen.pid), port, log, _popen=popen)
    with (place / _CHILDREN).open("a", encoding="ascii") as record:
        record.write(server.identity + "\n")
    try:
        while not await _healthy(port, health):
            if popen.poll() is not None or time.monotonic() - began > START_LIMIT:
                raise ServerFailed(f"{name} did not start")
            await asyncio.sleep(_POLL)
        server.started_seconds = time.monotonic() - began
        yield server
    except Exception as error:
        error.add_note(f"last lines of {name}'s log:\n{log.read_text(errors='replace')[-_LOG_SHOWN:]}")
        raise
    finally:
        await asyncio.to_thread(server.stop)


async def _healthy(port: int, path: str) -> bool:
    try:
        connection = await Connection.open(port)
    except OSError:
        return False
    try:
        status, _ = await connection.send(request("GET", path))
    except (OSError, TimeoutError):
        return False
    finally:
        connection.close()
    return status == 200


@asynccontextmanager
async def axonml(place: Path, database: str, settings: Mapping[str, str] = NONE) -> AsyncIterator[Server]:
    """AxonML as its console script starts it, one process, on a database by URL, with an API key of its first user.

    `settings` are further environment variables.
    """
    port = free_port()
    email, password = "bench@example.com", secrets.token_urlsafe(18)
    data = place / f"data-{port}"
    command: list[str | Path] = [sys.executable, "-m", "server.cli", "--port", str(port), "--data-dir", data]
    environment = {
        "AXONML_DATABASE_URL": database,
        "AXONML_ADMIN_EMAIL": email,
        "AXONML_ADMIN_PASSWORD": password,
        "AXONML_LOG__LEVEL": "warning",
        **settings,
    }
    async with running(place, "axonml", command, port, environment=environment, health="/health/ready") as server:
        login = orjson.dumps({"email": email, "password": password})
        (signed,) = await send_all(port, [request("POST", "/api/auth/login", login)])
        asked = orjson.dumps({"name": "bench", "scopes": ["runs:write", "models:write"]})
        token = orjson.loads(signed)["token"]
        (made,) = await send_all(port, [request("POST", "/api/auth/keys", asked, key=token)])
        server.key = orjson.loads(made)["secret"]
        server.account = (email, password)
        yield server


@asynccontextmanager
async def mlflow(place: Path, database: str, workers: int | None) -> AsyncIterator[Server]:
    """MLflow's tracking server on a database by URL, with `workers` worker processes, or its default number."""
    program = PEERS / "mlflow"
    if not program.exists():
        raise ServerFailed(f"{program} is missing: run `make bench`, which installs it")
    port = free_port()
    command: list[str | Path] = [program, "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--artifacts-destination", place / "artifacts"]
    command += ["--workers", str(workers)] if workers is not None else []
    environment = {
        "MLFLOW_BACKEND_STORE_URI": database.replace("postgresql://", "postgresql+psycopg2://", 1),
        "MLFLOW_DISABLE_TELEMETRY": "true",  # it would call a host outside this machine
        "DO_NOT_TRACK": "true",
        "PATH": f"{PEERS}:{os.environ.get('PATH', '')}",
    }
    async with running(place, "mlflow", command, port, environment=environment, health="/health") as server:
        yield server


@asynccontextmanager
async def echo(place: Path) -> AsyncIterator[Server]:
    """A bare uvicorn that reads a request and answers 60 bytes: what a Python HTTP server could reach at most."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.echo:app", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--lifespan", "off"]
    async with running(place, "echo", command, port, environment={}, health="/") as server:
        yield server
