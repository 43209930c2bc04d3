"""Weights that arrive in pieces: reserved first, sent by any number of requests, checked when they are whole.

What a client was told is stored is on disk: a piece is noted only once it is durable, and the next one begins exactly
there. A request that breaks off loses nothing of what came before. A wrong digest, or a file that lies, ends the
version as REJECTED with the reason: its number is spent, and the client reserves another one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from domain import architecture as architectures
from domain import ids
from domain.access import KeyScope, Scope
from domain.clock import Clock
from domain.errors import BadUserInput, Conflict, DomainError, NotFound, PayloadTooLarge
from domain.idempotency import ClientToken
from domain.models import rules
from domain.models.carried import CarriedMetrics
from domain.models.entities import ModelVersion, ModelVersionStatus, Upload, VersionDraft, stored_file
from domain.models.files import file_name
from domain.models.ports import BlobStore, ReceivedFile, ResumedFile, UploadRepository
from domain.models.quotas import Quotas
from domain.models.registry import Models
from domain.storage import Place, Storage

SAVE_BYTES: Final = 64 * 1024 * 1024
SAVE_SECONDS: Final = 5.0
STALE_AFTER: Final = timedelta(hours=1)
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_OFFSET: Final = "Upload-Offset"


class WrongOffset(Conflict):
    """The piece does not begin where the stored bytes end. `stored` says where that is."""

    def __init__(self, stored: int) -> None:
        super().__init__(f"{stored} bytes are stored; go on from there", field=_OFFSET)
        self.stored = stored


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the weights of a version are. `version` tells whether they are READY or REJECTED."""

    version: ModelVersion
    received: int
    size_bytes: int | None
    sha256: str | None


