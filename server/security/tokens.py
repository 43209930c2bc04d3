"""Access tokens: EdDSA-signed JWTs (RFC 9068) under keys that only servers of this database can open.

There is one way to read a token, and it accepts one algorithm, one issuer, one audience, one type, and only the keys
it already holds: nothing inside a token may point to a key. Tokens carry no role: what a user may do is read fresh.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain import ids
from domain.clock import Clock
from domain.errors import BadUserInput, Unavailable
from domain.identity.ports import AccessClaims, SigningKey, SigningKeyStore
from server.security.secrets import RootSecretError, SealBroken, Vault

ISSUER: Final = "axonml"
AUDIENCE: Final = "axonml-api"
TYPE: Final = "at+jwt"
ALGORITHM: Final = "EdDSA"
REQUIRED: Final = ("iss", "aud", "sub", "sid", "jti", "exp", "iat", "nbf")
SKEW: Final = 5
"""Seconds by which the clocks of two servers may differ."""

RETIRED_ACCEPTED: Final = timedelta(minutes=65)
"""For so long after its retirement a key still verifies: longer than any access token lives, signed a little later."""

PROVEN_SECONDS: Final = 60.0
"""For so long at most a token that was proven is not proven again: its signature costs more than a small request."""

PROVEN_MOST: Final = 10_000
PURPOSE: Final = "signing-key"
_RELOAD_SECONDS: Final = 1.0
_WATCH_SECONDS: Final = 30.0
OTHER_ROOT: Final = (
    "the database was made under another root secret: start the server with that one, in JWT_SECRET "
    "(or AXONML_SECRET_KEY) or as the file 'secret' of the data directory"
)


class SignedAccessTokens:
    """Issues and verifies access tokens. Make one with `open_access_tokens`."""

    def __init__(self, store: SigningKeyStore, vault: Vault, keys: Iterable[SigningKey], clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._keys: dict[str, SigningKey] = {}
        self._private: dict[str, Ed25519PrivateKey] = {}
        self._public: dict[str, Ed25519PublicKey] = {}
        self._proven: dict[bytes, _Proven] = {}
        self._loaded_at = time.monotonic()
        self._loading = asyncio.Lock()
        self._hold(keys)

    def issue(self, *, user_id: str, session_id: str, now: datetime, expires: datetime) -> str:
        kid = self._signing_kid(now)
        issued = int(now.timestamp())
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "sid": session_id,
            "jti": secrets.token_urlsafe(16),
            "iat": issued,
            "nbf": issued,
            "exp": int(expires.timestamp()),
        }
        return jwt.encode(payload, self._private[kid], algorithm=ALGORITHM, headers={"typ": TYPE, "kid": kid})

    async def verify(self, token: str, now: datetime) -> AccessClaims | None:
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        proven = self._proven.get(digest)
        if proven is not None and self._still_holds(proven, now):
            return proven.claims
        proven = await self._prove(token, now)
        self._proven.pop(digest, None)  # so that a new entry goes to the end: the oldest is forgotten first
        if proven is None:
            return None
        while len(self._proven) >= PROVEN_MOST:
            del self._proven[next(iter(self._proven))]
        self._proven[digest] = proven
        return proven.claims

    async def signed(self, token: str) -> AccessClaims | None:
        try:
            issued = jwt.decode(token, options={"verify_signature": False}).get("iat")
        except (jwt.InvalidTokenError, UnicodeError, RecursionError):
            return None
        # Judged as of the moment it says it was issued at, by its signature like any other.
        if type(issued) is not int or not 0 <= issued <= _LATEST:
            return None
        proven = await self._prove(token, datetime.fromtimestamp(issued, UTC))
        return None if proven is None else proven.claims

    def _still_holds(self, proven: _Proven, now: datetime) -> bool:
        """Everything that time may have changed; the signature and the content cannot."""
        return (
            time.monotonic() - proven.at < PROVEN_SECONDS
            and proven.begins <= now.timestamp() < proven.expires
            and self._verifies(proven.kid, now)
        )

    def _verifies(self, kid: str, now: datetime) -> bool:
        known = self._keys.get(kid)
        return known is not None and (known.retired_at is None or now < known.retired_at + RETIRED_ACCEPTED)

    async def _prove(self, token: str, now: datetime) -> _Proven | None:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != ALGORITHM or header.get("typ") != TYPE or header.keys() - {"alg", "typ", "kid"}:
                return None
            kid = header.get("kid")
            key = await self._public_key(kid, now)
            return None if key is None else _claims(token, key, str(kid), now)
        except (jwt.InvalidTokenError, UnicodeError, RecursionError):
            return None

    async def _public_key(self, kid: object, now: datetime) -> Ed25519PublicKey | None:
        # The form is checked first, so that only what could be ours makes us look again for keys of other servers.
        if not isinstance(kid, str) or _KID.fullmatch(kid) is None:
            return None
        if kid not in self._keys:
            await self._reload()
        return self._public[kid] if self._verifies(kid, now) else None

    async def _reload(self) -> None:
        """Another server of this database may have made a key since; asked at most once a second."""
        async with self._loading:
            if time.monotonic() - self._loaded_at < _RELOAD_SECONDS:
                return
            self._hold(await self._store.signing_keys())
            self._loaded_at = time.monotonic()

    async def watch(self) -> None:
        """Takes up keys that were made and retired elsewhere; to be kept by the process's supervisor."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            await self._reload()

    def _hold(self, keys: Iterable[SigningKey]) -> None:
        for key in keys:
            self._keys[key.kid] = key
            if key.kid not in self._private:
                try:
                    raw = self._vault.open(PURPOSE, key.private_sealed, key.kid)
                except SealBroken:
                    raise RootSecretError(OTHER_ROOT) from None
                self._private[key.kid] = Ed25519PrivateKey.from_private_bytes(raw)
                self._public[key.kid] = self._private[key.kid].public_key()

    def _signing_kid(self, now: datetime) -> str:
        living = [key for key in self._keys.values() if key.retired_at is None]
        if not living:
            raise Unavailable("no signing key is in use yet; try again", retry_after=1)
        usable = [key for key in living if key.not_before <= now]
        if usable:
            return max(usable, key=lambda key: (key.not_before, key.kid)).kid
        # The clock was put back to before the first key: nobody may be locked out until it has caught up.
        return min(living, key=lambda key: (key.not_before, key.kid)).kid


