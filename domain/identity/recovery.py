"""Recovery codes: `XXXX-XXXX-XXXX-XXXX` in Crockford's base32, each good for one sign-in when the factor is lost.

The first group says which code is meant and is no secret; of the other 60 bits only a password hash is kept. The codes
are shown once and kept nowhere: whoever loses the answer makes new ones.
"""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import Final

from domain import ids
from domain.access import Scope
from domain.errors import MfaRequired
from domain.identity.entities import AuthResult, ClientInfo, PendingSignIn
from domain.identity.factors import CredentialChange, FactorUse, RecoveryCode, RecoveryCodes, RecoveryUse
from domain.identity.passwords import OwnPassword
from domain.identity.ports import Passwords, RecoveryRepository, Verdict
from domain.identity.sessions import Sessions
from domain.identity.sign_in import SignIn

CODES: Final = 10
PROVED_WITHIN: Final = timedelta(minutes=5)
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUP: Final = 4
_MEANT: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
_MOST_TYPED: Final = 64
_NO_CODE: Final = "0" * 3 * _GROUP
_WRITTEN: Final = re.compile(f"[{_ALPHABET}]{{{4 * _GROUP}}}", re.ASCII)


class Recovery:
    """The use-cases of recovery codes."""

    def __init__(
        self,
        *,
        repository: RecoveryRepository,
        hashes: Passwords,
        own_password: OwnPassword,
        sessions: Sessions,
        sign_in: SignIn,
    ) -> None:
        self._repository = repository
        self._hashes = hashes
        self._own_password = own_password
        self._sessions = sessions
        self._sign_in = sign_in

    async def fresh(self) -> tuple[RecoveryCodes, list[RecoveryCode]]:
        """New codes to show, and as they are stored. Costs a password hash for each. Raises Overloaded."""
        places: set[str] = set()
        while len(places) < CODES:
            places.add(_random(_GROUP))
        shown, stored = [], []
        for place in places:
            secret = _random(3 * _GROUP)
            shown.append("-".join((place, secret[:4], secret[4:8], secret[8:])))
            stored.append(RecoveryCode(ids.new("rec"), place, await self._hashes.hash(secret)))
        return RecoveryCodes(shown), stored

    async def generate(self, scope: Scope, *, password: str | None = None) -> RecoveryCodes:
        """New codes instead of all others, for whoever gives the password or has proved a factor within 5 minutes.

        Ends the caller's other sessions. Sent twice it makes codes twice, and the last ones count. Raises Forbidden for
        API keys, MfaRequired, Unauthenticated for a wrong password, Conflict for an account without a second factor.
        """
        verified = None
        if password is None:
            session = await self._sessions.require_proven(scope)
            if self._sessions.now() - session.proved_at > PROVED_WITHIN:
                raise MfaRequired(
                    "prove that it is you: send a code to POST /api/auth/mfa/totp/verify, or sign in again, and repeat"
                    " this within 5 minutes"
                )
        else:
            session, verified = await self._own_password.confirm(scope, password)
        shown, stored = await self.fresh()
        change = CredentialChange(session.account.user.id, session.id, self._sessions.now(), verified)
        await self._sessions.forget(await self._repository.replace(change, stored))
        return shown

    async def use(self, *, mfa_token: str, code: str, client: ClientInfo | None = None) -> AuthResult:
        """Completes a sign-in by a recovery code, which is gone then. Every try costs one password hash.

        Raises Unauthenticated naming `mfa_token` or `code`, RateLimited, Overloaded.
        """
        place, secret = _parts(code)

        async def prove(pending: PendingSignIn) -> FactorUse | None:
            found = None if place is None else await self._repository.unused(pending.account.user.id, place)
            verdict = await self._hashes.verify(None if found is None else found.code_hash, secret)
            return None if found is None or verdict is Verdict.WRONG else RecoveryUse(found.id)

        return await self._sign_in.by_code(mfa_token, prove, client)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _parts(typed: str) -> tuple[str | None, str]:
    """Place and secret of a code in any usual spelling; no place, and a secret that none has, for what is no code."""
    meant = typed.upper().translate(_MEANT) if len(typed) <= _MOST_TYPED else ""
    if _WRITTEN.fullmatch(meant) is None:
        return None, _NO_CODE
    return meant[:_GROUP], meant[_GROUP:]
