"""Files of models: how fast they come in and go out, against `cp` to the same disk, and what memory that takes.

The client is a plain socket: it sends a file by `sendfile` and forgets what it receives, so that it needs next to
nothing of the machine. Our upload ends when the bytes are hashed, checked and durable; a peer's when it answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import orjson

from benchmarks.client import request, send_all
from benchmarks.limits import COLUMN as LIMIT
from benchmarks.servers import Server
from benchmarks.session import Session
from benchmarks.systems import OURS, System

ARTIFACTS: Final = "files of models"
_MIB: Final = 2**20
_PIECE: Final = 64 * _MIB
_BLOCK: Final = 16 * _MIB
_RECEIVE: Final = 256 * 1024
_ROUNDS: Final = 3
_BYTES: Final = "application/octet-stream"
_WARM: Final = 8 * _MIB


class Transfer:
    """One connection of a thread of its own, for requests with large bodies or answers. Raises ConnectionError."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._buffer = bytearray(_RECEIVE)

    def close(self) -> None:
        """Closes it."""
        self._socket.close()

    def send(self, head: bytes, file: Path, start: int = 0, count: int | None = None) -> tuple[int, int]:
        """A request with a part of a file as its body; the status, and the bytes of the answer's body."""
        size = file.stat().st_size - start if count is None else count
        self._socket.sendall(head.replace(b"Content-Length: 0", b"Content-Length: %d" % size))
        with file.open("rb") as opened:
            if self._socket.sendfile(opened, start, size) != size:
                raise ConnectionError("the server closed the connection")
        return self._answer()

    def ask(self, asked: bytes) -> tuple[int, int]:
        """A request without a body of note."""
        self._socket.sendall(asked)
        return self._answer()

    def _answer(self) -> tuple[int, int]:
        head = b""
        while b"\r\n\r\n" not in head:
            received = self._socket.recv(_RECEIVE)
            if not received:
                raise ConnectionError("the server closed the connection")
            head += received
        head, _, body = head.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        status, got = int(head.split(b" ", 2)[1]), len(body)
        if b"content-length" in fields:
            size = int(fields[b"content-length"])
            while got < size:
                got += self._receive()
            return status, got
        tail = body[-5:]
        while tail != b"0\r\n\r\n":  # chunks: the framing counts too, which is below a thousandth
            count = self._receive()
            got += count
            tail = (tail + bytes(self._buffer[max(0, count - 5) : count]))[-5:]
        return status, got

    def _receive(self) -> int:
        count = self._socket.recv_into(self._buffer)
        if count == 0:
            raise ConnectionError("the server closed the connection")
        return count


def _made(place: Path, size: int) -> Path:
    """A file of random bytes, in the page cache."""
    file = place / f"artifact-{secrets.token_hex(4)}"
    block = os.urandom(_BLOCK)
    with file.open("wb") as opened:
        for start in range(0, size, _BLOCK):
            opened.write(block[: min(_BLOCK, size - start)])
    return file


async def copied(session: Session) -> None:
    """The limit: `cp` to the same disk, and its fsync."""
    size = session.sizes.artifact_mib * _MIB
    with _source(session.place, size) as source:
        target = session.place / "copy"
        for name, finish in (("", ()), (", durable", ("conv=fsync",))):
            seconds = []
            for _ in range(_ROUNDS):
                copying = [f"if={source}", f"of={target}", "bs=1M", *finish]
                command = ["dd", *copying] if finish else ["cp", str(source), str(target)]
                began = time.monotonic()
                await asyncio.to_thread(_run, command)
                seconds.append(time.monotonic() - began)
                target.unlink()
            row = session.results.row(ARTIFACTS, f"`cp` of {session.sizes.artifact_mib:,} MiB{name}", "MiB/s")
            session.put(row, LIMIT, session.sizes.artifact_mib / min(seconds))


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


async def measure(session: Session, system: System) -> None:
    """Fills the column of one system."""
    database = await session.databases.fresh(f"artifacts-{system.name}".replace("-", "_"))
    async with system.start(session.place, database) as server:
        if system is OURS:
            await _ours(session, server)
        else:
            await _theirs(session, server, system)


