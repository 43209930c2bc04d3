"""A browser with an authenticator, in software: makes passkeys, uses them, and lies in every way it is asked to."""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

Json = dict[str, Any]


def encoded(raw: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The bytes of base64url without padding."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(frozen=True)
class Lies:
    """What differs from the truth in an answer; None and True: nothing."""

    origin: str | None = None
    rp_id: str | None = None
    challenge: bytes | None = None
    kind: str | None = None
    present: bool = True
    verified: bool = True
    count: int | None = None
    handle: bytes | None = None
    credential_id: bytes | None = None
    client: Mapping[str, Any] = field(default_factory=dict)
    signature: Callable[[bytes], bytes] = bytes
    authenticator: Callable[[bytes], bytes] = bytes
    statement: Mapping[str, Any] | None = None
    format: str = "none"
    algorithm: int = -7


TRUTH = Lies()


def certificate(key: EllipticCurvePrivateKey) -> bytes:
    """What a maker of authenticators would vouch with, as the standard wants it; signed by itself."""
    parts = {"C": "XX", "O": "Maker", "OU": "Authenticator Attestation", "CN": "Device"}
    name = x509.Name.from_rfc4514_string(",".join(f"{kind}={text}" for kind, text in parts.items()))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    return made.sign(key, SHA256()).public_bytes(Encoding.DER)


@dataclass
class Held:
    """A passkey inside the authenticator."""

    key: EllipticCurvePrivateKey
    handle: bytes
    count: int = 0


@dataclass
class Authenticator:
    """Holds passkeys of one page. `counts` False: counters stay 0, as with passkeys that several devices share."""

    origin: str = "http://localhost:3000"
    counts: bool = True
    held: dict[bytes, Held] = field(default_factory=dict)

    def create(self, options: Mapping[str, Any], lies: Lies = TRUTH) -> Json:
        """The answer of `navigator.credentials.create`."""
        assert options["attestation"] == "none"
        key, identifier = generate_private_key(SECP256R1()), lies.credential_id or secrets.token_bytes(32)
        held = self.held[identifier] = Held(key, decoded(options["user"]["id"]))
        numbers = key.public_key().public_numbers()
        cose = {1: 2, 3: lies.algorithm, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = bytes(16) + len(identifier).to_bytes(2, "big") + identifier + cbor2.dumps(cose)
        data = self._data(options["rp"]["id"], held, lies, attested=attested)
        client = self._client("webauthn.create", options, lies)
        statement = dict(lies.statement or {})
        signed, kind = data + hashlib.sha256(client).digest(), lies.format
        if kind == "certified":
            maker, kind = generate_private_key(SECP256R1()), "packed"
            statement = {"alg": -7, "sig": maker.sign(signed, ECDSA(SHA256())), "x5c": [certificate(maker)]}
        elif kind == "packed" and lies.statement is None:
            statement = {"alg": -7, "sig": key.sign(signed, ECDSA(SHA256()))}
        attestation = cbor2.dumps({"fmt": kind, "attStmt": statement, "authData": data})
        return self._answer(
            identifier,
            {
                "clientDataJSON": encoded(client),
                "attestationObject": encoded(attestation),
                "transports": ["internal", "hybrid", "carrier pigeon"],
            },
        )

    def get(self, options: Mapping[str, Any], lies: Lies = TRUTH) -> Json:
        """The answer of `navigator.credentials.get`, by the first passkey that is allowed."""
        allowed = [decoded(one["id"]) for one in options["allowCredentials"]]
        identifier = next(one for one in self.held if not allowed or one in allowed)
        held = self.held[identifier]
        held.count += self.counts
        client = self._client("webauthn.get", options, lies)
        data = lies.authenticator(self._data(options["rpId"], held, lies))
        signature = lies.signature(held.key.sign(data + hashlib.sha256(client).digest(), ECDSA(SHA256())))
        return self._answer(
            lies.credential_id or identifier,
            {
                "clientDataJSON": encoded(client),
                "authenticatorData": encoded(data),
                "signature": encoded(signature),
                "userHandle": encoded(lies.handle or held.handle),
            },
        )

    def _data(self, rp_id: str, held: Held, lies: Lies, attested: bytes = b"") -> bytes:
        flags = 0x01 * lies.present | 0x04 * lies.verified | (0x40 if attested else 0)
        count = held.count if lies.count is None else lies.count
        party = hashlib.sha256((lies.rp_id or rp_id).encode()).digest()
        return party + bytes([flags]) + count.to_bytes(4, "big") + attested

    def _client(self, kind: str, options: Mapping[str, Any], lies: Lies) -> bytes:
        challenge = options["challenge"] if lies.challenge is None else encoded(lies.challenge)
        said = {"type": lies.kind or kind, "challenge": challenge, "origin": lies.origin or self.origin}
        return json.dumps({**said, "crossOrigin": False, **lies.client}).encode()

    def _answer(self, identifier: bytes, response: Json) -> Json:
        return {
            "id": encoded(identifier),
            "rawId": encoded(identifier),
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {"credProps": {"rk": True}},
            "authenticatorAttachment": "platform",
        }
