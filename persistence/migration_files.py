"""The migration files: reading them in order, and writing a new one from the declared tables, offline.

A file is Aerich's: `upgrade` and `downgrade` return SQL and never use their argument, `RUN_IN_TRANSACTION`
says whether the SQL and its record commit together, `MODELS_STATE` is the declaration it leads to. Nothing
here connects to a database.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import re
import shutil
import tempfile
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import migrations
from persistence.database import APP, OFFLINE_DSN, TORTOISE_ORM, tortoise_config
from persistence.tables import BY_HAND

_T = TypeVar("_T")

_NAME = re.compile(r"(\d+)_\w+\.py")


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One step. `version` is the file's name, as it is recorded in the database."""

    version: str
    number: int
    transactional: bool
    upgrade_sql: str
    downgrade_sql: str
    models_state: str


def folder() -> Path:
    """Where the files are, wherever the package is installed."""
    return Path(next(iter(migrations.__path__))) / "axonml"


def versions() -> list[str]:
    """The names of our files, in the order in which they apply, without reading them."""
    found = [(int(match[1]), path.name) for path in folder().glob("*.py") if (match := _NAME.fullmatch(path.name))]
    return [name for _, name in sorted(found)]


async def read(location: Path | None = None) -> list[MigrationFile]:
    """Every file, in the order in which they apply. Raises ValueError for two files with one number."""
    found = [
        (int(match[1]), path)
        for path in (location or folder()).glob("*.py")
        if (match := _NAME.fullmatch(path.name)) is not None
    ]
    found.sort()
    numbers = [number for number, _ in found]
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"two migration files have the same number: {[path.name for _, path in found]}")
    return [await _load(number, path) for number, path in found]


async def _load(number: int, path: Path) -> MigrationFile:
    spec = importlib.util.spec_from_file_location(f"axonml_migration_{number}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    upgrade: Callable[[None], Awaitable[str]] = module.upgrade
    downgrade: Callable[[None], Awaitable[str]] = module.downgrade
    return MigrationFile(
        version=path.name,
        number=number,
        transactional=module.RUN_IN_TRANSACTION,
        upgrade_sql=await upgrade(None),
        downgrade_sql=await downgrade(None),
        models_state=zlib.decompress(base64.b64decode(module.MODELS_STATE)).decode(),
    )


def _exist(location: Path) -> bool:
    return any(_NAME.fullmatch(path.name) for path in location.glob("*.py"))


async def generate(name: str, location: Path | None = None) -> Path | None:
    """Write the step from the newest file to the declared tables; None when nothing changed.

    Raises ValueError for a name that is no identifier.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name):
        raise ValueError(f"a migration's name is lower-case words joined by underscores, not {name!r}")
    target = location or folder()
    return await _apart(lambda: _generate(name, target))


async def unchanged() -> bool:
    """Whether the newest file leads to exactly the tables the code declares. Writes nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "axonml"
        shutil.copytree(folder(), copy, ignore=shutil.ignore_patterns("__pycache__"))
        return await generate("compare", copy) is None


async def declared_columns() -> dict[str, set[str]]:
    """The columns of every declared table (Aerich's own left out)."""
    return await _apart(_declared_columns)


async def declared_sql() -> str:
    """The SQL that creates every declared table from nothing (Aerich's own included)."""
    return await _apart(_declared_sql)


async def _apart(work: Callable[[], Coroutine[None, None, _T]]) -> _T:
    """Run `work` in a task of its own, since Tortoise leaves its context behind in the task that called it."""
    return await asyncio.create_task(work())


async def _generate(name: str, target: Path) -> Path | None:
    from aerich import Command
    from tortoise import Tortoise

    if not _exist(target):
        return await _initial(target)
    # Aerich appends the app's name to its location.
    command = Command(TORTOISE_ORM, app=target.name, location=str(target.parent))
    try:
        await command.init(offline=True)
        written = await command.migrate(name, no_input=True, offline=True)
    finally:
        await Tortoise.close_connections()
        _forget_operators()
    return target / written if written else None


def _forget_operators() -> None:
    """Aerich collects statements in class attributes and never empties them."""
    from aerich.migrate import Migrate

    for name, value in vars(Migrate).items():
        if name.endswith(("_operators", "_m2m")) and isinstance(value, list):
            value.clear()


async def _initial(target: Path) -> Path:
    from aerich.migrate import Migrate
    from aerich.utils import get_models_describe
    from tortoise import Tortoise

    upgrade = await _declared_sql()
    try:
        state = get_models_describe(APP)
        tables = re.findall(r'^CREATE TABLE "(\w+)"', upgrade, re.MULTILINE)
        downgrade = "\n".join(f'DROP TABLE "{table}" CASCADE;' for table in reversed(tables))
        Migrate.app, Migrate.migrate_location = APP, target
        path = target / await Migrate.generate_version(offline=True)
        path.write_text(Migrate.build_migration_file_text(upgrade, state, downgrade), "utf-8")
    finally:
        await Tortoise.close_connections()
    return path


async def _declared_sql() -> str:
    from tortoise import Tortoise
    from tortoise.utils import get_schema_sql

    await Tortoise.init(config=TORTOISE_ORM)
    return "\n".join([get_schema_sql(Tortoise.get_connection("default"), safe=False), *BY_HAND])


async def _declared_columns() -> dict[str, set[str]]:
    from tortoise import Tortoise

    await Tortoise.init(config=tortoise_config(OFFLINE_DSN), init_connections=False)
    apps = Tortoise.apps
    models = apps[APP].values() if apps is not None else ()
    return {model._meta.db_table: set(model._meta.db_fields) for model in models}  # noqa: SLF001 - Tortoise's way
