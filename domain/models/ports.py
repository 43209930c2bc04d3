"""What the registry needs from the outside: a place for rows and a place for bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol

from domain.access import Scope
from domain.architecture import Architecture
from domain.idempotency import ClientToken
from domain.models.at_rest import FileBytes
from domain.models.entities import (
    ExtraFile,
    Model,
    ModelChanges,
    ModelFile,
    ModelVersion,
    NewVersion,
    Upload,
    VersionChanges,
)
from domain.paging import Page, PageRequest
from domain.safetensors import TensorTable
from domain.search import Expression


class ReceivedFile(FileBytes, Protocol):
    """An uploaded file, whole and on disk, not yet in the store."""

    @property
    def sha256(self) -> str:
        """Digest of its bytes, in lower-case hexadecimal."""
        ...

    async def place(self) -> None:
        """Moves it into the store, durably. The same bytes may be there already."""
        ...


class IncomingFile(Protocol):
    """A file that is arriving."""

    async def write(self, data: bytes) -> None:
        """Appends bytes. Raises PayloadTooLarge beyond the limit and Unavailable when the disk is full."""
        ...

    async def finish(self) -> ReceivedFile:
        """Makes the bytes durable; nothing may be written afterwards."""
        ...


class ResumedFile(IncomingFile, Protocol):
    """A file that arrives in pieces."""

    async def save(self) -> int:
        """Makes durable what was written, as far as the store can; how many bytes of the whole file that is."""
        ...


class BlobStore(Protocol):
    """Files by the SHA-256 of their bytes."""

    def receive(self, *, limit: int) -> AbstractAsyncContextManager[IncomingFile]:
        """Room for one upload of at most `limit` bytes. On leaving, whatever was not placed is gone."""
        ...

    def resume(
        self, name: str, *, offset: int, size_bytes: int, sha256: str
    ) -> AbstractAsyncContextManager[ResumedFile]:
        """The rest of a file of `size_bytes` from `offset` on, up to which it was saved under this name before.

        On leaving, what was saved or placed stays. `sha256` is what was declared, and is not checked here. Raises
        Conflict while another caller has the name, and Unavailable when what was saved is not here.
        """
        ...

    async def forget(self, name: str) -> None:
        """Removes what was saved under a name. Unknown: nothing to do."""
        ...

    async def unfinished(self, idle: timedelta) -> list[str]:
        """The names under which something was saved, but nothing within `idle`."""
        ...

    async def path(self, sha256: str) -> str:
        """Where the bytes are on this machine. Raises Unavailable when they are not here."""
        ...

    async def release(self, sha256: str) -> None:
        """Starts the grace period of a file that may have lost its last reference."""
        ...

    async def expired(self, grace: timedelta) -> list[str]:
        """Digests of the files that nobody placed or released within `grace`."""
        ...

    async def remove(self, sha256: str) -> None:
        """Removes the file; readers that have it open keep it. Unknown: nothing to do."""
        ...


class ModelRepository(Protocol):
    """Models and versions, read and written within what the scope may read; each call is one atomic unit.

    Of a run that may not be read, a version does not tell.
    """

    async def create(self, scope: Scope, model: Model, token: ClientToken | None) -> Model:
        """Raises Conflict for a taken name."""
        ...

    async def update(self, scope: Scope, model_id: str, changes: ModelChanges, now: datetime) -> Model:
        """Raises NotFound, or Conflict for a taken name."""
        ...

    async def delete(self, scope: Scope, model_id: str) -> list[str]:
        """Digests that may have lost their last reference. Raises NotFound, or Conflict when an endpoint needs it."""
        ...

    async def by_ids(self, scope: Scope, model_ids: Sequence[str]) -> dict[str, Model]: ...

    async def by_name(self, scope: Scope, name: str) -> Model | None: ...

    async def page(
        self, scope: Scope, where: Expression | None, text: str, page: PageRequest, offset: int = 0
    ) -> Page[Model]:
        """Newest first. `text` is the filter as written: cursors are bound to it."""
        ...

    async def of_owners(self, scope: Scope, owner_ids: Sequence[str], page: PageRequest) -> dict[str, Page[Model]]: ...

    async def add_version(
        self,
        scope: Scope,
        new: NewVersion,
        place: Callable[[], Awaitable[None]],
        token: ClientToken | None,
    ) -> ModelVersion:
        """Numbers and records a version. `place` is awaited once its blob cannot be collected any more.

        Raises NotFound for a model or a run that is not in the workspace.
        """
        ...

    async def update_version(self, scope: Scope, version_id: str, changes: VersionChanges) -> ModelVersion:
        """Raises NotFound."""
        ...

    async def set_architecture(self, scope: Scope, version_id: str, document: Architecture) -> ModelVersion:
        """Raises NotFound, or Conflict when the version has another one."""
        ...

    async def delete_version(self, scope: Scope, version_id: str) -> list[str]:
        """As `delete`."""
        ...

    async def versions_by_ids(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, ModelVersion]: ...

    async def version_by_number(self, scope: Scope, model_id: str, number: int) -> ModelVersion | None: ...

    async def version_by_alias(self, scope: Scope, model_id: str, alias: str) -> ModelVersion | None: ...

    async def versions_of_models(
        self, scope: Scope, model_ids: Sequence[str], page: PageRequest, offset: int = 0
    ) -> dict[str, Page[ModelVersion]]:
        """Highest number first."""
        ...

    async def versions_of_runs(
        self, scope: Scope, run_ids: Sequence[str], page: PageRequest
    ) -> dict[str, Page[ModelVersion]]:
        """Newest first."""
        ...

    async def latest_of_models(self, scope: Scope, model_ids: Sequence[str]) -> dict[str, ModelVersion]:
        """The READY version with the highest number, where there is one."""
        ...

    async def architectures(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, dict[str, Any]]: ...

    async def tensors(self, scope: Scope, version_id: str) -> list[list[Any]] | None:
        """`[name, dtype, shape]` of every tensor of a safetensors file."""
        ...

    async def used(self, scope: Scope) -> int:
        """Bytes of all files of the workspace, each counted once, and of those that were reserved."""
        ...

    async def unreferenced(self, digests: Sequence[str]) -> list[str]:
        """Those of the digests that no version of any workspace has."""
        ...

    async def collect(self, sha256: str, remove: Callable[[], Awaitable[None]]) -> bool:
        """Awaits `remove` if no version of any workspace has these bytes, while none can be added."""
        ...


class UploadRepository(Protocol):
    """Uploads in pieces, and the versions they are to become; each call is one atomic unit."""

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
        """Numbers and records an UPLOADING version.

        Raises NotFound for the model or run, Conflict and PayloadTooLarge for quotas.
        """
        ...

    async def of_versions(self, scope: Scope, version_ids: Sequence[str], idle: timedelta) -> dict[str, Upload]:
        """Of those that are UPLOADING."""
        ...

    async def declared(self, scope: Scope, version_id: str) -> tuple[str, str | None]:
        """The name and the architecture that were given with the reservation. Raises NotFound."""
        ...

    async def advance(self, version_id: str, before: int, after: int, now: datetime) -> bool:
        """Notes that so much is durable, if `before` is what was noted last; whether it was."""
        ...

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
        """Makes an UPLOADING version READY; one that is READY already is answered as it is.

        Raises NotFound, or Conflict for one that was REJECTED.
        """
        ...

    async def reject(self, version_ids: Sequence[str], reason: str) -> int:
        """Makes those that are UPLOADING REJECTED; how many those were."""
        ...

    async def idle_since(self, before: datetime) -> list[str]:
        """Versions, a bounded number of them, whose uploads nobody has gone on with since then."""
        ...

    async def open(self, version_ids: Sequence[str]) -> list[str]:
        """Those that are UPLOADING, of any workspace."""
        ...


class FileRepository(Protocol):
    """The files of versions beside their weights."""

    async def of_versions(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, list[ModelFile]]:
        """Of those that have some, by name."""
        ...

    async def add(
        self,
        scope: Scope,
        version_id: str,
        extra: ExtraFile,
        place: Callable[[], Awaitable[None]],
        now: datetime,
    ) -> None:
        """Adds a file, unless the same one is there already. `place` as in `ModelRepository.add_version`.

        Raises NotFound, Conflict (the name is taken, too many files, a REJECTED version) or PayloadTooLarge.
        """
        ...
