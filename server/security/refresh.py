"""Refresh tokens: `axr_` and base64url of the session's id, a counter, and an HMAC of both under the session's key.

The same session and counter always give the same bytes, which is what lets a client that lost an answer ask again
without forking its session. The key is random per session and sealed in the session's row.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final
from uuid import UUID

from domain import ids
from domain.identity.ports import PresentedRefresh
from server.security.secrets import Vault

PREFIX: Final = "axr_"
PURPOSE: Final = "refresh-key"
_ID, _COUNTER, _TAG = 16, 8, 32
_LENGTH: Final = len(PREFIX) + 75  # 56 bytes in base64url without padding


class SealedRefreshTokens:
    """Makes and checks refresh tokens with keys that the vault seals."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def new_key(self, session_id: str) -> bytes:
        return self._vault.seal(PURPOSE, secrets.token_bytes(32), session_id)

    def issue(self, session_id: str, counter: int, sealed_key: bytes) -> str:
        body = _body(session_id, counter)
        return PREFIX + _encode(body + self._tag(session_id, body, sealed_key))

    def parse(self, token: str) -> PresentedRefresh | None:
        if len(token) != _LENGTH or not token.startswith(PREFIX):
            return None
        text = token[len(PREFIX) :]
        try:
            raw = base64.b64decode(text + "=", altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if _encode(raw) != text:  # the last character has bits to spare: only one spelling is ours
            return None
        counter = int.from_bytes(raw[_ID : _ID + _COUNTER])
        if counter >= 2**63 - 1:
            return None
        return PresentedRefresh(ids.from_uuid("ses", UUID(bytes=raw[:_ID])), counter, raw[_ID + _COUNTER :])

    def genuine(self, presented: PresentedRefresh, sealed_key: bytes) -> bool:
        body = _body(presented.session_id, presented.counter)
        return hmac.compare_digest(self._tag(presented.session_id, body, sealed_key), presented.tag)

    def _tag(self, session_id: str, body: bytes, sealed_key: bytes) -> bytes:
        return hmac.digest(self._vault.open(PURPOSE, sealed_key, session_id), body, hashlib.sha256)


def _body(session_id: str, counter: int) -> bytes:
    return ids.to_uuid(session_id).bytes + counter.to_bytes(_COUNTER)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
