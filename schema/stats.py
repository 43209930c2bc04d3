"""The part of the graph about the instance as a whole: what there is, and how its work goes."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from domain import figures, stats
from resolvers import system as resolve
from schema.scalars import BigInt

if TYPE_CHECKING:
    from resolvers.context import Context


@strawberry.type
class Spread:
    count: BigInt
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@strawberry.type
class RefusedBatches:
    code: str
    count: BigInt


@strawberry.type
class IngestStats:
    batches: BigInt
    points: BigInt
    bytes: BigInt
    queued_batches: int
    queued_points: BigInt
    refused: list[RefusedBatches]
    group_batches: Spread
    commit_seconds: Spread


@strawberry.type
class LiveStats:
    connections: int
    readers: int
    reads: BigInt
    executions: BigInt
    deltas: BigInt
    skipped: BigInt
    resets: BigInt
    payloads: BigInt
    encodings: BigInt


@strawberry.type
class DamagedRun:
    run_id: strawberry.ID
    reason: str
    since: datetime
    attempts: int
    next_try_at: datetime


@strawberry.type
class SealingStats:
    holder: str | None
    mine: bool
    last_sweep_at: datetime | None
    sweeps: BigInt
    batches: BigInt
    points: BigInt
    chunks: BigInt
    step_seconds: Spread
    failures: BigInt
    last_failure: str | None
    unsealed_runs: BigInt
    unsealed_points: BigInt
    due_runs: BigInt
    lag_seconds: float
    damaged_runs: BigInt
    damaged: list[DamagedRun]


@strawberry.type
class RequestStats:
    route: str
    method: str
    status: int
    seconds: Spread


@strawberry.type
class ProcessStats:
    worker: int
    pid: int
    started_at: datetime
    memory_bytes: BigInt
    cpu_seconds: float
    connections_open: int
    connections_idle: int
    connections_most: int
    connections_waiting: int


@strawberry.type
class ServerStats:
    at: datetime
    version: str
    uptime_seconds: float
    users: BigInt
    runs: BigInt
    runs_active: BigInt
    points: BigInt
    models: BigInt
    model_versions: BigInt
    endpoints: BigInt
    endpoints_running: BigInt
    database_bytes: BigInt
    file_bytes: BigInt
    ingest: IngestStats
    live: LiveStats
    sealing: SealingStats
    requests: list[RequestStats]
    processes: list[ProcessStats]


def _shown(found: stats.ServerStats) -> Any:
    """What the graph shows of a reading; parts that have the same names go as they are."""
    ingest: Any = found.ingest
    refused: Any = [RefusedBatches(code=code, count=BigInt(count)) for code, count in sorted(ingest.refused.items())]
    values: dict[str, Any] = {
        **_named(found.counts),
        "at": found.at,
        "version": found.version,
        "uptime_seconds": found.uptime_seconds,
        "ingest": IngestStats(**{**_named(ingest), "refused": refused}),
        "live": found.live,
        "sealing": _sealing(found),
        "requests": found.requests,
        "processes": [_process(process) for process in found.processes],
    }
    return ServerStats(**values)


def _sealing(found: stats.ServerStats) -> SealingStats:
    done, state = _named(found.sealing), _named(found.sealing_state)
    del state["lag"]
    return SealingStats(mine=done.pop("holds_lease"), lag_seconds=found.lag_seconds, **done, **state)


def _process(process: figures.ProcessFigures) -> ProcessStats:
    kept = ("worker", "pid", "started_at", "memory_bytes", "cpu_seconds")
    pool = {f"connections_{name}": value for name, value in _named(process.pool).items()}
    return ProcessStats(**{name: getattr(process, name) for name in kept}, **pool)


def _named(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


async def _stats(info: strawberry.Info[Context, None]) -> Any:
    return _shown(await resolve.stats(info.context))


@strawberry.type
class StatsQuery:
    stats: Annotated[ServerStats, strawberry.field(resolver=_stats)]
