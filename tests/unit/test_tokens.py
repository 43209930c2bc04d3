"""Access tokens, refresh tokens and the vault: only what this instance made opens, and only where it belongs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.identity.ports import AccessClaims, SigningKey
from server.security.refresh import PURPOSE, SealedRefreshTokens
from server.security.secrets import RootSecretError, SealBroken, Vault, open_vault
from server.security.tokens import (
    ALGORITHM,
    AUDIENCE,
    ISSUER,
    PROVEN_SECONDS,
    TYPE,
    SignedAccessTokens,
    new_signing_key,
    open_access_tokens,
)
from tests.support.tracking import START, SetClock

VAULT = Vault(b"k" * 32)
USER, SESSION = ids.new("usr"), ids.new("ses")
LIFE = timedelta(minutes=10)


class Keys:
    """Implements SigningKeyStore in memory, and counts the look-ups."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.keys: list[SigningKey] = []
        self.reads = 0

    async def claim_root(self, fingerprint: str) -> str:
        self.root = self.root or fingerprint
        return self.root

    async def signing_keys(self, candidate: SigningKey | None = None) -> list[SigningKey]:
        self.reads += 1
        if candidate is not None and not self.keys:
            self.keys.append(candidate)
        return list(self.keys)


@pytest.fixture
def store() -> Keys:
    return Keys()


@pytest.fixture
async def tokens(store: Keys) -> SignedAccessTokens:
    return await open_access_tokens(store, VAULT, SetClock())


def issued(tokens: SignedAccessTokens) -> str:
    return tokens.issue(user_id=USER, session_id=SESSION, now=START, expires=START + LIFE)


async def test_a_token_says_whose_session_it_is(tokens: SignedAccessTokens) -> None:
    token = issued(tokens)
    assert await tokens.verify(token, START) == AccessClaims(USER, SESSION)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = jwt.decode(token, options={"verify_signature": False})
    assert set(claims) == {"iss", "aud", "sub", "sid", "jti", "exp", "iat", "nbf"}
    assert claims["exp"] - claims["iat"] == 600


async def test_a_token_lives_from_its_start_to_its_end(tokens: SignedAccessTokens) -> None:
    token = issued(tokens)
    assert await tokens.verify(token, START + LIFE - timedelta(seconds=1)) is not None
    assert await tokens.verify(token, START + LIFE) is None
    assert await tokens.verify(token, START - timedelta(seconds=4)) is not None  # another server's clock
    assert await tokens.verify(token, START - timedelta(seconds=6)) is None


