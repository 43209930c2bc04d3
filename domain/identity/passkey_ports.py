"""What passkeys need from outside: the WebAuthn ceremonies, and rows of passkeys and challenges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from domain.identity.entities import Account, NewSession, User
from domain.identity.factors import Credential, CredentialChange, PasskeyUse


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """For whom passkeys are made: a domain name, and the origins of the pages that may ask for them."""

    id: str
    origins: tuple[str, ...]
    name: str = "AxonML"


class Purpose(Enum):
    """What a challenge was given for; it is good for nothing else."""

    REGISTER = "register"
    SECOND = "second"
    LOGIN = "login"


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge somebody was given: of its text only the SHA-256, and for whom, as far as they are known.

    `id` has 32 hexadecimal digits; empty where the challenge is looked for by its text alone.
    """

    id: str
    purpose: Purpose
    digest: str
    rp_id: str
    expires_at: datetime
    user_id: str | None = None
    pending_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ceremony:
    """A ceremony that has begun: its name, and the options of the WebAuthn standard in their JSON form."""

    id: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PasskeyRecord:
    """A passkey, whose it is, and what its answers are checked against."""

    id: str
    account: Account
    handle: bytes
    public_key: bytes
    sign_count: int
    flagged: bool


@dataclass(frozen=True, slots=True)
class ClientData:
    """What the browser says about a ceremony. `text` is what was signed."""

    text: bytes
    challenge: bytes
    origin: str
    embedded: bool
    """Whether the page was inside a page of another origin."""


@dataclass(frozen=True, slots=True)
class Creation:
    """An answer to a registration: well-formed, and nothing of it believed yet."""

    credential_id: bytes
    client: ClientData
    attestation: bytes
    transports: tuple[str, ...]
    discoverable: bool

    @property
    def challenge(self) -> bytes:
        return self.client.challenge


@dataclass(frozen=True, slots=True)
class Assertion:
    """An answer to a sign-in: well-formed, and nothing of it believed yet."""

    credential_id: bytes
    client: ClientData
    authenticator: bytes
    signature: bytes
    handle: bytes | None

    @property
    def challenge(self) -> bytes:
        return self.client.challenge


@dataclass(frozen=True, slots=True)
class Attested:
    """A new credential, as its authenticator vouches for it."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    aaguid: str
    transports: tuple[str, ...]
    backed_up: bool
    user_verified: bool
    discoverable: bool


@dataclass(frozen=True, slots=True)
class Asserted:
    """What a genuine answer says. Whether it counts further than the last one is for the caller to judge."""

    sign_count: int
    user_verified: bool
    backed_up: bool


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A passkey about to be stored. `digest` is the SHA-256 of its credential id."""

    shown: Credential
    digest: str
    attested: Attested


class Addition(Enum):
    """How storing a passkey ended."""

    ADDED = "added"
    TAKEN = "taken"
    NAME_TAKEN = "name_taken"
    TOO_MANY = "too_many"


class Unproven(Exception):  # noqa: N818  # reads as a condition
    """An answer that is well-formed, but not right; says why in words for its sender."""


class Ceremonies(Protocol):
    """WebAuthn for one relying party. What it reads is bounded before anything parses it."""

    @property
    def rp_id(self) -> str: ...

    def creation_options(
        self, *, challenge: bytes, handle: bytes, user: User, known: Sequence[tuple[bytes, tuple[str, ...]]]
    ) -> Mapping[str, Any]:
        """For `navigator.credentials.create`. `known`: credential ids, and transports, that need no second copy."""
        ...

    def request_options(
        self, *, challenge: bytes, known: Sequence[tuple[bytes, tuple[str, ...]]], verified: bool
    ) -> Mapping[str, Any]:
        """For `navigator.credentials.get`. `verified`: the authenticator must verify its user."""
        ...

    def read_creation(self, credential: object) -> Creation:
        """Raises BadUserInput naming the part that is malformed."""
        ...

    def read_assertion(self, credential: object) -> Assertion:
        """Raises BadUserInput naming the part that is malformed."""
        ...

    def verify_creation(self, creation: Creation) -> Attested:
        """Raises Unproven."""
        ...

    def verify_assertion(self, assertion: Assertion, public_key: bytes, *, require_user_verification: bool) -> Asserted:
        """Raises Unproven."""
        ...


class PasskeyRepository(Protocol):
    """Rows of passkeys and challenges. Each method is one atomic unit."""

    async def handle(self, user_id: str, candidate: bytes) -> bytes:
        """The random bytes by which authenticators know this user: those they have, else `candidate` from now on."""
        ...

    async def credential_ids(self, user_id: str) -> list[tuple[bytes, tuple[str, ...]]]:
        """Ids and transports of the passkeys of a user that work."""
        ...

    async def passkey(self, digest: str) -> PasskeyRecord | None:
        """By the SHA-256 of its credential id."""
        ...

    async def keep_challenge(self, challenge: Challenge, now: datetime) -> bool:
        """Stores it; expired ones, and the oldest of the user's beyond a few, go. False: for whom it was is gone."""
        ...

    async def take_challenge(self, challenge: Challenge, now: datetime) -> bool:
        """Removes the one that agrees in everything and has not expired; of two callers one gets True."""
        ...

    async def add(self, change: CredentialChange, new: NewPasskey, most: int) -> tuple[Addition, list[str]]:
        """Stores a passkey, raises the session to level 2 and ends the user's others, whose ids it answers.

        Raises Unauthenticated, MfaRequired when the session may no longer change credentials.
        """
        ...

    async def delete(self, change: CredentialChange, passkey_id: str) -> list[str] | None:
        """Removes a passkey and ends the user's other sessions, whose ids it answers; None when it is not theirs.

        Raises Unauthenticated, MfaRequired when the session may no longer change credentials.
        """
        ...

    async def flag(self, passkey_id: str, count: int, now: datetime) -> None:
        """Takes a passkey that has counted as far as `count` out of service, for ever."""
        ...

    async def open_session(self, user_id: str, use: PasskeyUse, session: NewSession) -> bool:
        """Uses the passkey up and opens the session. False when it was used meanwhile, or the account is disabled."""
        ...
