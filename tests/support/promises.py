"""Pages of the documentation that name tests: what they name must be there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
OURS: Final = ("server", "schema", "resolvers", "domain", "persistence", "serving", "execution")
_TEST: Final = re.compile(r"`(tests/[^`]+)`")


@cache
def functions(path: Path) -> frozenset[str]:
    """The names of all functions in a file, whether they are nested or not."""
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def named_tests(text: str) -> list[str]:
    """What the text names in the form `tests/file.py::test_name`."""
    return _TEST.findall(text)


def exists(test: str) -> bool:
    """Whether there is a test of that name in that file."""
    path, _, name = test.partition("::")
    return name.startswith("test_") and (ROOT / path).is_file() and name in functions(ROOT / path)


def sources() -> list[Path]:
    """Every Python file of the product."""
    return [path for package in OURS for path in (ROOT / package).rglob("*.py")]
