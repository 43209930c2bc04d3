"""Names that point at versions, and the stages that some of them stand for.

Every change locks the row of the model first, as all changes of its list of versions do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from domain import ids
from domain.access import ResourceKind, Scope
from domain.errors import Conflict, NotFound
from domain.models import ModelVersion
from domain.models.aliases import ARCHIVED, ModelAlias, Stage
from domain.runs.values import MAX_AT_ONCE
from persistence.audit import change
from persistence.database import Connection, Database
from persistence.models.files import workspace_of
from persistence.reach import reached

_ARCHIVED: Final = json.dumps({ARCHIVED.key: ARCHIVED.value})
_STAGES: Final = [stage.alias for stage in Stage if stage.alias is not None]
_ALIASES: Final = """
    SELECT a.model_id, a.name, a.version_id, a.updated_at, v.version
      FROM model_aliases a JOIN models m ON m.id = a.model_id JOIN model_versions v ON v.id = a.version_id
     WHERE m.workspace_id = $1 AND a.model_id = ANY($2::uuid[]) ORDER BY a.name COLLATE "C" """


class PostgresAliases:
    """Implements `domain.models.aliases.AliasRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_alias(self, scope: Scope, version: ModelVersion, name: str, now: datetime, *, most: int) -> None:
        async with change(self._database) as tx:
            model = await _lock(tx, scope, version.model_id)
            await _hold(tx, model, version)
            moved, before = await _point(tx, model, version, name, now=now, most=most)
            if moved:
                await _touch(tx, model, now)
                tx.made(version.model_id, version.id, *_other(before))

    async def delete_alias(self, scope: Scope, model_id: str, name: str, now: datetime) -> None:
        async with change(self._database) as tx:
            model = await _lock(tx, scope, model_id)
            pointed = await tx.fetchval(
                "DELETE FROM model_aliases WHERE model_id = $1 AND name = $2 RETURNING version_id", model, name
            )
            if pointed is None:
                raise NotFound("this model has no such alias", field="alias")
            await _touch(tx, model, now)
            tx.made(model_id, ids.from_uuid("ver", pointed))

    async def set_stage(
        self, scope: Scope, version: ModelVersion, stage: Stage, now: datetime, *, archive: bool, most: int
    ) -> None:
        async with change(self._database) as tx:
            model = await _lock(tx, scope, version.model_id)
            await _hold(tx, model, version)
            left = await tx.fetch(
                "DELETE FROM model_aliases WHERE model_id = $1 AND version_id = $2 AND name = ANY($3::text[])"
                " RETURNING name",
                model,
                ids.to_uuid(version.id),
                [name for name in _STAGES if name != stage.alias],
            )
            moved, before = False, None
            if stage.alias is not None:
                moved, before = await _point(tx, model, version, stage.alias, now=now, most=most)
            marked = await _mark(tx, ids.to_uuid(version.id), archived=stage is Stage.ARCHIVED)
            if before is not None and archive:
                await _mark(tx, before, archived=True)
            if left or moved or marked:
                await _touch(tx, model, now)
                tx.made(version.id, *_other(before))

    async def aliases_of_models(self, scope: Scope, model_ids: Sequence[str]) -> dict[str, list[ModelAlias]]:
        readable = reached(scope.reach(ResourceKind.MODELS), model_ids)
        rows = await self._database.fetch(_ALIASES, workspace_of(scope), [ids.to_uuid(each) for each in readable])
        found: dict[str, list[ModelAlias]] = {}
        for alias in map(_read, rows):
            found.setdefault(alias.model_id, []).append(alias)
        return found


async def _lock(tx: Connection, scope: Scope, model_id: str) -> UUID:
    model: UUID | None = await tx.fetchval(
        "SELECT id FROM models WHERE workspace_id = $1 AND id = $2 FOR NO KEY UPDATE",
        workspace_of(scope),
        ids.to_uuid(model_id),
    )
    if model is None:
        raise NotFound("there is no such model", field="id")
    return model


async def _hold(tx: Connection, model: UUID, version: ModelVersion) -> None:
    """That the version is still there; under the lock of its model it stays."""
    there = await tx.fetchval(
        "SELECT 1 FROM model_versions WHERE model_id = $1 AND id = $2", model, ids.to_uuid(version.id)
    )
    if there is None:
        raise NotFound("there is no such model version", field="version_id")


async def _point(
    tx: Connection, model: UUID, version: ModelVersion, name: str, *, now: datetime, most: int
) -> tuple[bool, UUID | None]:
    """Whether the name now points elsewhere than before, and where it pointed then."""
    wanted = ids.to_uuid(version.id)
    before: UUID | None = await tx.fetchval(
        "SELECT version_id FROM model_aliases WHERE model_id = $1 AND name = $2", model, name
    )
    if before == wanted:
        return False, None
    if before is None and await tx.fetchval("SELECT count(*) FROM model_aliases WHERE model_id = $1", model) >= most:
        raise Conflict(f"this model has {most} aliases, and may have no more", field="alias")
    await tx.execute(
        "INSERT INTO model_aliases (model_id, name, version_id, updated_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (model_id, name) DO UPDATE SET version_id = $3, updated_at = $4",
        model,
        name,
        wanted,
        now,
    )
    return True, before


async def _mark(tx: Connection, version: UUID, *, archived: bool) -> bool:
    """Sets or removes the tag of archived versions; whether that changed anything."""
    if not archived:
        sql = "UPDATE model_versions SET tags = tags - $3::text WHERE id = $1 AND tags @> $2::jsonb RETURNING 0"
        return await tx.fetchval(sql, version, _ARCHIVED, ARCHIVED.key) is not None
    tags = await tx.fetchval(
        "UPDATE model_versions SET tags = tags || $2::jsonb WHERE id = $1 AND NOT tags @> $2::jsonb"
        " RETURNING (SELECT count(*) FROM jsonb_object_keys(tags))",
        version,
        _ARCHIVED,
    )
    if tags is not None and tags > MAX_AT_ONCE:
        raise Conflict(f"the version has {MAX_AT_ONCE} tags, and no room for the one that archives it", field="stage")
    return tags is not None


async def _touch(tx: Connection, model: UUID, now: datetime) -> None:
    await tx.execute("UPDATE models SET updated_at = GREATEST(updated_at, $2) WHERE id = $1", model, now)


def _other(version: UUID | None) -> list[str]:
    return [] if version is None else [ids.from_uuid("ver", version)]


def _read(row: Record) -> ModelAlias:
    return ModelAlias(
        model_id=ids.from_uuid("mdl", row["model_id"]),
        name=row["name"],
        version_id=ids.from_uuid("ver", row["version_id"]),
        version=row["version"],
        updated_at=row["updated_at"],
    )
