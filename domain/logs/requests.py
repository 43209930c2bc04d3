"""What may be asked of a run's log: hashable requests, so that many runs asking alike are answered together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from domain.errors import BadUserInput

DEFAULT_LINES: Final = 200
MAX_LINES_READ: Final = 1_000


class LogLevel(Enum):
    """How serious a line is, in rising order."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """10 to 50, as in Python's logging: what is stored, and what levels compare by."""
        return _RANKS[self]

    @classmethod
    def of_rank(cls, rank: int) -> LogLevel:
        """The level that is stored as `rank`."""
        return _LEVELS[rank]


_RANKS: Final = {level: 10 * place for place, level in enumerate(LogLevel, start=1)}
_LEVELS: Final = {rank: level for level, rank in _RANKS.items()}


@dataclass(frozen=True, slots=True)
class LogsRequest:
    """A page of a run's log, oldest first: `most` lines, the `newest` ones before `before`, else those after `after`.

    With `level`, only lines of this level and above.
    """

    most: int = DEFAULT_LINES
    after: str | None = None
    before: str | None = None
    newest: bool = False
    level: LogLevel | None = None

    @classmethod
    def of(
        cls,
        first: int | None = None,
        after: str | None = None,
        level: LogLevel | None = None,
        *,
        last: int | None = None,
        before: str | None = None,
    ) -> LogsRequest:
        """Raises BadUserInput when `first` or `last` is outside 0..1,000, or both directions are asked for."""
        field = "before" if last is None else "last"
        newest = last is not None or before is not None
        if newest and (first is not None or after is not None):
            given = "first" if first is not None else "after"
            raise BadUserInput(f"{field} leads backwards and {given} forwards: give one of them", field=field)
        most = bounded(first, "first") if last is None else bounded(last, "last")
        return cls(DEFAULT_LINES if most is None else most, after, before, newest, level)


def bounded(lines: int | None, field: str) -> int | None:
    """A number of lines to read. Raises BadUserInput unless it lies in 0..1,000."""
    if lines is not None and not 0 <= lines <= MAX_LINES_READ:
        raise BadUserInput(f"{field} must lie between 0 and {MAX_LINES_READ}, got {lines}", field=field)
    return lines
