"""Live: how long after its acknowledgement a batch reaches every subscriber of the run, and that none misses a point.

The subscribers are plain WebSockets in a process of their own that notes when bytes arrive and reads them only
afterwards. Sender and receivers share the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import os
import resource
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Final, cast

import orjson
import uvloop

from benchmarks.client import Connection, send_all
from benchmarks.points import Point, walk
from benchmarks.report import Goal, rounded
from benchmarks.servers import Server
from benchmarks.session import Session
from benchmarks.systems import AxonML, System, warm

LIVE: Final = "live, 10 batches/s of one run over WebSocket"
INTERVAL: Final = 0.1
PER_BATCH: Final = 10
_KEY: Final = "train/loss"
_PATIENCE: Final = 20.0
_OPEN_LIMIT: Final = 90.0
_AT_ONCE: Final = 50
_QUERY: Final = """
    subscription ($run: ID!) {
      runMetrics(runId: $run) { cursor status reset series { key steps values } }
    }"""


@dataclass(frozen=True, slots=True)
class _Wanted:
    port: int
    key: str
    run: str
    subscribers: int


@dataclass(slots=True)
class _Heard:
    """What the subscribers of one run heard. Latencies in seconds, one for each batch and subscriber."""

    latencies: list[float]
    missing: int
    repeated: int
    messages: int
    resets: int
    broken: int
    client_cpu: float


class _Subscriber(asyncio.Protocol):
    """One WebSocket: opens, subscribes, and keeps every message with the time of its last byte."""

    def __init__(self, wanted: _Wanted) -> None:
        self._wanted = wanted
        self._rest = b""
        self._open = False
        self._transport: asyncio.Transport | None = None
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard: list[tuple[float, bytes]] = []
        self.broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        lines = (
            "GET /graphql HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: graphql-transport-ws",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        )
        self._transport.write("\r\n".join((*lines, "", "")).encode())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self.broken = True
        if not self.begun.done():
            self.begun.set_exception(ConnectionError("a subscriber was disconnected before its first message"))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        data = self._rest + data if self._rest else data
        if not self._open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = head
                return
            if b" 101 " not in head[:20]:
                self.begun.set_exception(ConnectionError(head.decode(errors="replace")))
                return
            self._open = True
            self._say({"type": "connection_init", "payload": {"Authorization": f"Bearer {self._wanted.key}"}})
        at = 0
        while (found := _frame(data, at)) is not None:
            opcode, payload, at = found
            if opcode == 1:
                self._message(payload, now)
            elif opcode == 9:
                self._send(10, payload)
            elif opcode == 8:
                self.connection_lost(None)
        self._rest = data[at:]

    def _message(self, payload: bytes, now: float) -> None:
        if b'"next"' in payload[:200]:
            self.heard.append((now, payload))
            if not self.begun.done():
                self.begun.set_result(None)
        elif b"connection_ack" in payload:
            asked = {"query": _QUERY, "variables": {"run": self._wanted.run}}
            self._say({"id": "1", "type": "subscribe", "payload": asked})
        elif b'"ping"' in payload:
            self._say({"type": "pong"})
        elif not self.begun.done():
            self.begun.set_exception(ConnectionError(payload.decode(errors="replace")[:500]))
        elif b'"error"' in payload:
            self.broken = True

    def _say(self, message: dict[str, object]) -> None:
        self._send(1, orjson.dumps(message))

    def _send(self, opcode: int, payload: bytes) -> None:
        assert self._transport is not None
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else bytes((0x80 | 126,)) + size.to_bytes(2, "big")
        self._transport.write(bytes((0x80 | opcode,)) + length + bytes(4) + payload)  # masked with zeros

    def close(self) -> None:
        """Closes the connection."""
        if self._transport is not None:
            self._transport.abort()


def _frame(data: bytes, at: int) -> tuple[int, bytes, int] | None:
    """Opcode, payload and end of the frame that begins at `at`; None while it is not whole."""
    if len(data) < at + 2:
        return None
    size, begin = data[at + 1] & 0x7F, at + 2
    if size >= 126:
        width = 2 if size == 126 else 8
        size, begin = int.from_bytes(data[begin : begin + width], "big"), begin + width
    if len(data) < begin + size:
        return None
    return data[at] & 0x0F, data[begin : begin + size], begin + size


def _listeners(pipe: Pipe) -> None:
    """The process of the subscribers."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_listen(pipe))
        except (EOFError, KeyboardInterrupt):
            return


async def _listen(pipe: Pipe) -> None:
    wanted: _Wanted = pipe.recv()
    loop = asyncio.get_running_loop()
    subscribers: list[_Subscriber] = []
    try:
        for first in range(0, wanted.subscribers, _AT_ONCE):
            group = []
            for _ in range(min(_AT_ONCE, wanted.subscribers - first)):
                _, one = await loop.create_connection(lambda: _Subscriber(wanted), "127.0.0.1", wanted.port)
                group.append(one)
            subscribers += group
            async with asyncio.timeout(_OPEN_LIMIT):
                await asyncio.gather(*(one.begun for one in group))
    except (OSError, TimeoutError) as error:
        pipe.send(f"{type(error).__name__} {error} at subscriber {len(subscribers)}")
        return
    pipe.send(None)
    cpu, began = _cpu_seconds(), time.monotonic()
    acknowledged: list[float] = await asyncio.to_thread(pipe.recv)
    used = (_cpu_seconds() - cpu) / (time.monotonic() - began)
    last = len(acknowledged) * PER_BATCH - 1
    parsed: dict[bytes, tuple[list[int], bool]] = {}
    deadline = time.monotonic() + _PATIENCE
    waiting = list(subscribers)
    while time.monotonic() < deadline:
        waiting = [one for one in waiting if not one.broken and last not in _steps(one.heard[-1][1], parsed)[0]]
        if not waiting:
            break
        await asyncio.sleep(0.05)
    pipe.send(_judged(subscribers, acknowledged, parsed, used))
    for one in subscribers:
        one.close()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _steps(payload: bytes, parsed: dict[bytes, tuple[list[int], bool]]) -> tuple[list[int], bool]:
    """The steps in a message, and whether it replaces what came before."""
    found = parsed.get(payload)
    if found is None:
        delta = orjson.loads(payload)["payload"]["data"]["runMetrics"]
        found = [step for series in delta["series"] for step in series["steps"]], delta["reset"]
        parsed[payload] = found
    return found