class Uploads:
    """Use-cases of versions whose weights arrive in pieces."""

    def __init__(
        self,
        *,
        models: Models,
        uploads: UploadRepository,
        blobs: BlobStore,
        carried: CarriedMetrics,
        clock: Clock,
        quotas: Quotas,
        storage: Storage,
        idle: timedelta,
    ) -> None:
        self._models = models
        self._uploads = uploads
        self._blobs = blobs
        self._carried = carried
        self._clock = clock
        self._quotas = quotas
        self._storage = storage
        self._idle = idle

    async def reserve(
        self, scope: Scope, model: str, draft: VersionDraft, *, size_bytes: int, client_token: str | None = None
    ) -> ModelVersion:
        """The next version of a model, UPLOADING, for bytes of a declared digest and number.

        Raises BadUserInput, NotFound for the model or the run, PayloadTooLarge for what the quotas leave no room for,
        Conflict for a model with too many versions or a reused client token, and Unavailable for a full disk.
        """
        found = await self._models.writable(scope, model)
        if draft.sha256 is None or _SHA256.fullmatch(draft.sha256) is None:
            raise BadUserInput("expected 64 hexadecimal digits", field="sha256")
        if size_bytes < 1:
            raise BadUserInput("expected at least 1 byte", field="size_bytes")
        self._quotas.check_file(size_bytes, field="size_bytes")
        await self._models.check_room(scope, size_bytes, field="size_bytes")
        self._storage.require(Place.FILES, size_bytes)
        checked = rules.checked_draft(draft)
        document = None
        if draft.architecture is not None:
            parsed = await asyncio.to_thread(architectures.parse_text, draft.architecture)
            document = (
                draft.architecture.decode() if isinstance(draft.architecture, bytes) else draft.architecture,
                parsed.digest(),
            )
        now = self._clock.now()
        version = ModelVersion(
            id=ids.new("ver"),
            model_id=found.id,
            model_name=found.name,
            version=0,
            status=ModelVersionStatus.UPLOADING,
            status_reason=None,
            description=checked.description,
            tags=checked.tags,
            metrics=checked.metrics,
            file=None,
            inputs=None,
            outputs=None,
            run_id=checked.run_id,
            created_by_id=scope.principal.user_id,
            created_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
        )
        upload = Upload(version.id, draft.sha256.lower(), size_bytes, 0, now + self._idle)
        name = file_name(draft.file_name, "")
        token = ClientToken.of(
            client_token,
            "model_version_create",
            model=found.id,
            sha256=upload.sha256,
            size_bytes=size_bytes,
            file_name=name,
            architecture=None if document is None else document[1],
            description=checked.description,
            tags={tag.key: tag.value for tag in checked.tags},
            metrics=checked.metrics,
            run_id=checked.run_id,
        )
        self._storage.take(len(document[0]) if document is not None else 0)
        version = replace(
            version, metrics=await self._carried.onto(scope, checked.run_id, checked.metrics)
        )  # as with an upload in one request
        return await self._uploads.reserve(
            scope,
            version,
            upload,
            file_name=name,
            architecture=None if document is None else document[0],
            token=token,
            now=now,
        )

    async def of_versions(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, Upload]:
        """The uploads of those versions that are UPLOADING."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._uploads.of_versions(scope, version_ids, self._idle)

    async def progress(self, scope: Scope, model: str, version: str) -> Progress:
        """How far a version is. Raises NotFound or BadUserInput."""
        found = await self._models.get_version(scope, model, version)
        upload = (await self.of_versions(scope, [found.id])).get(found.id)
        if upload is not None:
            return Progress(found, upload.received, upload.size_bytes, upload.sha256)
        # It may have been completed between the two.
        found = await self._models.get_version(scope, model, version)
        if found.file is not None:
            return Progress(found, found.file.size_bytes, found.file.size_bytes, found.file.sha256)
        return Progress(found, 0, None, None)

    async def receive(
        self, scope: Scope, model: str, version: str, *, offset: int, announced: int | None
    ) -> AbstractAsyncContextManager[Piece]:
        """Room for a piece that begins at `offset`; `announced` is the length the client claims, if it does.

        Raises NotFound, BadUserInput, WrongOffset, Conflict for a REJECTED version or while another request sends,
        PayloadTooLarge for more than was declared, and Unavailable where there is no room: before a byte is read.
        """
        await self._models.writable(scope, model)
        known = await self.progress(scope, model, version)
        if known.version.status is ModelVersionStatus.REJECTED:
            raise Conflict(f"this version was rejected: {known.version.status_reason}; reserve another one")
        if known.size_bytes is None or known.sha256 is None:
            raise NotFound("there is no such model version", field="version")
        if offset != known.received:
            raise WrongOffset(known.received)
        if announced is not None and announced > known.size_bytes - offset:
            raise PayloadTooLarge(
                f"{announced} bytes from {offset} on; {known.size_bytes} were declared in all", field="size_bytes"
            )
        if known.version.status is ModelVersionStatus.UPLOADING:
            self._storage.require(Place.FILES, announced or 0)
        return self._receive(scope, known.version, Upload(known.version.id, known.sha256, known.size_bytes, offset))

    @asynccontextmanager
    async def _receive(self, scope: Scope, version: ModelVersion, upload: Upload) -> AsyncIterator[Piece]:
        if version.status is ModelVersionStatus.READY:  # sent again, because the answer to the last piece was lost
            yield Piece(self, scope, version, upload, None)
            return
        resumed = self._blobs.resume(
            upload.version_id, offset=upload.received, size_bytes=upload.size_bytes, sha256=upload.sha256
        )
        async with resumed as file:
            piece = Piece(self, scope, version, upload, file)
            # Whoever sent before may have gone on until this request had the file to itself.
            now_stored = (await self._uploads.of_versions(scope, [version.id], self._idle)).get(version.id)
            if now_stored is None or now_stored.received != upload.received:
                raise WrongOffset(upload.size_bytes if now_stored is None else now_stored.received)
            try:
                yield piece
            except BaseException:
                with suppress(DomainError):
                    await piece.save()  # whatever ended it: what has come is kept
                raise

    # --- for pieces ------------------------------------------------------------------------------

    async def advance(self, version_id: str, before: int, after: int) -> None:
        """Notes that more is durable. Raises Conflict when the upload went away or somebody else moved it."""
        if not await self._uploads.advance(version_id, before, after, self._clock.now()):
            raise Conflict("the version was deleted, or its upload was given up, meanwhile")

    async def complete(self, scope: Scope, version: ModelVersion, upload: Upload, file: ReceivedFile) -> ModelVersion:
        """Checks whole weights as those of a single request are checked, and makes the version READY or REJECTED.

        Raises BadUserInput with the reason of a rejection.
        """
        name, architecture = await self._uploads.declared(scope, version.id)
        try:
            if file.sha256 != upload.sha256:
                raise BadUserInput(f"the bytes received have the digest {file.sha256}", field="sha256")
            inspection, document = await asyncio.to_thread(rules.check_upload, file, name, architecture)
        except BadUserInput as problem:
            if await self._uploads.reject([version.id], problem.message):
                await self._blobs.forget(version.id)
            raise
        stored = stored_file(file, name, inspection)
        return await self._uploads.complete(
            scope, version, stored, table=inspection.table, architecture=document, place=file.place
        )

    async def current(self, scope: Scope, version_id: str) -> ModelVersion:
        """A version as it is now. Raises NotFound."""
        found = (await self._models.versions_by_ids(scope, [version_id])).get(version_id)
        if found is None:
            raise NotFound("there is no such model version", field="version")
        return found


class Piece:
    """One request's part of the bytes."""

    def __init__(
        self, uploads: Uploads, scope: Scope, version: ModelVersion, upload: Upload, file: ResumedFile | None
    ) -> None:
        self._uploads = uploads
        self._scope = scope
        self._version = version
        self._upload = upload
        self._file = file
        self._saved = self._received = upload.received
        self._clock = asyncio.get_running_loop().time
        self._saved_at = self._clock()

    @property
    def size_bytes(self) -> int:
        """How many bytes the whole has."""
        return self._upload.size_bytes

    @property
    def sha256(self) -> str:
        """The digest that was declared."""
        return self._upload.sha256

    @property
    def stored(self) -> int:
        """How many bytes of the whole are durable."""
        return self._saved

    async def write(self, data: bytes) -> None:
        """Appends bytes. Raises PayloadTooLarge for more than was declared, and Unavailable when the disk is full."""
        self._received += len(data)
        if self._received > self._upload.size_bytes or self._file is None:
            raise PayloadTooLarge(f"more than the {self._upload.size_bytes} bytes declared", field="size_bytes")
        await self._file.write(data)
        due = self._received - self._saved >= SAVE_BYTES or self._clock() - self._saved_at >= SAVE_SECONDS
        if due:
            await self.save()

    async def save(self) -> None:
        """Makes durable what has come, and notes it."""
        if self._file is None:
            return
        before, after = self._saved, await self._file.save()
        if after > before:
            await self._uploads.advance(self._upload.version_id, before, after)
            self._saved = after
        self._saved_at = self._clock()

    async def end(self) -> ModelVersion | None:
        """The end of the piece: the version, when its weights are whole and sound; None when more is to come.

        Raises BadUserInput for whole weights that are refused: the version is REJECTED then.
        """
        if self._file is None:
            return await self._uploads.current(self._scope, self._version.id)
        await self.save()
        if self._saved < self._upload.size_bytes:
            return None
        return await self._uploads.complete(self._scope, self._version, self._upload, await self._file.finish())


class UploadCollector:
    """Gives up uploads that nobody went on with, and removes what they left on the disk.

    It acts for the server itself, never for a caller.
    """

    def __init__(
        self, *, uploads: UploadRepository, blobs: BlobStore, clock: Clock, idle: timedelta, every: timedelta
    ) -> None:
        self._uploads = uploads
        self._blobs = blobs
        self._clock = clock
        self._idle = idle
        self._every = every

    async def collect(self) -> int:
        """One pass; how many uploads were given up."""
        given_up = await self._uploads.idle_since(self._clock.now() - self._idle)
        count = await self._uploads.reject(given_up, "the upload was given up: nothing came for too long")
        left = await self._blobs.unfinished(min(STALE_AFTER, self._idle))
        wanted = set(await self._uploads.open(left))
        for name in left:
            if name not in wanted:
                await self._blobs.forget(name)
        return count

    async def run(self) -> None:
        """Passes for ever, the first one at once."""
        while True:
            await self.collect()
            await asyncio.sleep(self._every.total_seconds())
