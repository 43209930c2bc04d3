"""The metric store on a real database: ledger, order, summaries, reads, and readers that never miss a point."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from domain import ids
from domain.access import KeyScope, Scope
from domain.errors import BadUserInput, Conflict, Forbidden, NotFound, Unavailable
from domain.events import MetricsAppended, RunChanged
from domain.metrics import (
    KeysRequest,
    Metrics,
    MetricSummary,
    SeriesAxis,
    SeriesRequest,
    SummariesRequest,
    decode,
)
from domain.runs import RunStatus
from persistence.database import Connection, Database
from persistence.metrics import PostgresMetrics
from tests.support.tracking import START, Tracking, with_key, written

NOW = round(START.timestamp() * 1000)
# One busy connection of the pool, now and then.
_KILL_ONE = """
    SELECT pg_terminate_backend(pid) FROM (
        SELECT pid, pg_sleep(0.02) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'axonml' AND state <> 'idle' LIMIT 1
    ) busy
"""


@pytest.fixture
async def metrics(tracking: Tracking) -> AsyncIterator[Metrics]:
    async with written(tracking.database) as store:
        yield Metrics(store=store, clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)


async def _exported(metrics: Metrics, scope: Scope, run_id: str) -> list[tuple[str, int, float, int]]:
    return [
        (column.key, *point)
        async for columns in await metrics.points(scope, run_id)
        for column in columns
        for point in zip(column.steps.tolist(), column.values.tolist(), column.timestamps.tolist(), strict=True)
    ]


async def _summary(metrics: Metrics, scope: Scope, run_id: str, key: str) -> MetricSummary:
    (found,) = (await metrics.summaries(scope, [run_id], SummariesRequest.of([key])))[run_id]
    return found


async def test_what_was_logged_is_summarised_drawn_and_exported(tracking: Tracking, metrics: Metrics) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    tracking.bus.taken()
    first = await metrics.log(scope, run.id, decode([{"step": 5, "loss": 3.0}, {"loss": "NaN", "acc": 0.5}]))
    second = await metrics.log(scope, run.id, decode({"series": {"loss": {"steps": [5, 2], "values": [1.0, 8.0]}}}))
    assert (first.accepted, second.accepted) == (3, 2)
    assert not second.stop_requested
    assert tracking.bus.taken() == [MetricsAppended(run.id, 1), MetricsAppended(run.id, 2)]
    loss = await _summary(metrics, scope, run.id, "loss")
    assert math.isnan(loss.last)
    assert (loss.last_step, loss.min, loss.max, loss.mean, loss.count, loss.non_finite) == (6, 1.0, 8.0, 4.0, 4, 1)
    read = await metrics.read(scope, run.id, SeriesRequest.of())
    assert [series.key for series in read.series] == ["acc", "loss"]
    assert read.series[1].steps.tolist() == [2, 5, 6]
    assert read.series[1].values.tolist()[:2] == [8.0, 1.0]
    assert read.cursor == second.cursor
    assert await _exported(metrics, scope, run.id) == [
        ("loss", 5, 3.0, NOW),
        ("loss", 6, pytest.approx(math.nan, nan_ok=True), NOW),
        ("acc", 6, 0.5, NOW),
        ("loss", 5, 1.0, NOW),
        ("loss", 2, 8.0, NOW),
    ]


async def test_a_missing_step_follows_the_highest_of_the_run(tracking: Tracking, metrics: Metrics) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    for document in ({"loss": 1}, {"loss": 1, "step": 40}, {"loss": 1, "step": 3}, {"acc": 1}):
        await metrics.log(scope, run.id, decode(document))
    assert [(key, step) for key, step, *_ in await _exported(metrics, scope, run.id)] == [
        ("loss", 0),
        ("loss", 40),
        ("loss", 3),
        ("acc", 41),
    ]


async def test_the_ledger_answers_a_repeated_batch_and_refuses_another(tracking: Tracking, metrics: Metrics) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    sent = {"loss": 1.5}
    first = await metrics.log(scope, run.id, decode(sent), batch="b-1")
    await metrics.log(scope, run.id, decode({"loss": 2}), batch="b-2")
    assert await metrics.log(scope, run.id, decode(sent), batch="b-1") == first
    as_columns = decode({"metrics": [{"key": "loss", "value": 1.5}]})
    assert await metrics.log(scope, run.id, as_columns, batch="b-1") == first
    with pytest.raises(Conflict) as other:
        await metrics.log(scope, run.id, decode({"loss": 1.6}), batch="b-1")
    assert other.value.field == "batch_id"
    await tracking.runs.finish(scope, run.id, status=RunStatus.COMPLETED)
    assert await metrics.log(scope, run.id, decode(sent), batch="b-1") == first
    with pytest.raises(Conflict):
        await metrics.log(scope, run.id, decode({"loss": 1.6}), batch="b-1")
    with pytest.raises(Conflict, match="COMPLETED"):
        await metrics.log(scope, run.id, decode({"loss": 3}), batch="b-3")
    assert len(await _exported(metrics, scope, run.id)) == 2


async def test_the_id_of_a_batch_without_a_point_is_remembered_too(tracking: Tracking, metrics: Metrics) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    nothing, something = decode({"loss": None, "step": 3}), decode({"loss": 1.5, "step": 3})
    first = await metrics.log(scope, run.id, nothing, batch="empty")
    assert first.accepted == 0
    assert await metrics.log(scope, run.id, nothing, batch="empty") == first
    with pytest.raises(Conflict):
        await metrics.log(scope, run.id, something, batch="empty")
    await metrics.log(scope, run.id, something, batch="full")
    with pytest.raises(Conflict):
        await metrics.log(scope, run.id, nothing, batch="full")
    assert await _exported(metrics, scope, run.id) == [("loss", 3, 1.5, NOW)]
    (series,) = (await metrics.series(scope, [run.id], SeriesRequest()))[run.id]
    assert series.values.tolist() == [1.5]


async def test_the_same_batch_sent_many_times_at_once_is_stored_once(tracking: Tracking, metrics: Metrics) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    draft = decode([{"loss": 1}, {"loss": 2}])
    answers = await asyncio.gather(*(metrics.log(scope, run.id, draft, batch="same") for _ in range(12)))
    assert len({(answer.accepted, answer.cursor) for answer in answers}) == 1
    assert len(await _exported(metrics, scope, run.id)) == 2
    assert (await _summary(metrics, scope, run.id, "loss")).count == 2


async def test_concurrent_writers_leave_no_gap_and_no_wrong_sum(tracking: Tracking, metrics: Metrics) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    values = list(range(60))
    await asyncio.gather(*(metrics.log(scope, run.id, decode({"loss": value, "step": value})) for value in values))
    rows = await tracking.database.fetch("SELECT seq FROM metric_batches ORDER BY seq")
    assert [row["seq"] for row in rows] == list(range(1, 61))
    loss = await _summary(metrics, scope, run.id, "loss")
    assert (loss.count, loss.min, loss.max, loss.last) == (60, 0.0, 59.0, 59.0)
    assert loss.mean == pytest.approx(29.5)


async def test_the_first_write_starts_a_pending_run_and_says_so(tracking: Tracking, metrics: Metrics) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope, start=False)
    tracking.bus.taken()
    logged = await metrics.log(scope, run.id, decode({"loss": None}))
    assert logged.accepted == 0
    assert tracking.bus.taken() == [RunChanged(run.id)]
    assert (await tracking.runs.get(scope, run.id)).status is RunStatus.RUNNING
    assert await _exported(metrics, scope, run.id) == []
    await tracking.runs.stop(scope, run.id)
    assert (await metrics.log(scope, run.id, decode({"loss": 1}))).stop_requested


async def test_a_lost_commit_is_repeated_without_storing_twice(
    tracking: Tracking, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope, start=False)
    real = tracking.database.transaction
    lost = 0

    class LosesTheAnswer:
        """A transaction whose commit succeeds on the server, while the client only sees a broken link."""

        def __init__(self) -> None:
            self.inner = real()

        async def __aenter__(self) -> Connection:
            return await self.inner.__aenter__()

        async def __aexit__(self, *error: Any) -> None:
            nonlocal lost
            await self.inner.__aexit__(*error)
            if lost < 2:
                lost += 1
                raise Unavailable("the connection was lost")

    monkeypatch.setattr(tracking.database, "transaction", LosesTheAnswer)
    tracking.bus.taken()
    logged = await metrics.log(scope, run.id, decode({"loss": 1}))
    assert lost == 2
    assert logged.accepted == 1
    assert tracking.bus.taken() == [RunChanged(run.id), MetricsAppended(run.id, 1)]
    assert len(await _exported(metrics, scope, run.id)) == 1


async def test_what_the_caller_may_not_see_has_no_metrics(tracking: Tracking, metrics: Metrics) -> None:
    ada, bob = await tracking.scope(), await tracking.scope("bob@example.org", "other")
    run = await tracking.runs.create(ada)
    await metrics.log(ada, run.id, decode({"loss": 1}))
    for attempt in (
        metrics.log(bob, run.id, decode({"loss": 1})),
        metrics.log(ada, ids.new("run"), decode({"loss": 1})),
        metrics.read(bob, run.id, SeriesRequest()),
        metrics.points(bob, run.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await metrics.summaries(bob, [run.id], SummariesRequest()) == {run.id: []}
    assert await metrics.series(bob, [run.id], SeriesRequest()) == {run.id: []}
    assert (await metrics.keys(bob, [run.id], KeysRequest.of()))[run.id].nodes == []
    stream = await metrics.follow(bob, run.id)
    with pytest.raises(NotFound):
        await anext(stream)
    with pytest.raises(Forbidden):
        await metrics.log(with_key(ada, KeyScope.RUNS_READ), run.id, decode({"loss": 1}))
    with pytest.raises(Forbidden):
        await metrics.series(with_key(ada, KeyScope.PREDICT), [run.id], SeriesRequest())
    with pytest.raises(BadUserInput):
        await metrics.log(ada, ids.new("mdl"), decode({"loss": 1}))


async def test_a_run_takes_a_bounded_number_of_keys(tracking: Tracking, metrics: Metrics) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await metrics.log(scope, run.id, decode({f"k{place:05}": place for place in range(10_000)}))
    with pytest.raises(BadUserInput, match="10000"):
        await metrics.log(scope, run.id, decode({"one-more": 1, "k00001": 7}))
    await metrics.log(scope, run.id, decode({"k00001": 7}))
    assert (await _summary(metrics, scope, run.id, "k00001")).count == 2
    page = (await metrics.keys(scope, [run.id], KeysRequest.of(2, None)))[run.id]
    assert [key.key for key in page.nodes] == ["k00000", "k00001"]
    assert (page.has_next_page, page.total_count) == (True, 10_000)
    last = (await metrics.keys(scope, [run.id], KeysRequest.of(2, page.cursors[-1])))[run.id]
    assert [key.key for key in last.nodes] == ["k00002", "k00003"]
    assert len((await metrics.summaries(scope, [run.id], SummariesRequest.of(None, 3)))[run.id]) == 3
    reset = await anext(await metrics.follow(scope, run.id, points=1))
    assert reset.reset
    assert len(reset.series) == 10_000


async def test_extreme_numbers_stay_numbers(tracking: Tracking, metrics: Metrics) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    for value in (1.7e308, -1.7e308, 1.7e308, 5e-324, 1e-310):
        await metrics.log(scope, run.id, decode([{"x": value}, {"x": value}]))
    for _ in range(3):
        await metrics.log(scope, run.id, decode({"tiny": 5e-324}))
    x = await _summary(metrics, scope, run.id, "x")
    assert x.mean is not None
    assert math.isfinite(x.mean)
    assert (x.min, x.max, x.count) == (-1.7e308, 1.7e308, 10)
    assert (await _summary(metrics, scope, run.id, "tiny")).min == 5e-324
    steps = decode([{"y": 1, "step": -(2**63)}, {"y": 2, "step": 2**63 - 1}])
    await metrics.log(scope, run.id, steps)
    with pytest.raises(BadUserInput) as full:
        await metrics.log(scope, run.id, decode({"y": 3}))
    assert full.value.field == "step"


async def test_many_runs_are_read_in_the_same_number_of_statements(
    tracking: Tracking, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    runs = [await tracking.runs.create(scope) for _ in range(12)]
    for place, run in enumerate(runs):
        await metrics.log(scope, run.id, decode({"loss": place, "step": place}))
    statements = 0
    real = Database.fetch

    async def counted(self: Database, sql: str, *arguments: object) -> Any:
        nonlocal statements
        statements += 1
        return await real(self, sql, *arguments)

    monkeypatch.setattr(Database, "fetch", counted)
    counts = []
    for wanted in (runs[:1], runs):
        statements = 0
        run_ids = [run.id for run in wanted]
        series = await metrics.series(scope, run_ids, SeriesRequest.of(axis=SeriesAxis.RELATIVE))
        summaries = await metrics.summaries(scope, run_ids, SummariesRequest())
        await metrics.keys(scope, run_ids, KeysRequest.of())
        assert [series[run_id][0].values.tolist() for run_id in run_ids] == [[place] for place in range(len(wanted))]
        assert [summaries[run_id][0].last for run_id in run_ids] == list(range(len(wanted)))
        counts.append(statements)
    assert counts[0] == counts[1] == 3


async def test_connections_killed_under_writers_lose_and_repeat_nothing(
    tracking: Tracking, metrics: Metrics, database_url: str
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    acknowledged = 0
    writing = True

    async def write(writer: int) -> None:
        nonlocal acknowledged
        for place in range(25):
            document = decode({"loss": place, "step": writer * 1_000 + place})
            while True:  # a client that retries under its batch id, as one does on UNAVAILABLE
                try:
                    await metrics.log(scope, run.id, document, batch=f"{writer}-{place}")
                    break
                except Unavailable:
                    continue
            acknowledged += 1

    killer = await asyncpg.connect(database_url)

    async def kill() -> int:
        killed = 0
        try:
            while writing:
                killed += len(await killer.fetch(_KILL_ONE))
        finally:
            await killer.close()
        return killed

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        killing = group.create_task(kill())
        await asyncio.gather(*(write(writer) for writer in range(4)))
        writing = False
    assert killing.result() > 0
    await tracking.database.close()  # the pool may still hold connections that were killed last
    await tracking.database.open()
    stored = [step for _, step, *_ in await _exported(metrics, scope, run.id)]
    assert acknowledged == len(stored) == 100
    assert sorted(stored) == sorted(writer * 1_000 + place for writer in range(4) for place in range(25))
    rows = await tracking.database.fetch("SELECT seq FROM metric_batches ORDER BY seq")
    assert [row["seq"] for row in rows] == list(range(1, 101))
    assert (await _summary(metrics, scope, run.id, "loss")).count == 100


async def test_a_key_that_comes_up_during_a_read_is_in_the_answer_or_behind_its_cursor(
    tracking: Tracking, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    await metrics.log(scope, run.id, decode({"loss": 1, "step": 1}))
    read = PostgresMetrics._of_runs
    waiting = [decode({"acc": 2, "step": 2})]

    async def interrupted(self: PostgresMetrics, *given: Any) -> Any:
        rows = await read(self, *given)
        if waiting:
            await metrics.log(scope, run.id, waiting.pop())
        return rows

    monkeypatch.setattr(PostgresMetrics, "_of_runs", interrupted)
    found = await metrics.read(scope, run.id, SeriesRequest())
    behind = await anext(await metrics.follow(scope, run.id, after=found.cursor))
    assert sorted(series.key for series in (*found.series, *behind.series)) == ["acc", "loss"]


async def test_what_one_answer_draws_is_bounded_for_all_its_runs_together(
    tracking: Tracking, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.metrics.series.MOST_BUCKETS", 40)
    scope = await tracking.scope()
    runs = [(await tracking.runs.create(scope)).id for _ in range(2)]
    for run_id in runs:
        await metrics.log(scope, run_id, decode({"series": {key: {"values": [*range(100)]} for key in ("a", "b")}}))
    alone = await metrics.series(scope, runs[:1], SeriesRequest())
    assert all(10 < len(series.steps) <= 20 for series in alone[runs[0]])
    both = await metrics.series(scope, runs, SeriesRequest())
    assert [series.key for series in both[runs[1]]] == ["a", "b"]
    assert sum(len(series.steps) for found in both.values() for series in found) <= 40