def _judged(
    subscribers: list[_Subscriber], acknowledged: list[float], parsed: dict[bytes, tuple[list[int], bool]], used: float
) -> _Heard:
    heard = _Heard([], 0, 0, 0, 0, 0, used)
    total = len(acknowledged) * PER_BATCH
    for one in subscribers:
        seen: Counter[int] = Counter()
        for at, payload in one.heard:
            steps, reset = _steps(payload, parsed)
            heard.resets += reset
            if reset:
                seen.clear()
            seen.update(steps)
            for step in steps:
                if step % PER_BATCH == PER_BATCH - 1:
                    heard.latencies.append(max(0.0, at - acknowledged[step // PER_BATCH]))
        heard.missing += total - len(seen)
        heard.repeated += seen.total() - len(seen)
        heard.messages += len(one.heard)
        heard.broken += one.broken
    return heard


async def measure(session: Session, system: System) -> None:
    """One row for each number of subscribers."""
    database = await session.databases.fresh("live")
    async with system.start(session.place, database) as server:
        api = await system.api(server, "live")
        assert isinstance(api, AxonML)
        await warm(api)
        for count in session.sizes.subscribers:
            await _with_subscribers(session, server, api, count)


async def _with_subscribers(session: Session, server: Server, api: AxonML, count: int) -> None:
    run = api.run_of((await send_all(api.port, [api.create(f"live {count}")]))[0])
    spawn = multiprocessing.get_context("spawn")
    pipe, theirs = spawn.Pipe()
    process = spawn.Process(target=_listeners, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        before = server.memory()
        pipe.send(_Wanted(api.port, api.key, run, count))
        problem = await asyncio.to_thread(pipe.recv)
        if problem is not None:
            raise ConnectionError(problem)
        busy = server.busy_seconds()
        acknowledged = await _log_batches(session, api, run)
        grown = (server.memory() - before) / 2**20  # while all are connected
        pipe.send(acknowledged)
        heard: _Heard = await asyncio.to_thread(pipe.recv)
        busy = server.busy_seconds() - busy
    finally:
        pipe.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()
    _report(session, count, heard, batches=len(acknowledged), grown=grown, busy=busy)


async def _log_batches(session: Session, api: AxonML, run: str) -> list[float]:
    """Logs at the pace; when each batch was acknowledged."""
    batches = round(session.sizes.live_seconds / INTERVAL)
    values = walk(5, batches * PER_BATCH)
    acknowledged = []
    connection = await Connection.open(api.port)
    try:
        begin = time.monotonic() + INTERVAL
        for number in range(batches):
            await asyncio.sleep(max(0.0, begin + number * INTERVAL - time.monotonic()))
            steps = range(number * PER_BATCH, (number + 1) * PER_BATCH)
            points = [Point(_KEY, float(values[step]), str(step), str(1_760_000_000_000 + step)) for step in steps]
            status, body = await connection.send(api.log(run, points))
            if status != 200:
                raise ConnectionError(f"a batch was refused: {status} {body[:300]!r}")
            acknowledged.append(time.monotonic())
    finally:
        connection.close()
    return acknowledged


def _report(session: Session, count: int, heard: _Heard, *, batches: int, grown: float, busy: float) -> None:
    results, column = session.results, "axonml"
    latencies = sorted(heard.latencies) or [float("nan")]
    quantiles = {name: latencies[int(share * (len(latencies) - 1))] for name, share in (("p50", 0.5), ("p99", 0.99))}
    who = f"{count:,} subscriber{'' if count == 1 else 's'}"
    largest = count == 1000
    for name, seconds in quantiles.items():
        goal = Goal(bound=250) if largest and name == "p99" else None
        row = results.row(LIVE, f"{who}: acknowledged to received, {name}", "ms", "low", goal)
        if heard.client_cpu > 0.9:
            row.notes[column] = "the subscribers' process was at its limit (over 90 % of a core)"
        session.put(row, column, seconds * 1000)
        row.details[column] = rounded(
            batches=batches, messages=heard.messages, resets=heard.resets, client_cores=heard.client_cpu
        )
    row = results.row(LIVE, f"{who}: points not received, or twice", "points", "low", Goal(bound=0))
    if heard.broken:
        row.notes[column] = f"{heard.broken} subscribers were disconnected"
    session.put(row, column, heard.missing + heard.repeated)
    row = results.row(LIVE, f"{who}: growth of the server's memory", "MiB", "low", Goal(bound=200) if largest else None)
    session.put(row, column, grown)
    # What is left of other programs on the machine; taking the batches in is part of it.
    row = results.row(LIVE, f"{who}: processor time of the server for one delivered message", "µs", "low")
    session.put(row, column, busy * 1e6 / max(1, heard.messages - count))
