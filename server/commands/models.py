"""`axonml-server models`: whether the files of the registry are what was uploaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.database import Config, DataDir, database_of, perform

if TYPE_CHECKING:
    from domain.models.scrub import Finding, ScrubReport
    from server.settings import Settings

app = typer.Typer(help="The model registry.", no_args_is_help=True, rich_markup_mode=None)
Rate = Annotated[int, typer.Option(min=0, help="Most MiB to read in a second; 0: as fast as the disk is.")]


@app.callback()
def _group() -> None:
    """The model registry."""


@app.command()
def scrub(rate: Rate = 100, data_dir: DataDir = None, config: Config = None) -> None:
    """Read every file of the registry and name those that are missing or damaged. A server may run meanwhile.

    Exit status 0: every version has its bytes; 1: one has not, or it could not be found out.
    """

    async def walk(settings: Settings) -> ScrubReport:
        from domain.models.scrub import Pace
        from domain.models.scrub import scrub as scrubbed
        from persistence.blobs import LocalBlobs
        from persistence.models.references import PostgresReferences
        from server.compose import BLOBS

        async with database_of(settings) as database:
            files = LocalBlobs(settings.server.data_dir.expanduser().absolute() / BLOBS)
            pace = Pace(rate * 2**20 if rate else None)
            return await scrubbed(files, PostgresReferences(database), pace, _tell)

    report = perform(walk, data_dir, config)
    typer.echo(f"{report.files} files, {report.bytes} bytes read; {len(report.findings)} missing or damaged.")
    if report.unreferenced:
        typer.echo(f"{len(report.unreferenced)} files belong to no version; the server removes them after a while.")
    if not report.sound:
        raise typer.Exit(1)


def _tell(finding: Finding) -> None:
    needed_by = ", ".join(finding.needed_by)
    typer.echo(f"{finding.fault.value} {finding.sha256}: {finding.detail}; needed by {needed_by}", err=True)
