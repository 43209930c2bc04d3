"""A file of the store, read piece by piece without pushing what others need out of the memory for files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from domain.errors import NotFound

PIECE_BYTES: Final = 1024 * 1024


async def pieces(path: Path) -> AsyncGenerator[bytes, None]:
    """Its bytes in order. Raises NotFound when there is no such file, OSError when it cannot be read."""
    try:
        fd = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound("there is no such file") from None
    try:
        offset = 0
        while piece := await asyncio.to_thread(_read, fd, offset):
            yield piece
            offset += len(piece)
    finally:
        await asyncio.to_thread(os.close, fd)


def _read(fd: int, offset: int) -> bytes:
    piece = os.pread(fd, PIECE_BYTES, offset)
    os.posix_fadvise(fd, offset, len(piece), os.POSIX_FADV_DONTNEED)
    return piece
