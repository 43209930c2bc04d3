"""The ledger of client tokens: how a creation that is sent twice, or at once from two sides, happens once.

`claim` runs inside the creating transaction, before anything else is written. A second claimant of the same token
waits on the unique index until the first commits or rolls back, so exactly one of them goes on.
"""

from __future__ import annotations

from uuid import UUID

from asyncpg import Record

from domain import ids
from domain.access import Principal, Scope
from domain.errors import Conflict
from domain.idempotency import KEPT, ClientToken
from persistence.database import Connection


async def claim(tx: Connection, scope: Scope, token: ClientToken | None, result: UUID) -> UUID | None:
    """None when the caller must go on and create `result`; else the id of what the token created before.

    Raises Conflict when the token was used with other input.
    """
    if token is None:
        return None
    place = (ids.to_uuid(scope.workspace_id), _principal(scope.principal), token.operation, token.token)
    await tx.execute(
        "DELETE FROM client_tokens WHERE workspace_id = $1 AND principal = $2 AND operation = $3 AND token = $4"
        " AND created_at < now() - $5::interval",
        *place,
        KEPT,
    )
    claimed = await tx.fetchval(
        "INSERT INTO client_tokens (workspace_id, principal, operation, token, digest, result_id, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, now())"
        " ON CONFLICT (workspace_id, principal, operation, token) DO NOTHING RETURNING 1",
        *place,
        token.digest,
        result,
    )
    if claimed is not None:
        return None
    first = await tx.fetchrow(
        "SELECT digest, result_id FROM client_tokens"
        " WHERE workspace_id = $1 AND principal = $2 AND operation = $3 AND token = $4",
        *place,
    )
    if first is None:  # the first claimant's row went away between the two statements
        raise Conflict("this client token was being released; send the request again", field="client_token")
    return _result(first, token)


async def found_where_joined(tx: Connection, scope: Scope, token: ClientToken | None) -> UUID | None:
    """What a token created before in any workspace that the caller belongs to; None when nothing.

    For creating workspaces, which lie in no other: whoever makes one holds the lock of their list, and claims the token
    in the new one. Raises Conflict when the token was used with other input.
    """
    if token is None:
        return None
    first = await tx.fetchrow(
        "SELECT t.digest, t.result_id FROM memberships m JOIN client_tokens t ON t.workspace_id = m.workspace_id"
        " WHERE m.user_id = $1 AND t.principal = $2 AND t.operation = $3 AND t.token = $4"
        " AND t.created_at >= now() - $5::interval",
        ids.to_uuid(scope.principal.user_id),
        _principal(scope.principal),
        token.operation,
        token.token,
        KEPT,
    )
    return None if first is None else _result(first, token)


def _result(first: Record, token: ClientToken) -> UUID:
    if bytes(first["digest"]) != token.digest:
        raise Conflict("this client token was used before with other input", field="client_token")
    return UUID(bytes=first["result_id"].bytes)


def _principal(principal: Principal) -> str:
    """A user and each of their API keys have ledgers of their own."""
    return principal.api_key_id or principal.user_id
