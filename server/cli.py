"""The command `axonml-server`: options into settings, failures into one line and an exit status.

Exit status 0: stopped as asked. 1: could not start; standard error says why. 2: wrong usage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.commands import admin, audit, model, secrets
from server.settings import SettingsError
from server.settings_sources import load

app = typer.Typer(add_completion=False, no_args_is_help=False, rich_markup_mode=None, pretty_exceptions_enable=False)

app.add_typer(admin.app, name="admin")
app.add_typer(audit.app, name="audit")
app.add_typer(model.app, name="model")
app.add_typer(secrets.keys, name="keys")
app.add_typer(secrets.secrets, name="secrets")


def _say(text: str) -> None:
    typer.echo(text)


def _fail(problems: list[str]) -> typer.Exit:
    for problem in problems:
        typer.echo(f"axonml-server: {problem}", err=True)
    return typer.Exit(1)


@app.callback(invoke_without_command=True)
def run(  # noqa: PLR0917 - one parameter for each option
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of everything the server keeps.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file instead of <data>/config.toml.")] = None,
    workers: Annotated[int | None, typer.Option(help="Web processes.")] = None,
) -> None:
    """Run the AxonML server in the foreground, until Ctrl-C or SIGTERM."""
    if context.invoked_subcommand is not None:
        return
    given = {"host": host, "port": port, "data_dir": data_dir, "workers": workers}
    overrides = {"server": {name: value for name, value in given.items() if value is not None}}
    try:
        settings = load(overrides, config=config)
    except SettingsError as error:
        raise _fail(error.problems) from None
    from server.process import StartupError, serve

    try:
        serve(settings, _say)
    except SettingsError as error:
        raise _fail(error.problems) from None
    except StartupError as error:
        raise _fail([str(error)]) from None


@app.command()
def settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the page docs/settings.md.")] = False,
) -> None:
    """List every setting, with its names, default and meaning."""
    from server.settings import SHORT_NAMES, fields
    from server.settings_table import markdown as page

    if markdown:
        typer.echo(page(), nl=False)
        return
    short: dict[tuple[str, str], str] = {place: name for name, place in reversed(list(SHORT_NAMES.items()))}
    for section, key, field in fields():
        name = short.get((section, key), f"AXONML_{section.upper()}__{key.upper()}")
        typer.echo(f"{section}.{key}  ({name})\n    {field.description}")


@app.command()
def architecture(
    json_schema: Annotated[bool, typer.Option("--json-schema", help="As the JSON Schema schema/arch-1.json.")] = False,
) -> None:
    """Explain the architecture document, with every operation (the page docs/architecture.md)."""
    if json_schema:
        import json

        from server.architecture_schema import build

        typer.echo(json.dumps(build(), indent=1))
        return
    from server.architecture_page import markdown as page

    typer.echo(page(), nl=False)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
