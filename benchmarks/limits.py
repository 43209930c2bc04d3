"""What the machine gives without either product: a bare HTTP server, and rows copied into a plain table.

The echo is measured first: it is also the ceiling of the client, and decides how many processes drive the load.
"""

from __future__ import annotations

import asyncio
import io
import time
from typing import Final

import asyncpg
import numpy as np

from benchmarks import ingest, reads
from benchmarks.client import Load, Requests
from benchmarks.points import FIRST_MS, batch, walk
from benchmarks.servers import echo
from benchmarks.session import Session
from benchmarks.systems import AxonML

LIMITS: Final = "physical limits"
COLUMN: Final = "limit"
_WORTH_A_PROCESS: Final = 1.15
_COPIED_AT_ONCE: Final = 200_000
_TABLE: Final = "CREATE TABLE plain (run int4, key int4, step int8, at int8, value float8)"
_ROW: Final = np.dtype(
    [
        ("fields", ">i2"),
        ("run_length", ">i4"),
        ("run", ">i4"),
        ("key_length", ">i4"),
        ("key", ">i4"),
        ("step_length", ">i4"),
        ("step", ">i8"),
        ("at_length", ">i4"),
        ("at", ">i8"),
        ("value_length", ">i4"),
        ("value", ">f8"),
    ]
)
_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = b"\xff\xff"


async def calibrate(session: Session) -> None:
    """The client's ceiling against a bare server; chooses the number of client processes."""
    sizes, drivers = session.sizes, session.drivers
    most = max(sizes.clients)
    async with echo(session.place) as server:
        small = AxonML(server.port, "key").log_one("run", batch(1, 0)[0])
        load = Load(server.port, tuple(Requests((small,)) for _ in range(most)), sizes.seconds / 2, sizes.warmup)
        rates = {}
        for processes in range(1, drivers.processes + 1):
            outcome = await drivers.run(load, processes=processes)
            rates[processes] = outcome.rate
            driven = "1 process" if processes == 1 else f"{processes} processes"
            name = f"uvicorn echo, {ingest.clients_text(most)} driven from {driven}"
            session.put(session.results.row(LIMITS, name, "requests/s"), COLUMN, outcome.rate, outcome)
        drivers.used = max((count for count in rates if rates[count] >= rates[1] * _WORTH_A_PROCESS), default=1)
        session.say(f"load is driven from {drivers.used} process(es)")


async def bare(session: Session) -> None:
    """The bare server under the load of single points and new runs, and of bodies of 1,000 points."""
    sizes, drivers = session.sizes, session.drivers
    async with echo(session.place) as server:
        small = AxonML(server.port, "key").log_one("run", batch(1, 0)[0])
        for count in sizes.clients:
            load = Load(server.port, tuple(Requests((small,)) for _ in range(count)), sizes.seconds / 2, sizes.warmup)
            outcome = await drivers.run(load)
            for group, name, unit in (
                (ingest.SINGLE, f"one point per request, {ingest.clients_text(count)}", "requests/s"),
                (ingest.CREATE, ingest.clients_text(count), "runs/s"),
            ):
                session.put(session.results.row(group, name, unit), COLUMN, outcome.rate, outcome)
        large = AxonML(server.port, "key").log("run", batch(1000, 0))
        load = Load(server.port, tuple(Requests((large,)) for _ in range(4)), sizes.seconds / 2, sizes.warmup)
        outcome = await drivers.run(load)
        name = f"uvicorn echo, bodies of 1,000 points ({len(large) // 1024} KiB), 4 clients"
        session.put(session.results.row(LIMITS, name, "points/s"), COLUMN, outcome.rate * 1000, outcome)


async def copy(session: Session) -> None:
    """COPY of the same points into a table without an index, committed batch by batch."""
    url = await session.databases.fresh("limits")
    async with session.databases.connected("limits") as connection:
        await connection.execute(_TABLE)
    for points in session.sizes.batches:
        for count in session.sizes.clients:
            rate = await _copied(session, url, points, count)
            row = session.results.row(ingest.POINTS, ingest.batch_text(points, count), "points/s")
            session.put(row, COLUMN, rate)
    name = f"COPY of {_COPIED_AT_ONCE:,} rows in one transaction into an empty table"
    async with session.databases.connected("limits") as connection:
        await connection.execute("TRUNCATE plain")
        payload = _payload(_COPIED_AT_ONCE)
        began = time.monotonic()
        await connection.copy_to_table("plain", source=io.BytesIO(payload), format="binary")
        seconds = time.monotonic() - began
    session.put(session.results.row(LIMITS, name, "points/s"), COLUMN, _COPIED_AT_ONCE / seconds)
    size = await session.databases.size("limits") / _COPIED_AT_ONCE
    row = session.results.row(reads.DISK, "a plain table of the same points, no index", "bytes/point", "low")
    session.put(row, COLUMN, size)


async def _copied(session: Session, url: str, points: int, connections: int) -> float:
    """Points a second."""
    payload = _payload(points)
    seconds = session.sizes.seconds / 2
    pool = [await asyncpg.connect(url) for _ in range(connections)]
    until = time.monotonic() + seconds

    async def work(connection: asyncpg.Connection[asyncpg.Record]) -> int:
        commits = 0
        while time.monotonic() < until:
            await connection.copy_to_table("plain", source=io.BytesIO(payload), format="binary")
            commits += 1
        return commits

    began = time.monotonic()
    try:
        commits = sum(await asyncio.gather(*map(work, pool)))
        return commits * points / (time.monotonic() - began)
    finally:
        for connection in pool:
            await connection.close()


def _payload(points: int) -> bytes:
    """Points in PostgreSQL's binary COPY format."""
    rows = np.zeros(points, _ROW)
    rows["fields"] = 5
    for name in ("run", "key"):
        rows[f"{name}_length"] = 4
    for name in ("step", "at", "value"):
        rows[f"{name}_length"] = 8
    rows["run"] = 1
    rows["key"] = np.arange(points) % 10
    rows["step"] = np.arange(points)
    rows["at"] = FIRST_MS + np.arange(points)
    rows["value"] = walk(3, points)
    return _HEADER + rows.tobytes() + _TRAILER
