"""The WebAuthn ceremonies (W3C Web Authentication, level 3) on top of py_webauthn.

What the library leaves to its caller is done here: every part of an answer is bounded and decoded before the library
sees it, pages inside pages of another origin are refused, and counters are left to the caller, who must not judge them
before the signature. Whatever the library raises (RecursionError and KeyError among it, for input that is made up) is a
proof that failed, never a defect of the server.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import webauthn
from webauthn.helpers import (
    bytes_to_base64url,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    options_to_json_dict,
    parse_attestation_object,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AttestationFormat,
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from domain.errors import BadUserInput
from domain.identity import User
from domain.identity.passkey_ports import (
    Asserted,
    Assertion,
    Attested,
    ClientData,
    Creation,
    RelyingParty,
    Unproven,
)
from server.settings import Settings, SettingsError, origin_host

TIMEOUT_SECONDS: Final = 300
_LOCAL: Final = "localhost"
MOST_ID: Final = 1_023  # of the standard
MOST_CLIENT_DATA: Final = 8 * 1024
MOST_ATTESTATION: Final = 16 * 1024
MOST_AUTHENTICATOR_DATA: Final = 4 * 1024
MOST_SIGNATURE: Final = 1024
MOST_KEY: Final = 1024
MOST_HANDLE: Final = 64  # of the standard
ALGORITHMS: Final = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)
_TRANSPORTS: Final = frozenset(one.value for one in AuthenticatorTransport)


def relying_party(settings: Settings) -> RelyingParty | None:
    """For whom passkeys are made here; None where no browser would make any. Raises SettingsError.

    Without settings of its own that is `server.public_url`, and without that the server on this machine.
    """
    given, public = settings.webauthn, settings.server.public_url
    usable = public.lower() if public is not None and origin_host(public.lower()) is not None else None
    origins = given.origins
    if not origins and usable is not None:
        origins = (usable,)
    elif not origins and given.rp_id is not None and given.rp_id != _LOCAL:
        origins = (f"https://{given.rp_id}",)
    elif not origins and public is None and settings.server.port:
        origins = (f"http://{_LOCAL}:{settings.server.port}".removesuffix(":80"),)
    if not origins:
        return None
    name = given.rp_id or origin_host(usable or origins[0]) or ""
    for origin in origins:
        host = origin_host(origin) or ""
        if host != name and not host.endswith(f".{name}"):
            raise SettingsError([f"webauthn.origins: {origin} is not on {name}, which passkeys are made for"])
    return RelyingParty(name, origins)


class WebauthnCeremonies:
    """Implements `Ceremonies`."""

    def __init__(self, party: RelyingParty) -> None:
        self._party = party

    @property
    def rp_id(self) -> str:
        return self._party.id

    # --- what the browser is asked -------------------------------------------------------------------

    def creation_options(
        self, *, challenge: bytes, handle: bytes, user: User, known: Sequence[tuple[bytes, tuple[str, ...]]]
    ) -> Mapping[str, Any]:
        options = webauthn.generate_registration_options(
            rp_id=self._party.id,
            rp_name=self._party.name,
            user_id=handle,
            user_name=user.email,
            user_display_name=user.name,
            challenge=challenge,
            timeout=TIMEOUT_SECONDS * 1000,
            attestation=AttestationConveyancePreference.NONE,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.PREFERRED,
            ),
            exclude_credentials=_descriptors(known),
            supported_pub_key_algs=ALGORITHMS,
        )
        return {**options_to_json_dict(options), "extensions": {"credProps": True}}

    def request_options(
        self, *, challenge: bytes, known: Sequence[tuple[bytes, tuple[str, ...]]], verified: bool
    ) -> Mapping[str, Any]:
        options = webauthn.generate_authentication_options(
            rp_id=self._party.id,
            challenge=challenge,
            timeout=TIMEOUT_SECONDS * 1000,
            allow_credentials=_descriptors(known),
            user_verification=(
                UserVerificationRequirement.REQUIRED if verified else UserVerificationRequirement.PREFERRED
            ),
        )
        return options_to_json_dict(options)

    # --- what it answers -----------------------------------------------------------------------------

    def read_creation(self, credential: object) -> Creation:
        credential_id, given, response = _parts(credential)
        return Creation(
            credential_id=credential_id,
            client=_client_data(response),
            attestation=_bytes(response, "attestationObject", MOST_ATTESTATION),
            transports=_transports(response.get("transports")),
            discoverable=_discoverable(given.get("clientExtensionResults")),
        )

    def read_assertion(self, credential: object) -> Assertion:
        credential_id, _, response = _parts(credential)
        named = response.get("userHandle") not in (None, "")
        return Assertion(
            credential_id=credential_id,
            client=_client_data(response),
            authenticator=_bytes(response, "authenticatorData", MOST_AUTHENTICATOR_DATA),
            signature=_bytes(response, "signature", MOST_SIGNATURE),
            handle=_bytes(response, "userHandle", MOST_HANDLE) if named else None,
        )

    def verify_creation(self, creation: Creation) -> Attested:
        self._check_page(creation.client)
        answer = RegistrationCredential(
            id=bytes_to_base64url(creation.credential_id),
            raw_id=creation.credential_id,
            response=AuthenticatorAttestationResponse(creation.client.text, creation.attestation),
        )
        try:
            statement = parse_attestation_object(creation.attestation)
            plain = statement.fmt == AttestationFormat.NONE
            if not plain and (statement.fmt != AttestationFormat.PACKED or statement.att_stmt.x5c):
                raise Unproven("it brings a certificate of its maker, which was not asked for")
            found = webauthn.verify_registration_response(
                credential=answer,
                expected_challenge=creation.challenge,
                expected_rp_id=self._party.id,
                expected_origin=list(self._party.origins),
                require_user_presence=True,
                require_user_verification=False,
                supported_pub_key_algs=ALGORITHMS,
            )
            # Without a statement the library does not look whether the key is one.
            decoded_public_key_to_cryptography(decode_credential_public_key(found.credential_public_key))
        except Unproven:
            raise
        except Exception as problem:  # see the head of this module
            raise Unproven("the authenticator's answer is not a right one for this registration") from problem
        if found.credential_id != creation.credential_id or len(found.credential_public_key) > MOST_KEY:
            raise Unproven("its id or its key is not as it should be")
        return Attested(
            credential_id=found.credential_id,
            public_key=found.credential_public_key,
            sign_count=found.sign_count,
            aaguid=found.aaguid,
            transports=creation.transports,
            backed_up=found.credential_backed_up,
            user_verified=found.user_verified,
            discoverable=creation.discoverable,
        )

    def verify_assertion(self, assertion: Assertion, public_key: bytes, *, require_user_verification: bool) -> Asserted:
        self._check_page(assertion.client)
        answer = AuthenticationCredential(
            id=bytes_to_base64url(assertion.credential_id),
            raw_id=assertion.credential_id,
            response=AuthenticatorAssertionResponse(
                assertion.client.text, assertion.authenticator, assertion.signature, assertion.handle
            ),
        )
        try:
            found = webauthn.verify_authentication_response(
                credential=answer,
                expected_challenge=assertion.challenge,
                expected_rp_id=self._party.id,
                expected_origin=list(self._party.origins),
                credential_public_key=public_key,
                # The library compares counters before it checks the signature. From 0 everything counts up, so that
                # whoever asked judges the counter of an answer that is known to be genuine.
                credential_current_sign_count=0,
                require_user_verification=require_user_verification,
            )
        except Exception as problem:  # see the head of this module
            raise Unproven("the authenticator's answer is not a right one") from problem
        return Asserted(found.new_sign_count, found.user_verified, found.credential_backed_up)

    def _check_page(self, client: ClientData) -> None:
        """The library compares the origin only, and knows nothing of pages inside others."""
        if client.origin not in self._party.origins:
            listed = ", ".join(self._party.origins)
            raise Unproven(f"pages of {client.origin[:200]!r} may not ask for passkeys here, only those of {listed}")
        if client.embedded:
            raise Unproven("the page was inside a page of another origin")


def _descriptors(known: Sequence[tuple[bytes, tuple[str, ...]]]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(id=identifier, transports=[AuthenticatorTransport(one) for one in transports])
        for identifier, transports in known
    ]


def _parts(credential: object) -> tuple[bytes, Mapping[str, Any], Mapping[str, Any]]:
    """The id of a credential, the credential, and its response. Whatever else there is is never looked at."""
    given = _object(credential, "credential")
    identifier = _bytes(given, "rawId", MOST_ID, at="credential")
    if given.get("id") != bytes_to_base64url(identifier):
        raise BadUserInput("expected the same as rawId, in base64url without padding", field="credential.id")
    if given.get("type") != "public-key":
        raise BadUserInput("expected 'public-key'", field="credential.type")
    return identifier, given, _object(given.get("response"), "credential.response")


def _client_data(response: Mapping[str, Any]) -> ClientData:
    place = "credential.response.clientDataJSON"
    text = _bytes(response, "clientDataJSON", MOST_CLIENT_DATA)
    try:
        data = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise BadUserInput("expected JSON", field=place) from None
    if not isinstance(data, dict) or not isinstance(data.get("origin"), str):
        raise BadUserInput("expected an object with `type`, `challenge` and `origin`", field=place)
    return ClientData(
        text=text,
        challenge=_bytes(data, "challenge", MOST_ID, at=place),
        origin=data["origin"],
        embedded=data.get("crossOrigin") not in (None, False) or data.get("topOrigin") is not None,
    )


def _transports(given: object) -> tuple[str, ...]:
    """A hint for the next time; what we do not know is left out."""
    known = given if isinstance(given, list) else []
    return tuple(sorted({one for one in known[:16] if isinstance(one, str) and one in _TRANSPORTS}))


def _discoverable(results: object) -> bool:
    """Asked for, and so granted, unless the browser says otherwise."""
    properties = results.get("credProps") if isinstance(results, dict) else None
    return not (isinstance(properties, dict) and properties.get("rk") is False)


def _object(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadUserInput("expected an object of the WebAuthn standard's JSON form", field=place)
    return value


def _bytes(given: Mapping[str, Any], name: str, most: int, *, at: str = "credential.response") -> bytes:
    """Base64url, with or without padding, of 1 to `most` bytes. Raises BadUserInput."""
    value, place = given.get(name), f"{at}.{name}"
    if not isinstance(value, str):
        raise BadUserInput("expected text in base64url", field=place)
    if len(value) > most * 4 // 3 + 4:
        raise BadUserInput(f"expected at most {most} bytes in base64url", field=place)
    bare = value.rstrip("=")
    if _BASE64URL.fullmatch(value) is None or len(bare) % 4 == 1:
        raise BadUserInput("expected text in base64url", field=place)
    return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
