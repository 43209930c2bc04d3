"""References from versions to files, and what else keeps a version from being deleted.

A file may be collected only under the advisory lock of its digest, which every new reference to it takes as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from domain import ids
from domain.access import ResourceKind, Scope
from domain.errors import Conflict
from domain.models import ExtraFile, ModelFile, Quotas
from persistence.database import Connection, Database
from persistence.models.rows import tensors_json

_LOCK_BLOB: Final = "SELECT pg_advisory_xact_lock(hashtextextended('blob:' || $1::text, 0))"
_LOCK_ROOM: Final = "SELECT pg_advisory_xact_lock(hashtextextended('room of ' || $1::text, 0))"
_USED: Final = """
    SELECT (COALESCE((SELECT sum(size_bytes) FROM blobs WHERE workspace_id = $1), 0)
          + COALESCE((SELECT sum(size_bytes) FROM model_uploads WHERE workspace_id = $1), 0))::int8"""
# Whether a version of any workspace has a file; each workspace is one look into an index.
_HAS: Final = """EXISTS (SELECT 1 FROM workspaces w WHERE
    EXISTS (SELECT 1 FROM model_versions v WHERE v.workspace_id = w.id AND v.sha256 = {0})
    OR EXISTS (SELECT 1 FROM model_files f WHERE f.workspace_id = w.id AND f.sha256 = {0}))"""
_MOST_NAMED: Final = 5
_IN_USE: Final = """
    SELECT DISTINCT e.name, e.id FROM endpoints e
     WHERE e.workspace_id = $1 AND (
           EXISTS (SELECT 1 FROM endpoint_traffic t WHERE t.endpoint_id = e.id AND t.version_id = ANY($2::uuid[]))
        OR EXISTS (SELECT 1 FROM jsonb_array_elements(e.pending->'traffic') p WHERE p->>'version_id' = ANY($3::text[])))
     ORDER BY e.name LIMIT 100"""


def workspace_of(scope: Scope) -> UUID:
    """The workspace as the database knows it."""
    return ids.to_uuid(scope.workspace_id)


async def lock(tx: Connection, sha256: str) -> None:
    """Until the transaction ends nobody else adds a reference to the file, or collects it."""
    await tx.execute(_LOCK_BLOB, sha256)


async def refer(tx: Connection, scope: Scope, file: ModelFile, now: datetime) -> None:
    """Notes that the workspace has the file, and keeps others from forgetting it until the commit."""
    await tx.execute(
        "INSERT INTO blobs (workspace_id, sha256, size_bytes, created_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (workspace_id, sha256) DO UPDATE SET size_bytes = EXCLUDED.size_bytes",
        workspace_of(scope),
        file.sha256,
        file.size_bytes,
        now,
    )


async def drop_references(tx: Connection, scope: Scope, digests: Sequence[str]) -> None:
    """Forgets the files that no version of the workspace has any more."""
    # Whoever adds a reference just now has the row: it is waited for here, and seen by the next statement.
    await tx.execute(
        "SELECT 1 FROM blobs WHERE workspace_id = $1 AND sha256 = ANY($2::text[]) ORDER BY sha256 FOR UPDATE",
        workspace_of(scope),
        list(digests),
    )
    await tx.execute(
        "DELETE FROM blobs b WHERE b.workspace_id = $1 AND b.sha256 = ANY($2::text[]) AND NOT EXISTS"
        " (SELECT 1 FROM model_versions v WHERE v.workspace_id = $1 AND v.sha256 = b.sha256) AND NOT EXISTS"
        " (SELECT 1 FROM model_files f WHERE f.workspace_id = $1 AND f.sha256 = b.sha256)",
        workspace_of(scope),
        list(digests),
    )


async def digests_of(tx: Connection, versions: Sequence[UUID]) -> list[str]:
    """The files of the versions, weights and others, each once."""
    rows = await tx.fetch(
        "SELECT sha256 FROM model_versions WHERE id = ANY($1::uuid[]) AND sha256 IS NOT NULL"
        " UNION SELECT sha256 FROM model_files WHERE version_id = ANY($1::uuid[]) ORDER BY 1",
        list(versions),
    )
    return [row["sha256"] for row in rows]


async def refuse_in_use(tx: Connection, scope: Scope, versions: Sequence[UUID]) -> None:
    """Raises Conflict naming the endpoints that need one of the versions, a few that the caller may read."""
    found = await tx.fetch(
        _IN_USE, workspace_of(scope), list(versions), [ids.from_uuid("ver", version) for version in versions]
    )
    if found:
        reach = scope.reach(ResourceKind.ENDPOINTS)
        known = [repr(row["name"]) for row in found if ids.from_uuid("end", row["id"]) in reach]
        named = ", ".join(known[:_MOST_NAMED]) or "an endpoint that you may not see"
        raise Conflict(f"traffic goes to it at {named}; deploy another version there, or delete the endpoint first")


async def keep(
    tx: Connection, scope: Scope, kept: Sequence[ModelFile], place: Callable[[], Awaitable[None]], now: datetime
) -> None:
    """Moves files into the store, and notes that the workspace has them."""
    for sha256 in sorted({file.sha256 for file in kept}):  # in one order: two that share files never wait in a circle
        await lock(tx, sha256)
    await place()
    for file in sorted(kept, key=lambda each: each.sha256):
        await refer(tx, scope, file, now)


async def lock_room(tx: Connection, scope: Scope, quotas: Quotas) -> None:
    """Until the transaction ends nobody else adds bytes to the workspace, if they are counted. The first lock."""
    if quotas.workspace_bytes is not None:
        await tx.execute(_LOCK_ROOM, scope.workspace_id)


async def check_room(tx: Connection, scope: Scope, quotas: Quotas, more: Sequence[ModelFile]) -> None:
    """Raises PayloadTooLarge where the workspace has no room for these files. What it has already costs nothing."""
    if quotas.workspace_bytes is None:
        return
    rows = await tx.fetch(
        "SELECT sha256 FROM blobs WHERE workspace_id = $1 AND sha256 = ANY($2::text[])",
        workspace_of(scope),
        [file.sha256 for file in more],
    )
    had = {row["sha256"] for row in rows}
    new = {file.sha256: file.size_bytes for file in more if file.sha256 not in had}
    quotas.check_workspace(await used(tx, scope), sum(new.values()))


async def used(database: Connection, scope: Scope) -> int:
    """Bytes of the files of the workspace, and of those that were reserved."""
    count: int = await database.fetchval(_USED, workspace_of(scope))
    return count


async def write_files(tx: Connection, scope: Scope, version: UUID, kept: Sequence[ExtraFile], now: datetime) -> None:
    """The rows of files beside the weights."""
    await tx.executemany(
        "INSERT INTO model_files (workspace_id, version_id, name, format, sha256, size_bytes, parameter_count,"
        " tensors, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            (
                workspace_of(scope),
                version,
                extra.file.name,
                extra.file.format.value,
                extra.file.sha256,
                extra.file.size_bytes,
                extra.file.parameter_count,
                tensors_json(extra.table),
                now,
            )
            for extra in kept
        ],
    )


async def unreferenced(database: Database, digests: Sequence[str]) -> list[str]:
    """Those of the digests that no version of any workspace has."""
    rows = await database.fetch(
        f"SELECT d.sha256 FROM unnest($1::text[]) d(sha256) WHERE NOT {_HAS.format('d.sha256')}",  # noqa: S608 - constants
        list(digests),
    )
    return [row["sha256"] for row in rows]


async def collect(database: Database, sha256: str, remove: Callable[[], Awaitable[None]]) -> bool:
    """Removes the file unless a version has it; answers whether it did."""
    async with database.transaction() as tx:
        await lock(tx, sha256)
        if await tx.fetchval(f"SELECT {_HAS.format('$1')}", sha256):
            return False
        await tx.execute("DELETE FROM blobs WHERE sha256 = $1", sha256)
        await remove()
        return True