async def _ours(session: Session, server: Server) -> None:
    key = server.key
    await send_all(server.port, [request("POST", "/api/models", orjson.dumps({"name": "bench"}), key=key)])

    def upload(transfer: Transfer, source: Path) -> None:
        head = request("POST", "/api/models/bench/versions", b"", key=key, media=_BYTES)
        _expect(transfer.send(head, source), 201)

    def pieces(transfer: Transfer, source: Path) -> None:
        size = source.stat().st_size
        number = reserved[source]
        for start in range(0, size, _PIECE):
            head = request("PUT", f"/api/models/bench/versions/{number}/content", b"", key=key, media=_BYTES)
            head = head.replace(b"Accept: */*", b"Upload-Offset: %d" % start)
            count = min(_PIECE, size - start)
            _expect(transfer.send(head, source, start, count), 200 if start + count == size else 202)

    def download(transfer: Transfer, source: Path) -> None:
        _, got = _expect(transfer.ask(request("GET", "/api/models/bench/versions/latest/download", key=key)), 200)
        if got < source.stat().st_size:
            raise ConnectionError("the download is short")

    reserved: dict[Path, int] = {}

    async def reserve(source: Path) -> None:
        body = orjson.dumps(await asyncio.to_thread(_declared, source))
        (made,) = await send_all(server.port, [request("POST", "/api/models/bench/uploads", body, key=key)])
        reserved[source] = orjson.loads(made)["version"]

    await _rounds(session, server, OURS, upload, download, pieces=pieces, reserve=reserve)


async def _theirs(session: Session, server: Server, system: System) -> None:
    path = "/api/2.0/mlflow-artifacts/artifacts/bench/weights"

    def upload(transfer: Transfer, source: Path) -> None:
        _expect(transfer.send(request("PUT", path, b"", media=_BYTES), source), 200)

    def download(transfer: Transfer, source: Path) -> None:
        _, got = _expect(transfer.ask(request("GET", path)), 200)
        if got < source.stat().st_size:
            raise ConnectionError("the download is short")

    await _rounds(session, server, system, upload, download)


async def _rounds(
    session: Session,
    server: Server,
    system: System,
    upload: Callable[[Transfer, Path], None],
    download: Callable[[Transfer, Path], None],
    *,
    pieces: Callable[[Transfer, Path], None] | None = None,
    reserve: Callable[[Path], Awaitable[None]] | None = None,
) -> None:
    """The best of some rounds of each kind, and the growth of memory over all of them."""
    mib = session.sizes.artifact_mib
    with _source(session.place, _WARM) as small:
        await _timed(server, upload, small)
        await _timed(server, download, small)
    before = most = server.memory()
    ended = asyncio.Event()

    async def watch() -> None:
        nonlocal most
        while not ended.is_set():
            most = max(most, await asyncio.to_thread(server.memory))
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    try:
        kinds: list[tuple[str, Callable[[Transfer, Path], None]]] = [("upload in one request", upload)]
        kinds += [("upload in pieces of 64 MiB", pieces)] if pieces is not None else []
        kinds.append(("download", download))
        with _source(session.place, mib * _MIB) as kept:
            await _timed(server, upload, kept)
            for name, kind in kinds:
                seconds = []
                for _ in range(_ROUNDS):
                    if kind is download:
                        seconds.append(await _timed(server, kind, kept))
                        continue
                    # Each time other bytes: what the store has already would cost no place.
                    with _source(session.place, mib * _MIB) as source:
                        if kind is pieces and reserve is not None:
                            await reserve(source)
                        seconds.append(await _timed(server, kind, source))
                row = session.results.row(ARTIFACTS, f"{name}, {mib:,} MiB, 1 client", "MiB/s")
                session.put(row, system.name, mib / min(seconds))
    finally:
        ended.set()
        await watching
    row = session.results.row(ARTIFACTS, "growth of the server's memory meanwhile", "MiB", "low")
    session.put(row, system.name, (most - before) / _MIB)


async def _timed(server: Server, kind: Callable[[Transfer, Path], None], source: Path) -> float:
    transfer = Transfer(server.port)
    try:
        began = time.monotonic()
        await asyncio.to_thread(partial(kind, transfer, source))
        return time.monotonic() - began
    finally:
        transfer.close()


@contextmanager
def _source(place: Path, size: int) -> Iterator[Path]:
    file = _made(place, size)
    try:
        yield file
    finally:
        file.unlink()


def _declared(file: Path) -> dict[str, str | int]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"sha256": digest, "size_bytes": file.stat().st_size}


def _expect(answer: tuple[int, int], status: int) -> tuple[int, int]:
    if answer[0] != status:
        raise ConnectionError(f"answered {answer[0]}, not {status}")
    return answer
