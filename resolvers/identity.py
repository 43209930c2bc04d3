"""Signing in and out, the caller, users and their API keys: from fields to the use-cases of identity.

Tokens leave either in the answer or as cookies, never both. Nothing here looks at a password or a key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

import strawberry
from strawberry.dataloader import DataLoader

from domain.errors import BadUserInput, Unauthenticated
from domain.identity import ApiKey, ApiKeySecret, AuthResult, KeyExpiry, Session, User
from domain.identity.factors import Credential
from domain.paging import Page
from resolvers.batching import by_key
from resolvers.selection import page_of

if TYPE_CHECKING:
    from domain.access import Scope
    from domain.endpoints import Endpoint
    from domain.models import Model
    from domain.runs import Run
    from resolvers.context import Context, Services


class SessionKind(Enum):
    """How the client keeps its session."""

    TOKEN = "token"  # noqa: S105  # the name of a kind
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """The session is over."""

    ended: bool = True


@dataclass(frozen=True, slots=True)
class IdentityLoaders:
    """Users and API keys by id, and what a user signs in with (None where the caller may not look)."""

    users: DataLoader[str, User | None]
    api_keys: DataLoader[str, ApiKey | None]
    keys_of_user: DataLoader[str, list[ApiKey] | None]
    sessions_of_user: DataLoader[str, list[Session] | None]
    credentials_of_user: DataLoader[str, list[Credential] | None]

    @classmethod
    def of(cls, services: Services, scope: Scope) -> IdentityLoaders:
        """Loaders that read as `scope`."""
        identity = services.identity
        return cls(
            users=by_key(partial(identity.users_by_ids, scope)),
            api_keys=by_key(partial(identity.keys.by_ids, scope)),
            keys_of_user=by_key(partial(identity.keys.of_users, scope)),
            sessions_of_user=by_key(partial(identity.sessions.of_users, scope)),
            credentials_of_user=by_key(partial(identity.credentials_of_users, scope)),
        )


# --- signing in and out --------------------------------------------------------------------------


async def auth_setup(
    context: Context, *, token: str, email: str, password: str, name: str | None, session: SessionKind
) -> AuthResult:
    """Creates the first user."""
    check_kind(context, session)
    result = await context.services.identity.founder.found(
        token=token, email=email, password=password, name=name, client=context.client
    )
    return await handed_over(context, result, session)


async def auth_login(context: Context, *, email: str, password: str, session: SessionKind) -> AuthResult:
    """Signs a user in."""
    check_kind(context, session)
    result = await context.services.identity.sign_in.by_password(email=email, password=password, client=context.client)
    return await handed_over(context, result, session)


async def auth_refresh(context: Context, *, refresh_token: str | None) -> AuthResult:
    """The next pair. A token from the cookie is answered with cookies, one from the input with tokens."""
    if refresh_token is not None:
        return await context.services.identity.sessions.refresh(refresh_token)
    cookies = context.cookies
    kept = None if cookies is None else cookies.refresh_token
    if cookies is None or kept is None:
        raise Unauthenticated("there is no refresh token: neither in the input nor in a cookie", field="refresh_token")
    try:
        result = await context.services.identity.sessions.refresh(kept)
    except Unauthenticated:
        cookies.clear()
        raise
    cookies.keep(result.tokens)
    return result.kept_in_cookies()


async def auth_logout(info: strawberry.Info[Context, None]) -> LoggedOut:
    """Ends the caller's session."""
    await context_logout(info.context)
    return LoggedOut()


async def context_logout(context: Context) -> None:
    """Ends the session and removes its cookies."""
    await context.services.identity.sessions.logout(context.require_scope())
    if context.cookies is not None:
        context.cookies.clear()


def check_kind(context: Context, session: SessionKind) -> None:
    """Raises BadUserInput for a session in cookies where none can be set."""
    if session is SessionKind.COOKIE and context.cookies is None:
        raise BadUserInput("a session in cookies starts over HTTP, not over a WebSocket", field="session")


async def handed_over(context: Context, result: AuthResult, session: SessionKind) -> AuthResult:
    """The answer to a sign-in: with its tokens, or with cookies instead, which end the session of those that came."""
    if session is SessionKind.TOKEN or context.cookies is None or result.requires_mfa:
        return result
    await context.services.identity.sessions.replaced(context.cookies.access_token)
    context.cookies.keep(result.tokens)
    return result.kept_in_cookies()


# --- the caller and other users ------------------------------------------------------------------


async def viewer(info: strawberry.Info[Context, None]) -> User:
    """The caller, or the owner of the caller's API key."""
    context = info.context
    scope = context.require_scope()
    found = await context.loaders.identity.users.load(scope.principal.user_id)
    if found is None:
        raise Unauthenticated("the account of these credentials no longer exists")
    return found


def runs_of_user(
    parent: strawberry.Parent[User],
    info: strawberry.Info[Context, None],
    first: int | None = 50,
    after: str | None = None,
) -> Awaitable[Page[Run]]:
    """Their runs, newest first."""
    return info.context.loaders.runs.of_owner.load((parent.id, page_of(info, first, after)))


def models_of_user(
    parent: strawberry.Parent[User],
    info: strawberry.Info[Context, None],
    first: int | None = 50,
    after: str | None = None,
) -> Awaitable[Page[Model]]:
    """Their models, newest first."""
    return info.context.loaders.models.of_owner.load((parent.id, page_of(info, first, after)))


def endpoints_of_user(
    parent: strawberry.Parent[User],
    info: strawberry.Info[Context, None],
    first: int | None = 50,
    after: str | None = None,
) -> Awaitable[Page[Endpoint]]:
    """Their endpoints, newest first."""
    return info.context.loaders.endpoints.of_owner.load((parent.id, page_of(info, first, after)))


def api_keys_of_user(
    parent: strawberry.Parent[User], info: strawberry.Info[Context, None]
) -> Awaitable[list[ApiKey] | None]:
    """Their API keys; None where the caller may not look."""
    return info.context.loaders.identity.keys_of_user.load(parent.id)


def sessions_of_user(
    parent: strawberry.Parent[User], info: strawberry.Info[Context, None]
) -> Awaitable[list[Session] | None]:
    """Their sessions; None where the caller may not look."""
    return info.context.loaders.identity.sessions_of_user.load(parent.id)


def credentials_of_user(
    parent: strawberry.Parent[User], info: strawberry.Info[Context, None]
) -> Awaitable[list[Credential] | None]:
    """Their second factors; None where the caller may not look."""
    return info.context.loaders.identity.credentials_of_user.load(parent.id)


# --- API keys ------------------------------------------------------------------------------------


async def api_key_create(
    context: Context, *, name: str, scopes: Sequence[str], expires_at: datetime | KeyExpiry | None
) -> ApiKeySecret:
    """Makes a key of the caller."""
    scope = context.require_scope()
    return await context.services.identity.keys.create(scope, name=name, scopes=scopes, expires_at=expires_at)


async def api_key_revoke(context: Context, *, key_id: str) -> ApiKey:
    """Revokes a key of the caller."""
    return await context.services.identity.keys.revoke(context.require_scope(), key_id)
