"""API keys: made, listed and revoked by signed-in people. A key never makes or revokes a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from domain import ids, names
from domain.access import KeyScope, Scope, UserRole
from domain.errors import BadUserInput, NotFound, Unavailable
from domain.identity.entities import ApiKey, ApiKeySecret
from domain.identity.ports import ApiKeyCodec, KeyRepository
from domain.paging import Page, PageRequest

MAX_KEYS: Final = 200
LIFETIME: Final = timedelta(days=90)
LONGEST: Final = timedelta(days=3_650)
REVOKED_SHOWN: Final = timedelta(days=30)
_ATTEMPTS: Final = 5


class KeyExpiry(Enum):
    """Says that no expiry was given: the key lives 90 days."""

    DEFAULT = "default"


class ApiKeys:
    """The use-cases of API keys.

    `slug` names a workspace; `ended` is called with a key that has just been revoked.
    """

    def __init__(
        self,
        *,
        repository: KeyRepository,
        codec: ApiKeyCodec,
        now: Callable[[], datetime],
        slug: Callable[[Scope], Awaitable[str]],
        ended: Callable[[ApiKey], Awaitable[None]],
    ) -> None:
        self._repository = repository
        self._codec = codec
        self._now = now
        self._slug = slug
        self._ended = ended

    async def create(
        self,
        scope: Scope,
        *,
        name: str,
        scopes: Sequence[str] | None,
        expires_at: datetime | KeyExpiry | None = KeyExpiry.DEFAULT,
    ) -> ApiKeySecret:
        """A new key of the caller in this workspace; `scopes` None carries every scope, `expires_at` None never ends.

        Raises Forbidden for API keys, BadUserInput, and Conflict when the caller has too many keys.
        """
        scope.require_session()
        now = self._now()
        title = names.title(name)
        allowed = frozenset(KeyScope) if scopes is None else parse_scopes(scopes)
        expires = now + LIFETIME if expires_at is KeyExpiry.DEFAULT else _expiry(expires_at, now)
        for _ in range(_ATTEMPTS):
            material = self._codec.generate()
            key = ApiKey(
                id=ids.new("key"),
                user_id=scope.principal.user_id,
                workspace_id=scope.workspace_id,
                workspace=await self._slug(scope),
                name=title,
                prefix=f"axk_{material.lookup}",
                key_scopes=allowed,
                created_at=now,
                expires_at=expires,
            )
            if await self._repository.add_key(scope, key, material.secret_hash, MAX_KEYS):
                return ApiKeySecret(key, material.text)
        raise Unavailable("could not find a free key id; try again", retry_after=1)

    async def revoke(self, scope: Scope, key_id: str) -> ApiKey:
        """Ends a key at once: the caller's own, or for an administrator anybody's in the workspace.

        Again changes nothing. Raises Forbidden for API keys, BadUserInput, NotFound.
        """
        scope.require_session()
        key = await self._repository.revoke_key(scope, ids.parse("key", key_id), self._now())
        if key is None:
            raise NotFound("there is no such API key", field="id")
        await self._ended(key)
        return key

    async def page(self, scope: Scope, request: PageRequest, offset: int = 0) -> Page[ApiKey]:
        """The caller's keys that are not revoked, newest first. Raises Forbidden for API keys."""
        scope.require_session()
        return await self._repository.keys_page(scope, request, offset)

    async def by_ids(self, scope: Scope, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        """The keys that the caller may see; an API key sees none."""
        if scope.principal.api_key_id is not None:
            return {}
        return await self._repository.keys_by_ids(scope, key_ids)

    async def of_users(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, list[ApiKey]]:
        """Keys by user, newest first, and those revoked of late; only of users whose keys the caller may see."""
        visible = [user_id for user_id in user_ids if self._may_list(scope, user_id)]
        return await self._repository.keys_of_users(scope, visible, self._now() - REVOKED_SHOWN) if visible else {}

    @staticmethod
    def _may_list(scope: Scope, user_id: str) -> bool:
        caller = scope.principal
        return caller.api_key_id is None and (caller.user_id == user_id or caller.role is UserRole.ADMIN)


def parse_scopes(texts: Iterable[str], *, field: str = "scopes") -> frozenset[KeyScope]:
    """Raises BadUserInput for an unknown scope, naming the known ones, and for none at all."""
    found = set()
    for place, text in enumerate(texts):
        try:
            found.add(KeyScope(text))
        except ValueError:
            known = ", ".join(scope.value for scope in KeyScope)
            raise BadUserInput(
                f"unknown scope {text[:64]!r}; expected one of {known}", field=f"{field}[{place}]"
            ) from None
    if not found:
        raise BadUserInput("expected at least one scope", field=field)
    return frozenset(found)


def _expiry(expires_at: datetime | None, now: datetime) -> datetime | None:
    if expires_at is None:
        return None
    if expires_at <= now:
        raise BadUserInput("expected a time in the future", field="expires_at")
    if expires_at > now + LONGEST:
        raise BadUserInput(
            "expected a time within ten years; leave it null for a key that never ends", field="expires_at"
        )
    return expires_at
