"""Tensors of files in PostgreSQL: paged and compared there, so that no long list is ever read whole.

They are stored as `[name, dtype, shape]` with the version whose weights they are, or with the file beside the weights.
The same bytes hold the same tensors, whichever version is asked for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from asyncpg import Record

from domain import ids
from domain.access import ResourceKind, Scope
from domain.errors import BadUserInput
from domain.models.tensors import StoredTensor, TensorPair
from domain.paging import Keyset, Page, PageRequest, Total
from persistence.database import Database
from persistence.models.files import workspace_of
from persistence.reach import within

_KEYSET: Final = Keyset(("tensors",), (int,))
_TENSORS_OF: Final = """
    SELECT e->>0 AS name, e->>1 AS dtype, e->2 AS shape FROM model_versions v, jsonb_array_elements(v.tensors) e
     WHERE v.workspace_id = $1 AND v.id = """
_DIFFERING: Final = f"""
    SELECT name, l.dtype AS left_dtype, l.shape AS left_shape, r.dtype AS right_dtype, r.shape AS right_shape
      FROM ({_TENSORS_OF} $2) l FULL JOIN ({_TENSORS_OF} $3) r USING (name)
     WHERE l.dtype IS DISTINCT FROM r.dtype OR l.shape IS DISTINCT FROM r.shape
     ORDER BY name COLLATE "C" LIMIT $4"""  # noqa: S608 - constants only


class PostgresTensors:
    """Implements `domain.models.tensors.TensorRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tensors_of_files(
        self, scope: Scope, digests: Sequence[str], page: PageRequest
    ) -> dict[str, Page[StoredTensor]]:
        # Where the last page ended among the names, counted from one: the bytes never change, so it stays exact.
        passed = 0 if page.after is None else _KEYSET.decode(page.after)[0]
        if not isinstance(passed, int) or not 0 <= passed < 2**31:
            raise BadUserInput("not a cursor of this list", field="after")
        readable, more = within(scope.reach(ResourceKind.MODELS), "v.model_id", 5)
        rows = await self._database.fetch(
            "SELECT d.sha256, jsonb_array_length(s.tensors) AS total, x.*"  # noqa: S608 - constants of ours
            " FROM unnest($2::text[]) d(sha256) CROSS JOIN LATERAL"
            " ((SELECT v.tensors FROM model_versions v"
            f" WHERE v.workspace_id = $1 AND v.sha256 = d.sha256 AND v.tensors IS NOT NULL{readable} LIMIT 1)"
            " UNION ALL (SELECT f.tensors FROM model_files f JOIN model_versions v ON v.id = f.version_id"
            f" WHERE f.workspace_id = $1 AND f.sha256 = d.sha256 AND f.tensors IS NOT NULL{readable} LIMIT 1)"
            " LIMIT 1) s"
            " LEFT JOIN LATERAL (SELECT e->>0 AS name, e->>1 AS dtype, e->2 AS shape"
            '   FROM jsonb_array_elements(s.tensors) e ORDER BY (e->>0) COLLATE "C" LIMIT $3 OFFSET $4) x ON true'
            ' ORDER BY d.sha256, x.name COLLATE "C"',
            workspace_of(scope),
            list(digests),
            page.first,
            passed,
            *more,
        )
        found: dict[str, list[Record]] = {digest: [] for digest in digests}
        for row in rows:
            found[row["sha256"]].append(row)
        return {digest: _page(held, passed) for digest, held in found.items()}

    async def differing_tensors(self, scope: Scope, left: str, right: str, most: int) -> list[TensorPair]:
        rows = await self._database.fetch(_DIFFERING, workspace_of(scope), ids.to_uuid(left), ids.to_uuid(right), most)
        return [TensorPair(row["name"], _side(row, "left_"), _side(row, "right_")) for row in rows]


def _page(rows: Sequence[Record], passed: int) -> Page[StoredTensor]:
    tensors = [tensor for row in rows if (tensor := _side(row, "")) is not None]
    total = rows[0]["total"] if rows else 0
    return Page(
        nodes=tensors,
        cursors=[_KEYSET.encode((passed + place,)) for place in range(1, len(tensors) + 1)],
        has_next_page=passed + len(tensors) < total,
        has_previous_page=passed > 0,
        total=Total(total),
    )


def _side(row: Record, prefix: str) -> StoredTensor | None:
    if row[f"{prefix}dtype"] is None:
        return None
    return StoredTensor.of(row["name"], row[f"{prefix}dtype"], json.loads(row[f"{prefix}shape"]))
