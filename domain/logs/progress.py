"""Progress bars in logs: lines that write over themselves, within a message, a batch, or from batch to batch.

Each level is a terminal that writes over whole lines. A line with a carriage return in it and no line break behind it
is unfinished: the next line of its level takes its place if that one begins with a carriage return, or if this one
ended with one. Otherwise the next line follows it. An empty line just finishes it, as the line break of a terminal
does. So a text may be cut behind any carriage return and sent in pieces: it stays the same.

A line that takes the place of another gets a place of its own at the end of the log, so whoever reads on from a cursor
finds it; the other one is gone. `replaces` leads readers who have it still.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from domain.logs.lines import LogLine, NewLine
from domain.logs.requests import LogLevel


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A line of the log that may be written over: its place, that of the first one of its bar, whether any line may."""

    seq: int
    first: int
    back: bool


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """A line to store at `seq`; `replaces` is the place of the first stored line of its bar."""

    seq: int
    line: NewLine
    replaces: int | None


@dataclass(frozen=True, slots=True)
class Placed:
    """What a batch makes of a log: the lines to add, the places that are written over, what is unfinished then."""

    lines: list[PlacedLine]
    gone: list[int]
    unfinished: dict[LogLevel, Unfinished]


@dataclass(slots=True)
class _Open:
    """The unfinished line of a level: the one at `index` of the batch, or, without it, the one at `seq` of the log."""

    index: int | None
    seq: int
    first: int | None
    back: bool


def place(lines: Sequence[NewLine], last_seq: int, unfinished: Mapping[LogLevel, Unfinished]) -> Placed:
    """Gives the lines of a batch their places after `last_seq`, but for those that the batch itself writes over."""
    shown: list[tuple[NewLine, int | None] | None] = []
    gone: list[int] = []
    opened = {level: _Open(None, line.seq, line.first, line.back) for level, line in unfinished.items()}
    for line in lines:
        before = opened.pop(line.level, None)
        if before is not None and not line.message:
            if line.unfinished:
                before.back = True
                opened[line.level] = before
            continue
        first = None
        if before is not None and (before.back or line.over):
            first = before.first
            if before.index is None:
                gone.append(before.seq)
            else:
                shown[before.index] = None
        if line.unfinished:
            opened[line.level] = _Open(len(shown), 0, first, line.back)
        shown.append((line, first))
    placed: list[PlacedLine] = []
    places: dict[int, int] = {}
    for index, entry in enumerate(shown):
        if entry is not None:
            places[index] = last_seq + len(placed) + 1
            placed.append(PlacedLine(places[index], *entry))
    left = {}
    for level, last in opened.items():
        seq = last.seq if last.index is None else places[last.index]
        left[level] = Unfinished(seq, seq if last.first is None else last.first, last.back)
    return Placed(placed, gone, left)


def newest(lines: Iterable[LogLine]) -> list[LogLine]:
    """The lines without those that a later one of them took the place of."""
    shown: list[LogLine] = []
    taken: dict[LogLevel, int] = {}
    for line in reversed(list(lines)):
        if line.seq < taken.get(line.level, line.seq + 1):
            shown.append(line)
            if line.replaces is not None:
                taken[line.level] = line.replaces
    return shown[::-1]
