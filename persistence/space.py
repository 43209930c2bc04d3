"""How much room the disks have: the file systems as the kernel tells, and the tables as PostgreSQL's catalog does.

PostgreSQL's log may grow to its limit at any moment, by a purge for one, so what it has not taken yet is not free.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from domain.errors import DeadlineExceeded
from domain.storage import Place, Space
from persistence.database import Connection
from persistence.postgres.cluster import wal_limit

_ASK_SECONDS: Final = 2.0
# Rows and the room that they need, as of the last VACUUM, plus what was inserted since. A TOAST page holds four pieces;
# a page of another table as many rows as its columns are wide. Tables that were never vacuumed have nothing to reuse.
_REUSABLE: Final = """
    WITH tables AS (
        SELECT c.oid, c.reltoastrelid, 28 + COALESCE((
            SELECT sum(s.avg_width * (1 - s.null_frac)) FROM pg_stats s
            WHERE s.schemaname = current_schema() AND s.tablename = c.relname
        ), 8192) AS width
        FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
    ), parts AS (
        SELECT oid, width FROM tables UNION ALL SELECT reltoastrelid, 2032 FROM tables WHERE reltoastrelid <> 0
    )
    SELECT COALESCE(sum(GREATEST(0,
        pg_relation_size(p.oid) / 8192 - ceil((c.reltuples + s.n_ins_since_vacuum) * p.width / 8128)
    )), 0)::int8 * 8192
    FROM parts p JOIN pg_class c ON c.oid = p.oid JOIN pg_stat_all_tables s ON s.relid = p.oid
    WHERE c.reltuples >= 0
"""


class DiskGauge:
    """Implements `domain.storage.SpaceGauge`. `postgres`: the directory of the bundled server, when that is used."""

    def __init__(self, database: Connection, *, files: Path, postgres: Path | None) -> None:
        self._database = database
        self._files = files
        self._postgres = postgres

    async def read(self) -> Mapping[Place, Space]:
        return await asyncio.to_thread(self._read)

    async def reusable(self) -> int:
        if self._postgres is None:
            return 0
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                return int(await self._database.fetchval(_REUSABLE))
        except TimeoutError as error:
            raise DeadlineExceeded("the database did not answer in time") from error

    def _read(self) -> dict[Place, Space]:
        found: dict[Place, Space] = {}
        with suppress(OSError):
            found[Place.FILES] = file_system(self._files)
        if self._postgres is not None:
            with suppress(OSError, StopIteration):
                found[Place.DATABASE] = _of_database(next(self._postgres.glob("pg[0-9]*")))
        return found


def file_system(path: Path) -> Space:
    """The file system that `path` is on. Raises OSError."""
    disk = os.statvfs(path)
    return Space(disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize)


def _of_database(data: Path) -> Space:
    log = data / "pg_wal"  # on a disk of its own in some installations
    tables, logs = file_system(data), file_system(log)
    to_come = max(0, wal_limit(data) - _size(log))
    if log.stat().st_dev == data.stat().st_dev:
        return Space(tables.total, max(0, tables.free - to_come))
    return min(tables, Space(logs.total, max(0, logs.free - to_come)), key=lambda space: space.free)


def _size(directory: Path) -> int:
    size = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # recycled this moment
                size += entry.stat().st_size if entry.is_file() else 0
    return size
