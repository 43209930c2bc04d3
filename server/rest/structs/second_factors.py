"""Shapes of time-based codes and recovery codes. Secrets and codes are shown this once."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.rest.structs.auth import Secret, SessionMode
from server.rest.structs.common import AnswerBody, RequestBody

Code = Annotated[str, Meta(min_length=4, max_length=64)]


class TotpSetup(AnswerBody, kw_only=True):
    """A secret for an authenticator app. It counts only once it was enabled with a code."""

    secret: Annotated[str, Meta(description="The shared secret in Base32.")]
    qr_code: Annotated[str, Meta(description="The same as a QR code: a PNG data URI.")]
    otpauth_url: Annotated[str, Meta(description="The same as an `otpauth://` address.")]


class TotpEnableRequest(RequestBody, kw_only=True):
    """Proof that the authenticator app works."""

    code: Annotated[
        Code | None,
        Meta(description="A current code; may be left out within 5 minutes of a successful `verify`."),
    ] = None


class TotpVerifyRequest(RequestBody, kw_only=True):
    """A code to check: as the second factor of a sign-in, or for the signed-in caller's own setup."""

    code: Annotated[Code, Meta(description="The current code of the authenticator app.")]
    mfa_token: Annotated[Secret | None, Meta(description="The pending token of a sign-in; left out with a Bearer.")] = (
        None
    )
    session: Annotated[SessionMode, Meta(description="How the tokens travel, when this completes a sign-in.")] = (
        SessionMode.TOKEN
    )


class TotpValid(AnswerBody, kw_only=True):
    """Whether the code of the caller's setup was right."""

    valid: Annotated[bool, Meta(description="True when the code was right.")]


class RecoveryCodes(AnswerBody, kw_only=True):
    """Fresh recovery codes. They are shown this once; older ones no longer work."""

    recovery_codes: Annotated[list[str], Meta(description="The codes, each good for one use.")]


class RecoveryUse(RequestBody, kw_only=True):
    """A recovery code in place of the second factor."""

    mfa_token: Annotated[Secret, Meta(description="The pending token that login answered.")]
    code: Annotated[Code, Meta(description="One unused recovery code.")]
    session: Annotated[SessionMode, Meta(description="How the tokens travel.")] = SessionMode.TOKEN
