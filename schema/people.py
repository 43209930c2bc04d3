"""The part of the graph about accounts: registration, invites, and what administrators do."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from domain.access import UserRole, WorkspaceRole
from domain.patch import KEEP
from resolvers import people as resolve
from resolvers.experiments import not_null
from resolvers.identity import SessionKind
from schema.identity import AuthPayload, User
from schema.paging import Connection
from schema.runs import Deleted
from schema.second_factors import IdInput
from schema.workspaces import Workspace

if TYPE_CHECKING:
    from resolvers.context import Context


@strawberry.type
class Invite:
    id: strawberry.ID
    email: str
    role: WorkspaceRole
    created_at: datetime
    expires_at: datetime


@strawberry.type
class InviteCreated:
    invite: Invite
    url: str


@strawberry.input
class AuthRegisterInput:
    email: str
    password: str
    name: str | None = None
    invite: str | None = None
    session: SessionKind = SessionKind.TOKEN


@strawberry.input
class InviteCreateInput:
    email: str
    role: WorkspaceRole
    client_token: str | None = None


@strawberry.input
class InviteAcceptInput:
    token: str


@strawberry.input
class UserCreateInput:
    email: str
    password: str
    name: str | None = None
    role: UserRole = UserRole.USER
    client_token: str | None = None


@strawberry.input
class UserUpdateInput:
    id: strawberry.ID
    name: Maybe[str | None] = None
    email: Maybe[str | None] = None
    role: Maybe[UserRole | None] = None
    disabled: Maybe[bool | None] = None
    password: Maybe[str | None] = None


async def _register(
    info: strawberry.Info[Context, None], given: Annotated[AuthRegisterInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.register(
        info.context,
        email=given.email,
        password=given.password,
        name=given.name,
        invite=given.invite,
        session=given.session,
    )


async def _create_invite(
    info: strawberry.Info[Context, None], given: Annotated[InviteCreateInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.create_invite(
        info.context, email=given.email, role=given.role, client_token=given.client_token
    )


async def _revoke_invite(
    info: strawberry.Info[Context, None], given: Annotated[IdInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.revoke_invite(info.context, str(given.id))


async def _accept_invite(
    info: strawberry.Info[Context, None], given: Annotated[InviteAcceptInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.accept_invite(info.context, given.token)


async def _create(
    info: strawberry.Info[Context, None], given: Annotated[UserCreateInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.create_user(
        info.context,
        email=given.email,
        password=given.password,
        name=given.name,
        role=given.role,
        client_token=given.client_token,
    )


async def _update(
    info: strawberry.Info[Context, None], given: Annotated[UserUpdateInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.update_user(
        info.context,
        str(given.id),
        name=KEEP if given.name is None else not_null(given.name.value, "name"),
        email=KEEP if given.email is None else not_null(given.email.value, "email"),
        role=KEEP if given.role is None else not_null(given.role.value, "role"),
        disabled=KEEP if given.disabled is None else not_null(given.disabled.value, "disabled"),
        password=KEEP if given.password is None else not_null(given.password.value, "password"),
    )


async def _disable(
    info: strawberry.Info[Context, None], given: Annotated[IdInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.disable_user(info.context, str(given.id))


async def _reset_factors(
    info: strawberry.Info[Context, None], given: Annotated[IdInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.reset_factors(info.context, str(given.id))


async def _delete(
    info: strawberry.Info[Context, None], given: Annotated[IdInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.delete_user(info.context, str(given.id))


@strawberry.type
class PeopleQuery:
    users: Annotated[Connection[User], strawberry.field(resolver=resolve.users)]
    invites: Annotated[Connection[Invite], strawberry.field(resolver=resolve.invites)]


@strawberry.type
class PeopleMutation:
    auth_register: Annotated[AuthPayload, strawberry.mutation(resolver=_register)]
    invite_create: Annotated[InviteCreated, strawberry.mutation(resolver=_create_invite)]
    invite_revoke: Annotated[Deleted, strawberry.mutation(resolver=_revoke_invite)]
    invite_accept: Annotated[Workspace, strawberry.mutation(resolver=_accept_invite)]
    user_create: Annotated[User, strawberry.mutation(resolver=_create)]
    user_update: Annotated[User, strawberry.mutation(resolver=_update)]
    user_disable: Annotated[User, strawberry.mutation(resolver=_disable)]
    user_factors_reset: Annotated[User, strawberry.mutation(resolver=_reset_factors)]
    user_delete: Annotated[Deleted, strawberry.mutation(resolver=_delete)]
