"""What the subscriptions of one caller hold in memory for as long as they live: syntax trees, and variables.

How often a caller may ask bounds what comes and goes; what stays needs a bound of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from domain.access import Scope
from domain.errors import Overloaded

MOST_HELD: Final = 64 * 1024 * 1024
"""Bytes, roughly, for one user or API key: hundreds of different documents, or 10,000 uses of one."""

_TREE: Final = 300
"""Bytes of the syntax tree of a character, at most; those who send the same text share it."""
_ENTRY: Final = 4 * 1024
"""Bytes of a subscription besides."""


class Holding:
    """What each caller holds, in one process."""

    def __init__(self, most: int = MOST_HELD) -> None:
        self._most = most
        self._texts: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._bytes)

    @contextmanager
    def checked(self, caller: Scope | None, text: str, variables: str) -> Iterator[None]:
        """Counts a subscription while it is opened. Raises Overloaded when its caller holds too much with it."""
        owner = self.take(caller, text, variables)
        try:
            if self._bytes[owner] > self._most:
                raise Overloaded(
                    "the subscriptions of this user or API key hold too much memory; end some of them,"
                    " or send shorter documents and variables"
                )
            yield
        finally:
            self.release(caller, text, variables)

    def take(self, caller: Scope | None, text: str, variables: str) -> str:
        """Counts a subscription; under whose name."""
        owner = _owner(caller)
        self._texts[owner, text] += 1
        self._bytes[owner] += _ENTRY + len(variables) + (_TREE * len(text) if self._texts[owner, text] == 1 else 0)
        return owner

    def release(self, caller: Scope | None, text: str, variables: str) -> None:
        """Undoes `take`."""
        owner = _owner(caller)
        self._texts[owner, text] -= 1
        self._bytes[owner] -= _ENTRY + len(variables) + (0 if self._texts[owner, text] else _TREE * len(text))
        if not self._texts[owner, text]:
            del self._texts[owner, text]
        if not self._bytes[owner]:
            del self._bytes[owner]


def _owner(caller: Scope | None) -> str:
    return "" if caller is None else caller.principal.api_key_id or caller.principal.user_id
