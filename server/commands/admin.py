"""`axonml-server admin`: what the operator of a server does to accounts, whether it runs or not.

Processes that run notice within a second. Passwords come from a prompt or from standard input, for arguments are seen
by every process.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from server.commands.database import CommandError, Config, DataDir, database_of, perform

if TYPE_CHECKING:
    from domain.identity import Session
    from domain.identity.operator import Operator
    from server.settings import Settings

T = TypeVar("T")

app = typer.Typer(help="Accounts.", no_args_is_help=True, rich_markup_mode=None)
_LONGEST: Final = 4_096
Email = Annotated[str, typer.Argument(help="Address of the account.")]
Name = Annotated[str | None, typer.Option(help="Display name; the part of the address before the @ when left out.")]
DropFactors = Annotated[bool, typer.Option("--drop-factors", help="Remove second factors and recovery codes as well.")]
End = Annotated[bool, typer.Option("--end", help="End all of them.")]


@app.callback()
def _group() -> None:
    """Accounts."""


@app.command()
def create(email: Email, name: Name = None, data_dir: DataDir = None, config: Config = None) -> None:
    """Make an administrator; on a server without users the first one, which sets it up."""
    password = _password()
    made = _done("adminCreate", lambda operator: operator.create(email, password, name=name), data_dir, config)
    typer.echo(f"{made.email} is an administrator now")


@app.command()
def reset_password(
    email: Email, drop_factors: DropFactors = False, data_dir: DataDir = None, config: Config = None
) -> None:
    """Set another password, which must be changed after the next sign-in, and end every session."""
    password = _password()
    changed = _done(
        "adminResetPassword",
        lambda operator: operator.reset_password(email, password, drop_factors=drop_factors),
        data_dir,
        config,
    )
    typer.echo(f"{changed.email} signs in with this password now, and must change it first")


@app.command()
def unlock(email: Email, data_dir: DataDir = None, config: Config = None) -> None:
    """Switch an account on again, and forget its wrong passwords and codes."""
    changed = _done("adminUnlock", lambda operator: operator.unlock(email), data_dir, config)
    typer.echo(f"{changed.email} can sign in")


@app.command()
def sessions(email: Email, end: End = False, data_dir: DataDir = None, config: Config = None) -> None:
    """List the sessions of an account: id, opened, last used, address, program."""

    async def work(operator: Operator) -> list[Session]:
        found = await operator.sessions(email)
        if end:
            await operator.end_sessions(email)
        return found

    for one in _done("adminSessions", work, data_dir, config):
        opened, seen = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (one.created_at, one.last_seen_at))
        typer.echo("\t".join((one.id, opened, seen, one.address or "-", one.user_agent or "-")))
    if end:
        typer.echo("all of them are ended", err=True)


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    line = sys.stdin.readline(_LONGEST).rstrip("\r\n")
    if not line:
        typer.echo("axonml-server: no password: write it to standard input, as its first line", err=True)
        raise typer.Exit(1)
    return line


def _done(action: str, work: Callable[[Operator], Awaitable[T]], data_dir: Path | None, config: Path | None) -> T:
    """Does the work on the server's database, as an event of its audit log."""

    async def operate(settings: Settings) -> T:
        from domain import audit
        from domain.clock import SystemClock
        from persistence.audit import PostgresAudit
        from server.security.opening import identity_opened
        from server.security.secrets import FILE_NAME

        data = settings.server.data_dir.expanduser().absolute()
        async with database_of(settings) as database:
            if settings.auth.jwt_secret is None and not (data / FILE_NAME).exists():
                raise CommandError(f"{data} holds no root secret; pass the data directory of the server by --data-dir")
            async with (
                identity_opened(database, settings.auth, data, SystemClock()) as identity,
                audit.during(PostgresAudit(database), audit.Event(action, "command line")),
            ):
                return await work(identity.operator)

    return perform(operate, data_dir, config)
