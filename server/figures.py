"""What this process counts, put together from the parts that count; for the host, for `stats` and for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Protocol

import psutil
from starlette.types import Scope

from domain.figures import (
    Distribution,
    IngestFigures,
    LiveFigures,
    PoolFigures,
    ProcessFigures,
    Requests,
    SealingFigures,
)
from domain.storage import Storage

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})
_UNMATCHED: Final = "unmatched"


class RequestFigures:
    """How long requests waited for their answer to begin. Routes are templates, so there are only so many of them."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str, int], Distribution] = {}

    def add(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts a request whose answer begins, or a WebSocket that was accepted (101) or refused."""
        method = scope.get("method", "WEBSOCKET")
        route = getattr(scope.get("route"), "path", _UNMATCHED)
        kind = (method if method in _METHODS else "OTHER", route, status)
        found = self._seconds.get(kind)
        if found is None:
            found = self._seconds[kind] = Distribution()
        found.add(seconds)

    def now(self) -> tuple[Requests, ...]:
        """Every method, route and status that occurred."""
        return tuple(Requests(*kind, seconds) for kind, seconds in self._seconds.items())


@dataclass(slots=True)
class SubscriptionFigures:
    """What sharing saves: payloads that clients took, and how many of them were executed and encoded."""

    payloads: int = 0
    executions: int = 0


class Connections(Protocol):
    """Open WebSockets and streams."""

    @property
    def open_count(self) -> int: ...


class Readers(Protocol):
    """Live streams that wait for something to happen."""

    @property
    def watching(self) -> int: ...


class OwnFigures:
    """Call it for the figures of this process."""

    def __init__(
        self,
        *,
        requests: RequestFigures,
        ingest: Callable[[], IngestFigures],
        live: LiveFigures,
        pool: Callable[[], PoolFigures],
        connections: Connections,
        readers: Readers,
        storage: Storage,
        subscriptions: SubscriptionFigures,
    ) -> None:
        self._requests = requests
        self._ingest = ingest
        self._live = live
        self._pool = pool
        self._connections = connections
        self._readers = readers
        self._storage = storage
        self._subscriptions = subscriptions
        self._process = psutil.Process()
        self._started_at = datetime.fromtimestamp(self._process.create_time(), UTC)
        self.sealing: SealingFigures | None = None

    def __call__(self) -> ProcessFigures:
        times = self._process.cpu_times()
        return ProcessFigures(
            worker=0,
            pid=os.getpid(),
            started_at=self._started_at,
            memory_bytes=self._process.memory_info().rss,
            cpu_seconds=times.user + times.system,
            ingest=self._ingest(),
            live=replace(
                self._live,
                connections=self._connections.open_count,
                readers=self._readers.watching,
                payloads=self._subscriptions.payloads,
                encodings=self._subscriptions.executions,
            ),
            pool=self._pool(),
            requests=self._requests.now(),
            storage=tuple(self._storage.standing()),
            sealing=self.sealing,
        )
