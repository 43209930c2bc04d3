"""Log lines: how what a script prints becomes lines, and the bounds of a batch.

A message is cut at its line breaks. Within a line, a carriage return means that a progress bar wrote over itself:
what a terminal would show at the end, the last non-empty part, is kept. Other control characters (colours) stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain import names
from domain.errors import BadUserInput, PayloadTooLarge
from domain.logs.requests import LogLevel

MAX_LINES: Final = 10_000
MAX_MESSAGE: Final = 65_536


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a run's log; `seq` is its place, counted from 1 without a gap."""

    seq: int
    level: LogLevel
    timestamp: datetime
    message: str


@dataclass(frozen=True, slots=True)
class NewLine:
    """A line to append. Without a time it gets that of its arrival."""

    message: str
    level: LogLevel
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class LogDraft:
    """A checked batch of 1 to 10,000 lines."""

    lines: tuple[NewLine, ...]

    def digest(self) -> bytes:
        """32 bytes that tell its content apart."""
        content = hashlib.sha256()
        for line in self.lines:
            message = line.message.encode()
            when = "" if line.timestamp is None else line.timestamp.isoformat()
            content.update(f"{line.level.value} {when} {len(message)}\n".encode())
            content.update(message)
        return content.digest()


def draft(entries: Iterable[tuple[str, LogLevel, datetime | None]], *, field: str = "lines") -> LogDraft:
    """The lines of messages with their level and time, in order.

    Raises BadUserInput naming `field[place].message` or `field` when it is empty; PayloadTooLarge for more than
    10,000 lines. Times must be aware.
    """
    lines: list[NewLine] = []
    place = -1
    for place, (message, level, timestamp) in enumerate(entries):
        _check(message, f"{field}[{place}].message")
        for text in split(message):
            if len(text) > MAX_MESSAGE:
                raise BadUserInput(
                    f"a line has at most {MAX_MESSAGE} characters, got {len(text)}", field=f"{field}[{place}].message"
                )
            lines.append(NewLine(text, level, timestamp))
            if len(lines) > MAX_LINES:
                raise PayloadTooLarge(f"a batch has at most {MAX_LINES} lines; split it", field=field)
    if place < 0:
        raise BadUserInput("expected at least one line", field=field)
    return LogDraft(tuple(lines))


def draft_of_text(text: str, *, level: LogLevel = LogLevel.INFO) -> LogDraft:
    """The lines of plain text, as a script printed it. Raises as `draft`."""
    if not text:
        raise BadUserInput("expected at least one line", field="message")
    return draft([(text, level, None)])


def _check(message: str, field: str) -> None:
    names.notes(message, field=field, most=MAX_LINES * MAX_MESSAGE)


def split(message: str) -> list[str]:
    """The lines of a message: at least one; the break at its very end opens no further line."""
    lines = message.replace("\r\n", "\n").split("\n")
    if len(lines) > 1 and lines[-1] == "":
        lines.pop()
    return [_as_shown(line) for line in lines]


def _as_shown(line: str) -> str:
    if "\r" not in line:
        return line
    return next((part for part in reversed(line.split("\r")) if part), "")
