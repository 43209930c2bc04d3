"""A Redis server of a test's own, which may be killed and started again without harm to anybody."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support.servers import WAIT, free_port, until

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server here")


@dataclass
class RedisServer:
    """A place for a Redis server that keeps nothing on disk."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def options(self) -> list[str]:
        """Where it listens, and how."""
        return ["--port", str(self.port)]

    async def start(self) -> None:
        """Starts it and waits until it answers."""
        kept = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(["redis-server", *self.options(), *kept], stdout=subprocess.DEVNULL)
        async with self.client() as client:

            async def answers() -> bool:
                try:
                    return bool(await client.ping())
                except (RedisError, OSError):
                    return False

            await until(answers, "Redis did not start")

    async def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends it at once; nothing when it does not run."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            await asyncio.to_thread(process.wait, WAIT)

    def freeze(self) -> None:
        """Its connections stay open, and nothing comes over them any more."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """A client for looking at it."""
        client = Redis.from_url(self.url)
        try:
            yield client
        finally:
            await client.aclose()


@asynccontextmanager
async def redis_server(*, started: bool = True) -> AsyncIterator[RedisServer]:
    """A Redis server on a free port of the loopback, ended with the block."""
    server = RedisServer(free_port())
    try:
        if started:
            await server.start()
        yield server
    finally:
        await server.stop()
