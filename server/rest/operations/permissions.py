"""Permission records over REST."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.rest.operations.common import GRANT_ID, PAGE
from server.rest.route import NO_CONTENT, Operation, Param, json_answer, json_body
from server.rest.structs.permissions import Permission, PermissionCreate, PermissionList, PermissionPatch

_USER = Param("user_id", Annotated[str, Meta(max_length=64)], "Only records about this user.")
_RESOURCE = Param(
    "resource",
    Annotated[str, Meta(max_length=64)],
    "Only records on this resource; `runs`, `models`, `endpoints` or `notebooks`: those on all of the kind.",
)

GRANT_LIST = Operation(
    method="get",
    path="/v1/permissions",
    operation_id="grants",
    tag="permissions",
    summary="List permission records",
    description="Records of the workspace, newest first; for its owners.",
    params=(_USER, _RESOURCE, *PAGE),
    answers={200: json_answer(PermissionList, "A page of records.")},
)
GRANT_CREATE = Operation(
    method="post",
    path="/v1/permissions",
    operation_id="grantCreate",
    tag="permissions",
    summary="Make a permission record",
    description=(
        "Takes effect at once. There is one record for each user, resource and effect; a second one is a conflict."
    ),
    request=json_body(PermissionCreate, "The record."),
    answers={201: json_answer(Permission, "The new record.")},
    errors=(404, 409),
    idempotent=True,
)
GRANT_GET = Operation(
    method="get",
    path="/v1/permissions/{id}",
    operation_id="grant",
    tag="permissions",
    summary="Get a permission record",
    description="One record.",
    params=(GRANT_ID,),
    answers={200: json_answer(Permission, "The record.")},
)
GRANT_UPDATE = Operation(
    method="put",
    path="/v1/permissions/{id}",
    operation_id="grantUpdate",
    tag="permissions",
    summary="Change a permission record",
    description="Changes what the body names and keeps the rest; takes effect at once.",
    params=(GRANT_ID,),
    request=json_body(PermissionPatch, "The changes."),
    answers={200: json_answer(Permission, "The record as it is now.")},
    errors=(409,),
)
GRANT_DELETE = Operation(
    method="delete",
    path="/v1/permissions/{id}",
    operation_id="grantDelete",
    tag="permissions",
    summary="Delete a permission record",
    description="Takes effect at once.",
    params=(GRANT_ID,),
    answers=NO_CONTENT,
)

OPERATIONS = (GRANT_LIST, GRANT_CREATE, GRANT_GET, GRANT_UPDATE, GRANT_DELETE)
