"""Rules for the texts people type: names, keys, descriptions. Each raises BadUserInput naming its field."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from domain import ids
from domain.errors import BadUserInput

MAX_TEXT: Final = 250
MAX_NOTES: Final = 65_536

_SLUG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_UNSHOWN: Final = frozenset({"Cf", "Mn", "Me", "Zs"})
_REORDERING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What makes a text look like another one. The marks that languages written from the right need are not among them."""


def slug(value: str, *, field: str = "name") -> str:
    """A name that appears in paths (models, endpoints): letters, digits, '.', '_', '-', at most 128, not an id."""
    if _SLUG.fullmatch(value) is None:
        raise BadUserInput(
            "expected 1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit", field=field
        )
    if ids.looks_like_id(value):
        raise BadUserInput("a name may not look like an id", field=field)
    return value


def is_slug(value: str) -> bool:
    """Whether `value` could be such a name; what could not be one names nothing."""
    return _SLUG.fullmatch(value) is not None and not ids.looks_like_id(value)


def title(value: str, *, field: str = "name") -> str:
    """A free name of 1 to 250 characters: NFC, no control characters, no spaces at the edges, and something to see."""
    text = unicodedata.normalize("NFC", value)
    if not 1 <= len(text) <= MAX_TEXT:
        raise BadUserInput(f"expected 1 to {MAX_TEXT} characters, got {len(text)}", field=field)
    if text != text.strip():
        raise BadUserInput("spaces at the start or end are not allowed", field=field)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise BadUserInput("control characters are not allowed", field=field)
    if not text.isascii():
        if not _REORDERING.isdisjoint(text):
            raise BadUserInput("characters that reorder the text around them are not allowed", field=field)
        if all(unicodedata.category(character) in _UNSHOWN for character in text):
            raise BadUserInput("nothing of this would be seen", field=field)
    return text


def notes(value: str, *, field: str, most: int = MAX_NOTES) -> str:
    """Longer free text: at most `most` characters, no NUL and no lone surrogates (PostgreSQL stores neither)."""
    if len(value) > most:
        raise BadUserInput(f"expected at most {most} characters, got {len(value)}", field=field)
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadUserInput("NUL and lone surrogate characters are not allowed", field=field)
    return value
