"""Reading: the first page of a search, series drawn and whole, and what a point costs on disk.

The data is written through each system's own API into a database of its own, vacuumed and analysed there, and every
kind of answer is checked once before it is timed: a system that answered less would look fast.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.client import Connection, Load, Outcome, Requests, send_all
from benchmarks.points import KEYS, Point, stretch, walk
from benchmarks.report import Goal
from benchmarks.session import Session
from benchmarks.systems import SEARCH_PAGE, SHOWN, Api, AxonML, System, warm

SEARCH: Final = "search"
SERIES: Final = "series"
DISK: Final = "disk"
DRAWN: Final = 1_000
LONGEST_OF_PEERS: Final = 1_000_000
_BATCH: Final = 1_000
_SEAL_LIMIT: Final = 90.0
_LEAST_ANSWERS: Final = 5
_BOUND: Final = 0.5
_ENOUGH_POINTS: Final = 100_000
_WRITERS: Final = 32
_WRITERS_OF_PEERS: Final = 4  # more of them exhaust the connection pool of one MLflow worker


@dataclass(frozen=True, slots=True)
class Dataset:
    """What lies in a database to be read: the run with the history; the search has its experiment or workspace."""

    history: str


async def measure(session: Session, system: System) -> None:
    """Fills the column of one system. Both MLflow servers read the same database."""
    name = f"reads_{system.name.partition('-')[0]}"
    known = session.datasets.get(name)
    database = session.databases.url(name) if known else await session.databases.fresh(name)
    async with system.start(session.place, database) as server:
        api = await system.api(server, "reads")
        await warm(api)
        if known is None:
            known = await _write(session, api, name, system.name)
            session.datasets[name] = known
        await _search(session, api, system.name, session.sizes.search_runs, session.sizes.search_metrics)
        await _history(session, api, known, system.name)


async def measure_large(session: Session, system: System) -> None:
    """Long series, of which peers get none above `LONGEST_OF_PEERS`; and for AxonML the search of `--full`."""
    name = f"large_{system.name.partition('-')[0]}"
    database = await session.databases.fresh(name)
    async with system.start(session.place, database) as server:
        api = await system.api(server, "reads")
        ours = isinstance(api, AxonML)
        await warm(api)
        for length in session.sizes.long_series:
            if ours or length <= LONGEST_OF_PEERS:
                await _long_series(session, api, length, name, system.name)
        if ours and session.sizes.big_search is not None:
            runs, metrics = session.sizes.big_search
            session.say(f"writing {runs:,} runs × {metrics} metrics")
            await _write_search(session, api, runs, metrics)
            await session.databases.statement(name, "VACUUM ANALYZE")
            await _search(session, api, system.name, runs, metrics)
        row = session.results.row("server memory", "after the long series", "MiB", "low")
        session.put(row, system.name, server.memory() / 2**20)


# ------------------------------------------------------------------ writing the data


async def _write(session: Session, api: Api, database: str, column: str) -> Dataset:
    sizes = session.sizes
    total = sizes.history_steps * len(KEYS)
    session.say(f"{column:9} writing a run of {total:,} points and {sizes.search_runs:,} runs to search")
    before = await _size_before(session, api, database)
    series = {key: walk(place, sizes.history_steps) for place, key in enumerate(KEYS)}
    history = await _write_run(api, "history", KEYS, series)
    await _bytes_per_point(session, database, column, history, total, before=before, kind="double")
    if isinstance(api, AxonML):
        # What `tensor.item()` gives: a float32 in a double.
        before = await _size_before(session, api, database)
        single = {key: values.astype(np.float32).astype(np.float64) for key, values in series.items()}
        run = await _write_run(api, "history of float32", KEYS, single)
        await _bytes_per_point(session, database, column, run, total, before=before, kind="float32")
    await _write_search(session, api, sizes.search_runs, sizes.search_metrics)
    await session.databases.statement(database, "VACUUM ANALYZE")
    return Dataset(history)


async def _write_run(api: Api, name: str, keys: tuple[str, ...], series: dict[str, NDArray[np.float64]]) -> str:
    """A finished run with those series, logged in batches of 1,000 points by one client."""
    run = api.run_of((await send_all(api.port, [api.create(name)]))[0])
    steps = _BATCH // len(keys)
    length = len(series[keys[0]])
    for first in range(0, length, 10 * steps):
        starts = range(first, min(first + 10 * steps, length), steps)
        requests = [api.log(run, stretch(keys, start, min(steps, length - start), series)) for start in starts]
        await send_all(api.port, requests, connections=1)
    await send_all(api.port, [api.finish(run)])
    return run


async def _write_search(session: Session, api: Api, runs: int, metrics: int) -> None:
    values = np.random.default_rng(7).random((runs, metrics))
    waiting = iter(range(runs))
    began = time.monotonic()

    async def write() -> None:
        connection = await Connection.open(api.port)
        try:
            for place in waiting:
                row: list[float] = values[place].tolist()
                params = {f"p{number}": f"{value:.4f}" for number, value in enumerate(row[:5])}
                run = api.run_of(await connection.accepted(api.create(f"search {place}", params)))
                points = [
                    Point(f"{metric_prefix(metrics)}{metric:02d}", value, "1", "1760000000000")
                    for metric, value in enumerate(row)
                ]
                await connection.accepted(api.log(run, points, params))
        finally:
            connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(_WRITERS if isinstance(api, AxonML) else _WRITERS_OF_PEERS):
            group.create_task(write())
    session.say(f"wrote {runs:,} runs × {metrics} metrics in {time.monotonic() - began:.0f} s")


def metric_prefix(metrics: int) -> str:
    """Keys of one data set are not those of another in the same workspace."""
    return f"m{metrics}_"


# ------------------------------------------------------------------ disk


async def _size_before(session: Session, api: Api, database: str) -> tuple[int, int]:
    """The size after VACUUM and after VACUUM FULL, every table in use: its first pages are no cost of the points."""
    await _write_run(api, "first", KEYS[:1], {KEYS[0]: walk(99, _BATCH)})
    await session.databases.statement(database, "VACUUM FULL")
    full = await session.databases.size(database)
    await session.databases.statement(database, "VACUUM")
    return await session.databases.size(database), full


async def _bytes_per_point(
    session: Session, database: str, column: str, run: str, points: int, *, before: tuple[int, int], kind: str
) -> None:
    sealed = await _sealed(session, database, run) if column == "axonml" else None
    await session.databases.statement(database, "VACUUM")
    size = await session.databases.size(database) - before[0]
    goal = Goal(bound=12) if kind == "double" and points >= _ENOUGH_POINTS else None
    row = session.results.row(DISK, f"tables and indexes, {points:,} {kind} points", "bytes/point", "low", goal)
    if sealed is False:
        row.notes[column] = "as logged: nothing was sealed"
    session.put(row, column, size / points)
    # Space that is free within the files is used again by later points; here no later points come.
    await session.databases.statement(database, "VACUUM FULL")
    row = session.results.row(DISK, f"the same {points:,} {kind} points, after VACUUM FULL", "bytes/point", "low")
    session.put(row, column, (await session.databases.size(database) - before[1]) / points)


async def _sealed(session: Session, database: str, run: str) -> bool:
    """Waits until the chunks of a finished run stop growing, if this version seals at all. False: it did not."""
    async with session.databases.connected(database) as connection:
        if not await connection.fetchval("SELECT to_regclass('metric_chunks') IS NOT NULL"):
            return False
        began, last, since = time.monotonic(), 0, time.monotonic()
        limit = min(_SEAL_LIMIT, session.sizes.step_limit / 6)
        while (now := time.monotonic()) - began < limit:
            asked = "SELECT count(*) FROM metric_chunks WHERE run_id = $1"
            count = int(await connection.fetchval(asked, UUID(run.removeprefix("run_"))))
            if count != last:
                last, since = count, now
            elif count and now - since > 3:
                return True
            await asyncio.sleep(0.2)
        return last > 0


# ------------------------------------------------------------------ reading


async def _timed(session: Session, api: Api, request: bytes) -> Outcome:
    sizes = session.sizes
    load = Load(api.port, (Requests((request,)),), sizes.seconds, sizes.warmup, at_least=_LEAST_ANSWERS, limit=30)
    return await session.drivers.run(load)


async def _search(session: Session, api: Api, column: str, runs: int, metrics: int) -> None:
    prefix = metric_prefix(metrics)
    request = api.search(f"{prefix}03", _BOUND, [f"{prefix}{place:02d}" for place in range(SHOWN)])
    (reply,) = await send_all(api.port, [request])
    expected = min(SEARCH_PAGE, int((np.random.default_rng(7).random((runs, metrics))[:, 3] < _BOUND).sum()))
    if api.found(reply) != expected:
        raise AssertionError(f"{column}: the search found {api.found(reply)} runs instead of {expected}")
    outcome = await _timed(session, api, request)
    goal = Goal(bound=30) if (runs, metrics) == (30_000, 50) else None
    name = f"first {SEARCH_PAGE} of {runs:,} runs × {metrics} metrics, filtered and ordered by one, p50"
    session.put(session.results.row(SEARCH, name, "ms", "low", goal), column, outcome.quantile(0.5) * 1000, outcome)


async def _history(session: Session, api: Api, dataset: Dataset, column: str) -> None:
    steps = session.sizes.history_steps
    key = KEYS[0]
    drawn, whole = api.drawn(dataset.history, key, DRAWN), api.every_point(dataset.history, key)
    for kind, request, least in ((f"drawn with {DRAWN:,} points", drawn, DRAWN // 4), ("every point", whole, steps)):
        (reply,) = await send_all(api.port, [request])
        found = _points_in(reply)
        if found < min(least, steps):
            raise AssertionError(f"{column}: {kind}: {found} points instead of {least}: {reply[:300]!r}")
        outcome = await _timed(session, api, request)
        row = session.results.row(SERIES, f"{steps:,} points, {kind}, p50", "ms", "low")
        session.put(row, column, outcome.quantile(0.5) * 1000, outcome)


def _points_in(reply: bytes) -> int:
    """The number of points in any of the answers."""
    if reply.count(b"\n") > 1 and reply.startswith(b'{"key"'):
        return reply.count(b"\n")
    answer = orjson.loads(reply)
    if "series" in answer:
        return sum(len(series["values"]) for series in answer["series"].values())
    return len(answer["metrics"])


async def _long_series(session: Session, api: Api, length: int, database: str, column: str) -> None:
    session.say(f"{column:9} writing a series of {length:,} points")
    batch = _BATCH if length <= 1_000_000 else 10_000
    key = KEYS[0]
    before = await _size_before(session, api, database)
    series = {key: walk(11, length)}
    log = api.log_columns if isinstance(api, AxonML) else api.log
    writers = 1 if isinstance(api, AxonML) else _WRITERS_OF_PEERS
    run = api.run_of((await send_all(api.port, [api.create(f"series of {length}")]))[0])
    began = time.monotonic()
    for first in range(0, length, 20 * batch):
        starts = range(first, min(first + 20 * batch, length), batch)
        requests = [log(run, stretch((key,), at, min(batch, length - at), series)) for at in starts]
        await send_all(api.port, requests, connections=writers)
    session.say(f"wrote it in {time.monotonic() - began:.0f} s, in batches of {batch:,} points")
    await send_all(api.port, [api.finish(run)])
    await _bytes_per_point(session, database, column, run, length, before=before, kind="double")
    await session.databases.statement(database, "ANALYZE")
    request = api.drawn(run, key, DRAWN)
    (reply,) = await send_all(api.port, [request])
    if _points_in(reply) < DRAWN // 4:
        raise AssertionError(f"the series of {length} came back with {_points_in(reply)} points")
    outcome = await _timed(session, api, request)
    goal = {1_000_000: Goal(bound=30), 10_000_000: Goal(bound=100)}.get(length)
    row = session.results.row(SERIES, f"{length:,} points, drawn with {DRAWN:,} points, p50", "ms", "low", goal)
    session.put(row, column, outcome.quantile(0.5) * 1000, outcome)
