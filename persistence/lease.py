"""Work that only one process per database may do at a time: a session lock on a connection of its own.

The lock goes with its connection, so a holder that dies frees it at once. A holder that is merely cut off from the
database may believe for a moment that it still holds it: what is done under a lease must stay correct then, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from persistence.client import domain_failures

# The numbers of the leases of one database; migrations have a lock of their own.
SEALING: Final = 0x41584F4E53  # "AXONS"


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that was got."""

    connection: asyncpg.Connection[asyncpg.Record]

    @property
    def lasts(self) -> bool:
        """Whether the connection, and the lock with it, is still there as far as this process knows."""
        return not self.connection.is_closed()


class Lease:
    """One lock of a database, by number. Waiting processes ask again every `every` seconds."""

    def __init__(self, dsn: str, number: int, *, name: str, every: float = 5.0, reply_seconds: float = 5.0) -> None:
        self._dsn = dsn
        self._number = number
        self._name = name
        self._every = every
        self._reply_seconds = reply_seconds

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Held]:
        """Waits for the lease and holds it. Raises Unavailable or DeadlineExceeded when the database is away."""
        with domain_failures():
            connection = await asyncpg.connect(
                self._dsn,
                timeout=self._reply_seconds,
                command_timeout=self._reply_seconds,
                server_settings={"application_name": self._name},
            )
        try:
            while not await self._got(connection):  # noqa: ASYNC110 - the other holder is another process
                await asyncio.sleep(self._every)
            yield Held(connection)
        finally:
            connection.terminate()

    async def _got(self, connection: asyncpg.Connection[asyncpg.Record]) -> bool:
        with domain_failures():
            return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._number))
