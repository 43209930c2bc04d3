"""`axonml-server audit`: whether the audit log is what was written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import typer

from server.commands.database import Config, DataDir, database_of, perform

if TYPE_CHECKING:
    from domain.audit import ChainReport
    from server.settings import Settings

app = typer.Typer(help="The audit log.", no_args_is_help=True, rich_markup_mode=None)
_KNOWN: Final = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")
Known = Annotated[
    str | None, typer.Option(help="An end of the chain that was written down before, as `verify` printed it.")
]


@app.callback()
def _group() -> None:
    """The audit log."""


@app.command()
def verify(known: Known = None, data_dir: DataDir = None, config: Config = None) -> None:
    """Walk the chain of the audit log and name the first row that is missing or was changed.

    Exit status 0: every row is as it was written; 1: it is not, or could not be read.
    """
    written = None
    if known is not None:
        found = _KNOWN.fullmatch(known)
        if found is None:
            raise typer.BadParameter("expected NUMBER:HASH, as verify prints it", param_hint="--known")
        written = int(found[1]), bytes.fromhex(found[2])

    async def walk(settings: Settings) -> ChainReport:
        from domain.audit import verify as verified
        from persistence.audit import PostgresAudit

        async with database_of(settings) as database:
            return await verified(PostgresAudit(database), written)

    report = perform(walk, data_dir, config)
    if report.broken is not None:
        typer.echo(f"axonml-server: the audit log is broken: {report.broken}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{report.rows} rows, each as it was written. The end of the chain:")
    typer.echo(f"{report.rows}:{report.head.hex()}")
