"""From credentials to a `Scope`: the one gate every request and every socket goes through.

A wrong credential is always refused, never ignored, and never falls back to another one that came with it. Messages
do not tell an unknown credential from a revoked one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from domain.access import Principal, Scope
from domain.errors import NotFound, Unauthenticated
from domain.identity.entities import Account, ApiKey, KeyRecord, SessionPolicy, SessionRecord
from domain.identity.live import LiveCache
from domain.identity.ports import AccessTokens, ApiKeyCodec, IdentityRepository, KeyRepository

MAX_CREDENTIAL: Final = 4_096
_KEY_TOUCH: Final = timedelta(minutes=1)
SIGN_IN: Final = "sign in first: send Authorization: Bearer with an access token or an API key"
_EXPIRED: Final = "the access token is not valid or its session has ended; sign in again, or refresh"
_WRONG_KEY: Final = "the API key is not valid: unknown, revoked or expired"


class Authentication:
    """Checks access tokens and API keys, and finds the workspace they are used in."""

    def __init__(
        self,
        *,
        repository: IdentityRepository,
        keys: KeyRepository,
        access_tokens: AccessTokens,
        codec: ApiKeyCodec,
        policy: SessionPolicy,
        now: Callable[[], datetime],
        cache_seconds: float,
    ) -> None:
        self._repository = repository
        self._key_repository = keys
        self._tokens = access_tokens
        self._codec = codec
        self._policy = policy
        self._now = now
        self._sessions = LiveCache(self._load_session, seconds=cache_seconds)
        self._keys = LiveCache(self._load_key, seconds=cache_seconds)

    async def authenticate(self, authorization: str | None, session: str | None, workspace: str | None) -> Scope:
        """The scope of whoever presents these credentials.

        `authorization` is the whole header; `session` the access token of a cookie, looked at only without a header.
        Raises Unauthenticated when nothing or something wrong is presented, NotFound for a workspace that is not
        the caller's.
        """
        if authorization is not None:
            return await self._by_header(authorization, workspace)
        if session is not None:
            return await self._by_access_token(session, workspace)
        raise Unauthenticated(SIGN_IN)

    async def ended(self, principals: Iterable[Principal]) -> list[Principal]:
        """Those whose session or key no longer works, in at most two look-ups however many there are."""
        held = list(principals)
        sessions = [one.session_id for one in held if one.session_id is not None]
        keys = [one.api_key_id for one in held if one.api_key_id is not None]
        now, idle = self._now(), self._policy.idle
        alive = await self._repository.alive_sessions(sessions, now, idle) if sessions else set()
        alive |= await self._key_repository.alive_keys(keys, now) if keys else set()
        return [one for one in held if (one.session_id or one.api_key_id) not in alive]

    def forget_session(self, session_id: str) -> None:
        """Called when a session has ended."""
        self._sessions.drop(session_id)

    def forget_key(self, key: ApiKey) -> None:
        """Called when a key was revoked."""
        self._keys.drop(key.lookup)

    async def _by_header(self, authorization: str, workspace: str | None) -> Scope:
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if not credential or len(credential) > MAX_CREDENTIAL:
            raise Unauthenticated("expected Authorization: Bearer with an access token or an API key")
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
        principal = Principal(account.user.id, account.user.email, account.user.role, session_id=record.id)
        return Scope(_workspace_of(account, workspace), principal)

    async def _by_api_key(self, text: str, workspace: str | None) -> Scope:
        presented = self._codec.parse(text)
        if presented is None:
            raise Unauthenticated("this is not an API key: its form or checksum is wrong")
        record, scope = await self._keys.get(presented.lookup) or (None, None)
        if record is None or scope is None or not hmac.compare_digest(record.secret_hash, presented.secret_hash):
            raise Unauthenticated(_WRONG_KEY)
        key, account = record.key, record.account
        now = self._now()
        if not key.usable(now) or account.disabled:
            raise Unauthenticated(_WRONG_KEY)
        if account.workspaces.get(key.workspace) != key.workspace_id:
            raise Unauthenticated("the owner of this API key is no longer a member of its workspace")
        if workspace is not None and workspace != key.workspace:
            raise NotFound("there is no such workspace for this API key", field="workspace")
        await self._touch_key(record, scope, now)
        return scope

    async def _load_key(self, lookup: str) -> tuple[KeyRecord, Scope] | None:
        """A key and the scope of whoever has its secret; every use of it is checked all the same."""
        record = await self._key_repository.key_by_lookup(lookup)
        if record is None:
            return None
        user, key = record.account.user, record.key
        principal = Principal(user.id, user.email, user.role, api_key_id=key.id, scopes=key.key_scopes)
        return record, Scope(key.workspace_id, principal)

    async def _load_session(self, session_id: str) -> SessionRecord | None:
        record = await self._repository.session(session_id)
        now = self._now()
        if record is None or not record.alive(now, self._policy.idle):
            return record
        if now - record.last_seen_at < self._policy.touch_every:
            return record
        await self._repository.touch_session(session_id, now)
        return replace(record, last_seen_at=now)

    async def _touch_key(self, record: KeyRecord, scope: Scope, now: datetime) -> None:
        """Notes the use of a key whose secret was right, to the minute."""
        key = record.key
        if key.last_used_at is not None and now - key.last_used_at < _KEY_TOUCH:
            return
        self._keys.amend(key.lookup, (replace(record, key=replace(key, last_used_at=now)), scope))
        await self._key_repository.touch_key(key.id, now)


def _basic_password(credential: str) -> str:
    try:
        decoded = base64.b64decode(credential, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthenticated("expected Authorization: Basic with base64 of 'name:API key'") from None
    return decoded.partition(":")[2]


def _workspace_of(account: Account, slug: str | None) -> str:
    if slug is not None:
        found = account.workspaces.get(slug)
        if found is None:
            raise NotFound("there is no such workspace", field="workspace")
        return found
    if account.default_workspace_id in account.workspaces.values():
        return account.default_workspace_id
    for workspace_id in account.workspaces.values():
        return workspace_id
    raise NotFound("you are not a member of any workspace", field="workspace")
