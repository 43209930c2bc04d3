"""The machine's load and the figures of the instance: from root fields to the use-cases."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from domain.stats import ServerStats
from domain.system import SystemMetrics

if TYPE_CHECKING:
    from resolvers.context import Context


async def system(context: Context) -> SystemMetrics:
    """The load of now."""
    return await context.services.system.now(context.require_scope())


async def system_metrics(context: Context, interval_seconds: float) -> AsyncGenerator[SystemMetrics, None]:
    """The load now, then again and again until the reader leaves."""
    stream = await context.services.system.follow(context.require_scope(), interval_seconds)
    async with aclosing(stream):
        async for metrics in stream:
            yield metrics


async def stats(context: Context) -> ServerStats:
    """How much there is, and how the work goes."""
    return await context.services.stats.read(context.require_scope())
