"""What identity needs from outside: storage, and cryptography. Each method of the repository is one atomic unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from domain.access import Scope
from domain.identity.entities import (
    Account,
    ApiKey,
    Founding,
    FoundingOutcome,
    KeyRecord,
    NewPendingSignIn,
    NewSession,
    PendingSignIn,
    Session,
    SessionRecord,
    SetupState,
    User,
)
from domain.identity.factors import Completion, FactorUse
from domain.paging import Page, PageRequest


class Verdict(Enum):
    """What a password check found. OUTDATED: right, but hashed with weaker parameters than today's."""

    WRONG = "wrong"
    RIGHT = "right"
    OUTDATED = "outdated"


class Passwords(Protocol):
    """Slow password hashing in bounded room; both methods raise Overloaded when it is full."""

    async def hash(self, password: str) -> str:
        """The encoded hash to store."""
        ...

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """Computes exactly one hash, also when there is nothing stored to compare with."""
        ...


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a genuine access token says."""

    user_id: str
    session_id: str


class AccessTokens(Protocol):
    """Signed, short-lived tokens."""

    def issue(self, *, user_id: str, session_id: str, now: datetime, expires: datetime) -> str:
        """A token for one session."""
        ...

    async def verify(self, token: str, now: datetime) -> AccessClaims | None:
        """The claims of a token we signed and that is valid now; None for anything else."""
        ...


@dataclass(frozen=True, slots=True)
class PresentedRefresh:
    """A well-formed refresh token, not yet known to be genuine."""

    session_id: str
    counter: int
    tag: bytes


class RefreshTokens(Protocol):
    """Opaque tokens that only their session's key can make."""

    def new_key(self, session_id: str) -> bytes:
        """A fresh key for a session, sealed for storage."""
        ...

    def issue(self, session_id: str, counter: int, sealed_key: bytes) -> str:
        """The token of this count: the same bytes every time."""
        ...

    def parse(self, token: str) -> PresentedRefresh | None:
        """None when it has not the form of a refresh token."""
        ...

    def genuine(self, presented: PresentedRefresh, sealed_key: bytes) -> bool:
        """Whether the session's key made it."""
        ...


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """An API key as text, its public part, and the hash that is stored."""

    text: str
    lookup: str
    secret_hash: bytes


class ApiKeyCodec(Protocol):
    """The form of API keys."""

    def generate(self) -> KeyMaterial:
        """A new random key."""
        ...

    def parse(self, text: str) -> KeyMaterial | None:
        """The parts of a presented key; None when its form or checksum is wrong."""
        ...


class OpenConnections(Protocol):
    """The long-lived connections of this process, told after the commit."""

    async def end_session(self, session_id: str) -> None:
        """Closes what this session opened."""
        ...

    async def end_api_key(self, api_key_id: str) -> None:
        """Closes what this API key opened."""
        ...


class NoConnections:
    """For programs without long-lived connections: there is nothing to close."""

    async def end_session(self, session_id: str) -> None:
        pass

    async def end_api_key(self, api_key_id: str) -> None:
        pass


