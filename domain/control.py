"""What a web process asks of the host that owns the machine's children.

With one web process the host answers in process; several ask the same through the control socket. The port is small
on purpose: whatever is here must be worth a round trip between processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from domain.figures import ProcessFigures
from domain.serving import Predicts


class DatabaseKind(Enum):
    """Whose PostgreSQL it is."""

    BUNDLED = "bundled"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class BackgroundTask:
    """One background task of the host. `last_error` is why it was last restarted."""

    name: str
    running: bool
    restarts: int
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class HostStatus:
    """The host as it is now."""

    pid: int
    version: str
    started_at: datetime
    database: DatabaseKind
    tasks: tuple[BackgroundTask, ...] = ()


class HostControl(Protocol):
    """The host, seen from a web process."""

    @property
    def serving(self) -> Predicts:
        """The replicas of this host."""
        ...

    async def status(self) -> HostStatus:
        """What runs on this host. Raises Unavailable when the host cannot be asked."""
        ...

    async def figures(self) -> tuple[ProcessFigures, ...]:
        """What every process of this host counts. Raises Unavailable when the host cannot be asked."""
        ...

    def observe(self, own: Callable[[], ProcessFigures]) -> None:
        """From here on this process answers with these figures."""
        ...
