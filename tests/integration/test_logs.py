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
from domain.logs import LogBounds, LogLevel, LogLine, Logs, LogsRequest
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


async def test_the_newest_lines_are_kept_within_bounds(tracking: Tracking) -> None:
    bounds = LogBounds(lines=50, size_bytes=1_000)
    log = Logs(store=PostgresLogs(tracking.database, bounds), clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)
    scope = await tracking.scope()
    run, other = await tracking.runs.create(scope), await tracking.runs.create(scope)
    await log.append(scope, other.id, logs.draft_of_text("untouched"))
    cursors = []
    for place in range(40):
        lines = logs.draft([(f"{place}.{n}", INFO, None) for n in range(7)])
        cursors.append((await log.append(scope, run.id, lines, batch=f"b{place}")).cursor)
    kept = await _all(log, scope, run.id)
    assert [line.seq for line in kept] == list(range(280 - 50 + 1, 281)), "places stay as they were given"
    assert kept[-1].message == "39.6"
    page = await log.page(scope, run.id, LogsRequest.of(3))
    assert ([line.seq for line in page.nodes], page.total_count) == ([231, 232, 233], 50)
    again = await log.append(scope, run.id, logs.draft([(f"0.{n}", INFO, None) for n in range(7)]), batch="b0")
    assert again.cursor == cursors[0], "the ledger outlives the lines"

    await log.append(scope, run.id, logs.draft([("é" * 200, INFO, None)]))  # 400 bytes
    await log.append(scope, run.id, logs.draft([("x" * 500, INFO, None)]))
    kept = await _all(log, scope, run.id)
    assert sum(len(line.message.encode()) for line in kept) <= 1_000
    assert kept[-1].message == "x" * 500
    assert kept[-2].message == "é" * 200
    await log.append(scope, run.id, logs.draft([("y" * 2_000, INFO, None), ("z", INFO, None)]))
    assert [line.message[0] for line in await _all(log, scope, run.id)] == ["y", "z"], "what is acknowledged is kept"
    head = await tracking.database.fetchrow(
        "SELECT log_seq, log_dropped, log_bytes FROM run_heads WHERE run_id = $1", ids.to_uuid(run.id)
    )
    assert head is not None
    assert tuple(head) == (284, 282, 2_001)
    assert [line.message for line in await _all(log, scope, other.id)] == ["untouched"]


