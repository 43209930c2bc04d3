"""Versions whose weights arrive in pieces, and the files beside weights.

Locks are taken in one order: the room of the workspace, the model, the version, its upload, digests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from domain import ids
from domain.access import ResourceKind, Scope
from domain.architecture import Architecture
from domain.errors import Conflict, NotFound
from domain.idempotency import ClientToken
from domain.models import (
    UNBOUNDED,
    ExtraFile,
    ModelFile,
    ModelFormat,
    ModelVersion,
    ModelVersionStatus,
    NewVersion,
    Quotas,
    Upload,
    file_url,
    numbered,
)
from domain.safetensors import TensorTable
from persistence.audit import change
from persistence.database import Connection, Database
from persistence.idempotency import claim
from persistence.models import files
from persistence.models.files import workspace_of
from persistence.models.rows import VERSION, architecture_json, tensors_json
from persistence.models.versions import VERSIONS, check_run, insert_version, next_number, reader
from persistence.reach import within

GIVEN_UP_AT_ONCE: Final = 1_000


class PostgresUploads:
    """Implements `domain.models.UploadRepository`."""

    def __init__(self, database: Database, quotas: Quotas = UNBOUNDED) -> None:
        self._database = database
        self._quotas = quotas

    async def reserve(
        self,
        scope: Scope,
        version: ModelVersion,
        upload: Upload,
        *,
        file_name: str,
        architecture: str | None,
        token: ClientToken | None,
        now: datetime,
    ) -> ModelVersion:
        async with change(self._database) as tx:
            first = await claim(tx, scope, token, ids.to_uuid(version.id))
            if first is None:
                await files.lock_room(tx, scope, self._quotas)
                version = numbered(version, await next_number(tx, scope, version, self._quotas))
                await check_run(tx, scope, version.run_id)
                if self._quotas.workspace_bytes is not None:
                    used = await files.used(tx, scope)
                    self._quotas.check_workspace(used, upload.size_bytes, field="size_bytes")
                await insert_version(tx, scope, version, NewVersion(version, None, None))
                await tx.execute(
                    "UPDATE model_versions SET file_name = $2 WHERE id = $1", ids.to_uuid(version.id), file_name
                )
                await tx.execute(
                    "INSERT INTO model_uploads (version_id, workspace_id, sha256, size_bytes, received_bytes,"
                    " architecture, touched_at) VALUES ($1, $2, $3, $4, 0, $5, $6)",
                    ids.to_uuid(version.id),
                    workspace_of(scope),
                    upload.sha256,
                    upload.size_bytes,
                    architecture,
                    now,
                )
                tx.made(version.id)
        if first is None:
            return version
        return await self._present(self._database, scope, ids.from_uuid("ver", first))

    async def of_versions(self, scope: Scope, version_ids: Sequence[str], idle: timedelta) -> dict[str, Upload]:
        readable, more = within(scope.reach(ResourceKind.MODELS), "v.model_id", 3)
        rows = await self._database.fetch(
            "SELECT u.version_id, u.sha256, u.size_bytes, u.received_bytes, u.touched_at"  # noqa: S608 - constants
            " FROM model_uploads u JOIN model_versions v ON v.id = u.version_id"
            f" WHERE u.workspace_id = $1 AND u.version_id = ANY($2::uuid[]){readable}",
            workspace_of(scope),
            [ids.to_uuid(version_id) for version_id in version_ids],
            *more,
        )
        found = [
            Upload(
                ids.from_uuid("ver", row["version_id"]),
                row["sha256"],
                row["size_bytes"],
                row["received_bytes"],
                row["touched_at"] + idle,
            )
            for row in rows
        ]
        return {upload.version_id: upload for upload in found}

    async def declared(self, scope: Scope, version_id: str) -> tuple[str, str | None]:
        row = await self._database.fetchrow(
            "SELECT v.file_name, u.architecture FROM model_uploads u JOIN model_versions v ON v.id = u.version_id"
            " WHERE u.workspace_id = $1 AND u.version_id = $2",
            workspace_of(scope),
            ids.to_uuid(version_id),
        )
        if row is None:
            raise NotFound("this version is not being uploaded any more", field="version")
        return row["file_name"], row["architecture"]

    async def advance(self, version_id: str, before: int, after: int, now: datetime) -> bool:
        moved = await self._database.execute(
            "UPDATE model_uploads SET received_bytes = $3, touched_at = $4"
            " WHERE version_id = $1 AND received_bytes = $2 AND size_bytes >= $3",
            ids.to_uuid(version_id),
            before,
            after,
            now,
        )
        return moved == 1

    async def complete(
        self,
        scope: Scope,
        version: ModelVersion,
        file: ModelFile,
        *,
        table: TensorTable | None,
        architecture: Architecture | None,
        place: Callable[[], Awaitable[None]],
    ) -> ModelVersion:
        wanted = ids.to_uuid(version.id)
        async with change(self._database) as tx:
            await tx.execute(
                "UPDATE models SET updated_at = GREATEST(updated_at, now()) WHERE workspace_id = $1 AND id = $2",
                workspace_of(scope),
                ids.to_uuid(version.model_id),
            )
            status = await tx.fetchval(
                "SELECT status FROM model_versions WHERE workspace_id = $1 AND id = $2 FOR UPDATE",
                workspace_of(scope),
                wanted,
            )
            if status is None:
                raise NotFound("there is no such model version", field="version")
            if status == ModelVersionStatus.REJECTED.value:
                raise Conflict("the upload was given up meanwhile")
            if status == ModelVersionStatus.UPLOADING.value:
                await files.keep(tx, scope, [file], place, version.created_at)
                document = architecture_json(architecture) if architecture is not None else (None, None, None)
                await tx.execute(
                    "UPDATE model_versions SET status = 'ready', file_name = $2, file_format = $3, sha256 = $4,"
                    " size_bytes = $5, parameter_count = $6, tensors = $7, architecture = $8, inputs = $9,"
                    " outputs = $10 WHERE id = $1",
                    wanted,
                    file.name,
                    file.format.value,
                    file.sha256,
                    file.size_bytes,
                    file.parameter_count,
                    tensors_json(table),
                    *document,
                )
                await tx.execute("DELETE FROM model_uploads WHERE version_id = $1", wanted)
                tx.made(version.id)
        return await self._present(self._database, scope, version.id)

    async def reject(self, version_ids: Sequence[str], reason: str) -> int:
        async with self._database.transaction() as tx:
            rows = await tx.fetch(
                "SELECT id FROM model_versions WHERE id = ANY($1::uuid[]) AND status = 'uploading'"
                " ORDER BY id FOR UPDATE",
                [ids.to_uuid(version_id) for version_id in version_ids],
            )
            found = [row["id"] for row in rows]
            await tx.execute("DELETE FROM model_uploads WHERE version_id = ANY($1::uuid[])", found)
            return await tx.execute(
                "UPDATE model_versions SET status = 'rejected', status_reason = $2 WHERE id = ANY($1::uuid[])",
                found,
                reason,
            )

    async def idle_since(self, before: datetime) -> list[str]:
        rows = await self._database.fetch(
            "SELECT version_id FROM model_uploads WHERE touched_at < $1 ORDER BY touched_at LIMIT $2",
            before,
            GIVEN_UP_AT_ONCE,
        )
        return [ids.from_uuid("ver", row["version_id"]) for row in rows]

    async def open(self, version_ids: Sequence[str]) -> list[str]:
        rows = await self._database.fetch(
            "SELECT version_id FROM model_uploads WHERE version_id = ANY($1::uuid[])",
            [ids.to_uuid(version_id) for version_id in version_ids],
        )
        return [ids.from_uuid("ver", row["version_id"]) for row in rows]

    async def _present(self, database: Connection, scope: Scope, version_id: str) -> ModelVersion:
        row = await database.fetchrow(
            f"SELECT {VERSION} FROM {VERSIONS} WHERE v.workspace_id = $1 AND v.id = $2",  # noqa: S608 - constants
            workspace_of(scope),
            ids.to_uuid(version_id),
        )
        if row is None:
            raise NotFound("there is no such model version", field="version")
        return reader(scope)(row)


class PostgresFiles:
    """Implements `domain.models.FileRepository`."""

    def __init__(self, database: Database, quotas: Quotas = UNBOUNDED) -> None:
        self._database = database
        self._quotas = quotas

    async def of_versions(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, list[ModelFile]]:
        readable, more = within(scope.reach(ResourceKind.MODELS), "v.model_id", 3)
        rows = await self._database.fetch(
            "SELECT f.version_id, v.model_id, v.version, f.name, f.size_bytes, f.sha256, f.format, f.parameter_count"  # noqa: S608 - constants
            " FROM model_files f JOIN model_versions v ON v.id = f.version_id"
            f' WHERE f.workspace_id = $1 AND f.version_id = ANY($2::uuid[]){readable} ORDER BY f.name COLLATE "C"',
            workspace_of(scope),
            [ids.to_uuid(version_id) for version_id in version_ids],
            *more,
        )
        found: dict[str, list[ModelFile]] = {}
        for row in rows:
            file = ModelFile(
                row["name"],
                row["size_bytes"],
                row["sha256"],
                ModelFormat(row["format"]),
                row["parameter_count"],
                file_url(ids.from_uuid("mdl", row["model_id"]), row["version"], row["name"]),
            )
            found.setdefault(ids.from_uuid("ver", row["version_id"]), []).append(file)
        return found

    async def add(
        self,
        scope: Scope,
        version_id: str,
        extra: ExtraFile,
        place: Callable[[], Awaitable[None]],
        now: datetime,
    ) -> None:
        wanted, file = ids.to_uuid(version_id), extra.file
        async with change(self._database) as tx:
            await files.lock_room(tx, scope, self._quotas)
            version = await tx.fetchrow(
                "SELECT status, file_name FROM model_versions WHERE workspace_id = $1 AND id = $2 FOR UPDATE",
                workspace_of(scope),
                wanted,
            )
            if version is None:
                raise NotFound("there is no such model version", field="version")
            if version["status"] == ModelVersionStatus.REJECTED.value:
                raise Conflict("this version was rejected and takes no files")
            rows = await tx.fetch("SELECT name, sha256 FROM model_files WHERE version_id = $1", wanted)
            taken = {row["name"]: row["sha256"] for row in rows}
            if taken.get(file.name) == file.sha256:
                return
            if file.name in taken or file.name == version["file_name"]:
                raise Conflict("the version has a file of that name, and files are never replaced", field="name")
            self._quotas.check_files(len(taken) + 2)  # the weights count too, here or to come
            await files.check_room(tx, scope, self._quotas, [file])
            await files.keep(tx, scope, [file], place, now)
            await files.write_files(tx, scope, wanted, [extra], now)
            tx.made(version_id)
