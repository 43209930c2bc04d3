"""The files of one PostgreSQL cluster: creating them, its secrets, its settings, and reading who serves it.

Everything here is synchronous and short, or run in a thread by the supervisor. A cluster directory appears
whole or not at all: it is initialised beside its final name and renamed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from persistence.postgres.account import Account
from persistence.postgres.binaries import Binaries
from persistence.postgres.errors import PostgresError

SUPERUSER = "postgres"
PORT = 5432
_SOCKET = f".s.PGSQL.{PORT}"
# The kernel allows 107 bytes in a Unix socket's path (103 on macOS); PostgreSQL adds a lock file's suffix.
_LONGEST_SOCKET_PATH = 100
_INITDB_LIMIT = 120.0
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a bundled server lie below its directory."""

    directory: Path
    version: int

    @property
    def data(self) -> Path:
        """PostgreSQL's own directory (PGDATA)."""
        return self.directory / f"pg{self.version}"

    @property
    def logs(self) -> Path:
        """The server's log files, one per weekday, each overwritten a week later."""
        return self.directory / "log"

    @property
    def lock(self) -> Path:
        """Held while a server is created or started."""
        return self.directory / "start.lock"

    def secret(self, role: str) -> Path:
        """The file with the password of `role`."""
        return self.directory / f"{role}.password"


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A living server process of our cluster, as its own lock file describes it."""

    pid: int
    socket_directory: Path


def password(layout: Layout, role: str) -> str:
    """The password of `role`, made on first use and kept in a file only its owner can read."""
    path = layout.secret(role)
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        if layout.data.exists():
            raise PostgresError(
                f"{path} is missing, but {layout.data} holds a database whose password it kept. Restore that "
                "file from a backup."
            ) from None
    value = secrets.token_urlsafe(32)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    return value


def initialise(layout: Layout, binaries: Binaries, account: Account, *, durable: bool) -> None:
    """Create the cluster unless it exists: SCRAM for everyone, checksums, UTF-8, code-point order.

    `durable=False` skips flushing the new files and is for tests. Raises PostgresError.
    """
    if (layout.data / "PG_VERSION").exists():
        return
    others = sorted(path.name for path in layout.directory.glob("pg[0-9]*") if (path / "PG_VERSION").exists())
    if others:
        raise PostgresError(
            f"{layout.directory} holds a database of PostgreSQL {others[-1].removeprefix('pg')}, and this release "
            f"of AxonML runs {layout.version}. Dump it with the old release and restore the dump into an empty "
            "data directory."
        )
    for leftover in layout.directory.glob("new-*"):
        shutil.rmtree(leftover)
    partial = layout.directory / f"new-{uuid.uuid4().hex[:8]}"
    partial.mkdir(mode=0o700)
    account.own(partial)
    handed = layout.directory / f"new-{uuid.uuid4().hex[:8]}.password"
    try:
        handed.touch(mode=0o600, exist_ok=False)
        handed.write_text(password(layout, SUPERUSER) + "\n", "ascii")
        account.own(handed)
        command: list[str | Path] = [
            binaries.program("initdb"),
            f"--pgdata={partial}",
            f"--username={SUPERUSER}",
            f"--pwfile={handed}",
            "--auth-local=scram-sha-256",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--lc-messages=C",
            "--data-checksums",
            "--no-instructions",
            *_locale(layout.version),
            *([] if durable else ["--no-sync"]),
        ]
        try:
            status, output = account.run(command, limit=_INITDB_LIMIT)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PostgresError(f"initdb did not run: {error}") from error
        if status != 0:
            raise PostgresError(f"initdb failed in {layout.directory}: {_last_lines(output)}")
        partial.rename(layout.data)
    finally:
        handed.unlink(missing_ok=True)
        shutil.rmtree(partial, ignore_errors=True)


def _locale(version: int) -> list[str]:
    """Order by code point, upper and lower case for all of Unicode, independent of the machine's libc."""
    if version >= 17:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C.UTF-8"]


def socket_directory(layout: Layout, account: Account) -> Path:
    """The directory for the server's socket: `run` below ours, or a short private one when that is too long.

    Mode 0700, owned by the account. Raises PostgresError when a short one exists and is somebody else's.
    """
    directory = layout.directory / "run"
    if len(os.fsencode(directory / _SOCKET)) > _LONGEST_SOCKET_PATH:
        digest = hashlib.sha256(os.fsencode(layout.directory)).hexdigest()[:12]
        directory = _short_parent(account) / f"axonml-{account.uid}-{digest}"
    account.make_directory(directory)
    status = directory.lstat()
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid and not status.st_mode & 0o077
    if not private:
        raise PostgresError(
            f"{directory} must be a directory that belongs to {account.name!r} with mode 0700, since PostgreSQL's "
            "socket goes there; something else made it. Remove it, or choose a shorter AXONML_DATA_DIR."
        )
    return directory