class SetupTokenStore(Protocol):
    """Where the person who may set up finds the one-time token: readable by the owner of the server only."""

    def read(self) -> str | None:
        """The token kept there, if any."""
        ...

    def write(self, token: str) -> None:
        """Keeps a token, replacing any other."""
        ...

    def clear(self) -> None:
        """Removes it."""
        ...


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair of the instance. `private_sealed` is encrypted under the root secret, `public` are 32 raw bytes."""

    kid: str
    private_sealed: bytes
    public: bytes
    not_before: datetime
    retired_at: datetime | None = None


class SigningKeyStore(Protocol):
    """The keys every server of one database shares."""

    async def claim_root(self, fingerprint: str) -> str:
        """Stores the fingerprint of the root secret unless one is stored; answers the stored one."""
        ...

    async def signing_keys(self, candidate: SigningKey | None = None) -> list[SigningKey]:
        """All keys. Without any key in use the candidate is added first, by one server only."""
        ...


class IdentityRepository(Protocol):
    """Rows of identity."""

    async def setup_state(self) -> SetupState: ...

    async def offer_setup(self, token_hash: bytes) -> bool:
        """Makes this the setup token; False once the instance is set up."""
        ...

    async def found(self, founding: Founding, token_hash: bytes | None, now: datetime) -> FoundingOutcome:
        """Sets up, once for ever. `token_hash` None: the operator of the server vouches (headless)."""
        ...

    async def credentials(self, email: str) -> tuple[Account, str | None] | None:
        """An account and its password hash."""
        ...

    async def open_session(
        self, user_id: str, session: NewSession, verified_hash: str, better_hash: str | None
    ) -> bool:
        """False when the user was disabled, got a second factor, or changed their password since it was verified."""
        ...

    async def users_by_ids(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, User]:
        """Members of the workspace, and authors of its rows."""
        ...

    async def workspace_slug(self, scope: Scope) -> str: ...


class SessionRepository(Protocol):
    """Rows of sessions."""

    async def session(self, session_id: str) -> SessionRecord | None: ...

    async def advance(self, session_id: str, counter: int, now: datetime, idle: timedelta) -> bool:
        """Counts a refresh up from `counter`; False when the count has moved or the session is over."""
        ...

    async def touch_session(self, session_id: str, now: datetime) -> None: ...

    async def end_session(self, session_id: str, reason: str, now: datetime) -> bool:
        """False when it was over already."""
        ...

    async def alive_sessions(self, session_ids: Sequence[str], now: datetime, idle: timedelta) -> set[str]:
        """Those of them that are not over."""
        ...

    async def end_sessions(self, user_id: str, reason: str, now: datetime, but: str | None) -> list[str]:
        """Ends all sessions of a user but one; those that were not over already."""
        ...

    async def living(
        self, user_ids: Sequence[str], now: datetime, idle: timedelta, current: str | None
    ) -> dict[str, list[Session]]:
        """Sessions that are not over, by user, newest first; a user without any has an empty list."""
        ...


class PendingRepository(Protocol):
    """Rows of sign-ins that wait for a second factor."""

    async def begin(self, pending: NewPendingSignIn) -> None:
        """Stores one; the oldest of the user's beyond a few, and everybody's expired ones, go."""
        ...

    async def pending(self, token_digest: str, now: datetime) -> PendingSignIn | None:
        """One that has not expired, of an account that is not disabled."""
        ...

    async def count_failure(self, pending_id: str, most: int) -> None:
        """Counts a wrong proof, and removes the row at `most`."""
        ...

    async def complete(self, pending: PendingSignIn, use: FactorUse, session: NewSession) -> Completion:
        """Removes the row, uses the factor up and opens the session: all of it or nothing."""
        ...


class KeyRepository(Protocol):
    """Rows of API keys."""

    async def key_by_lookup(self, lookup: str) -> KeyRecord | None: ...

    async def alive_keys(self, key_ids: Sequence[str], now: datetime) -> set[str]:
        """Those of them that still work."""
        ...

    async def touch_key(self, key_id: str, now: datetime) -> None: ...

    async def add_key(self, scope: Scope, key: ApiKey, secret_hash: bytes, most: int) -> bool:
        """False when the public part is taken. Raises Conflict when the user has `most` keys."""
        ...

    async def revoke_key(self, scope: Scope, key_id: str, now: datetime) -> ApiKey | None:
        """Own keys of this workspace only; revoking again changes nothing."""
        ...

    async def keys_page(self, scope: Scope, request: PageRequest, offset: int) -> Page[ApiKey]:
        """The caller's keys that are not revoked, newest first."""
        ...

    async def keys_by_ids(self, scope: Scope, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        """Own keys; for administrators, anybody's."""
        ...

    async def keys_of_users(self, scope: Scope, user_ids: Sequence[str], since: datetime) -> dict[str, list[ApiKey]]:
        """Keys that are not revoked, and those revoked after `since`; newest first."""
        ...
