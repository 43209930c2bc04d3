"""Files by the SHA-256 of their bytes, on the local disk.

    <root>/tmp/<random>            what is arriving in one request
    <root>/uploads/<id>            what is arriving in pieces
    <root>/sha256/ab/cd/abcd…      what is kept, read-only

Every path is made of server-made names: nothing a client sends is ever part of one. A kept file never changes; it
appears by one rename after its bytes are on disk, so a reader sees all of it or nothing. All disk work happens in
threads; memory per upload is two buffers, whatever the size of the file.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from domain.errors import Unavailable
from domain.storage import no_room, watermark
from persistence.blob_pieces import pieces
from persistence.incoming import Digests, LocalIncoming, LocalResumed

STALE_AFTER: Final = timedelta(hours=1)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME: Final = re.compile(r"[a-z]{1,8}_[0-9a-f]{32}", re.ASCII)


class LocalBlobs:
    """The store under `root`. `min_free_bytes`: uploads stop when less space than this would remain; None for a share
    of the disk.

    Call `open` once before anything else; exactly one server may use a root.
    """

    def __init__(self, root: Path, *, min_free_bytes: int | None = 0) -> None:
        self._root = root
        self._incoming = root / "tmp"
        self._unfinished = root / "uploads"
        self._kept = root / "sha256"
        self._digests = Digests()
        self._min_free_bytes = min_free_bytes

    async def open(self) -> int:
        """Makes the directories and removes what aborted uploads left; how many files that were."""
        return await asyncio.to_thread(self._open)

    def _open(self) -> int:
        for directory in (self._root, self._incoming, self._unfinished, self._kept):
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

    def resume(
        self, name: str, *, offset: int, size_bytes: int, sha256: str
    ) -> AbstractAsyncContextManager[LocalResumed]:
        return self._resume(name, offset, size_bytes, sha256)

    @asynccontextmanager
    async def _resume(self, name: str, offset: int, size_bytes: int, sha256: str) -> AsyncIterator[LocalResumed]:
        resumed = LocalResumed(self, self._unfinished_at(name), size_bytes, self._digests)
        try:
            await resumed.reopen(offset, self._place_of(sha256))
            yield resumed
        finally:
            await asyncio.to_thread(resumed.leave)

    async def forget(self, name: str) -> None:
        self._digests.forget(name)
        await asyncio.to_thread(self._unfinished_at(name).unlink, missing_ok=True)

    async def unfinished(self, idle: timedelta) -> list[str]:
        def names() -> Iterator[str]:
            oldest = time.time() - idle.total_seconds()
            for file in self._unfinished.iterdir():
                with suppress(FileNotFoundError):
                    if _NAME.fullmatch(file.name) and file.lstat().st_mtime <= oldest:
                        yield file.name

        return await asyncio.to_thread(lambda: list(names()))

    def _unfinished_at(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None:
            raise ValueError("not a name of ours")
        return self._unfinished / name

    async def path(self, sha256: str) -> str:
        target = self._place_of(sha256)
        if not await asyncio.to_thread(target.is_file):
            raise Unavailable("the file of this version is not on this server")
        return str(target)

    def read(self, sha256: str) -> AsyncGenerator[bytes, None]:
        """The bytes of a kept file, piece by piece. Raises NotFound before the first one when it is not here."""
        return pieces(self._place_of(sha256))

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


def _sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
