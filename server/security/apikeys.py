"""The form of API keys: `axk_`, 8 public characters, 32 secret ones, 6 of checksum, all base62.

The checksum (CRC-32 of everything before it) lets a typing error be refused without asking the database and gives
secret scanners a rule; it protects nothing. The secret has 190 bits, so a fast hash is the right one.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from typing import Final

from domain.identity.ports import KeyMaterial

PREFIX: Final = "axk_"
LOOKUP: Final = 8
SECRET: Final = 32
CHECKSUM: Final = 6
LENGTH: Final = len(PREFIX) + LOOKUP + SECRET + CHECKSUM
ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PAIRS: Final = tuple(high + low for high in ALPHABET for low in ALPHABET)


class ApiKeys:
    """Makes keys and takes them apart."""

    def generate(self) -> KeyMaterial:
        """A new random key."""
        body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(LOOKUP + SECRET))
        return _material(body + checksum(body))

    def parse(self, text: str) -> KeyMaterial | None:
        """None when the form or the checksum is wrong."""
        if len(text) != LENGTH or not text.startswith(PREFIX):
            return None
        body = text[len(PREFIX) :]
        if not (body.isascii() and body.isalnum()):
            return None
        return _material(text) if checksum(text[:-CHECKSUM]) == text[-CHECKSUM:] else None


def checksum(body: str) -> str:
    """CRC-32 in six base62 digits, highest first."""
    rest, low = divmod(zlib.crc32(body.encode()), len(_PAIRS))
    high, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def _material(text: str) -> KeyMaterial:
    lookup = text[len(PREFIX) : len(PREFIX) + LOOKUP]
    return KeyMaterial(text, lookup, hashlib.sha256(text.encode()).digest())
