"""`axonml-server keys` and `secrets`: other signing keys, another root secret."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.database import CommandError, Config, DataDir, database_of, perform

if TYPE_CHECKING:
    from server.settings import Settings

keys = typer.Typer(help="The keys that sign access tokens.", no_args_is_help=True, rich_markup_mode=None)
secrets = typer.Typer(help="The root secret.", no_args_is_help=True, rich_markup_mode=None)
New = Annotated[
    Path | None, typer.Option(help="File with the new secret, where it is given by JWT_SECRET or AXONML_SECRET_KEY.")
]


@keys.callback()
def _keys() -> None:
    """The keys that sign access tokens."""


@secrets.callback()
def _secrets() -> None:
    """The root secret."""


@keys.command("rotate")
def rotate_key(data_dir: DataDir = None, config: Config = None) -> None:
    """Sign access tokens with a new key from now on.

    Running servers take it up within half a minute. The old key is good for the tokens it has signed until they end.
    """

    async def work(settings: Settings) -> str:
        from server.security.rotation import rotate_signing_key
        from server.security.secrets import open_vault

        async with database_of(settings) as database:
            secret = settings.auth.jwt_secret
            data = settings.server.data_dir.expanduser().absolute()
            vault = open_vault(None if secret is None else secret.get_secret_value(), data)
            return await rotate_signing_key(database, vault)

    typer.echo(f"access tokens are signed with {perform(work, data_dir, config)} from now on")


@secrets.command("rotate")
def rotate_root(new: New = None, data_dir: DataDir = None, config: Config = None) -> None:
    """Seal everything secret under a new root secret. Every server of the database must be stopped.

    Nobody is signed out. Cut off at any moment, it is finished or undone by running it again or by the next start.
    """

    async def work(settings: Settings) -> Path | None:
        from server.security.rotation import rotate_root_secret, rotate_root_setting
        from server.settings import check_secret

        data = settings.server.data_dir.expanduser().absolute()
        secret = settings.auth.jwt_secret
        if (secret is None) is not (new is None):
            raise CommandError(
                "the root secret is given by a setting: pass its successor by --new"
                if new is None
                else "the root secret is the file 'secret' of the data directory: its successor is made, not passed"
            )
        async with database_of(settings, alone=True) as database:
            if secret is None or new is None:
                return await rotate_root_secret(database, data)
            try:
                text = new.read_text(encoding="utf-8").strip()
                check_secret(text)
            except OSError as problem:
                raise CommandError(f"cannot read {new}: {problem.strerror}") from None
            except ValueError as problem:  # also of what is no text
                raise CommandError(f"{new}: {problem}") from None
            await rotate_root_setting(database, secret.get_secret_value(), text)
            return None

    written = perform(work, data_dir, config)
    if written is None:
        typer.echo("done: start the servers with the new secret in JWT_SECRET or AXONML_SECRET_KEY")
    else:
        typer.echo(f"done: {written} holds the new root secret; put a copy where your backups of it are")
