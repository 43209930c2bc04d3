"""`axonml-server admin ...`: what the operator of a server does to accounts, on the database that the server uses.

The server may run meanwhile: its processes notice within a second. The bundled PostgreSQL is joined where it runs, and
never started here. Passwords come from a prompt or from standard input, for arguments are seen by every process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from domain.errors import DomainError
from server.settings import Settings, SettingsError
from server.settings_sources import load

if TYPE_CHECKING:
    from domain.identity.operator import Operator

T = TypeVar("T")

app = typer.Typer(help="Manage accounts on the server's database, also while it runs.", no_args_is_help=True)
_LONGEST: Final = 4_096
Email = Annotated[str, typer.Argument(help="Address of the account.")]


@dataclass(frozen=True, slots=True)
class Given:
    """What stands before the command: settings by section, and the TOML file."""

    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    config: Path | None = None


class CommandError(Exception):
    """The command cannot run; the message is for the person who ran it."""


@app.command()
def create(
    context: typer.Context, email: Email, name: Annotated[str | None, typer.Option(help="Display name.")] = None
) -> None:
    """Make an administrator; on a server without users, the first one."""
    password = _password()
    made = _run(context, "adminCreate", lambda operator: operator.create(email, password, name=name))
    typer.echo(f"{made.email} is an administrator now ({made.id})")


@app.command()
def reset_password(
    context: typer.Context,
    email: Email,
    drop_factors: Annotated[
        bool, typer.Option("--drop-factors", help="Remove second factors and recovery codes as well.")
    ] = False,
) -> None:
    """Set another password, which must be changed at the next sign-in, and end every session."""
    password = _password()
    changed = _run(
        context,
        "adminResetPassword",
        lambda operator: operator.reset_password(email, password, drop_factors=drop_factors),
    )
    typer.echo(f"{changed.email} signs in with this password now, and must change it first")


@app.command()
def unlock(context: typer.Context, email: Email) -> None:
    """Switch an account on again, and forget its wrong passwords and codes."""
    changed = _run(context, "adminUnlock", lambda operator: operator.unlock(email))
    typer.echo(f"{changed.email} can sign in")


@app.command()
def sessions(
    context: typer.Context,
    email: Email,
    end: Annotated[bool, typer.Option("--end", help="End all of them.")] = False,
) -> None:
    """List the sessions of an account: id, opened, last used, address, program."""
    for one in _run(context, "adminSessions", lambda operator: operator.sessions(email)):
        opened, seen = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (one.created_at, one.last_seen_at))
        typer.echo("\t".join((one.id, opened, seen, one.address or "-", one.user_agent or "-")))
    if end:
        _run(context, "adminSessionsEnd", lambda operator: operator.end_sessions(email))
        typer.echo("all of them are ended", err=True)


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    line = sys.stdin.readline(_LONGEST).rstrip("\r\n")
    if not line:
        raise _fail(["no password: write it to standard input, as its first line"])
    return line


def _run(context: typer.Context, action: str, work: Callable[[Operator], Awaitable[T]]) -> T:
    from persistence.database import DatabaseUnusable
    from persistence.postgres import PostgresError
    from server.security.secrets import RootSecretError

    given = context.obj if isinstance(context.obj, Given) else Given()
    try:
        return asyncio.run(_done(load(given.overrides, config=given.config), action, work))
    except SettingsError as error:
        raise _fail(error.problems) from None
    except (CommandError, DomainError, DatabaseUnusable, PostgresError, RootSecretError) as error:
        raise _fail([str(error)]) from None
    except PermissionError as error:
        raise _fail([f"cannot read {error.filename}; run this as the user who runs the server"]) from None


async def _done(settings: Settings, action: str, work: Callable[[Operator], Awaitable[T]]) -> T:
    """Does the work on the server's database, as an event of its audit log."""
    from domain import audit
    from domain.clock import SystemClock
    from persistence import migrate
    from persistence.audit import PostgresAudit
    from persistence.database import Database, PoolSettings
    from persistence.postgres import BundledPostgres
    from server.process import POSTGRES_DIRECTORY
    from server.security.opening import identity_opened
    from server.security.secrets import FILE_NAME

    data = settings.server.data_dir.expanduser().absolute()
    url = settings.database.url
    dsn = BundledPostgres(data / POSTGRES_DIRECTORY).join() if url is None else url.get_secret_value()
    if settings.auth.jwt_secret is None and not (data / FILE_NAME).exists():
        raise CommandError(f"{data} holds no root secret; pass the data directory of the server by --data-dir")
    async with Database(dsn, PoolSettings(max_size=2)) as database:
        if not await migrate.at_head(database):
            raise CommandError("the database is not at this version's migrations; start the server first")
        async with (
            identity_opened(database, settings.auth, data, SystemClock()) as identity,
            audit.during(PostgresAudit(database), audit.Event(action, "command line")),
        ):
            return await work(identity.operator)


def _fail(problems: list[str]) -> typer.Exit:
    for problem in problems:
        typer.echo(f"axonml-server: {problem}", err=True)
    return typer.Exit(1)
