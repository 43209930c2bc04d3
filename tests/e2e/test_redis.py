"""Two real servers that tell each other over Redis what happened: without Redis, with it, and while it restarts."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx

from tests.support.redis import RedisServer, needs_redis, redis_server
from tests.support.servers import SECRET, Server, server, until
from tests.support.watching import METRICS, Watch

pytestmark = needs_redis

RESTARTS = 2
BATCHES_BETWEEN = 15


async def test_servers_start_without_redis_and_its_restarts_lose_and_repeat_no_point(
    folder: Path, database_url: str
) -> None:
    async with redis_server(started=False) as redis, AsyncExitStack() as stack:
        shared = {"AXONML_DATABASE_URL": database_url, "JWT_SECRET": SECRET, "AXONML_BROADCAST_URL": redis.url}
        places = [server(folder, name=name, environment=shared) for name in ("a", "b")]
        first, second = await asyncio.gather(*(stack.enter_async_context(each) for each in places))
        await redis.start()
        await until(lambda: _subscribers(redis), "the servers did not find Redis")
        run = await first.run()
        watch = Watch(second, METRICS, run)
        following = asyncio.create_task(watch.follow())
        await until(lambda: watch.messages > 0, "the subscription did not begin")
        steps = await _log_while_redis_restarts(first, run, redis)
        await first.rest("POST", f"/api/training/runs/{run}/finish", json={"status": "completed"})
        async with asyncio.timeout(30):
            await following
        assert watch.points("loss") == [(step, step / 2) for step in range(steps)]
        assert (watch.connections, watch.status) == (1, "COMPLETED")


async def _subscribers(redis: RedisServer) -> bool:
    async with redis.client() as client:
        return len([one for one in await client.client_list() if one["sub"] == "2"]) == 2


async def _log_while_redis_restarts(place: Server, run: str, redis: RedisServer) -> int:
    """Writes point after point through restarts of Redis; how many were acknowledged."""
    steps = 0
    over = asyncio.Event()

    async def write(http: httpx.AsyncClient) -> None:
        nonlocal steps
        while not over.is_set():
            answer = await http.post(f"/api/training/runs/{run}/metrics", json={"loss": steps / 2, "step": steps})
            assert answer.status_code == 200, answer.text
            steps += 1

    async def some_more() -> None:
        enough = steps + BATCHES_BETWEEN
        await until(lambda: steps >= enough, "the writer stopped")

    async with place.http() as http, asyncio.TaskGroup() as group:
        group.create_task(write(http))
        for _ in range(RESTARTS):
            await some_more()
            await redis.stop()
            await some_more()
            await redis.start()
        await until(lambda: _subscribers(redis), "the servers did not come back to Redis")
        await some_more()
        over.set()
    return steps
