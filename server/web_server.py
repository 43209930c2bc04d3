"""How a process serves the application over HTTP, and how it stops doing so: in the host, or in a web worker.

Every step of a stop is bounded, because whoever asked for it is waiting.
"""

from __future__ import annotations

import asyncio
import gc
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, cast

import uvicorn

from server.edge.connections import LiveConnections
from server.logs import get_logger
from server.protocol import BoundedConfig
from server.settings import Settings
from server.unread import UnreadConnections

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from server.unread import Connection

log = get_logger("axonml.process")

STREAMS_SECONDS: Final = 5.0
_PING_SECONDS: Final = 20.0
_TICKS_BETWEEN_LOOKS: Final = 5
_YOUNG: Final = 10_000


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: its owner decides when serving ends.

    `started_serving` is called once, when the first request can be taken.
    """

    def __init__(self, config: BoundedConfig, started_serving: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._started_serving = started_serving
        self._unread = UnreadConnections(config.limits.send_seconds)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._started_serving is not None:
            self._started_serving()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_BETWEEN_LOOKS == 0:
            open_now = cast("Iterable[Connection]", self.server_state.connections)
            self._unread.look(open_now, asyncio.get_running_loop().time())
        return await super().on_tick(counter)


def web_server(app: ASGIApp, settings: Settings, started_serving: Callable[[], None] | None = None) -> Server:
    """The server of this process, not yet serving."""
    limits = settings.limits
    config = BoundedConfig(
        app,
        limits,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=limits.socket_message_bytes,
        ws_ping_interval=min(_PING_SECONDS, limits.receive_seconds),
        ws_ping_timeout=limits.receive_seconds,
        # Columns of numbers hardly shrink: it took four times the processor, and memory for every socket.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=math.ceil(settings.server.shutdown_seconds),
        backlog=1024,
    )
    return Server(config, started_serving)


def keep_for_good() -> None:
    """Takes everything made so far out of the collector's rounds: it lives as long as the process.

    A full round would go through a quarter of a million objects, again and again, while every client waits. What a
    dozen requests hold at once is more than the seven hundred objects that start a round by default.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)


async def wind_down(server: Server, connections: LiveConnections) -> None:
    """Not ready, then streams, then requests; `server.serve` returns when they are over."""
    connections.stopping.set()
    try:
        async with asyncio.timeout(STREAMS_SECONDS):
            await connections.stop()
    except TimeoutError:
        log.warning("some sockets did not close in time", open=connections.open_count)
    server.should_exit = True


@asynccontextmanager
async def bounded(what: str, seconds: float, close: Callable[[], object]) -> AsyncIterator[None]:
    """Runs the block, then `close()` for at most `seconds`; a step that fails or hangs does not stop the rest."""
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(seconds):
                closing = close()
                if asyncio.iscoroutine(closing):
                    await closing
        except TimeoutError:
            log.error("shutdown step took too long", step=what, seconds=seconds)  # noqa: TRY400 - nothing to trace
        except Exception:  # the other steps must still run; this one is reported
            log.exception("shutdown step failed", step=what)
