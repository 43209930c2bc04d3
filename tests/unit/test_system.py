"""The machine's load: figures between readings, one reading for everybody, and processors that are not there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from domain.access import KeyScope, Principal, Scope, UserRole
from domain.errors import BadUserInput, Forbidden
from domain.system import HostReading, System, between
from server import host
from server.host import LocalHost, NvidiaGpus
from tests.support.access import EDITOR
from tests.support.tracking import SetClock

GIB = 2**30
READING = HostReading(
    seconds=100.0,
    cpu_busy=50.0,
    cpu_total=400.0,
    cores=4,
    memory_used_bytes=3 * GIB,
    memory_total_bytes=8 * GIB,
    disks=(),
    received_bytes=1_000,
    sent_bytes=2_000,
    gpus=(),
    processes={(1, 0.5): 10.0, (2, 0.5): 1.0},
    process_memory_bytes=GIB,
    uptime_seconds=60.0,
)


def scope(*scopes: KeyScope, session: bool = False) -> Scope:
    principal = Principal("usr_" + "a" * 32, "ada@example.com", UserRole.USER)
    principal = replace(principal, session_id="ses_1") if session else replace(principal, scopes=frozenset(scopes))
    return Scope("wsp_" + "0" * 32, principal, EDITOR)


SESSION = scope(session=True)


class CountingHost:
    """Reads a machine that is one second further each time, and notes how often it was read."""

    def __init__(self, timer: Timer) -> None:
        self.reads = 0
        self._timer = timer

    async def read(self) -> HostReading:
        self.reads += 1
        await asyncio.sleep(0)
        return replace(READING, seconds=self._timer(), received_bytes=1_000 * self.reads)


class Timer:
    """A clock that moves only when somebody pauses."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at

    async def pause(self, seconds: float) -> None:
        self.at += seconds
        await asyncio.sleep(0)


def system() -> tuple[System, CountingHost, Timer]:
    timer = Timer()
    counting = CountingHost(timer)
    return System(host=counting, clock=SetClock(), timer=timer, pause=timer.pause), counting, timer


def test_figures_are_those_of_the_time_between() -> None:
    later = replace(
        READING,
        seconds=102.0,
        cpu_busy=52.0,
        cpu_total=408.0,
        received_bytes=5_000,
        sent_bytes=2_100,
        processes={(1, 0.5): 13.0, (3, 101.0): 7.0},
    )
    metrics = between(READING, later, SetClock().now())
    assert metrics.cpu_percent == 25.0
    assert (metrics.network_received_per_second, metrics.network_sent_per_second) == (2_000.0, 50.0)
    assert (metrics.network_received_bytes, metrics.network_sent_bytes) == (5_000, 2_100)
    assert metrics.process_cpu_percent == 150.0, "one ended and one began: only what both readings know counts"
    assert (metrics.process_count, metrics.process_memory_bytes, metrics.cores) == (2, GIB, 4)


def test_counters_that_were_set_back_stand_still() -> None:
    later = replace(READING, seconds=101.0, cpu_total=300.0, received_bytes=0, sent_bytes=0, processes={(1, 0.5): 0.0})
    metrics = between(READING, later, SetClock().now())
    assert (metrics.cpu_percent, metrics.process_cpu_percent) == (0.0, 0.0)
    assert (metrics.network_received_per_second, metrics.network_sent_per_second) == (0.0, 0.0)


async def test_a_reading_answers_everybody_for_a_moment() -> None:
    asked, counting, timer = system()
    first = await asyncio.gather(*(asked.now(SESSION) for _ in range(100)))
    assert counting.reads == 2, "the first figures need two readings"
    assert all(found is first[0] for found in first)
    timer.at += 0.6
    await asyncio.gather(*(asked.now(SESSION) for _ in range(100)))
    assert counting.reads == 3
    timer.at += 3600.0
    await asked.now(SESSION)
    assert counting.reads == 5, "a reading of an hour ago says nothing about now"


async def test_followers_share_one_reading_and_nothing_is_read_for_nobody() -> None:
    asked, counting, _ = system()
    streams = [await asked.follow(SESSION, 2.0) for _ in range(50)]
    assert counting.reads == 0
    await asyncio.gather(*(anext(stream) for stream in streams))
    assert counting.reads == 2
    for stream in streams:
        await stream.aclose()
    assert counting.reads == 2


async def test_a_follower_hears_at_its_interval() -> None:
    asked, _, timer = system()
    stream = await asked.follow(SESSION, 2.0)
    moments = []
    for _ in range(3):
        await anext(stream)
        moments.append(timer.at)
    assert [later - earlier for earlier, later in pairwise(moments)] == [2.0, 2.0]
    await stream.aclose()


