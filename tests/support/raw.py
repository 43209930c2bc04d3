"""Clients that behave as no library would: they send drop by drop, or never read what they are sent."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import select
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.support.servers import WAIT, Server, until

PAUSE = 0.05
SMALL = 4096


class RawClient:
    """A connection of which only the first answer is ever read, and only when it is asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Sends all of it. Raises OSError when the server has hung up."""
        await self._loop.sock_sendall(self.connection, data)

    async def drip(self, data: bytes) -> None:
        """Sends byte by byte, until the server has hung up."""
        for place in range(len(data)):
            if self.ended():
                return
            try:
                await self.send(data[place : place + 1])
            except OSError:
                return
            await asyncio.sleep(PAUSE)

    async def head(self) -> bytes:
        """Reads up to the end of the answer's head."""
        said = b""
        async with asyncio.timeout(WAIT):
            while b"\r\n\r\n" not in said:
                piece = await self._loop.sock_recv(self.connection, 1)
                assert piece, said
                said += piece
        return said

    async def rest(self) -> bytes:
        """Reads until the server hangs up."""
        said = b""
        async with asyncio.timeout(WAIT):
            try:
                while piece := await self._loop.sock_recv(self.connection, 65_536):
                    said += piece
            except ConnectionError:
                pass
        return said

    def ended(self) -> bool:
        """Whether the server has hung up, seen without reading anything."""
        poll = select.poll()
        poll.register(self.connection, select.POLLRDHUP)
        return bool(poll.poll(0))

    async def cut_off(self, what: str) -> None:
        """Waits until the server has hung up."""
        await until(self.ended, what)


@asynccontextmanager
async def raw(served: Server) -> AsyncIterator[RawClient]:
    """A connection with little room for what was sent to it and not read."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", served.port))
        yield RawClient(connection)


async def answer_to(url: str, *parts: bytes) -> bytes:
    """What the server at `url` says to these bytes until it closes the connection, which it must within 10 seconds."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
    except ConnectionError:
        pass  # it has hung up, which is an answer too
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The bytes of a request; of a body only its length is said when the headers say it already."""
    lines = {"Host": "127.0.0.1", **headers}
    if body:
        lines.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def frame(text: bytes, opcode: int = 1) -> bytes:
    """A whole WebSocket frame as clients send them; masked with zeroes, which leaves it readable."""
    size = len(text)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + text


async def open_socket(client: RawClient, path: str, headers: Mapping[str, str]) -> None:
    """Shakes hands as a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    await client.send(request("GET", path, {**upgrade, **headers}))
    said = await client.head()
    assert b" 101 " in said, said


async def subscribe(client: RawClient, served: Server, query: str, variables: Mapping[str, Any]) -> None:
    """Subscribes over graphql-transport-ws; what is sent for it is for the caller to read or not."""
    await open_socket(client, "/graphql", {"Sec-WebSocket-Protocol": "graphql-transport-ws"})
    await client.send(frame(json.dumps({"type": "connection_init", "payload": served.headers}).encode()))
    payload = {"query": query, "variables": variables}
    await client.send(frame(json.dumps({"type": "subscribe", "id": "1", "payload": payload}).encode()))
