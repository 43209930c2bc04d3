"""Endpoints, what they serve and how, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypedDict

from domain.architecture import Architecture
from domain.errors import BadUserInput
from domain.serving import (
    CPU,
    MAX_MEMORY_BYTES,
    MAX_REPLICAS,
    ServingConfig,
    check_device,
    check_threads,
    threads_for,
)
from domain.tensors import TensorSpec


class EndpointStatus(Enum):
    """Where an endpoint is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    FAILED = "failed"

    @property
    def active(self) -> bool:
        """Whether some server's replicas are, or are about to be, at work for it."""
        return self in (EndpointStatus.STARTING, EndpointStatus.RUNNING, EndpointStatus.DRAINING)

    @property
    def serves(self) -> bool:
        """Whether it answers predictions, or is about to."""
        return self in (EndpointStatus.STARTING, EndpointStatus.RUNNING)


class ConfigChanges(TypedDict, total=False):
    """Changes to a configuration; what is left out stays."""

    max_batch_rows: int
    max_queue_rows: int
    queue_delay_us: int
    timeout_ms: int
    threads: int
    drain_timeout_seconds: int
    max_memory_bytes: int
    device: str
    force: bool
    port: int | None


_BOUNDS: Final = {
    "max_batch_rows": (1, 4_096),
    "max_queue_rows": (1, 1_000_000),
    "queue_delay_us": (0, 1_000_000),
    "timeout_ms": (1, 600_000),
    "threads": (1, 256),
    "drain_timeout_seconds": (0, 600),
    "max_memory_bytes": (0, MAX_MEMORY_BYTES),
}
_KEPT: Final = (*_BOUNDS, "device", "force", "port", "shared_threads")


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """How an endpoint batches, waits and computes.

    Rows per forward and waiting per replica; the extra wait for a fuller batch in microseconds; the longest time of
    a request in milliseconds; compute threads per replica; the longest drain in seconds; the most memory of a replica
    (0: no limit) and the device it computes on. `force` allows more threads than cores; `port` is
    the one of its own that it asks for while it runs (0: any). `shared_threads` says that
    nobody chose the threads: they follow the number of replicas.
    """

    max_batch_rows: int = 64
    max_queue_rows: int = 4_096
    queue_delay_us: int = 0
    timeout_ms: int = 30_000
    threads: int = 1
    drain_timeout_seconds: int = 30
    max_memory_bytes: int = 0
    device: str = CPU
    force: bool = False
    port: int | None = None
    shared_threads: bool = True

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {name: getattr(self, name) for name in _KEPT}

    def changed(self, changes: ConfigChanges, *, replicas: int, cores: int) -> EndpointConfig:
        """With the changes, for so many replicas on so many cores.

        Raises BadUserInput for a value out of its bounds and for more threads than cores.
        """
        given: dict[str, Any] = dict(changes)
        if "device" in given:
            check_device(given["device"], field="config.device")
        if not isinstance(given.get("force", False), bool):
            raise BadUserInput("expected true or false", field="config.force")
        for name in _BOUNDS.keys() & given.keys():
            value, (low, high) = given[name], _BOUNDS[name]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise BadUserInput(f"expected a whole number from {low} to {high}", field=f"config.{name}")
        shared = self.shared_threads and "threads" not in given
        values = {**self.to_json(), **given, "shared_threads": shared}
        if shared:
            values["threads"] = threads_for(replicas, cores)
        if not values["force"]:
            check_threads(replicas, values["threads"], cores, field="replicas" if shared else "config.threads")
        return EndpointConfig(**values)

    def serving(self) -> ServingConfig:
        """The same for the backend."""
        return ServingConfig(
            max_batch_rows=self.max_batch_rows,
            max_queue_rows=self.max_queue_rows,
            queue_delay_us=self.queue_delay_us,
            timeout_ms=self.timeout_ms,
            threads=self.threads,
            drain_timeout_ms=self.drain_timeout_seconds * 1_000,
            max_memory_bytes=self.max_memory_bytes,
            device=self.device,
            force=self.force,
        )


def checked_replicas(value: int) -> int:
    """How many processes serve a version. Raises BadUserInput outside 1 to 64."""
    if isinstance(value, bool) or not 1 <= value <= MAX_REPLICAS:
        raise BadUserInput(f"expected a whole number from 1 to {MAX_REPLICAS}", field="replicas")
    return value


@dataclass(frozen=True, slots=True)
class EndpointTraffic:
    """The share of the requests, in percent, that one version takes.

    `failure` says why it takes none at present: its replicas are gone, and the other versions answer for it.
    """

    version_id: str
    weight: int
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """What an endpoint serves, or is to serve: versions with their shares, each in so many copies, configured so."""

    traffic: tuple[EndpointTraffic, ...]
    replicas: int
    config: EndpointConfig


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A name that answers predictions.

    `traffic`, `replicas` and `config` say what serves, or will serve once it is started; `pending` is what a RUNNING
    endpoint switches to as soon as it is loaded. `host` names the server at work for it; `host_lost` says that this
    server has stopped, or has not been heard of for a while. `generation` grows with every change that the replicas
    must follow.
    """

    id: str
    workspace_id: str
    name: str
    status: EndpointStatus
    status_reason: str | None
    traffic: list[EndpointTraffic]
    replicas: int
    config: EndpointConfig
    port: int | None
    owner_id: str
    created_at: datetime
    updated_at: datetime
    host: str | None = None
    host_lost: bool = False
    generation: int = 1
    pending: Deployment | None = None

    @property
    def deployment(self) -> Deployment | None:
        """What it serves, or will serve once it is started; None when no version takes its traffic."""
        if not self.traffic:
            return None
        wanted = tuple(EndpointTraffic(share.version_id, share.weight) for share in self.traffic)
        return Deployment(wanted, self.replicas, self.config)


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """What is needed to serve a version: its number, the digest of its weights and its computation."""

    version_id: str
    version: int
    sha256: str
    architecture: Architecture


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """Rows to predict. `inputs` is decoded JSON; `instances` tells the row-wise form.

    Requests with the same `sticky` meet the same version while the shares stay.
    """

    endpoint: str
    inputs: object
    instances: bool = False
    timeout_ms: int | None = None
    sticky: str | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered, ready for JSON; `latency_ms` runs from the arrival of the inputs to the outputs."""

    outputs: Any
    endpoint: str
    version: int
    rows: int
    latency_ms: float


@dataclass(frozen=True, slots=True)
class RoutedVersion:
    """A loaded version, its share in percent, and what it takes and answers."""

    version_id: str
    version: int
    weight: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a prediction: what answers for an endpoint now, since which generation of its record.

    `versions` has at least one, the largest share first; a version whose replicas failed is not among them.
    """

    endpoint_id: str
    workspace_id: str
    name: str
    versions: tuple[RoutedVersion, ...]
    config: EndpointConfig
    generation: int
