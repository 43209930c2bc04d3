"""Time-based codes from an authenticator app: set up, enabled, used as second factor, disabled.

A code is taken once: whoever uses it moves the account's last step forward, and no step up to that one is taken again.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from domain.access import Scope
from domain.errors import Conflict, Unauthenticated
from domain.identity.entities import AuthResult, ClientInfo, PendingSignIn, SessionRecord, User
from domain.identity.factors import (
    CredentialChange,
    FactorUse,
    RecoveryCodes,
    TotpFactor,
    TotpSetup,
    TotpUse,
)
from domain.identity.guesses import Guesses
from domain.identity.passwords import OwnPassword
from domain.identity.ports import TotpCodes, TotpRepository
from domain.identity.recovery import Recovery
from domain.identity.sessions import Sessions
from domain.identity.sign_in import WRONG_PROOF, SignIn

VERIFIED_WITHIN: Final = timedelta(minutes=5)
METHOD: Final = "otp"
_CODE: Final = re.compile("[0-9]{6}", re.ASCII)
ALREADY_ON: Final = "time-based codes are on already; turn them off first, or make new recovery codes"
_NOT_BEGUN: Final = "there is no authenticator app to check this code with; set one up first"


class Totp:
    """The use-cases of time-based codes."""

    def __init__(
        self,
        *,
        repository: TotpRepository,
        codes: TotpCodes,
        guesses: Guesses,
        own_password: OwnPassword,
        recovery: Recovery,
        sessions: Sessions,
        sign_in: SignIn,
        mfa_required: bool,
    ) -> None:
        self._mfa_required = mfa_required
        self._repository = repository
        self._codes = codes
        self._guesses = guesses
        self._own_password = own_password
        self._recovery = recovery
        self._sessions = sessions
        self._sign_in = sign_in

    # --- setting up ----------------------------------------------------------------------------------

    async def setup(self, scope: Scope) -> TotpSetup:
        """A new secret of the caller, instead of any other that is not enabled: of two at once the last one counts.

        Raises Forbidden for API keys and when the caller signed in too long ago, MfaRequired, Conflict when codes are
        on.
        """
        session = await self._sessions.require_fresh(scope)
        secret, user = self._codes.new_secret(), session.account.user
        shown = await self._codes.shown(secret, user.email)
        await self._repository.begin(self._change(session), self._codes.seal(user.id, secret))
        return shown

    async def check(self, scope: Scope, code: str) -> None:
        """Checks a code of the caller's own app: one that is set up may be enabled within 5 minutes without another.

        A code of an app that is enabled is used up, and the session counts as proved anew. Raises Forbidden for API
        keys, Unauthenticated naming `code`, Conflict without an app, RateLimited.
        """
        session = await self._sessions.current(scope)
        factor = await self._own_factor(session)
        step = await self._right_step(factor, code)
        now = self._sessions.now()
        if factor.enabled:
            right = await self._repository.prove(self._change(session), TotpUse(step))
        else:
            right = await self._repository.verified(factor, step, now)
        if not right:
            raise Unauthenticated(WRONG_PROOF, field="code")
        await self._guesses.take_back_factor(factor.user_id)
        self._sessions.reread(session.id)

    async def enable(self, scope: Scope, code: str | None) -> RecoveryCodes:
        """Turns codes on and answers fresh recovery codes: all of it happens, or nothing.

        Without a code only within 5 minutes of a right one. Raises this session to level 2 and ends the caller's other
        ones. Works once: sent again it is a Conflict, for the recovery codes are kept nowhere. Raises Forbidden for API
        keys, MfaRequired, Unauthenticated naming `code`, Conflict, RateLimited, Overloaded.
        """
        session = await self._sessions.require_proven(scope)
        factor = await self._own_factor(session)
        if factor.enabled:
            raise Conflict(ALREADY_ON)
        step = None
        if code is not None:
            step = await self._right_step(factor, code)
            await self._guesses.take_back_factor(factor.user_id)
        elif factor.verified_at is None or self._sessions.now() - factor.verified_at > VERIFIED_WITHIN:
            raise Unauthenticated("send a current code of the authenticator app", field="code")
        shown, stored = await self._recovery.fresh()
        ended = await self._repository.enable(self._change(session), factor, step, stored)
        self._sessions.reread(session.id)
        await self._sessions.forget(ended)
        return shown

    async def disable(self, scope: Scope, *, password: str) -> User:
        """Turns codes off, and forgets an app that was never enabled. Ends the caller's other sessions.

        The recovery codes go with the last factor. Again it changes nothing. Raises Forbidden for API keys,
        MfaRequired, Unauthenticated naming `password`, RateLimited, Overloaded, and Conflict for the last factor where
        one is required.
        """
        session, verified = await self._own_password.confirm(scope, password)
        ended = await self._repository.disable(self._change(session, verified))
        self._sessions.reread(session.id)
        await self._sessions.forget(ended)
        return (await self._sessions.current(scope)).account.user

    # --- signing in ----------------------------------------------------------------------------------

    async def verify(self, *, mfa_token: str, code: str, client: ClientInfo | None = None) -> AuthResult:
        """Completes a sign-in by a code. Works once: when the answer is lost, sign in again with the next code.

        Raises Unauthenticated naming `mfa_token` or `code`, RateLimited.
        """

        async def prove(pending: PendingSignIn) -> FactorUse | None:
            factor = await self._repository.factor(pending.account.user.id)
            step = None if factor is None or not factor.enabled else self._step(factor, code)
            return None if step is None else TotpUse(step)

        return await self._sign_in.by_code(mfa_token, prove, client)

    # --- checking ------------------------------------------------------------------------------------

    async def _own_factor(self, session: SessionRecord) -> TotpFactor:
        factor = await self._repository.factor(session.account.user.id)
        if factor is None:
            raise Conflict(_NOT_BEGUN)
        return factor

    async def _right_step(self, factor: TotpFactor, code: str) -> int:
        """The step of a right code; the try stays counted until it is taken back."""
        await self._guesses.count_factor(factor.user_id)
        step = self._step(factor, code)
        if step is None:
            raise Unauthenticated(WRONG_PROOF, field="code")
        return step

    def _step(self, factor: TotpFactor, code: str) -> int | None:
        # Only these ten digits: libraries fold other ones into them.
        return self._codes.step(factor, code, self._sessions.now()) if _CODE.fullmatch(code) else None

    def _change(self, session: SessionRecord, verified_hash: str | None = None) -> CredentialChange:
        return CredentialChange(
            session.account.user.id, session.id, self._sessions.now(), verified_hash, leaves_factor=self._mfa_required
        )
