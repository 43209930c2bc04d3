"""Files by the SHA-256 of their bytes, on the local disk.

    <root>/tmp/<random>            what is arriving
    <root>/sha256/ab/cd/abcd…      what is kept, read-only

Every path is made of server-made names: nothing a client sends is ever part of one. A kept file never changes; it
appears by one rename after its bytes are on disk, so a reader sees all of it or nothing. All disk work happens in
threads; memory per upload is one buffer, whatever the size of the file.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from domain.errors import PayloadTooLarge, Unavailable
from domain.storage import no_room, watermark

BUFFER_BYTES: Final = 1024 * 1024
STALE_AFTER: Final = timedelta(hours=1)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalBlobs:
    """The store under `root`. `min_free_bytes`: uploads stop when less space than this would remain; None for a share
    of the disk.

    Call `open` once before anything else; exactly one server may use a root.
    """

    def __init__(self, root: Path, *, min_free_bytes: int | None = 0) -> None:
        self._root = root
        self._incoming = root / "tmp"
        self._kept = root / "sha256"
        self._min_free_bytes = min_free_bytes

    async def open(self) -> int:
        """Makes the directories and removes what aborted uploads left; how many files that were."""
        return await asyncio.to_thread(self._open)

    def _open(self) -> int:
        for directory in (self._root, self._incoming, self._kept):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_directory(self._root)
        return self._remove_stale()

    def _remove_stale(self) -> int:
        removed = 0
        oldest = time.time() - STALE_AFTER.total_seconds()
        for leftover in self._incoming.iterdir():
            if leftover.lstat().st_mtime < oldest:
                leftover.unlink(missing_ok=True)
                removed += 1
        return removed

    def receive(self, *, limit: int) -> AbstractAsyncContextManager[LocalIncoming]:
        return self._receive(limit)

    @asynccontextmanager
    async def _receive(self, limit: int) -> AsyncIterator[LocalIncoming]:
        incoming = LocalIncoming(self, self._incoming / secrets.token_hex(16), limit)
        try:
            await asyncio.to_thread(incoming.create)
            yield incoming
        finally:
            await asyncio.to_thread(incoming.discard)

    async def path(self, sha256: str) -> str:
        target = self._place_of(sha256)
        if not await asyncio.to_thread(target.is_file):
            raise Unavailable("the file of this version is not on this server")
        return str(target)

    async def release(self, sha256: str) -> None:
        def touch() -> None:
            with suppress(FileNotFoundError):
                os.utime(self._place_of(sha256))

        await asyncio.to_thread(touch)

    async def expired(self, grace: timedelta) -> list[str]:
        return await asyncio.to_thread(lambda: list(self._older_than(time.time() - grace.total_seconds())))

    def _older_than(self, moment: float) -> Iterator[str]:
        for file in self._kept.glob("??/??/*"):
            with suppress(FileNotFoundError):
                if _DIGEST.fullmatch(file.name) and file.lstat().st_mtime <= moment:
                    yield file.name

    async def remove(self, sha256: str) -> None:
        await asyncio.to_thread(self._place_of(sha256).unlink, missing_ok=True)

    def _place_of(self, sha256: str) -> Path:
        if _DIGEST.fullmatch(sha256) is None:
            raise ValueError("not a digest")
        return self._kept / sha256[:2] / sha256[2:4] / sha256

    def check_space(self, needed: int) -> None:
        """Raises Unavailable when writing `needed` bytes would leave less than the reserve."""
        disk = os.statvfs(self._incoming)
        kept_free = watermark(disk.f_blocks * disk.f_frsize, self._min_free_bytes)
        if disk.f_bavail * disk.f_frsize - needed < kept_free:
            raise no_room()

    def keep(self, source: Path, sha256: str, size_bytes: int) -> None:
        """Moves a whole, synced file to its place."""
        target = self._place_of(sha256)
        with suppress(FileNotFoundError):
            if target.lstat().st_size == size_bytes:
                os.utime(target)  # starts its grace period anew
                return
        for directory in (target.parent.parent, target.parent):
            with suppress(FileExistsError):
                directory.mkdir(mode=0o700)
                _sync_directory(directory.parent)
        source.chmod(0o400)
        source.rename(target)
        os.utime(target)
        _sync_directory(target.parent)


class LocalIncoming:
    """One upload: a buffer, a running digest and a temporary file. Also the received file, once it is finished."""

    def __init__(self, store: LocalBlobs, path: Path, limit: int) -> None:
        self._store = store
        self._path = path
        self._limit = limit
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._received = 0
        self._fd = -1
        # A cancelled caller leaves its thread running; the lock keeps `discard` from closing the file under it.
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """How many bytes have arrived."""
        return self._received

    @property
    def sha256(self) -> str:
        """Digest of what has been written to disk: of all bytes, once the upload is finished."""
        return self._hash.hexdigest()

    async def write(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self._limit:
            raise PayloadTooLarge(f"a file may have at most {self._limit} bytes", field="file")
        self._buffer += data
        if len(self._buffer) >= BUFFER_BYTES:
            full, self._buffer = self._buffer, bytearray()
            await asyncio.to_thread(self._append, full)

    async def finish(self) -> LocalIncoming:
        rest, self._buffer = self._buffer, bytearray()
        await asyncio.to_thread(self._append, rest, last=True)
        return self

    def read_at(self, offset: int, count: int) -> bytes:
        with self._lock:
            data = b""
            while len(data) < count and (more := os.pread(self._fd, count - len(data), offset + len(data))):
                data += more
            return data

    async def place(self) -> None:
        await asyncio.to_thread(self._store.keep, self._path, self.sha256, self._received)

    def create(self) -> None:
        """Makes the temporary file."""
        with self._lock:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)

    def discard(self) -> None:
        """Closes the temporary file and removes it, unless it was moved to its place."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self._path.unlink(missing_ok=True)

    def _append(self, data: bytearray, *, last: bool = False) -> None:
        with self._lock:
            if self._fd < 0:
                return  # the upload was given up meanwhile
            self._store.check_space(len(data))
            self._hash.update(data)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
                if last:
                    os.fsync(self._fd)
            except OSError as error:
                if error.errno in _DISK_FULL:
                    raise no_room() from error
                raise


def _sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
