"""Signing in and out, the signed-in user, API keys."""

from __future__ import annotations

from server.rest.operations.common import KEY_ID, PAGE
from server.rest.route import JSON, NO_CONTENT, Answer, OneOf, Operation, json_answer, json_body
from server.rest.structs.auth import (
    ApiKeyCreate,
    ApiKeyCreated,
    ApiKeyList,
    LoginRequest,
    MfaChallenge,
    RefreshRequest,
    SetupRequest,
    TokenPair,
    User,
)

SETUP = Operation(
    method="post",
    path="/api/auth/setup",
    operation_id="authSetup",
    tag="auth",
    summary="Make the first administrator",
    description=(
        "Works once in the life of an instance: only while it has no user, and only with the one-time token that the"
        " server printed. Signs the new administrator in."
    ),
    request=json_body(SetupRequest, "The setup token and the administrator."),
    answers={201: json_answer(TokenPair, "The administrator exists and is signed in.")},
    security="public",
    errors=(401, 409),
)
LOGIN = Operation(
    method="post",
    path="/api/auth/login",
    operation_id="authLogin",
    tag="auth",
    summary="Sign in",
    description=(
        "Answers a session, or asks for the second factor when the account has one. A wrong address and a wrong"
        " password are told apart neither by the message nor by the time it takes."
    ),
    request=json_body(LoginRequest, "Address and password."),
    answers={200: Answer("Signed in, or a second factor must follow.", {JSON: OneOf((TokenPair, MfaChallenge))})},
    security="public",
    errors=(401,),
)
REFRESH = Operation(
    method="post",
    path="/api/auth/refresh",
    operation_id="authRefresh",
    tag="auth",
    summary="Renew the session",
    description=(
        "Trades the newest refresh token for the next pair. Within 10 s the same trade answers the same pair again;"
        " an older refresh token ends the session."
    ),
    request=json_body(RefreshRequest, "The refresh token, unless it travels in its cookie.", required=False),
    answers={200: json_answer(TokenPair, "The next pair.")},
    security="public",
    errors=(401,),
)
LOGOUT = Operation(
    method="post",
    path="/api/auth/logout",
    operation_id="authLogout",
    tag="auth",
    summary="Sign out",
    description="Ends the session of the caller: its tokens stop working, its open sockets close.",
    answers=NO_CONTENT,
)
ME = Operation(
    method="get",
    path="/api/auth/me",
    operation_id="authMe",
    tag="auth",
    summary="Who am I?",
    description="The user whom the credentials belong to.",
    answers={200: json_answer(User, "The user.")},
)
KEYS_LIST = Operation(
    method="get",
    path="/api/auth/keys",
    operation_id="apiKeys",
    tag="auth",
    summary="List my API keys",
    description="The caller's keys, newest first, without their secrets.",
    params=PAGE,
    answers={200: json_answer(ApiKeyList, "A page of keys.")},
)
KEY_CREATE = Operation(
    method="post",
    path="/api/auth/keys",
    operation_id="apiKeyCreate",
    tag="auth",
    summary="Make an API key",
    description=(
        "A credential for scripts. The secret stands in this answer and is kept nowhere, so a request that is sent"
        " again makes another key: revoke the one whose answer was lost."
    ),
    request=json_body(ApiKeyCreate, "The key to make."),
    answers={201: json_answer(ApiKeyCreated, "The key and its secret.")},
    errors=(409,),
)
KEY_REVOKE = Operation(
    method="delete",
    path="/api/auth/keys/{id}",
    operation_id="apiKeyRevoke",
    tag="auth",
    summary="Revoke an API key",
    description=(
        "The key stops working at once, also on open sockets. Revoking it again changes nothing. Administrators revoke"
        " anybody's in the workspace."
    ),
    params=(KEY_ID,),
    answers=NO_CONTENT,
)

OPERATIONS = (SETUP, LOGIN, REFRESH, LOGOUT, ME, KEYS_LIST, KEY_CREATE, KEY_REVOKE)
