"""From credentials to a `Scope`: the one gate every request and every socket goes through.

A wrong credential is always refused, never ignored, and never falls back to another one that came with it. Messages
do not tell an unknown credential from a revoked one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from domain.access import NOTHING, NOWHERE, Access, Principal, Scope, UserRole
from domain.errors import NotFound, Unauthenticated
from domain.identity.entities import Account, KeyRecord, Membership, SessionPolicy, SessionRecord
from domain.identity.live import LiveCache
from domain.identity.ports import AccessTokens, ApiKeyCodec, KeyRepository, SessionRepository

MAX_CREDENTIAL: Final = 4_096
Standings = Callable[[Sequence[tuple[str, str]]], Awaitable[dict[tuple[str, str], tuple[UserRole, Access]]]]
_KEY_TOUCH: Final = timedelta(minutes=1)
SIGN_IN: Final = "sign in first: send an access token or an API key as Authorization: Bearer"
_EXPIRED: Final = "the access token is not valid or its session has ended; sign in again, or refresh"
_WRONG_KEY: Final = "the API key is not valid: unknown, revoked or expired"
_OWNER_WITHOUT: Final = (
    "the owner of this API key has no second factor, which this server requires; the key works once they have added one"
)


class Authentication:
    """Checks access tokens and API keys, and finds the workspace they are used in."""

    def __init__(
        self,
        *,
        repository: SessionRepository,
        keys: KeyRepository,
        standings: Standings,
        access_tokens: AccessTokens,
        codec: ApiKeyCodec,
        policy: SessionPolicy,
        now: Callable[[], datetime],
        cache_seconds: float,
        mfa_required: bool = False,
    ) -> None:
        self._repository = repository
        self._mfa_required = mfa_required
        self._key_repository = keys
        self._standings = standings
        self._tokens = access_tokens
        self._codec = codec
        self._policy = policy
        self._now = now
        self._sessions = LiveCache(self._load_session, seconds=cache_seconds)
        self._keys = LiveCache(keys.key_by_lookup, seconds=cache_seconds)

    async def authenticate(self, authorization: str | None, session: str | None, workspace: str | None) -> Scope:
        """The scope of whoever presents these credentials.

        `authorization` is the whole header; `session` the access token of a cookie, looked at only without a header.
        Somebody who belongs to no workspace is NOWHERE. Raises Unauthenticated when nothing or something wrong is
        presented, NotFound for a workspace that is not the caller's.
        """
        if authorization is not None:
            return await self._by_header(authorization, workspace)
        if session is not None:
            return await self._by_access_token(session, workspace)
        raise Unauthenticated(SIGN_IN)

    async def ended(self, scopes: Iterable[Scope]) -> list[Scope]:
        """Those that no longer hold, in at most three look-ups however many there are; nothing of them is remembered.

        Their session or key has ended, or their principal may no longer do just what the scope says. Nothing is kept
        open NOWHERE.
        """
        held = list(scopes)
        sessions = [one.principal.session_id for one in held if one.principal.session_id is not None]
        keys = [one.principal.api_key_id for one in held if one.principal.api_key_id is not None]
        now, idle = self._now(), self._policy.idle
        alive = await self._repository.alive_sessions(sessions, now, idle) if sessions else set()
        alive |= await self._key_repository.alive_keys(keys, now, with_factor=self._mfa_required) if keys else set()
        places = {(one.principal.user_id, one.workspace_id) for one in held}
        standings = await self._standings(list(places)) if places else {}

        def holds(one: Scope) -> bool:
            principal = one.principal
            standing = standings.get((principal.user_id, one.workspace_id))
            credential = principal.session_id or principal.api_key_id
            if credential not in alive or standing is None:
                return False
            role, access = standing
            return (role, access.at(now)) == (principal.role, one.access)

        gone = [one for one in held if not holds(one)]
        for one in gone:
            self.forget_user(one.principal.user_id)
        return gone

    def forget_session(self, session_id: str) -> None:
        """Called when a session has ended."""
        self._sessions.drop(session_id)

    def forget_key(self, lookup: str) -> None:
        """Called when a key was revoked, with its public part."""
        self._keys.drop(lookup)

    def forget_user(self, user_id: str | None) -> None:
        """Called when a user's rights have changed; None: everybody's."""
        self._sessions.drop_where(lambda record: user_id in (None, record.account.user.id))
        self._keys.drop_where(lambda record: user_id in (None, record.account.user.id))

    async def _by_header(self, authorization: str, workspace: str | None) -> Scope:
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if not credential or len(credential) > MAX_CREDENTIAL:
            raise Unauthenticated("expected an access token or an API key as Authorization: Bearer")
        match scheme.lower():
            case "bearer" if credential.startswith("axk_"):
                return await self._by_api_key(credential, workspace)
            case "bearer":
                return await self._by_access_token(credential, workspace)
            case "basic":
                return await self._by_api_key(_basic_password(credential), workspace)
        raise Unauthenticated("unknown scheme; expected Authorization: Bearer, or Basic with an API key as password")

    async def _by_access_token(self, token: str, workspace: str | None) -> Scope:
        now = self._now()
        claims = await self._tokens.verify(token, now) if len(token) <= MAX_CREDENTIAL else None
        if claims is None:
            raise Unauthenticated(_EXPIRED)
        record = await self._sessions.get(claims.session_id)
        if record is None or record.account.user.id != claims.user_id or not record.alive(now, self._policy.idle):
            raise Unauthenticated(_EXPIRED)
        account = record.account
        user, room = account.user, _room_of(account, workspace)
        principal = Principal(
            user.id,
            user.email,
            user.role,
            session_id=record.id,
            must_change_password=user.must_change_password,
            must_add_factor=self._mfa_required and not (account.factors and record.assurance.level >= 2),
        )
        if room is None or principal.confined:
            return Scope(NOWHERE, principal, NOTHING)
        return Scope(room.workspace_id, principal, room.access.at(now))

    async def _by_api_key(self, text: str, workspace: str | None) -> Scope:
        presented = self._codec.parse(text)
        if presented is None:
            raise Unauthenticated("this is not an API key: its form or checksum is wrong")
        record = await self._keys.get(presented.lookup)
        if record is None or not hmac.compare_digest(record.secret_hash, presented.secret_hash):
            raise Unauthenticated(_WRONG_KEY)
        key, account = record.key, record.account
        now = self._now()
        if not key.usable(now) or account.disabled:
            raise Unauthenticated(_WRONG_KEY)
        if self._mfa_required and not account.factors:
            raise Unauthenticated(_OWNER_WITHOUT)
        room = account.memberships.get(key.workspace)
        if room is None or room.workspace_id != key.workspace_id:
            raise Unauthenticated("the owner of this API key is no longer a member of its workspace")
        if workspace is not None and workspace != key.workspace:
            raise NotFound("there is no such workspace for this API key", field="workspace")
        await self._touch_key(record, now)
        principal = Principal(
            account.user.id, account.user.email, account.user.role, api_key_id=key.id, scopes=key.key_scopes
        )
        return Scope(room.workspace_id, principal, room.access.at(now))

    async def _load_session(self, session_id: str) -> SessionRecord | None:
        record = await self._repository.session(session_id)
        now = self._now()
        if record is None or not record.alive(now, self._policy.idle):
            return record
        if now - record.last_seen_at < self._policy.touch_every:
            return record
        await self._repository.touch_session(session_id, now)
        return replace(record, last_seen_at=now)

    async def _touch_key(self, record: KeyRecord, now: datetime) -> None:
        """Notes the use of a key whose secret was right, to the minute."""
        key = record.key
        if key.last_used_at is not None and now - key.last_used_at < _KEY_TOUCH:
            return
        self._keys.amend(key.lookup, replace(record, key=replace(key, last_used_at=now)))
        await self._key_repository.touch_key(key.id, now)


def _basic_password(credential: str) -> str:
    try:
        decoded = base64.b64decode(credential, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthenticated("expected Authorization: Basic with base64 of 'name:API key'") from None
    return decoded.partition(":")[2]


def _room_of(account: Account, slug: str | None) -> Membership | None:
    """The workspace that was named, or the usual one; None for a member of none. Raises NotFound."""
    if slug is not None:
        found = account.memberships.get(slug)
        if found is None:
            raise NotFound("there is no such workspace", field="workspace")
        return found
    rooms = account.memberships.values()
    usual = (room for room in rooms if room.workspace_id == account.default_workspace_id)
    return next(usual, None) or next(iter(rooms), None)
