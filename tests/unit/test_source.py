"""What the source of the product may not hold, whoever reviews a change."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.promises import ROOT, sources

# The hash functions of the product. Those that libraries use for a standard (TOTP, WebSocket, PostgreSQL) are theirs.
HASHES: Final = {"hashlib.sha256", "hashlib.file_digest"}
# Where a number may be random without being hard to guess: the pause before something is tried again.
GUESSABLE: Final = {"server/supervision.py", "persistence/listener.py", "persistence/redis_bus.py"}
# Parsers that run what they read, or follow what it names.
UNSAFE: Final = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "xml", "lxml", "yaml", "jinja2"}


def _parsed() -> Iterator[tuple[str, ast.Module]]:
    for path in sources():
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _modules(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_nothing_is_evaluated_and_no_shell_is_asked() -> None:
    found = []
    for path, tree in _parsed():
        for call in _calls(tree):
            name = ast.unparse(call.func)
            shell = [one for one in call.keywords if one.arg == "shell" and ast.unparse(one.value) != "False"]
            if name in {"eval", "exec", "compile", "os.system", "os.popen"} or name.endswith("_shell") or shell:
                found.append(f"{path}:{call.lineno} {name}")
    assert found == []


def test_nothing_is_read_by_a_parser_that_runs_what_it_reads() -> None:
    held = {path: {name.partition(".")[0] for name in _modules(tree)} & UNSAFE for path, tree in _parsed()}
    assert {path: names for path, names in held.items() if names} == {}


def test_hashes_are_sha_256() -> None:
    used = {
        ast.unparse(node)
        for _, tree in _parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "hashlib"
    }
    assert used == HASHES
    assert not [path for path, tree in _parsed() if "Crypto" in _modules(tree)]


def test_what_may_not_be_guessed_comes_from_the_system() -> None:
    held = {path for path, tree in _parsed() if _modules(tree) & {"random", "numpy.random"}}
    assert held == GUESSABLE


def test_no_secret_is_part_of_the_source() -> None:
    keys = ("BEGIN PRIVATE KEY", "BEGIN RSA PRIVATE", "BEGIN EC PRIVATE", "BEGIN OPENSSH PRIVATE", "AKIA")
    kept = [path for package in ("server/web/static", "migrations") for path in _texts(ROOT / package)]
    assert [path for path in (*sources(), *kept) if any(key in path.read_text("utf-8") for key in keys)] == []


def _texts(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.suffix in {".py", ".js", ".html", ".css", ".json"}]
