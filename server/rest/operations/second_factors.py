"""Time-based codes and recovery codes: setting up, and signing in."""

from __future__ import annotations

from server.rest.route import JSON, Answer, OneOf, Operation, json_answer, json_body
from server.rest.structs.auth import TokenPair
from server.rest.structs.second_factors import (
    RecoveryCodes,
    RecoveryUse,
    TotpEnableRequest,
    TotpSetup,
    TotpValid,
    TotpVerifyRequest,
)


def _not_by_get(path: str, operation_id: str, instead: str) -> Operation:
    return Operation(
        method="get",
        path=path,
        operation_id=operation_id,
        tag="auth",
        summary="Not by GET",
        description=f"This would change state, so GET is refused: use POST {instead}.",
        answers={},
        errors=(405,),
        bare=True,
    )


TOTP_SETUP = Operation(
    method="post",
    path="/api/auth/mfa/totp/setup",
    operation_id="mfaTotpSetup",
    tag="auth",
    summary="Begin with TOTP",
    description=(
        "Answers a new secret for the caller, instead of any that is not enabled. It counts only once it was enabled. "
        "The session must have been opened within the last hour."
    ),
    answers={200: json_answer(TotpSetup, "The secret.")},
    errors=(409,),
)
TOTP_ENABLE = Operation(
    method="post",
    path="/api/auth/mfa/totp/enable",
    operation_id="mfaTotpEnable",
    tag="auth",
    summary="Enable TOTP",
    description=(
        "Needs a current code, unless `verify` succeeded within the last 5 minutes. Answers the recovery codes and ends"
        " the caller's other sessions. Sent again it is a conflict: a lost answer is made up for by new recovery codes."
    ),
    request=json_body(TotpEnableRequest, "The code.", required=False),
    answers={200: json_answer(RecoveryCodes, "TOTP is on.")},
    errors=(409,),
)
TOTP_VERIFY = Operation(
    method="post",
    path="/api/auth/mfa/totp/verify",
    operation_id="mfaTotpVerify",
    tag="auth",
    summary="Check a TOTP code",
    description=(
        "With `mfa_token`: the second factor of a sign-in. With a Bearer: checks the code of the caller's own setup;"
        " once TOTP is enabled this uses the code up and counts as a fresh sign-in of the session."
    ),
    request=json_body(TotpVerifyRequest, "The code."),
    answers={200: Answer("Signed in; or whether the code was right.", {JSON: OneOf((TokenPair, TotpValid))})},
    security="optional",
    errors=(409,),
)
RECOVERY_GENERATE = Operation(
    method="post",
    path="/api/auth/mfa/recovery/generate",
    operation_id="recoveryCodesGenerate",
    tag="auth",
    summary="Make new recovery codes",
    description=(
        "Older codes stop working, and the caller's other sessions end. Needs a sign-in, or a code checked by"
        " `totp/verify`, within the last 5 minutes."
    ),
    answers={200: json_answer(RecoveryCodes, "The codes.")},
    errors=(409,),
)
RECOVERY_USE = Operation(
    method="post",
    path="/api/auth/mfa/recovery",
    operation_id="recoveryCodeUse",
    tag="auth",
    summary="Sign in with a recovery code",
    description="Takes the place of the second factor; each code works once.",
    request=json_body(RecoveryUse, "The pending token and the code."),
    answers={200: json_answer(TokenPair, "Signed in.")},
    security="public",
    errors=(401,),
)
TOTP_SETUP_GET = _not_by_get("/api/auth/mfa/totp/setup", "mfaTotpSetupGet", TOTP_SETUP.path)
RECOVERY_GET = _not_by_get("/api/auth/mfa/recovery", "recoveryGet", RECOVERY_GENERATE.path)
RECOVERY_GENERATE_GET = _not_by_get("/api/auth/mfa/recovery/generate", "recoveryGenerateGet", RECOVERY_GENERATE.path)

OPERATIONS = (
    TOTP_SETUP,
    TOTP_ENABLE,
    TOTP_VERIFY,
    RECOVERY_GENERATE,
    RECOVERY_USE,
    TOTP_SETUP_GET,
    RECOVERY_GET,
    RECOVERY_GENERATE_GET,
)
