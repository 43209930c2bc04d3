"""Logs of runs: what a line is, how lines are taken, and what may be asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from domain.paging import PageRequest

DEFAULT_LINES: Final = 200
MAX_LINES_READ: Final = 1_000


class LogLevel(Enum):
    """How serious a line is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class LogsRequest:
    """A page of a run's log, oldest first; with `level`, only lines of this level and above."""

    page: PageRequest
    level: LogLevel | None = None

    @classmethod
    def of(cls, first: int | None = None, after: str | None = None, level: LogLevel | None = None) -> LogsRequest:
        """Raises BadUserInput when `first` is outside 0..1,000."""
        return cls(PageRequest.of(DEFAULT_LINES if first is None else first, after, most=MAX_LINES_READ), level)
