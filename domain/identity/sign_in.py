"""Signing in: by password, and the second step of whoever has a second factor.

This must never tell by message or by work done whether an address has an account: every failed login costs exactly one
password hash. What the first step hands out is good for the second step alone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final, NoReturn

from domain import audit, ids
from domain.errors import Overloaded, Unauthenticated
from domain.identity import rules
from domain.identity.entities import AuthResult, ClientInfo, NewPendingSignIn, PendingSignIn
from domain.identity.factors import PASSWORD_ALONE, Completion, FactorUse, PasskeyUse
from domain.identity.guesses import Guesses
from domain.identity.ports import IdentityRepository, Passwords, PendingRepository, Verdict
from domain.identity.sessions import Sessions

WRONG_LOGIN: Final = "the e-mail address or the password is wrong"
WRONG_PENDING: Final = "the sign-in has expired or was completed already; start again with your password"
WRONG_PROOF: Final = "this code is wrong, or it was used already"
WRONG_ASSERTION: Final = "this passkey is not one of this account, or its answer is wrong; try again"
PENDING_PREFIX: Final = "axm_"
PENDING_LIFETIME: Final = timedelta(minutes=5)
MOST_FAILURES: Final = 5
_LOGIN_ATTEMPTS: Final = 3
_TOKEN_BYTES: Final = 32
_MAX_TOKEN: Final = 128


class SignIn:
    """Opens sessions for people who prove who they are."""

    def __init__(
        self,
        *,
        repository: IdentityRepository,
        pending: PendingRepository,
        passwords: Passwords,
        guesses: Guesses,
        sessions: Sessions,
    ) -> None:
        self._repository = repository
        self._pending = pending
        self._passwords = passwords
        self._guesses = guesses
        self._sessions = sessions

    async def by_password(self, *, email: str, password: str, client: ClientInfo | None = None) -> AuthResult:
        """Opens a session, or a pending sign-in for an account with a second factor.

        Raises Unauthenticated; BadUserInput for a password nobody can have; RateLimited after too many wrong ones;
        Overloaded.
        """
        secret = rules.presented_password(password)
        address = rules.email_to_look_up(email)
        origin = client or ClientInfo()
        for _ in range(_LOGIN_ATTEMPTS):
            found = None if address is None else await self._repository.credentials(address)
            stored = None if found is None else found[1]
            if found is not None:
                audit.concerning(found[0].user.id)
            verdict = await self._guesses.check_password(email, stored, secret)
            if found is None or stored is None or verdict is Verdict.WRONG:
                break
            account = found[0]
            if account.disabled:
                raise Unauthenticated("this account is disabled; ask an administrator")
            better = await self._passwords.hash(secret) if verdict is Verdict.OUTDATED else None
            if account.factors:
                if better is not None and not await self._repository.renew_hash(account.user.id, stored, better):
                    continue
                return AuthResult(
                    account.user, None, await self._await_factor(account.user.id, better or stored, origin)
                )
            session = self._sessions.new(origin, PASSWORD_ALONE)
            if await self._repository.open_session(account.user.id, session, stored, better):
                return self._sessions.opened(replace(account.user, last_login_at=session.created_at), session)
            # The hash changed meanwhile (another login renewed it, or the password is another one now), or the
            # account got its first factor.
        raise Unauthenticated(WRONG_LOGIN)

    async def pending(self, token: str) -> PendingSignIn:
        """What this token of a first step stands for. Raises Unauthenticated naming `mfa_token`."""
        found = None
        if token.startswith(PENDING_PREFIX) and len(token) <= _MAX_TOKEN:
            found = await self._pending.pending(_digest(token), self._sessions.now(), MOST_FAILURES)
        if found is None:
            raise Unauthenticated(WRONG_PENDING, field="mfa_token")
        audit.concerning(found.account.user.id)
        return found

    async def by_code(
        self,
        token: str,
        prove: Callable[[PendingSignIn], Awaitable[FactorUse | None]],
        client: ClientInfo | None = None,
    ) -> AuthResult:
        """Completes a sign-in by something that can be guessed; `prove` answers what a right code uses up.

        The fifth wrong code ends the pending sign-in. Raises Unauthenticated naming `mfa_token` or `code`, RateLimited
        after too many wrong codes for the account, Overloaded.
        """
        pending = await self.pending(token)
        user_id = pending.account.user.id
        await self._guesses.count_factor(user_id)
        if not await self._pending.count_try(pending.id, MOST_FAILURES):
            await self._guesses.take_back_factor(user_id)
            raise Unauthenticated(WRONG_PENDING, field="mfa_token")
        try:
            use = await prove(pending)
        except Overloaded:
            await self._pending.forget_try(pending.id)
            await self._guesses.take_back_factor(user_id)
            raise
        if use is None:
            raise Unauthenticated(WRONG_PROOF, field="code")
        result = await self.complete(pending, use, client)
        await self._guesses.take_back_factor(user_id)
        return result

    async def refuse(self, pending: PendingSignIn) -> NoReturn:
        """Counts a wrong answer of a passkey, which nobody guesses; the fifth ends the pending sign-in.

        Always raises Unauthenticated.
        """
        await self._pending.count_try(pending.id, MOST_FAILURES)
        raise Unauthenticated(WRONG_ASSERTION, field="credential")

    async def complete(self, pending: PendingSignIn, use: FactorUse, client: ClientInfo | None = None) -> AuthResult:
        """Opens the session of a pending sign-in whose second factor was right. Raises Unauthenticated."""
        session = self._sessions.new(client or ClientInfo(), PASSWORD_ALONE.with_method(use.method))
        match await self._pending.complete(pending, use, session):
            case Completion.GONE:
                raise Unauthenticated(WRONG_PENDING, field="mfa_token")
            case Completion.REPLAYED:
                if isinstance(use, PasskeyUse):
                    await self.refuse(pending)
                raise Unauthenticated(WRONG_PROOF, field="code")
            case Completion.OPENED:
                pass
        return self._sessions.opened(replace(pending.account.user, last_login_at=session.created_at), session)

    async def _await_factor(self, user_id: str, verified_hash: str, client: ClientInfo) -> str:
        token = PENDING_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        now = self._sessions.now()
        await self._pending.begin(
            NewPendingSignIn(
                id=ids.new("pen"),
                user_id=user_id,
                token_digest=_digest(token),
                verified_hash=verified_hash,
                created_at=now,
                expires_at=now + PENDING_LIFETIME,
                client=client.cleaned(),
            )
        )
        return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
