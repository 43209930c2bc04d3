"""The part of the graph about the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from domain.audit import AuditEvent as Row
from domain.audit import AuditFilter as Wanted
from resolvers import audit as resolve
from schema.identity import User
from schema.paging import Connection
from schema.scalars import BigInt

if TYPE_CHECKING:
    from resolvers.context import Context


def _hash(parent: strawberry.Parent[Row]) -> str:
    return parent.hash.hex()


@strawberry.type
class AuditEvent:
    seq: BigInt
    at: datetime
    actor_id: strawberry.ID | None
    actor: Annotated[User | None, strawberry.field(resolver=resolve.actor)]
    session_id: strawberry.ID | None
    api_key_id: strawberry.ID | None
    workspace_id: strawberry.ID | None
    action: str
    resource: strawberry.ID | None
    others: list[strawberry.ID]
    outcome: str
    address: str | None
    request_id: str
    hash: Annotated[str, strawberry.field(resolver=_hash)]


@strawberry.input
class AuditFilter:
    actor_id: strawberry.ID | None = None
    action: str | None = None
    outcome: str | None = None
    from_: datetime | None = strawberry.field(name="from", default=None)
    to: datetime | None = None


async def _events(
    info: strawberry.Info[Context, None],
    wanted: Annotated[AuditFilter | None, strawberry.argument(name="filter")] = None,
    first: int | None = 50,
    after: str | None = None,
) -> Any:
    given = AuditFilter() if wanted is None else wanted
    actor = None if given.actor_id is None else str(given.actor_id)
    rows = Wanted.of(actor_id=actor, action=given.action, outcome=given.outcome, since=given.from_, until=given.to)
    return await resolve.events(info, rows, first, after)


@strawberry.type
class AuditQuery:
    audit_events: Annotated[Connection[AuditEvent], strawberry.field(resolver=_events)]
