"""PostgreSQL servers for tests: started once per run and release, shared by every worker, always ended.

The process that controls the run makes one directory and ends whatever runs in it, by process id, when the
run is over; a later run does so for one that was killed. Databases are clones of a migrated template.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil

from persistence import migrate
from persistence.postgres import BundledPostgres
from persistence.postgres.binaries import Binaries
from persistence.postgres.cluster import Layout, postmaster
from persistence.postgres.process import ServerProcess

T = TypeVar("T")

RUN_DIRECTORY = "PYTEST_AXONML_RUN"
MACHINE_URL = "PYTEST_AXONML_DATABASE_URL"
_PREFIX = "axonml-test-"
_TEMPLATE = "axonml_template"
_OWNER_FILE = "owner"

# What a throw-away server may do without; none of it changes what a statement means.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "shared_buffers": "128MB",
    "max_connections": "200",
}


class Cluster:
    """A running server of one release. Its methods may be called with or without a running event loop."""

    def __init__(self, release: str, superuser_dsn: str, owner: str, worker: BackgroundLoop) -> None:
        self.release = release
        self.superuser_dsn = superuser_dsn
        self._owner_dsn = owner
        self._loop = worker
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    def create(self, *, migrated: bool = True) -> str:
        """Make a database of its own for one test, with our tables or without any; its URL."""
        name = f"t_{uuid.uuid4().hex}"
        template = f"TEMPLATE {_TEMPLATE} STRATEGY file_copy" if migrated else ""
        owner = urlsplit(self._owner_dsn).username
        self._loop.run(self._execute(f'CREATE DATABASE {name} {template} OWNER "{owner}"'))
        return with_database(self._owner_dsn, name)

    def drop(self, url: str) -> None:
        """Drop such a database, whoever is still connected; does not wait for it."""
        self._loop.start(self._execute(f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)"))

    async def _execute(self, sql: str) -> None:
        async with self._loop.serial:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self.superuser_dsn)
            await self._connection.execute(sql)


class BackgroundLoop:
    """An event loop in a thread, for fixtures that must not depend on the loop of a test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.serial = asyncio.Lock()
        threading.Thread(target=self._loop.run_forever, name="test clusters", daemon=True).start()

    def run(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(180)

    def start(self, work: Coroutine[None, None, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop)


class Clusters:
    """The servers this process has asked for so far, by release: `18`, `16` or `machine`."""

    def __init__(self) -> None:
        self._loop: BackgroundLoop | None = None
        self._known: dict[str, Cluster] = {}
        self._servers: list[BundledPostgres] = []  # keeps the child processes of those this worker started

    def get(self, release: str) -> Cluster:
        """The server of `release`; raises LookupError with the reason when this machine has none."""
        if release not in self._known:
            self._loop = self._loop or BackgroundLoop()
            self._known[release] = self._loop.run(self._open(release, self._loop))
        return self._known[release]

    async def _open(self, release: str, loop: BackgroundLoop) -> Cluster:
        directory = Path(os.environ[RUN_DIRECTORY])
        record = directory / f"{release}.json"
        with (directory / f"{release}.lock").open("w") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            if not record.exists():
                found = await self._provide(release, directory / release)
                await _make_template(*found)
                record.write_text(json.dumps(found), "utf-8")
        superuser_dsn, owner_dsn = json.loads(record.read_text("utf-8"))
        return Cluster(release, superuser_dsn, owner_dsn, loop)

    async def _provide(self, release: str, directory: Path) -> tuple[str, str]:
        if release != "machine":
            server = BundledPostgres(directory, int(release), overrides=FAST)
        elif url := os.environ.get(MACHINE_URL):
            return url, url
        else:
            server = BundledPostgres(directory, overrides=FAST, programs=machine_programs())
        self._servers.append(server)
        dsn = await server.start()
        return server.superuser_dsn, dsn


async def _make_template(superuser_dsn: str, owner_dsn: str) -> None:
    building = f"{_TEMPLATE}_building"
    connection = await asyncpg.connect(superuser_dsn)
    try:
        for name in (building, _TEMPLATE):
            await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f'CREATE DATABASE {building} OWNER "{urlsplit(owner_dsn).username}"')
        await migrate.upgrade(with_database(owner_dsn, building))
        await connection.execute(f"ALTER DATABASE {building} RENAME TO {_TEMPLATE}")
    finally:
        await connection.close()


def with_database(url: str, name: str) -> str:
    """The same URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def machine_programs() -> Binaries:
    """The server programs installed on this machine; raises LookupError when there are none we support."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (pg_config := shutil.which("pg_config")) is not None:
        shown = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False, timeout=30)
        candidates.append(Path(shown.stdout.strip()))
    for folder in candidates:
        if not ((folder / "postgres").is_file() and (folder / "initdb").is_file()):
            continue
        shown = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=False, timeout=30
        )
        match = re.search(r"\) (\d+)", shown.stdout)
        if match is not None and 15 <= int(match[1]) <= 18:
            return Binaries(int(match[1]), folder)
    raise LookupError("no PostgreSQL 15 to 18 is installed on this machine, and AXONML_TEST_DATABASE_URL is not set")


def begin_run() -> None:
    """Called once by the process that controls the run, before there are workers."""
    parent = _scratch()
    for leftover in parent.glob(f"{_PREFIX}*"):
        if _is_abandoned(leftover):
            _end(leftover)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    directory.chmod(0o711)  # the server's own user passes through when the tests run as root
    (directory / _OWNER_FILE).write_text(f"{os.getpid()} {psutil.Process().create_time()}", "utf-8")
    os.environ[RUN_DIRECTORY] = str(directory)
    # Our settings refuse names they do not know, so the run keeps this one under another.
    if (url := os.environ.pop("AXONML_TEST_DATABASE_URL", None)) is not None:
        os.environ[MACHINE_URL] = url


def _scratch() -> Path:
    """Memory where there is plenty (cloning a database takes 15 ms there, 20 times that on a slow disk)."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK):
        status = os.statvfs(memory)
        if status.f_bavail * status.f_frsize > 2 * 1024**3 and not status.f_flag & getattr(os, "ST_NOEXEC", 0):
            return memory
    return Path(tempfile.gettempdir())


def end_run() -> None:
    """Called once by the process that controls the run, after the workers have ended or died."""
    _end(Path(os.environ.pop(RUN_DIRECTORY)))


def _is_abandoned(directory: Path) -> bool:
    try:
        pid, created = (directory / _OWNER_FILE).read_text("utf-8").split()
        return psutil.Process(int(pid)).create_time() != float(created)
    except psutil.NoSuchProcess:
        return True
    except (OSError, ValueError):
        return False  # somebody else's, or being made this moment


def _end(directory: Path) -> None:
    for data in directory.glob("*/pg[0-9]*"):
        found = postmaster(Layout(data.parent, int(data.name.removeprefix("pg"))))
        if found is not None:
            asyncio.run(ServerProcess(found.pid).stop(fast_limit=10))
    shutil.rmtree(directory, ignore_errors=True)
