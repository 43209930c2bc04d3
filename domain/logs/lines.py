"""Log lines: how what a script prints becomes lines, and the bounds of a batch.

A message is cut at its line breaks. Within a line, a carriage return means that a progress bar wrote over itself:
what a terminal would show at the end, the last non-empty part, is kept; `domain/logs/progress.py` says what becomes of
bars that go on in the next message. Other control characters (colours) stay.
Of what a run logs the newest lines are kept, within bounds; a line that is too long is kept shortened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain import names
from domain.errors import BadUserInput
from domain.logs.requests import LogLevel

MAX_LINES: Final = 10_000
MAX_MESSAGE: Final = 65_536


@dataclass(frozen=True, slots=True)
class LogBounds:
    """How much of one run's log is kept: so many lines, so many bytes of text, so many characters of each line."""

    lines: int = 1_000_000
    size_bytes: int = 256 * 2**20
    line_characters: int = MAX_MESSAGE


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a run's log. `seq` is its place, counted from 1; places of lines that are gone are not given again.

    It took the place of all lines of its level from `replaces` on.
    """

    seq: int
    level: LogLevel
    timestamp: datetime
    message: str
    replaces: int | None = None


@dataclass(frozen=True, slots=True)
class NewLine:
    """A line to append. Without a time it gets that of its arrival.

    Whether it begins with a carriage return (`over`), has one and no line break behind it (`unfinished`), ends with one
    (`back`).
    """

    message: str
    level: LogLevel
    timestamp: datetime | None
    over: bool = False
    unfinished: bool = False
    back: bool = False


@dataclass(frozen=True, slots=True)
class LogDraft:
    """A checked batch of 1 to 10,000 lines."""

    lines: tuple[NewLine, ...]

    @property
    def size_bytes(self) -> int:
        """About what it takes to store it: every line with its number, time and level."""
        return sum(128 + len(line.message if line.message.isascii() else line.message.encode()) for line in self.lines)

    def digest(self) -> bytes:
        """32 bytes that tell its content apart."""
        content = hashlib.sha256()
        for line in self.lines:
            message = line.message.encode()
            when = "" if line.timestamp is None else line.timestamp.isoformat()
            content.update(f"{line.level.value} {when} {len(message)}\n".encode())
            content.update(message)
        return content.digest()


def draft(
    entries: Iterable[tuple[str, LogLevel, datetime | None]], *, field: str = "lines", longest: int | None = MAX_MESSAGE
) -> LogDraft:
    """The lines of messages with their level and time, in order.

    Lines of more than `longest` characters are refused.

    Raises BadUserInput naming `field[place].message`, or `field` when it is empty or has more than 10,000 lines.
    Times must be aware.
    """
    lines: list[NewLine] = []
    place = -1
    for place, (message, level, timestamp) in enumerate(entries):
        _check(message, f"{field}[{place}].message")
        for line in _lines(message, level, timestamp):
            if longest is not None and len(line.message) > longest:
                raise BadUserInput(
                    f"a line has at most {longest} characters, got {len(line.message)}",
                    field=f"{field}[{place}].message",
                )
            lines.append(line)
            if len(lines) > MAX_LINES:
                raise BadUserInput(f"a batch has at most {MAX_LINES} lines; split it", field=field)
    if place < 0:
        raise BadUserInput("expected at least one line", field=field)
    return LogDraft(tuple(lines))


def draft_of_text(text: str, *, level: LogLevel = LogLevel.INFO) -> LogDraft:
    """The lines of plain text, as a script printed it, however long they are. Raises as `draft`."""
    if not text:
        raise BadUserInput("expected at least one line", field="message")
    return draft([(text, level, None)], longest=None)


def shortened(message: str, most: int) -> str:
    """A line of at most `most` characters; a cut one says at its end how many were left out."""
    if len(message) <= most:
        return message
    mark = f" … [{len(message) - most} more characters]"
    # With the mark in their place a few more go.
    mark = f" … [{len(message) - most + len(mark)} more characters]"
    return message[: most - len(mark)] + mark if len(mark) < most else message[:most]


def _check(message: str, field: str) -> None:
    names.notes(message, field=field, most=MAX_LINES * MAX_MESSAGE)


def _lines(message: str, level: LogLevel, timestamp: datetime | None) -> list[NewLine]:
    """At least one; the break at the very end of a message opens no further line."""
    lines = message.replace("\r\n", "\n").split("\n")
    ended = len(lines) > 1 and lines[-1] == ""
    if ended:
        lines.pop()
    return [
        NewLine(line, level, timestamp)
        if "\r" not in line
        else NewLine(
            next((part for part in reversed(line.split("\r")) if part), ""),
            level,
            timestamp,
            over=line.startswith("\r"),
            unfinished=place == len(lines) and not ended,
            back=line.endswith("\r"),
        )
        for place, line in enumerate(lines, start=1)
    ]
