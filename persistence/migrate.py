"""Brings a database to the tables this release declares, exactly once, however many servers start together.

The runner holds an advisory lock on a connection of its own and applies each file on that very connection,
so losing the lock means losing the change. It never guesses: a database it does not recognise, or one that
a crash left between two states, is refused with instructions.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from persistence import migration_files
from persistence.database import APP, UNUSABLE, Connection, DatabaseUnusable, check_version, unusable
from persistence.migration_files import MigrationFile

if TYPE_CHECKING:
    Link = asyncpg.Connection[asyncpg.Record]

_log = logging.getLogger(__name__)

_LOCK = 0x41584F4E4D4C  # "AXONML"; one database holds one AxonML
_MARK = "axonml: applying "
_APPLIED = "SELECT version FROM aerich WHERE app = $1 ORDER BY id"


class MigrationRefused(DatabaseUnusable):
    """The database is not in a state from which it can be migrated; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Status:
    """Which files are recorded in the database, and which are still to apply, both in order."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]

    @property
    def at_head(self) -> bool:
        """Whether nothing is left to apply."""
        return not self.pending


async def upgrade(dsn: str, location: Path | None = None) -> list[str]:
    """Apply what is missing and verify the result; the files applied by this call (none when another did).

    `location` replaces the folder of the files, for tests. Raises DatabaseUnusable when the database cannot
    be used at all, MigrationRefused when its state is not one this release knows.
    """
    files = await migration_files.read(location)
    async with _locked(dsn) as link:
        status = await _status(link, files)
        for file in files:
            if file.version in status.pending:
                await _apply(link, file)
                _log.info("migrated the database: %s", file.version)
        if location is None:
            await _verify(link)
    return list(status.pending)


async def downgrade(dsn: str, to: int | None = None, location: Path | None = None) -> list[str]:
    """Undo the newest file, or every file with a number above `to` (-1: all); the files undone, newest first.

    Data in what is dropped is lost. Raises as `upgrade` does.
    """
    files = await migration_files.read(location)
    async with _locked(dsn) as link:
        status = await _status(link, files)
        applied = [file for file in files if file.version in status.applied]
        undone = [file for file in reversed(applied) if to is None or file.number > to]
        for file in undone[:1] if to is None else undone:
            if not file.downgrade_sql.strip():
                raise MigrationRefused(f"{file.version} cannot be undone: it says no way back")
            async with link.transaction():
                await link.execute(file.downgrade_sql)
                if await _recorded(link):
                    await link.execute("DELETE FROM aerich WHERE app = $1 AND version = $2", APP, file.version)
            _log.info("undid a migration of the database: %s", file.version)
        return [file.version for file in (undone[:1] if to is None else undone)]


async def status(dsn: str, location: Path | None = None) -> Status:
    """What is applied and what is pending, read without the lock. Raises as `upgrade` does."""
    files = await migration_files.read(location)
    async with _link(dsn) as link:
        return await _status(link, files)


async def at_head(database: Connection) -> bool:
    """Whether the open database has every file of this release (for readiness). Raises Unavailable."""
    if await database.fetchval("SELECT to_regclass('aerich') IS NULL"):
        return False
    return [row["version"] for row in await database.fetch(_APPLIED, APP)] == migration_files.versions()


async def resolve(dsn: str, version: str, *, applied: bool) -> None:
    """Record what a person found out about a file that was cut off: it is now applied, or undone.

    Raises MigrationRefused when no such file was cut off.
    """
    files = {file.version: file for file in await migration_files.read()}
    async with _locked(dsn) as link:
        if version not in files or await _unfinished(link) != version:
            raise MigrationRefused(f"{version} is not a migration that was cut off in this database")
        async with link.transaction():
            if applied:
                await _record(link, files[version])
            await _unmark(link)


@asynccontextmanager
async def _link(dsn: str) -> AsyncIterator[Link]:
    try:
        link = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "axonml migrate"})
    except UNUSABLE as error:
        raise unusable(error) from error
    try:
        check_version(await link.fetchval("SHOW server_version_num"))
        yield link
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise DatabaseUnusable(f"migrating the database failed and changed nothing further: {error}") from error
    finally:
        await link.close(timeout=5)


@asynccontextmanager
async def _locked(dsn: str) -> AsyncIterator[Link]:
    async with _link(dsn) as link:
        await link.execute("SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0")
        if not await link.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            _log.info("waiting for another server that is migrating the database")
            await link.execute("SELECT pg_advisory_lock($1)", _LOCK)
        # Waiting for running queries of other servers is fine; blocking everybody behind us for ever is not.
        await link.execute("SET lock_timeout = '60s'")
        yield link  # closing the connection gives the lock back


async def _status(link: Link, files: list[MigrationFile]) -> Status:
    if not await _recorded(link):
        if strangers := await _own_tables(link):
            raise MigrationRefused(
                f"the database has tables of AxonML ({', '.join(strangers[:5])}) but no record of how they came "
                "there (the table aerich is missing). Restore a backup, or use an empty database."
            )
        return Status((), tuple(file.version for file in files))
    if (unfinished := await _unfinished(link)) is not None:
        raise MigrationRefused(_half_applied(unfinished))
    applied = tuple(row["version"] for row in await link.fetch(_APPLIED, APP))
    known = tuple(file.version for file in files)
    if applied != known[: len(applied)]:
        strange = [version for version in applied if version not in known]
        raise MigrationRefused(
            f"the database was migrated by another release of AxonML (it records {', '.join(strange)}, which this "
            "release does not have). Start that release or a newer one, or restore a backup made before it."
            if strange
            else f"the database records migrations out of order: {', '.join(applied)}, where this release expects "
            f"{', '.join(known)}. Restore a backup."
        )
    return Status(applied, known[len(applied) :])


def _half_applied(version: str) -> str:
    command = "python -m persistence.migrate resolve"
    return (
        f"the migration {version} was cut off while it changed the database outside a transaction, so it may be "
        f"half applied. Back the database up, compare it with the statements in migrations/axonml/{version}, and "
        f"complete or undo them by hand. Then record what you did: `{command} {version} --applied` or "
        f"`{command} {version} --undone`, and start the server again."
    )


async def _apply(link: Link, file: MigrationFile) -> None:
    if file.transactional:
        async with link.transaction():
            await link.execute(file.upgrade_sql)
            await _record(link, file)
        return
    # Such a file (CREATE INDEX CONCURRENTLY) cannot commit together with its record: the mark tells a later
    # start that this one did not get to the end. Its statements run one by one, each by itself.
    await link.execute(f"COMMENT ON TABLE aerich IS '{_MARK}{file.version}'")
    try:
        for statement in (part.strip() for part in file.upgrade_sql.split(";\n")):
            if statement:
                await link.execute(statement)
    except asyncpg.PostgresError as error:
        raise MigrationRefused(f"{_half_applied(file.version)} The reason was: {error}") from error
    async with link.transaction():
        await _record(link, file)
        await _unmark(link)


async def _record(link: Link, file: MigrationFile) -> None:
    await link.execute(
        "INSERT INTO aerich (version, app, content) VALUES ($1, $2, $3::jsonb)", file.version, APP, file.models_state
    )


async def _unmark(link: Link) -> None:
    await link.execute("COMMENT ON TABLE aerich IS NULL")


async def _unfinished(link: Link) -> str | None:
    comment: str | None = await link.fetchval("SELECT obj_description(to_regclass('aerich'), 'pg_class')")
    return comment.removeprefix(_MARK) if comment is not None and comment.startswith(_MARK) else None


async def _recorded(link: Link) -> bool:
    return await link.fetchval("SELECT to_regclass('aerich')") is not None


async def _own_tables(link: Link) -> list[str]:
    declared = await migration_files.declared_columns()
    rows = await link.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY($1) ORDER BY 1",
        sorted(declared),
    )
    return [row["tablename"] for row in rows]


async def _verify(link: Link) -> None:
    """Every declared column must be there, whatever the records say. Raises MigrationRefused."""
    rows = await link.fetch(
        "SELECT table_name, array_agg(column_name::text) AS columns FROM information_schema.columns "
        "WHERE table_schema = current_schema() GROUP BY table_name"
    )
    present = {row["table_name"]: set(row["columns"]) for row in rows}
    missing = [
        f"{table}.{column}"
        for table, columns in (await migration_files.declared_columns()).items()
        for column in sorted(columns - present.get(table, set()))
    ]
    if missing:
        raise MigrationRefused(
            f"the database records every migration of this release but lacks {', '.join(missing[:10])}"
            f"{' and more' if len(missing) > 10 else ''}. It was changed by hand or restored in part: restore a "
            "complete backup. (Developing AxonML? A change in persistence/tables needs `make migration name=...`.)"
        )


def main(arguments: list[str] | None = None) -> int:
    """The command behind `make migration`, and what the instructions above name; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m persistence.migrate", description=__doc__)
    parser.add_argument("--database-url", default=os.environ.get("AXONML_DATABASE_URL"))
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="write a migration from the declared tables; needs no database")
    new.add_argument("name")
    commands.add_parser("check", help="fail when a migration is missing; needs no database")
    commands.add_parser("status", help="what is applied and what is pending")
    commands.add_parser("upgrade", help="apply what is pending")
    back = commands.add_parser("downgrade", help="undo the newest migration; drops data")
    back.add_argument("--to", type=int, help="undo every migration with a greater number (-1: all)")
    settle = commands.add_parser("resolve", help="record the outcome of a migration that was cut off")
    settle.add_argument("version")
    outcome = settle.add_mutually_exclusive_group(required=True)
    outcome.add_argument("--applied", action="store_true")
    outcome.add_argument("--undone", action="store_true")
    options = parser.parse_args(arguments)
    if options.command not in {"new", "check"} and not options.database_url:
        parser.error("name the database: --database-url or AXONML_DATABASE_URL")
    try:
        lines, code = asyncio.run(_run(options))
    except (DatabaseUnusable, ValueError) as error:
        lines, code = [str(error)], 1
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return code


async def _run(options: argparse.Namespace) -> tuple[list[str], int]:
    match options.command:
        case "new":
            path = await migration_files.generate(options.name)
            return [f"wrote {path}" if path else "the tables have not changed; nothing to write"], 0
        case "check":
            same = await migration_files.unchanged()
            return ["no change" if same else "the tables changed: make migration name=what_changed"], int(not same)
        case "status":
            found = await status(options.database_url)
            return [f"applied  {name}" for name in found.applied] + [f"pending  {name}" for name in found.pending], 0
        case "upgrade":
            return await upgrade(options.database_url) or ["nothing to apply"], 0
        case "downgrade":
            return await downgrade(options.database_url, options.to) or ["nothing to undo"], 0
        case _:
            await resolve(options.database_url, options.version, applied=options.applied)
            return [f"recorded {options.version} as {'applied' if options.applied else 'undone'}"], 0


if __name__ == "__main__":
    sys.exit(main())
