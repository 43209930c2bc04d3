"""The bus between processes, and readers who must not notice that it broke."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import asyncpg
import pytest

from domain import ids
from domain.errors import Unavailable
from domain.events import Event, LogsAppended, MetricsAppended, RunChanged
from domain.metrics import decode
from domain.runs import RunStatus
from persistence.bus import MAX_NOTICE, MAX_PENDING, BroadcastBus
from persistence.database import Database
from persistence.listener import CHANNEL, GAP, MAX_WAITING, ListenBackend
from persistence.live import Hub
from server.supervision import Supervisor
from tests.support.hearing import Ear
from tests.support.live import process
from tests.support.tracking import RecordingBus


async def _listening(url: str) -> list[int]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'axonml-events' AND datname = current_database()"
        )
        return [row["pid"] for row in rows]
    finally:
        await connection.close()


async def _kill_listeners(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return len(
            await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'axonml-events' AND datname = current_database()"
            )
        )
    finally:
        await connection.close()


async def test_events_reach_this_process_at_once_and_others_soon_each_once(
    database: Database, database_url: str
) -> None:
    async with process(database, database_url) as one, process(database, database_url) as two:
        here, there = Ear(one.bus), Ear(two.bus)
        await here.connected()
        await there.connected()
        run, other = ids.new("run"), ids.new("run")
        sent: list[Event] = [MetricsAppended(run, 1), RunChanged(run), LogsAppended(other, 2**62), RunChanged(other)]
        for event in sent:
            one.bus.publish(event)
        assert here.heard == sent
        await there.until(lambda heard: len(heard) >= len(sent))
        two.bus.publish(RunChanged(run))
        await here.until(lambda heard: len(heard) > len(sent))
        assert set(there.heard[: len(sent)]) == set(sent)
        assert here.heard == [*sent, RunChanged(run)]  # nothing of its own came back


async def test_a_flood_is_merged_into_few_notices_of_bounded_size(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(database, database_url) as one, process(database, database_url) as two:
        there = Ear(two.bus)
        await there.connected()
        notices: list[str] = []
        real = ListenBackend.publish

        async def noted(self: ListenBackend, channel: str, message: Any) -> None:
            notices.append(message)
            await real(self, channel, message)

        monkeypatch.setattr(ListenBackend, "publish", noted)
        runs = [ids.new("run") for _ in range(400)]
        for seq in range(1, 26):
            for run in runs:
                one.bus.publish(MetricsAppended(run, seq))
        wanted = {MetricsAppended(run, 25) for run in runs}
        await there.until(lambda heard: wanted <= set(heard))
        assert len(there.heard) <= 2 * len(runs)
        assert len(notices) < 10
        assert max(len(notice.encode()) for notice in notices) <= MAX_NOTICE


async def test_more_than_can_wait_becomes_look_at_everything(database: Database, database_url: str) -> None:
    async with process(database, database_url) as one, process(database, database_url) as two:
        there = Ear(two.bus)
        await there.connected()
        for _ in range(MAX_PENDING + 1):
            one.bus.publish(RunChanged(ids.new("run")))
        await there.until(lambda heard: None in heard)
        assert len(there.heard) <= MAX_PENDING, "what could not wait is not told one by one"


async def test_a_database_that_is_away_delays_events_but_keeps_them(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(database, database_url) as one, process(database, database_url) as two:
        there = Ear(two.bus)
        await there.connected()
        real, failures = ListenBackend.publish, 0

        async def fails_twice(self: ListenBackend, channel: str, message: Any) -> None:
            nonlocal failures
            if failures < 2:
                failures += 1
                raise Unavailable("away")
            await real(self, channel, message)

        monkeypatch.setattr(ListenBackend, "publish", fails_twice)
        run = ids.new("run")
        one.bus.publish(MetricsAppended(run, 3))
        await there.until(lambda heard: MetricsAppended(run, 3) in heard)
        assert failures == 2


async def test_garbage_on_the_channel_counts_as_a_gap(database: Database, database_url: str) -> None:
    async with process(database, database_url) as one:
        ear = Ear(one.bus)
        await ear.connected()
        garbage = [
            "",
            "x",
            "[]",
            "{}",
            "null",
            '{"from":"a"}',
            '{"from":"a","events":[["m"]]}',
            '{"from":"a","events":[["z","run_1",1]]}',
        ]
        for message in garbage:
            await database.execute("SELECT pg_notify($1, $2)", CHANNEL, message)
        run = ids.new("run")
        await database.execute(
            "SELECT pg_notify($1, $2)", CHANNEL, json.dumps({"from": "a", "events": [["m", run, 4]]})
        )
        await ear.until(lambda heard: MetricsAppended(run, 4) in heard)
        assert ear.heard == [None] * len(garbage) + [MetricsAppended(run, 4)]


async def test_a_lost_link_comes_back_and_is_reported(database: Database, database_url: str) -> None:
    async with process(database, database_url) as one, process(database, database_url) as two:
        here, there = Ear(one.bus), Ear(two.bus)
        await here.connected()
        await there.connected()
        for _ in range(3):
            assert await _kill_listeners(database_url) == 2
            await here.connected()
            await there.connected()
        run = ids.new("run")
        one.bus.publish(RunChanged(run))
        await there.until(lambda heard: RunChanged(run) in heard)


async def test_a_link_that_died_in_silence_is_noticed(database: Database, database_url: str) -> None:
    backend = ListenBackend(database_url, database, quiet_seconds=0.05, reply_seconds=0.2)
    bus = BroadcastBus(backend)
    ear = Ear(bus)
    async with Supervisor() as supervisor:
        supervisor.keep("receive", bus.receive)
        await ear.connected()
        deaf = backend._connection
        assert deaf is not None
        # Nothing arrives any more, while the socket stays open and the server answers statements.
        await deaf.remove_listener(backend._echo, backend._echoed)
        await deaf.remove_listener(CHANNEL, backend._heard)
        await ear.until(lambda heard: None in heard)
        assert backend._connection is not deaf
        assert deaf.is_closed()


async def test_a_quiet_link_that_lives_is_left_alone(database: Database, database_url: str) -> None:
    backend = ListenBackend(database_url, database, quiet_seconds=0.01, reply_seconds=5)
    bus = BroadcastBus(backend)
    ear = Ear(bus)
    proven = asyncio.Event()
    real, proofs = backend._prove, 0

    async def counted(connection: Any) -> None:
        nonlocal proofs
        await real(connection)
        proofs += 1
        if proofs == 5:
            proven.set()

    backend._prove = counted  # type: ignore[method-assign]  # counts the proofs
    async with Supervisor() as supervisor:
        supervisor.keep("receive", bus.receive)
        await ear.connected()
        connection = backend._connection
        async with asyncio.timeout(20):
            await proven.wait()
        assert backend._connection is connection
        assert ear.heard == []


async def test_a_reader_too_slow_for_the_channel_is_told_of_a_gap(database: Database, database_url: str) -> None:
    backend = ListenBackend(database_url, database)
    assert (await backend.next_published()).message == GAP
    for _ in range(MAX_WAITING + 1):
        backend._heard(None, 0, CHANNEL, "{}")
    assert (await backend.next_published()).message == GAP
    await backend.disconnect()
    assert await _listening(database_url) == []


async def test_a_dead_broadcaster_task_ends_the_receiver_and_a_new_one_works(
    database: Database, database_url: str
) -> None:
    backend = ListenBackend(database_url, database)
    bus = BroadcastBus(backend)
    ear = Ear(bus)
    receiving = asyncio.ensure_future(bus.receive())
    await ear.connected()
    bus._broadcast._listener_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    async with Supervisor() as supervisor:
        supervisor.keep("receive", bus.receive)
        await ear.connected()
        run = ids.new("run")
        await backend.publish(CHANNEL, json.dumps({"from": "x", "events": [["r", run, 0]]}))
        await ear.until(lambda heard: RunChanged(run) in heard)
    assert await _listening(database_url) == []


# ------------------------------------------------------------------------------------------------ the hub


async def test_a_watch_wakes_for_its_run_and_kinds_only() -> None:
    bus = RecordingBus()
    run, other = ids.new("run"), ids.new("run")
    async with Hub(bus) as hub, hub.watch(run, MetricsAppended) as watch:
        waiting = asyncio.ensure_future(watch.changed())
        for event in (MetricsAppended(other, 1), RunChanged(run), LogsAppended(run, 1)):
            bus.publish(event)
        await asyncio.sleep(0)
        assert not waiting.done()
        bus.publish(MetricsAppended(run, 1))
        bus.publish(MetricsAppended(run, 2))
        assert await waiting
        again = asyncio.ensure_future(watch.changed())
        await asyncio.sleep(0)
        assert not again.done()
        for receive in bus.listeners:
            receive(None)
        assert await again


async def test_stopping_ends_every_watch() -> None:
    hub = Hub(RecordingBus())
    run = ids.new("run")
    async with hub:
        async with hub.watch(run) as watch:
            waiting = asyncio.ensure_future(watch.changed())
            hub.end()
            assert not await waiting
            assert not await watch.changed()
        async with hub.watch(run) as late:
            assert not await late.changed()
    assert hub.watching == 0


async def test_lost_notices_cost_a_beat_and_never_hang(database: Database, database_url: str) -> None:
    async with process(database, database_url, supervised=False) as writer:
        scope = await writer.scope()
        run = await writer.runs.create(scope)
        async with (
            process(database, database_url, supervised=False, beat_seconds=0.05) as reader,
            Supervisor() as tasks,
        ):
            tasks.keep("beat", reader.hub.beat)
            stream = await reader.metrics.follow(scope, run.id)
            await anext(stream)
            await writer.metrics.log(scope, run.id, decode({"loss": 1}))
            async with asyncio.timeout(20):
                assert [series.key for series in (await anext(stream)).series] == ["loss"]
            await stream.aclose()


async def test_killing_the_listeners_under_load_loses_and_repeats_nothing(
    database: Database, database_url: str
) -> None:
    async with process(database, database_url) as writer, process(database, database_url) as other:
        scope = await writer.scope()
        run = await writer.runs.create(scope)
        written = 0

        async def write(name: str) -> None:
            nonlocal written
            for place in range(120):
                await writer.metrics.log(scope, run.id, decode({name: place, "step": place}))
                written += 1

        async def read() -> list[tuple[str, int]]:
            got: list[tuple[str, int]] = []
            async for delta in await other.metrics.follow(scope, run.id, points=10_000):
                assert not delta.reset
                got += [(series.key, step) for series in delta.series for step in series.steps.tolist()]
            return got

        async def kill() -> int:
            killed = 0
            while written < 300:
                killed += await _kill_listeners(database_url)
            return killed

        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            readers = [group.create_task(read()) for _ in range(5)]
            killer = group.create_task(kill())
            await asyncio.gather(*(write(name) for name in ("a", "b", "c")))
            await writer.runs.finish(scope, run.id, status=RunStatus.COMPLETED)
        expected = Counter((name, place) for name in ("a", "b", "c") for place in range(120))
        for reader in readers:
            assert Counter(reader.result()) == expected
        assert killer.result() >= 3
