"""A file on its way into the local store: a buffer, a running digest and a file that nobody else reads.

While one buffer is hashed and written in a thread, the next one fills: memory is two buffers, whatever the size of the
file. The digest moves with the bytes on the disk and never ahead of them, so that after a write that failed both agree.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from domain.errors import Conflict, PayloadTooLarge, Unavailable
from domain.storage import no_room

if TYPE_CHECKING:
    from hashlib import _Hash

BUFFER_BYTES: Final = 1024 * 1024
READ_BYTES: Final = 64 * 1024 * 1024
REMEMBERED: Final = 1_000
RETRY_SECONDS: Final = 2
LOCK_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.02
_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Keeper(Protocol):
    """The store that a file is on its way to."""

    def check_space(self, needed: int) -> None:
        """Raises Unavailable when writing `needed` bytes would leave less than the reserve."""
        ...

    def keep(self, source: Path, sha256: str, size_bytes: int) -> None:
        """Moves a whole, synced file to its place."""
        ...


class Digests:
    """The running digests of the files that arrive in pieces, so that a piece need not begin by reading all before it.

    They live in this process only: after a restart, or in another process, the bytes are read once more.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, _Hash]] = OrderedDict()

    def remember(self, name: str, offset: int, digest: _Hash) -> None:
        """Notes the digest of the first `offset` bytes."""
        self._known[name] = (offset, digest.copy())
        self._known.move_to_end(name)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def recall(self, name: str, offset: int) -> _Hash | None:
        """The digest of the first `offset` bytes, if it is known."""
        found = self._known.get(name)
        return found[1].copy() if found is not None and found[0] == offset else None

    def forget(self, name: str) -> None:
        """The file is whole, or gone."""
        self._known.pop(name, None)


class LocalIncoming:
    """One upload. Also the received file, once it is finished."""

    def __init__(self, store: Keeper, path: Path, limit: int) -> None:
        self._store = store
        self._path = path
        self._limit = limit
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._received = self._written = 0
        self._writing: asyncio.Future[None] | None = None
        self._failed = False
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
            await self._settle()
            full, self._buffer = self._buffer, bytearray()
            self._writing = asyncio.get_running_loop().run_in_executor(None, self._append, full)

    async def finish(self) -> LocalIncoming:
        await self._flush()
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
            self._close()
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._writing is not None and self._writing.done() and not self._writing.cancelled():
            self._writing.exception()  # whoever left early does not ask for it
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _settle(self) -> None:
        """Waits for the buffer that is being written, and raises what happened to it."""
        writing = self._writing
        if writing is None:
            return
        try:
            await asyncio.shield(writing)  # who is cancelled here may still want what came before in its place
        finally:
            if writing.done():
                self._writing = None

    async def _flush(self) -> None:
        """Everything on the disk, durably."""
        await self._settle()
        rest, self._buffer = self._buffer, bytearray()
        await asyncio.to_thread(self._append, rest, last=True)

    def _append(self, data: bytearray, *, last: bool = False) -> None:
        with self._lock:
            if self._fd < 0 or self._failed:
                return  # the upload was given up meanwhile
            try:
                if data:
                    self._store.check_space(len(data))
                    self._write(data)
                if last:
                    os.fsync(self._fd)
            except OSError as error:
                self._failed = True
                if error.errno in _DISK_FULL:
                    raise no_room() from error
                raise
            except Unavailable:
                self._failed = True
                raise

    def _write(self, data: bytearray) -> None:
        try:
            rest, at = memoryview(data), self._written
            while rest:
                count = os.pwrite(self._fd, rest, at)
                rest, at = rest[count:], at + count
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, self._written)  # gives back what was written of this buffer
            raise
        self._hash.update(data)
        self._written += len(data)


class LocalResumed(LocalIncoming):
    """One piece of a file that arrives in pieces, under a name that only one caller at a time has.

    The lock is the kernel's: it ends with the process, however that ends.
    """

    def __init__(self, store: Keeper, path: Path, limit: int, digests: Digests) -> None:
        super().__init__(store, path, limit)
        self._digests = digests
        self._placed = False

    async def save(self) -> int:
        if not self._failed:
            await self._flush()
        else:
            await asyncio.to_thread(self._sync)
        return self._written

    async def place(self) -> None:
        await super().place()
        self._placed = True

    async def reopen(self, offset: int, kept: Path) -> None:
        """Goes on at `offset`; `kept` is where the whole file is, if it was placed and that was never noted."""
        if await asyncio.to_thread(self._open, offset, kept):
            await self._have_alone()
            await asyncio.to_thread(self._check, offset)
        known = self._digests.recall(self._path.name, offset)
        if known is None:
            known = hashlib.sha256()
            for start in range(0, offset, READ_BYTES):
                await asyncio.to_thread(self._read_into, known, start, min(READ_BYTES, offset - start))
        self._hash = known
        self._received = self._written = offset

    def leave(self) -> None:
        """Closes the file and keeps it, unless it was placed."""
        with self._lock:
            if self._placed:
                self._digests.forget(self._path.name)
                self._path.unlink(missing_ok=True)
            elif self._fd >= 0:
                self._digests.remember(self._path.name, self._written, self._hash)
            self._close()

    def _sync(self) -> None:
        with self._lock:
            os.fsync(self._fd)

    async def _have_alone(self) -> None:
        """Waits a moment for the lock: a client that broke off and is back may find its old request still saving."""
        until = asyncio.get_running_loop().time() + LOCK_SECONDS
        while not await asyncio.to_thread(self._try_lock):
            if asyncio.get_running_loop().time() >= until:
                raise Conflict(
                    "another request is sending this file; ask for its offset and go on from there",
                    retry_after=RETRY_SECONDS,
                )
            await asyncio.sleep(POLL_SECONDS)

    def _open(self, offset: int, kept: Path) -> bool:
        """Whether what it opened is a file that others may be writing."""
        with self._lock:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if offset == 0 else 0)
            try:
                self._fd = os.open(self._path, flags, 0o600)
            except FileNotFoundError:
                self._open_kept(offset, kept)
                return False
            return True

    def _try_lock(self) -> bool:
        with self._lock:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def _check(self, offset: int) -> None:
        with self._lock:
            size = os.fstat(self._fd).st_size
            if size < offset:
                raise Unavailable(f"only {size} of the bytes received so far are on this server")
            if not self._path.exists() or self._path.stat().st_ino != os.fstat(self._fd).st_ino:
                raise Conflict("another request has just completed this file", retry_after=RETRY_SECONDS)
            # What lies beyond the offset was never acknowledged. It is written over, not cut off here: the caller may
            # be one with an old offset, who is told so before it writes.

    def _open_kept(self, offset: int, kept: Path) -> None:
        """The server was killed between placing the file and noting that."""
        if not kept.is_file() or kept.stat().st_size != offset or offset != self._limit:
            raise Unavailable("the bytes received so far are not on this server")
        self._fd = os.open(kept, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def _read_into(self, digest: _Hash, start: int, count: int) -> None:
        with self._lock:
            for at in range(start, start + count, BUFFER_BYTES):
                data = os.pread(self._fd, min(BUFFER_BYTES, start + count - at), at)
                digest.update(data)
