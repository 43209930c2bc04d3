"""The port through which endpoints run models, and the values that cross it.

A backend keeps replica sets (copies of one model version for one endpoint) loaded and answers predictions.
It knows nothing of names, principals or traffic: who may ask, which version answers and what is persisted
is decided by the endpoints use-case. Arrays go in and come out; JSON stays at the edges.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from domain.architecture import Architecture
from domain.errors import BadUserInput, Unavailable
from domain.tensors import Array

MAX_BATCH_ROWS: Final = 4096
MAX_QUEUE_ROWS: Final = 1_000_000
MAX_REPLICAS: Final = 64
MAX_MEMORY_BYTES: Final = 2**53 - 1
CPU: Final = "cpu"
_DEVICE: Final = re.compile(r"cpu|cuda(:[0-9]{1,2})?")


class NotServing(Unavailable):
    """No replica set of that version is loaded (any more): resolve the endpoint's traffic again, once."""


class ReplicaFailed(Unavailable):
    """A model could not be loaded, or its replicas kept dying; `stderr` holds the last lines they wrote."""

    def __init__(self, message: str, *, stderr: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.stderr = tuple(stderr)


class InferenceError(Exception):
    """The model raised while computing valid input. Not a DomainError: callers see INTERNAL."""


def _bounded(value: object, low: int, high: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadUserInput(f"expected a whole number from {low} to {high}, got {value!r}", field=name)


def check_device(value: object, *, field: str = "device") -> None:
    """Raises BadUserInput unless `value` is like `cpu`, `cuda` or `cuda:0`; whether it exists is not asked."""
    if not isinstance(value, str) or _DEVICE.fullmatch(value) is None:
        raise BadUserInput(f"expected cpu, cuda or cuda:0, got {str(value)[:40]!r}", field=field)


def check_device_exists(device: str, gpus: int, *, field: str = "device") -> None:
    """Raises BadUserInput when a host with so many CUDA devices lacks this one."""
    if device == CPU:
        return
    number = int(device.partition(":")[2] or 0)
    if number >= gpus:
        have = "no CUDA device that torch can use" if gpus == 0 else f"{gpus} (cuda:0 to cuda:{gpus - 1})"
        raise BadUserInput(f"{device} was asked for; this server has {have}", field=field)


def threads_for(replicas: int, cores: int) -> int:
    """Torch threads per replica: one core is left to the web process when a single replica runs."""
    return max(1, cores - 1) if replicas == 1 else max(1, cores // replicas)


def check_threads(replicas: int, threads: int, cores: int, *, field: str = "replicas") -> None:
    """Raises BadUserInput when the replicas of one version would compute on more threads than there are cores."""
    if replicas * threads > cores:
        raise BadUserInput(
            f"{replicas} replicas with {threads} threads each need {replicas * threads} cores; this server has {cores};"
            " ask for fewer, or set force to run them all the same",
            field=field,
        )


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """How one endpoint serves. Raises BadUserInput on construction when a value is out of bounds.

    `max_batch_rows`: rows per forward. `max_queue_rows`: rows waiting in one replica before OVERLOADED.
    `queue_delay_us`: how long a lone request may wait for company (0: not at all). `timeout_ms`: deadline
    of a prediction that brings none. `threads`: torch threads per replica (None: shared out over the
    cores). `drain_timeout_ms`: how long a replica may finish what it has before it is ended.
    `max_memory_bytes`: a replica that holds more is replaced (0: no limit). `device`: `cpu`, `cuda:N`, or
    `cuda`, which spreads the replicas over all devices. `force`: allow replicas x threads above the number
    of cores.
    """

    max_batch_rows: int = 64
    max_queue_rows: int = 4096
    queue_delay_us: int = 0
    timeout_ms: int = 30_000
    threads: int | None = None
    drain_timeout_ms: int = 30_000
    max_memory_bytes: int = 0
    device: str = CPU
    force: bool = False

    def __post_init__(self) -> None:
        _bounded(self.max_batch_rows, 1, MAX_BATCH_ROWS, "max_batch_rows")
        _bounded(self.max_queue_rows, 1, MAX_QUEUE_ROWS, "max_queue_rows")
        _bounded(self.queue_delay_us, 0, 1_000_000, "queue_delay_us")
        _bounded(self.timeout_ms, 1, 600_000, "timeout_ms")
        _bounded(self.drain_timeout_ms, 0, 600_000, "drain_timeout_ms")
        _bounded(self.max_memory_bytes, 0, MAX_MEMORY_BYTES, "max_memory_bytes")
        check_device(self.device)
        if self.threads is not None:
            _bounded(self.threads, 1, 256, "threads")


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """What to run: `replicas` copies of one version, for one endpoint.

    `weights_sha256`, when given, is compared with the file once per deployment.
    """

    endpoint_id: str
    version_id: str
    weights_path: str
    architecture: Architecture
    replicas: int = 1
    config: ServingConfig = field(default_factory=ServingConfig)
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        _bounded(self.replicas, 1, MAX_REPLICAS, "replicas")


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What loading a model cost, measured in the slowest of its replicas.

    Milliseconds; `batch_one_ms` and `batch_max_ms` are the median forward of 1 and of `max_batch_rows`
    rows. Bytes are those of one replica: `resident_bytes` with shared pages, `private_bytes` without,
    `device_bytes` on its GPU.
    """

    load_ms: float
    batch_one_ms: float
    batch_max_ms: float
    resident_bytes: int
    private_bytes: int
    threads: int
    parameters: int
    device_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a prediction's time went, in milliseconds. `total_ms` is seen from the caller's process."""

    queue_ms: float
    compute_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class PredictionResult:
    """Outputs by name, each `(rows, …)` in the order of the rows sent, and how they came about.

    `batch_rows` is the size of the forward they were part of; `retried` says that a replica died on the way.
    """

    outputs: Mapping[str, Array]
    rows: int
    timings: Timings
    batch_rows: int
    replica: int
    retried: bool = False


class ReplicaState(StrEnum):
    """Where a replica is in its life."""

    STARTING = "starting"
    READY = "ready"
    CRASHED = "crashed"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReplicaEvent:
    """A replica changed state. FAILED concerns the whole set and is final until it is deployed again."""

    endpoint_id: str
    version_id: str
    replica: int
    state: ReplicaState
    reason: str | None = None
    stderr: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica now. `restarts` counts since its deployment; `queued_rows` includes those computed now."""

    index: int
    state: ReplicaState
    pid: int | None
    restarts: int
    queued_rows: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SetStatus:
    """A loaded (or failed) replica set."""

    version_id: str
    replicas: tuple[ReplicaStatus, ...]
    warm_up: WarmUp
    failure: str | None = None
    stderr: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether at least one replica takes requests now."""
        return any(replica.state is ReplicaState.READY for replica in self.replicas)


class Predicts(Protocol):
    """The half of a backend that answers."""

    async def predict(
        self,
        endpoint_id: str,
        version_id: str,
        inputs: Mapping[str, Array],
        *,
        deadline: float | None = None,
        outputs: Sequence[str] | None = None,
    ) -> PredictionResult:
        """Compute `outputs` (None: all) for the rows of `inputs`.

        `deadline` is in seconds of `time.monotonic()`; None: the set's timeout from now.
        Raises BadUserInput, PayloadTooLarge, Overloaded (with `retry_after`), DeadlineExceeded,
        NotServing, Unavailable (two replicas died on it, or none came back), ReplicaFailed, or
        InferenceError.
        """


class ServingBackend(Predicts, Protocol):
    """Runs replica sets. One implementation serves from processes of this machine (`serving.pool`)."""

    async def deploy(self, spec: ReplicaSet) -> WarmUp:
        """Load and warm `spec`, then serve it.

        A set already serving the same endpoint and version is replaced without a failed request and
        drained; other versions of the endpoint are left alone until `retire`.
        Raises BadUserInput (weights refused, architecture does not match, more threads than cores) or
        ReplicaFailed; then whatever served before still does.
        """

    async def retire(self, endpoint_id: str, version_id: str) -> None:
        """Take no more requests, finish those accepted, end the replicas. Unknown: nothing to do."""

    def status(self, endpoint_id: str) -> tuple[SetStatus, ...]:
        """The sets loaded for an endpoint, newest last; empty when there are none."""

    def events(self) -> AsyncIterator[ReplicaEvent]:
        """State changes as they happen, for one consumer; ends when the backend stops."""

    async def stop(self) -> None:
        """End every replica, in bounded time, and wait for them. A stopped backend stays stopped."""
