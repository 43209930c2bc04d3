"""Passkeys (WebAuthn): registered, used as second factor, used alone, removed.

A challenge is taken out of storage before its answer is looked at, so that every answer is good for one try. Nothing
here may tell a stranger which credentials exist: whoever names no pending sign-in is offered none, and every failed
sign-in by passkey alone reads the same.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Final

from domain import audit, ids, names
from domain.access import Scope
from domain.errors import BadUserInput, Conflict, NotFound, Unauthenticated
from domain.identity.entities import AuthResult, ClientInfo
from domain.identity.factors import Assurance, Credential, CredentialChange, FactorKind, PasskeyUse
from domain.identity.passkey_ports import (
    Addition,
    Assertion,
    Ceremonies,
    Ceremony,
    Challenge,
    NewPasskey,
    PasskeyRecord,
    PasskeyRepository,
    Purpose,
    Unproven,
)
from domain.identity.passwords import OwnPassword
from domain.identity.sessions import Sessions
from domain.identity.sign_in import WRONG_PENDING, SignIn

MOST_PASSKEYS: Final = 10
CHALLENGE_LIFETIME: Final = timedelta(minutes=5)
PASSKEY_ALONE: Final = Assurance(2, ("hwk", "user"))
WRONG_PASSKEY: Final = "this passkey is not one that opens an account here, or its answer is wrong; try again"
NO_CEREMONIES: Final = (
    "this server takes no passkeys: they need a host name and https (or http://localhost); its operator can set"
    " server.public_url or webauthn.origins"
)
_CHALLENGE_BYTES: Final = 32
_HANDLE_BYTES: Final = 64
_CREDENTIAL: Final = "credential"


class Passkeys:
    """The use-cases of passkeys. `ceremonies` is None where no browser could ever use one."""

    def __init__(
        self,
        *,
        repository: PasskeyRepository,
        ceremonies: Ceremonies | None,
        own_password: OwnPassword,
        sessions: Sessions,
        sign_in: SignIn,
        mfa_required: bool,
    ) -> None:
        self._mfa_required = mfa_required
        self._repository = repository
        self._known_ceremonies = ceremonies
        self._own_password = own_password
        self._sessions = sessions
        self._sign_in = sign_in

    # --- registering ---------------------------------------------------------------------------------

    async def start_registration(self, scope: Scope) -> Ceremony:
        """What a browser needs to make a passkey for the caller.

        Raises Forbidden for API keys and when the caller signed in too long ago, MfaRequired, Conflict.
        """
        ceremonies = self._ceremonies()
        session = await self._sessions.require_fresh(scope)
        user = session.account.user
        handle = await self._repository.handle(user.id, secrets.token_bytes(_HANDLE_BYTES))
        known = await self._repository.credential_ids(user.id)
        if len(known) >= MOST_PASSKEYS:
            raise Conflict(_too_many())
        challenge, text = self._new_challenge(Purpose.REGISTER, user_id=user.id)
        await self._keep(challenge)
        return Ceremony(
            challenge.id, ceremonies.creation_options(challenge=text, handle=handle, user=user, known=known)
        )

    async def finish_registration(
        self, scope: Scope, *, name: str, credential: object, ceremony_id: str | None = None
    ) -> Credential:
        """Keeps the passkey that a browser made. Ends the caller's other sessions and raises this one to level 2.

        Raises Forbidden, MfaRequired; BadUserInput naming `name`, `credential` or the part of it; Conflict when the
        challenge is gone, the passkey or its name is taken, or there are too many.
        """
        ceremonies = self._ceremonies()
        session = await self._sessions.require_fresh(scope)
        user = session.account.user
        title = names.title(name)
        creation = ceremonies.read_creation(credential)
        if not await self._take(Purpose.REGISTER, creation.challenge, ceremony_id, user_id=user.id):
            raise Conflict("this registration has expired or was finished already; start again", field=_CREDENTIAL)
        try:
            attested = ceremonies.verify_creation(creation)
        except Unproven as problem:
            raise BadUserInput(f"this passkey cannot be taken: {problem}", field=_CREDENTIAL) from None
        change = CredentialChange(user.id, session.id, self._sessions.now())
        shown = Credential(ids.new("psk"), user.id, FactorKind.WEBAUTHN, title, change.at)
        new = NewPasskey(shown, _digest(attested.credential_id), attested)
        outcome, ended = await self._repository.add(change, new, MOST_PASSKEYS)
        match outcome:
            case Addition.TAKEN:
                raise Conflict("this passkey is registered already", field=_CREDENTIAL)
            case Addition.NAME_TAKEN:
                raise Conflict("you have a passkey of this name; choose another one", field="name")
            case Addition.TOO_MANY:
                raise Conflict(_too_many())
            case Addition.ADDED:
                pass
        self._sessions.reread(session.id)
        await self._sessions.forget(ended)
        return shown

    async def delete(self, scope: Scope, passkey_id: str, *, password: str) -> str:
        """Removes a passkey of the caller and ends their other sessions; its id.

        After the last factor the password alone signs in again, and the recovery codes are gone. Raises Forbidden for
        API keys, MfaRequired, BadUserInput, Unauthenticated naming `password`, NotFound, RateLimited, Overloaded, and
        Conflict for the last one that works where a factor is required.
        """
        scope.require_session()
        canonical = ids.parse("psk", passkey_id)
        session, verified = await self._own_password.confirm(scope, password)
        change = CredentialChange(
            session.account.user.id, session.id, self._sessions.now(), verified, leaves_factor=self._mfa_required
        )
        ended = await self._repository.delete(change, canonical)
        if ended is None:
            raise NotFound("you have no such passkey", field="id")
        self._sessions.reread(session.id)
        await self._sessions.forget(ended)
        return canonical

    # --- signing in ----------------------------------------------------------------------------------

    async def start(self, mfa_token: str | None = None) -> Ceremony:
        """What a browser needs to use a passkey: one of a pending sign-in, or without a token any that it has.

        Raises Unauthenticated naming `mfa_token`; Conflict when the account has no passkey.
        """
        ceremonies = self._ceremonies()
        if mfa_token is None:
            challenge, text = self._new_challenge(Purpose.LOGIN)
            await self._keep(challenge)
            return Ceremony(challenge.id, ceremonies.request_options(challenge=text, known=(), verified=True))
        pending = await self._sign_in.pending(mfa_token)
        user_id = pending.account.user.id
        if FactorKind.WEBAUTHN not in pending.account.factors:
            raise Conflict("this account has no passkey; use its other second factor", field="mfa_token")
        known = await self._repository.credential_ids(user_id)
        challenge, text = self._new_challenge(Purpose.SECOND, user_id=user_id, pending_id=pending.id)
        if not await self._repository.keep_challenge(challenge, self._sessions.now()):
            raise Unauthenticated(WRONG_PENDING, field="mfa_token")
        return Ceremony(challenge.id, ceremonies.request_options(challenge=text, known=known, verified=False))

    async def finish(
        self,
        *,
        credential: object,
        mfa_token: str | None = None,
        ceremony_id: str | None = None,
        client: ClientInfo | None = None,
    ) -> AuthResult:
        """Opens a session: of the pending sign-in, or without a token of whom the passkey belongs to.

        Raises Unauthenticated naming `mfa_token` or `credential`; BadUserInput naming the part of `credential`.
        """
        if mfa_token is None:
            return await self._finish_alone(credential, ceremony_id, client or ClientInfo())
        ceremonies = self._ceremonies()
        pending = await self._sign_in.pending(mfa_token)
        user_id = pending.account.user.id
        given = ceremonies.read_assertion(credential)
        use = None
        if await self._take(Purpose.SECOND, given.challenge, ceremony_id, user_id=user_id, pending_id=pending.id):
            record = await self._repository.passkey(_digest(given.credential_id))
            if record is not None and record.account.user.id == user_id and _handle_fits(given, record):
                use = await self._proven(given, record, verified=False)
        if use is None:
            await self._sign_in.refuse(pending)
        return await self._sign_in.complete(pending, use, client)

    async def _finish_alone(self, credential: object, ceremony_id: str | None, client: ClientInfo) -> AuthResult:
        given = self._ceremonies().read_assertion(credential)
        use = record = None
        if await self._take(Purpose.LOGIN, given.challenge, ceremony_id):
            record = await self._repository.passkey(_digest(given.credential_id))
            if record is not None:
                audit.concerning(record.account.user.id)
            if record is not None and given.handle is not None and _handle_fits(given, record):
                use = await self._proven(given, record, verified=True)
        if record is None or use is None or record.account.disabled:
            raise Unauthenticated(WRONG_PASSKEY, field=_CREDENTIAL)
        session = self._sessions.new(client, PASSKEY_ALONE)
        user = record.account.user
        if not await self._repository.open_session(user.id, use, session):
            raise Unauthenticated(WRONG_PASSKEY, field=_CREDENTIAL)
        return self._sessions.opened(replace(user, last_login_at=session.created_at), session)

    async def _proven(self, given: Assertion, record: PasskeyRecord, *, verified: bool) -> PasskeyUse | None:
        """The use of this passkey when its answer is right.

        A genuine answer that counts no further than the last one means that there are two of this passkey: it is
        flagged and never taken again. Only genuine ones: else anybody could take a passkey out of service.
        """
        if record.flagged:
            return None
        try:
            proof = self._ceremonies().verify_assertion(given, record.public_key, require_user_verification=verified)
        except Unproven:
            return None
        seen, new = record.sign_count, proof.sign_count
        if (seen or new) and new <= seen:
            await self._repository.flag(record.id, new, self._sessions.now())
            return None
        return PasskeyUse(record.id, seen_count=seen, new_count=new, backed_up=proof.backed_up)

    # --- challenges ----------------------------------------------------------------------------------

    def _ceremonies(self) -> Ceremonies:
        if self._known_ceremonies is None:
            raise Conflict(NO_CEREMONIES)
        return self._known_ceremonies

    def _new_challenge(
        self, purpose: Purpose, *, user_id: str | None = None, pending_id: str | None = None
    ) -> tuple[Challenge, bytes]:
        text = secrets.token_bytes(_CHALLENGE_BYTES)
        challenge = Challenge(
            id=secrets.token_hex(16),
            purpose=purpose,
            digest=_digest(text),
            rp_id=self._ceremonies().rp_id,
            expires_at=self._sessions.now() + CHALLENGE_LIFETIME,
            user_id=user_id,
            pending_id=pending_id,
        )
        return challenge, text

    async def _keep(self, challenge: Challenge) -> None:
        if not await self._repository.keep_challenge(challenge, self._sessions.now()):
            raise Unauthenticated("this account no longer exists")

    async def _take(
        self,
        purpose: Purpose,
        text: bytes,
        ceremony_id: str | None,
        *,
        user_id: str | None = None,
        pending_id: str | None = None,
    ) -> bool:
        """Whether this challenge was waiting for exactly this answer; afterwards it no longer is."""
        now = self._sessions.now()
        given = Challenge(ceremony_id or "", purpose, _digest(text), self._ceremonies().rp_id, now, user_id, pending_id)
        return await self._repository.take_challenge(given, now)


def _handle_fits(given: Assertion, record: PasskeyRecord) -> bool:
    """Whether the user whom the authenticator names, if any, is the one whom the passkey belongs to."""
    return given.handle is None or hmac.compare_digest(given.handle, record.handle)


def _too_many() -> str:
    return f"at most {MOST_PASSKEYS} passkeys; remove one first"


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
