"""The load of the machine, and the figures of the instance: as JSON, and in the text form of Prometheus."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from domain import stats
from domain import system as domain
from schema.scalars import write_datetime, write_int
from server.edge.identity import scope_of
from server.exposition import CONTENT_TYPE, exposed
from server.rest.handler import answer, services_of
from server.rest.operations.system import PROMETHEUS, STATS, SYSTEM
from server.rest.route import Route
from server.rest.structs.system import (
    CpuMetrics,
    DiskMetrics,
    GpuMetrics,
    MemoryMetrics,
    NetworkMetrics,
    ProcessMetrics,
    ServerStats,
    SystemMetrics,
)


async def _system(request: Request) -> Response:
    return answer(_encoded(await services_of(request).system.now(scope_of(request))))


async def _stats(request: Request) -> Response:
    return answer(_counted(await services_of(request).stats.read(scope_of(request))))


async def _prometheus(request: Request) -> Response:
    found = await services_of(request).stats.read(scope_of(request))
    # Several processes fill megabytes: a fifth of a second for which nobody else would be served.
    return Response(await asyncio.to_thread(exposed, found), headers={"Content-Type": CONTENT_TYPE})


def _counted(found: stats.ServerStats) -> ServerStats:
    counts = found.counts
    return ServerStats(
        users=write_int(counts.users),
        runs=write_int(counts.runs),
        runs_active=write_int(counts.runs_active),
        models=write_int(counts.models),
        model_versions=write_int(counts.model_versions),
        endpoints=write_int(counts.endpoints),
        endpoints_running=write_int(counts.endpoints_running),
        metric_points=write_int(counts.points),
        storage_bytes=write_int(counts.file_bytes),
        database_bytes=write_int(counts.database_bytes),
        uptime_seconds=found.uptime_seconds,
        version=found.version,
    )


def _encoded(found: domain.SystemMetrics) -> SystemMetrics:
    return SystemMetrics(
        timestamp=write_datetime(found.at),
        cpu=CpuMetrics(percent=found.cpu_percent, cores=found.cores),
        memory=MemoryMetrics(
            total_bytes=write_int(found.memory_total_bytes),
            used_bytes=write_int(found.memory_used_bytes),
            percent=100 * found.memory_used_bytes / max(1, found.memory_total_bytes),
        ),
        disks=[_disk(disk) for disk in found.disks],
        network=NetworkMetrics(
            sent_bytes=write_int(found.network_sent_bytes),
            received_bytes=write_int(found.network_received_bytes),
            sent_per_second=found.network_sent_per_second,
            received_per_second=found.network_received_per_second,
        ),
        gpus=[_gpu(gpu) for gpu in found.gpus],
        process=ProcessMetrics(
            cpu_percent=found.process_cpu_percent,
            memory_bytes=write_int(found.process_memory_bytes),
            uptime_seconds=found.uptime_seconds,
            processes=found.process_count,
        ),
    )


def _disk(disk: domain.DiskMetrics) -> DiskMetrics:
    return DiskMetrics(
        name=disk.name,
        path=disk.path,
        total_bytes=write_int(disk.total_bytes),
        used_bytes=write_int(disk.used_bytes),
        free_bytes=write_int(disk.free_bytes),
    )


def _gpu(gpu: domain.GpuMetrics) -> GpuMetrics:
    return GpuMetrics(
        index=gpu.index,
        name=gpu.name,
        utilization_percent=gpu.utilization_percent,
        memory_total_bytes=write_int(gpu.memory_total_bytes),
        memory_used_bytes=write_int(gpu.memory_used_bytes),
        temperature_celsius=gpu.temperature,
        power_watts=gpu.power_watts,
    )


ROUTES: Final[tuple[Route, ...]] = (Route(SYSTEM, _system), Route(STATS, _stats), Route(PROMETHEUS, _prometheus))
