"""The part of the graph about users: signing in and out, the caller, API keys."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from domain import identity
from domain.access import UserRole
from domain.identity import KeyExpiry
from domain.identity.factors import FactorKind
from resolvers import identity as resolve
from resolvers import people as resolve_people
from resolvers import workspaces as resolve_workspaces
from resolvers.identity import SessionKind
from schema.node import Node
from schema.paging import Connection

if TYPE_CHECKING:
    from resolvers.context import Context
    from schema.endpoints import Endpoint
    from schema.models import Model
    from schema.runs import Run
    from schema.workspaces import Workspace

strawberry.enum(UserRole)
strawberry.enum(SessionKind)
strawberry.enum(FactorKind, name="CredentialKind")


@strawberry.type
class ApiKey(Node):
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, identity.ApiKey)


@strawberry.type
class Session:
    id: strawberry.ID
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str | None
    address: str | None
    current: bool


@strawberry.type
class Credential:
    id: strawberry.ID
    kind: FactorKind
    name: str
    created_at: datetime
    last_used_at: datetime | None
    remaining: int | None


@strawberry.type
class User(Node):
    email: str
    name: str
    role: UserRole
    mfa_enabled: bool
    disabled: bool
    must_change_password: Annotated[bool | None, strawberry.field(resolver=resolve_people.must_change_password)]
    must_add_factor: Annotated[bool | None, strawberry.field(resolver=resolve_people.must_add_factor)]
    created_at: datetime
    last_login_at: datetime | None
    runs: Annotated[
        Connection[Annotated[Run, strawberry.lazy("schema.runs")]], strawberry.field(resolver=resolve.runs_of_user)
    ]
    models: Annotated[
        Connection[Annotated[Model, strawberry.lazy("schema.models")]],
        strawberry.field(resolver=resolve.models_of_user),
    ]
    endpoints: Annotated[
        Connection[Annotated[Endpoint, strawberry.lazy("schema.endpoints")]],
        strawberry.field(resolver=resolve.endpoints_of_user),
    ]
    api_keys: Annotated[list[ApiKey] | None, strawberry.field(resolver=resolve.api_keys_of_user)]
    sessions: Annotated[list[Session] | None, strawberry.field(resolver=resolve.sessions_of_user)]
    credentials: Annotated[list[Credential] | None, strawberry.field(resolver=resolve.credentials_of_user)]
    workspaces: Annotated[
        list[Annotated[Workspace, strawberry.lazy("schema.workspaces")]],
        strawberry.field(resolver=resolve_workspaces.of_user),
    ]

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, identity.User)


@strawberry.type
class AuthPayload:
    token: str | None
    refresh_token: str | None
    expires_in: int | None
    user: User | None
    requires_mfa: bool
    mfa_token: str | None


@strawberry.type
class AuthLogoutPayload:
    ended: bool


@strawberry.type
class ApiKeyCreated:
    api_key: ApiKey
    secret: str


@strawberry.input
class AuthSetupInput:
    token: str
    email: str
    password: str
    name: str | None = None
    session: SessionKind = SessionKind.TOKEN


@strawberry.input
class AuthLoginInput:
    email: str
    password: str
    session: SessionKind = SessionKind.TOKEN


@strawberry.input
class AuthRefreshInput:
    refresh_token: str | None = None


@strawberry.input
class ApiKeyCreateInput:
    name: str
    scopes: list[str]
    expires_at: Maybe[datetime | None] = None


@strawberry.input
class ApiKeyRevokeInput:
    id: strawberry.ID


async def _setup(
    info: strawberry.Info[Context, None], given: Annotated[AuthSetupInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.auth_setup(
        info.context,
        token=given.token,
        email=given.email,
        password=given.password,
        name=given.name,
        session=given.session,
    )


async def _login(
    info: strawberry.Info[Context, None], given: Annotated[AuthLoginInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.auth_login(info.context, email=given.email, password=given.password, session=given.session)


async def _refresh(
    info: strawberry.Info[Context, None], given: Annotated[AuthRefreshInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.auth_refresh(info.context, refresh_token=given.refresh_token)


async def _create_key(
    info: strawberry.Info[Context, None], given: Annotated[ApiKeyCreateInput, strawberry.argument(name="input")]
) -> Any:
    expires_at = KeyExpiry.DEFAULT if given.expires_at is None else given.expires_at.value
    return await resolve.api_key_create(info.context, name=given.name, scopes=given.scopes, expires_at=expires_at)


async def _revoke_key(
    info: strawberry.Info[Context, None], given: Annotated[ApiKeyRevokeInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.api_key_revoke(info.context, key_id=str(given.id))


@strawberry.type
class IdentityQuery:
    viewer: Annotated[User, strawberry.field(resolver=resolve.viewer)]


@strawberry.type
class IdentityMutation:
    auth_setup: Annotated[AuthPayload, strawberry.mutation(resolver=_setup)]
    auth_login: Annotated[AuthPayload, strawberry.mutation(resolver=_login)]
    auth_refresh: Annotated[AuthPayload, strawberry.mutation(resolver=_refresh)]
    auth_logout: Annotated[AuthLogoutPayload, strawberry.mutation(resolver=resolve.auth_logout)]
    api_key_create: Annotated[ApiKeyCreated, strawberry.mutation(resolver=_create_key)]
    api_key_revoke: Annotated[ApiKey, strawberry.mutation(resolver=_revoke_key)]
