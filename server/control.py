"""The control port answered in process: the host that serves HTTP itself asks itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime

from domain.control import BackgroundTask, DatabaseKind, HostStatus
from domain.endpoints import Listeners
from domain.figures import ProcessFigures
from domain.serving import ServingBackend
from server.supervision import Supervisor


class LocalControl:
    """Implements `domain.control.HostControl` for the only web process there is."""

    def __init__(
        self,
        serving: ServingBackend,
        supervisor: Supervisor,
        *,
        version: str,
        started_at: datetime,
        database: DatabaseKind,
        listeners: Listeners | None = None,
    ) -> None:
        self._serving = serving
        self.listeners = listeners
        self._supervisor = supervisor
        self._version = version
        self._started_at = started_at
        self._database = database
        self._own: Callable[[], ProcessFigures] | None = None

    @property
    def serving(self) -> ServingBackend:
        """The replicas of this host."""
        return self._serving

    async def status(self) -> HostStatus:
        """What runs in this process."""
        tasks = tuple(
            BackgroundTask(task.name, task.running, task.restarts, task.last_error)
            for task in self._supervisor.status()
        )
        return HostStatus(os.getpid(), self._version, self._started_at, self._database, tasks)

    def observe(self, own: Callable[[], ProcessFigures]) -> None:
        """`HostControl`."""
        self._own = own

    async def figures(self) -> tuple[ProcessFigures, ...]:
        """Those of this process."""
        return () if self._own is None else (self._own(),)
