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


@dataclass(frozen=True, slots=True)
class ClientToken:
    """A client's token for one operation, and the digest of the input it came with."""

    operation: str
    token: str
    digest: bytes

    @classmethod
    def of(cls, token: str | None, operation: str, **given: Any) -> ClientToken | None:
        """None when the client gave no token. `given` is the input as JSON-like values.

        Raises BadUserInput unless the token has 1 to 128 printable ASCII characters.
        """
        if token is None:
            return None
        if not 1 <= len(token) <= MAX_TOKEN or not all(" " < character <= "~" for character in token):
            raise BadUserInput(f"expected 1 to {MAX_TOKEN} printable ASCII characters", field="client_token")
        canonical = json.dumps(given, sort_keys=True, default=str, ensure_ascii=False, separators=(",", ":"))
        return cls(operation, token, hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).digest())
