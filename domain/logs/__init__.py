"""Logs of runs: what a line is, how lines are taken, read and followed live."""

from __future__ import annotations

from domain.logs.lines import (
    MAX_LINES,
    MAX_MESSAGE,
    LogBounds,
    LogDraft,
    LogLine,
    NewLine,
    draft,
    draft_of_text,
    shortened,
)
from domain.logs.progress import Placed, PlacedLine, Unfinished, newest, place
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
    "LogBounds",
    "LogDelta",
    "LogDraft",
    "LogLevel",
    "LogLine",
    "LogStore",
    "Logs",
    "LogsAppendedResult",
    "LogsRequest",
    "NewLine",
    "Placed",
    "PlacedLine",
    "Unfinished",
    "draft",
    "draft_of_text",
    "newest",
    "place",
    "shortened",
]
