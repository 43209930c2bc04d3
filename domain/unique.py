"""Names that nobody gave before: random, and fetched from the system many at a time, for one costs as much as hundreds.

They tell things apart. Nothing secret is made of them: what waits to be used lies in the memory of the process.
"""

from __future__ import annotations

import os
from typing import Final

_BYTES: Final = 16
_AT_ONCE: Final = 256

_ready: Final[list[str]] = []
os.register_at_fork(after_in_child=_ready.clear)  # a child must not use what its parent will


def unique() -> str:
    """32 hexadecimal digits that no call, of any process, answers again."""
    while True:
        try:
            return _ready.pop()
        except IndexError:  # also when other threads were faster
            digits = os.urandom(_BYTES * _AT_ONCE).hex()
            _ready.extend(digits[start : start + 2 * _BYTES] for start in range(0, len(digits), 2 * _BYTES))
