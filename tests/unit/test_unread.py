"""Who is cut off for not reading: nobody who still takes something, however slowly. Time is given."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from server.unread import UnreadConnections
from tests.support.servers import until

MIB = 2**20
SECONDS = 30.0


@dataclass(eq=False)
class Held:
    """A connection that is behind. Implements the Connection of `server.unread`."""

    transport: asyncio.Transport
    client: tuple[str, int] | None = ("127.0.0.1", 1)
    resumed: int = 0
    held_up: bool = True


@asynccontextmanager
async def behind() -> AsyncIterator[tuple[Held, socket.socket]]:
    """A connection with more to send than fits the kernel, and its reader."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as reader:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MIB)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        reader.setblocking(False)
        await loop.sock_connect(reader, listening.getsockname())
        accepted, _ = listening.accept()
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, accepted)
        transport.write(bytes(32 * MIB))
        try:
            yield Held(transport), reader
        finally:
            transport.abort()


async def _read(reader: socket.socket, size: int) -> None:
    loop = asyncio.get_running_loop()
    while size > 0:
        size -= len(await loop.sock_recv(reader, size))


async def test_a_slow_reader_stays_for_as_long_as_it_takes_something() -> None:
    async with behind() as (held, reader):
        connections = UnreadConnections(SECONDS)
        connections.look([held], 0.0)
        waiting = held.transport.get_write_buffer_size()
        for now in range(20, 200, 20):
            await _read(reader, 64 * 1024)
            connections.look([held], float(now))
        assert held.transport.get_write_buffer_size() == waiting, "what it took came from the kernel's part"
        assert not held.transport.is_closing()


async def test_whoever_takes_nothing_is_torn() -> None:
    async with behind() as (held, reader):
        connections = UnreadConnections(SECONDS)
        for now in (0.0, 15.0, 29.0):
            connections.look([held], now)
        assert not held.transport.is_closing()
        connections.look([held], 30.0)
        assert held.transport.is_closing()

        def ended() -> bool:
            try:
                return reader.recv(MIB) == b""
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True

        await until(ended, "the reader did not hear that the connection is gone")
