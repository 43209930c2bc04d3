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


# Licences under which a part may be shipped with, or used to build, something under Apache-2.0. MPL-2.0 asks for the
# changes to its own files only, and none of those is changed here.
COMPATIBLE = {
    "0BSD", "APACHE-2.0", "BSD-2-CLAUSE", "BSD-3-CLAUSE", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0",
    "PSF-2.0", "ZLIB",
}  # fmt: skip
# What distributions write that speak no SPDX: the whole of their `License` field, or a classifier.
IN_OTHER_WORDS = {
    "APACHE 2.0": "APACHE-2.0",
    "APACHE SOFTWARE LICENSE": "APACHE-2.0",
    "BSD": "BSD-3-CLAUSE",
    "BSD 2-CLAUSE LICENSE": "BSD-2-CLAUSE",
    "BSD LICENSE": "BSD-3-CLAUSE",
    "ISC LICENSE": "ISC",
    "ISC LICENSE (ISCL)": "ISC",
    "MIT LICENSE": "MIT",
    "MOZILLA PUBLIC LICENSE 2.0 (MPL 2.0)": "MPL-2.0",
    "PYTHON SOFTWARE FOUNDATION LICENSE": "PSF-2.0",
}
# An exception gives more rights than the licence before it, so only that licence is looked at.
EXCEPTION = re.compile(r"\s+WITH\s+[A-Z0-9.-]+")


def licences(distribution: importlib.metadata.Distribution) -> set[str]:
    """The licences that a distribution names: all of those joined by AND, one of those joined by OR."""
    metadata = distribution.metadata
    expression = next(iter(metadata.get_all("License-Expression") or ()), None)
    if expression is None:
        classifiers = metadata.get_all("Classifier") or []
        named = [item.rpartition(" :: ")[2] for item in classifiers if item.startswith("License :: OSI Approved :: ")]
        # Some put the whole text into `License`; their classifier says which it is.
        expression = " AND ".join(named or (text.strip() for text in metadata.get_all("License") or ()))
    found: set[str] = set()
    for part in re.split(r"\s+AND\s+", EXCEPTION.sub("", expression.upper())):
        whole = IN_OTHER_WORDS.get(part, part)
        choices = [whole] if whole in COMPATIBLE else re.split(r"\s+OR\s+", part.strip("() "))
        named_here = [IN_OTHER_WORDS.get(choice.strip("() "), choice.strip("() ")) for choice in choices]
        found.add(next((choice for choice in named_here if choice in COMPATIBLE), part))
    return found


def test_every_pinned_distribution_may_go_with_apache_2() -> None:
    refused = {}
    for name in pins():
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # pinned for another platform
        others = licences(distribution) - COMPATIBLE
        if others:
            refused[name] = others
    assert refused == {}


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("License-Expression: MIT", {"MIT"}),
        ("License-Expression: MPL-2.0 AND (Apache-2.0 OR MIT)", {"MPL-2.0", "APACHE-2.0"}),
        ("License-Expression: GPL-3.0-only OR MIT", {"MIT"}),
        ("License-Expression: MIT AND GPL-3.0-only", {"MIT", "GPL-3.0-ONLY"}),
        ("License-Expression: Apache-2.0 WITH LLVM-exception", {"APACHE-2.0"}),
        ("Classifier: License :: OSI Approved :: BSD License", {"BSD-3-CLAUSE"}),
        ("License: Apache 2.0", {"APACHE-2.0"}),
        ("Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
         {"GNU GENERAL PUBLIC LICENSE V3 (GPLV3)"}),
        ("Summary: says nothing", {""}),
    ],
)  # fmt: skip
def test_how_licences_are_read(tmp_path: Path, written: str, understood: set[str]) -> None:
    folder = tmp_path / "thing-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: thing\nVersion: 1\n{written}\n")
    assert licences(importlib.metadata.PathDistribution(folder)) == understood


def test_a_commit_runs_what_make_check_runs() -> None:
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("\ncheck: ")[2].partition("\n\n")[0]
    checked = re.findall(r"^\t\$\(BIN\)/(\S+(?: format| check)?)", recipe, re.MULTILINE)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    assert re.findall(r"repo: (\S+)", hooks) == ["local"], "a commit needs no network"
    run = re.findall(r"entry: \.venv/bin/(\S+(?: format| check)?)", hooks)
    assert set(run) == set(checked) == {"ruff format", "ruff check", "mypy", "lint-imports", "bandit"}


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
