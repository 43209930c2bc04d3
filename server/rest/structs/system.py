"""Shapes of the health routes, and of the machine's load."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from server.rest.structs.common import AnswerBody, BigInt, DateTime


class Health(AnswerBody, kw_only=True):
    """The process is alive. It says nothing about what the process depends on."""

    status: Annotated[Literal["ok"], Meta(description="Always `ok`: a dead process does not answer.")]
    version: Annotated[str, Meta(description="Version of the server.")]


class SpaceStates(AnswerBody, kw_only=True):
    """Room on the disks. Where it is `low`, what would grow is answered 503; reading and deleting go on."""

    database: Annotated[Literal["ok", "low"], Meta(description="For runs, metrics, logs and all other rows.")]
    files: Annotated[Literal["ok", "low"], Meta(description="For uploaded files.")]


class Readiness(AnswerBody, kw_only=True):
    """The server can do its work: the database answers and its tables are those the code was written for."""

    status: Annotated[Literal["ready"], Meta(description="Always `ready`; otherwise the answer is 503.")]
    database: Annotated[Literal["ok"], Meta(description="The database answers.")]
    migrations: Annotated[Literal["ok"], Meta(description="Every migration of this version was applied.")]
    space: Annotated[SpaceStates, Meta(description="Whether there is room to write.")]


class CpuMetrics(AnswerBody, kw_only=True):
    """Processor load."""

    percent: Annotated[float, Meta(description="Load of all cores together, 0 to 100.")]
    cores: Annotated[int, Meta(description="Cores the server may use.")]


class MemoryMetrics(AnswerBody, kw_only=True):
    """Main memory."""

    total_bytes: Annotated[BigInt, Meta(description="Installed.")]
    used_bytes: Annotated[BigInt, Meta(description="In use.")]
    percent: Annotated[float, Meta(description="In use, 0 to 100.")]


class DiskMetrics(AnswerBody, kw_only=True):
    """One file system."""

    name: Annotated[str, Meta(description="What it holds, such as `data`.")]
    path: Annotated[str, Meta(description="Where it is mounted.")]
    total_bytes: Annotated[BigInt, Meta(description="Size.")]
    used_bytes: Annotated[BigInt, Meta(description="In use.")]
    free_bytes: Annotated[BigInt, Meta(description="Free for the server.")]


class NetworkMetrics(AnswerBody, kw_only=True):
    """All network interfaces together."""

    sent_bytes: Annotated[BigInt, Meta(description="Sent since the machine started.")]
    received_bytes: Annotated[BigInt, Meta(description="Received since the machine started.")]
    sent_per_second: Annotated[float, Meta(description="Bytes sent per second.")]
    received_per_second: Annotated[float, Meta(description="Bytes received per second.")]


class GpuMetrics(AnswerBody, kw_only=True):
    """One accelerator."""

    index: Annotated[int, Meta(description="Its number.")]
    name: Annotated[str, Meta(description="Its product name.")]
    utilization_percent: Annotated[float | None, Meta(description="Load, 0 to 100; null where it is not known.")]
    memory_total_bytes: Annotated[BigInt, Meta(description="Memory.")]
    memory_used_bytes: Annotated[BigInt, Meta(description="Memory in use.")]
    temperature_celsius: Annotated[float | None, Meta(description="Temperature; null where it is not known.")]
    power_watts: Annotated[float | None, Meta(description="Power draw; null where it is not known.")]


class ProcessMetrics(AnswerBody, kw_only=True):
    """The server's own processes together."""

    cpu_percent: Annotated[float, Meta(description="Load in percent of one core.")]
    memory_bytes: Annotated[BigInt, Meta(description="Resident memory; what several share is counted once.")]
    uptime_seconds: Annotated[float, Meta(description="Time since the server started.")]
    processes: Annotated[int, Meta(description="How many processes.")]


class SystemMetrics(AnswerBody, kw_only=True):
    """Figures of the host, at one moment."""

    timestamp: Annotated[DateTime, Meta(description="When they were taken.")]
    cpu: Annotated[CpuMetrics, Meta(description="Processor.")]
    memory: Annotated[MemoryMetrics, Meta(description="Main memory.")]
    disks: Annotated[list[DiskMetrics], Meta(description="File systems the server writes to.")]
    network: Annotated[NetworkMetrics, Meta(description="Network.")]
    gpus: Annotated[list[GpuMetrics], Meta(description="Accelerators; empty where there are none.")]
    process: Annotated[ProcessMetrics, Meta(description="The server.")]


class ServerStats(AnswerBody, kw_only=True):
    """How much there is on the whole instance."""

    users: Annotated[BigInt, Meta(description="Accounts.")]
    runs: Annotated[BigInt, Meta(description="Runs.")]
    runs_active: Annotated[BigInt, Meta(description="Runs that are running.")]
    models: Annotated[BigInt, Meta(description="Models.")]
    model_versions: Annotated[BigInt, Meta(description="Versions.")]
    endpoints: Annotated[BigInt, Meta(description="Endpoints.")]
    endpoints_running: Annotated[BigInt, Meta(description="Endpoints that are running.")]
    metric_points: Annotated[BigInt, Meta(description="Accepted metric points.")]
    storage_bytes: Annotated[BigInt, Meta(description="Bytes of stored files.")]
    database_bytes: Annotated[BigInt, Meta(description="Bytes of the database.")]
    uptime_seconds: Annotated[float, Meta(description="Time since the server started.")]
    version: Annotated[str, Meta(description="Version of the server.")]