async def test_a_token_is_proven_once_a_minute_and_what_time_changes_is_asked_each_time(
    store: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = await open_access_tokens(store, VAULT, SetClock())
    token, proofs, real = issued(tokens), 0, jwt.decode

    def counted(*given: Any, **options: Any) -> Any:
        nonlocal proofs
        proofs += 1
        return real(*given, **options)

    monkeypatch.setattr("server.security.tokens.jwt.decode", counted)
    for _ in range(5):
        assert await tokens.verify(token, START) == AccessClaims(USER, SESSION)
    assert proofs == 1
    assert await tokens.verify(token[:-4] + "AAAA", START) is None
    assert await tokens.verify(token + "=", START) is None
    assert await tokens.verify(token, START + LIFE) is None
    assert await tokens.verify(token, START - timedelta(seconds=6)) is None
    assert await tokens.verify(token, START) is not None
    proofs = 0
    tokens._proven = {digest: replace(one, at=one.at - PROVEN_SECONDS) for digest, one in tokens._proven.items()}
    assert await tokens.verify(token, START) is not None
    assert proofs == 1
    tokens._hold([replace(store.keys[0], retired_at=START)])
    assert await tokens.verify(token, START) is not None
    assert await tokens.verify(token, START + timedelta(hours=1)) is None
    tokens._keys.clear()
    assert await tokens.verify(token, START) is None


async def test_a_bounded_number_of_proven_tokens_is_remembered(
    tokens: SignedAccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.security.tokens.PROVEN_MOST", 3)
    many = [issued(tokens) for _ in range(10)]
    for token in many:
        assert await tokens.verify(token, START) is not None
        assert await tokens.verify(token[:-4] + "AAAA", START) is None
    assert list(tokens._proven) == [hashlib.sha256(token.encode()).digest() for token in many[-3:]]


async def test_two_tokens_of_one_moment_differ(tokens: SignedAccessTokens) -> None:
    assert issued(tokens) != issued(tokens)


def _private(store: Keys) -> Ed25519PrivateKey:
    key = store.keys[0]
    return Ed25519PrivateKey.from_private_bytes(VAULT.open("signing-key", key.private_sealed, key.kid))


def _claims(**other: Any) -> dict[str, Any]:
    now = int(START.timestamp())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": USER,
        "sid": SESSION,
        "jti": "x",
        "iat": now,
        "nbf": now,
        "exp": now + 600,
    }
    return {name: value for name, value in (claims | other).items() if value is not ...}


def _signed(store: Keys, claims: dict[str, Any] | None = None, **headers: Any) -> str:
    header = {"typ": TYPE, "kid": store.keys[0].kid} | headers
    return jwt.encode(claims or _claims(), _private(store), algorithm=ALGORITHM, headers=header)


def _encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unsigned(store: Keys) -> str:
    header = {"alg": "none", "typ": TYPE, "kid": store.keys[0].kid}
    return f"{_encoded(header)}.{_encoded(_claims())}."


def _hmac_with_the_public_key(store: Keys, form: str) -> str:
    public = _private(store).public_key()
    secret = (
        public.public_bytes_raw()
        if form == "raw"
        else public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    body = f"{_encoded({'alg': 'HS256', 'typ': TYPE, 'kid': store.keys[0].kid})}.{_encoded(_claims())}"
    return f"{body}.{_encoded(hmac.digest(secret, body.encode(), hashlib.sha256))}"


def _own_key(store: Keys, **headers: Any) -> str:
    header = {"typ": TYPE, "kid": store.keys[0].kid} | headers
    return jwt.encode(_claims(), Ed25519PrivateKey.generate(), algorithm=ALGORITHM, headers=header)


def _without(name: str, store: Keys) -> str:
    return _signed(store, _claims(**{name: ...}))


ATTACKS: dict[str, Callable[[Keys], str]] = {
    "none": _unsigned,
    "hs256 with the raw public key": lambda store: _hmac_with_the_public_key(store, "raw"),
    "hs256 with the PEM public key": lambda store: _hmac_with_the_public_key(store, "pem"),
    "another key under our kid": _own_key,
    "another key under its own kid": lambda store: _own_key(store, kid="A" * 16),
    "key in the header": lambda store: _own_key(store, jwk={"kty": "OKP"}),
    "key behind a link": lambda store: _signed(store, jku="https://example.org/keys"),
    "kid is a path": lambda store: _signed(store, kid="../../dev/null"),
    "kid is SQL": lambda store: _signed(store, kid="' OR 1=1 --"),
    "kid is empty": lambda store: _signed(store, kid=""),
    "kid missing": lambda store: jwt.encode(_claims(), _private(store), algorithm=ALGORITHM, headers={"typ": TYPE}),
    "typ JWT": lambda store: _signed(store, typ="JWT"),
    "typ of another token": lambda store: _signed(store, typ="mfa+jwt"),
    "typ in capitals": lambda store: _signed(store, typ="AT+JWT"),
    "crit": lambda store: _signed(store, crit=["exp"]),
    "expired": lambda store: _signed(store, _claims(exp=int(START.timestamp()))),
    "not yet": lambda store: _signed(store, _claims(nbf=int(START.timestamp()) + 60)),
    "issued in the future": lambda store: _signed(store, _claims(iat=int(START.timestamp()) + 60)),
    "aud list": lambda store: _signed(store, _claims(aud=[AUDIENCE, "other"])),
    "aud list of one": lambda store: _signed(store, _claims(aud=[AUDIENCE])),
    "aud of another": lambda store: _signed(store, _claims(aud="mfa")),
    "iss of another": lambda store: _signed(store, _claims(iss="somebody")),
    "sub of another kind": lambda store: _signed(store, _claims(sub=ids.new("key"))),
    "sub without prefix": lambda store: _signed(store, _claims(sub=USER[4:])),
    "sid is a list": lambda store: _signed(store, _claims(sid=[SESSION])),
    "exp is text": lambda store: _signed(store, _claims(exp="99999999999")),
    "exp is endless": lambda store: _signed(store, _claims(exp=True)),
    "garbage": lambda _: "a.b.c",
    "empty parts": lambda _: "..",
    "nothing": lambda _: "",
    "not ASCII": lambda _: "ä.ö.ü",
    "lone surrogate": lambda _: "\ud800.x.y",
    "deep header": lambda _: _encoded(b"[" * 100_000) + ".e30.",
}
ATTACKS |= {f"no {name}": partial(_without, name) for name in ("iss", "aud", "sub", "sid", "jti", "exp", "iat", "nbf")}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_forged_tokens_are_refused(tokens: SignedAccessTokens, store: Keys, attack: str) -> None:
    assert await tokens.verify(_signed(store), START) is not None  # the frame of the attacks is itself sound
    assert await tokens.verify(ATTACKS[attack](store), START) is None


async def test_any_changed_character_breaks_a_token(tokens: SignedAccessTokens) -> None:
    token = issued(tokens)
    for place in range(0, len(token), 7):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert await tokens.verify(changed, START) is None or place == len(token) - 1


async def test_a_key_that_another_server_made_is_found_but_asked_for_once_a_second(store: Keys) -> None:
    tokens = await open_access_tokens(store, VAULT, SetClock())
    tokens._loaded_at -= 2  # as if the keys were loaded long ago
    added = new_signing_key(VAULT, START)
    store.keys.append(added)
    other = SignedAccessTokens(store, VAULT, [added], SetClock())
    assert await tokens.verify(issued(other), START) == AccessClaims(USER, SESSION)
    reads = store.reads
    for _ in range(50):
        assert await tokens.verify(_own_key(store, kid="A" * 16), START) is None
    assert store.reads == reads


async def test_a_retired_key_signs_no_more_and_verifies_until_its_tokens_are_gone(store: Keys) -> None:
    first = await open_access_tokens(store, VAULT, SetClock())
    token = issued(first)
    store.keys = [replace(store.keys[0], retired_at=START), new_signing_key(VAULT, START)]
    after = SignedAccessTokens(store, VAULT, store.keys, SetClock())
    assert jwt.get_unverified_header(issued(after))["kid"] == store.keys[1].kid
    assert await after.verify(token, START) is not None
    late = after.issue(user_id=USER, session_id=SESSION, now=START, expires=START + timedelta(hours=2))
    assert await after.verify(late, START + timedelta(hours=1)) is not None
    assert await after.verify(token, START + timedelta(hours=1)) is None


async def test_a_server_with_another_root_secret_does_not_start(store: Keys) -> None:
    await open_access_tokens(store, VAULT, SetClock())
    with pytest.raises(RootSecretError, match="another root secret"):
        await open_access_tokens(store, Vault(b"j" * 32), SetClock())


# --- refresh tokens ------------------------------------------------------------------------------

refresh = SealedRefreshTokens(VAULT)


@given(st.integers(0, 2**63 - 2))
def test_a_refresh_token_is_read_back_and_always_the_same(counter: int) -> None:
    session = ids.new("ses")
    key = refresh.new_key(session)
    token = refresh.issue(session, counter, key)
    assert token == refresh.issue(session, counter, key)
    found = refresh.parse(token)
    assert found is not None
    assert (found.session_id, found.counter) == (session, counter)
    assert refresh.genuine(found, key)


def test_a_refresh_token_is_bound_to_its_session_its_count_and_its_key() -> None:
    session = ids.new("ses")
    key = refresh.new_key(session)
    found = refresh.parse(refresh.issue(session, 3, key))
    assert found is not None
    assert len(VAULT.open(PURPOSE, key, session)) == len(found.tag) == 32, "256 bits"
    assert not refresh.genuine(replace(found, counter=4), key)
    assert not refresh.genuine(found, refresh.new_key(session))
    with pytest.raises(SealBroken):
        refresh.genuine(found, refresh.new_key(ids.new("ses")))  # a key moved to another session's row


@given(st.text(max_size=90))
def test_any_text_is_refused_or_the_only_spelling(text: str) -> None:
    for form in (text, "axr_" + text):
        found = refresh.parse(form)
        assert found is None or len(form) == 79


def test_the_spare_bits_of_the_last_character_are_no_second_spelling() -> None:
    session = ids.new("ses")
    key = refresh.new_key(session)
    token = refresh.issue(session, 0, key)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    found = {token[:-1] + last: refresh.parse(token[:-1] + last) for last in alphabet}
    formed = {text: one for text, one in found.items() if one is not None}
    assert len(formed) == 16  # of the six bits two are spare
    assert [text for text, one in formed.items() if refresh.genuine(one, key)] == [token]


# --- the vault -----------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_is_sealed_opens_in_its_place_only(plain: bytes, place: str) -> None:
    sealed = VAULT.seal("purpose", plain, place)
    assert VAULT.open("purpose", sealed, place) == plain
    for vault, purpose, elsewhere in (
        (VAULT, "purpose", place + "x"),
        (VAULT, "other", place),
        (Vault(b"j" * 32), "purpose", place),
    ):
        with pytest.raises(SealBroken):
            vault.open(purpose, sealed, elsewhere)


def test_the_fingerprint_tells_roots_apart_and_not_the_root() -> None:
    assert VAULT.fingerprint() == Vault(b"k" * 32).fingerprint() != Vault(b"j" * 32).fingerprint()
    assert b"k" * 32 not in bytes.fromhex(VAULT.fingerprint())
    assert "kkk" not in repr(VAULT)


def test_a_short_root_is_refused() -> None:
    with pytest.raises(RootSecretError, match="at least 32 bytes"):
        Vault(b"k" * 31)


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = open_vault(None, tmp_path)
    path = tmp_path / "secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_vault(None, tmp_path).fingerprint() == first.fingerprint()
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
    assert open_vault("another secret of the operator, long enough", tmp_path).fingerprint() != first.fingerprint()


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    open_vault(None, tmp_path)
    (tmp_path / "secret").chmod(0o640)
    with pytest.raises(RootSecretError, match="chmod 600"):
        open_vault(None, tmp_path)


def test_a_secret_that_is_a_link_or_cut_off_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("x" * 64)
    target.chmod(0o600)
    (tmp_path / "secret").symlink_to(target)
    with pytest.raises(RootSecretError, match="cannot use the root secret"):
        open_vault(None, tmp_path)
    (tmp_path / "secret").unlink()
    os.close(os.open(tmp_path / "secret", os.O_CREAT | os.O_WRONLY, 0o600))
    with pytest.raises(RootSecretError, match="fewer than 32 bytes"):
        open_vault(None, tmp_path)
