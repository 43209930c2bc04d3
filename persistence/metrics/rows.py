"""What every part of the metric store does with rows and with work that only computes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from asyncpg import Record

from domain.metrics import MetricSummary

T = TypeVar("T")


async def off_loop(heavy: bool, work: Callable[[], T]) -> T:
    """Work that only computes: in a thread when it would hold up the event loop."""
    return await asyncio.to_thread(work) if heavy else work()


def milliseconds(moment: datetime) -> int:
    """A moment in ms since 1970."""
    return round(moment.timestamp() * 1000)


def read_summary(row: Record) -> MetricSummary:
    """A summary from a row of `metric_summaries`."""
    return MetricSummary(
        row["key"],
        row["last_value"],
        row["last_step"],
        row["min_value"],
        row["max_value"],
        row["mean_value"],
        row["count"],
        row["non_finite"],
    )
