"""Accounts, registration and invites: from fields to the use-cases of identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import strawberry

from domain.access import UserRole, WorkspaceRole
from domain.identity import AuthResult, Invite, User, Workspace
from domain.identity.invites import InviteCreated
from domain.paging import Page
from domain.patch import Keep
from resolvers.identity import SessionKind, check_kind, handed_over
from resolvers.runs import Deleted
from resolvers.selection import page_of

if TYPE_CHECKING:
    from resolvers.context import Context


@dataclass(frozen=True, slots=True)
class Registered:
    """What is answered to a registration without an invite, whatever became of it."""

    token: None = None
    refresh_token: None = None
    expires_in: None = None
    user: None = None
    requires_mfa: bool = False
    mfa_token: None = None


# --- registration --------------------------------------------------------------------------------


async def register(
    context: Context, *, email: str, password: str, name: str | None, invite: str | None, session: SessionKind
) -> AuthResult | Registered:
    """Makes an account for oneself."""
    check_kind(context, session)
    result = await context.services.identity.registration.register(
        email=email, password=password, name=name, invite=invite, client=context.client
    )
    return Registered() if result is None else await handed_over(context, result, session)


# --- invites -------------------------------------------------------------------------------------


async def invites(
    info: strawberry.Info[Context, None], first: int | None = 50, after: str | None = None
) -> Page[Invite]:
    """Open invites of the workspace."""
    context = info.context
    return await context.services.identity.invites.page(context.require_scope(), page_of(info, first, after))


async def create_invite(
    context: Context, *, email: str, role: WorkspaceRole, client_token: str | None
) -> InviteCreated:
    """Invites an address."""
    return await context.services.identity.invites.create(
        context.require_scope(), email=email, role=role, client_token=client_token
    )


async def revoke_invite(context: Context, invite_id: str) -> Deleted:
    """Ends an invite."""
    return Deleted(await context.services.identity.invites.revoke(context.require_scope(), invite_id))


async def accept_invite(context: Context, token: str) -> Workspace:
    """Joins a workspace."""
    return await context.services.identity.invites.accept(context.require_scope(), token)


# --- accounts ------------------------------------------------------------------------------------


async def users(
    info: strawberry.Info[Context, None], search: str | None = None, first: int | None = 50, after: str | None = None
) -> Page[User]:
    """Every account."""
    context = info.context
    return await context.services.identity.people.page(
        context.require_scope(), page_of(info, first, after), search=search
    )


def must_change_password(parent: strawberry.Parent[User], info: strawberry.Info[Context, None]) -> bool | None:
    """Whether somebody else chose the password; None where the caller may not look."""
    return parent.must_change_password if _may_look(parent, info.context) else None


def must_add_factor(parent: strawberry.Parent[User], info: strawberry.Info[Context, None]) -> bool | None:
    """Whether there is no second factor where one is required; None where the caller may not look."""
    return info.context.services.identity.must_add_factor(parent) if _may_look(parent, info.context) else None


def _may_look(user: User, context: Context) -> bool:
    if context.scope is None:  # whoever signs in meets nobody but themselves
        return True
    return bool(context.services.identity.sessions.visible(context.scope, [user.id]))


async def create_user(
    context: Context, *, email: str, password: str, name: str | None, role: UserRole, client_token: str | None
) -> User:
    """Makes an account."""
    return await context.services.identity.people.create(
        context.require_scope(), email=email, password=password, name=name, role=role, client_token=client_token
    )


async def update_user(
    context: Context,
    user_id: str,
    *,
    name: str | Keep,
    email: str | Keep,
    role: UserRole | Keep,
    disabled: bool | Keep,
    password: str | Keep,
) -> User:
    """Changes an account."""
    return await context.services.identity.people.update(
        context.require_scope(), user_id, name=name, email=email, role=role, disabled=disabled, password=password
    )


async def disable_user(context: Context, user_id: str) -> User:
    """Switches an account off."""
    return await context.services.identity.people.disable(context.require_scope(), user_id)


async def reset_factors(context: Context, user_id: str) -> User:
    """Removes somebody's second factors."""
    return await context.services.identity.people.reset_factors(context.require_scope(), user_id)


async def delete_user(context: Context, user_id: str) -> Deleted:
    """Deletes an account's personal data."""
    return Deleted(await context.services.identity.people.delete(context.require_scope(), user_id))
