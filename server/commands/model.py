"""`axonml-server model`: from a PyTorch module to an architecture document, and back.

It runs the caller's own code, in the caller's own process, on the command line. No process of the server does, and
torch is imported by these commands alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Write models as architecture documents, and read them back.")


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
