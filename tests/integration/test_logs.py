"""The log store on a real database: order, ledger, pages, and followers that never miss a line."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from domain import ids, logs
from domain.access import KeyScope, Scope
from domain.errors import BadUserInput, Conflict, Forbidden, NotFound
from domain.events import LogsAppended, RunChanged
from domain.logs import LogLevel, LogLine, Logs, LogsRequest
from domain.metrics import write_cursor
from domain.runs import RunStatus
from persistence.database import Database
from persistence.logs import PostgresLogs
from tests.support.live import Process, process
from tests.support.tracking import START, Tracking, with_key

INFO = LogLevel.INFO


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


@pytest.fixture
def log(tracking: Tracking) -> Logs:
    return Logs(store=PostgresLogs(tracking.database), clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)


async def _all(log: Logs, scope: Scope, run_id: str, level: LogLevel | None = None) -> list[LogLine]:
    return [line async for lines in await log.lines(scope, run_id, level) for line in lines]


async def test_lines_keep_their_order_level_time_and_text(tracking: Tracking, log: Logs) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope, start=False)
    tracking.bus.taken()
    when = datetime(2026, 1, 1, 12, 0, 0, 125_000, tzinfo=UTC)
    text = "Traceback:\n  File “x”\nValueError ☃\n"
    first = await log.append(scope, run.id, logs.draft([("hello", INFO, None), (text, LogLevel.ERROR, when)]))
    second = await log.append(scope, run.id, logs.draft_of_text("1%\r2%\r3%\nbye"))
    assert (first.accepted, second.accepted, first.stop_requested) == (4, 2, False)
    assert tracking.bus.taken() == [RunChanged(run.id), LogsAppended(run.id, 4), LogsAppended(run.id, 6)]
    assert await _all(log, scope, run.id) == [
        LogLine(1, INFO, START, "hello"),
        LogLine(2, LogLevel.ERROR, when, "Traceback:"),
        LogLine(3, LogLevel.ERROR, when, "  File “x”"),
        LogLine(4, LogLevel.ERROR, when, "ValueError ☃"),
        LogLine(5, INFO, START, "3%"),
        LogLine(6, INFO, START, "bye"),
    ]
    assert [line.seq for line in await _all(log, scope, run.id, LogLevel.WARNING)] == [2, 3, 4]


async def test_pages_lead_through_the_log_by_level(tracking: Tracking, log: Logs) -> None:
    scope = await tracking.scope()
    run, empty = await tracking.runs.create(scope), await tracking.runs.create(scope)
    levels = list(LogLevel)
    await log.append(scope, run.id, logs.draft([(f"line {place}", levels[place % 5], None) for place in range(50)]))
    seen: list[int] = []
    cursor = None
    while True:
        page = await log.page(scope, run.id, LogsRequest.of(7, cursor, LogLevel.ERROR))
        assert page.total_count == 20
        assert page.has_previous_page == (cursor is not None)
        seen += [line.seq for line in page.nodes]
        if not page.has_next_page:
            break
        cursor = page.cursors[-1]
    assert seen == [place + 1 for place in range(50) if place % 5 >= 3]
    both = await log.pages(scope, [run.id, empty.id, ids.new("run")], LogsRequest.of(2))
    assert [[line.seq for line in page.nodes] for page in both.values()] == [[1, 2], [], []]
    assert (await log.page(scope, run.id, LogsRequest.of(0))).total_count == 50
    for forged in (write_cursor("logs", empty.id, 1), write_cursor("metrics", run.id, 1), "x"):
        with pytest.raises(BadUserInput) as refused:
            await log.page(scope, run.id, LogsRequest.of(7, forged))
        assert refused.value.field == "after"


async def test_the_ledger_answers_a_repeated_batch_and_refuses_another(tracking: Tracking, log: Logs) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    first = await log.append(scope, run.id, logs.draft_of_text("a\nb"), batch="one")
    await log.append(scope, run.id, logs.draft_of_text("c"), batch="two")
    answers = await asyncio.gather(
        *(log.append(scope, run.id, logs.draft_of_text("a\nb"), batch="one") for _ in range(5)),
        *(log.append(scope, run.id, logs.draft_of_text("d"), batch="three") for _ in range(5)),
    )
    assert set(answers[:5]) == {first}
    assert len(set(answers[5:])) == 1
    with pytest.raises(Conflict) as other:
        await log.append(scope, run.id, logs.draft_of_text("a\nB"), batch="one")
    assert other.value.field == "batch_id"
    await tracking.runs.finish(scope, run.id, status=RunStatus.FAILED)
    assert await log.append(scope, run.id, logs.draft_of_text("a\nb"), batch="one") == first
    with pytest.raises(Conflict, match="FAILED"):
        await log.append(scope, run.id, logs.draft_of_text("late"))
    assert [line.message for line in await _all(log, scope, run.id)] == ["a", "b", "c", "d"]


async def test_what_the_caller_may_not_see_has_no_log(tracking: Tracking, log: Logs) -> None:
    ada, bob = await tracking.scope(), await tracking.scope("bob@example.org", "other")
    run = await tracking.runs.create(ada)
    await log.append(ada, run.id, logs.draft_of_text("secret"))
    for attempt in (
        log.append(bob, run.id, logs.draft_of_text("x")),
        log.page(bob, run.id, LogsRequest.of()),
        log.lines(bob, run.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert (await log.pages(bob, [run.id], LogsRequest.of()))[run.id].nodes == []
    with pytest.raises(NotFound):
        await anext(await log.follow(bob, run.id))
    with pytest.raises(Forbidden):
        await log.append(with_key(ada, KeyScope.RUNS_READ), run.id, logs.draft_of_text("x"))


@pytest.fixture
async def live(database: Database, database_url: str) -> AsyncIterator[Process]:
    async with process(database, database_url) as running:
        yield running


async def test_followers_that_drop_and_resume_get_every_line_once(live: Process) -> None:
    scope = await live.scope()
    run = await live.runs.create(scope)
    chance = random.Random(3)

    async def write() -> None:
        for place in range(80):
            await live.logs.append(
                scope, run.id, logs.draft_of_text("\n".join(f"{place}.{n}" for n in range(place % 6 + 1)))
            )
        await live.runs.finish(scope, run.id, status=RunStatus.COMPLETED)

    async def read(patience: float) -> list[LogLine]:
        got: list[LogLine] = []
        cursor, ended = None, False
        while not ended:
            stream = await live.logs.follow(scope, run.id, after=cursor)
            async for delta in stream:
                got += delta.lines
                cursor, ended = delta.cursor, delta.status is RunStatus.COMPLETED
                if not ended and chance.random() < patience:
                    break
            await stream.aclose()
        return got

    readers = [asyncio.ensure_future(read(patience)) for patience in (0.0, 0.3, 0.8)]
    await write()
    expected = await _all(live.logs, scope, run.id)
    assert [line.seq for line in expected] == list(range(1, len(expected) + 1))
    for got in await asyncio.gather(*readers):
        assert got == expected
    with pytest.raises(BadUserInput):
        await anext(await live.logs.follow(scope, run.id, after=write_cursor("logs", run.id, 10_000)))
    assert live.hub.watching == 0


async def test_a_very_long_log_comes_in_bounded_pieces(live: Process) -> None:
    scope = await live.scope()
    run = await live.runs.create(scope)
    for _ in range(3):
        await live.logs.append(scope, run.id, logs.draft([("x" * 60_000, INFO, None)] * 40))
    await live.runs.finish(scope, run.id, status=RunStatus.COMPLETED)
    pieces = [delta.lines async for delta in await live.logs.follow(scope, run.id)]
    assert sum(map(len, pieces)) == 120
    assert max(sum(len(line.message) for line in piece) for piece in pieces) <= 4_100_000
