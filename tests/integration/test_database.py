"""The pool: what its helpers return, how failures read, and that nothing stays behind on a connection."""

from __future__ import annotations

import asyncio
import re
import socket
import uuid
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

import persistence
from domain.errors import DeadlineExceeded, Overloaded, Unavailable
from persistence.client import PooledConnection
from persistence.database import Database, DatabaseUnusable, PoolSettings, check_version
from persistence.tables.identity import WorkspaceRow
from tests.support.clusters import with_database

pytestmark = pytest.mark.usefixtures("database_url")


async def test_statements_return_rows_values_and_counts(database: Database) -> None:
    await database.execute("CREATE TABLE numbers (n int PRIMARY KEY)")
    inserted = await database.fetch("INSERT INTO numbers SELECT generate_series($1::int, 5) RETURNING n", 3)
    assert [row["n"] for row in inserted] == [3, 4, 5]
    await database.executemany("INSERT INTO numbers VALUES ($1)", [(6,), (7,)])
    assert await database.copy("numbers", ["n"], [(8,), (9,)]) == 2
    assert await database.fetchval("SELECT sum(n) FROM numbers") == 42
    assert await database.fetchrow("SELECT n FROM numbers WHERE n > 100") is None
    assert await database.execute("DELETE FROM numbers WHERE n > $1", 5) == 4


async def _insert_then_fail(database: Database) -> None:
    async with database.transaction() as link:
        await link.execute("INSERT INTO numbers VALUES (3)")
        raise ZeroDivisionError


async def _insert_in_savepoint(database: Database, values: str) -> None:
    async with database.transaction():
        await database.execute(f"INSERT INTO numbers VALUES {values}")


async def test_a_transaction_commits_or_leaves_nothing(database: Database) -> None:
    await database.execute("CREATE TABLE numbers (n int PRIMARY KEY)")
    async with database.transaction() as link:
        await link.execute("INSERT INTO numbers VALUES (1)")
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await _insert_in_savepoint(database, "(2), (1)")
        assert caught.value.constraint_name == "numbers_pkey"
    with pytest.raises(ZeroDivisionError):
        await _insert_then_fail(database)
    assert [row["n"] for row in await database.fetch("SELECT n FROM numbers")] == [1]


async def test_row_models_and_raw_statements_share_the_transaction(database: Database) -> None:
    async def add_then_fail() -> None:
        async with database.transaction() as link:
            await WorkspaceRow.create(id=uuid.uuid4(), slug="w", name="W", created_at=datetime.now(UTC))
            assert await link.fetchval("SELECT count(*) FROM workspaces WHERE slug = 'w'") == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await add_then_fail()
    assert not await WorkspaceRow.filter(slug="w").exists()


async def test_a_task_that_outlives_its_transaction_is_refused(database: Database) -> None:
    go = asyncio.Event()

    async def late() -> None:
        await go.wait()
        await database.fetchval("SELECT 1")

    async with database.transaction():
        task = asyncio.create_task(late())
    go.set()
    with pytest.raises(RuntimeError, match="outlived it"):
        await task


async def test_no_session_state_stays_on_a_pool_connection(database_url: str) -> None:
    async with Database(database_url, PoolSettings(max_size=1)) as database:
        before = await database.fetch("SELECT name, setting FROM pg_settings WHERE source = 'session'")
        process = await database.fetchval("SELECT pg_backend_pid()")
        async with database.transaction() as link:
            await link.execute("SET LOCAL work_mem = '1MB'")
            await link.fetchval("SELECT pg_advisory_xact_lock(7)")
            await link.execute("CREATE TEMPORARY TABLE scratch (n int) ON COMMIT DROP")
        assert await database.fetchval("SELECT pg_backend_pid()") == process
        assert await database.fetch("SELECT name, setting FROM pg_settings WHERE source = 'session'") == before
        own_locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert await database.fetchval(own_locks) == 0
        assert await database.fetchval("SELECT to_regclass('scratch')") is None
        assert await database.fetch("SELECT pg_listening_channels()") == []