def _short_parent(account: Account) -> Path:
    if account.switch:
        return Path("/run") if Path("/run").is_dir() else Path("/tmp")  # noqa: S108 - checked by the caller
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and len(runtime) < 40 and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime)
    temporary = Path(tempfile.gettempdir())
    return temporary if len(os.fsencode(temporary)) < 40 else Path("/tmp")  # noqa: S108 - checked by the caller


def wal_limit(data: Path) -> int:
    """Bytes that the log may grow to: a gigabyte, on small disks a tenth of it. Raises OSError."""
    disk = os.statvfs(data)
    return min(max(disk.f_blocks * disk.f_frsize // 10, 64 * _MIB), 1024 * _MIB) // _MIB * _MIB


def settings(layout: Layout, sockets: Path, overrides: Mapping[str, str]) -> list[str]:
    """The server's command-line settings: durable, local only, modest in memory, quiet about its data."""
    memory = psutil.virtual_memory().total // _MIB
    values = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": _quoted_directory(sockets),
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "wal_compression": "on",
        "max_wal_size": f"{wal_limit(layout.data) // _MIB}MB",
        "min_wal_size": "32MB" if wal_limit(layout.data) < 256 * _MIB else "80MB",
        "checkpoint_timeout": "15min",
        # Whoever started it starts it again, after making room for its recovery if the disk is full.
        "restart_after_crash": "off",
        "max_connections": "100",
        "superuser_reserved_connections": "3",
        "shared_buffers": f"{min(max(memory // 16, 64), 512)}MB",
        "effective_cache_size": f"{max(memory // 2, 256)}MB",
        "work_mem": "8MB",
        "maintenance_work_mem": "64MB",
        "random_page_cost": "1.1",
        "jit": "off",
        "autovacuum_max_workers": "2",
        # A table that grows from nothing to thousands of rows in seconds is looked at before its old plans hurt.
        "autovacuum_naptime": "10s",
        "max_worker_processes": "4",
        "max_parallel_workers": "2",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "on",
        "log_directory": str(layout.logs),
        "log_filename": "postgresql-%a.log",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_truncate_on_rotation": "on",
        # Statements and row values are the users' data; they have no place in a log.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_parameter_max_length": "0",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] ",
        **({"io_method": "worker", "io_workers": "2"} if layout.version >= 18 else {}),
        **overrides,
    }
    return [f"--{name}={value}" for name, value in values.items()]


def _quoted_directory(path: Path) -> str:
    """One element of a list setting: a comma in the path must not split it."""
    return '"' + str(path).replace('"', '""') + '"'


def postmaster(layout: Layout) -> Postmaster | None:
    """The living server of this cluster, whoever started it; None when there is none.

    A left-over lock file whose process id now belongs to another program is removed, because PostgreSQL
    would take that program for a server of this cluster and refuse to start.
    """
    lock_file = layout.data / "postmaster.pid"
    try:
        lines = lock_file.read_text("utf-8", "replace").splitlines()
        pid = int(lines[0])
    except FileNotFoundError:
        return None
    except (ValueError, IndexError):
        return None  # being written this moment, or cut short by a crash: PostgreSQL judges it
    if not _serves(pid, layout.data):
        if psutil.pid_exists(pid) and not _orphans(layout.data):
            lock_file.unlink(missing_ok=True)
        return None
    if len(lines) < 5 or not lines[4].strip():
        return None  # it has not opened its socket yet
    return Postmaster(pid, Path(lines[4].strip()))


def _serves(pid: int, data: Path) -> bool:
    """Whether process `pid` is a PostgreSQL whose working directory is `data`, as a server's always is."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or not process.name().startswith("postgres"):
            return False
        if process.uids().real != data.stat().st_uid:
            return False
        return Path(process.cwd()).resolve() == data.resolve()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _orphans(data: Path) -> bool:
    """Whether server processes of this cluster outlived their postmaster."""
    return any(_serves(pid, data) for pid in psutil.pids())


@contextmanager
def start_lock(layout: Layout) -> Iterator[bool]:
    """Hold the start lock, or yield False when another process holds it."""
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def recent_log(layout: Layout) -> str:
    """The last lines the server wrote, for an error message."""
    files = sorted(layout.logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
    return _last_lines("\n".join(path.read_text("utf-8", "replace")[-4000:] for path in files[-2:]))


def _last_lines(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines()[-6:] if line.strip()) or "no output"
