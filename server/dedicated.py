"""Ports of their own for endpoints: a listener for each, behind which the whole edge stands and one endpoint answers.

The host binds and serves them, also when web workers serve everything else: such a port belongs to one endpoint and
comes and goes with it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import Conflict
from server.logs import get_logger

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from server.settings import Settings

log = get_logger("axonml.dedicated")


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(1024)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens there, and this server might."""
    try:
        listening(host, port).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Open:
    name: str
    port: int
    stop: asyncio.Event
    task: asyncio.Task[None]


class DedicatedPorts:
    """Implements `domain.endpoints.Listeners`. What comes before `serve_with` waits for it."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._open: dict[str, _Open] = {}
        self._ready: asyncio.Future[tuple[Callable[[], ASGIApp], Settings]] | None = None
        self._app: ASGIApp | None = None

    def serve_with(self, make_app: Callable[[], ASGIApp], settings: Settings) -> None:
        """What answers from here on; `make_app` is called once, when the first port is opened."""
        self._application().set_result((make_app, settings))

    def _application(self) -> asyncio.Future[tuple[Callable[[], ASGIApp], Settings]]:
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
        return self._ready

    async def open(self, endpoint_id: str, name: str, port: int) -> None:
        """`Listeners`."""
        current = self._open.get(endpoint_id)
        if current is not None and (current.name, current.port) == (name, port) and not current.task.done():
            return
        await self.close(endpoint_id)
        try:
            bound = listening(self._host, port)
        except OSError as problem:
            raise Conflict(f"cannot listen on port {port} of {self._host}: {problem.strerror}") from None
        stop = asyncio.Event()
        task = asyncio.create_task(self._serve(endpoint_id, name, bound, stop), name=f"port {port}")
        task.add_done_callback(_report)
        self._open[endpoint_id] = _Open(name, port, stop, task)

    async def _serve(self, endpoint_id: str, name: str, bound: socket.socket, stop: asyncio.Event) -> None:
        """Serves until told to stop, and answers what was accepted."""
        from server.edge.only import Only
        from server.web_server import web_server

        with bound:
            make_app, settings = await asyncio.shield(self._application())
            if self._app is None:
                self._app = make_app()
            server = web_server(Only(self._app, endpoint_id, name), settings)
            serving = asyncio.ensure_future(server.serve(sockets=[bound]))
            stopping = asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
                server.should_exit = True
                await serving
            finally:
                stopping.cancel()

    async def close(self, endpoint_id: str) -> None:
        """`Listeners`."""
        current = self._open.pop(endpoint_id, None)
        if current is None:
            return
        current.stop.set()
        if not self._application().done():
            current.task.cancel()
        await asyncio.wait((current.task,))

    async def stop(self) -> None:
        """Closes every port."""
        await asyncio.gather(*(self.close(endpoint_id) for endpoint_id in list(self._open)))


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a port of an endpoint is served no more", port=task.get_name(), exc_info=error)
