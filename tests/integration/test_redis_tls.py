"""The bus on a Redis that speaks TLS: events arrive, restarts are survived, and a stranger's certificate is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain import ids
from domain.errors import Unavailable
from domain.events import MetricsAppended, RunChanged
from persistence.database import Database
from persistence.listener import CHANNEL
from persistence.redis_bus import RedisBus
from tests.support.hearing import Ear
from tests.support.live import process
from tests.support.redis_tls import TlsRedis, speaks_tls, tls_redis
from tests.support.servers import until

pytestmark = pytest.mark.skipif(not speaks_tls(), reason="there is no redis-server with TLS here")


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[TlsRedis]:
    async with tls_redis(tmp_path) as server:
        yield server


async def test_events_travel_over_tls_and_a_restart_is_a_gap(database: Database, redis: TlsRedis) -> None:
    async with (
        process(database, redis.url, redis=True) as one,
        process(database, redis.url, redis=True) as two,
    ):
        here, there = Ear(one.bus), Ear(two.bus)
        await here.connected()
        await there.connected()
        first, second = MetricsAppended(ids.new("run"), 7), RunChanged(ids.new("run"))
        one.bus.publish(first)
        await there.until(lambda heard: first in heard)
        there.heard.clear()
        await redis.stop()
        await redis.start()
        await there.until(lambda heard: None in heard)
        await here.until(lambda heard: None in heard)
        one.bus.publish(second)
        await there.until(lambda heard: second in heard)
        assert here.heard[-1] == second


async def test_a_certificate_of_an_unknown_authority_is_refused(
    redis: TlsRedis, caplog: pytest.LogCaptureFixture
) -> None:
    backend = RedisBus(redis.unverified_url)
    listening = asyncio.ensure_future(backend.next_published())
    try:
        await until(lambda: "cannot listen for events on Redis yet" in caplog.text, "it did not try")
        assert not listening.done()
        with pytest.raises(Unavailable):
            await backend.publish(CHANNEL, "x")
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        await backend.disconnect()
