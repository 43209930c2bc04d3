"""Passkeys: registering, signing in, removing."""

from __future__ import annotations

from server.rest.operations.common import PASSKEY_ID
from server.rest.route import NO_CONTENT, Operation, json_answer, json_body
from server.rest.structs.auth import TokenPair
from server.rest.structs.passkeys import (
    WebauthnAuthenticateStart,
    WebauthnCredentialDelete,
    WebauthnFinish,
    WebauthnOptions,
    WebauthnRegistered,
    WebauthnRegisterFinish,
)

REGISTER_START = Operation(
    method="post",
    path="/api/auth/mfa/webauthn/register/start",
    operation_id="webauthnRegisterStart",
    tag="auth",
    summary="Begin to register a passkey",
    description=(
        "Answers the options for `navigator.credentials.create`. The session must have been opened within the last"
        " hour."
    ),
    answers={200: json_answer(WebauthnOptions, "The options.")},
    errors=(409,),
)
REGISTER_FINISH = Operation(
    method="post",
    path="/api/auth/mfa/webauthn/register/finish",
    operation_id="webauthnRegisterFinish",
    tag="auth",
    summary="Register a passkey",
    description=(
        "Checks what the authenticator answered, keeps the passkey and ends the caller's other sessions. Signing in by"
        " password asks for a second factor from then on: make recovery codes after the first one."
    ),
    request=json_body(WebauthnRegisterFinish, "The authenticator's answer."),
    answers={201: json_answer(WebauthnRegistered, "The passkey is registered.")},
    errors=(409,),
)
AUTHENTICATE_START = Operation(
    method="post",
    path="/api/auth/mfa/webauthn/authenticate/start",
    operation_id="webauthnAuthenticateStart",
    tag="auth",
    summary="Begin to sign in with a passkey",
    description="As second factor with the pending token, or alone, without a user name.",
    request=json_body(WebauthnAuthenticateStart, "The pending token, if any.", required=False),
    answers={200: json_answer(WebauthnOptions, "The options.")},
    security="public",
    errors=(401, 409),
)
AUTHENTICATE_FINISH = Operation(
    method="post",
    path="/api/auth/mfa/webauthn/authenticate/finish",
    operation_id="webauthnAuthenticateFinish",
    tag="auth",
    summary="Sign in with a passkey",
    description=(
        "Checks what the authenticator answered and answers a session. Without a pending token the authenticator must"
        " have verified its user."
    ),
    request=json_body(WebauthnFinish, "The authenticator's answer."),
    answers={200: json_answer(TokenPair, "Signed in.")},
    security="public",
    errors=(401, 409),
)
DELETE = Operation(
    method="delete",
    path="/api/auth/mfa/webauthn/{id}",
    operation_id="webauthnCredentialDelete",
    tag="auth",
    summary="Remove a passkey",
    description=(
        "Removes a passkey of the caller and ends their other sessions. After the last second factor the password alone"
        " signs in; where a factor is required removing the last one that works is a conflict."
    ),
    params=(PASSKEY_ID,),
    request=json_body(WebauthnCredentialDelete, "The caller's password."),
    answers=NO_CONTENT,
    errors=(409,),
)

OPERATIONS = (REGISTER_START, REGISTER_FINISH, AUTHENTICATE_START, AUTHENTICATE_FINISH, DELETE)
