"""The things identity speaks of. Plain values: no rule that needs a clock or a port lives here.

Secrets are never part of an entity that a resolver can reach: password hashes, refresh keys and key hashes travel in
records of their own, and what is shown once is a type of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from domain.access import Access, KeyScope, UserRole, WorkspaceRole
from domain.identity.factors import Assurance, FactorKind


@dataclass(frozen=True, slots=True)
class Workspace:
    """A wall around rows: every row belongs to exactly one."""

    id: str
    slug: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account. `email` is case-folded.

    With `must_change_password` somebody else chose the password, and its sessions are good for changing it alone.
    """

    id: str
    email: str
    name: str
    role: UserRole
    created_at: datetime
    last_login_at: datetime | None = None
    mfa_enabled: bool = False
    disabled: bool = False
    must_change_password: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """A workspace somebody may enter, and what they may do there."""

    workspace_id: str
    access: Access


@dataclass(frozen=True, slots=True)
class Account:
    """A user as authentication needs it. `memberships` holds the workspaces they may enter by slug, oldest first.

    `factors` are the kinds of second factors that a sign-in by password must be completed with; none means none.
    """

    user: User
    disabled: bool
    default_workspace_id: str
    memberships: Mapping[str, Membership]
    factors: frozenset[FactorKind] = frozenset()


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Where a request came from, for the list of sessions. Never trusted for a decision."""

    address: str | None = None
    user_agent: str | None = None

    def cleaned(self) -> ClientInfo:
        """Without control characters, and short enough to keep."""
        return ClientInfo(_printable(self.address, 64), _printable(self.user_agent, 250))


def _printable(text: str | None, most: int) -> str | None:
    if text is None:
        return None
    return "".join(character for character in text[: 4 * most] if character.isprintable())[:most] or None


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """How long things live. `absolute` is fixed at login and never extended; `idle` starts anew with each use."""

    access: timedelta = timedelta(minutes=10)
    idle: timedelta = timedelta(hours=12)
    absolute: timedelta = timedelta(days=7)
    refresh_grace: timedelta = timedelta(seconds=10)

    @property
    def touch_every(self) -> timedelta:
        """How exactly the last use is recorded: to the minute, finer when the idle timeout asks for it."""
        return min(timedelta(minutes=1), self.idle / 4)


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session about to be opened. `refresh_key` is sealed."""

    id: str
    refresh_key: bytes
    created_at: datetime
    expires_at: datetime
    client: ClientInfo
    assurance: Assurance


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its owner sees it. `current`: it is the one asking."""

    id: str
    user_id: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str | None
    address: str | None
    assurance: Assurance
    current: bool


@dataclass(frozen=True, slots=True)
class Invite:
    """An invitation of an address to a workspace. Of its token only the SHA-256 is kept."""

    id: str
    email: str
    role: WorkspaceRole
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class NewPendingSignIn:
    """A pending sign-in about to be stored; of its token only the SHA-256, in hexadecimal."""

    id: str
    user_id: str
    token_digest: str
    verified_hash: str
    created_at: datetime
    expires_at: datetime
    client: ClientInfo


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in whose password was right and whose second factor is awaited."""

    id: str
    account: Account
    verified_hash: str


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session and whose it is. `refresh_key` is sealed; `refresh_counter` counts the refreshes so far.

    `proved_at` is when its holder last proved who they are: by signing in, or by a factor since.
    """

    id: str
    account: Account
    refresh_counter: int
    refresh_key: bytes
    refreshed_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    created_at: datetime
    assurance: Assurance
    proved_at: datetime

    def alive(self, now: datetime, idle: timedelta) -> bool:
        """Not ended, not expired, not idle for too long, and its user not disabled."""
        return (
            self.ended_at is None
            and now < self.expires_at
            and now < self.last_seen_at + idle
            and not self.account.disabled
        )


@dataclass(frozen=True, slots=True)
class Tokens:
    """The two tokens of a session. Lifetimes in whole seconds from now."""

    access: str
    refresh: str
    expires_in: int
    session_expires_in: int


@dataclass(frozen=True, slots=True)
class AuthResult:
    """A sign-in or refresh that succeeded, or one that waits for a second factor and has only `mfa_token` to show.

    With `in_cookies` the answer carries no token.
    """

    person: User
    issued: Tokens | None
    mfa_token: str | None = None
    in_cookies: bool = False

    @property
    def tokens(self) -> Tokens:
        """The tokens of a finished sign-in. Raises RuntimeError for one that waits."""
        if self.issued is None:
            raise RuntimeError("this sign-in waits for a second factor")
        return self.issued

    @property
    def requires_mfa(self) -> bool:
        return self.issued is None

    @property
    def user(self) -> User | None:
        """Who signed in; nobody is told before the second factor."""
        return None if self.issued is None else self.person

    @property
    def token(self) -> str | None:
        return None if self.in_cookies or self.issued is None else self.issued.access

    @property
    def refresh_token(self) -> str | None:
        return None if self.in_cookies or self.issued is None else self.issued.refresh

    @property
    def expires_in(self) -> int | None:
        return None if self.issued is None else self.issued.expires_in

    def kept_in_cookies(self) -> AuthResult:
        """The same sign-in for a client that gets its tokens as cookies."""
        return replace(self, in_cookies=True)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret. `prefix` is its public start; `workspace` the slug of the one it works in."""

    id: str
    user_id: str
    workspace_id: str
    workspace: str
    name: str
    prefix: str
    key_scopes: frozenset[KeyScope]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def scopes(self) -> list[str]:
        """The names of what it may do, in a fixed order."""
        return [scope.value for scope in KeyScope if scope in self.key_scopes]

    @property
    def lookup(self) -> str:
        """The public part without the prefix of the format."""
        return self.prefix.removeprefix("axk_")

    def usable(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key, the hash of its secret, and its owner."""

    key: ApiKey
    secret_hash: bytes
    account: Account


@dataclass(frozen=True, slots=True)
class ApiKeySecret:
    """A new API key and its secret, which exists nowhere else and is shown this once."""

    api_key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True)
class SetupState:
    """Whether the instance was set up, and the hash of the token that may do it."""

    done: bool
    token_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Founding:
    """Everything the setup creates, in one transaction."""

    workspace: Workspace
    user: User
    password_hash: str
    session: NewSession | None


class FoundingOutcome(Enum):
    """How an attempt to set up ended."""

    DONE = "done"
    CLOSED = "closed"
    WRONG_TOKEN = "wrong_token"  # noqa: S105  # the name of an outcome
