"""Cursors of the live streams: a run's sequence number in opaque form, good across restarts and processes."""

from __future__ import annotations

from functools import lru_cache

from domain.errors import BadUserInput
from domain.paging import Keyset

_MAX_CURSOR = 256


@lru_cache(maxsize=4_096)
def _keyset(stream: str, run_id: str) -> Keyset:
    return Keyset((stream, run_id), (int,))


def write_cursor(stream: str, run_id: str, seq: int) -> str:
    """The cursor of place `seq` in the stream ("metrics", "logs") of a run."""
    return _keyset(stream, run_id).encode((seq,))


def read_cursor(stream: str, run_id: str, cursor: str | None) -> int:
    """The place a cursor names; 0, the beginning, without one.

    Raises BadUserInput (field `after`) for anything that is no cursor of this stream of this run.
    """
    if cursor is None:
        return 0
    if len(cursor) <= _MAX_CURSOR:
        (seq,) = _keyset(stream, run_id).decode(cursor)
        if isinstance(seq, int) and seq >= 0:
            return seq
    raise BadUserInput("not a cursor of this run's stream", field="after")
