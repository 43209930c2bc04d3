"""The rule for metric keys, and which of them are a script's own load: a stream beside its metrics."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

from domain import names
from domain.errors import BadUserInput

MAX_KEY: Final = 250
SYSTEM: Final = "system/"


@lru_cache(maxsize=16_384)
def _is_plain(text: str) -> bool:
    """Whether a key is in order exactly as it stands. Training scripts repeat few keys very often."""
    if not 1 <= len(text) <= MAX_KEY or text != text.strip():
        return False
    if text.isascii():
        return text.isprintable()
    return unicodedata.is_normalized("NFC", text) and not any(
        unicodedata.category(character) in ("Cc", "Cs") for character in text
    )


def is_system(key: str) -> bool:
    """Whether a key belongs to the system stream, which nobody gets who did not ask for it."""
    return key.startswith(SYSTEM)


def metric_key(text: str, *, field: str) -> str:
    """A key of 1 to 250 characters in NFC, without control characters and without spaces at its edges.

    Another normal form of a valid key becomes NFC. Raises BadUserInput naming `field`.
    """
    if len(text) <= MAX_KEY and _is_plain(text):
        return text
    if len(text) > 4 * MAX_KEY:  # NFC never shortens text more than that, so it need not be tried
        raise BadUserInput(f"a key has 1 to {MAX_KEY} characters, got {len(text)}", field=field)
    return names.title(text, field=field)
