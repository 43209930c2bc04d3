"""What identity needs from outside: storage, and cryptography. Each method of the repository is one atomic unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from domain.access import Access, Scope, UserRole
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
from domain.identity.factors import (
    Completion,
    Credential,
    CredentialChange,
    FactorUse,
    RecoveryCode,
    TotpFactor,
    TotpSetup,
    TotpUse,
)
from domain.paging import Page, PageRequest

if TYPE_CHECKING:
    from domain.identity.guesses import GuessRule


class Verdict(Enum):
    """What a password check found. OUTDATED: right, but hashed with weaker parameters than today's."""

    WRONG = "wrong"
    RIGHT = "right"
    OUTDATED = "outdated"


class Passwords(Protocol):
    """Slow work with passwords in bounded room; all methods raise Overloaded when it is full."""

    async def hash(self, password: str) -> str:
        """The encoded hash to store."""
        ...

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """Computes exactly one hash, also when there is nothing stored to compare with."""
        ...

    async def guesses(self, password: str, words: Sequence[str]) -> float:
        """How many guesses it takes to find a password, by somebody who knows these lower-case words about it."""
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

    async def signed(self, token: str) -> AccessClaims | None:
        """The claims of a token we signed, also when its time is over; good for ending its session and nothing else."""
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

    async def renew_hash(self, user_id: str, verified_hash: str, better_hash: str) -> bool:
        """Stores the same password under a better hash; False when the hash is another one by now."""
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

    async def standings(self, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[UserRole, Access]]:
        """Role and access by (user id, workspace id), of those that may enter the workspace."""
        ...


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

    async def pending(self, token_digest: str, now: datetime, most: int) -> PendingSignIn | None:
        """One that has not expired and was tried fewer than `most` times, of an account that is not disabled."""
        ...

    async def count_try(self, pending_id: str, most: int) -> bool:
        """Counts a try at the second factor; False, and nothing counted, when there were `most`."""
        ...

    async def forget_try(self, pending_id: str) -> None:
        """Takes one back that was not made."""
        ...

    async def complete(self, pending: PendingSignIn, use: FactorUse, session: NewSession) -> Completion:
        """Removes the row, uses the factor up and opens the session: all of it or nothing."""
        ...


class AttemptRepository(Protocol):
    """Rows that count tries at an account."""

    async def count(self, key: str, rule: GuessRule, now: datetime) -> datetime | None:
        """Counts a try; or counts nothing and answers until when none may be made."""
        ...

    async def take_back(self, key: str, rule: GuessRule) -> None:
        """One try less, and no wait when that leaves fewer than the free ones."""
        ...

    async def forget(self, key: str) -> None:
        """All tries."""
        ...

    async def blocked(self, keys: Sequence[str], now: datetime) -> dict[str, datetime]:
        """Until when none may be made, by key; of those for which that is so."""
        ...


class TotpCodes(Protocol):
    """Time-based codes (RFC 6238: SHA-1, six digits, 30 seconds) and their secrets, sealed for one user."""

    def new_secret(self) -> str:
        """160 random bits in base32."""
        ...

    def seal(self, user_id: str, secret: str) -> bytes: ...

    async def shown(self, secret: str, address: str) -> TotpSetup:
        """What an authenticator app needs for the account of this address."""
        ...

    def step(self, factor: TotpFactor, code: str, now: datetime) -> int | None:
        """The time step whose code this is: the present one, the one before or the one after. None: wrong."""
        ...


class TotpRepository(Protocol):
    """Rows of authenticator apps. What takes a change raises what the change of credentials raises."""

    async def factor(self, user_id: str) -> TotpFactor | None: ...

    async def begin(self, change: CredentialChange, secret_sealed: bytes) -> None:
        """Stores a secret that is not enabled, instead of any other such. Raises Conflict when one is enabled."""
        ...

    async def verified(self, factor: TotpFactor, step: int, now: datetime) -> bool:
        """Notes that a code of a secret that is not enabled was right; False when it was replaced meanwhile."""
        ...

    async def prove(self, change: CredentialChange, use: TotpUse) -> bool:
        """Uses a code of an enabled secret up, for this session; False when it was used before."""
        ...

    async def enable(
        self,
        change: CredentialChange,
        factor: TotpFactor,
        step: int | None,
        codes: Sequence[RecoveryCode],
    ) -> list[str]:
        """Enables this secret, replaces the recovery codes, raises the session and ends the user's others: these ids.

        Raises Conflict when a secret is enabled or was replaced meanwhile.
        """
        ...

    async def disable(self, change: CredentialChange) -> list[str]:
        """Removes the secret, and the recovery codes when no other factor is left; ids of the sessions this ended.

        Raises Conflict when the change must leave a factor and would leave none that works.
        """
        ...


class RecoveryRepository(Protocol):
    """Rows of recovery codes."""

    async def unused(self, user_id: str, place: str) -> RecoveryCode | None: ...

    async def replace(self, change: CredentialChange, codes: Sequence[RecoveryCode]) -> list[str]:
        """Stores codes instead of all others; ids of the sessions this ended. Raises Conflict without any factor."""
        ...


class CredentialRepository(Protocol):
    """What somebody signs in with, as a whole."""

    async def credentials_of_users(self, user_ids: Sequence[str]) -> dict[str, list[Credential]]:
        """Second factors by user, oldest first; a user without any has an empty list."""
        ...

    async def change_password(self, change: CredentialChange, new_hash: str) -> list[str]:
        """Stores another password hash; ids of the sessions this ended."""
        ...


class KeyRepository(Protocol):
    """Rows of API keys."""

    async def key_by_lookup(self, lookup: str) -> KeyRecord | None: ...

    async def alive_keys(self, key_ids: Sequence[str], now: datetime, *, with_factor: bool) -> set[str]:
        """Those of them that are neither revoked nor expired, and whose owner is not disabled.

        `with_factor`: and has a second factor.
        """
        ...

    async def touch_key(self, key_id: str, now: datetime) -> None: ...

    async def add_key(self, scope: Scope, key: ApiKey, secret_hash: bytes, most: int) -> bool:
        """False when the public part is taken. NotFound for a user who left, Conflict for one with `most` keys."""
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
