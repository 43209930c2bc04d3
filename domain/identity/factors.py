"""What proves who somebody is, and how much a proof is worth.

Assurance levels are those of NIST SP 800-63B: 1 after one factor, 2 after two. Methods are named as in RFC 8176.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, TypeAlias


class FactorKind(Enum):
    """Kinds of second factors."""

    TOTP = "totp"
    WEBAUTHN = "webauthn"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Assurance:
    """What a session was opened with: the level, 1 or 2, and the methods."""

    level: int
    methods: tuple[str, ...]

    def with_method(self, method: str) -> Assurance:
        """After one more factor."""
        return Assurance(2, (*(one for one in self.methods if one != method), method))


PASSWORD_ALONE: Final = Assurance(1, ("pwd",))


@dataclass(frozen=True, slots=True)
class TotpUse:
    """A right time-based code. No step up to this one is taken again."""

    step: int
    method: str = "otp"


@dataclass(frozen=True, slots=True)
class RecoveryUse:
    """A right recovery code, which is gone after this."""

    code_id: str
    method: str = "rec"


@dataclass(frozen=True, slots=True)
class PasskeyUse:
    """A right assertion. Taken only while the counter still is `seen_count`."""

    passkey_id: str
    seen_count: int
    new_count: int
    backed_up: bool
    method: str = "hwk"


FactorUse: TypeAlias = TotpUse | RecoveryUse | PasskeyUse


@dataclass(frozen=True, slots=True)
class TotpFactor:
    """The authenticator app of a user; `secret_sealed` opens only for that user.

    `verified_at` is when a code was last right before the app was enabled.
    """

    user_id: str
    secret_sealed: bytes
    enabled: bool
    verified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TotpSetup:
    """What an authenticator app needs, shown this once: the secret in base32, an otpauth address, a PNG data URI."""

    secret: str
    url: str
    qr_code: str


@dataclass(frozen=True, slots=True)
class RecoveryCode:
    """One unused recovery code: its public first group, and the hash of the rest."""

    id: str
    place: str
    code_hash: str


@dataclass(frozen=True, slots=True)
class RecoveryCodes:
    """Fresh recovery codes, shown this once."""

    recovery_codes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Credential:
    """A second factor or passkey as its owner sees it. `remaining` counts the recovery codes that are left."""

    id: str
    user_id: str
    kind: FactorKind
    name: str
    created_at: datetime
    last_used_at: datetime | None = None
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class CredentialChange:
    """Who is about to change what they sign in with, from which session, and when.

    `verified_hash` is the password hash that was checked, if one was: with another one nothing is changed.
    `leaves_factor`: a change after which no second factor would work is refused.
    """

    user_id: str
    session_id: str
    at: datetime
    verified_hash: str | None = None
    leaves_factor: bool = False


class Completion(Enum):
    """How the second step of a sign-in ended in the database."""

    OPENED = "opened"
    GONE = "gone"
    """The pending sign-in expired or was completed, or the account changed meanwhile."""
    REPLAYED = "replayed"
    """The proof was used before."""
