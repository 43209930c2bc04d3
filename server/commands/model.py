"""`axonml-server model`: PyTorch modules as architecture documents, and whether stored files are what was uploaded.

`export` and `import` run the caller's own code, in the caller's own process, on the command line. No process of the
server does, and torch is imported by these commands alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.database import Config, DataDir, database_of, perform

if TYPE_CHECKING:
    from domain.models.scrub import Finding, ScrubReport
    from server.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Convert models, and check those of the registry.")
Rate = Annotated[int, typer.Option(min=0, help="Most MiB to read in a second; 0: as fast as the disk is.")]


def _fail(problem: object) -> typer.Exit:
    typer.echo(f"axonml-server: {problem}", err=True)
    return typer.Exit(1)


@app.command()
def export(
    factory: Annotated[str, typer.Argument(help="package.module:name of a module, or of what makes one.")],
    inputs: Annotated[list[str], typer.Option("--input", help="name:dtype:sizes, as in x:float32:3x224x224.")],
    folder: Annotated[Path, typer.Option("--to", help="Where the two files go.")],
    weights: Annotated[Path | None, typer.Option(help="A safetensors file to load into the module first.")] = None,
    outputs: Annotated[list[str] | None, typer.Option("--output", help="A name for each result, in order.")] = None,
) -> None:
    """Write architecture.json and weights.safetensors of an nn.Module. This runs its code."""
    from serving.conversion import ConversionError, export_module, input_spec, save
    from serving.conversion.sources import made

    try:
        exported = export_module(made(factory, weights), [input_spec(text) for text in inputs], outputs or None)
        save(exported, folder)
    except (ConversionError, ImportError, OSError, RuntimeError) as error:
        raise _fail(error) from None
    typer.echo(
        f"{folder}: {len(exported.architecture.nodes)} nodes, {exported.architecture.parameter_count:,} parameters"
    )
    if exported.unused:
        typer.echo(f"left out, because nothing uses them: {', '.join(exported.unused)}")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="Of architecture.json and weights.safetensors.")],
    state_dict: Annotated[Path | None, typer.Option(help="A file for torch.load(..., weights_only=True).")] = None,
) -> None:
    """Build the nn.Module of a document and its weights, and show it (in code: serving.conversion.load)."""
    from safetensors import SafetensorError

    from serving.conversion import ConversionError, load
    from serving.conversion.sources import write_state

    try:
        module = load(folder)
        if state_dict is not None:
            write_state(module, state_dict)
    except (ConversionError, SafetensorError, OSError) as error:
        raise _fail(error) from None
    typer.echo(str(module))


@app.command()
def scrub(rate: Rate = 100, data_dir: DataDir = None, config: Config = None) -> None:
    """Read every stored file and name those that are missing or damaged. A server may run meanwhile.

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
