"""Shared memory for large tensors between a client and a replica, one piece in each direction per connection.

The writer lays the tensors out in the slab and sends only where they lie; the reader uses them there, or copies them
out. A slab is an anonymous file that the replica makes and sends along with its greeting: it has no name, it goes with
its last user, and it is sealed, so that nobody can shrink it under the other. What finds no room goes by the socket.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from domain.tensors import Array

SIZE: Final = 48 * 1024 * 1024
THRESHOLD_BYTES: Final = 256 * 1024
"""Smaller requests and answers go by the socket, where they share a system call with others."""
_ALIGN: Final = 64
_HEADER: Final = 64  # the first word of a slab of answers: how far the client has read
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

Region = tuple[int, int, int]
"""Where a body lies: first byte, length, and for answers the position up to which reading it has got."""


class SlabError(Exception):
    """The descriptor is not a slab, or a region does not lie in it."""


class Slab:
    """A slab, at either end. The descriptor stays with whoever opened it."""

    def __init__(self, fd: int) -> None:
        """Raises SlabError unless `fd` is sealed and of the right size."""
        try:
            sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
        except OSError:
            sealed = False
        if not sealed or os.fstat(fd).st_size != SIZE:
            raise SlabError("not a sealed slab of the expected size")
        self._map = mmap.mmap(fd, SIZE)
        self._bytes = memoryview(self._map)

    def body(self, region: Region) -> memoryview:
        """The bytes of a region. Raises SlabError."""
        start, length, _end = region
        if start < _HEADER or length < 0 or start + length > SIZE:
            raise SlabError("a region outside the slab")
        return self._bytes[start : start + length]

    def fill(self, start: int, arrays: Sequence[Array]) -> None:
        """Lay the arrays out as in the body of a frame."""
        position = start
        for array in arrays:
            position += -position % _ALIGN
            target = np.frombuffer(self._bytes, array.dtype, array.size, position).reshape(array.shape)
            np.copyto(target, array)
            position += array.nbytes

    def close(self) -> None:
        """Unmap it; arrays that still lie in it keep it until they are gone."""
        with suppress(BufferError):
            self._bytes.release()
            self._map.close()

    @property
    def taken(self) -> int:
        """How far the reader has got."""
        return int.from_bytes(self._bytes[:8], "little")

    @taken.setter
    def taken(self, position: int) -> None:
        self._bytes[:8] = position.to_bytes(8, "little")


def create() -> int:
    """A descriptor of a new slab; its pages take memory once they are used."""
    fd = os.memfd_create("slab", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, SIZE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def length_of(arrays: Sequence[Array]) -> int:
    """Bytes of the body that the arrays make."""
    length = 0
    for array in arrays:
        length += -length % _ALIGN + array.nbytes
    return length


class Requests:
    """The client's half: places for requests, given back one by one.

    A place whose request was cancelled is free once the replica has said so and does not compute it (`busy`).
    """

    def __init__(self, slab: Slab, busy: Callable[[], frozenset[int]]) -> None:
        self._slab = slab
        self._busy = busy
        self._taken: dict[int, Region] = {}
        self._left: set[int] = set()

    def put(self, number: int, arrays: Sequence[Array]) -> Region | None:
        """Lay the inputs of a request out; None when they are small or there is no room."""
        length = length_of(arrays)
        if length < THRESHOLD_BYTES:
            return None
        if self._left:
            busy = self._busy()
            for gone in self._left - busy:
                self.free(gone)
        start = _HEADER
        for first, size, _end in sorted(self._taken.values()):
            if first - start >= length:
                break
            start = first + size + -(first + size) % _ALIGN
        if start + length > SIZE:
            return None
        region = (start, length, 0)
        self._slab.fill(start, arrays)
        self._taken[number] = region
        return region

    def free(self, number: int) -> None:
        """The request is answered."""
        self._taken.pop(number, None)
        self._left.discard(number)

    def leave(self, number: int) -> None:
        """The replica knows that nobody waits for the request any more, but may be computing it."""
        if number in self._taken:
            self._left.add(number)


class Answers:
    """The replica's half: answers one behind the other, round and round; the client reads them in that order."""

    def __init__(self, slab: Slab) -> None:
        self._slab = slab
        self._written = 0
        self._room = SIZE - _HEADER

    def put(self, arrays: Sequence[Array]) -> Region | None:
        """Lay outputs out; None when they are small or the client has not read enough yet."""
        length = length_of(arrays)
        if length < THRESHOLD_BYTES:
            return None
        position = self._written + -self._written % _ALIGN
        if position % self._room + length > self._room:
            position += self._room - position % self._room  # not around the end
        if position + length - self._slab.taken > self._room:
            return None
        self._written = position + length
        start = _HEADER + position % self._room
        self._slab.fill(start, arrays)
        return start, length, self._written
