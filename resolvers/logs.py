"""Logs: from fields and inputs to the use-cases, and the loader that runs hang their lines under."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from strawberry.dataloader import DataLoader

from domain.logs import LogDelta, LogDraft, LogLine, LogsAppendedResult, LogsRequest
from domain.paging import Page
from resolvers.batching import by_parent

if TYPE_CHECKING:
    from domain.access import Scope
    from resolvers.context import Context, Services


@dataclass(frozen=True, slots=True)
class LogLoaders:
    """What hangs under runs, for keys (run id, request)."""

    lines: DataLoader[tuple[str, LogsRequest], Page[LogLine]]

    @classmethod
    def of(cls, services: Services, scope: Scope) -> LogLoaders:
        """Loaders that read as `scope`."""
        return cls(lines=by_parent(partial(services.logs.pages, scope)))


async def logs_append(context: Context, run_id: str, batch: str | None, draft: LogDraft) -> LogsAppendedResult:
    """Appends lines."""
    return await context.services.logs.append(context.require_scope(), run_id, draft, batch=batch)


async def run_logs(
    context: Context, run_id: str, *, after: str | None, tail: int | None
) -> AsyncGenerator[LogDelta, None]:
    """New lines of a run until it ends or the reader leaves."""
    stream = await context.services.logs.follow(context.require_scope(), run_id, after=after, tail=tail)
    async with aclosing(stream):
        async for delta in stream:
            yield delta
