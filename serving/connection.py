"""A web process's connection to one replica: many requests in flight, matched to answers by id.

Requests of one loop iteration leave in one write. A request whose caller gives up is cancelled in the
replica too. It must never resend: whether a request may be tried again is the caller's decision.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

from domain.tensors import Array
from serving import wire
from serving.flight import Flight, FlightError
from serving.slab import Requests, Slab, SlabError

_JOIN_BYTES: Final = 64 * 1024
_FOREIGN_SECONDS: Final = 0.25

logger = logging.getLogger(__name__)

Shared = tuple[Flight, Slab, Slab]
"""The page of what is computed, the slab of requests and the slab of answers."""


class ReplicaGoneError(Exception):
    """The connection ended before the answer came. `computing`: the replica was computing the request then."""

    def __init__(self, *, computing: bool = False) -> None:
        super().__init__("the replica is gone")
        self.computing = computing


class ReplicaConnection(asyncio.BufferedProtocol):
    """Multiplexed requests over one socket. `on_lost` is called once, when it ends."""

    def __init__(self, on_lost: Callable[[], None], shared: Shared) -> None:
        self._on_lost = on_lost
        self._flight, requests, self._answers = shared
        self._slabs = shared[1:]
        self._requests = Requests(requests, self._flight.read)
        self._reader = wire.FrameReader(self._answers)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._outgoing: list[wire.Chunk] = []
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[wire.Frame]] = {}
        self._cancelled: dict[int, float] = {}
        self._own_rows = 0
        self._foreign_rows = 0
        self._foreign_at = 0.0

    @property
    def load(self) -> int:
        """Rows this replica has to do: ours, plus what it reported of others' a moment ago."""
        fresh = self._loop.time() - self._foreign_at < _FOREIGN_SECONDS
        return self._own_rows + (self._foreign_rows if fresh else 0)

    @property
    def silent_seconds(self) -> float:
        """For how long the replica has not acknowledged a cancellation; 0 when it owes none."""
        return self._loop.time() - next(iter(self._cancelled.values()), self._loop.time())

    async def predict(
        self,
        inputs: Mapping[str, Array],
        rows: int,
        deadline_ns: int,
        outputs: tuple[str, ...] | None,
        *,
        alone: bool = False,
    ) -> wire.Frame:
        """Send a request and wait for its Result or Failure; `alone` keeps it out of others' batches.

        Raises ReplicaGoneError.
        """
        await self._writable.wait()
        if self._transport is None:
            raise ReplicaGoneError
        number = next(self._ids)
        arrays = list(inputs.values())
        region = self._requests.put(number, arrays)
        message = wire.Predict(number, deadline_ns, outputs, wire.describe(inputs), alone, region)
        chunks = wire.encode(message, arrays if region is None else ())
        waiting: asyncio.Future[wire.Frame] = self._loop.create_future()
        self._waiting[number] = waiting
        self._own_rows += rows
        self._send(chunks)
        try:
            return await waiting
        except asyncio.CancelledError:
            if self._transport is not None:
                self._cancelled[number] = self._loop.time()
                self._send(wire.encode(wire.Cancel(number)))
            raise
        finally:
            self._own_rows -= rows
            self._waiting.pop(number, None)

    def close(self) -> None:
        """End the connection; requests in flight see ReplicaGoneError."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, chunks: list[wire.Chunk]) -> None:
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing += chunks

    def _flush(self) -> None:
        chunks, self._outgoing = self._outgoing, []
        if self._transport is None:
            return
        small: list[wire.Chunk] = []
        for chunk in chunks:
            if len(chunk) < _JOIN_BYTES:
                small.append(chunk)
                continue
            if small:
                self._transport.write(b"".join(small))
                small = []
            self._transport.write(chunk)
        if small:
            self._transport.write(b"".join(small))

    # --- asyncio.BufferedProtocol ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for frame in self._reader.received(nbytes):
                self._on_frame(frame)
        except wire.WireError as error:
            logger.error("a replica broke the protocol: %s", error)  # noqa: TRY400 - no traceback needed
            self.close()

    def _on_frame(self, frame: wire.Frame) -> None:
        message = frame.message
        if isinstance(message, wire.Result | wire.Failure):
            self._foreign_rows = max(0, message.queued_rows - self._own_rows)
            self._foreign_at = self._loop.time()
            self._requests.free(message.id)
            waiting = self._waiting.get(message.id)
            wanted = waiting is not None and not waiting.done()
            if isinstance(message, wire.Result) and message.region is not None:
                if wanted:  # its caller may keep it for as long as they like, but not its place
                    frame.arrays = {name: array.copy() for name, array in frame.arrays.items()}
                self._answers.taken = message.region[2]
            if waiting is not None and wanted:
                waiting.set_result(frame)
        elif isinstance(message, wire.Cancelled):
            self._cancelled.pop(message.id, None)
            self._requests.leave(message.id)
        else:
            raise wire.WireError(f"unexpected {type(message).__name__}")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its end is all that matters
        self._transport = None
        self._writable.set()
        computing = self._flight.read()
        self._flight.close()
        for one in self._slabs:
            one.close()
        for number, waiting in self._waiting.items():
            if not waiting.done():
                waiting.set_exception(ReplicaGoneError(computing=number in computing))
        self._on_lost()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()


async def connect(path: Path, on_lost: Callable[[], None]) -> ReplicaConnection:
    """Connect to the replica listening at `path` (of any length) and wait for its greeting.

    Raises OSError or ReplicaGoneError.
    """
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            await loop.sock_connect(sock, f"/proc/self/fd/{directory}/{path.name}")  # addresses end at 107 bytes
        finally:
            os.close(directory)
        shared = await _greeting(sock)
        _transport, connection = await loop.create_unix_connection(
            lambda: ReplicaConnection(on_lost, shared), sock=sock
        )
    except BaseException:
        sock.close()
        raise
    return connection


async def _greeting(sock: socket.socket) -> Shared:
    """What comes with the replica's first frame."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
    data, fds, _flags, _address = socket.recv_fds(sock, wire.MAX_GREETING, 3)
    try:
        if not isinstance(wire.decode_one(data).message, wire.Hello) or len(fds) != 3:
            raise ReplicaGoneError
        return Flight(fds[0]), Slab(fds[1]), Slab(fds[2])
    except (wire.WireError, FlightError, SlabError):
        raise ReplicaGoneError from None
    finally:
        for fd in fds:
            os.close(fd)
