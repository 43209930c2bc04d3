"""A web worker: HTTP on the socket it inherited, with a pool, a hub and a loop of its own.

It is started by the host, learns everything from it, and ends with it: at once when the host is gone, because a new
host needs the address, and in order when the host asks. It must never start a process, nor own anything that the next
worker would miss.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from domain.errors import DomainError
from persistence.database import DatabaseUnusable
from server import logs
from server.app import create_app
from server.compose import compose
from server.edge.connections import LiveConnections
from server.logs import get_logger
from server.settings_sources import restored
from server.supervision import Supervisor
from server.web.pages import graphiql
from server.web.pages import routes as pages
from server.web_server import bounded, keep_for_good, web_server, wind_down
from server.workers import messages
from server.workers.link import HostGoneError, HostLink

log = get_logger("axonml.worker")

HOST_GONE = 3
CANNOT_START = 4


async def work(bound: socket.socket, data: Path) -> None:
    """Serves until the host, or SIGTERM, says that it is enough. Never returns when the host is gone."""
    link = await HostLink.connect(data)
    settings = restored(link.welcome.settings)
    logs.configure(settings.log.level, settings.log.format, worker=os.getpid())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, link.stop_asked.set)
    following = asyncio.create_task(_follow(link), name="host")
    grace = settings.server.shutdown_seconds
    connections = LiveConnections()
    async with AsyncExitStack() as stack:
        stack.callback(following.cancel)
        await stack.enter_async_context(bounded("control socket", grace, link.close))
        supervisor = Supervisor(stop_seconds=grace)
        stack.push_async_callback(supervisor.close)
        composing = compose(
            settings,
            link.welcome.dsn,
            link,
            supervisor=supervisor,
            connections=connections,
            version=link.welcome.version,
        )
        composed = await composing.__aenter__()
        await stack.enter_async_context(bounded("pools", grace, lambda: composing.__aexit__(None, None, None)))
        await stack.enter_async_context(bounded("background tasks", grace, supervisor.close))
        app = create_app(settings, composed, connections, pages=pages(), page=graphiql)
        server = web_server(app, settings, lambda: link.send(messages.Serving()))
        keep_for_good()
        serving = asyncio.create_task(server.serve(sockets=[bound]), name="web server")
        stop = asyncio.create_task(link.stop_asked.wait(), name="stop")
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await wind_down(server, connections)
        stop.cancel()
        await serving


async def _follow(link: HostLink) -> None:
    try:
        await link.run()
    except HostGoneError as problem:
        log.warning("the host is gone: ending at once", reason=str(problem))
    except Exception:  # without word from the host it would serve what is no longer so
        log.exception("lost track of the host: ending at once")
    os._exit(HOST_GONE)  # what was acknowledged is stored; everything else is repeated by whoever asked for it


def main() -> None:
    """`python -m server.workers.program DESCRIPTOR DATA`, run by the host."""
    descriptor, data = int(sys.argv[1]), Path(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's to hear
    logs.configure(worker=os.getpid())
    bound = socket.socket(fileno=descriptor)
    bound.set_inheritable(False)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work(bound, data))
    except (OSError, HostGoneError, DatabaseUnusable, DomainError) as problem:
        log.error("the web worker cannot start", reason=str(problem))  # noqa: TRY400 - the reason says it
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    main()
