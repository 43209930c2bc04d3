"""What the host tells web workers about its replica sets, so that they connect to the replicas themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from domain.serving import ServingConfig


@dataclass(frozen=True, slots=True)
class SharedReplica:
    """A replica that takes requests, and the socket on which it listens."""

    index: int
    socket_path: str


@dataclass(frozen=True, slots=True)
class SharedSet:
    """A loaded replica set as it is now. `set_id` tells it from others of the same endpoint and version.

    `architecture` is the document's text; `failure` and `stderr` say why the set takes no requests any more.
    """

    set_id: str
    endpoint_id: str
    version_id: str
    architecture: str
    config: ServingConfig
    replicas: tuple[SharedReplica, ...]
    failure: str | None = None
    stderr: tuple[str, ...] = ()


class SetWatcher(Protocol):
    """Who passes on what the replica sets are."""

    def changed(self, shared: SharedSet) -> None:
        """A set is loaded, or its replicas changed; it takes the requests of its endpoint and version."""
        ...

    async def withdrawn(self, set_id: str) -> None:
        """The set takes no more requests; returns when no process has one in flight."""
        ...
