"""API keys in PostgreSQL. Of a secret only its SHA-256 ever reaches this module."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, cast
from uuid import UUID

from asyncpg import Record

from domain import ids
from domain.access import KeyScope, Scope, UserRole
from domain.errors import Conflict, NotFound
from domain.identity import ApiKey, KeyRecord
from domain.paging import EXACT_TOTAL_LIMIT, Keyset, Page, PageRequest, Total
from persistence.accounts import ACCOUNT, FACTORS, read_account
from persistence.audit import change
from persistence.database import Database

MAX_REVOKED_SHOWN: Final = 200
_TOUCH: Final = timedelta(minutes=1)

_KEY: Final = """k.id, k.user_id AS key_user_id, k.workspace_id, w.slug, k.name, k.lookup, k.scopes, k.created_at,
    k.expires_at, k.last_used_at, k.revoked_at"""
_FROM: Final = "FROM api_keys k JOIN workspaces w ON w.id = k.workspace_id"
_RECORD: Final = f"SELECT {_KEY}, k.secret_hash, {ACCOUNT} {_FROM} JOIN users u ON u.id = k.user_id"

_ALIVE: Final = f"""
    SELECT k.id FROM api_keys k JOIN users u ON u.id = k.user_id
     WHERE k.id = ANY($1::uuid[]) AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)
       AND u.disabled_at IS NULL AND (NOT $3 OR {FACTORS} <> '{{}}')"""  # noqa: S608  # constants only

# Whoever was removed a moment ago leaves no key behind that would work again once they are back.
_ENTERS: Final = """
    SELECT EXISTS (SELECT 1 FROM users u JOIN workspaces w ON w.id = $2 AND w.deleted_at IS NULL
      LEFT JOIN memberships m ON m.user_id = u.id AND m.workspace_id = w.id
     WHERE u.id = $1 AND (u.role = 'admin' OR m.role IS NOT NULL))"""

_OF_USERS: Final = f"""
    SELECT * FROM (
        SELECT {_KEY}, row_number() OVER (
            PARTITION BY k.user_id, k.revoked_at IS NULL ORDER BY k.created_at DESC, k.id DESC) AS place
        {_FROM} WHERE k.workspace_id = $1 AND k.user_id = ANY($2::uuid[])
           AND (k.revoked_at IS NULL OR k.revoked_at >= $3)
    ) k WHERE k.revoked_at IS NULL OR k.place <= $4 ORDER BY k.created_at DESC, k.id DESC"""  # noqa: S608  # as above

_REVOKE: Final = f"""
    WITH o AS (SELECT id, revoked_at AS before FROM api_keys
                WHERE id = $1 AND workspace_id = $2 AND (user_id = $3 OR $4) FOR UPDATE),
         k AS (UPDATE api_keys a SET revoked_at = coalesce(a.revoked_at, $5) FROM o WHERE a.id = o.id
               RETURNING a.*, o.before)
    SELECT {_KEY}, k.before FROM k JOIN workspaces w ON w.id = k.workspace_id"""  # noqa: S608  # constants only

_BY_IDS: Final = (
    f"SELECT {_KEY} {_FROM} WHERE k.workspace_id = $1 AND k.id = ANY($2::uuid[]) AND (k.user_id = $3 OR $4)"
)

_PAGE: Final = f"""
    SELECT {_KEY} {_FROM} WHERE k.workspace_id = $1 AND k.user_id = $2 AND k.revoked_at IS NULL
       AND ($3::timestamptz IS NULL OR (k.created_at, k.id) < ($3, $4::uuid))
     ORDER BY k.created_at DESC, k.id DESC LIMIT $5 OFFSET $6"""


class PostgresApiKeys:
    """Implements `KeyRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def key_by_lookup(self, lookup: str) -> KeyRecord | None:
        row = await self._database.fetchrow(f"{_RECORD} WHERE k.lookup = $1", lookup)
        return None if row is None else _read_record(row)

    async def alive_keys(self, key_ids: Sequence[str], now: datetime, *, with_factor: bool) -> set[str]:
        rows = await self._database.fetch(_ALIVE, [ids.to_uuid(key_id) for key_id in key_ids], now, with_factor)
        return {ids.from_uuid("key", row["id"]) for row in rows}

    async def touch_key(self, key_id: str, now: datetime) -> None:
        # Whoever holds the row is noting the same use: nobody waits for that.
        await self._database.execute(
            "UPDATE api_keys SET last_used_at = $2 WHERE id = (SELECT id FROM api_keys WHERE id = $1"
            " AND (last_used_at IS NULL OR last_used_at <= $3) FOR NO KEY UPDATE SKIP LOCKED)",
            ids.to_uuid(key_id),
            now,
            now - _TOUCH,
        )

    async def add_key(self, scope: Scope, key: ApiKey, secret_hash: bytes, most: int) -> bool:
        user = ids.to_uuid(key.user_id)
        async with change(self._database) as tx:
            await tx.execute("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE", user)
            if not await tx.fetchval(_ENTERS, user, ids.to_uuid(scope.workspace_id)):
                raise NotFound("there is no such workspace", field="workspace")
            held = await tx.fetchval("SELECT count(*) FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL", user)
            if held >= most:
                raise Conflict(f"you have {held} API keys, the most there may be; revoke some first")
            added = await tx.execute(
                "INSERT INTO api_keys (id, user_id, workspace_id, name, lookup, secret_hash, scopes, created_at,"
                " expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9) ON CONFLICT (lookup) DO NOTHING",
                ids.to_uuid(key.id),
                user,
                ids.to_uuid(scope.workspace_id),
                key.name,
                key.lookup,
                secret_hash,
                json.dumps(key.scopes),
                key.created_at,
                key.expires_at,
            )
            if added:
                tx.made(key.id)
        return added == 1

    async def revoke_key(self, scope: Scope, key_id: str, now: datetime) -> ApiKey | None:
        async with change(self._database) as tx:
            row = await tx.fetchrow(
                _REVOKE,
                ids.to_uuid(key_id),
                ids.to_uuid(scope.workspace_id),
                ids.to_uuid(scope.principal.user_id),
                scope.principal.role is UserRole.ADMIN,
                now,
            )
            if row is not None and row["before"] is None:
                tx.made(key_id)
        return None if row is None else _read_key(row)

    async def keys_page(self, scope: Scope, request: PageRequest, offset: int) -> Page[ApiKey]:
        workspace, user = ids.to_uuid(scope.workspace_id), ids.to_uuid(scope.principal.user_id)
        keyset = Keyset(("api_keys", scope.workspace_id, scope.principal.user_id, "created_at desc"), (datetime, str))
        after = (None, None) if request.after is None else keyset.decode(request.after)
        rows = await self._database.fetch(
            _PAGE, workspace, user, after[0], _uuid_of(after[1]), request.first + 1, offset
        )
        counted: int = await self._database.fetchval(
            "SELECT count(*) FROM (SELECT 1 FROM api_keys WHERE workspace_id = $1 AND user_id = $2"
            " AND revoked_at IS NULL LIMIT $3) t",
            workspace,
            user,
            EXACT_TOTAL_LIMIT + 1,
        )
        keys = [_read_key(row) for row in rows[: request.first]]
        return Page(
            nodes=keys,
            cursors=[keyset.encode((key.created_at, key.id)) for key in keys],
            has_next_page=len(rows) > request.first,
            has_previous_page=request.after is not None or offset > 0,
            total=Total.capped(counted),
        )

    async def keys_by_ids(self, scope: Scope, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        rows = await self._database.fetch(
            _BY_IDS,
            ids.to_uuid(scope.workspace_id),
            [ids.to_uuid(key_id) for key_id in key_ids],
            ids.to_uuid(scope.principal.user_id),
            scope.principal.role is UserRole.ADMIN,
        )
        keys = [_read_key(row) for row in rows]
        return {key.id: key for key in keys}

    async def keys_of_users(self, scope: Scope, user_ids: Sequence[str], since: datetime) -> dict[str, list[ApiKey]]:
        rows = await self._database.fetch(
            _OF_USERS,
            ids.to_uuid(scope.workspace_id),
            [ids.to_uuid(user_id) for user_id in user_ids],
            since,
            MAX_REVOKED_SHOWN,
        )
        found: dict[str, list[ApiKey]] = {user_id: [] for user_id in user_ids}
        for row in rows:
            key = _read_key(row)
            found[key.user_id].append(key)
        return found


def _uuid_of(key_id: object) -> UUID | None:
    return None if key_id is None else ids.to_uuid(ids.parse("key", cast("str", key_id), field="after"))


def _read_record(row: Record) -> KeyRecord:
    return KeyRecord(_read_key(row), bytes(row["secret_hash"]), read_account(row))


def _read_key(row: Record) -> ApiKey:
    return ApiKey(
        id=ids.from_uuid("key", row["id"]),
        user_id=ids.from_uuid("usr", row["key_user_id"]),
        workspace_id=ids.from_uuid("wsp", row["workspace_id"]),
        workspace=row["slug"],
        name=row["name"],
        prefix=f"axk_{row['lookup']}",
        key_scopes=frozenset(map(KeyScope, json.loads(row["scopes"]))),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )
