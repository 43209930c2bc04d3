"""The writer of metrics on a real database: what shares a transaction shares nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput, Conflict, DeadlineExceeded, DomainError, NotFound, Overloaded, Unavailable
from domain.events import MetricsAppended, RunChanged
from domain.metrics import Appended, Metrics, MetricsLogged, SummariesRequest, decode
from domain.runs import RunStatus
from persistence.database import Connection, Database, PoolSettings
from persistence.metrics import PostgresMetrics, QueueBounds, writer
from persistence.metrics.group import commit
from persistence.metrics.plan import Arrival
from tests.support.tracking import Tracking, written

_KILL_BUSY = """
    SELECT pg_terminate_backend(pid) FROM (
        SELECT pid, pg_sleep(0.05) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'axonml' AND state <> 'idle' LIMIT 1
    ) busy
"""


class Held:
    """A store whose writer does not run yet: what is sent waits, and becomes one group when it is let go."""

    def __init__(self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, bounds: QueueBounds | None = None) -> None:
        self.tracking = tracking
        self.bounds = bounds
        self.transactions = self.statements = 0
        self.renew()
        transaction, fetch = Database.transaction, Database.fetch

        def counted(database: Database) -> Any:
            self.transactions += 1
            return transaction(database)

        def counted_alone(database: Database, *arguments: Any) -> Any:
            self.statements += 1
            return fetch(database, *arguments)

        monkeypatch.setattr(Database, "transaction", counted)
        monkeypatch.setattr(Database, "fetch", counted_alone)

    def renew(self) -> None:
        """A store whose writer has not run, and to which nothing was sent."""
        self.store = PostgresMetrics(self.tracking.database, self.bounds)
        of = self.tracking
        self.metrics = Metrics(store=self.store, clock=of.clock, bus=of.bus, hub=of.hub)
        self.sent: list[asyncio.Task[MetricsLogged]] = []

    async def send(self, scope: Scope, run_id: str, document: Any, batch: str | None = None) -> None:
        """Logs, and goes on when the batch waits behind the earlier ones, or was refused."""
        task = asyncio.create_task(self.metrics.log(scope, run_id, decode(document), batch=batch))
        self.sent.append(task)
        waiting = len(self.store.writer._waiting)
        async with asyncio.timeout(20):
            while len(self.store.writer._waiting) == waiting and not task.done():  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.transactions = self.statements = 0
        writing = asyncio.create_task(self.store.writer.run())
        try:
            yield
        finally:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing

    async def let_go(self) -> list[MetricsLogged | BaseException]:
        """Runs the writer until everybody is answered; then there is a new one."""
        async with self.running():
            answers = await _all(self.sent)
        assert (self.store.writer._batches, self.store.writer._points) == (0, 0)
        self.renew()
        return answers


async def _all(awaited: Sequence[Awaitable[MetricsLogged]]) -> list[MetricsLogged | BaseException]:
    async with asyncio.timeout(60):
        return await asyncio.gather(*awaited, return_exceptions=True)


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


@pytest.fixture
async def held(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(tracking, monkeypatch)


@asynccontextmanager
async def _holding(database_url: str) -> AsyncIterator[Callable[[str], AbstractAsyncContextManager[None]]]:
    """Somebody else, who can hold the head of a run."""
    connection = await asyncpg.connect(database_url)

    @asynccontextmanager
    async def hold(run_id: str) -> AsyncIterator[None]:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM run_heads WHERE run_id = $1 FOR UPDATE", ids.to_uuid(run_id))
            yield

    try:
        yield hold
    finally:
        await connection.close()


async def _stored(tracking: Tracking, run_id: str) -> list[tuple[int, int]]:
    """Sequence number and size of each batch of a run."""
    rows = await tracking.database.fetch(
        "SELECT seq, points FROM metric_batches WHERE run_id = $1 ORDER BY seq", ids.to_uuid(run_id)
    )
    return [(row["seq"], row["points"]) for row in rows]


async def _points(metrics: Metrics, scope: Scope, run_id: str) -> list[tuple[str, int, float]]:
    return [
        (column.key, *point)
        async for columns in await metrics.points(scope, run_id)
        for column in columns
        for point in zip(column.steps.tolist(), column.values.tolist(), strict=True)
    ]


def _taken(answer: MetricsLogged | BaseException) -> MetricsLogged:
    assert isinstance(answer, MetricsLogged), answer
    return answer


async def test_several_runs_and_batches_share_one_transaction(tracking: Tracking, held: Held) -> None:
    scope = await tracking.scope()
    first, second = await tracking.runs.create(scope), await tracking.runs.create(scope, start=False)
    tracking.bus.taken()
    await held.send(scope, first.id, {"loss": 4, "step": 10})
    await held.send(scope, second.id, {"acc": 0.5})
    await held.send(scope, first.id, {"loss": 2})
    await held.send(scope, second.id, {"acc": "NaN", "loss": 1})
    await held.send(scope, first.id, {"loss": 3, "step": 11, "lr": 1})
    answers = [_taken(answer) for answer in await held.let_go()]
    assert held.transactions == 1
    assert [answer.accepted for answer in answers] == [1, 1, 1, 2, 2]
    assert await _stored(tracking, first.id) == [(1, 1), (2, 1), (3, 2)]
    assert await _stored(tracking, second.id) == [(1, 1), (2, 2)]
    events = tracking.bus.taken()
    assert events.count(RunChanged(second.id)) == 1
    assert [event for event in events if isinstance(event, MetricsAppended)] == [
        MetricsAppended(first.id, 1),
        MetricsAppended(second.id, 1),
        MetricsAppended(first.id, 2),
        MetricsAppended(second.id, 2),
        MetricsAppended(first.id, 3),
    ]
    assert (await tracking.runs.get(scope, second.id)).status is RunStatus.RUNNING
    assert await _points(held.metrics, scope, first.id) == [
        ("loss", 10, 4.0),
        ("loss", 11, 2.0),  # no step was sent: it follows the batch before it in the same group
        ("loss", 11, 3.0),
        ("lr", 11, 1.0),
    ]
    found = await held.metrics.summaries(scope, [first.id, second.id], SummariesRequest())
    loss, lr = found[first.id]
    assert (loss.key, loss.last, loss.last_step, loss.min, loss.max, loss.mean, loss.count) == (
        "loss",
        3.0,
        11,
        2.0,
        4.0,
        3.0,
        3,
    )
    assert (lr.count, [each.count for each in found[second.id]]) == (1, [2, 1])
    head = await tracking.database.fetchrow(
        "SELECT metric_seq, points, last_step FROM run_heads WHERE run_id = $1", ids.to_uuid(first.id)
    )
    assert head is not None
    assert tuple(head) == (3, 4, 11)


async def test_a_repeated_id_in_one_group_and_across_groups(tracking: Tracking, held: Held) -> None:
    scope = await tracking.scope()
    run, other = await tracking.runs.create(scope), await tracking.runs.create(scope)
    await held.send(scope, run.id, {"loss": 1}, "a")
    await held.send(scope, run.id, {"loss": 1}, "a")
    await held.send(scope, run.id, {"loss": 2}, "a")
    await held.send(scope, other.id, {"loss": 2}, "a")
    first, again, conflict, elsewhere = await held.let_go()
    assert held.transactions == 1
    assert first == again
    assert isinstance(conflict, Conflict)
    assert conflict.field == "batch_id"
    assert _taken(elsewhere).accepted == 1
    await held.send(scope, run.id, {"loss": 1}, "a")
    await held.send(scope, run.id, {"loss": 5}, "a")
    await held.send(scope, run.id, {"loss": 5}, "b")
    later, conflict, fresh = await held.let_go()
    assert held.transactions == 1
    assert later == first
    assert isinstance(conflict, Conflict)
    assert _taken(fresh).accepted == 1
    assert await _stored(tracking, run.id) == [(1, 1), (2, 1)]
    assert await _stored(tracking, other.id) == [(1, 1)]


async def test_refused_runs_stand_beside_good_ones(tracking: Tracking, held: Held) -> None:
    scope, stranger = await tracking.scope(), await tracking.scope("bob@example.org", "other")
    good, ended, archived = [await tracking.runs.create(scope) for _ in range(3)]
    await held.send(scope, ended.id, {"loss": 1}, "before")
    (before,) = await held.let_go()
    await tracking.runs.finish(scope, ended.id, status=RunStatus.COMPLETED)
    await tracking.runs.delete(scope, archived.id)
    for who, run_id, batch in (
        (scope, ended.id, "after"),
        (scope, good.id, "good-1"),
        (scope, archived.id, "late"),
        (scope, ids.new("run"), "nowhere"),
        (stranger, good.id, "foreign"),
        (scope, ended.id, "before"),
        (scope, good.id, "good-2"),
    ):
        await held.send(who, run_id, {"loss": 1}, batch)
    ended_run, one, archived_run, nowhere, foreign, repeated, two = await held.let_go()
    assert held.transactions == 1
    assert isinstance(ended_run, Conflict)
    assert isinstance(archived_run, Conflict)
    assert isinstance(nowhere, NotFound)
    assert isinstance(foreign, NotFound)
    assert "COMPLETED" in str(ended_run)
    assert repeated == before
    assert [_taken(one).accepted, _taken(two).accepted] == [1, 1]
    assert await _stored(tracking, good.id) == [(1, 1), (2, 1)]
    assert await _stored(tracking, ended.id) == [(1, 1)]
    assert await _stored(tracking, archived.id) == []


async def test_what_breaks_a_rule_of_its_run_stands_beside_good_batches(tracking: Tracking, held: Held) -> None:
    scope = await tracking.scope()
    full, high, pending = [await tracking.runs.create(scope, start=False) for _ in range(3)]
    await held.send(scope, full.id, {f"k{place:05}": place for place in range(9_998)})
    await held.send(scope, full.id, {"one": 1, "two": 1, "three": 1})
    await held.send(scope, full.id, {"one": 1, "two": 1})
    await held.send(scope, full.id, {"k00007": 1, "one": 2})
    await held.send(scope, full.id, {"three": 1})
    await held.send(scope, high.id, {"loss": 1, "step": 2**63 - 1})
    await held.send(scope, high.id, {"loss": 2})
    await held.send(scope, pending.id, {f"k{place:05}": place for place in range(9_900)})
    many, three, two, known, another, top, behind, all_at_once = await held.let_go()
    assert held.transactions == 1
    assert [_taken(each).accepted for each in (many, two, known, top, all_at_once)] == [9_998, 2, 2, 1, 9_900]
    assert isinstance(three, BadUserInput)
    assert "would add 3" in str(three)
    assert isinstance(another, BadUserInput)
    assert isinstance(behind, BadUserInput)
    assert behind.field == "step"
    assert await _stored(tracking, full.id) == [(1, 9_998), (2, 2), (3, 2)]
    assert await _stored(tracking, high.id) == [(1, 1)]


async def test_a_run_whose_only_batch_was_refused_is_left_as_it_was(tracking: Tracking, held: Held) -> None:
    scope = await tracking.scope()
    pending, good = await tracking.runs.create(scope, start=False), await tracking.runs.create(scope)
    await tracking.database.execute("UPDATE run_heads SET last_step = $1", 2**63 - 1)
    tracking.bus.taken()
    await held.send(scope, pending.id, {"loss": 1})
    await held.send(scope, good.id, {"loss": 1, "step": 1})
    refused, fine = await held.let_go()
    assert held.transactions == 1
    assert isinstance(refused, BadUserInput)
    assert _taken(fine).accepted == 1
    assert (await tracking.runs.get(scope, pending.id)).status is RunStatus.PENDING
    assert tracking.bus.taken() == [MetricsAppended(good.id, 1)]


async def test_a_batch_that_poisons_its_group_fails_alone(
    tracking: Tracking, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run, other = await tracking.runs.create(scope), await tracking.runs.create(scope)

    async def poisoned(database: Database, group: Sequence[Arrival], *memory: Any, **options: Any) -> Any:
        # A text that PostgreSQL refuses, though everything before it was taken.
        bad = [replace(each, batch_id="nul\0") if each.batch_id == "poison" else each for each in group]
        return await commit(database, bad, *memory, **options)

    monkeypatch.setattr(writer, "commit", poisoned)
    for run_id, batch in ((run.id, "a"), (run.id, "poison"), (other.id, "b"), (run.id, "c")):
        await held.send(scope, run_id, {"loss": 1}, batch)
    one, poison, two, three = await held.let_go()
    assert isinstance(poison, asyncpg.PostgresError)
    assert [_taken(each).accepted for each in (one, two, three)] == [1, 1, 1]
    assert await _stored(tracking, run.id) == [(1, 1), (2, 1)]
    assert await _stored(tracking, other.id) == [(1, 1)]


async def test_batches_of_a_run_keep_their_order_when_one_is_locked_out_of_a_poisoned_group(
    tracking: Tracking, held: Held, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run, other = await tracking.runs.create(scope), await tracking.runs.create(scope)
    async with _holding(database_url) as hold:

        async def poisoned(database: Database, group: Sequence[Arrival], *memory: Any, **options: Any) -> Any:
            bad = [replace(each, batch_id="nul\0") if each.batch_id == "poison" else each for each in group]
            if [each.batch_id for each in bad] == ["a"] and not options["wait"]:
                async with hold(run.id):  # for just as long as the first of its batches is tried
                    return await commit(database, bad, *memory, **options)
            return await commit(database, bad, *memory, **options)

        monkeypatch.setattr(writer, "commit", poisoned)
        for place, (run_id, batch) in enumerate(((run.id, "a"), (other.id, "poison"), (run.id, "b"), (run.id, "c"))):
            await held.send(scope, run_id, {"loss": place}, batch)
        first, poison, *others = await held.let_go()
    assert isinstance(poison, asyncpg.PostgresError)
    assert [_taken(each).accepted for each in (first, *others)] == [1, 1, 1]
    assert await _points(held.metrics, scope, run.id) == [("loss", 0, 0.0), ("loss", 1, 2.0), ("loss", 2, 3.0)]


async def test_a_run_that_somebody_holds_keeps_only_its_own_batches_waiting(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(database_url, PoolSettings(lock_timeout=0.3)) as database, _holding(database_url) as hold:
        tracking = Tracking(database)
        held = Held(tracking, monkeypatch)
        scope = await tracking.scope()
        stuck, good = await tracking.runs.create(scope), await tracking.runs.create(scope)
        await held.send(scope, stuck.id, {"loss": 1}, "s")
        await held.send(scope, good.id, {"loss": 1}, "g")
        await held.send(scope, stuck.id, {"loss": 2}, "t")
        async with hold(stuck.id):
            late, fine, later = await held.let_go()
        assert held.transactions == 2  # all together, and what waits for the lock
        assert isinstance(late, Unavailable)
        assert isinstance(later, Unavailable)
        assert _taken(fine).accepted == 1
        await held.send(scope, stuck.id, {"loss": 1}, "s")
        (again,) = await held.let_go()
        assert _taken(again).accepted == 1
        assert await _stored(tracking, stuck.id) == [(1, 1)]


async def test_others_are_stored_while_a_run_is_locked_and_its_batches_keep_their_order(
    tracking: Tracking, held: Held, database_url: str
) -> None:
    scope = await tracking.scope()
    stuck, good = await tracking.runs.create(scope), await tracking.runs.create(scope)
    for run in (stuck, good):
        await held.send(scope, run.id, {"loss": 0})
    async with held.running(), _holding(database_url) as hold:
        await _all(held.sent)
        async with hold(stuck.id):
            waiting = [
                asyncio.create_task(held.metrics.log(scope, stuck.id, decode({"loss": place}))) for place in range(1, 4)
            ]
            for place in range(3):
                _taken((await _all([held.metrics.log(scope, good.id, decode({"loss": place}))]))[0])
            assert not any(task.done() for task in waiting)
            waiting.append(asyncio.create_task(held.metrics.log(scope, stuck.id, decode({"loss": 4}))))
            await held.metrics.log(scope, good.id, decode({"loss": 9}))
        answers = [_taken(answer) for answer in await _all(waiting)]
        # Free again: it is written to together with everybody else.
        held.transactions = 0
        await held.metrics.log(scope, stuck.id, decode({"loss": 5}))
        assert held.transactions == 0
    assert [answer.accepted for answer in answers] == [1, 1, 1, 1]
    assert await _points(held.metrics, scope, stuck.id) == [("loss", place, float(place)) for place in range(6)]
    assert await _stored(tracking, good.id) == [(place, 1) for place in range(1, 6)]


async def test_a_locked_run_may_fill_only_its_share_of_the_queue(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    scope = await tracking.scope()
    held = Held(tracking, monkeypatch, QueueBounds(batches=8, points=100))
    stuck, good = await tracking.runs.create(scope), await tracking.runs.create(scope)
    async with _holding(database_url) as hold, held.running():
        async with hold(stuck.id):
            waiting = [
                asyncio.create_task(held.metrics.log(scope, stuck.id, decode({"loss": place}))) for place in range(3)
            ]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            assert [type(task.exception()) for task in done] == [Overloaded]
            assert (await held.metrics.log(scope, good.id, decode({"loss": 1}))).accepted == 1
        answers = await _all(waiting)
    assert [type(answer) for answer in answers] == [MetricsLogged, MetricsLogged, Overloaded]


async def test_what_another_process_wrote_is_seen_before_anything_is_written(tracking: Tracking, held: Held) -> None:
    """Two writers in turn, each knowing the runs as it left them itself."""
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    async with held.running():
        mine = held.metrics
        held.renew()
        async with held.running():
            theirs = held.metrics
            for place, metrics in enumerate((mine, theirs, mine, mine, theirs, theirs, mine)):
                await metrics.log(scope, run.id, decode({"loss": 10 - place, f"key{place}": 1}))
    assert await _stored(tracking, run.id) == [(seq, 2) for seq in range(1, 8)]
    found = {each.key: each for each in (await mine.summaries(scope, [run.id], SummariesRequest()))[run.id]}
    assert (found["loss"].count, found["loss"].min, found["loss"].max, found["loss"].mean) == (7, 4.0, 10.0, 7.0)
    assert (found["loss"].last, found["loss"].last_step, len(found)) == (4.0, 6, 8)
    assert [step for key, step, _ in await _points(mine, scope, run.id) if key == "loss"] == [*range(7)]


async def test_what_is_known_of_a_run_never_hides_what_became_of_it(tracking: Tracking, held: Held) -> None:
    scope, stranger = await tracking.scope(), await tracking.scope("bob@example.org", "other")
    asked, ended, archived, foreign = [await tracking.runs.create(scope) for _ in range(4)]
    async with held.running():
        for run in (asked, ended, archived, foreign):
            await held.metrics.log(scope, run.id, decode({"loss": 1}), batch="first")
        await tracking.runs.stop(scope, asked.id)
        await tracking.runs.finish(scope, ended.id, status=RunStatus.COMPLETED)
        await tracking.runs.delete(scope, archived.id)
        answers = [
            *await _all([held.metrics.log(scope, each.id, decode({"loss": 2})) for each in (asked, ended, archived)]),
            *await _all([held.metrics.log(stranger, foreign.id, decode({"loss": 2}))]),
            *await _all([held.metrics.log(scope, foreign.id, decode({"loss": 1}), batch="first")]),
            *await _all([held.metrics.log(scope, foreign.id, decode({"loss": 2}), batch="first")]),
        ]
    assert [type(answer) for answer in answers] == [
        MetricsLogged,
        Conflict,
        Conflict,
        NotFound,
        MetricsLogged,
        Conflict,
    ]
    assert _taken(answers[0]).stop_requested
    assert await _stored(tracking, foreign.id) == [(1, 1)]
    assert await _stored(tracking, asked.id) == [(1, 1), (2, 1)]


@pytest.mark.parametrize("error", [Unavailable("the connection was lost"), DeadlineExceeded("no answer in time")])
async def test_a_lost_answer_of_the_one_statement_is_repeated_without_storing_twice(
    tracking: Tracking, held: Held, monkeypatch: pytest.MonkeyPatch, error: DomainError
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    real, lost = Database.fetch, 0

    async def loses_its_answer(database: Database, sql: str, *arguments: Any) -> Any:
        nonlocal lost
        rows = await real(database, sql, *arguments)
        if "metric_batches" in sql and not lost:
            lost += 1
            raise error
        return rows

    async with held.running():
        await held.metrics.log(scope, run.id, decode({"loss": 1}))
        monkeypatch.setattr(Database, "fetch", loses_its_answer)
        again = await held.metrics.log(scope, run.id, decode({"loss": 2}))
        after = await held.metrics.log(scope, run.id, decode({"loss": 3}))
    assert (lost, again.accepted, after.accepted) == (1, 1, 1)
    assert await _points(held.metrics, scope, run.id) == [("loss", place, place + 1.0) for place in range(3)]


async def test_a_caller_that_goes_away_breaks_nothing(
    tracking: Tracking, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await held.send(scope, run.id, {"loss": 1}, "gone-before")
    await held.send(scope, run.id, {"loss": 2}, "gone-meanwhile")
    await held.send(scope, run.id, {"loss": 3}, "stays")
    sent = held.sent
    sent[0].cancel()
    await asyncio.wait(sent[:1])

    async def interrupted(database: Database, group: Sequence[Arrival], *memory: Any, **options: Any) -> Any:
        sent[1].cancel()
        return await commit(database, group, *memory, **options)

    monkeypatch.setattr(writer, "commit", interrupted)
    _, _, stays = await held.let_go()
    assert _taken(stays).accepted == 1
    assert sent[0].cancelled()
    assert sent[1].cancelled()
    # Who left before the group began is not stored; who left during it may be, and its id answers for it.
    assert await _stored(tracking, run.id) == [(1, 1), (2, 1)]
    await held.send(scope, run.id, {"loss": 2}, "gone-meanwhile")
    (again,) = await held.let_go()
    assert _taken(again).accepted == 1
    assert await _stored(tracking, run.id) == [(1, 1), (2, 1)]


async def test_a_full_queue_says_when_to_come_back_and_stores_nothing(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    held = Held(tracking, monkeypatch, QueueBounds(batches=2, points=10))
    await held.send(scope, run.id, {"loss": 1}, "a")
    await held.send(scope, run.id, {"series": {"loss": {"values": [0.5] * 10}}}, "too-many-points")
    await held.send(scope, run.id, {"loss": 2}, "b")
    await held.send(scope, run.id, {"loss": 3}, "too-many-batches")
    first, points, second, batches = await held.let_go()
    for refused in (points, batches):
        assert isinstance(refused, Overloaded)
        assert refused.retry_after is not None
        assert 1 <= refused.retry_after <= 30
    assert [_taken(each).accepted for each in (first, second)] == [1, 1]
    assert await _stored(tracking, run.id) == [(1, 1), (2, 1)]
    # An empty queue takes what is larger than its bound: else such a batch could never be stored.
    await held.send(scope, run.id, {"series": {"loss": {"values": [0.5] * 25}}}, "large")
    (large,) = await held.let_go()
    assert _taken(large).accepted == 25


async def test_a_group_is_bounded_and_what_is_left_follows(
    tracking: Tracking, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "GROUP_BATCHES", 4)
    monkeypatch.setattr(writer, "GROUP_POINTS", 10)
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    for size in (1, 1, 1, 1, 6, 6, 30, 1):
        await held.send(scope, run.id, {"series": {"loss": {"values": [0.5] * size}}})
    answers = await held.let_go()
    assert [_taken(each).accepted for each in answers] == [1, 1, 1, 1, 6, 6, 30, 1]
    assert (held.transactions, held.statements) == (1, 4)  # only the first one had to read
    assert [seq for seq, _ in await _stored(tracking, run.id)] == [*range(1, 9)]


async def test_a_lost_commit_of_a_group_is_repeated_without_storing_twice(
    tracking: Tracking, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    runs = [await tracking.runs.create(scope, start=False) for _ in range(3)]
    real, lost = Database.transaction, 0

    @asynccontextmanager
    async def loses_its_answer(database: Database) -> AsyncIterator[Connection]:
        nonlocal lost
        async with real(database) as tx:
            yield tx
        if lost < 2:
            lost += 1
            raise Unavailable("the connection was lost")

    for run in runs:
        await held.send(scope, run.id, {"loss": 1})
        await held.send(scope, run.id, {"loss": 2})
    monkeypatch.setattr(Database, "transaction", loses_its_answer)
    tracking.bus.taken()
    answers = await held.let_go()
    assert lost == 2
    assert [_taken(each).accepted for each in answers] == [1] * 6
    assert {event for event in tracking.bus.taken() if isinstance(event, RunChanged)} == {
        RunChanged(run.id) for run in runs
    }
    for run in runs:
        assert await _stored(tracking, run.id) == [(1, 1), (2, 1)]


async def test_who_waits_when_the_writer_stops_is_told_to_send_again(
    tracking: Tracking, held: Held, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    async with _holding(database_url) as hold, hold(run.id):
        await held.send(scope, run.id, {"loss": 1}, "in-hand")
        async with held.running(), asyncio.timeout(20):
            while held.transactions == 0:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0)
            await held.send(scope, run.id, {"loss": 2}, "waiting")
        in_hand, waiting = await _all(held.sent)
        await held.send(scope, run.id, {"loss": 3}, "too-late")
        *_, too_late = await _all(held.sent)
    for answer in (in_hand, waiting, too_late):
        assert isinstance(answer, Unavailable)
        assert answer.retry_after is not None
    assert await _stored(tracking, run.id) == []
    assert (held.store.writer._batches, held.store.writer._points) == (0, 0)


async def test_connections_killed_under_many_runs_lose_and_repeat_nothing(
    tracking: Tracking, database_url: str
) -> None:
    scope = await tracking.scope()
    runs = [(await tracking.runs.create(scope)).id for _ in range(6)]
    writing, killed = True, 0

    async def kill() -> None:
        nonlocal killed
        killer = await asyncpg.connect(database_url)
        try:
            while writing:
                killed += len(await killer.fetch(_KILL_BUSY))
        finally:
            await killer.close()

    async with written(tracking.database) as store:

        async def write(client: int) -> list[tuple[str, Appended]]:
            answers = []
            for place in range(20):
                run_id, draft = runs[(client + place) % 6], decode({"loss": place, "step": client * 100 + place})
                while True:  # a client that retries under its batch id, as one does on UNAVAILABLE
                    try:
                        name = f"{client}-{place}"
                        answers.append((run_id, await store.append(scope, run_id, name, draft, tracking.clock.now())))
                        break
                    except Unavailable:
                        continue
            return answers

        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(kill())
            found = await asyncio.gather(*(write(client) for client in range(12)))
            writing = False
    assert killed > 0
    await tracking.database.close()  # the pool may still hold connections that were killed last
    await tracking.database.open()
    seqs: dict[str, list[int]] = {run_id: [] for run_id in runs}
    for run_id, appended in (answer for answers in found for answer in answers):
        seqs[run_id].append(appended.seq)
    for run_id in runs:
        stored = await _stored(tracking, run_id)
        assert sorted(seqs[run_id]) == [seq for seq, _ in stored] == [*range(1, len(stored) + 1)]
    assert sum(map(len, seqs.values())) == 240
