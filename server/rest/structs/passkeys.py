"""Shapes of passkey ceremonies. What the browser takes and answers stays as the WebAuthn standard writes it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.rest.structs.auth import Password, Secret, SessionMode
from server.rest.structs.common import AnswerBody, DateTime, JsonObject, RequestBody, Title

CeremonyId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class WebauthnOptions(AnswerBody, kw_only=True):
    """What the browser's `navigator.credentials` needs, and the ceremony it belongs to."""

    ceremony_id: Annotated[str, Meta(description="Names this ceremony in `finish`; good once, for 5 minutes.")]
    options: Annotated[JsonObject, Meta(description="The options in the JSON form of the WebAuthn standard.")]


class WebauthnRegisterFinish(RequestBody, kw_only=True):
    """What the authenticator answered to the registration."""

    ceremony_id: Annotated[CeremonyId, Meta(description="The ceremony that `start` answered.")]
    name: Annotated[Title, Meta(description="What to call it; no two of one user have the same name.")]
    credential: Annotated[JsonObject, Meta(description="The credential in the JSON form of the WebAuthn standard.")]


class WebauthnCredential(AnswerBody, kw_only=True):
    """A registered passkey."""

    id: Annotated[str, Meta(description="Passkey id (`psk_…`).")]
    name: Annotated[str, Meta(description="What its owner calls it.")]
    created_at: Annotated[DateTime, Meta(description="When it was registered.")]
    last_used_at: Annotated[DateTime | None, Meta(description="Last use; null: never used.")]


class WebauthnRegistered(AnswerBody, kw_only=True):
    """The new passkey."""

    credential: Annotated[WebauthnCredential, Meta(description="The passkey.")]


class WebauthnCredentialDelete(RequestBody, kw_only=True):
    """The proof that it is its owner who removes a passkey."""

    password: Annotated[Password, Meta(description="The caller's password.")]


class WebauthnAuthenticateStart(RequestBody, kw_only=True):
    """A passkey ceremony: as second factor, or to sign in without a password."""

    mfa_token: Annotated[
        Secret | None, Meta(description="The pending token of a sign-in; left out to sign in by passkey alone.")
    ] = None


class WebauthnFinish(RequestBody, kw_only=True):
    """What the authenticator answered."""

    ceremony_id: Annotated[CeremonyId, Meta(description="The ceremony that `start` answered.")]
    mfa_token: Annotated[Secret | None, Meta(description="The pending token that `start` was given, if any.")] = None
    credential: Annotated[JsonObject, Meta(description="The credential in the JSON form of the WebAuthn standard.")]
    session: Annotated[SessionMode, Meta(description="How the tokens travel.")] = SessionMode.TOKEN
