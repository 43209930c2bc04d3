"""A database with rows as the first migration knew them, brought to the newest one: every row is there and is read."""

from __future__ import annotations

import shutil
from pathlib import Path

import asyncpg

from domain.access import Scope
from domain.metrics import Metrics, MetricsLogged, decode
from persistence import migrate, migration_files
from persistence.database import Database
from tests.support.tracking import Tracking, written

STEPS = list(range(5_000))
BODY = {
    "series": {"loss": {"steps": STEPS, "values": [step * 0.5 for step in STEPS]}, "acc": {"values": ["NaN", 1, 2]}}
}
_COLUMNS = """
    SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) AS columns
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'aerich' GROUP BY 1 ORDER BY 1
"""
_NUMBERED = """
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND column_default LIKE 'nextval(%' AND table_name <> 'aerich'
"""

Tables = dict[str, list[str]]


def _first_only(tmp_path: Path) -> Path:
    """Our migrations as they were when there was one."""
    copy = tmp_path / "axonml"
    copy.mkdir()
    for file in migration_files.folder().iterdir():
        if file.name == "__init__.py" or file.name.startswith("0_"):
            shutil.copy(file, copy)
    return copy


async def _log(database: Database, run_id: str, scope: Scope, batch: str) -> MetricsLogged:
    tracking = Tracking(database)
    async with written(database) as store:
        metrics = Metrics(store=store, clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)
        return await metrics.log(scope, run_id, decode(BODY), batch=batch)


async def _points(database: Database, run_id: str, scope: Scope) -> list[tuple[str, int, str]]:
    tracking = Tracking(database)
    async with written(database) as store:
        metrics = Metrics(store=store, clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)
        return [
            (column.key, step, repr(value))
            async for columns in await metrics.points(scope, run_id)
            for column in columns
            for step, value in zip(column.steps.tolist(), column.values.tolist(), strict=True)
        ]


async def _tables(link: asyncpg.Connection[asyncpg.Record]) -> Tables:
    return {row["table_name"]: row["columns"] for row in await link.fetch(_COLUMNS)}


async def _rows(link: asyncpg.Connection[asyncpg.Record], tables: Tables) -> dict[str, list[tuple[object, ...]]]:
    found = {}
    for table, columns in tables.items():
        named = ", ".join(f'"{column}"' for column in columns)
        rows = await link.fetch(f'SELECT {named} FROM "{table}"')
        found[table] = sorted((tuple(row) for row in rows), key=repr)
    return found


async def test_rows_of_the_first_release_survive_every_migration(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    await migrate.upgrade(empty_database_url, _first_only(tmp_path))
    async with Database(database_url) as database:
        tracking = Tracking(database)
        scope = await tracking.scope()
        run = await tracking.runs.create(scope, name="old")
        answer = await _log(database, run.id, scope, "first")
        points = await _points(database, run.id, scope)
    assert len(points) == len(STEPS) + 3

    new, old = await asyncpg.connect(database_url), await asyncpg.connect(empty_database_url)
    try:
        tables = await _tables(old)
        before = await _rows(new, tables)
        assert all(before[table] for table in ("users", "workspaces", "experiments", "runs", "run_heads"))
        assert len(before["metric_batches"]) == 1
        async with old.transaction():
            for table in _in_order(tables):
                await old.executemany(_insert(table, tables[table]), before[table])
            for table, column in await old.fetch(_NUMBERED):
                await old.execute(f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), 1000)")
        assert await _rows(old, tables) == before
        await old.close()
        assert await migrate.upgrade(empty_database_url) == [
            file.version for file in await migration_files.read() if not file.version.startswith("0_")
        ]
        upgraded = await asyncpg.connect(empty_database_url)
        try:
            assert await _rows(upgraded, tables) == before
        finally:
            await upgraded.close()
    finally:
        await new.close()

    async with Database(empty_database_url) as database:
        shown = await Tracking(database).runs.find(scope, run.id)
        assert shown is not None
        assert shown.name == "old"
        assert await _points(database, run.id, scope) == points
        assert await _log(database, run.id, scope, "first") == answer, "its ledger counts"
        assert await _points(database, run.id, scope) == points
        assert (await _log(database, run.id, scope, "second")).accepted == len(points)


def _insert(table: str, columns: list[str]) -> str:
    named = ", ".join(f'"{column}"' for column in columns)
    places = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
    return f'INSERT INTO "{table}" ({named}) VALUES ({places})'


def _in_order(tables: Tables) -> list[str]:
    """What others refer to comes first."""
    first = ["instance", "workspaces", "users", "experiments", "runs", "blobs", "models", "model_versions", "endpoints"]
    return first + [table for table in tables if table not in first]
