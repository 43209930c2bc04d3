"""The bus on Redis: the same promises as on PostgreSQL, whatever happens to the Redis server."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator

import pytest
from broadcaster import Event as Notice

from domain import ids
from domain.errors import Unavailable
from domain.events import Event, LogsAppended, MetricsAppended, RunChanged
from domain.metrics import decode
from domain.runs import RunStatus
from persistence.bus import BroadcastBus
from persistence.database import Database
from persistence.listener import CHANNEL, GAP, MAX_WAITING
from persistence.redis_bus import RedisBus
from server.supervision import Supervisor
from tests.support.hearing import Ear
from tests.support.live import process
from tests.support.redis import RedisServer, needs_redis, redis_server
from tests.support.servers import until

pytestmark = needs_redis


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with redis_server() as server:
        yield server


async def test_events_reach_other_processes_each_once_over_redis_alone(database: Database, redis: RedisServer) -> None:
    async with (
        process(database, redis.url, redis=True) as one,
        process(database, redis.url, redis=True) as two,
    ):
        here, there = Ear(one.bus), Ear(two.bus)
        await here.connected()
        await there.connected()
        run, other = ids.new("run"), ids.new("run")
        sent: list[Event] = [MetricsAppended(run, 1), RunChanged(run), LogsAppended(other, 2**62), RunChanged(other)]
        for event in sent:
            one.bus.publish(event)
        await there.until(lambda heard: len(heard) >= len(sent))
        two.bus.publish(RunChanged(run))
        await here.until(lambda heard: len(heard) > len(sent))
        assert Counter(there.heard[: len(sent)]) == Counter(sent)
        assert here.heard == [*sent, RunChanged(run)]  # nothing of its own came back
        listening = await database.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'axonml-events'"
            " AND datname = current_database()"
        )
        assert listening == 0


async def test_a_redis_that_comes_late_or_goes_is_waited_for_and_each_return_is_a_gap(database: Database) -> None:
    async with (
        redis_server(started=False) as redis,
        process(database, redis.url, redis=True) as one,
        process(database, redis.url, redis=True) as two,
    ):
        here, there = Ear(one.bus), Ear(two.bus)
        early = ids.new("run")
        one.bus.publish(RunChanged(early))
        assert here.heard == [RunChanged(early)], "its own process needs no Redis"
        with pytest.raises(Unavailable):
            await one.backend.publish(CHANNEL, "x")
        for _ in range(3):
            await redis.start()
            # What was sent before the other one had subscribed again is lost on Redis: the gap stands for it.
            await here.until(lambda heard: None in heard)
            await there.connected()
            run = ids.new("run")
            one.bus.publish(RunChanged(run))
            await there.until(lambda heard, sent=run: RunChanged(sent) in heard)  # type: ignore[misc]  # bound now
            here.heard.clear()
            there.heard.clear()
            await redis.stop()
            one.bus.publish(RunChanged(early))


async def test_a_link_that_died_in_silence_is_noticed_and_a_quiet_one_is_left_alone(redis: RedisServer) -> None:
    backend = RedisBus(redis.url, quiet_seconds=0.05, reply_seconds=0.5)
    bus = BroadcastBus(backend)
    ear = Ear(bus)
    async with Supervisor() as supervisor, redis.client() as looking:
        supervisor.keep("receive", bus.receive)
        await ear.connected()
        link = backend._link

        async def proven() -> bool:
            stats = await looking.info("commandstats")
            return bool(stats.get("cmdstat_publish", {}).get("calls", 0) >= 5)

        await until(proven, "the quiet link was not proven")
        assert backend._link is link, "it was proven, not replaced"
        assert ear.heard == []
        redis.freeze()
        await until(lambda: backend._link is not link, "the silent link was kept")
        with pytest.raises(Unavailable):
            await backend.publish(CHANNEL, "x")
        redis.thaw()
        await ear.connected()
        assert backend._link is not None


async def test_a_reader_too_slow_for_the_channel_is_told_of_a_gap(redis: RedisServer) -> None:
    backend = RedisBus(redis.url)
    assert (await backend.next_published()).message == GAP
    link = backend._link
    assert link is not None
    numbers = [str(number) for number in range(MAX_WAITING + 10)]
    async with redis.client() as other:
        pipe = other.pipeline(transaction=False)
        for number in numbers:
            pipe.publish(CHANNEL, number)
        await pipe.execute()
    queue: deque[Notice] = link._queue._queue  # type: ignore[attr-defined]  # asyncio's
    await until(lambda: bool(queue) and queue[-1].message == numbers[-1], "not everything arrived")
    got = [(await backend.next_published()).message for _ in range(len(queue))]
    assert got == [GAP, *numbers[-len(got) + 1 :]]
    assert len(got) == 10, "the gap stands for everything before it, and for the one that was too many"
    await backend.disconnect()
    async with redis.client() as other:
        assert [client for client in await other.client_list() if client["sub"] != "0"] == []


async def test_a_dead_broadcaster_task_ends_the_receiver_and_a_new_one_works(redis: RedisServer) -> None:
    bus, sender = BroadcastBus(RedisBus(redis.url)), BroadcastBus(RedisBus(redis.url))
    ear = Ear(bus)
    receiving = asyncio.ensure_future(bus.receive())
    await ear.connected()
    bus._broadcast._listener_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    async with Supervisor() as supervisor:
        supervisor.keep("receive", bus.receive)
        supervisor.keep("other: receive", sender.receive)
        supervisor.keep("other: send", sender.send)
        await ear.connected()
        run = ids.new("run")
        sender.publish(RunChanged(run))
        await ear.until(lambda heard: RunChanged(run) in heard)
    async with redis.client() as looking:
        assert [client for client in await looking.client_list() if client["sub"] != "0"] == []


@pytest.mark.parametrize("url", ["redis://h:1/0?no_such_option=1", "http://h"])
def test_a_url_that_redis_does_not_understand_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL that Redis understands") as refused:
        RedisBus(url)
    assert url not in str(refused.value)


async def test_restarting_redis_under_load_loses_and_repeats_nothing(database: Database, redis: RedisServer) -> None:
    async with (
        process(database, redis.url, redis=True) as writer,
        process(database, redis.url, redis=True) as other,
    ):
        scope = await writer.scope()
        run = await writer.runs.create(scope)
        written = 0
        restarted = asyncio.Event()

        async def write(name: str) -> int:
            """Writes until Redis was restarted often enough, and some more."""
            nonlocal written
            place = 0
            rest = 40
            while rest:
                await writer.metrics.log(scope, run.id, decode({name: place, "step": place}))
                written += 1
                place += 1
                rest -= restarted.is_set()
            return place

        async def read() -> list[tuple[str, int]]:
            got: list[tuple[str, int]] = []
            async for delta in await other.metrics.follow(scope, run.id, points=10_000):
                assert not delta.reset
                got += [(series.key, step) for series in delta.series for step in series.steps.tolist()]
            return got

        async def some_more() -> None:
            enough = written + 20
            await until(lambda: written >= enough, "the writers stopped")

        async def restart() -> None:
            for _ in range(3):
                await some_more()
                await redis.stop()
                await some_more()
                await redis.start()
            restarted.set()

        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            readers = [group.create_task(read()) for _ in range(5)]
            group.create_task(restart())
            counts = dict(zip("abc", await asyncio.gather(*(write(name) for name in "abc")), strict=True))
            await writer.runs.finish(scope, run.id, status=RunStatus.COMPLETED)
        expected = Counter((name, place) for name, count in counts.items() for place in range(count))
        for reader in readers:
            assert Counter(reader.result()) == expected
