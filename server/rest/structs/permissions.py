"""Shapes of permission records: explicit grants and denials."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from server.rest.structs.common import AnswerBody, DateTime, NextCursor, Reference, RequestBody, Total

Actions = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=64)]],
    Meta(
        min_length=1,
        max_length=16,
        description="What is granted or denied: `read`, `write`, `delete`; also `predict` with endpoints, `execute`"
        " with notebooks.",
    ),
]


class Effect(StrEnum):
    """Whether a record allows or forbids; a denial wins."""

    GRANT = "grant"
    DENY = "deny"


class Permission(AnswerBody, kw_only=True):
    """An explicit grant or denial on one resource, or on all of a kind."""

    id: Annotated[str, Meta(description="Id of the record.")]
    user_id: Annotated[str, Meta(description="Whom it concerns (`usr_…`).")]
    resource: Annotated[
        str,
        Meta(
            description="Id of the resource, of any kind; or `runs`, `models`, `endpoints`, `notebooks`: all of the"
            " kind."
        ),
    ]
    actions: Annotated[list[str], Meta(description="What is granted or denied, such as `read` or `write`.")]
    effect: Annotated[Effect, Meta(description="Grant or deny.")]
    expires_at: Annotated[DateTime | None, Meta(description="When it ends; null: never.")]
    created_at: Annotated[DateTime, Meta(description="When it was made.")]
    created_by: Annotated[str | None, Meta(description="Who made it (`usr_…`); null when that is not known.")]


class PermissionList(AnswerBody, kw_only=True):
    """A page of records, newest first."""

    items: Annotated[list[Permission], Meta(description="The records of this page.")]
    total: Total
    next_cursor: NextCursor


class PermissionCreate(RequestBody, kw_only=True):
    """A record to be made."""

    user_id: Annotated[Reference, Meta(description="Whom it concerns: a member of the workspace.")]
    resource: Annotated[
        Reference,
        Meta(
            description="Id of the resource, with its prefix; or `runs`, `models`, `endpoints`, `notebooks`: all of the"
            " kind."
        ),
    ]
    actions: Actions
    effect: Annotated[Effect, Meta(description="Grant or deny.")] = Effect.GRANT
    expires_at: Annotated[DateTime | None, Meta(description="When it ends; null: never.")] = None


class PermissionPatch(RequestBody, kw_only=True):
    """Changes to a record. What is left out stays; null clears."""

    actions: Actions | UnsetType = UNSET
    effect: Annotated[Effect | UnsetType, Meta(description="Grant or deny.")] = UNSET
    expires_at: Annotated[DateTime | UnsetType | None, Meta(description="When it ends.")] = UNSET
