"""Making deleted rows' room usable again at once where the disk is short of it.

PostgreSQL does this by itself when a fifth of a table is dead, and without hurry. Somebody who purges runs on a full
disk waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import asyncpg

from domain.errors import DeadlineExceeded, Unavailable
from domain.storage import Place, Storage
from persistence.client import domain_failures

log = logging.getLogger("axonml.storage")

_LOOK_EVERY: Final = 3.0
_DEAD_ROWS: Final = 1_000
_REPLY_SECONDS: Final = 5.0
# Their own rows and those of their TOAST tables, as far as PostgreSQL's statistics know.
_WASTEFUL: Final = """
    SELECT format('%I', c.relname) FROM pg_class c
    WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND (
        SELECT sum(s.n_dead_tup) FROM pg_stat_all_tables s WHERE s.relid IN (c.oid, c.reltoastrelid)
    ) > $1
    ORDER BY c.relname
"""


class Reclaimer:
    """Vacuums what has many dead rows for as long as the disk of the database is low. Keep `run` running."""

    def __init__(self, dsn: str, storage: Storage) -> None:
        self._dsn = dsn
        self._storage = storage

    async def run(self) -> None:
        """For ever. A database that is away is waited for."""
        while True:
            if self._storage.low(Place.DATABASE):
                try:
                    await self.reclaim()
                except (Unavailable, DeadlineExceeded, asyncpg.PostgresError) as error:
                    log.warning("dead rows could not be removed: %s", type(error).__name__)
            await asyncio.sleep(_LOOK_EVERY)

    async def reclaim(self) -> list[str]:
        """Vacuums every table with many dead rows; their names."""
        with domain_failures():
            connection = await asyncpg.connect(
                self._dsn, timeout=_REPLY_SECONDS, server_settings={"application_name": "axonml-reclaim"}
            )
        try:
            with domain_failures():
                tables = [str(row[0]) for row in await connection.fetch(_WASTEFUL, _DEAD_ROWS)]
                for table in tables:
                    await connection.execute(f"VACUUM (ANALYZE) {table}")
                    log.info("made the room of deleted rows usable again: %s", table)
        finally:
            connection.terminate()
        return tables
