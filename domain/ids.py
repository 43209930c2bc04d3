"""Type-prefixed identifiers: `run_` + 32 hexadecimal digits of a time-ordered UUID (version 7, RFC 9562).

Entities carry the prefixed string everywhere; only the persistence layer sees the bare UUID. Where the kind is
known a parser also takes the bare UUID (with or without hyphens). Ids are opaque to clients: nothing outside this
module may read a time or an order out of one.
"""

from __future__ import annotations

import re
import secrets
import time
from functools import lru_cache
from typing import Final, Literal, cast, get_args
from uuid import UUID

from domain.errors import BadUserInput

Kind = Literal[
    "run",
    "mdl",
    "ver",
    "end",
    "nbk",
    "usr",
    "exp",
    "ckp",
    "key",
    "wsp",
    "ses",
    "pen",
    "psk",
    "rec",
    "otp",
    "inv",
    "grt",
    "aud",
]

KINDS: Final[frozenset[str]] = frozenset(get_args(Kind))

_NAMES: Final[dict[str, str]] = {
    "run": "a run",
    "mdl": "a model",
    "ver": "a model version",
    "end": "an endpoint",
    "nbk": "a notebook",
    "usr": "a user",
    "exp": "an experiment",
    "ckp": "a checkpoint",
    "key": "an API key",
    "wsp": "a workspace",
    "ses": "a session",
    "pen": "a pending sign-in",
    "psk": "a passkey",
    "rec": "recovery codes",
    "otp": "an authenticator app",
    "inv": "an invite",
    "grt": "a permission record",
    "aud": "an audit event",
}

_PREFIXED: Final = re.compile(r"([a-z]{3})_([0-9a-f]{32})", re.ASCII)
_BARE: Final = re.compile(
    r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", re.ASCII
)


def new(kind: Kind) -> str:
    """A fresh id of `kind`, ordered by creation time to a quarter of a microsecond."""
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds & (1 << 48) - 1) << 80 | secrets.randbits(64)
    value |= 0x7 << 76 | nanoseconds * 4_096 // 1_000_000 << 64  # version 7, then the part of the millisecond
    value = value & ~(0x3 << 62) | 0x2 << 62  # RFC variant
    return f"{kind}_{value:032x}"


@lru_cache(maxsize=4_096)
def parse(kind: Kind, text: str, *, field: str = "id") -> str:
    """The canonical form of an id of `kind`.

    Accepts the prefixed form, a bare UUID and 32 hexadecimal digits.
    Raises BadUserInput (naming `field`) when the text is malformed or an id of another kind.
    """
    prefixed = _PREFIXED.fullmatch(text)
    if prefixed is not None and prefixed[1] in KINDS:
        if prefixed[1] != kind:
            raise BadUserInput(f"expected the id of {_NAMES[kind]}, got the id of {_NAMES[prefixed[1]]}", field=field)
        return text
    if _BARE.fullmatch(text) is None:
        raise BadUserInput(f"not the id of {_NAMES[kind]}: expected '{kind}_' and 32 hexadecimal digits", field=field)
    return f"{kind}_{text.replace('-', '').lower()}"


def kind_of(text: str, *, field: str = "id") -> Kind:
    """The kind that a prefixed id names. Raises BadUserInput when the text is no prefixed id."""
    prefixed = _PREFIXED.fullmatch(text)
    if prefixed is None or prefixed[1] not in KINDS:
        raise BadUserInput("not an id: expected a type prefix, '_' and 32 hexadecimal digits", field=field)
    return cast("Kind", prefixed[1])


def looks_like_id(text: str) -> bool:
    """Whether `text` could be read as an id (so it may not be a name)."""
    prefixed = _PREFIXED.fullmatch(text)
    return (prefixed is not None and prefixed[1] in KINDS) or _BARE.fullmatch(text) is not None


@lru_cache(maxsize=4_096)
def to_uuid(identifier: str) -> UUID:
    """The UUID inside a canonical id."""
    return UUID(hex=identifier[4:])


def from_uuid(kind: Kind, value: UUID) -> str:
    """The canonical id of `kind` around a stored UUID (also asyncpg's own UUID type)."""
    return f"{kind}_{value.hex}"
