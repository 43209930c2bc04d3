"""The chain of the audit log on a real database: complete, in order, and broken by whatever is done to a row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from domain import audit, ids
from domain.audit import AuditFilter, AuditSealer, Event
from persistence.audit import PostgresAudit, change
from persistence.database import Database

REFUSED = "neither changed nor removed"


async def make(database: Database, number: int, *, refuse: bool = False) -> None:
    """One change, or one that rolls back."""
    event = Event("runCreate", f"r{number}", "192.0.2.7", ids.new("usr"), ids.new("ses"), None, ids.new("wsp"))
    async with audit.during(PostgresAudit(database), event):
        try:
            async with change(database) as tx:
                await tx.execute("SELECT pg_sleep(0)")
                tx.made(ids.new("run"), ids.new("run"))
                if refuse:
                    raise LookupError
        except LookupError:
            assert not event.told


@asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Whoever owns the table, with its triggers out of the way."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
        yield connection
    finally:
        await connection.execute("ALTER TABLE audit_events ENABLE TRIGGER USER")
        await connection.close()


@pytest.fixture
async def chained(database: Database) -> PostgresAudit:
    """Nine rows in the chain."""
    for number in range(9):
        await make(database, number)
    log = PostgresAudit(database)
    assert await log.seal(100) == 9
    return log


async def test_changes_at_once_and_sealers_at_once_make_one_chain(database: Database) -> None:
    log = PostgresAudit(database)
    stop = asyncio.Event()

    async def seal() -> None:
        while not stop.is_set():
            await log.seal(3)

    sealers = [asyncio.create_task(seal()) for _ in range(2)]
    await asyncio.gather(*(make(database, number, refuse=number % 5 == 0) for number in range(40)))
    while await database.fetchval("SELECT count(*) FROM audit_events WHERE seq IS NULL"):  # noqa: ASYNC110
        await asyncio.sleep(0)
    stop.set()
    await asyncio.gather(*sealers)
    rows = await log.after(0, 1_000, AuditFilter(), 1_000)
    assert sorted(row.request_id for row in rows) == sorted(f"r{number}" for number in range(40) if number % 5)
    report = await audit.verify(log)
    assert (report.rows, report.head, report.broken) == (32, rows[-1].hash, None)


async def test_a_change_that_commits_late_comes_later_in_the_chain(database: Database) -> None:
    log = PostgresAudit(database)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def late() -> None:
        async with audit.during(log, Event("late", "r")), change(database) as tx:
            tx.made(None)
            await tx.tell()  # written, and not committed before the other one is
            tx._made = None
            begun.set()
            await ended.wait()

    waiting = asyncio.create_task(late())
    await begun.wait()
    await make(database, 1)
    assert await log.seal(10) == 1
    ended.set()
    await waiting
    assert await log.seal(10) == 1
    assert [row.action for row in await log.after(0, 10, AuditFilter(), 10)] == ["runCreate", "late"]
    assert (await audit.verify(log)).broken is None


async def test_rows_are_neither_changed_nor_removed(database: Database, chained: PostgresAudit) -> None:
    await make(database, 9)
    for statement in (
        "DELETE FROM audit_events",
        "DELETE FROM audit_events WHERE seq IS NULL",
        "TRUNCATE audit_events",
        "UPDATE audit_events SET outcome = 'ok'",
        "UPDATE audit_events SET seq = 77 WHERE seq = 3",
        "UPDATE audit_events SET seq = NULL, hash = NULL WHERE seq = 3",
        "UPDATE audit_events SET seq = 77 WHERE seq IS NULL",
        "UPDATE audit_events SET seq = 77, hash = '\\x00', action = 'other' WHERE seq IS NULL",
        "UPDATE audit_events SET action = 'other' WHERE seq IS NULL",
    ):
        with pytest.raises(asyncpg.RaiseError, match=REFUSED):
            await database.execute(statement)
    assert await chained.seal(10) == 1
    assert (await audit.verify(chained)).rows == 10


@pytest.mark.parametrize(
    "column",
    [
        "actor_id = gen_random_uuid()",
        "session_id = NULL",
        "api_key_id = gen_random_uuid()",
        "workspace_id = NULL",
        "resource = 'run_00000000000000000000000000000000'",
        "others = NULL",
        "address = '198.51.100.1'",
        "request_id = 'other'",
        "action = 'runDelete'",
        "outcome = 'failed'",
        "at = at + interval '1 microsecond'",
        "id = gen_random_uuid()",
        "hash = decode(repeat('00', 32), 'hex')",
    ],
)
async def test_a_changed_row_is_named(database_url: str, chained: PostgresAudit, column: str) -> None:
    async with by_hand(database_url) as owner:
        await owner.execute(f"UPDATE audit_events SET {column} WHERE seq = 5")
    report = await audit.verify(chained)
    assert report.rows == 4
    assert report.broken is not None
    assert report.broken.startswith("row 5 (aud_")


async def test_missing_and_exchanged_rows_are_named(database_url: str, chained: PostgresAudit) -> None:
    rows = await chained.after(0, 100, AuditFilter(), 100)
    known = (9, rows[8].hash)
    assert (await audit.verify(chained, known)).broken is None
    async with by_hand(database_url) as owner:
        await owner.execute("DELETE FROM audit_events WHERE seq = 9")
    assert (await audit.verify(chained)).broken is None  # which is why one writes the end of the chain down
    assert (await audit.verify(chained, known)).broken == "rows 9 to 9 are missing"
    async with by_hand(database_url) as owner:
        await owner.execute("UPDATE audit_events SET seq = 100 WHERE seq = 6")
        await owner.execute("UPDATE audit_events SET seq = 6 WHERE seq = 7")
        await owner.execute("UPDATE audit_events SET seq = 7 WHERE seq = 100")
    report = await audit.verify(chained)
    assert (report.rows, report.broken is not None and report.broken[:6]) == (5, "row 6 ")
    async with by_hand(database_url) as owner:
        await owner.execute("DELETE FROM audit_events WHERE seq = 2")
    assert (await audit.verify(chained)).broken == "row 2 is missing"


async def test_a_chain_that_was_made_anew_is_told_by_an_end_that_is_known(
    database_url: str, chained: PostgresAudit
) -> None:
    rows = await chained.after(0, 100, AuditFilter(), 100)
    async with by_hand(database_url) as owner:
        await owner.execute("DELETE FROM audit_events WHERE seq = 4")
        await owner.execute("UPDATE audit_events SET seq = NULL, hash = NULL")
    await chained.seal(100)
    assert (await audit.verify(chained)).broken is None
    report = await audit.verify(chained, (6, rows[5].hash))
    assert report.broken == "the chain up to row 6 is another one"


async def test_the_sealer_goes_on_until_nothing_waits(database: Database) -> None:
    log = PostgresAudit(database)
    for number in range(3):
        await make(database, number)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await AuditSealer(log, sleep).run()
    assert (await audit.verify(log)).rows == 3
    assert len(slept) == 1
    assert slept[0] < 1


async def test_a_row_takes_less_than_a_kilobyte_of_disk(database: Database) -> None:
    for number in range(300):
        await make(database, number)
    assert await PostgresAudit(database).seal(300) == 300
    await database.execute("VACUUM FULL audit_events")
    taken = await database.fetchval("SELECT pg_total_relation_size('audit_events')")
    assert taken < 300 * 1_000
