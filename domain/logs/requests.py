"""What may be asked of a run's log: hashable requests, so that many runs asking alike are answered together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from domain.paging import PageRequest

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
    """A page of a run's log, oldest first; with `level`, only lines of this level and above."""

    page: PageRequest
    level: LogLevel | None = None

    @classmethod
    def of(cls, first: int | None = None, after: str | None = None, level: LogLevel | None = None) -> LogsRequest:
        """Raises BadUserInput when `first` is outside 0..1,000."""
        return cls(PageRequest.of(DEFAULT_LINES if first is None else first, after, most=MAX_LINES_READ), level)
