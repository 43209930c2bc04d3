"""What the project is made of: names nobody else provides, pinned releases, and imports that respect the layers."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"server", "schema", "resolvers", "domain", "persistence", "serving", "execution", "migrations"}
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.]+)")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    found = [PIN.fullmatch(line) for line in lines if line and not line.startswith("#")]
    assert None not in found, "constraints.txt holds only comments and name==version, without hashes or local suffixes"
    return {normal(match["name"]): match["version"] for match in found if match is not None}


def top_level_names(distribution: importlib.metadata.Distribution) -> set[str]:
    files = [file for file in distribution.files or () if file.parts[0] != ".."]
    return {file.parts[0].removesuffix(".py") for file in files if file.suffix in {".py", ".so", ".pyi"}}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def test_no_pinned_distribution_provides_one_of_our_names() -> None:
    clashes = {}
    for name in pins():
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # pinned for another platform
        if taken := top_level_names(distribution) & OURS:
            clashes[name] = taken
    assert clashes == {}


def test_everything_installed_is_pinned_to_what_is_installed() -> None:
    installed = {normal(item.name): item.version for item in importlib.metadata.distributions()}
    for name in ("axonml", "pip"):
        installed.pop(name, None)
    # Which build of a release is installed (`2.13.0+cpu`) is the machine's choice.
    assert {name: version.partition("+")[0] for name, version in installed.items()} == {
        name: version for name, version in pins().items() if name in installed
    }


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(item for extra in extras for item in extra)]
    names = {normal(re.split(r"[<>=;\[ ]", item)[0]) for item in wanted} - {"axonml"}
    assert names - pins().keys() == set()


def test_torch_is_pinned_without_a_build() -> None:
    assert pins()["torch"] == "2.13.0"


def test_our_packages_are_the_ones_the_contracts_cover() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    assert set(tool["importlinter"]["root_packages"]) == OURS
    assert {item.removesuffix("*") for item in tool["setuptools"]["packages"]["find"]["include"]} == OURS


@pytest.mark.parametrize("path", sorted((ROOT / "domain").rglob("*.py")), ids=lambda path: str(path.name))
def test_the_domain_imports_only_the_standard_library_and_numpy(path: Path) -> None:
    allowed = sys.stdlib_module_names | {"domain", "numpy"}
    assert {name for name in imports(path) if name.partition(".")[0] not in allowed} == set()


def test_the_database_brings_neither_torch_nor_the_migration_tools_into_a_process() -> None:
    script = "import sys, persistence.database; print([m for m in ('torch', 'aerich', 'sklearn') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
