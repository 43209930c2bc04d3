"""The list of operations that a server may be held to: read once, at the start, and refused as a whole for any fault.

A directory holds one document in each `*.graphql` file. A JSON file holds a list of texts, a mapping of their SHA-256
hashes to texts, or a manifest with `operations` that have a `body` (of which some build tools write one).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import orjson
from graphql import GraphQLError, GraphQLSchema

from domain.errors import DomainError
from server.graphql.documents import Documents
from server.graphql.persisted import sha256
from server.settings import SettingsError

MOST: Final = 5_000
LARGEST: Final = 8 * 1024 * 1024
"""Bytes of all documents together."""
_NAME: Final = "graphql.trusted_documents"


def _refused(place: str, problem: object) -> SettingsError:
    return SettingsError([f"{_NAME}: {place}: {problem}"])


def _listed(path: Path) -> dict[str, str]:
    """Texts by where they are written."""
    if path.is_dir():
        return {str(file): file.read_text("utf-8") for file in sorted(path.rglob("*.graphql"))}
    data: Any = orjson.loads(path.read_bytes())
    if isinstance(data, dict) and isinstance(data.get("operations"), list):
        data = [each.get("body") if isinstance(each, dict) else each for each in data["operations"]]
    if isinstance(data, list):
        named = {f"{path}: number {number}": text for number, text in enumerate(data, 1)}
    elif isinstance(data, dict):
        named = {f"{path}: {digest}": text for digest, text in data.items()}
        for place, (digest, text) in zip(named, data.items(), strict=True):
            if isinstance(text, str) and sha256(text) != digest.removeprefix("sha256:"):
                raise _refused(place, "this is not the SHA-256 of its text")
    else:
        raise _refused(str(path), "expected a list of texts, or a mapping of their hashes to them")
    for place, text in named.items():
        if not isinstance(text, str):
            raise _refused(place, "expected a text")
    return named


def load(path: Path) -> dict[str, str]:
    """The texts of a list, by where they are written. Raises SettingsError."""
    try:
        texts = _listed(path)
    except (OSError, UnicodeDecodeError, orjson.JSONDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is no JSON, or not UTF-8"
        raise _refused(str(path), f"cannot be read: {reason}") from None
    if not texts:
        raise _refused(str(path), "there is no document")
    if len(texts) > MOST or sum(map(len, texts.values())) > LARGEST:
        raise _refused(str(path), f"more than {MOST} documents, or more than {LARGEST} characters")
    return texts


def trust(path: Path, own: Iterable[str], documents: Documents, schema: GraphQLSchema) -> list[str]:
    """Reads a list into `documents`, and `own` texts of the server's pages. Every text. Raises SettingsError."""
    texts = load(path) | {f"page {number}": text for number, text in enumerate(own)}
    for place, text in texts.items():
        try:
            known = documents.trust(schema, text)
        except (GraphQLError, DomainError) as problem:
            raise _refused(place, problem.message) from None
        if not known.operations:
            raise _refused(place, "there is no operation in it")
        if any(operation.root_names & {"__schema", "__type"} for operation in known.operations.values()):
            raise _refused(place, "it reads the schema, which a server with a list does not show")
    return list(texts.values())
