"""Client tokens: how a creating operation that is sent twice happens once.

The token is kept 7 days per principal, workspace and operation. The same token with the same input answers the
first result; with another input it is a Conflict.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from domain.errors import BadUserInput

KEPT: Final = timedelta(days=7)
MAX_TOKEN: Final = 128


def checked_token(text: str, *, field: str) -> str:
    """What a client may choose to name a request with: a client token or the id of a batch.

    Raises BadUserInput unless it has 1 to 128 printable ASCII characters, none of them a space.
    """
    if not 1 <= len(text) <= MAX_TOKEN or not all(" " < character <= "~" for character in text):
        raise BadUserInput(f"expected 1 to {MAX_TOKEN} printable ASCII characters without spaces", field=field)
    return text


@dataclass(frozen=True, slots=True)
class ClientToken:
    """A client's token for one operation, and the digest of the input it came with."""

    operation: str
    token: str
    digest: bytes

    @classmethod
    def of(cls, token: str | None, operation: str, **given: Any) -> ClientToken | None:
        """None when the client gave no token. `given` is the input as JSON-like values.

        Raises BadUserInput when the token is not one (`checked_token`).
        """
        if token is None:
            return None
        checked_token(token, field="client_token")
        canonical = json.dumps(given, sort_keys=True, default=str, ensure_ascii=False, separators=(",", ":"))
        return cls(operation, token, hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).digest())
