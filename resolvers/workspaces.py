"""Workspaces, members and permission records: from fields to the use-cases of identity."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import strawberry
from strawberry.dataloader import DataLoader

from domain.access import Effect
from domain.errors import NotFound
from domain.identity import Grant, Member, User, Workspace
from domain.paging import Page
from domain.patch import Keep
from resolvers.batching import by_key
from resolvers.runs import Deleted
from resolvers.selection import page_of

if TYPE_CHECKING:
    from domain.access import Scope
    from resolvers.context import Context, Services


@dataclass(frozen=True, slots=True)
class WorkspaceLoaders:
    """Workspaces by id, what users belong to, and who belongs to workspaces."""

    workspaces: DataLoader[str, Workspace | None]
    of_user: DataLoader[str, list[Workspace] | None]
    members: DataLoader[str, list[Member] | None]

    @classmethod
    def of(cls, services: Services, scope: Scope) -> WorkspaceLoaders:
        """Loaders that read as `scope`."""
        workspaces = services.identity.workspaces
        return cls(
            workspaces=by_key(partial(workspaces.by_ids, scope)),
            of_user=by_key(partial(workspaces.of_users, scope)),
            members=by_key(partial(workspaces.members, scope)),
        )


async def workspaces(info: strawberry.Info[Context, None]) -> list[Workspace]:
    """Those the caller may enter."""
    return await info.context.services.identity.workspaces.mine(info.context.require_scope())


def of_user(parent: strawberry.Parent[User], info: strawberry.Info[Context, None]) -> Awaitable[list[Workspace] | None]:
    """What a user belongs to, as far as the caller may enter it, too."""
    return info.context.loaders.workspaces.of_user.load(parent.id)


def members(
    parent: strawberry.Parent[Workspace], info: strawberry.Info[Context, None]
) -> Awaitable[list[Member] | None]:
    """Who belongs to a workspace."""
    return info.context.loaders.workspaces.members.load(parent.id)


async def grants(
    info: strawberry.Info[Context, None],
    resource: strawberry.ID | None = None,
    first: int | None = 50,
    after: str | None = None,
) -> Page[Grant]:
    """Permission records of the workspace."""
    return await info.context.services.identity.grants.page(
        info.context.require_scope(),
        page_of(info, first, after),
        resource=None if resource is None else str(resource),
    )


async def user_of_grant(parent: strawberry.Parent[Grant], info: strawberry.Info[Context, None]) -> User:
    """Whom a record is about."""
    found: User | None = await info.context.loaders.identity.users.load(parent.user_id)
    if found is None:
        raise NotFound("the user of this permission record is gone")
    return found


async def delete_workspace(context: Context, workspace_id: str) -> Deleted:
    """Removes an empty workspace."""
    return Deleted(await context.services.identity.workspaces.delete(context.require_scope(), workspace_id))


async def create_grant(
    context: Context,
    *,
    user_id: str,
    kind: str,
    resource: str | None,
    actions: Sequence[str],
    effect: Effect,
    expires_at: datetime | None,
    client_token: str | None,
) -> Grant:
    """Makes a record."""
    return await context.services.identity.grants.create(
        context.require_scope(),
        user_id=user_id,
        kind=kind,
        resource=resource,
        actions=actions,
        effect=effect,
        expires_at=expires_at,
        client_token=client_token,
    )


async def update_grant(
    context: Context,
    grant_id: str,
    *,
    actions: Sequence[str] | Keep,
    effect: Effect | Keep,
    expires_at: datetime | Keep | None,
) -> Grant:
    """Changes a record."""
    return await context.services.identity.grants.update(
        context.require_scope(), grant_id, actions=actions, effect=effect, expires_at=expires_at
    )


async def delete_grant(context: Context, grant_id: str) -> Deleted:
    """Removes a record."""
    return Deleted(await context.services.identity.grants.delete(context.require_scope(), grant_id))
