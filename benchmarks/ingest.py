"""Writing: points by batch size and number of clients, single points, new runs; the server's memory before and after.

Every client logs to a run of its own, as training scripts do, and waits for each answer, which both systems give after
the commit.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.client import MARK, Load, Requests, send_all
from benchmarks.points import VARIANTS, batch
from benchmarks.report import Goal
from benchmarks.servers import Server
from benchmarks.session import Session
from benchmarks.systems import Api, AxonML, System, warm

POINTS = "ingest, one object per point"
COLUMNS = "ingest, columns"
SINGLE = "ingest, single points"
CREATE = "run creation"
MEMORY = "server memory"
MIB = 2**20


def clients_text(count: int) -> str:
    """`4 clients`."""
    return "1 client" if count == 1 else f"{count} clients"


def batch_text(points: int, count: int) -> str:
    """`batches of 1,000 points, 4 clients`."""
    return f"batches of {points:,} point{'' if points == 1 else 's'}, {clients_text(count)}"


async def measure(session: Session, system: System) -> None:
    """Fills the column of one system."""
    database = await session.databases.fresh(f"ingest_{system.name}".replace("-", "_"))
    async with system.start(session.place, database) as server:
        api = await system.api(server, "ingest")
        column = system.name
        _memory(session, server, "after the start, before the first run", column)
        await warm(api)
        # What writes little comes first: afterwards a fast system has the checkpoints of many more points to bear.
        await _single(session, api, column)
        await _creation(session, api, column)
        await _batches(session, api, column)
        if isinstance(api, AxonML):
            await _columns(session, api, column)
        _memory(session, server, "after all ingest", column)


def _memory(session: Session, server: Server, when: str, column: str) -> None:
    row = session.results.row(MEMORY, when, "MiB", "low")
    processes = len(server.family())
    if processes > 1:
        row.notes[column] = f"{processes} processes"
    session.put(row, column, server.memory() / MIB)
    row.details[column] = {"processes": processes, "start_seconds": round(server.started_seconds, 2)}


async def _new_runs(api: Api, count: int) -> list[str]:
    replies = await send_all(api.port, [api.create(f"ingest {place}") for place in range(count)])
    return [api.run_of(reply) for reply in replies]


def _load(session: Session, api: Api, clients: Sequence[tuple[bytes, ...]]) -> Load:
    sizes = session.sizes
    return Load(api.port, tuple(map(Requests, clients)), sizes.seconds, sizes.warmup)


async def _batches(session: Session, api: Api, column: str) -> None:
    for points in session.sizes.batches:
        variants = [batch(points, variant) for variant in range(VARIANTS)]
        for count in session.sizes.clients:
            runs = await _new_runs(api, count)
            clients = [tuple(api.log(run, variant) for variant in variants) for run in runs]
            outcome = await session.drivers.run(_load(session, api, clients))
            goal = Goal(times=40) if (points, count) == (1000, 4) else None
            row = session.results.row(POINTS, batch_text(points, count), "points/s", goal=goal)
            session.put(row, column, outcome.rate * points, outcome)


async def _columns(session: Session, api: AxonML, column: str) -> None:
    """The same points in the form that a library sends, for the systems that have one."""
    points = max(session.sizes.batches)
    variants = [batch(points, variant) for variant in range(VARIANTS)]
    for count in session.sizes.clients:
        runs = await _new_runs(api, count)
        clients = [tuple(api.log_columns(run, variant) for variant in variants) for run in runs]
        outcome = await session.drivers.run(_load(session, api, clients))
        row = session.results.row(COLUMNS, batch_text(points, count), "points/s")
        session.put(row, column, outcome.rate * points, outcome)


async def _single(session: Session, api: Api, column: str) -> None:
    variants = [batch(1, variant)[0] for variant in range(VARIANTS)]
    for count in session.sizes.clients:
        runs = await _new_runs(api, count)
        clients = [tuple(api.log_one(run, variant) for variant in variants) for run in runs]
        outcome = await session.drivers.run(_load(session, api, clients))
        goal = Goal(times=25) if count == 16 else None
        row = session.results.row(SINGLE, f"one point per request, {clients_text(count)}", "requests/s", goal=goal)
        session.put(row, column, outcome.rate, outcome)


async def _creation(session: Session, api: Api, column: str) -> None:
    for count in session.sizes.clients:
        clients = [(api.create(f"run {client} {MARK.decode()}"),) for client in range(count)]
        outcome = await session.drivers.run(_load(session, api, clients))
        row = session.results.row(CREATE, clients_text(count), "runs/s")
        session.put(row, column, outcome.rate, outcome)
