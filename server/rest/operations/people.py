"""Registration, accounts for administrators, and one's own data."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.rest.operations.common import PAGE, USER_ID
from server.rest.route import NO_CONTENT, Answer, Operation, Param, json_answer, json_body
from server.rest.structs.auth import TokenPair
from server.rest.structs.people import (
    AdminUser,
    AdminUserCreate,
    AdminUserList,
    AdminUserPatch,
    RegisterRequest,
    UserExport,
)

_SEARCH = Param("search", Annotated[str, Meta(max_length=250)], "Part of an address or name; case does not matter.")

REGISTER = Operation(
    method="post",
    path="/api/auth/register",
    operation_id="authRegister",
    tag="auth",
    summary="Make an account",
    description=(
        "Makes an account as far as the registration policy (`closed`, `invite`, `open`) allows. With an invite it"
        " joins the invite's workspace and is signed in. Without, the answer does not tell whether the address was"
        " taken: sign in then."
    ),
    request=json_body(RegisterRequest, "The account."),
    answers={
        201: json_answer(TokenPair, "The account exists and is signed in."),
        202: Answer("If the address was free, the account exists now; there is no body."),
    },
    security="public",
    errors=(403, 409),
)
EXPORT = Operation(
    method="get",
    path="/api/auth/export",
    operation_id="userExport",
    tag="auth",
    summary="Export my data",
    description="What is kept about the caller: profile, memberships, sessions, API keys and factors, without secrets.",
    answers={200: json_answer(UserExport, "The data.")},
)
USERS = Operation(
    method="get",
    path="/api/admin/users",
    operation_id="users",
    tag="admin",
    summary="List accounts",
    description="Every account, newest first.",
    params=(_SEARCH, *PAGE),
    answers={200: json_answer(AdminUserList, "A page of accounts.")},
)
USER_CREATE = Operation(
    method="post",
    path="/api/admin/users",
    operation_id="userCreate",
    tag="admin",
    summary="Make an account",
    description="Makes an account, an editor of the workspace, whatever the registration policy says.",
    request=json_body(AdminUserCreate, "The account."),
    answers={201: json_answer(AdminUser, "The new account.")},
    errors=(409,),
    idempotent=True,
)
USER_UPDATE = Operation(
    method="put",
    path="/api/admin/users/{id}",
    operation_id="userUpdate",
    tag="admin",
    summary="Change an account",
    description=(
        "Changes what the body names and keeps the rest; takes effect at once. Second factors stay. The last"
        " administrator stays one."
    ),
    params=(USER_ID,),
    request=json_body(AdminUserPatch, "The changes."),
    answers={200: json_answer(AdminUser, "The account as it is now.")},
    errors=(409,),
)
USER_FACTORS_RESET = Operation(
    method="delete",
    path="/api/admin/users/{id}/factors",
    operation_id="userFactorsReset",
    tag="admin",
    summary="Reset second factors",
    description=(
        "Removes the second factors and recovery codes of somebody who lost them, and ends their sessions and sign-ins"
        " under way. The password stays. Asks for a sign-in within the last hour, and not for one's own account."
    ),
    params=(USER_ID,),
    answers=NO_CONTENT,
)
USER_DELETE = Operation(
    method="delete",
    path="/api/admin/users/{id}",
    operation_id="userDelete",
    tag="admin",
    summary="Delete an account",
    description=(
        "Removes the personal data and ends every session; what the user made stays. The last administrator stays."
    ),
    params=(USER_ID,),
    answers=NO_CONTENT,
    errors=(409,),
)

OPERATIONS = (REGISTER, EXPORT, USERS, USER_CREATE, USER_UPDATE, USER_FACTORS_RESET, USER_DELETE)
