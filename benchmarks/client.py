"""The client of every measurement: HTTP/1.1 over kept-alive connections, requests rendered before the clock starts.

It knows no product: a system says which bytes to send (`Requests`), this says how fast they were answered and how much
of a core the client itself needed. Load is driven from processes of its own, so that it never shares an interpreter
with what it measures. A refused or failed request is counted apart and never as throughput.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Final, cast

import httptools
import uvloop

MARK: Final = b"@@@@@@@"
"""Stands in a request for a number of seven digits that is another one in each request of a connection."""

FIRST_NUMBER: Final = 1_000_000
REPLY_LIMIT: Final = 120.0
_LEAD_SECONDS: Final = 0.3


class RequestFailed(Exception):  # noqa: N818 - reads as a condition
    """A request of the preparation was refused."""


@dataclass(frozen=True, slots=True)
class Requests:
    """What one connection sends, in turn: whole requests, each MARK replaced by the number of the request."""

    templates: tuple[bytes, ...]

    def nth(self, n: int) -> bytes:
        """The bytes of request `n`, from 0."""
        return self.templates[n % len(self.templates)].replace(MARK, b"%d" % (FIRST_NUMBER + n))


@dataclass(frozen=True, slots=True)
class Load:
    """One measurement: a connection for each of `clients`, driven without a pause.

    Answers count from `warmup` seconds on, for `seconds`. A slow system is given as long as `at_least` answers of
    each connection take, but never more than `limit` seconds.
    """

    port: int
    clients: tuple[Requests, ...]
    seconds: float
    warmup: float = 0.5
    at_least: int = 1
    limit: float = 60.0


@dataclass(slots=True)
class Outcome:
    """What a load came to. `latencies` are of the counted answers, in seconds; `client_cpu` in cores."""

    seconds: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    bytes_read: int = 0
    failures: int = 0
    first_failure: str = ""
    client_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def quantile(self, share: float) -> float:
        """A quantile of the latencies, in seconds; NaN without any."""
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")

    def add(self, other: Outcome) -> None:
        """Takes in what another process counted in the same window."""
        self.seconds = max(self.seconds, other.seconds)
        self.latencies.extend(other.latencies)
        self.bytes_read += other.bytes_read
        self.failures += other.failures
        self.first_failure = self.first_failure or other.first_failure
        self.client_cpu = max(self.client_cpu, other.client_cpu)


class Connection(asyncio.Protocol):
    """One kept-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._body: list[bytes] = []

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connects to a port of this machine."""
        _, protocol = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return protocol

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises ConnectionError, TimeoutError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the server closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(REPLY_LIMIT):
            return await self._answer

    async def accepted(self, request: bytes) -> bytes:
        """The body of the answer. Raises RequestFailed for one that is refused, ConnectionError, TimeoutError."""
        status, body = await self.send(request)
        if not 200 <= status < 300:
            head = request.partition(b"\r\n")[0].decode()
            raise RequestFailed(f"{head}: {status} {body[:500].decode(errors='replace')}")
        return body

    def close(self) -> None:
        """Closes it."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.connection_lost(ConnectionError(f"not HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))

    def on_message_begin(self) -> None:
        """A new answer begins."""
        self._body = []

    def on_body(self, body: bytes) -> None:
        """A piece of it."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """It is whole."""
        status = self._parser.get_status_code()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, b"".join(self._body)))


async def _client(load: Load, requests: Requests, begin: float, outcome: Outcome) -> None:
    """Drives one connection through warm-up and window."""
    count_from = begin + load.warmup
    until = count_from + load.seconds
    at_most = count_from + max(load.limit, load.seconds)
    connection = await Connection.open(load.port)
    n = answered = 0
    try:
        await asyncio.sleep(max(0.0, begin - time.monotonic()))
        while (sent := time.monotonic()) < until or (answered < load.at_least and sent < at_most):
            status, body = await connection.send(requests.nth(n))
            now = time.monotonic()
            n += 1
            if not 200 <= status < 300:
                outcome.failures += 1
                outcome.first_failure = outcome.first_failure or f"{status} {body[:300].decode(errors='replace')}"
                if outcome.failures > 100:
                    return
            elif now >= count_from and (now <= until or answered < load.at_least):
                answered += 1
                outcome.latencies.append(now - sent)
                outcome.bytes_read += len(body)
                outcome.seconds = max(outcome.seconds, now - count_from)
    except (OSError, TimeoutError) as error:
        outcome.failures += 1
        outcome.first_failure = outcome.first_failure or f"{type(error).__name__} {error}"
    finally:
        connection.close()


async def _drive(load: Load, begin: float) -> Outcome:
    outcome = Outcome()
    cpu = _cpu_seconds()
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for requests in load.clients:
            group.create_task(_client(load, requests, begin, outcome))
    ended = time.monotonic()
    outcome.client_cpu = (_cpu_seconds() - cpu) / max(ended - max(started, begin), 1e-6)
    # A window that was used to its end lasts as long as was asked for.
    outcome.seconds = max(outcome.seconds, load.seconds) if not outcome.failures else outcome.seconds
    return outcome


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _driver(pipe: Pipe) -> None:
    """A driver process: loads come in through the pipe, outcomes go back, until it is closed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while True:
            try:
                load, begin = pipe.recv()
            except (EOFError, KeyboardInterrupt):
                return
            pipe.send(runner.run(_drive(load, begin)))


class Drivers:
    """The client's processes. `used` of them share the connections of a load; `calibrate` of limits.py chooses it."""

    def __init__(self, processes: int = 2) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipes: list[Pipe] = []
        self._processes = []
        self.used = 1
        for _ in range(processes):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_driver, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    @property
    def processes(self) -> int:
        """How many there are."""
        return len(self._pipes)

    async def run(self, load: Load, *, processes: int | None = None) -> Outcome:
        """Drives a load, its connections shared out evenly."""
        used = min(processes or self.used, len(load.clients))
        begin = time.monotonic() + _LEAD_SECONDS
        waiting = []
        for place in range(used):
            part = Load(load.port, load.clients[place::used], load.seconds, load.warmup, load.at_least, load.limit)
            self._pipes[place].send((part, begin))
            waiting.append(asyncio.to_thread(self._pipes[place].recv))
        total = Outcome()
        for outcome in await asyncio.gather(*waiting):
            total.add(outcome)
        return total

    def close(self) -> None:
        """Ends the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


def request(
    method: str, path: str, body: bytes | None = None, *, key: str | None = None, media: str = "application/json"
) -> bytes:
    """The bytes of one HTTP/1.1 request to a server of this machine. A MARK in the body keeps its length."""
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: */*"]
    if key is not None:
        head.append(f"Authorization: Bearer {key}")
    if body is not None:
        head += [f"Content-Type: {media}", f"Content-Length: {len(body)}"]
    return "\r\n".join((*head, "", "")).encode() + (body or b"")


async def send_all(port: int, requests: Sequence[bytes], *, connections: int = 4) -> list[bytes]:
    """Sends requests that prepare a measurement, over a few connections; the bodies in order.

    Raises RequestFailed at the first that is refused.
    """
    bodies: list[bytes] = [b""] * len(requests)
    waiting = iter(enumerate(requests))

    async def work() -> None:
        connection = await Connection.open(port)
        try:
            for place, one in waiting:
                bodies[place] = await connection.accepted(one)
        finally:
            connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(connections, len(requests))):
            group.create_task(work())
    return bodies
