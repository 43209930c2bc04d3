"""A replica's sockets: one thread that accepts, reads requests into the batcher, and watches the lifeline.

Results are written by the batching thread itself, one system call per connection and batch; this thread
only takes over what did not fit into a socket's buffer. When the lifeline closes the host is gone, and so
is this process, at once and without clean-up: nothing in a replica needs saving.
"""

from __future__ import annotations

import faulthandler
import os
import selectors
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, cast

import msgspec

from domain.errors import BadUserInput, DomainError
from domain.serving import InferenceError
from domain.tensors import Array, TensorSpec, check_arrays
from serving import control, flight, slab, wire
from serving.replica.batcher import Batcher, Computed, Item, Outcome

MAX_OUTBOX_BYTES: Final = 2 * wire.MAX_BODY_BYTES
_IOV: Final = 256
_DRAIN_WRITE_SECONDS: Final = 5.0


class Connection:
    """One client. Written to by both threads, under `lock`."""

    def __init__(self, sock: socket.socket, shared: Sequence[int]) -> None:
        """`shared`: the descriptors of a flight page and of the slabs of requests and of answers."""
        self.sock = sock
        self.flight = flight.Flight(shared[0])
        self.reader = wire.FrameReader(slab.Slab(shared[1]))
        self.answers = slab.Answers(slab.Slab(shared[2]))
        self.items: dict[int, Item] = {}
        self.lock = threading.Lock()
        self.broken = False
        self._outbox: deque[wire.Chunk] = deque()
        self._bytes = 0

    def put(self, chunks: Sequence[wire.Chunk]) -> None:
        """Queue a frame; `push` writes it."""
        with self.lock:
            self._outbox.extend(chunks)
            self._bytes += sum(map(len, chunks))
            if self._bytes > MAX_OUTBOX_BYTES:
                self.broken = True  # a client that sends and never reads

    def push(self) -> bool:
        """Write what the socket takes; whether everything is written (or the connection is broken)."""
        with self.lock:
            while self._outbox and not self.broken:
                try:
                    sent = self.sock.sendmsg(list(islice(self._outbox, _IOV)))
                except BlockingIOError:
                    return False
                except OSError:
                    self.broken = True
                    break
                self._bytes -= sent
                while sent:
                    head = self._outbox[0]
                    if sent < len(head):
                        self._outbox[0] = memoryview(head)[sent:]
                        break
                    sent -= len(head)
                    self._outbox.popleft()
            return True


