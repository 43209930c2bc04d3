"""The metric store by itself: what sealing costs and gains, without HTTP. `python -m benchmarks.store --help`.

One run with one series of random doubles per size, logged in batches of 1,000 points (10,000 for the largest), sealed
by the sealer itself and drawn by the use-case. Everything runs in this process and its own bundled PostgreSQL, with
the settings AxonML ships.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from benchmarks.points import walk
from benchmarks.servers import Databases, folder
from domain import ids
from domain.access import Access, Principal, Scope, UserRole, WorkspaceRole
from domain.clock import SystemClock
from domain.metrics import Metrics, SeriesAxis, SeriesRequest
from domain.metrics.batch import NO_TIMESTAMP, Draft, DraftColumn
from domain.runs import Runs
from persistence import migrate
from persistence.bus import BroadcastBus
from persistence.database import Database, PoolSettings
from persistence.experiments import PostgresExperiments
from persistence.lease import SEALING, Lease
from persistence.listener import ListenBackend
from persistence.live import Hub
from persistence.metrics import PostgresMetrics
from persistence.metrics.sealer import Sealer, SealRules
from persistence.runs import PostgresRuns

SIZES: Final = (20_000, 1_000_000, 10_000_000)
POINTS: Final = 1_000
_REPEATS: Final = 41
_SLOW: Final = 2.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured: the use-cases, and the database below them."""

    metrics: Metrics
    runs: Runs
    database: Database
    sealer: Sealer
    scope: Scope


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Bench]:
    """The use-cases on a fresh database."""
    await migrate.upgrade(dsn)
    async with Database(dsn, PoolSettings()) as database:
        bus = BroadcastBus(ListenBackend(dsn, database))
        store = PostgresMetrics(database)
        writing = asyncio.create_task(store.writer.run())
        try:
            async with Hub(bus) as hub:
                clock = SystemClock()
                sealer = Sealer(
                    database=database,
                    lease=Lease(dsn, SEALING, name="bench-sealer"),
                    clock=clock,
                    rules=SealRules(live_after=timedelta(0), batches=1),
                )
                runs = Runs(
                    runs=PostgresRuns(database),
                    experiments=PostgresExperiments(database),
                    bus=bus,
                    hub=hub,
                    clock=clock,
                    stalled_after=timedelta(minutes=5),
                )
                metrics = Metrics(store=store, clock=clock, bus=bus, hub=hub)
                yield Bench(metrics, runs, database, sealer, await _scope(database))
        finally:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing


async def _scope(database: Database) -> Scope:
    workspace, user, now = ids.new("wsp"), ids.new("usr"), datetime.now(UTC)
    await database.execute(
        "INSERT INTO workspaces (id, slug, name, created_at) VALUES ($1, 'bench', 'bench', $2)",
        ids.to_uuid(workspace),
        now,
    )
    await database.execute(
        "INSERT INTO users (id, email, name, role, created_at, default_workspace_id)"
        " VALUES ($1, 'bench@example.org', 'bench', 'admin', $2, $3)",
        ids.to_uuid(user),
        now,
        ids.to_uuid(workspace),
    )
    return Scope(
        workspace, Principal(user, "bench@example.org", UserRole.ADMIN, None, None, None), Access(WorkspaceRole.OWNER)
    )


async def _write(
    bench: Bench, run: str, first: int, values: np.ndarray[tuple[int], np.dtype[np.float64]], batch: int
) -> None:
    for at in range(0, len(values), batch):
        piece = values[at : at + batch]
        steps = np.arange(first + at, first + at + len(piece), dtype=np.int64)
        column = DraftColumn("loss", steps, np.zeros_like(steps), piece, np.full_like(steps, NO_TIMESTAMP))
        await bench.metrics.log(bench.scope, run, Draft((column,)), batch=f"bench-{first + at}")


async def _size(database: Database) -> int:
    await database.execute("VACUUM")
    size = 0
    for table in ("metric_batches", "metric_chunks", "metric_summaries", "run_heads"):
        size += await database.fetchval("SELECT pg_total_relation_size($1::regclass)", table)
    return size


async def _p50(work: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds."""
    await work()
    times: list[float] = []
    while len(times) < _REPEATS and sum(times) < _SLOW * 1_000:
        began = time.perf_counter()
        await work()
        times.append((time.perf_counter() - began) * 1_000)
    return statistics.median(times)


async def measure(bench: Bench, size: int) -> list[tuple[str, str]]:
    """The lines of one size."""
    batch = 1_000 if size <= 1_000_000 else 10_000
    lines = [("points", f"{size:,} in batches of {batch:,}")]
    scope = bench.scope
    run = (await bench.runs.create(scope)).id
    before = await _size(bench.database)
    began = time.perf_counter()
    await _write(bench, run, 0, walk(3, size), batch)
    took = time.perf_counter() - began
    lines.append(("written by one caller", f"{size / took:,.0f} points/s"))
    lines.append(("on disk before sealing", f"{(await _size(bench.database) - before) / size:.2f} bytes/point"))

    def drawing(request: SeriesRequest) -> Callable[[], Awaitable[object]]:
        return lambda: bench.metrics.series(scope, [run], request)

    lines.append(("drawn before sealing, p50", f"{await _p50(drawing(SeriesRequest.of(points=POINTS))):.1f} ms"))
    began = time.perf_counter()
    while await bench.sealer.sweep():
        pass
    took = time.perf_counter() - began
    lines.append(("sealed", f"{size / took:,.0f} points/s"))
    await bench.database.execute("VACUUM FULL metric_batches")
    lines.append(("on disk, sealed", f"{(await _size(bench.database) - before) / size:.2f} bytes/point"))
    await bench.database.execute("ANALYZE")
    third = size // 3
    for name, request in (
        (f"drawn with {POINTS:,} points", SeriesRequest.of(points=POINTS)),
        ("drawn with 10,000 points", SeriesRequest.of(points=10_000)),
        ("a window of a third", SeriesRequest.of(points=POINTS, start=third, end=2 * third)),
        ("a window of 5,000 steps", SeriesRequest.of(points=POINTS, start=third, end=third + 5_000)),
        ("by time", SeriesRequest.of(points=POINTS, axis=SeriesAxis.TIME)),
    ):
        lines.append((f"{name}, p50", f"{await _p50(drawing(request)):.1f} ms"))
    await _write(bench, run, size, walk(4, 20_000), 1_000)
    took_with_tail = await _p50(drawing(SeriesRequest.of(points=POINTS)))
    lines.append((f"drawn with {POINTS:,} points and 20,000 not yet sealed, p50", f"{took_with_tail:.1f} ms"))
    began = time.perf_counter()
    found = 0
    async for columns in await bench.metrics.points(scope, run):
        found += sum(map(len, columns))
    if found != size + 20_000:
        raise AssertionError(f"the export held {found} points")
    lines.append(("every point read back", f"{found / (time.perf_counter() - began):,.0f} points/s"))
    return lines


async def main() -> None:
    """Measures each size in a database of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="points per series")
    sizes: list[int] = list(parser.parse_args().sizes)
    with folder() as place:
        databases = Databases(place)
        await databases.start()
        try:
            for size in sizes:
                async with opened(await databases.fresh(f"store_{size}")) as bench:
                    for name, value in await measure(bench, size):
                        print(f"{name:62} {value:>28}", flush=True)
                    print(flush=True)
        finally:
            await databases.stop()


if __name__ == "__main__":
    asyncio.run(main())