_LATEST: Final = 2**33
_KID: Final = re.compile(r"[A-Za-z0-9_-]{16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Proven:
    """A token that was found good: what it says, from when until when, under which key, and when that was found."""

    claims: AccessClaims
    kid: str
    begins: float
    expires: float
    at: float


def _claims(token: str, key: Ed25519PublicKey, kid: str, now: datetime) -> _Proven | None:
    payload: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=[ALGORITHM],
        issuer=ISSUER,
        audience=AUDIENCE,
        # Times are compared below with the clock of the domain instead of the library's own.
        options={
            "require": list(REQUIRED),
            "strict_aud": True,
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
        },
    )
    times = [payload[name] for name in ("iat", "nbf", "exp")]
    if not all(type(moment) is int for moment in times) or not isinstance(payload["jti"], str):
        return None
    issued, not_before, expires = times
    begins = max(issued, not_before) - SKEW
    if not begins <= now.timestamp() < expires:
        return None
    subject, session = payload["sub"], payload["sid"]
    if not isinstance(subject, str) or not isinstance(session, str):
        return None
    try:
        claims = AccessClaims(_canonical("usr", subject), _canonical("ses", session))
    except BadUserInput:
        return None
    return _Proven(claims, kid, begins, expires, time.monotonic())


def _canonical(kind: ids.Kind, text: str) -> str:
    canonical = ids.parse(kind, text)
    if canonical != text:
        raise BadUserInput("not the canonical form")
    return canonical


def new_signing_key(vault: Vault, now: datetime) -> SigningKey:
    """A random Ed25519 key, its private half sealed."""
    private = Ed25519PrivateKey.generate()
    kid = secrets.token_urlsafe(12)
    return SigningKey(
        kid=kid,
        private_sealed=vault.seal(PURPOSE, private.private_bytes_raw(), kid),
        public=private.public_key().public_bytes_raw(),
        not_before=now,
    )


async def open_access_tokens(store: SigningKeyStore, vault: Vault, clock: Clock) -> SignedAccessTokens:
    """Claims the database for this root secret, and loads its signing keys; the first server makes the first key.

    Raises RootSecretError when the database belongs to another root secret.
    """
    if await store.claim_root(vault.fingerprint()) != vault.fingerprint():
        raise RootSecretError(OTHER_ROOT)
    keys = await store.signing_keys(new_signing_key(vault, clock.now()))
    return SignedAccessTokens(store, vault, keys, clock)
