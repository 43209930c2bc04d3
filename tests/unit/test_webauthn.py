"""WebAuthn answers as strangers may send them: read within bounds, refused by name, never a defect."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import UserRole
from domain.errors import BadUserInput
from domain.identity import User
from domain.identity.passkey_ports import Attested, RelyingParty, Unproven
from server.security import webauthn
from server.security.webauthn import WebauthnCeremonies, relying_party
from server.settings import ServerSettings, Settings, SettingsError, WebauthnSettings
from tests.support.authenticator import Authenticator, Lies, decoded, encoded
from tests.support.tracking import START

PARTY = RelyingParty("localhost", ("http://localhost:3000",))
CEREMONIES = WebauthnCeremonies(PARTY)
ADA = User("usr_1", "ada@example.com", "Ada", UserRole.USER, START)
CHALLENGE, HANDLE = b"c" * 32, b"h" * 64

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary().map(encoded),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def created(lies: Lies | None = None, device: Authenticator | None = None) -> dict[str, Any]:
    options = CEREMONIES.creation_options(challenge=CHALLENGE, handle=HANDLE, user=ADA, known=())
    return (device or Authenticator()).create(options, lies or Lies())


def used() -> tuple[dict[str, Any], Attested]:
    device = Authenticator()
    attested = CEREMONIES.verify_creation(CEREMONIES.read_creation(created(device=device)))
    return device.get(CEREMONIES.request_options(challenge=CHALLENGE, known=(), verified=True)), attested


CREATED, (USED, ATTESTED) = created(), used()


def put(answer: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """A copy with another value at `a.b`."""
    copy: dict[str, Any] = json.loads(json.dumps(answer))
    *path, last = place.split(".")
    inner = copy
    for step in path:
        inner = inner[step]
    inner[last] = value
    return copy


def register(answer: object) -> None:
    CEREMONIES.verify_creation(CEREMONIES.read_creation(answer))


def sign_in(answer: object) -> None:
    given = CEREMONIES.read_assertion(answer)
    CEREMONIES.verify_assertion(given, ATTESTED.public_key, require_user_verification=True)


def try_all(answer: object) -> None:
    """Reads and verifies as both ceremonies do; nothing but a refusal or a proof comes out."""
    for ceremony in (register, sign_in):
        try:
            ceremony(answer)
        except BadUserInput as refused:
            assert refused.field is not None
            assert refused.field.startswith("credential")
        except Unproven as refused:
            assert str(refused)


def test_what_is_genuine_is_proven() -> None:
    assert CEREMONIES.verify_creation(CEREMONIES.read_creation(CREATED)).user_verified
    given = CEREMONIES.read_assertion(USED)
    assert given.handle == HANDLE
    proof = CEREMONIES.verify_assertion(given, ATTESTED.public_key, require_user_verification=True)
    assert (proof.sign_count, proof.user_verified) == (1, True)


@given(values)
def test_anything_at_all_is_refused_by_name(value: object) -> None:
    try_all(value)


PLACES = ["id", "rawId", "type", "response", "clientExtensionResults", "authenticatorAttachment"]
PARTS = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle", "transports"]


@given(st.sampled_from(PLACES + [f"response.{part}" for part in PARTS]), values)
def test_anything_in_one_place_is_refused_or_passed_over(place: str, value: object) -> None:
    for answer in (CREATED, USED):
        try_all(put(answer, place, value))


def changed(answer: dict[str, Any], part: str, data: st.DataObject) -> dict[str, Any]:
    """The answer with one other byte."""
    raw = bytearray(decoded(answer["response"][part]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    return put(answer, f"response.{part}", encoded(bytes(raw)))


@given(st.sampled_from(["clientDataJSON", "authenticatorData", "signature"]), st.data())
def test_a_changed_byte_is_no_proof(part: str, data: st.DataObject) -> None:
    with pytest.raises((BadUserInput, Unproven)):
        sign_in(changed(USED, part, data))


@given(st.sampled_from(["clientDataJSON", "attestationObject"]), st.data())
def test_a_changed_byte_of_a_registration_is_no_defect(part: str, data: st.DataObject) -> None:
    try_all(changed(CREATED, part, data))


def test_a_key_that_is_none_is_not_taken() -> None:
    answer = CREATED["response"]["attestationObject"]
    attestation = cbor2.loads(decoded(answer))
    attestation["authData"] = attestation["authData"][:-1] + bytes([attestation["authData"][-1] ^ 1])
    with pytest.raises(Unproven):
        register(put(CREATED, "response.attestationObject", encoded(cbor2.dumps(attestation))))


@given(st.dictionaries(st.sampled_from(["type", "challenge", "origin", "crossOrigin", "tokenBinding"]), values))
def test_any_client_data_is_no_defect(other: dict[str, Any]) -> None:
    for answer in (CREATED, USED):
        said = json.loads(decoded(answer["response"]["clientDataJSON"]))
        text = json.dumps({**said, **other}, allow_nan=True).encode("utf-8", "replace")
        try_all(put(answer, "response.clientDataJSON", encoded(text)))


@given(st.recursive(st.none() | st.integers() | st.binary(), st.lists))
def test_any_attestation_is_no_proof(value: object) -> None:
    for whole in (value, {"fmt": value, "attStmt": value, "authData": value}, {"fmt": "packed", "attStmt": value}):
        answer = put(CREATED, "response.attestationObject", encoded(cbor2.dumps(whole)))
        with pytest.raises(Unproven):
            CEREMONIES.verify_creation(CEREMONIES.read_creation(answer))


@pytest.mark.parametrize("raw", [b"[" * 8_000, b'{"a":' * 1_600, b"\xff\xfe{", b"null", b"{}", b'{"origin": 1}'])
def test_client_data_that_is_no_object_of_json_is_refused(raw: bytes) -> None:
    with pytest.raises(BadUserInput) as refused:
        CEREMONIES.read_assertion(put(USED, "response.clientDataJSON", encoded(raw)))
    assert refused.value.field is not None
    assert refused.value.field.startswith("credential.response.clientDataJSON")


@pytest.mark.parametrize("raw", [b"\x81" * 10_000, b"\xd8\x1c" * 5_000, b"\x9f" * 12_000, b"\xbf" * 12_000])
def test_deep_cbor_is_no_proof(raw: bytes) -> None:
    with pytest.raises(Unproven):
        CEREMONIES.verify_creation(CEREMONIES.read_creation(put(CREATED, "response.attestationObject", encoded(raw))))


@pytest.mark.parametrize(
    ("place", "most"),
    [
        ("response.clientDataJSON", webauthn.MOST_CLIENT_DATA),
        ("response.signature", webauthn.MOST_SIGNATURE),
        ("response.authenticatorData", webauthn.MOST_AUTHENTICATOR_DATA),
        ("response.userHandle", webauthn.MOST_HANDLE),
        ("rawId", webauthn.MOST_ID),
    ],
)
def test_every_part_is_bounded(place: str, most: int) -> None:
    with pytest.raises(BadUserInput, match="at most") as refused:
        CEREMONIES.read_assertion(put(USED, place, "A" * (2 * most)))
    assert refused.value.field == f"credential.{place}"


@pytest.mark.parametrize("text", ["", "=", "a", "ab+/", "ab cd", "abcde", "ü", "abcd\n", 5, None, ["abcd"]])
def test_what_is_not_base64url_is_refused(text: object) -> None:
    with pytest.raises(BadUserInput) as refused:
        CEREMONIES.read_assertion(put(USED, "response.signature", text))
    assert refused.value.field == "credential.response.signature"


def test_an_id_that_is_not_its_raw_id_is_refused() -> None:
    with pytest.raises(BadUserInput) as refused:
        CEREMONIES.read_assertion(put(USED, "id", encoded(b"another")))
    assert refused.value.field == "credential.id"
    other = b"another id of the same length..."
    swapped = put(put(CREATED, "id", encoded(other)), "rawId", encoded(other))
    with pytest.raises(Unproven):
        CEREMONIES.verify_creation(CEREMONIES.read_creation(swapped))


def test_the_counter_is_left_to_the_caller() -> None:
    device = Authenticator()
    attested = CEREMONIES.verify_creation(CEREMONIES.read_creation(created(device=device)))
    options = CEREMONIES.request_options(challenge=CHALLENGE, known=(), verified=True)
    for count in (9, 3, 0):
        given = CEREMONIES.read_assertion(device.get(options, Lies(count=count)))
        proof = CEREMONIES.verify_assertion(given, attested.public_key, require_user_verification=True)
        assert proof.sign_count == count


def served(public_url: str | None = None, port: int = 3000, **passkeys: Any) -> RelyingParty | None:
    server = ServerSettings.model_validate({"public_url": public_url, "port": port})
    return relying_party(Settings(server=server, webauthn=WebauthnSettings.model_validate(passkeys)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("localhost", ("http://localhost:3000",))),
        ({"port": 80}, ("localhost", ("http://localhost",))),
        ({"port": 0}, None),
        ({"public_url": "https://axon.example.com"}, ("axon.example.com", ("https://axon.example.com",))),
        ({"public_url": "https://a.example.com:8443"}, ("a.example.com", ("https://a.example.com:8443",))),
        ({"public_url": "https://Axon.Example.com"}, ("axon.example.com", ("https://axon.example.com",))),
        ({"public_url": "https://192.0.2.7"}, None),
        ({"public_url": "http://axon.example.com"}, None),
        ({"rp_id": "example.com"}, ("example.com", ("https://example.com",))),
        (
            {"public_url": "https://axon.example.com", "rp_id": "example.com"},
            ("example.com", ("https://axon.example.com",)),
        ),
        (
            {"origins": "https://axon.example.com, https://b.axon.example.com"},
            ("axon.example.com", ("https://axon.example.com", "https://b.axon.example.com")),
        ),
        ({"port": 0, "origins": "http://localhost:8080"}, ("localhost", ("http://localhost:8080",))),
    ],
)
def test_for_whom_passkeys_are_made(given: dict[str, Any], expected: tuple[str, tuple[str, ...]] | None) -> None:
    found = served(**given)
    assert (None if found is None else (found.id, found.origins)) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"rp_id": "example.com", "origins": "https://example.org"},
        {"rp_id": "example.com", "origins": "https://badexample.com"},
        {"public_url": "https://axon.example.com", "origins": "https://example.com"},
    ],
)
def test_origins_must_be_on_the_name(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"webauthn\.origins"):
        served(**given)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rp_id": "192.0.2.7"},
        {"rp_id": "Example.com"},
        {"rp_id": "https://example.com"},
        {"rp_id": "-a.example"},
        {"origins": "http://example.com"},
        {"origins": "https://example.com/"},
        {"origins": "https://example.com:443"},
        {"origins": "https://EXAMPLE.com"},
        {"origins": "https://user@example.com"},
        {"origins": "https://example.com:port"},
        {"origins": "https://[2001:db8::1]"},
        {"origins": "*"},
    ],
)
def test_settings_that_no_browser_could_follow_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"rp_id|origins"):
        WebauthnSettings.model_validate(wrong)
