"""The database for a command: that of the server that runs, or of the one that does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from server.settings import Settings, SettingsError
from server.settings_sources import load

if TYPE_CHECKING:
    from persistence.database import Database

T = TypeVar("T")

DataDir = Annotated[Path | None, typer.Option(help="Directory of everything the server keeps.")]
Config = Annotated[Path | None, typer.Option(help="TOML file instead of <data>/config.toml.")]
_FIRST: Final = "start the server of this version once, which brings the database up to date"


class CommandError(Exception):
    """A command cannot be carried out; the message is for whoever typed it."""


def perform(work: Callable[[Settings], Awaitable[T]], data_dir: Path | None, config: Path | None) -> T:
    """Runs a command with the server's settings. What goes wrong becomes a line and exit status 1."""
    server: Mapping[str, object] = {} if data_dir is None else {"data_dir": data_dir}
    try:
        return asyncio.run(_run(work, load({"server": server}, config=config)))
    except SettingsError as error:
        problems = error.problems
    except CommandError as error:
        problems = [str(error)]
    for problem in problems:
        typer.echo(f"axonml-server: {problem}", err=True)
    raise typer.Exit(1)


async def _run(work: Callable[[Settings], Awaitable[T]], settings: Settings) -> T:
    from domain.errors import DomainError
    from persistence.database import DatabaseUnusable
    from persistence.postgres import PostgresError
    from server.lock import DataDirectoryError
    from server.security.secrets import RootSecretError

    try:
        return await work(settings)
    except DomainError as error:
        raise CommandError(error.message if error.field is None else f"{error.field}: {error.message}") from None
    except (DatabaseUnusable, PostgresError, DataDirectoryError, RootSecretError) as error:
        raise CommandError(str(error)) from None


@asynccontextmanager
async def database_of(settings: Settings, *, alone: bool = False) -> AsyncIterator[Database]:
    """The server's database, migrated by this version. The bundled one is started if it does not run.

    `alone`: no server may run on the data directory meanwhile. Raises CommandError and what stands in the way.
    """
    from persistence import migrate
    from persistence.database import Database as Pool
    from persistence.database import PoolSettings
    from persistence.postgres import BundledPostgres
    from server import lock

    data = settings.server.data_dir.expanduser().absolute()
    async with AsyncExitStack() as stack:
        if not data.is_dir():
            raise CommandError(f"there is no data directory {data}; pass --data-dir")
        try:
            stack.enter_context(lock.held(data))
            running = False
        except lock.DataDirectoryError as problem:
            if alone:
                raise CommandError(f"stop the server first: {problem}") from None
            running = True
        if settings.database.url is not None:
            dsn = settings.database.url.get_secret_value()
        else:
            if not (data / "postgres").is_dir():
                raise CommandError(f"{data} holds no database; {_FIRST}")
            bundled = BundledPostgres(data / "postgres", start_limit=settings.database.start_seconds)
            if not running:
                stack.push_async_callback(bundled.stop)
            dsn = await bundled.start()
        # Another name than a server's, which some commands look for; and time for statements that people wait for.
        database = await stack.enter_async_context(
            Pool(dsn, PoolSettings(max_size=2, statement_timeout=600, name="command"))
        )
        if not await migrate.at_head(database):
            raise CommandError(f"the database is not at this version; {_FIRST}")
        yield database
