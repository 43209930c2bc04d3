"""Versions of models: how they come to be, change, go, and are read.

A version's number comes from its model's row under its lock, so it is unique and never used again.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from asyncpg import Record

from domain import ids
from domain.access import ResourceKind, Scope
from domain.architecture import Architecture, parse
from domain.errors import Conflict, NotFound
from domain.idempotency import ClientToken
from domain.models import UNBOUNDED, ModelVersion, NewVersion, Quotas, VersionChanges, numbered
from domain.paging import Keyset, Page, PageRequest
from persistence.audit import change
from persistence.database import Connection, Database
from persistence.idempotency import claim
from persistence.models import files
from persistence.models.changes import assignments, check_tags
from persistence.models.files import workspace_of
from persistence.models.rows import VERSION, architecture_json, read_version, tags_json, tensors_json
from persistence.pages import FIRST_ARGUMENT, Listing, pages
from persistence.reach import reached, within

VERSIONS: Final = "model_versions v JOIN models m ON m.id = v.model_id"
_NEWEST_VERSION: Final = (("v.created_at", "timestamptz"), ("v.id", "uuid"))


class PostgresVersions:
    """The half of `domain.models.ModelRepository` that is about versions."""

    def __init__(self, database: Database, quotas: Quotas = UNBOUNDED) -> None:
        self._database = database
        self._quotas = quotas

    # --- written --------------------------------------------------------------------------------

    async def add_version(
        self,
        scope: Scope,
        new: NewVersion,
        place: Callable[[], Awaitable[None]],
        token: ClientToken | None,
    ) -> ModelVersion:
        version = new.version
        async with change(self._database) as tx:
            first = await claim(tx, scope, token, ids.to_uuid(version.id))
            if first is None:
                await files.lock_room(tx, scope, self._quotas)
                number = await next_number(tx, scope, version, self._quotas)
                version = numbered(version, number)
                await check_run(tx, scope, version.run_id)
                kept = [*([version.file] if version.file is not None else []), *(extra.file for extra in new.extras)]
                self._quotas.check_files(len(kept))
                await files.check_room(tx, scope, self._quotas, kept)
                await files.keep(tx, scope, kept, place, version.created_at)
                await insert_version(tx, scope, version, new)
                await files.write_files(tx, scope, ids.to_uuid(version.id), new.extras, version.created_at)
                tx.made(version.id)
        if first is None:
            return version
        return await self._present_version(scope, ids.from_uuid("ver", first))

    async def update_version(self, scope: Scope, version_id: str, changes: VersionChanges) -> ModelVersion:
        places, arguments = assignments(changes, first=3)
        if places:
            async with change(self._database) as tx:
                row = await tx.fetchrow(
                    f"UPDATE model_versions SET {', '.join(places)} WHERE workspace_id = $1 AND id = $2 RETURNING tags",  # noqa: S608 - keys of VersionChanges
                    workspace_of(scope),
                    ids.to_uuid(version_id),
                    *arguments,
                )
                if row is not None:
                    check_tags(len(json.loads(row["tags"])))
                    tx.made(version_id)
        return await self._present_version(scope, version_id)

    async def set_architecture(self, scope: Scope, version_id: str, document: Architecture) -> ModelVersion:
        async with change(self._database) as tx:
            row = await tx.fetchrow(
                "SELECT architecture FROM model_versions WHERE workspace_id = $1 AND id = $2 FOR UPDATE",
                workspace_of(scope),
                ids.to_uuid(version_id),
            )
            if row is None:
                raise NotFound("there is no such model version", field="version")
            if row["architecture"] is None:
                await tx.execute(
                    "UPDATE model_versions SET architecture = $2, inputs = $3, outputs = $4 WHERE id = $1",
                    ids.to_uuid(version_id),
                    *architecture_json(document),
                )
                tx.made(version_id)
            elif parse(json.loads(row["architecture"])).digest() != document.digest():
                raise Conflict("this version has another architecture already; it is set once", field="architecture")
        return await self._present_version(scope, version_id)

    async def delete_version(self, scope: Scope, version_id: str) -> list[str]:
        async with change(self._database) as tx:
            # The model's row first, as in every other change of its list of versions.
            model = await tx.fetchval(
                "SELECT m.id FROM models m WHERE m.workspace_id = $1 AND m.id ="
                " (SELECT model_id FROM model_versions WHERE id = $2) FOR UPDATE",
                workspace_of(scope),
                ids.to_uuid(version_id),
            )
            row = await tx.fetchrow(
                "SELECT id FROM model_versions WHERE model_id = $1 AND id = $2 FOR UPDATE",
                model,
                ids.to_uuid(version_id),
            )
            if row is None:
                raise NotFound("there is no such model version", field="id")
            await files.refuse_in_use(tx, scope, [row["id"]])
            digests = await files.digests_of(tx, [row["id"]])
            await tx.execute("DELETE FROM model_versions WHERE id = $1", row["id"])
            await tx.execute("UPDATE models SET updated_at = GREATEST(updated_at, now()) WHERE id = $1", model)
            await files.drop_references(tx, scope, digests)
            tx.made(version_id)
            return digests

    # --- read -----------------------------------------------------------------------------------

    async def versions_by_ids(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, ModelVersion]:
        readable, more = within(scope.reach(ResourceKind.MODELS), "v.model_id", 3)
        rows = await self._database.fetch(
            f"SELECT {VERSION} FROM {VERSIONS} WHERE v.workspace_id = $1 AND v.id = ANY($2::uuid[]){readable}",  # noqa: S608
            workspace_of(scope),
            [ids.to_uuid(version_id) for version_id in version_ids],
            *more,
        )
        return {version.id: version for version in map(reader(scope), rows)}

    async def version_by_number(self, scope: Scope, model_id: str, number: int) -> ModelVersion | None:
        if not 0 < number < 2**31 or model_id not in scope.reach(ResourceKind.MODELS):
            return None
        row = await self._database.fetchrow(
            f"SELECT {VERSION} FROM {VERSIONS} WHERE v.workspace_id = $1 AND v.model_id = $2 AND v.version = $3",  # noqa: S608
            workspace_of(scope),
            ids.to_uuid(model_id),
            number,
        )
        return None if row is None else reader(scope)(row)

    async def version_by_alias(self, scope: Scope, model_id: str, alias: str) -> ModelVersion | None:
        if model_id not in scope.reach(ResourceKind.MODELS):
            return None
        row = await self._database.fetchrow(
            f"SELECT {VERSION} FROM {VERSIONS} JOIN model_aliases a ON a.version_id = v.id"  # noqa: S608
            " WHERE v.workspace_id = $1 AND a.model_id = $2 AND a.name = $3",
            workspace_of(scope),
            ids.to_uuid(model_id),
            alias,
        )
        return None if row is None else reader(scope)(row)

    async def versions_of_models(
        self, scope: Scope, model_ids: Sequence[str], page: PageRequest, offset: int = 0
    ) -> dict[str, Page[ModelVersion]]:
        readable, more = within(scope.reach(ResourceKind.MODELS), "v.model_id", FIRST_ARGUMENT + 1)
        listing = Listing(
            columns=VERSION,
            source=VERSIONS,
            where=f"v.model_id = p.id AND v.workspace_id = ${FIRST_ARGUMENT}{readable}",
            order=(("v.version", "int"),),
            keyset=Keyset(("versions of model",), (int,)),
            item=reader(scope),
            key=lambda row: (row["version"],),
            arguments=(workspace_of(scope), *more),
        )
        found = await pages(self._database, listing, [ids.to_uuid(model) for model in model_ids], page, offset)
        return {model: found[ids.to_uuid(model)] for model in model_ids}

    async def versions_of_runs(
        self, scope: Scope, run_ids: Sequence[str], page: PageRequest
    ) -> dict[str, Page[ModelVersion]]:
        readable, more = within(scope.reach(ResourceKind.MODELS), "v.model_id", FIRST_ARGUMENT + 1)
        listing = Listing(
            columns=VERSION,
            source=VERSIONS,
            where=f"v.run_id = p.id AND v.workspace_id = ${FIRST_ARGUMENT}{readable}",
            order=_NEWEST_VERSION,
            keyset=Keyset(("versions of run",), (datetime, str)),
            item=reader(scope),
            key=lambda row: (row["created_at"], ids.from_uuid("ver", row["id"])),
            arguments=(workspace_of(scope), *more),
        )
        found = await pages(self._database, listing, [ids.to_uuid(run) for run in run_ids], page)
        return {run: found[ids.to_uuid(run)] for run in run_ids}

    async def latest_of_models(self, scope: Scope, model_ids: Sequence[str]) -> dict[str, ModelVersion]:
        rows = await self._database.fetch(
            f"SELECT x.* FROM unnest($2::uuid[]) p(id) CROSS JOIN LATERAL (SELECT {VERSION} FROM {VERSIONS}"  # noqa: S608
            " WHERE v.model_id = p.id AND v.workspace_id = $1 AND v.status = 'ready'"
            " ORDER BY v.version DESC LIMIT 1) x",
            workspace_of(scope),
            [ids.to_uuid(model_id) for model_id in reached(scope.reach(ResourceKind.MODELS), model_ids)],
        )
        return {version.model_id: version for version in map(reader(scope), rows)}

    async def architectures(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        readable, more = within(scope.reach(ResourceKind.MODELS), "model_id", 3)
        rows = await self._database.fetch(
            "SELECT id, architecture FROM model_versions"  # noqa: S608 - constants, and a condition of our own
            f" WHERE workspace_id = $1 AND id = ANY($2::uuid[]) AND architecture IS NOT NULL{readable}",
            workspace_of(scope),
            [ids.to_uuid(version_id) for version_id in version_ids],
            *more,
        )
        return {ids.from_uuid("ver", row["id"]): json.loads(row["architecture"]) for row in rows}

    async def tensors(self, scope: Scope, version_id: str) -> list[list[Any]] | None:
        found = await self._database.fetchval(
            "SELECT tensors FROM model_versions WHERE workspace_id = $1 AND id = $2",
            workspace_of(scope),
            ids.to_uuid(version_id),
        )
        return None if found is None else json.loads(found)

    async def _present_version(self, scope: Scope, version_id: str) -> ModelVersion:
        found = (await self.versions_by_ids(scope, [version_id])).get(version_id)
        if found is None:
            raise NotFound("there is no such model version", field="id")
        return found


def reader(scope: Scope) -> Callable[[Record], ModelVersion]:
    """Reads rows of VERSION as the scope may."""
    return partial(read_version, runs=scope.reach(ResourceKind.RUNS))


async def next_number(tx: Connection, scope: Scope, version: ModelVersion, quotas: Quotas = UNBOUNDED) -> int:
    """The number of a new version. Raises NotFound for its model, and Conflict where that has all it may have."""
    number: int | None = await tx.fetchval(
        "UPDATE models SET next_version = next_version + 1, updated_at = GREATEST(updated_at, $3)"
        " WHERE workspace_id = $1 AND id = $2 RETURNING next_version - 1",
        workspace_of(scope),
        ids.to_uuid(version.model_id),
        version.created_at,
    )
    if number is None:
        raise NotFound("there is no such model", field="id")
    # The model's row is locked, so nobody else adds a version meanwhile.
    count: int = await tx.fetchval(
        "SELECT count(*) FROM (SELECT 1 FROM model_versions WHERE model_id = $1 LIMIT $2) v",
        ids.to_uuid(version.model_id),
        quotas.model_versions,
    )
    quotas.check_versions(count)
    return number


async def check_run(tx: Connection, scope: Scope, run_id: str | None) -> None:
    """Keeps a run from going until the transaction ends. Raises NotFound."""
    if run_id is None:
        return
    found = await tx.fetchval(
        "SELECT 1 FROM runs WHERE workspace_id = $1 AND id = $2 AND purged_at IS NULL FOR KEY SHARE",
        workspace_of(scope),
        ids.to_uuid(run_id),
    )
    if found is None or run_id not in scope.reach(ResourceKind.RUNS):
        raise NotFound("there is no such run", field="run_id")


async def insert_version(tx: Connection, scope: Scope, version: ModelVersion, new: NewVersion) -> None:
    """The row of a version."""
    file = version.file
    architecture = architecture_json(new.architecture) if new.architecture is not None else (None, None, None)
    await tx.execute(
        "INSERT INTO model_versions (id, workspace_id, model_id, version, status, status_reason, description, tags,"
        " metrics, run_id, created_by_id, created_at, file_name, file_format, sha256, size_bytes, parameter_count,"
        " tensors, architecture, inputs, outputs) VALUES"
        " ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
        ids.to_uuid(version.id),
        workspace_of(scope),
        ids.to_uuid(version.model_id),
        version.version,
        version.status.value,
        version.status_reason,
        version.description,
        tags_json(version.tags),
        json.dumps(version.metrics),
        None if version.run_id is None else ids.to_uuid(version.run_id),
        ids.to_uuid(version.created_by_id),
        version.created_at,
        *((file.name, file.format.value, file.sha256, file.size_bytes, file.parameter_count) if file else (None,) * 5),
        tensors_json(new.table),
        *architecture,
    )
