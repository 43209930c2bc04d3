"""The GraphQL documents that the pages send, for a server that serves no others than those on a list.

They are read from the scripts themselves: every literal that begins as a document does, and the one template of the
login page, once for each way to open a session.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
_EXPLORER: Final = "graphiql.js"
_LITERAL: Final = re.compile(r"""(["`])((?:(?:query|mutation)\b|\{ )[^"`]*)\1""")
_OPENING: Final = re.compile(r'enter\("(\w+)", "(\w+)"')


def documents() -> list[str]:
    """Every document that a page may send."""
    found: list[str] = []
    for script in sorted(STATIC.glob("*.js")):
        if script.name == _EXPLORER:
            continue
        code = script.read_text("utf-8")
        for _, text in _LITERAL.findall(code):
            if "${" in text:
                ways = sorted(set(_OPENING.findall(code)))
                found += [text.replace("${mutation}", name).replace("${type}", form) for name, form in ways]
            else:
                found.append(text)
    return found
