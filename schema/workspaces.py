"""The part of the graph about workspaces: members and permission records."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from domain import identity
from domain.access import Effect, WorkspaceRole
from domain.patch import KEEP
from resolvers import workspaces as resolve
from resolvers.experiments import not_null
from schema.node import Node
from schema.paging import Connection
from schema.runs import Deleted
from schema.second_factors import IdInput

if TYPE_CHECKING:
    from resolvers.context import Context
    from schema.identity import User

strawberry.enum(WorkspaceRole)
strawberry.enum(Effect, name="GrantEffect")


@strawberry.type
class Member:
    user: Annotated[User, strawberry.lazy("schema.identity")]
    role: WorkspaceRole


@strawberry.type
class Workspace(Node):
    slug: str
    name: str
    created_at: datetime
    members: Annotated[list[Member], strawberry.field(resolver=resolve.members)]

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, identity.Workspace)


@strawberry.type
class Grant:
    id: strawberry.ID
    user: Annotated[
        Annotated[User, strawberry.lazy("schema.identity")], strawberry.field(resolver=resolve.user_of_grant)
    ]
    resource: strawberry.ID | None
    kind: str
    actions: list[str]
    effect: Effect
    expires_at: datetime | None
    created_at: datetime


@strawberry.input
class WorkspaceCreateInput:
    slug: str
    name: str
    client_token: str | None = None


@strawberry.input
class WorkspaceUpdateInput:
    id: strawberry.ID
    name: Maybe[str | None] = None


@strawberry.input
class MemberInput:
    workspace_id: strawberry.ID
    user_id: strawberry.ID
    role: WorkspaceRole


@strawberry.input
class MemberRemoveInput:
    workspace_id: strawberry.ID
    user_id: strawberry.ID


@strawberry.input
class GrantCreateInput:
    user_id: strawberry.ID
    kind: str
    actions: list[str]
    resource: strawberry.ID | None = None
    effect: Effect = Effect.ALLOW
    expires_at: datetime | None = None
    client_token: str | None = None


@strawberry.input
class GrantUpdateInput:
    id: strawberry.ID
    actions: Maybe[list[str] | None] = None
    effect: Maybe[Effect | None] = None
    expires_at: Maybe[datetime | None] = None


async def _create(
    info: strawberry.Info[Context, None], given: Annotated[WorkspaceCreateInput, strawberry.argument(name="input")]
) -> Any:
    context = info.context
    return await context.services.identity.workspaces.create(
        context.require_scope(), slug=given.slug, name=given.name, client_token=given.client_token
    )


async def _update(
    info: strawberry.Info[Context, None], given: Annotated[WorkspaceUpdateInput, strawberry.argument(name="input")]
) -> Any:
    context = info.context
    return await context.services.identity.workspaces.update(
        context.require_scope(),
        str(given.id),
        name=KEEP if given.name is None else not_null(given.name.value, "name"),
    )


async def _delete(
    info: strawberry.Info[Context, None], given: Annotated[IdInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.delete_workspace(info.context, str(given.id))


async def _add(
    info: strawberry.Info[Context, None], given: Annotated[MemberInput, strawberry.argument(name="input")]
) -> Any:
    context = info.context
    return await context.services.identity.workspaces.add_member(
        context.require_scope(), str(given.workspace_id), user_id=str(given.user_id), role=given.role
    )


async def _change(
    info: strawberry.Info[Context, None], given: Annotated[MemberInput, strawberry.argument(name="input")]
) -> Any:
    context = info.context
    return await context.services.identity.workspaces.change_member(
        context.require_scope(), str(given.workspace_id), user_id=str(given.user_id), role=given.role
    )


async def _remove(
    info: strawberry.Info[Context, None], given: Annotated[MemberRemoveInput, strawberry.argument(name="input")]
) -> Any:
    context = info.context
    return await context.services.identity.workspaces.remove_member(
        context.require_scope(), str(given.workspace_id), user_id=str(given.user_id)
    )


async def _create_grant(
    info: strawberry.Info[Context, None], given: Annotated[GrantCreateInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.create_grant(
        info.context,
        user_id=str(given.user_id),
        kind=given.kind,
        resource=None if given.resource is None else str(given.resource),
        actions=given.actions,
        effect=given.effect,
        expires_at=given.expires_at,
        client_token=given.client_token,
    )


async def _update_grant(
    info: strawberry.Info[Context, None], given: Annotated[GrantUpdateInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.update_grant(
        info.context,
        str(given.id),
        actions=KEEP if given.actions is None else not_null(given.actions.value, "actions"),
        effect=KEEP if given.effect is None else not_null(given.effect.value, "effect"),
        expires_at=KEEP if given.expires_at is None else given.expires_at.value,
    )


async def _delete_grant(
    info: strawberry.Info[Context, None], given: Annotated[IdInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.delete_grant(info.context, str(given.id))


@strawberry.type
class WorkspaceQuery:
    workspaces: Annotated[list[Workspace], strawberry.field(resolver=resolve.workspaces)]
    grants: Annotated[Connection[Grant], strawberry.field(resolver=resolve.grants)]


@strawberry.type
class WorkspaceMutation:
    workspace_create: Annotated[Workspace, strawberry.mutation(resolver=_create)]
    workspace_update: Annotated[Workspace, strawberry.mutation(resolver=_update)]
    workspace_delete: Annotated[Deleted, strawberry.mutation(resolver=_delete)]
    member_add: Annotated[Workspace, strawberry.mutation(resolver=_add)]
    member_update: Annotated[Workspace, strawberry.mutation(resolver=_change)]
    member_remove: Annotated[Workspace, strawberry.mutation(resolver=_remove)]
    grant_create: Annotated[Grant, strawberry.mutation(resolver=_create_grant)]
    grant_update: Annotated[Grant, strawberry.mutation(resolver=_update_grant)]
    grant_delete: Annotated[Deleted, strawberry.mutation(resolver=_delete_grant)]
