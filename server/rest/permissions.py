"""`/v1/permissions`: permission records over REST. Thin: parse, call the same use-case as the graph, encode.

Here a record names its object by an id of any kind, or all of a kind by the kind's name.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from domain import access
from domain.errors import BadUserInput
from domain.identity import Grant
from domain.identity.grants import parse_resource
from domain.paging import PageRequest
from domain.patch import KEEP, Keep
from schema.scalars import read_datetime, write_datetime
from server.edge.identity import scope_of
from server.rest.handler import answer, idempotency_key, json_body, no_content, query, services_of
from server.rest.operations import permissions as operations
from server.rest.route import Route
from server.rest.structs.permissions import Effect, Permission, PermissionCreate, PermissionList, PermissionPatch

_MEANT: Final = {Effect.GRANT: access.Effect.ALLOW, Effect.DENY: access.Effect.DENY}
_SHOWN: Final = {meant: shown for shown, meant in _MEANT.items()}


class _ListQuery(Struct):
    user_id: Annotated[str, Meta(max_length=64)] | None = None
    resource: Annotated[str, Meta(max_length=64)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    cursor: Annotated[str, Meta(min_length=1, max_length=2_048)] | None = None


async def _list(request: Request) -> Response:
    asked = query(request, _ListQuery)
    page = await services_of(request).identity.grants.page(
        scope_of(request),
        PageRequest.of(asked.limit, asked.cursor),
        resource=asked.resource,
        user_id=asked.user_id,
        offset=asked.offset,
    )
    return answer(
        PermissionList(
            items=[_permission(grant) for grant in page.nodes],
            total=page.total_count,
            next_cursor=page.cursors[-1] if page.has_next_page else None,
        )
    )


async def _create(request: Request) -> Response:
    token = idempotency_key(request)
    given = await json_body(request, PermissionCreate)
    kind, resource = parse_resource(given.resource)
    made = await services_of(request).identity.grants.create(
        scope_of(request),
        user_id=given.user_id,
        kind=kind.value,
        resource=resource,
        actions=given.actions,
        effect=_MEANT[given.effect],
        expires_at=None if given.expires_at is None else _moment(given.expires_at),
        client_token=token,
    )
    return answer(_permission(made), 201)


async def _get(request: Request) -> Response:
    found = await services_of(request).identity.grants.get(scope_of(request), request.path_params["id"])
    return answer(_permission(found))


async def _update(request: Request) -> Response:
    given = await json_body(request, PermissionPatch)
    changed = await services_of(request).identity.grants.update(
        scope_of(request),
        request.path_params["id"],
        actions=KEEP if isinstance(given.actions, UnsetType) else given.actions,
        effect=KEEP if isinstance(given.effect, UnsetType) else _MEANT[given.effect],
        expires_at=_expiry(given.expires_at),
    )
    return answer(_permission(changed))


async def _delete(request: Request) -> Response:
    await services_of(request).identity.grants.delete(scope_of(request), request.path_params["id"])
    return no_content()


def _expiry(given: str | UnsetType | None) -> datetime | Keep | None:
    if given is UNSET:
        return KEEP
    return _moment(given) if isinstance(given, str) else None


def _moment(text: str) -> datetime:
    try:
        return read_datetime(text)
    except ValueError as problem:
        raise BadUserInput(str(problem), field="expires_at") from None


def _permission(grant: Grant) -> Permission:
    return Permission(
        id=grant.id,
        user_id=grant.user_id,
        resource=grant.kind if grant.resource is None else grant.resource,
        actions=grant.actions,
        effect=_SHOWN[grant.effect],
        expires_at=None if grant.expires_at is None else write_datetime(grant.expires_at),
        created_at=write_datetime(grant.created_at),
        created_by=grant.created_by,
    )


ROUTES: Final[tuple[Route, ...]] = (
    Route(operations.GRANT_LIST, _list),
    Route(operations.GRANT_CREATE, _create),
    Route(operations.GRANT_GET, _get),
    Route(operations.GRANT_UPDATE, _update),
    Route(operations.GRANT_DELETE, _delete),
)
