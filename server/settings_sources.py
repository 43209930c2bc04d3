"""Where the values of the settings come from, in which order, and what is refused on the way.

Command line > environment > TOML file > default. Nothing here may show a value in a message: it may be a
secret.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from server.settings import PREFIX, SCRIPT_NAMES, SHORT_NAMES, Settings, SettingsError, default_data_dir, fields

CONFIG_NAME: Final = "config.toml"


def _environment_names() -> dict[str, tuple[str, str]]:
    long = {f"{PREFIX}{section}__{key}".upper(): (section, key) for section, key, _ in fields()}
    return {**long, **SHORT_NAMES}


Nested = dict[str, dict[str, Any]]


class _Given(PydanticBaseSettingsSource):
    """A source whose values were collected, and whose names were checked, before pydantic sees them."""

    def __init__(self, settings_cls: type[BaseSettings], values: Nested) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the library's signature
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self._values)


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> tuple[Nested, dict[tuple[str, str], str]]:
    names = _environment_names()
    values: Nested = {}
    origins: dict[tuple[str, str], str] = {}
    for name in sorted(environ):
        if name.startswith("AEGIS_"):
            problems.append(f"{name}: there is no Aegis-DB here; set AXONML_DATABASE_URL (database.url) to PostgreSQL")
            continue
        if name not in names:
            if name.upper().startswith(PREFIX) and name not in SCRIPT_NAMES:
                near = get_close_matches(name.upper(), names, n=1, cutoff=0.6)
                problems.append(
                    f"{name}: unknown environment variable" + (f"; did you mean {near[0]}?" if near else "")
                )
            continue
        if not environ[name]:
            continue
        section, key = place = names[name]
        if place in origins and values[section][key] != environ[name]:
            problems.append(f"{section}.{key}: {origins[place]} and {name} contradict each other; set one of them")
            continue
        values.setdefault(section, {})[key] = environ[name]
        origins[place] = name
    return values, origins


def _from_file(path: Path, *, required: bool, problems: list[str]) -> Nested:
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            problems.append(f"--config: there is no file {path}")
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        problems.append(f"{path}: cannot be read as TOML: {problem}")
        return {}
    known: dict[str, set[str]] = {}
    for section, key, _ in fields():
        known.setdefault(section, set()).add(key)
    values: Nested = {}
    for section, table in document.items():
        if section == "aegis":
            problems.append(f"{path}: [aegis]: there is no Aegis-DB here; set database.url to a PostgreSQL server")
        elif section not in known:
            near = get_close_matches(section, known, n=1)
            problems.append(f"{path}: unknown section [{section}]" + (f"; did you mean [{near[0]}]?" if near else ""))
        elif not isinstance(table, dict):
            problems.append(f"{path}: {section} must be a section, written [{section}]")
        else:
            for key in table.keys() - known[section]:
                near = get_close_matches(key, known[section], n=1)
                problems.append(
                    f"{path}: unknown key {section}.{key}" + (f"; did you mean {section}.{near[0]}?" if near else "")
                )
            values[section] = {key: value for key, value in table.items() if key in known[section]}
    return values


def _describe(error: ValidationError, origins: Mapping[tuple[str, str], str]) -> list[str]:
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        place = tuple(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if len(place) == 1 and ": " in message:  # raised by a section's own check, which names the key
            key, _, message = message.partition(": ")
            place = (place[0], key)
        origin = origins.get((place[0], place[1])) if len(place) > 1 else None
        lines.append(f"{'.'.join(place[:2])}: {message}" + (f" (from {origin})" if origin else ""))
    return lines


def load(
    overrides: Mapping[str, Mapping[str, object]] | None = None,
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of this process.

    `overrides` are the command line's values by section; `config` names the TOML file, by default
    `<data>/config.toml` if it exists. Raises SettingsError with every problem found, not only the first.
    """
    problems: list[str] = []
    given: Nested = {section: dict(values) for section, values in (overrides or {}).items()}
    environment, origins = _from_environment(os.environ if environ is None else environ, problems)
    chosen = given.get("server", {}).get("data_dir") or environment.get("server", {}).get("data_dir")
    data_dir = Path(chosen).expanduser() if chosen else default_data_dir()
    path = config.expanduser() if config is not None else data_dir / CONFIG_NAME
    document = _from_file(path, required=config is not None, problems=problems)
    named = document.get("server", {}).get("data_dir")
    if named is not None and (
        config is None or path.resolve() == (Path(str(named)).expanduser() / CONFIG_NAME).resolve()
    ):
        problems.append(
            f"{path}: server.data_dir cannot be set inside the data directory; use --data-dir or AXONML_DATA_DIR"
        )
    for section, table in document.items():
        for key in table:
            origins.setdefault((section, key), str(path))

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(_Given(settings_cls, values) for values in (given, environment, document))

    try:
        loaded = Loaded()
    except ValidationError as error:
        raise SettingsError([*problems, *_describe(error, origins)]) from None
    if problems:
        raise SettingsError(problems)
    return loaded


def dumped(settings: Settings) -> dict[str, dict[str, object]]:
    """The settings as plain values by section, secrets in the open: for a process of this server, and nobody else."""
    values: dict[str, dict[str, object]] = {}
    for section, key, _ in fields():
        value = getattr(getattr(settings, section), key)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        values.setdefault(section, {})[key] = str(value) if isinstance(value, Path) else value
    return values


def restored(values: Mapping[str, Mapping[str, object]]) -> Settings:
    """What `dumped` gave, from nothing else: neither the environment nor a file is read. Raises SettingsError."""

    class Restored(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (_Given(settings_cls, {section: dict(table) for section, table in values.items()}),)

    try:
        return Restored()
    except ValidationError as error:
        raise SettingsError(_describe(error, {})) from None
