"""What a replica computes right now, told to a client even by a replica that dies of it.

A page of shared memory per connection: the replica writes the ids of the client's requests before a forward and clears
them after it, without a system call. When the replica is gone the client reads who was being computed: only they can
have ended it. The page is sealed, so neither end can shrink it under the other.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from array import array
from collections.abc import Sequence
from typing import Final

from domain.serving import MAX_BATCH_ROWS

_WORD: Final = 8
SIZE: Final = _WORD * (1 + MAX_BATCH_ROWS)
SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class FlightError(Exception):
    """The descriptor is not such a page."""


class Flight:
    """The page, at either end. Closing the descriptor is left to whoever opened it."""

    def __init__(self, fd: int) -> None:
        """Raises FlightError unless `fd` is a sealed page of the right size."""
        try:
            sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
        except OSError:
            sealed = False
        if not sealed or os.fstat(fd).st_size != SIZE:
            raise FlightError("not a sealed page of the expected size")
        self._page = mmap.mmap(fd, SIZE)

    def write(self, requests: Sequence[int]) -> None:
        """These are computed from here on; none: the forward is over."""
        words = array("Q", requests[:MAX_BATCH_ROWS])
        self._page[_WORD : _WORD * (1 + len(words))] = words.tobytes()
        self._page[:_WORD] = len(words).to_bytes(_WORD, "little")

    def read(self) -> frozenset[int]:
        """Who is, or was at the end, being computed."""
        count = min(int.from_bytes(self._page[:_WORD], "little"), MAX_BATCH_ROWS)
        return frozenset(memoryview(self._page[_WORD : _WORD * (1 + count)]).cast("Q"))

    def close(self) -> None:
        """Unmap it."""
        self._page.close()


def create() -> int:
    """A descriptor of a new, empty page."""
    fd = os.memfd_create("flight", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, SIZE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd
