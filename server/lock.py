"""The data directory: made private, and held by one server at a time.

The lock is an advisory `flock` on a file that also names its holder, so that it ends with the process
however the process ends. A directory that was there before is used as it is: its mode is never changed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LOCK_NAME: Final = "server.lock"


class DataDirectoryError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


def prepare(path: Path) -> Path:
    """Creates the data directory if it is missing and returns its absolute path.

    Mode 0700; for root 0711, because the bundled PostgreSQL then runs under another account that must be
    able to reach its own directory inside. Raises DataDirectoryError.
    """
    path = path.expanduser().absolute()
    mode = 0o711 if os.geteuid() == 0 else 0o700
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=mode, exist_ok=True)
            path.chmod(mode)
        if not path.is_dir():
            raise DataDirectoryError(f"the data directory {path} is not a directory")
    except OSError as problem:
        raise DataDirectoryError(f"cannot create the data directory {path}: {problem.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise DataDirectoryError(f"the data directory {path} is not writable for this user")
    return path


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the lock of a data directory. Raises DataDirectoryError, naming the holder, when it is taken."""
    name = path / LOCK_NAME
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as problem:
        raise DataDirectoryError(f"cannot open {name}: {problem.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            whom = f" (process {holder})" if holder.isdigit() else ""
            raise DataDirectoryError(
                f"another server{whom} is using the data directory {path}; stop it, or pass another --data-dir"
            ) from None
        os.ftruncate(descriptor, 0)
        with suppress(OSError):  # the name helps a person only, and a full disk must not keep the server from starting
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
