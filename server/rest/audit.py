"""`/api/admin/audit`: the audit log as NDJSON, a piece at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from domain.audit import AuditEvent, AuditFilter
from domain.errors import BadUserInput
from schema.scalars import read_datetime
from server.edge.identity import scope_of
from server.rest.exports import Pieces
from server.rest.handler import query, services_of
from server.rest.operations.audit import AUDIT
from server.rest.route import NDJSON, Route

_lines: Final = msgspec.json.Encoder()


class _Query(Struct, rename={"since": "from", "until": "to"}):
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    actor_id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    action: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    outcome: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    since: str | None = None
    until: str | None = None


async def _export(request: Request) -> Response:
    asked = query(request, _Query)
    wanted = AuditFilter.of(
        actor_id=asked.actor_id,
        action=asked.action,
        outcome=asked.outcome,
        since=_time(asked.since, "from"),
        until=_time(asked.until, "to"),
    )
    rows = await services_of(request).audit.export(scope_of(request), wanted, asked.after)
    name = 'attachment; filename="audit.ndjson"'
    return Pieces(_text(rows), media_type=NDJSON, headers={"Content-Disposition": name})


async def _text(pieces: AsyncGenerator[list[AuditEvent]]) -> AsyncGenerator[bytes]:
    async with aclosing(pieces):
        async for piece in pieces:
            yield _lines.encode_lines([{**row.facts(), "hash": row.hash.hex()} for row in piece])


def _time(text: str | None, field: str) -> datetime | None:
    if text is None:
        return None
    try:
        return read_datetime(text)
    except ValueError as problem:
        raise BadUserInput(str(problem), field=field) from None


ROUTES: Final[tuple[Route, ...]] = (Route(AUDIT, _export),)