@pytest.mark.parametrize("interval", [0.0, 0.49, 60.1, float("nan"), float("inf"), -1.0])
async def test_an_interval_has_bounds(interval: float) -> None:
    asked, counting, _ = system()
    with pytest.raises(BadUserInput, match=r"0\.5 to 60 seconds") as refused:
        await asked.follow(SESSION, interval)
    assert refused.value.field == "interval_seconds"
    assert counting.reads == 0


@pytest.mark.parametrize("held", [(), (KeyScope.PREDICT,)])
async def test_a_key_that_reads_nothing_does_not_read_this(held: tuple[KeyScope, ...]) -> None:
    asked, counting, _ = system()
    with pytest.raises(Forbidden, match="runs:read"):
        await asked.now(scope(*held))
    with pytest.raises(Forbidden, match="runs:read"):
        await asked.follow(scope(*held), 2.0)
    assert counting.reads == 0


@pytest.mark.parametrize("held", [KeyScope.RUNS_WRITE, KeyScope.MODELS_READ, KeyScope.ENDPOINTS_READ])
async def test_a_key_that_reads_anything_reads_this(held: KeyScope) -> None:
    asked, _, _ = system()
    assert (await asked.now(scope(held))).cores == 4


async def test_this_machine_is_read(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    machine = LocalHost({"data": tmp_path, "files": tmp_path / "files", "none": tmp_path / "none"}, cores=2)
    earlier, later = await machine.read(), await machine.read()
    assert later.seconds > earlier.seconds
    assert later.cpu_total >= earlier.cpu_total > earlier.cpu_busy > 0
    assert 0 < later.memory_used_bytes < later.memory_total_bytes == psutil.virtual_memory().total
    (disk,) = later.disks
    assert disk.name == "data", "two directories of one file system are one disk"
    assert Path(disk.path).is_mount()
    assert 0 < disk.used_bytes <= disk.total_bytes
    assert 0 <= disk.free_bytes <= disk.total_bytes
    own = psutil.Process()
    assert (own.pid, own.create_time()) in later.processes
    assert 2**20 < later.process_memory_bytes < later.memory_total_bytes
    assert later.uptime_seconds > 0


class NVMLError(Exception):
    """Base of the library's errors."""


class NotThereError(NVMLError):
    """No library."""


class NotLoadedError(NVMLError):
    """No driver."""


class NotSupportedError(NVMLError):
    """This processor does not tell."""


def library(**changes: Any) -> SimpleNamespace:
    """The management library of a machine with two processors."""

    def untold(_: int) -> int:
        raise NotSupportedError

    whole = SimpleNamespace(
        NVMLError=NVMLError,
        NVMLError_LibraryNotFound=NotThereError,
        NVMLError_DriverNotLoaded=NotLoadedError,
        NVMLError_NotSupported=NotSupportedError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda index: [b"Old", "New"][index],
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=GIB, total=80 * GIB),
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=37),
        nvmlDeviceGetTemperature=lambda _, __: 51,
        nvmlDeviceGetPowerUsage=untold,
    )
    whole.__dict__.update(changes)
    return whole


def raising(error: Exception) -> Any:
    def fail(*_: object) -> Any:
        raise error

    return fail


def test_graphics_processors_tell_what_they_can() -> None:
    old, new = NvidiaGpus(library).read()
    assert (old.index, old.name, new.index, new.name) == (0, "Old", 1, "New")
    assert (new.utilization_percent, new.temperature, new.power_watts) == (37.0, 51.0, None)
    assert (new.memory_used_bytes, new.memory_total_bytes) == (GIB, 80 * GIB)
    partitioned = library(
        nvmlDeviceGetUtilizationRates=raising(NotSupportedError()), nvmlDeviceGetPowerUsage=lambda _: 7500
    )
    first, _ = NvidiaGpus(lambda: partitioned).read()
    assert (first.utilization_percent, first.power_watts) == (None, 7.5)


class Complaints:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, event: str, **values: object) -> None:
        self.said.append(f"{event}: {values['error']}")


@pytest.mark.parametrize("error", [NotThereError(), NotLoadedError()])
def test_a_machine_without_graphics_processors_is_no_complaint(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    complaints = Complaints()
    monkeypatch.setattr(host, "log", complaints)
    gpus = NvidiaGpus(lambda: library(nvmlInit=raising(error)))
    assert (gpus.read(), gpus.read(), complaints.said) == ((), (), [])


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetMemoryInfo"])
def test_a_broken_driver_is_told_once_and_hides_nothing_else(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    complaints = Complaints()
    monkeypatch.setattr(host, "log", complaints)
    gpus = NvidiaGpus(lambda: library(**{broken: raising(NVMLError("driver/library mismatch"))}))
    assert (gpus.read(), gpus.read()) == ((), ())
    assert complaints.said == ["graphics processors cannot be read: driver/library mismatch"]
