"""Files of a version beside its weights: a tokenizer, labels, a card.

They may be added as long as the version is not REJECTED, and are never changed, replaced or taken away: who read a name
once will read the same bytes under it for as long as the version is there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from domain.access import KeyScope, Scope
from domain.clock import Clock
from domain.errors import BadUserInput, Conflict, NotFound
from domain.models.entities import ExtraFile, ModelFile, ModelVersion, ModelVersionStatus, file_url, stored_file
from domain.models.files import extra_name, inspect
from domain.models.ports import BlobStore, FileRepository, ReceivedFile
from domain.models.registry import Models
from domain.storage import UNLIMITED, Storage

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class ModelFiles:
    """Use-cases of the files of a version, its weights among them where they are read."""

    def __init__(
        self, *, models: Models, files: FileRepository, blobs: BlobStore, clock: Clock, storage: Storage = UNLIMITED
    ) -> None:
        self._models = models
        self._files = files
        self._blobs = blobs
        self._clock = clock
        self._storage = storage

    async def beside(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, list[ModelFile]]:
        """The files beside the weights of those versions that have some, by name."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._files.of_versions(scope, version_ids)

    async def of_version(self, scope: Scope, model: str, version: str) -> list[ModelFile]:
        """All files of a version: the weights, when there are any, then the others by name. Raises NotFound."""
        found = await self._models.get_version(scope, model, version)
        beside = (await self.beside(scope, [found.id])).get(found.id, [])
        return beside if found.file is None else [found.file, *beside]

    async def content(self, scope: Scope, model: str, version: str, name: str) -> tuple[ModelFile, str]:
        """A file of a version by name, its weights too, and the path of its bytes. Raises NotFound or Unavailable."""
        for file in await self.of_version(scope, model, version):
            if file.name == name:
                return file, await self._blobs.path(file.sha256)
        raise NotFound("the version has no file of that name", field="name")

    async def addable(self, scope: Scope, model: str, version: str, name: str) -> ModelVersion:
        """The version that may take one more file of that name, as far as it can be told before the bytes are there.

        Raises NotFound, BadUserInput, Forbidden, or Conflict for a REJECTED version.
        """
        extra_name(name)
        await self._models.writable(scope, model)
        found = await self._models.get_version(scope, model, version)
        if found.status is ModelVersionStatus.REJECTED:
            raise Conflict("this version was rejected and takes no files")
        return found

    async def add(
        self, scope: Scope, version: ModelVersion, name: str, file: ReceivedFile, *, sha256: str | None = None
    ) -> ModelFile:
        """Adds a received file to a version.

        The same bytes under the same name change nothing. Raises BadUserInput (also for another digest than declared
        and a lying safetensors file), Conflict for other bytes under a name that is taken or too many files,
        PayloadTooLarge for a full workspace, and NotFound for a version that is gone.
        """
        check_digest(file, sha256)
        inspection = await asyncio.to_thread(inspect, file, extra_name(name))
        stored = replace(
            stored_file(file, name, inspection), download_url=file_url(version.model_id, version.version, name)
        )
        self._storage.take(0)
        extra = ExtraFile(stored, inspection.table)
        await self._files.add(scope, version.id, extra, file.place, self._clock.now())
        return stored


def check_digest(file: ReceivedFile, declared: str | None) -> None:
    """Raises BadUserInput unless the bytes have the digest that was declared, if one was."""
    if declared is None:
        return
    if _SHA256.fullmatch(declared) is None:
        raise BadUserInput("expected 64 hexadecimal digits", field="sha256")
    if declared.lower() != file.sha256:
        raise BadUserInput(f"the bytes received have the digest {file.sha256}", field="sha256")