async def test_listen_on_a_pool_connection_is_refused(database: Database) -> None:
    async with database.raw() as connection:
        with pytest.raises(RuntimeError, match="connection of its own"):
            await connection.add_listener("events", lambda *_: None)


async def test_giving_a_connection_back_costs_no_round_trip(database: Database) -> None:
    assert PooledConnection.get_reset_query(None) == ""  # type: ignore[arg-type]  # needs no instance
    async with database.raw() as connection:
        assert connection.get_reset_query() == ""


def test_our_statements_set_nothing_for_a_session() -> None:
    session_state = re.compile(
        r"\bSET\s+(?!LOCAL\b)(SESSION\b|[a-z_]+\s*(=|TO)\s*'?[\w']+\s*[\";])|pg_(try_)?advisory_lock"
    )
    found = []
    for path in Path(persistence.__file__).parent.rglob("*.py"):
        if (
            path.name in {"migrate.py", "lease.py"} or path.parent.name == "postgres"
        ):  # they have connections of their own
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            statement = re.search(r"[\"'](\s*SET\s.*|.*pg_(try_)?advisory_lock.*)", line)
            if statement is not None and session_state.search(statement[1]):
                found.append(f"{path}:{number}: {line.strip()}")
    assert found == []


async def test_a_full_pool_is_overloaded(database_url: str) -> None:
    async with Database(database_url, PoolSettings(max_size=1, wait=0.05)) as database, database.raw():
        with pytest.raises(Overloaded) as caught:
            await database.fetchval("SELECT 1")
        assert caught.value.retry_after == 1
        with pytest.raises(Overloaded):
            async with database.transaction():
                pass


async def test_a_slow_statement_is_cut_off(database_url: str) -> None:
    async with Database(database_url, PoolSettings(statement_timeout=0.05)) as database:
        with pytest.raises(DeadlineExceeded):
            await database.fetchval("SELECT pg_sleep(10)")
        await database.ping()


async def test_a_pool_whose_connections_broke_can_be_closed_and_opened_again(database_url: str) -> None:
    database = Database(database_url)
    await database.open()
    async with database.raw() as connection:
        # Writes fail from here on, which the event loop has no way to know before it tries.
        transport: asyncio.Transport = getattr(connection, "_transport")  # noqa: B009  # it has no public name
        transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
    await database.close()
    await database.open()
    assert await database.fetchval("SELECT 1") == 1
    await database.close()


async def test_a_cut_connection_is_unavailable_and_the_next_one_works(database_url: str) -> None:
    async with Database(database_url, PoolSettings(max_size=2)) as database:
        with pytest.raises(Unavailable) as caught:
            await database.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
        assert caught.value.retry_after == 1
        with pytest.raises(Unavailable):
            async with database.transaction() as link:
                await link.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
        for _ in range(3):  # no connection was lost to the pool
            async with database.transaction() as link:
                await link.fetchval("SELECT 1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: "mysql://localhost/x", "not a valid PostgreSQL URL"),
        (lambda _: "postgresql://me:secret@127.0.0.1:1/x", "does not answer"),
        (lambda url: with_database(url, "absent"), 'database "absent" does not exist'),
        (lambda url: re.sub(r":[^:@]+@", ":wrong@", url), "refuses the user or password"),
    ],
    ids=["scheme", "refused", "absent", "password"],
)
async def test_an_unusable_url_is_explained_without_its_password(
    database_url: str, change: object, reason: str
) -> None:
    assert callable(change)
    url = change(database_url)
    with pytest.raises(DatabaseUnusable, match=reason) as caught:
        await Database(url).open()
    assert "secret" not in str(caught.value)
    async with Database(database_url) as database:  # the failed attempt left nothing behind
        await database.ping()


@pytest.mark.parametrize("number", ["140012", "190000"])
def test_other_releases_are_refused(number: str) -> None:
    with pytest.raises(DatabaseUnusable, match="15, 16, 17 and 18"):
        check_version(number)


@pytest.mark.postgres_matrix
async def test_every_supported_release_serves(database: Database) -> None:
    await database.ping()
    assert await database.fetchval("SELECT count(*) FROM workspaces") == 0
