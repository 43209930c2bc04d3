"""Migrations lead to the tables the code declares, run once, can be undone, and stop at what they do not know."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from persistence import migrate, migration_files
from persistence.database import Database, DatabaseUnusable
from persistence.migrate import MigrationRefused
from tests.support.clusters import Cluster

# What defines a schema, in an order that does not depend on how it came to be. A column's position is left
# out: ALTER TABLE can only append.
CATALOG = {
    "columns": """
        SELECT table_name, column_name, data_type, udt_name, character_maximum_length, numeric_precision,
               numeric_scale, datetime_precision, is_nullable, is_identity, is_generated, collation_name,
               regexp_replace(column_default, '::[a-z ]+', '', 'g') AS column_default
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "constraints": """
        SELECT conrelid::regclass::text AS table_name, conname, contype, pg_get_constraintdef(oid) AS definition
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "relations": """
        SELECT relname, relkind, relpersistence, reloptions::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace ORDER BY 1""",
    "comments": """
        SELECT relname, obj_description(oid, 'pg_class') AS said FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1""",
    "triggers": "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2",
}
# References that the database follows when the row they lead to is removed, and no index that begins with them. Rows of
# workspaces and users stay; but what belongs to a user is removed by itself.
UNINDEXED = """
    SELECT c.conrelid::regclass::text || '.' || a.attname AS place
    FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.contype = 'f' AND c.confdeltype <> 'r'
      AND (c.confrelid NOT IN ('workspaces'::regclass, 'users'::regclass) OR a.attname = 'user_id')
      AND NOT EXISTS (
        SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1] AND i.indpred IS NULL)
    ORDER BY 1"""
BROKEN = '''
from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = {transactional}


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """CREATE TABLE step_one (a int);
    {second};"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """DROP TABLE step_one;"""


MODELS_STATE = {state!r}
'''


@asynccontextmanager
async def link(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def catalog(url: str) -> dict[str, list[dict[str, object]]]:
    async with link(url) as connection:
        return {part: [dict(row) for row in await connection.fetch(sql)] for part, sql in CATALOG.items()}


def extended(tmp_path: Path, *, transactional: bool = True, second: str = "CREATE TABLE step_two (a int)") -> Path:
    """A copy of our migrations with one more."""
    copy = tmp_path / "axonml"
    shutil.copytree(migration_files.folder(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    state = "eJyrrgUAAXUA+Q=="  # an empty object
    text = BROKEN.format(transactional=transactional, second=second, state=state)
    (copy / "9000_20990101000000_more.py").write_text(text, "utf-8")
    return copy


@pytest.mark.postgres_matrix
async def test_migrations_lead_to_the_declared_tables(postgres_cluster: Cluster, empty_database_url: str) -> None:
    declared_url = postgres_cluster.create(migrated=False)
    try:
        async with link(declared_url) as connection:
            await connection.execute(await migration_files.declared_sql())
        assert await migrate.upgrade(empty_database_url) == [file.version for file in await migration_files.read()]
        assert await catalog(empty_database_url) == await catalog(declared_url)
    finally:
        postgres_cluster.drop(declared_url)


async def test_removing_a_row_never_reads_whole_tables_for_what_refers_to_it(database_url: str) -> None:
    async with link(database_url) as connection:
        assert [row["place"] for row in await connection.fetch(UNINDEXED)] == []


async def test_no_migration_is_missing() -> None:
    assert await migration_files.unchanged(), "the declared tables changed: make migration name=what_changed"


async def test_a_changed_declaration_writes_one_file_and_then_none(tmp_path: Path) -> None:
    copy = tmp_path / "axonml"
    copy.mkdir()
    first = await migration_files.generate("whatever", copy)
    assert first is not None
    assert first.name.startswith("0_")
    assert await migration_files.generate("again", copy) is None
    assert list(copy.glob("*.py")) == [first]


@pytest.mark.parametrize("name", ["", "../x", "Add Colour", "x" * 101, "1st"])
async def test_a_migrations_name_is_checked(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="lower-case words"):
        await migration_files.generate(name, tmp_path)


async def test_every_migration_can_be_undone_and_done_again(empty_database_url: str) -> None:
    empty = await catalog(empty_database_url)
    files = [file.version for file in await migration_files.read()]
    await migrate.upgrade(empty_database_url)
    full = await catalog(empty_database_url)
    assert await migrate.downgrade(empty_database_url, to=-1) == files[::-1]
    assert await catalog(empty_database_url) == empty
    assert await migrate.upgrade(empty_database_url) == files
    assert await catalog(empty_database_url) == full


async def test_downgrade_without_a_target_undoes_the_newest(database_url: str, tmp_path: Path) -> None:
    location = extended(tmp_path)
    before = await catalog(database_url)
    assert await migrate.upgrade(database_url, location) == ["9000_20990101000000_more.py"]
    assert await migrate.downgrade(database_url, location=location) == ["9000_20990101000000_more.py"]
    found = await migrate.status(database_url, location)
    assert found.pending == ("9000_20990101000000_more.py",)
    async with link(database_url) as connection:
        await connection.execute("DROP TABLE step_two")
    assert await catalog(database_url) == before


async def test_four_servers_starting_together_migrate_once(empty_database_url: str) -> None:
    results = await asyncio.gather(*(migrate.upgrade(empty_database_url) for _ in range(4)))
    assert sorted(map(len, results)) == [0, 0, 0, len(await migration_files.read())]
    assert (await migrate.status(empty_database_url)).at_head


async def test_readiness_knows_the_head(database_url: str, empty_database_url: str) -> None:
    async with Database(database_url) as database:
        assert await migrate.at_head(database)
        await database.execute("DELETE FROM aerich")
        assert not await migrate.at_head(database)
    async with Database(empty_database_url) as database:
        assert not await migrate.at_head(database)


async def test_a_failing_migration_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    before = await catalog(database_url)
    location = extended(tmp_path, second="SELECT 1/0")
    with pytest.raises(DatabaseUnusable, match="division by zero"):
        await migrate.upgrade(database_url, location)
    assert await catalog(database_url) == before
    assert not (await migrate.status(database_url, location)).at_head


async def test_a_half_applied_migration_is_refused_with_instructions(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = extended(tmp_path, transactional=False, second="SELECT 1/0")
    version = "9000_20990101000000_more.py"
    for _ in range(2):  # the attempt that breaks, and the start after it
        with pytest.raises(MigrationRefused, match=f"resolve {version} --applied"):
            await migrate.upgrade(database_url, location)
    with pytest.raises(MigrationRefused, match="half applied"):
        await migrate.status(database_url)

    monkeypatch.setattr(migration_files, "folder", lambda: location)
    async with link(database_url) as connection:
        await connection.execute("DROP TABLE step_one")
    await migrate.resolve(database_url, version, applied=False)
    assert (await migrate.status(database_url)).pending == (version,)
    with pytest.raises(MigrationRefused, match="not a migration that was cut off"):
        await migrate.resolve(database_url, version, applied=True)


async def test_a_migration_outside_a_transaction_is_recorded(database_url: str, tmp_path: Path) -> None:
    second = "CREATE INDEX CONCURRENTLY step_one_a ON step_one (a)"
    location = extended(tmp_path, transactional=False, second=second)
    assert len(await migrate.upgrade(database_url, location)) == 1
    assert (await migrate.status(database_url, location)).at_head


async def test_a_resolved_migration_counts_as_applied(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = extended(tmp_path, transactional=False, second="SELECT 1/0")
    with pytest.raises(MigrationRefused):
        await migrate.upgrade(database_url, location)
    monkeypatch.setattr(migration_files, "folder", lambda: location)
    await migrate.resolve(database_url, "9000_20990101000000_more.py", applied=True)
    assert (await migrate.status(database_url)).at_head


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DROP TABLE aerich", "no record of how they came there"),
        ("INSERT INTO aerich (version, app, content) VALUES ('77_x_future.py', 'axonml', '{}')", "another release"),
        ("ALTER TABLE runs DROP COLUMN notes", r"lacks runs\.notes"),
    ],
)
async def test_an_unknown_state_is_refused(database_url: str, change: str, reason: str) -> None:
    async with link(database_url) as connection:
        await connection.execute(change)
    before = await catalog(database_url)
    with pytest.raises(MigrationRefused, match=reason):
        await migrate.upgrade(database_url)
    assert await catalog(database_url) == before


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert migrate.main(["--database-url", "postgresql://u:hidden@127.0.0.1:1/x", "status"]) == 1
    shown = capsys.readouterr().out
    assert "cannot be reached" in shown
    assert "hidden" not in shown


def test_the_command_shows_and_applies(empty_database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command, expected in (("status", "pending  0_"), ("upgrade", "0_"), ("upgrade", "nothing to apply")):
        assert migrate.main(["--database-url", empty_database_url, command]) == 0
        assert expected in capsys.readouterr().out
