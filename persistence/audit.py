"""The audit log in PostgreSQL: rows written in the transaction of what they tell, read and chained afterwards."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from asyncpg import Record

from domain import audit, ids
from domain.audit import AuditEvent, AuditFilter, AuditListing, Event, Outcome
from domain.paging import Page
from persistence.database import Connection, Database
from persistence.pages import Listing, pages

log = logging.getLogger("axonml.audit")

_INSERT: Final = """
    INSERT INTO audit_events (id, at, action, outcome, actor_id, session_id, api_key_id, workspace_id, resource, others,
                              address, request_id)
    VALUES ($1, clock_timestamp(), $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11)"""
_COLUMNS: Final = """e.id, e.seq, e.at, e.action, e.outcome, e.actor_id, e.session_id, e.api_key_id, e.workspace_id,
    e.resource, e.others, e.address, e.request_id, e.hash"""
# Five arguments, beginning with the first of the listing.
_WANTED: Final = """($4::uuid IS NULL OR e.actor_id = $4) AND ($5::text IS NULL OR e.action = $5)
    AND ($6::text IS NULL OR e.outcome = $6) AND ($7::timestamptz IS NULL OR e.at >= $7)
    AND ($8::timestamptz IS NULL OR e.at < $8)"""
_AFTER: Final = f"""
    SELECT {_COLUMNS} FROM audit_events e WHERE e.seq > $1 AND e.seq <= $3 AND {_WANTED} ORDER BY e.seq LIMIT $2"""  # noqa: S608  # constants only
_LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('audit chain', 0))"
_LAST: Final = "SELECT seq, hash FROM audit_events WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1"
_WAITING: Final = f"SELECT {_COLUMNS} FROM audit_events e WHERE e.seq IS NULL ORDER BY e.at, e.id LIMIT $1"  # noqa: S608
_SEAL: Final = "UPDATE audit_events SET seq = $2, hash = $3 WHERE id = $1"
_ALL: Final = UUID(int=0)
_LONGEST: Final = 64


class Change(Connection):
    """A transaction that may change something of the control plane; what it says it did becomes a row."""

    _made: tuple[Event, tuple[object, ...]] | None = None

    def made(
        self,
        resource: str | None,
        *others: str,
        account_id: str | None = None,
        workspace_id: str | None = None,
        session_id: str | None = None,
        outcome: Outcome = Outcome.OK,
    ) -> None:
        """Says that something was changed, and what by its id. To be called when that is certain but for the commit.

        `account_id` is the account that came to be by it, and did it; `workspace_id` and `session_id` are those
        concerned, where they are not those of the caller.
        """
        event = audit.under_way()
        if event is None or event.told or event.action in audit.EXEMPT:
            return
        account_id = account_id or event.account_id
        signed_in = account_id is not None
        self._made = (
            event,
            _row(
                event,
                outcome,
                resource,
                others,
                actor_id=account_id if signed_in else event.actor_id,
                session_id=session_id or (None if signed_in else event.session_id),
                api_key_id=None if signed_in else event.api_key_id,
                workspace_id=workspace_id or (None if signed_in else event.workspace_id),
            ),
        )

    async def tell(self) -> Event | None:
        """Writes the row, if there is one."""
        if self._made is None:
            return None
        event, row = self._made
        await self.execute(_INSERT, *row)
        return event


@asynccontextmanager
async def change(database: Database) -> AsyncIterator[Change]:
    """A transaction of the control plane: what it changes and the row that tells it are committed together."""
    async with database.transaction() as tx:
        changing = Change(tx.client)
        yield changing
        event = await changing.tell()
    if event is not None:
        event.told = True


class PostgresAudit:
    """Implements `AuditRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def refused(self, event: Event, outcome: Outcome) -> None:
        # Who signs in is not proved to be whose account it is: that is what it was about, not who did it.
        row = _row(
            event,
            outcome,
            event.account_id,
            (),
            actor_id=event.actor_id,
            session_id=event.session_id,
            api_key_id=event.api_key_id,
            workspace_id=event.workspace_id,
        )
        try:
            await self._database.execute(_INSERT, *row)
        except Exception:  # the answer is a refusal already, and stays the one it is
            log.exception("a refusal could not be written to the audit log: %s %s", event.action, outcome.value)

    async def page(self, listing: AuditListing) -> Page[AuditEvent]:
        wanted = Listing(
            columns=_COLUMNS,
            source="audit_events e",
            where=f"p.id IS NOT NULL AND e.seq IS NOT NULL AND {_WANTED}",
            order=(("e.seq", "bigint"),),
            keyset=listing.keyset,
            item=_read,
            key=lambda row: (row["seq"],),
            arguments=_arguments(listing.filter),
        )
        return (await pages(self._database, wanted, [_ALL], listing.page))[_ALL]

    async def after(self, seq: int, most: int, wanted: AuditFilter, until: int) -> list[AuditEvent]:
        return [_read(row) for row in await self._database.fetch(_AFTER, seq, most, until, *_arguments(wanted))]

    async def newest(self) -> int:
        last = await self._database.fetchrow(_LAST)
        return 0 if last is None else int(last["seq"])

    async def seal(self, most: int) -> int:
        if not await self._database.fetchval("SELECT EXISTS (SELECT 1 FROM audit_events WHERE seq IS NULL)"):
            return 0
        async with self._database.transaction() as tx:
            if not await tx.fetchval(_LOCK):
                return 0  # another process does it
            # A statement of its own: it sees what the last holder of the lock committed.
            last = await tx.fetchrow(_LAST)
            seq, head = (0, audit.GENESIS) if last is None else (last["seq"], bytes(last["hash"]))
            sealed = []
            for waiting in await tx.fetch(_WAITING, most):
                seq += 1
                head = _read(waiting, seq).follows(head)
                sealed.append((waiting["id"], seq, head))
            await tx.executemany(_SEAL, sealed)
        return len(sealed)


def _row(
    event: Event,
    outcome: Outcome,
    resource: str | None,
    others: tuple[str, ...],
    *,
    actor_id: str | None,
    session_id: str | None,
    api_key_id: str | None,
    workspace_id: str | None,
) -> tuple[object, ...]:
    return (
        ids.to_uuid(ids.new("aud")),
        event.action,
        outcome.value,
        _uuid(actor_id),
        _uuid(session_id),
        _uuid(api_key_id),
        _uuid(workspace_id),
        resource,
        json.dumps(others) if others else None,
        None if event.address is None else event.address[:_LONGEST],
        event.request_id[:_LONGEST],
    )


def _arguments(wanted: AuditFilter) -> tuple[object, ...]:
    return _uuid(wanted.actor_id), wanted.action, wanted.outcome, wanted.since, wanted.until


def _uuid(identifier: str | None) -> UUID | None:
    return None if identifier is None else ids.to_uuid(identifier)


def _id(kind: ids.Kind, value: UUID | None) -> str | None:
    return None if value is None else ids.from_uuid(kind, value)


def _read(row: Record, seq: int | None = None) -> AuditEvent:
    return AuditEvent(
        id=ids.from_uuid("aud", row["id"]),
        seq=row["seq"] if seq is None else seq,
        at=row["at"],
        action=row["action"],
        outcome=row["outcome"],
        actor_id=_id("usr", row["actor_id"]),
        session_id=_id("ses", row["session_id"]),
        api_key_id=_id("key", row["api_key_id"]),
        workspace_id=_id("wsp", row["workspace_id"]),
        resource=row["resource"],
        others=json.loads(row["others"] or "[]"),
        address=row["address"],
        request_id=row["request_id"],
        hash=b"" if row["hash"] is None else bytes(row["hash"]),
    )
