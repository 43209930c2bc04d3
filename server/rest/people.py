"""`/api/auth/register`, `/api/auth/export` and `/api/admin/users`: thin, over the same use-cases as the graph."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, TypeVar

from msgspec import Meta, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from domain import access
from domain.identity import User as Account
from domain.identity.people import Export
from domain.paging import PageRequest
from domain.patch import KEEP, Keep
from schema.scalars import write_datetime
from server.edge.identity import client_of, scope_of
from server.rest.handler import answer, idempotency_key, json_body, no_content, query, services_of
from server.rest.identity import key_answer, signed_in, user_answer
from server.rest.operations import people as operations
from server.rest.route import Route
from server.rest.structs.auth import UserRole
from server.rest.structs.people import (
    AdminUser,
    AdminUserCreate,
    AdminUserList,
    AdminUserPatch,
    CredentialKind,
    ExportedCredential,
    ExportedMembership,
    ExportedSession,
    RegisterRequest,
    UserExport,
    WorkspaceRole,
)

T = TypeVar("T")


class _ListQuery(Struct):
    search: Annotated[str, Meta(max_length=250)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    cursor: Annotated[str, Meta(min_length=1, max_length=2_048)] | None = None


async def _register(request: Request) -> Response:
    given = await json_body(request, RegisterRequest)
    result = await services_of(request).identity.registration.register(
        email=given.email,
        password=given.password,
        name=given.name,
        invite=given.invite,
        client=client_of(request),
    )
    return Response(status_code=202) if result is None else await signed_in(request, result, given.session, 201)


async def _export(request: Request) -> Response:
    return answer(_exported(request, await services_of(request).identity.people.export(scope_of(request))))


async def _users(request: Request) -> Response:
    asked = query(request, _ListQuery)
    people, caller = services_of(request).identity.people, scope_of(request)
    page = await people.page(
        caller, PageRequest.of(asked.limit, asked.cursor), search=asked.search, offset=asked.offset
    )
    locked = await people.locked_until(caller, page.nodes)
    return answer(
        AdminUserList(
            items=[_account(user, locked.get(user.id)) for user in page.nodes],
            total=page.total_count,
            next_cursor=page.cursors[-1] if page.has_next_page else None,
        )
    )


async def _create(request: Request) -> Response:
    token = idempotency_key(request)
    given = await json_body(request, AdminUserCreate)
    made = await services_of(request).identity.people.create(
        scope_of(request),
        email=given.email,
        password=given.password,
        name=given.name,
        role=access.UserRole(given.role.value),
        client_token=token,
    )
    return await _shown(request, made, 201)


async def _update(request: Request) -> Response:
    given = await json_body(request, AdminUserPatch)
    caller = scope_of(request)
    caller.require_admin()
    changed = await services_of(request).identity.people.update(
        caller,
        request.path_params["id"],
        name=_kept(given.name),
        email=_kept(given.email),
        role=KEEP if isinstance(given.role, UnsetType) else access.UserRole(given.role.value),
        disabled=_kept(given.disabled),
        password=_kept(given.password),
    )
    return await _shown(request, changed)


async def _delete(request: Request) -> Response:
    await services_of(request).identity.people.delete(scope_of(request), request.path_params["id"])
    return no_content()


async def _reset_factors(request: Request) -> Response:
    await services_of(request).identity.people.reset_factors(scope_of(request), request.path_params["id"])
    return no_content()


ROUTES: Final[tuple[Route, ...]] = (
    Route(operations.REGISTER, _register),
    Route(operations.EXPORT, _export),
    Route(operations.USERS, _users),
    Route(operations.USER_CREATE, _create),
    Route(operations.USER_UPDATE, _update),
    Route(operations.USER_FACTORS_RESET, _reset_factors),
    Route(operations.USER_DELETE, _delete),
)


def _kept(given: T | UnsetType) -> T | Keep:
    return KEEP if isinstance(given, UnsetType) else given


async def _shown(request: Request, user: Account, status: int = 200) -> Response:
    """An account after a change; of an administrator's own demotion, too, the last thing they hear."""
    locked = await services_of(request).identity.people.locked_until(scope_of(request), [user])
    return answer(_account(user, locked.get(user.id)), status)


def _account(user: Account, locked_until: datetime | None) -> AdminUser:
    return AdminUser(
        id=user.id,
        email=user.email,
        name=user.name,
        role=UserRole(user.role.value),
        mfa_enabled=user.mfa_enabled,
        disabled=user.disabled,
        must_change_password=user.must_change_password,
        locked_until=_time(locked_until),
        created_at=write_datetime(user.created_at),
        last_login_at=_time(user.last_login_at),
    )


def _exported(request: Request, export: Export) -> UserExport:
    history = export.history
    return UserExport(
        user=user_answer(request, history.user),
        memberships=[
            ExportedMembership(workspace=room.slug, name=room.name, role=WorkspaceRole(room.role.value))
            for room in history.memberships
        ],
        sessions=[
            ExportedSession(
                id=session.id,
                created_at=write_datetime(session.created_at),
                last_seen_at=write_datetime(session.last_seen_at),
                expires_at=write_datetime(session.expires_at),
                ended_at=_time(session.ended_at),
                user_agent=session.user_agent,
                address=session.address,
            )
            for session in history.sessions
        ],
        api_keys=[key_answer(key) for key in history.keys],
        credentials=[
            ExportedCredential(
                kind=CredentialKind(credential.kind.value),
                name=credential.name,
                created_at=write_datetime(credential.created_at),
                last_used_at=_time(credential.last_used_at),
            )
            for credential in export.credentials
        ],
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else write_datetime(moment)
