"""The page `docs/settings.md`, written from the settings classes so that it cannot drift from them."""

from __future__ import annotations

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from server.settings import PREFIX, SHORT_NAMES, Settings, fields

_HEAD = """# Settings

This page is generated: `axonml-server settings --markdown > docs/settings.md`.

A setting can be given on the command line (`--host`, `--port`, `--data-dir`), in the environment, or in
the file `<data>/config.toml` (another one with `--config`). The first of these that has it wins; then
comes the default. `section.key` is `[section]` and `key = value` in the file, and `AXONML_SECTION__KEY`
in the environment; some also have a short name. Lists are written `a, b` in the environment. Names that
are not on this page are refused, in the file as in the environment. Empty variables count as unset, and
`AXONML_URL`, `AXONML_API_KEY` and `AXONML_SPOOL` are left to the scripts that talk to a server.
"""


def _default(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and isinstance(extra.get("default_text"), str):
        return str(extra["default_text"])
    value = field.default
    if value is None or value is PydanticUndefined or value == ():
        return "unset" if value is None else "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and value.is_integer():
        return f"`{value:g}`"
    return f"`{value}`"


def markdown() -> str:
    """The text of `docs/settings.md`."""
    short: dict[tuple[str, str], list[str]] = {}
    for name, place in SHORT_NAMES.items():
        short.setdefault(place, []).append(name)
    lines = [_HEAD]
    current = ""
    for section, key, field in fields():
        if section != current:
            model = Settings.model_fields[section].annotation
            lines += [
                f"\n## [{section}]\n\n{(getattr(model, '__doc__', '') or '').strip()}\n",
                "| setting | environment | default | meaning |",
                "|---|---|---|---|",
            ]
            current = section
        names = [
            f"`{PREFIX}{section.upper()}__{key.upper()}`",
            *(f"`{name}`" for name in short.get((section, key), [])),
        ]
        lines.append(f"| `{section}.{key}` | {', '.join(names)} | {_default(field)} | {field.description} |")
    return "\n".join(lines) + "\n"
