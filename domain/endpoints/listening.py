"""Ports of their own for endpoints: who wants one, and which ones there are."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from domain.endpoints.entities import Endpoint
from domain.errors import BadUserInput, Conflict

ANY_PORT: Final = 0


@dataclass(frozen=True, slots=True)
class PortRange:
    """The ports of a server that endpoints may have, both ends included. `free` tells whether nobody listens there."""

    first: int
    last: int
    free: Callable[[int], bool]

    def check(self, port: int | None) -> None:
        """Raises BadUserInput for a port that no endpoint may have."""
        if port is not None and port != ANY_PORT and (isinstance(port, bool) or not self.first <= port <= self.last):
            raise BadUserInput(
                f"expected a port from {self.first} to {self.last} (inference.default_port_range_start and _end),"
                f" or {ANY_PORT} for any of them",
                field="port",
            )

    def pick(self, wanted: int, taken: Collection[int]) -> int:
        """The wanted port, or the lowest one, that is not `taken`. Raises Conflict when there is none."""
        for port in range(self.first, self.last + 1) if wanted == ANY_PORT else (wanted,):
            if port not in taken and self.free(port):
                return port
        if wanted != ANY_PORT:
            raise Conflict(f"port {wanted} is taken by another endpoint or program", field="port")
        raise Conflict(
            f"all ports from {self.first} to {self.last} are taken (inference.default_port_range_start and _end)",
            field="port",
        )


@dataclass(frozen=True, slots=True)
class Room:
    """What a server has room for: so many active endpoints, and ports for some of them."""

    most: int
    ports: PortRange


def wanted_port(endpoint: Endpoint) -> int | None:
    """The port that it is to have now; None: none."""
    wanted = endpoint.pending or endpoint.deployment
    return wanted.config.port if wanted is not None and endpoint.status.active else None


def keeps_port(endpoint: Endpoint) -> bool:
    """Whether the port that it has is what it wants."""
    return endpoint.port is not None and wanted_port(endpoint) in (ANY_PORT, endpoint.port)