async def test_a_lowered_bound_is_reached_little_by_little(
    tracking: Tracking, log: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.logs.TRIMMED_BESIDE", 5)
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await log.append(scope, run.id, logs.draft([(str(n), INFO, None) for n in range(30)]))
    tight = Logs(
        store=PostgresLogs(tracking.database, LogBounds(lines=10)),
        clock=tracking.clock,
        bus=tracking.bus,
        hub=tracking.hub,
    )
    left = []
    for _ in range(5):
        await tight.append(scope, run.id, logs.draft_of_text("more"))
        left.append(len(await _all(log, scope, run.id)))
    assert left == [24, 18, 12, 10, 10]


async def test_lines_that_are_too_long_are_shortened_and_say_so(tracking: Tracking) -> None:
    store = PostgresLogs(tracking.database, LogBounds(line_characters=100))
    log = Logs(store=store, clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    text = f"{'a' * 100}\n{'b' * 101}\n{'c' * 70_000}"
    first = await log.append(scope, run.id, logs.draft_of_text(text), batch="one")
    assert first.accepted == 3
    assert await log.append(scope, run.id, logs.draft_of_text(text), batch="one") == first
    with pytest.raises(Conflict):
        await log.append(scope, run.id, logs.draft_of_text(text + "c"), batch="one")
    whole, short, shorter = [line.message for line in await _all(log, scope, run.id)]
    assert whole == "a" * 100
    assert (len(short), len(shorter)) == (100, 100)
    assert short.startswith("b" * 70)
    assert shorter.endswith("more characters]")
    with pytest.raises(BadUserInput):
        logs.draft([("d" * 70_000, INFO, None)])


async def test_no_client_can_take_a_name_of_the_servers(tracking: Tracking, log: Logs) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await log.append(scope, run.id, logs.draft_of_text("nameless"))
    name = await tracking.database.fetchval("SELECT batch_id FROM log_batches")
    assert name.startswith("server ")
    with pytest.raises(BadUserInput) as refused:
        await log.append(scope, run.id, logs.draft_of_text("forged"), batch=name)
    assert refused.value.field == "batch_id"
    await log.append(scope, run.id, logs.draft_of_text("allowed"), batch="server-" + "0" * 32)
    assert [line.message for line in await _all(log, scope, run.id)] == ["nameless", "allowed"]


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


async def test_a_follower_that_falls_behind_what_is_kept_goes_on_with_the_oldest_line_there_is(live: Process) -> None:
    scope = await live.scope()
    run = await live.runs.create(scope)
    log = Logs(store=PostgresLogs(live.database, LogBounds(lines=20)), clock=live.clock, bus=live.bus, hub=live.hub)
    first = await log.append(scope, run.id, logs.draft_of_text("first"))
    stream = await log.follow(scope, run.id, after=first.cursor)
    assert (await anext(stream)).lines == []
    behind = [await log.follow(scope, run.id) for _ in range(2)]
    for place in range(30):
        await log.append(scope, run.id, logs.draft([(f"{place}.{n}", INFO, None) for n in range(3)]))
    await live.runs.finish(scope, run.id, status=RunStatus.COMPLETED)
    async with asyncio.timeout(30):
        for each in (stream, *behind):
            got = [line.seq async for delta in each for line in delta.lines]
            assert got == sorted(set(got))
            assert got[-20:] == list(range(72, 92))


async def test_a_bar_that_moves_on_takes_the_room_of_one_line(tracking: Tracking) -> None:
    bounds = LogBounds(lines=5)
    log = Logs(store=PostgresLogs(tracking.database, bounds), clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await log.append(scope, run.id, logs.draft_of_text("epoch 1"))
    for place in range(20):
        bar = logs.draft([(f"{place}%\r", INFO, None), (f"{place}.5%\r", INFO, None)])
        stored = await log.append(scope, run.id, bar, batch=f"b{place}")
        assert stored.accepted == 2
        assert await log.append(scope, run.id, bar, batch=f"b{place}") == stored
        if place == 10:
            await log.append(scope, run.id, logs.draft([("careful", LogLevel.WARNING, None)]))
    kept = await _all(log, scope, run.id)
    assert [(line.seq, line.message, line.replaces) for line in kept] == [
        (1, "epoch 1", None),
        (13, "careful", None),
        (22, "19.5%", 2),
    ]
    head = await tracking.database.fetchrow(
        "SELECT log_seq, log_lines, log_bytes FROM run_heads WHERE run_id = $1", ids.to_uuid(run.id)
    )
    assert head is not None
    assert tuple(head) == (22, 3, sum(len(line.message) for line in kept))
    last = await log.page(scope, run.id, LogsRequest.of(last=2))
    assert ([line.seq for line in last.nodes], last.total_count) == ([13, 22], 3)
    await log.append(scope, run.id, logs.draft_of_text("\na\nb\nc"))
    assert [line.message for line in await _all(log, scope, run.id)] == ["careful", "19.5%", "a", "b", "c"]


async def test_followers_of_a_bar_show_what_a_reader_finds(live: Process) -> None:
    scope = await live.scope()
    run = await live.runs.create(scope)
    chance = random.Random(5)

    async def write() -> None:
        for place in range(60):
            level = chance.choice([INFO, LogLevel.ERROR])
            text = chance.choice(["{}%\r", "\r{}%", "\r{}%\n", "line {}", "\n"]).format(place)
            await live.logs.append(scope, run.id, logs.draft([(text, level, None)]))
        await live.runs.finish(scope, run.id, status=RunStatus.COMPLETED)

    async def read(patience: float) -> list[LogLine]:
        shown: list[LogLine] = []
        cursor, ended = None, False
        while not ended:
            stream = await live.logs.follow(scope, run.id, after=cursor)
            async for delta in stream:
                assert logs.newest(delta.lines) == delta.lines
                shown = logs.newest([*shown, *delta.lines])
                cursor, ended = delta.cursor, delta.status is RunStatus.COMPLETED
                if not ended and chance.random() < patience:
                    break
            await stream.aclose()
        return shown

    readers = [asyncio.ensure_future(read(patience)) for patience in (0.0, 0.3, 0.8)]
    await write()
    expected = await _all(live.logs, scope, run.id)
    async with asyncio.timeout(60):
        for shown in await asyncio.gather(*readers):
            assert shown == expected
    tail = [delta.lines async for delta in await live.logs.follow(scope, run.id, tail=3)]
    assert tail == [expected[-3:]]
    nothing = [delta.lines async for delta in await live.logs.follow(scope, run.id, tail=0)]
    assert nothing == [[]]
    with pytest.raises(NotFound):
        await live.logs.follow(scope, ids.new("run"), tail=3)
