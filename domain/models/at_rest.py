"""A file that does not change any more, as checks read it."""

from __future__ import annotations

from typing import Protocol


class FileBytes(Protocol):
    """A file at rest. Reading blocks; callers read little, off the event loop."""

    @property
    def size_bytes(self) -> int:
        """Its length."""
        ...

    def read_at(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`; fewer only at the end of the file."""
        ...
