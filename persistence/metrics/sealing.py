"""Turning batches into chunks: which short chunks are taken along, where chunks are cut, and whether it is worth it.

Only computes. A chunk holds consecutive accepted points of one key. A short last chunk is rewritten only together
with at least as many new points, so a point is rewritten at most about log2(MOST_POINTS) times; when its run has
ended, once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.metrics import Column, Ints, joined
from persistence.metrics.chunks import MOST_POINTS, Packed, pack

SHORT: Final = MOST_POINTS // 2
# What a row costs beside its bytes, its share of the indexes included.
_CHUNK_ROW: Final = 200
_BATCH_ROW: Final = 250


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk that is there, without its points."""

    id: int
    key: str
    first_point: int
    points: int
    first_seq: int


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Points of one key that came in batches `first_seq` to `last_seq`."""

    column: Column
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to store."""

    key: str
    first_point: int
    first_seq: int
    last_seq: int
    packed: Packed


def taken_along(newest_first: Sequence[StoredChunk], fresh: int, *, ended: bool) -> list[StoredChunk]:
    """Which of a key's last chunks are packed anew together with `fresh` points that follow; the oldest first."""
    taken: list[StoredChunk] = []
    for chunk in newest_first:
        if chunk.points >= SHORT or not (ended or chunk.points <= fresh):
            break
        taken.append(chunk)
        fresh += chunk.points
    return taken[::-1]


def packed(key: str, first_point: int, parts: Sequence[Part]) -> list[NewChunk]:
    """The chunks of consecutive parts of a key whose first point is its `first_point`-th."""
    column = joined([part.column for part in parts])
    ends = np.cumsum([len(part.column) for part in parts])
    chunks = []
    at = 0
    for end in _cuts(column.steps):
        first, last = np.searchsorted(ends, [at, end - 1], "right").tolist()
        piece = Column(key, column.steps[at:end], column.values[at:end], column.timestamps[at:end])
        chunks.append(NewChunk(key, first_point + at, parts[first].first_seq, parts[last].last_seq, pack(piece)))
        at = end
    return chunks


def _cuts(steps: Ints) -> list[int]:
    """Where chunks end: where the step changes if possible, so that neighbours have no step in common."""
    cuts: list[int] = []
    at = 0
    while len(steps) - at > MOST_POINTS:
        window = steps[at + SHORT : at + MOST_POINTS + 1]
        changes = np.flatnonzero(window[1:] != window[:-1])
        at += SHORT + int(changes[-1]) + 1 if len(changes) else MOST_POINTS
        cuts.append(at)
    return [*cuts, len(steps)]


def bytes_gained(batches: Iterable[tuple[int, bool]], replaced: Iterable[int], chunks: Iterable[NewChunk]) -> int:
    """About how many bytes sealing frees.

    `batches` are the sizes of the payloads and whether the row goes, too; `replaced` those of chunks packed anew.
    """
    before = sum(size + _BATCH_ROW * goes for size, goes in batches) + sum(size + _CHUNK_ROW for size in replaced)
    return before - sum(chunk.packed.size + _CHUNK_ROW for chunk in chunks)
