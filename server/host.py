"""The machine the server runs on: psutil and NVIDIA's library behind the domain's port.

Everything here may block, so it runs in a thread. A part that cannot be read is left out, never guessed: without a
graphics processor, or with a broken driver, the list is empty.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

import psutil

from domain.system import DiskMetrics, GpuMetrics, HostReading
from server.logs import get_logger

log = get_logger("axonml.host")

T = TypeVar("T")

_GUESTS: Final = ("guest", "guest_nice")  # Linux counts them in user and nice, too
_IDLE: Final = ("idle", "iowait")


class LocalHost:
    """Reads this machine. `disks` names the directories the server writes to; those on one file system count once."""

    def __init__(self, disks: Mapping[str, Path], *, cores: int) -> None:
        """`cores`: how many this process may use."""
        self._disks = dict(disks)
        self._cores = cores
        self._gpus = NvidiaGpus()
        self._own = psutil.Process()

    async def read(self) -> HostReading:
        return await asyncio.to_thread(self._read)

    def _read(self) -> HostReading:
        times = psutil.cpu_times()._asdict()
        total = sum(value for name, value in times.items() if name not in _GUESTS)
        memory = psutil.virtual_memory()
        network = psutil.net_io_counters()
        processes, used = self._processes()
        return HostReading(
            seconds=time.monotonic(),
            cpu_busy=total - sum(times.get(name, 0.0) for name in _IDLE),
            cpu_total=total,
            cores=self._cores,
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            disks=tuple(self._file_systems()),
            # On a machine without any network there is None of it, whatever its types say.
            received_bytes=getattr(network, "bytes_recv", 0),
            sent_bytes=getattr(network, "bytes_sent", 0),
            gpus=self._gpus.read(),
            processes=processes,
            process_memory_bytes=used,
            uptime_seconds=max(0.0, time.time() - self._own.create_time()),
        )

    def _file_systems(self) -> list[DiskMetrics]:
        found: dict[int, DiskMetrics] = {}
        for name, path in self._disks.items():
            with suppress(OSError):  # a directory that is not there yet
                device = path.stat().st_dev
                if device in found:
                    continue
                size = os.statvfs(path)
                found[device] = DiskMetrics(
                    name=name,
                    path=str(_mount_point(path)),
                    used_bytes=(size.f_blocks - size.f_bfree) * size.f_frsize,
                    total_bytes=size.f_blocks * size.f_frsize,
                    free_bytes=size.f_bavail * size.f_frsize,
                )
        return list(found.values())

    def _processes(self) -> tuple[dict[tuple[int, float], float], int]:
        """CPU seconds of this process and all below it, and their memory: what several share is divided among them."""
        worked: dict[tuple[int, float], float] = {}
        memory = 0
        for process in (self._own, *self._own.children(recursive=True)):
            with suppress(psutil.Error):  # it ended in the meantime
                times = process.cpu_times()
                memory += _memory(process)
                worked[process.pid, process.create_time()] = times.user + times.system
        return worked, memory


def _memory(process: psutil.Process) -> int:
    try:
        # Only Linux tells the proportional share; elsewhere shared memory counts for each.
        return int(getattr(process.memory_full_info(), "pss", 0)) or process.memory_info().rss
    except psutil.AccessDenied:  # a process of another account
        return process.memory_info().rss


def _mount_point(path: Path) -> Path:
    path = path.resolve()
    while path != path.parent and path.stat().st_dev == path.parent.stat().st_dev:
        path = path.parent
    return path


class NvidiaGpus:
    """NVIDIA's management library, opened with the first reading. `load` imports its Python binding."""

    def __init__(self, load: Callable[[], ModuleType | Any] | None = None) -> None:
        self._load = load or _pynvml
        self._opening = threading.Lock()
        self._library: Any = None
        self._opened = False
        self._complained = False

    def read(self) -> tuple[GpuMetrics, ...]:
        """Every graphics processor; empty without one, and when the driver is broken, which is logged once."""
        with self._opening:
            if not self._opened:
                self._opened = True
                self._library = self._open()
        if self._library is None:
            return ()
        try:
            return tuple(self._gpu(index) for index in range(self._library.nvmlDeviceGetCount()))
        except self._library.NVMLError as error:
            self._complain(error)
            return ()

    def _open(self) -> Any:
        library = self._load()
        try:
            library.nvmlInit()
        except (library.NVMLError_LibraryNotFound, library.NVMLError_DriverNotLoaded):
            return None  # a machine without NVIDIA's driver has no such processor
        except library.NVMLError as error:
            self._complain(error)
            return None
        return library

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            log.warning("graphics processors cannot be read", error=str(error))

    def _gpu(self, index: int) -> GpuMetrics:
        library = self._library
        device = library.nvmlDeviceGetHandleByIndex(index)
        memory = library.nvmlDeviceGetMemoryInfo(device)
        name = library.nvmlDeviceGetName(device)
        milliwatts = self._told(lambda: library.nvmlDeviceGetPowerUsage(device))
        load = self._told(lambda: library.nvmlDeviceGetUtilizationRates(device).gpu)
        degrees = self._told(lambda: library.nvmlDeviceGetTemperature(device, library.NVML_TEMPERATURE_GPU))
        return GpuMetrics(
            index=index,
            name=name.decode() if isinstance(name, bytes) else str(name),
            utilization_percent=None if load is None else float(load),
            memory_used_bytes=int(memory.used),
            memory_total_bytes=int(memory.total),
            temperature=None if degrees is None else float(degrees),
            power_watts=None if milliwatts is None else milliwatts / 1000,
        )

    def _told(self, ask: Callable[[], T]) -> T | None:
        """None for what this processor does not tell, such as the load of one that is partitioned."""
        try:
            return ask()
        except self._library.NVMLError_NotSupported:
            return None


def _pynvml() -> ModuleType:
    import pynvml

    module: ModuleType = pynvml
    return module
