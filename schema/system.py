"""The part of the graph about the machine: its load now, and live."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from resolvers import system as resolve
from schema.scalars import BigInt

if TYPE_CHECKING:
    from resolvers.context import Context


@strawberry.type
class DiskMetrics:
    name: str
    path: str
    used_bytes: BigInt
    total_bytes: BigInt
    free_bytes: BigInt


@strawberry.type
class GpuMetrics:
    index: int
    name: str
    utilization_percent: float | None
    memory_used_bytes: BigInt
    memory_total_bytes: BigInt
    temperature: float | None
    power_watts: float | None


@strawberry.type
class SystemMetrics:
    at: datetime
    cpu_percent: float
    cores: int
    memory_used_bytes: BigInt
    memory_total_bytes: BigInt
    disks: list[DiskMetrics]
    network_received_per_second: float
    network_sent_per_second: float
    gpus: list[GpuMetrics]
    process_memory_bytes: BigInt
    process_cpu_percent: float


async def _system(info: strawberry.Info[Context, None]) -> Any:
    return await resolve.system(info.context)


def _system_metrics(info: strawberry.Info[Context, None], interval_seconds: float = 2) -> Any:
    return resolve.system_metrics(info.context, interval_seconds)


@strawberry.type
class SystemQuery:
    system: Annotated[SystemMetrics, strawberry.field(resolver=_system)]


@strawberry.type
class SystemSubscription:
    system_metrics: Annotated[AsyncGenerator[SystemMetrics, None], strawberry.subscription(resolver=_system_metrics)]
