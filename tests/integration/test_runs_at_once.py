"""Changes of one run that meet on a real database: one wins, none is lost, and writers are told why not."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from domain import ids
from domain.access import KeyScope, Scope
from domain.errors import Conflict, DomainError
from domain.runs import Run, RunsRequest, RunStatus
from persistence.run_writes import RunWrite, open_all_for_write, open_for_write
from tests.support.tracking import Tracking, with_key


async def test_client_tokens_make_one_run(tracking: Tracking, scope: Scope) -> None:
    answers = await asyncio.gather(
        *(tracking.runs.create(scope, name="x", params=[("a", 1)], client_token="t") for _ in range(6))
    )
    assert len({run.id for run in answers}) == 1
    assert (await tracking.runs.page(scope, RunsRequest())).total_count == 1
    assert len(tracking.bus.taken()) == 1
    with pytest.raises(Conflict) as other:
        await tracking.runs.create(scope, name="x", params=[("a", 2)], client_token="t")
    assert other.value.field == "client_token"
    key = with_key(scope, KeyScope.RUNS_WRITE)
    assert (await tracking.runs.create(key, name="x", params=[("a", 1)], client_token="t")).id != answers[0].id


async def settled(*calls: Any) -> list[Run | DomainError]:
    answers = await asyncio.gather(*calls, return_exceptions=True)
    expected = [answer for answer in answers if isinstance(answer, Run | DomainError)]
    assert len(expected) == len(answers), answers
    return expected


async def test_of_many_ends_at_once_one_wins(tracking: Tracking, scope: Scope) -> None:
    for _ in range(5):
        run = await tracking.runs.create(scope)
        ends = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.STOPPED] * 3
        answers = await settled(*(tracking.runs.finish(scope, run.id, end) for end in ends))
        final = (await tracking.runs.get(scope, run.id)).status
        outcome = Counter(answer.status if isinstance(answer, Run) else answer.code for answer in answers)
        assert outcome == {final: 3, "CONFLICT": 6}


async def test_finish_stop_and_resume_at_once_leave_a_state_that_the_rules_allow(
    tracking: Tracking, scope: Scope
) -> None:
    for _ in range(5):
        run = await tracking.runs.create(scope)
        await settled(
            tracking.runs.finish(scope, run.id),
            tracking.runs.stop(scope, run.id),
            tracking.runs.stop(scope, run.id, force=True),
            tracking.runs.resume(scope, run.id),
            tracking.runs.log_params(scope, run.id, [("a", 1)]),
            tracking.runs.change_tags(scope, run.id, put=[("t", "1")]),
        )
        found = await tracking.runs.get(scope, run.id)
        assert [tag.key for tag in found.tags] == ["t"]
        assert (found.ended_at is None) == (found.status is RunStatus.RUNNING)
        assert found.status is not RunStatus.PENDING


async def test_tags_and_params_written_at_once_all_stay(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope)
    await asyncio.gather(
        *(tracking.runs.change_tags(scope, run.id, put=[(f"t{n}", "x")]) for n in range(8)),
        *(tracking.runs.log_params(scope, run.id, [(f"p{n}", n)]) for n in range(8)),
    )
    found = await tracking.runs.get(scope, run.id)
    assert (len(found.tags), len(found.params)) == (8, 8)
    answers = await settled(*(tracking.runs.log_params(scope, run.id, [("same", n)]) for n in range(5)))
    assert sum(isinstance(answer, Run) for answer in answers) == 1


async def test_writers_open_runs_or_are_told_why_not(tracking: Tracking, scope: Scope) -> None:
    pending = await tracking.runs.create(scope, start=False)
    ended = await tracking.runs.create(scope)
    await tracking.runs.finish(scope, ended.id)
    hidden = await tracking.runs.create(scope)
    await tracking.runs.delete(scope, hidden.id)
    other = await tracking.scope("bob@example.org", "other")
    foreign = await tracking.runs.create(other)
    now = tracking.clock.forward(seconds=1)
    wanted = [pending.id, ended.id, hidden.id, foreign.id, ids.new("run")]
    async with tracking.database.transaction() as tx:
        opened = await open_all_for_write(tx, [(scope, run_id) for run_id in wanted], now)
    answers = [opened[scope.workspace_id, run_id] for run_id in wanted]
    first = answers[0]
    assert isinstance(first, RunWrite)
    assert (first.started, first.status, first.started_at, first.metric_seq, first.last_step) == (
        True,
        RunStatus.RUNNING,
        now,
        0,
        None,
    )
    assert [getattr(answer, "code", None) for answer in answers[1:]] == [
        "CONFLICT",
        "CONFLICT",
        "NOT_FOUND",
        "NOT_FOUND",
    ]
    started = await tracking.runs.get(scope, pending.id)
    assert (started.status, started.started_at, started.last_activity_at) == (RunStatus.RUNNING, now, now)
    assert (await tracking.runs.get(scope, ended.id)).last_activity_at == ended.created_at
    await tracking.runs.stop(scope, pending.id)
    async with tracking.database.transaction() as tx:
        again = await open_for_write(tx, scope, pending.id, now)
    assert (again.started, again.stop_requested) == (False, True)
    async with tracking.database.transaction() as tx:
        with pytest.raises(Conflict, match="COMPLETED; resume it first"):
            await open_for_write(tx, scope, ended.id, now)


async def test_a_write_that_waits_for_the_end_of_its_run_is_refused(tracking: Tracking, scope: Scope) -> None:
    run = await tracking.runs.create(scope)
    locked, release = asyncio.Event(), asyncio.Event()

    async def end_slowly() -> None:
        async with tracking.database.transaction() as tx:
            await tx.execute("SELECT 1 FROM run_heads WHERE run_id = $1 FOR UPDATE", ids.to_uuid(run.id))
            locked.set()
            await release.wait()
            await tx.execute(
                "UPDATE runs SET status = 'completed', ended_at = $2 WHERE id = $1",
                ids.to_uuid(run.id),
                tracking.clock.at,
            )

    async def write() -> RunWrite:
        async with tracking.database.transaction() as tx:
            return await open_for_write(tx, scope, run.id, tracking.clock.at)

    ending = asyncio.create_task(end_slowly())
    await locked.wait()
    writing = asyncio.create_task(write())
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await tracking.database.fetchval(waits):  # noqa: ASYNC110 - the condition lives in PostgreSQL
        await asyncio.sleep(0)
    release.set()
    await ending
    with pytest.raises(Conflict, match="COMPLETED"):
        await writing
