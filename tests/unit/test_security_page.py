"""docs/security.md promises nothing that no test attacks."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

from tests.support.promises import ROOT, exists, named_tests, sources

ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "security.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| Attack |")
]
# What the standard library and our dependencies offer to whoever wants to ask another server for something.
CLIENTS: Final = {
    "urllib.request",
    "http.client",
    "ftplib",
    "httpx",
    "requests",
    "urllib3",
    "aiohttp",
    "gql",
    "smtplib",
}


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_the_table_is_whole() -> None:
    assert len(ROWS) > 20
    assert all(len(row) == 3 and all(row) for row in ROWS)
    assert len({row[0] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_test_that_is_named_exists(row: list[str]) -> None:
    named = named_tests(row[2])
    assert named
    assert " ".join(f"`{test}`" for test in named) == row[2]
    assert [test for test in named if not exists(test)] == []


def test_the_server_holds_no_client_that_could_be_sent_elsewhere() -> None:
    paths = sources()
    assert len(paths) > 200
    held = {str(path.relative_to(ROOT)): imported(path) & CLIENTS for path in paths}
    assert {path: names for path, names in held.items() if names} == {}
