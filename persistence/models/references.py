"""Which files the versions of all workspaces need. For the server's own commands; no caller ever asks it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from persistence.database import Database

_REFERENCED: Final = """
    SELECT sha256, max(size_bytes) AS size_bytes FROM (
           SELECT sha256, size_bytes FROM model_versions WHERE sha256 COLLATE "C" > $1
           UNION ALL SELECT sha256, size_bytes FROM model_files WHERE sha256 COLLATE "C" > $1) x
     GROUP BY sha256 ORDER BY sha256 COLLATE "C" LIMIT $2"""
_HOLDERS: Final = """
    SELECT w.slug, m.name, v.version FROM model_versions v
      JOIN models m ON m.id = v.model_id JOIN workspaces w ON w.id = v.workspace_id
     WHERE v.id IN (SELECT id FROM model_versions WHERE sha256 = $1
                    UNION SELECT version_id FROM model_files WHERE sha256 = $1)
     ORDER BY w.slug, m.name, v.version LIMIT $2"""


class PostgresReferences:
    """Implements `domain.models.scrub.References`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def referenced(self, after: str, most: int) -> Sequence[tuple[str, int]]:
        rows = await self._database.fetch(_REFERENCED, after, most)
        return [(row["sha256"], row["size_bytes"]) for row in rows]

    async def holders(self, sha256: str, most: int) -> list[str]:
        rows = await self._database.fetch(_HOLDERS, sha256, most)
        return [f"{row['slug']}/{row['name']} version {row['version']}" for row in rows]
