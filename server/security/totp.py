"""Time-based codes (RFC 6238) by pyotp, and the picture that carries their secret into an app, made here by segno.

Secrets are sealed for their user and column. pyotp's own check is not used: it folds other digits into ASCII and does
not say which step a code belongs to.
"""

from __future__ import annotations

import asyncio
import hmac
from datetime import datetime
from typing import Final

import pyotp
import segno

from domain.identity.factors import TotpFactor, TotpSetup
from server.security.secrets import Vault

ISSUER: Final = "AxonML"
PURPOSE: Final = "totp-secret"
_SCALE: Final = 5
# Newest first: a code that is right for two steps moves the last step as far as it can.
_WINDOW: Final = (1, 0, -1)


class SealedTotpCodes:
    """Makes and checks codes with secrets that the vault seals."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def new_secret(self) -> str:
        return pyotp.random_base32()

    def seal(self, user_id: str, secret: str) -> bytes:
        return self._vault.seal(PURPOSE, secret.encode(), place_of(user_id))

    async def shown(self, secret: str, address: str) -> TotpSetup:
        url = pyotp.TOTP(secret).provisioning_uri(name=address, issuer_name=ISSUER)
        return TotpSetup(secret, url, await asyncio.to_thread(_picture, url))

    def step(self, factor: TotpFactor, code: str, now: datetime) -> int | None:
        secret = self._vault.open(PURPOSE, factor.secret_sealed, place_of(factor.user_id)).decode()
        codes = pyotp.TOTP(secret)
        present, given = codes.timecode(now), code.encode()
        right = [
            present + offset
            for offset in _WINDOW
            if hmac.compare_digest(codes.generate_otp(present + offset).encode(), given)
        ]
        return right[0] if right else None


def place_of(user_id: str) -> str:
    """What the secret of a user is bound to."""
    return f"{user_id}/totp_factors.secret_sealed"


def _picture(text: str) -> str:
    picture: str = segno.make(text, error="m", micro=False).png_data_uri(scale=_SCALE)
    return picture
