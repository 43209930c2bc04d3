"""Logs of runs: what a line is, how lines are taken, read and followed live."""

from __future__ import annotations

from domain.logs.lines import MAX_LINES, MAX_MESSAGE, LogDraft, LogLine, NewLine, draft, draft_of_text, split
from domain.logs.requests import LogLevel, LogsRequest
from domain.logs.service import (
    STREAM,
    LinesSince,
    LinesStored,
    LogDelta,
    Logs,
    LogsAppendedResult,
    LogStore,
)

__all__ = [
    "MAX_LINES",
    "MAX_MESSAGE",
    "STREAM",
    "LinesSince",
    "LinesStored",
    "LogDelta",
    "LogDraft",
    "LogLevel",
    "LogLine",
    "LogStore",
    "Logs",
    "LogsAppendedResult",
    "LogsRequest",
    "NewLine",
    "draft",
    "draft_of_text",
    "split",
]
