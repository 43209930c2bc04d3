"""Broadcaster's backend on PostgreSQL: one connection that only listens, and the pool for sending.

Broadcaster's own backend shares one connection among everything and never reconnects. This one reconnects for ever,
says after each connect that notices may have been lost (GAP), notices a link that died in silence, and keeps at most
MAX_WAITING notices. It can be subscribed by one reader only.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from typing import Any, Final

import asyncpg
from broadcaster import BroadcastBackend
from broadcaster import Event as Notice

from persistence.database import Database

CHANNEL: Final = "axonml_events"
GAP: Final = "gap"
MAX_WAITING: Final = 10_000
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

log = logging.getLogger("axonml.bus")


class ListenBackend(BroadcastBackend):
    """Listens on CHANNEL over a connection of its own.

    `quiet_seconds` without any notice make it prove the link by a notice to itself, which must come back within
    `reply_seconds`.
    """

    def __init__(
        self, dsn: str, database: Database, *, quiet_seconds: float = 10.0, reply_seconds: float = 5.0
    ) -> None:
        self._dsn = dsn
        self._database = database
        self._quiet_seconds = quiet_seconds
        self._reply_seconds = reply_seconds
        self._echo = f"{CHANNEL}_{secrets.token_hex(8)}"
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._notices: deque[str] = deque()
        self._arrived = asyncio.Event()

    async def connect(self) -> None:
        """Nothing yet: the first `next_published` connects, so that a database that is away stops no start."""

    async def disconnect(self) -> None:
        self._drop()

    async def subscribe(self, group: str) -> None:
        """The channel is fixed."""

    async def unsubscribe(self, group: str) -> None:
        """The channel is fixed."""

    async def publish(self, channel: str, message: Any) -> None:
        """Sends over the pool, outside any transaction. Raises Unavailable, Overloaded or DeadlineExceeded."""
        await self._database.execute("SELECT pg_notify($1, $2)", channel, message)

    async def next_published(self) -> Notice:
        """The next notice; GAP after each connect. Never raises on account of the link."""
        while True:
            if self._connection is None:
                await self._connect()
                return Notice(CHANNEL, GAP)
            if self._notices:
                return Notice(CHANNEL, self._notices.popleft())
            if self._connection.is_closed():
                log.warning("the connection that listens for events was lost")
                self._drop()
                continue
            self._arrived.clear()
            try:
                async with asyncio.timeout(self._quiet_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                await self._prove(self._connection)

    async def _connect(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=self._reply_seconds,
                    command_timeout=self._reply_seconds,
                    server_settings={"application_name": "axonml-events"},
                )
                try:
                    connection.add_termination_listener(self._ended)
                    await connection.add_listener(CHANNEL, self._heard)
                    await connection.add_listener(self._echo, self._echoed)
                except BaseException:
                    connection.terminate()
                    raise
            except _FAILURES as error:
                log.warning("cannot listen for events yet: %s", type(error).__name__)
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._connection = connection
                return

    async def _prove(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(self._reply_seconds):
                await connection.execute("SELECT pg_notify($1, '')", self._echo)
                await self._arrived.wait()
        except _FAILURES:
            log.warning("the connection that listens for events is dead")
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._notices.clear()  # the gap that follows covers them
        if connection is not None:
            connection.terminate()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if len(self._notices) >= MAX_WAITING:
            self._notices.clear()
            payload = GAP
        self._notices.append(str(payload))
        self._arrived.set()

    def _echoed(self, *_: object) -> None:
        self._arrived.set()

    def _ended(self, _connection: object) -> None:
        self._arrived.set()