class Listener:
    """The sockets of one replica. `serve` runs in its own thread until the process ends."""

    def __init__(self, lifeline: socket.socket, replica: int, specs: Sequence[TensorSpec], hang_ms: int) -> None:
        self._lifeline = lifeline
        self._replica = replica
        self._specs = specs
        self._hang_ns = hang_ms * 1_000_000
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._messages = control.ControlReader()
        self._server: socket.socket | None = None
        self._batcher: Batcher | None = None
        self._connections: set[Connection] = set()
        self._dirty: set[Connection] = set()
        self._flying: dict[Connection, list[int]] = {}
        self._stuck: deque[Connection] = deque()
        self._given_up = False
        lifeline.setblocking(False)
        self._selector.register(lifeline, selectors.EVENT_READ, self._on_lifeline)
        self._selector.register(self._wake, selectors.EVENT_READ, self._on_wake)

    def open(self, server: socket.socket, batcher: Batcher) -> None:
        """Start accepting: called once, by the batching thread, when the model is warm."""
        self._batcher = batcher
        self._server = server
        server.setblocking(False)
        os.eventfd_write(self._wake, 1)

    def serve(self) -> None:
        """The thread's loop."""
        try:
            while True:
                for key, _events in self._selector.select(self._until_hanging()):
                    cast("Callable[[], None]", key.data)()
        except BaseException:  # noqa: BLE001 - a replica that cannot hear is dead: let the host see it
            traceback.print_exc()
            os._exit(1)

    # --- from the batching thread ----------------------------------------------------------------

    def flush(self) -> None:
        """Write the results of a batch."""
        while self._dirty:
            connection = self._dirty.pop()
            if not connection.push():
                self._stuck.append(connection)
                os.eventfd_write(self._wake, 1)

    def computing(self, items: Sequence[Item]) -> None:
        """Say on every client's page which of its requests are computed from here on."""
        for connection in self._flying:
            connection.flight.write(())
        self._flying.clear()
        for item in items:
            connection, request = cast("tuple[Connection, int]", item.origin)
            self._flying.setdefault(connection, []).append(request)
        for connection, requests in self._flying.items():
            connection.flight.write(requests)

    def finish(self) -> None:
        """After the last batch: give clients a bounded time to take their results."""
        for connection in list(self._connections):
            connection.sock.settimeout(_DRAIN_WRITE_SECONDS)
            connection.push()

    def _answer(self, connection: Connection, request: int, outputs: tuple[str, ...] | None, outcome: Outcome) -> None:
        connection.items.pop(request, None)
        queued = self._batcher.queued_rows if self._batcher else 0
        if isinstance(outcome, Computed):
            found = outcome.outputs
            if outputs is not None:
                found = {name: found[name] for name in outputs}
            arrays = list(found.values())
            region = connection.answers.put(arrays)
            result = wire.Result(
                request, outcome.queue_ns, outcome.compute_ns, outcome.batch_rows, queued, wire.describe(found), region
            )
            try:
                connection.put(wire.encode(result, arrays if region is None else ()))
            except wire.WireError as error:
                outcome = InferenceError(f"the result is too large: {error}")
        if not isinstance(outcome, Computed):
            connection.put(wire.encode(_failure(request, outcome, queued)))
        self._dirty.add(connection)

    # --- in the listening thread -----------------------------------------------------------------

    def _on_lifeline(self) -> None:
        try:
            data = self._lifeline.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            os._exit(0)
        for payload in self._messages.feed(data):
            msgspec.msgpack.decode(payload, type=control.Drain)
            if self._batcher is not None:
                self._batcher.drain()

    def _on_wake(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if self._server is not None and self._server.fileno() not in self._selector.get_map():
            self._selector.register(self._server, selectors.EVENT_READ, self._on_accept)
        while self._stuck:
            self._watch(self._stuck.popleft(), writing=True)

    def _on_accept(self) -> None:
        if self._server is None:
            return
        with suppress(BlockingIOError):
            sock, _address = self._server.accept()
            sock.setblocking(False)
            shared = [flight.create(), slab.create(), slab.create()]
            try:
                connection = Connection(sock, shared)
                self._connections.add(connection)
                self._selector.register(sock, selectors.EVENT_READ, lambda: self._on_ready(connection))
                self._greet(connection, shared)
            finally:
                for fd in shared:
                    os.close(fd)

    def _greet(self, connection: Connection, shared: list[int]) -> None:
        """The greeting and what is shared, in one message: a fresh socket has room for it."""
        hello = b"".join(wire.encode(wire.Hello(self._replica, os.getpid())))
        try:
            socket.send_fds(connection.sock, [hello], shared)
        except OSError:
            self._close(connection)

    def _watch(self, connection: Connection, *, writing: bool) -> None:
        if connection in self._connections:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
            key = self._selector.get_key(connection.sock)
            self._selector.modify(connection.sock, events, key.data)

    def _on_ready(self, connection: Connection) -> None:
        """Readable, writable or both: try both, neither blocks."""
        if connection.push():
            self._watch(connection, writing=False)
        try:
            count = connection.sock.recv_into(connection.reader.buffer())
            if count == 0 or connection.broken:
                self._close(connection)
                return
            for frame in connection.reader.received(count):
                self._on_frame(connection, frame)
        except BlockingIOError:
            return
        except (OSError, wire.WireError):
            self._close(connection)
            return
        if not connection.push():
            self._watch(connection, writing=True)

    def _on_frame(self, connection: Connection, frame: wire.Frame) -> None:
        message = frame.message
        if isinstance(message, wire.Cancel):
            self._given_up = True
            item = connection.items.pop(message.id, None)
            if item is not None and self._batcher is not None:
                self._batcher.cancel(item)
            connection.put(wire.encode(wire.Cancelled(message.id)))
        elif isinstance(message, wire.Predict):
            self._submit(connection, message, frame.arrays)
        else:
            raise wire.WireError(f"unexpected {type(message).__name__}")

    def _until_hanging(self) -> float | None:
        """Seconds until the present forward has run for longer than any should; the end of this replica when it has.

        None, and so no look at the clock, unless somebody gave up while it was computed.
        """
        if self._given_up and self._batcher is not None:
            computing = self._batcher.computing_ns
            if computing > self._hang_ns:
                sys.stderr.write(f"one forward has run for {computing / 1e9:.1f} s: this replica hangs\n")
                faulthandler.dump_traceback()
                os._exit(control.HANGING)
            if computing:
                return (self._hang_ns - computing) / 1e9 + 0.001
            self._given_up = False
        return None

    def _submit(self, connection: Connection, message: wire.Predict, arrays: dict[str, Array]) -> None:
        batcher, request, outputs = self._batcher, message.id, message.outputs
        if batcher is None or request in connection.items:
            raise wire.WireError("request out of order")

        def done(outcome: Outcome) -> None:
            self._answer(connection, request, outputs, outcome)

        try:
            rows = check_arrays(arrays, self._specs, max_bytes=wire.MAX_BODY_BYTES)
            item = Item(arrays, rows, message.deadline_ns, done, message.alone, (connection, request))
            connection.items[request] = item
            batcher.submit(item)
        except DomainError as error:
            connection.items.pop(request, None)
            connection.put(wire.encode(_failure(request, error, batcher.queued_rows)))

    def _close(self, connection: Connection) -> None:
        self._selector.unregister(connection.sock)
        self._connections.discard(connection)
        with connection.lock:
            connection.broken = True
            connection.sock.close()
        if self._batcher is not None:
            for item in list(connection.items.values()):
                self._batcher.cancel(item)
        connection.items.clear()


def _failure(request: int, error: DomainError | InferenceError, queued: int) -> wire.Failure:
    if isinstance(error, DomainError):
        retry = error.retry_after
        field = error.field if isinstance(error, BadUserInput) else None
        return wire.Failure(request, error.code, error.message[:2000], queued, retry, field)
    return wire.Failure(request, DomainError.code, str(error)[:2000], queued)
