"""Broadcaster's Redis backend, made safe to build on: it carries the same notices as the one on PostgreSQL.

Broadcaster's own never notices that its reader died, reconnects behind its own back without saying that notices were
lost, may go to sleep for good right after it has subscribed, and queues without bound. This one takes a new link
whenever the old one fails or falls silent, says GAP after each one is truly subscribed, and keeps at most MAX_WAITING
notices. The URL may hold a password, so nothing here may log or raise it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from contextlib import suppress
from typing import Any, Final

from broadcaster import BroadcastBackend
from broadcaster import Event as Notice
from broadcaster._backends.redis import RedisBackend
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from domain.errors import Unavailable
from persistence.listener import CHANNEL, GAP, MAX_WAITING

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_FAILURES: Final = (OSError, TimeoutError, RedisError)

log = logging.getLogger("axonml.bus")


class _Notices(asyncio.Queue[Notice]):
    """What a link has received and nobody has taken yet; too much of it becomes one GAP."""

    async def put(self, item: Notice) -> None:
        if self.qsize() >= MAX_WAITING:
            while not self.empty():
                self.get_nowait()
            item = Notice(CHANNEL, GAP)
        self.put_nowait(item)


class _Link(RedisBackend):
    """One connection's life on Broadcaster's backend: it is never mended, only replaced."""

    def __init__(self, client: Redis) -> None:
        # Not Broadcaster's own constructor: its client takes no other retry than one that hides a lost link.
        self._conn = client
        self._pubsub = client.pubsub()
        self._ready = asyncio.Event()
        self._queue = _Notices()
        self._listener: asyncio.Task[None] | None = None

    @property
    def reader(self) -> asyncio.Task[None]:
        """Broadcaster's task that reads the connection. It ends with the connection."""
        if self._listener is None:
            raise RuntimeError("the link is not connected")
        return self._listener

    @property
    def waiting(self) -> bool:
        """Whether a notice is there to be taken."""
        return not self._queue.empty()

    async def subscribe(self, channel: str) -> None:
        """Subscribes and waits until Redis has confirmed it; only then may the reader begin."""
        await self._pubsub.subscribe(channel)
        while True:
            answer = await self._pubsub.get_message(timeout=None)
            if answer is not None and answer["type"] == "subscribe" and answer["channel"] == channel.encode():
                return

    def read(self) -> None:
        """Lets the reader begin. Before the subscription it would find nothing to read, and sleep for ever."""
        self._ready.set()

    async def disconnect(self) -> None:
        reader, self._listener = self._listener, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait((reader,))
            if not reader.cancelled():
                reader.exception()  # it is why the link is replaced; seen here, so that asyncio does not report it
        with suppress(*_FAILURES):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]  # so it is in redis-py
        with suppress(*_FAILURES):
            await self._conn.aclose()


class RedisBus(BroadcastBackend):
    """Listens on CHANNEL of a Redis server; `url` is `redis://…` or `rediss://…`.

    `quiet_seconds` without any notice make it prove the link by a notice to itself, which must come back within
    `reply_seconds`. Raises ValueError on construction when the URL cannot be used.
    """

    def __init__(self, url: str, *, quiet_seconds: float = 10.0, reply_seconds: float = 5.0) -> None:
        self._url = url
        self._quiet_seconds = quiet_seconds
        self._reply_seconds = reply_seconds
        self._echo = f"{CHANNEL}_{secrets.token_hex(8)}"
        self._link: _Link | None = None
        try:
            self._client().connection_pool.make_connection()  # type: ignore[no-untyped-call]  # so it is in redis-py
        except (TypeError, ValueError, RedisError):
            # The reason may repeat a part of the URL.
            raise ValueError("not a URL that Redis understands (redis://user:password@host:6379/0)") from None

    def _client(self) -> Redis:
        return Redis.from_url(
            self._url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=self._reply_seconds, socket_keepalive=True
        )

    async def connect(self) -> None:
        """Nothing yet: the first `next_published` connects, so that a Redis that is away stops no start."""

    async def disconnect(self) -> None:
        await self._drop()

    async def subscribe(self, group: str) -> None:
        """The channel is fixed."""

    async def unsubscribe(self, group: str) -> None:
        """The channel is fixed."""

    async def publish(self, channel: str, message: Any) -> None:
        """Sends. Raises Unavailable when it is not known that Redis took it."""
        link = self._link
        if link is None:
            raise Unavailable("the event bus is away")
        try:
            async with asyncio.timeout(self._reply_seconds):
                await link.publish(channel, message)
        except _FAILURES as error:
            raise Unavailable("the event bus is away") from error

    async def next_published(self) -> Notice:
        """The next notice; GAP after each connect. Never raises on account of the link."""
        while True:
            if self._link is None:
                self._link = await self._connected()
                return Notice(CHANNEL, GAP)
            notice = await self._received(self._link, self._quiet_seconds)
            if notice is not None and notice.channel == CHANNEL:
                return notice
            if self._link.reader.done():
                log.warning("the connection to Redis that listens for events was lost")
                await self._drop()
            elif notice is None and (notice := await self._prove(self._link)) is not None:
                return notice

    async def _received(self, link: _Link, seconds: float) -> Notice | None:
        """The next notice of a link; None when none comes in time, or none can come any more."""
        if link.waiting:
            return await link.next_published()
        coming = asyncio.ensure_future(link.next_published())
        try:
            await asyncio.wait((coming, link.reader), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        finally:
            coming.cancel()

    async def _prove(self, link: _Link) -> Notice | None:
        """Drops a link on which a notice to ourselves does not come back; whatever else came is handed on."""
        try:
            async with asyncio.timeout(self._reply_seconds):
                await link.publish(self._echo, "")
        except _FAILURES:
            notice = None
        else:
            notice = await self._received(link, self._reply_seconds)
        if notice is None:
            log.warning("the connection to Redis that listens for events is dead")
            await self._drop()
            return None
        return notice if notice.channel == CHANNEL else None

    async def _connected(self) -> _Link:
        """A new link, subscribed; tried until there is one."""
        pause = _FIRST_PAUSE
        while True:
            link = _Link(self._client())
            try:
                async with asyncio.timeout(self._reply_seconds):
                    await link.connect()
                    await link.subscribe(CHANNEL)
                    await link.subscribe(self._echo)
            except _FAILURES as error:
                await link.disconnect()
                log.warning("cannot listen for events on Redis yet: %s", type(error).__name__)
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, _LONGEST_PAUSE)
            except BaseException:
                await link.disconnect()
                raise
            else:
                link.read()
                return link

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.disconnect()
