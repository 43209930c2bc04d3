"""A web worker's end of the control socket: the host and its replicas, as the ports of the domain have them.

What the host says is mirrored here, so that a prediction asks nobody. A worker without its host is of no use: when the
link ends, `run` returns, and the process must end too.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from domain.control import HostStatus
from domain.endpoints import Endpoint, Route
from domain.errors import Unavailable
from domain.figures import ProcessFigures
from server.workers import messages
from server.workers.messages import SOCKET_NAME, ToHost, ToWorker, Welcome
from serving.remote import RemoteServing

ASK_SECONDS: Final = 5.0
SETTLE_GRACE: Final = 5.0


class HostGoneError(Exception):
    """The host ended, or said something that cannot be understood."""


class RemoteRunner:
    """`EndpointRunner` of a worker: the routes as the host last told them, and word to the host of every change."""

    def __init__(self, link: HostLink, host: str) -> None:
        self._link = link
        self._host = host
        self._routes: dict[tuple[str, str], Route] = {}
        self._closed_at: dict[str, int] = {}

    @property
    def host(self) -> str:
        return self._host

    def route(self, workspace_id: str, endpoint: str) -> Route | None:
        return self._routes.get((workspace_id, endpoint))

    def wake(self, endpoint: Endpoint) -> None:
        if not endpoint.status.serves:
            self._closed_at[endpoint.id] = endpoint.generation
            self.closed(endpoint.id)
        self._link.send(messages.Woken(endpoint.id, endpoint.status.serves, endpoint.generation))

    def forget(self, endpoint_id: str) -> None:
        self.closed(endpoint_id)
        self._closed_at.pop(endpoint_id, None)
        self._link.send(messages.Forgotten(endpoint_id))

    async def settled(self, endpoint_id: str, seconds: float) -> None:
        await self._link.settled(endpoint_id, seconds)

    def opened(self, route: Route) -> None:
        """The host opened a way; one that was overtaken by a stop from here stays closed."""
        if self._closed_at.get(route.endpoint_id, 0) > route.generation:
            return
        self.closed(route.endpoint_id)
        self._routes[route.workspace_id, route.name] = route
        self._routes[route.workspace_id, route.endpoint_id] = route

    def closed(self, endpoint_id: str) -> None:
        """The endpoint takes no requests."""
        for place in [place for place, route in self._routes.items() if route.endpoint_id == endpoint_id]:
            del self._routes[place]


class HostLink:
    """Implements `domain.control.HostControl` over the control socket. Made by `connect`; then `run` it once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._said = messages.from_host(reader)
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._own: Callable[[], ProcessFigures] | None = None
        self.stop_asked = asyncio.Event()
        self._serving = RemoteServing(
            drained=lambda set_id: self.send(messages.Drained(set_id)),
            silent=lambda set_id, index: self.send(messages.Silent(set_id, index)),
        )

    @classmethod
    async def connect(cls, data: Path) -> HostLink:
        """Connects to the host of a data directory and is welcomed. Raises OSError or HostGoneError."""
        directory = os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Socket addresses end at 107 bytes; the directory may be deeper.
            reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/{SOCKET_NAME}")
        finally:
            os.close(directory)
        link = cls(reader, writer)
        first = await link._next()
        if not isinstance(first, Welcome):
            raise HostGoneError("it did not say what to do")
        link.welcome = first
        link.endpoints = RemoteRunner(link, first.host)
        return link

    welcome: Welcome
    endpoints: RemoteRunner

    @property
    def serving(self) -> RemoteServing:
        """The replicas of the host."""
        return self._serving

    def send(self, message: ToHost) -> None:
        """Says something; nothing when the host is gone, of which `run` tells."""
        if not self._writer.is_closing():
            self._writer.write(messages.encode(message))

    async def status(self) -> HostStatus:
        """What runs on this host. Raises Unavailable when it does not answer."""
        number = next(self._numbers)
        answer: HostStatus | None = await self._ask(number, messages.AskStatus(number), ASK_SECONDS)
        if answer is None:
            raise _silent()
        return answer

    async def figures(self) -> tuple[ProcessFigures, ...]:
        """What every process of this host counts. Raises Unavailable when the host does not answer."""
        number = next(self._numbers)
        answer: tuple[ProcessFigures, ...] | None = await self._ask(number, messages.AskFigures(number), ASK_SECONDS)
        if answer is None:
            raise _silent()
        return answer

    def observe(self, own: Callable[[], ProcessFigures]) -> None:
        """`HostControl`."""
        self._own = own

    async def settled(self, endpoint_id: str, seconds: float) -> None:
        """Waits until nothing is left to do for an endpoint, or the time is over."""
        number = next(self._numbers)
        await self._ask(number, messages.AskSettled(number, endpoint_id, seconds), seconds + SETTLE_GRACE)

    async def _ask(self, number: int, question: ToHost, seconds: float) -> Any:
        """The answer; None when there is none, or it says nothing."""
        self._asked[number] = asyncio.get_running_loop().create_future()
        self.send(question)
        try:
            async with asyncio.timeout(seconds):
                return await self._asked[number]
        except TimeoutError:
            return None
        finally:
            del self._asked[number]

    async def _next(self) -> ToWorker:
        try:
            return await anext(self._said)
        except StopAsyncIteration:
            raise HostGoneError("it closed the control socket") from None
        except messages.BrokenFrameError as problem:
            raise HostGoneError(f"it said what cannot be understood: {problem}") from None

    async def run(self) -> None:
        """Follows what the host says. Raises HostGoneError in the end."""
        while True:
            self._take(await self._next())

    def _take(self, message: ToWorker) -> None:
        match message:
            case messages.SetChanged(shared):
                self._serving.changed(shared)
            case messages.SetWithdrawn(set_id):
                self._serving.withdrawn(set_id)
            case messages.RouteOpened(route):
                self.endpoints.opened(route)
            case messages.RouteClosed(endpoint_id):
                self.endpoints.closed(endpoint_id)
            case messages.Status(number, status):
                self._answered(number, status)
            case messages.Figures(number, figures):
                self._answered(number, figures)
            case messages.WantFigures(number):
                if self._own is not None:
                    self.send(messages.OwnFigures(number, self._own()))
            case messages.Settled(number):
                self._answered(number, None)
            case messages.Stop():
                self.stop_asked.set()
            case Welcome():
                raise HostGoneError("it said twice what to do")

    def _answered(self, number: int, answer: object) -> None:
        waiting = self._asked.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def close(self) -> None:
        """Leaves the replicas and the host."""
        await self._serving.close()
        self._writer.close()


def _silent() -> Unavailable:
    return Unavailable("the host of this server does not answer", retry_after=1)
