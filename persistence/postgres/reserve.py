"""Space put by for the worst moment: a file that is given up when PostgreSQL stopped because its disk was full.

Recovery has to write before it can answer; without this it would need a person to make room first.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

MIB: Final = 1024 * 1024
_LOOK_EVERY: Final = 2.0


def reserve_size(directory: Path, asked: int | None) -> int:
    """Bytes to put by on the disk of `directory`: as asked, else a tenth of it within 48 and 256 MiB."""
    if asked is not None:
        return asked
    disk = os.statvfs(directory)
    return min(max(disk.f_blocks * disk.f_frsize // 10, 48 * MIB), 256 * MIB)


class Reserve:
    """The file `path`, which must be on the disk of the database. `size` 0 puts nothing by. Keep `keep` running."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        """`size` in bytes, None for one that fits the disk."""
        self._path = path
        self._asked = size

    @property
    def held(self) -> bool:
        """Whether the space is put by."""
        return self._path.exists()

    async def keep(self) -> None:
        """Puts the space by as soon as there is enough, for ever."""
        while True:
            await asyncio.to_thread(self.hold)
            await asyncio.sleep(_LOOK_EVERY)

    def hold(self) -> bool:
        """Puts the space by, when it is not and four times as much is free; whether it is now. Blocks."""
        if self._asked == 0:
            self._path.unlink(missing_ok=True)  # of an earlier start that was to put some by
        elif self.held:
            return True
        size = self._size()
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)  # of a process that died meanwhile: what it took is not free
        if size == 0 or _free(self._path.parent) < 4 * size:
            return False
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            draft.rename(self._path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            _log.warning("no disk space could be put by: %s", error.strerror)
            return False
        _log.info("%d MiB of disk space are put by", size // MIB)
        return True

    def release_if_needed(self) -> bool:
        """Gives the space up when the disk has less left than that; whether it did."""
        return self.held and _free(self._path.parent) < self._size() and self.release()

    def release(self) -> bool:
        """Gives the space up; whether there was any."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        _log.error("the disk is full: the space put by for PostgreSQL's recovery is given up")
        return True

    def _size(self) -> int:
        return reserve_size(self._path.parent, self._asked)


def _free(directory: Path) -> int:
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize
