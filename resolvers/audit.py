"""Mutations as events of the audit log, and the log itself: from fields to the use-cases."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from domain.audit import DATA_PLANE, AuditEvent, AuditFilter, Event, during
from resolvers.selection import page_of

if TYPE_CHECKING:
    import strawberry
    from graphql import GraphQLResolveInfo

    from domain.identity import User
    from domain.paging import Page
    from resolvers.context import Context


def audited(name: str, resolve: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """The resolver of a mutation, run as the event of its name."""
    if resolve is None or name in DATA_PLANE:
        return resolve

    async def run(source: object, info: GraphQLResolveInfo[Context], **arguments: Any) -> Any:
        context: Context = info.context
        event = Event.of(name, context.request_id, context.client.address, context.scope)
        async with during(context.services.audit, event):
            result = resolve(source, info, **arguments)
            return await result if inspect.isawaitable(result) else result

    return run


async def events(
    info: strawberry.Info[Context, None],
    wanted: AuditFilter,
    first: int | None,
    after: str | None,
) -> Page[AuditEvent]:
    """A page of the log."""
    context = info.context
    return await context.services.audit.page(context.require_scope(), wanted, page_of(info, first, after))


async def actor(parent: strawberry.Parent[AuditEvent], info: strawberry.Info[Context, None]) -> User | None:
    """Who did it, as far as this workspace knows them."""
    if parent.actor_id is None:
        return None
    return await info.context.loaders.identity.users.load(parent.actor_id)
