"""The part of the graph about logs: lines, appending them, following them live."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from domain import logs
from domain.logs import LogLevel
from domain.runs import RunStatus
from resolvers import logs as resolve
from schema.paging import Edge, PageInfo
from schema.scalars import BigInt

if TYPE_CHECKING:
    from resolvers.context import Context

strawberry.enum(LogLevel)


@strawberry.type
class LogLine:
    seq: BigInt
    level: LogLevel
    timestamp: datetime
    message: str
    replaces: BigInt | None


# Not Connection[LogLine], which would be named LogLineConnection.
@strawberry.type
class LogConnection:
    nodes: list[LogLine]
    edges: list[Edge[LogLine]]
    page_info: PageInfo
    total_count: int | None
    total_count_at_least: int


@strawberry.type
class LogDelta:
    cursor: str
    lines: list[LogLine]
    status: RunStatus


@strawberry.input
class LogLineInput:
    message: str
    level: LogLevel = LogLevel.INFO
    timestamp: datetime | None = None


@strawberry.input
class LogsAppendInput:
    run_id: strawberry.ID
    lines: list[LogLineInput]
    batch_id: str | None = None


@strawberry.type
class LogsAppended:
    accepted: BigInt
    cursor: str
    stop_requested: bool


async def _append(
    info: strawberry.Info[Context, None], given: Annotated[LogsAppendInput, strawberry.argument(name="input")]
) -> Any:
    draft = logs.draft((line.message, line.level, line.timestamp) for line in given.lines)
    return await resolve.logs_append(info.context, given.run_id, given.batch_id, draft)


def _follow(
    info: strawberry.Info[Context, None], run_id: strawberry.ID, after: str | None = None, tail: int | None = None
) -> Any:
    return resolve.run_logs(info.context, run_id, after=after, tail=tail)


@strawberry.type
class LogMutation:
    logs_append: Annotated[LogsAppended, strawberry.mutation(resolver=_append)]


@strawberry.type
class LogSubscription:
    run_logs: Annotated[AsyncGenerator[LogDelta, None], strawberry.subscription(resolver=_follow)]
