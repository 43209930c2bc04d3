"""The use-cases of the registry: who may do what to models and versions, and in which order it is checked.

Everything about an upload is checked before anything is recorded, so a refused one changes nothing. Weights are never
loaded here, and a name sent by a client never becomes a path.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from domain import architecture as architectures
from domain import ids, names
from domain.access import Action, KeyScope, ResourceKind, Scope
from domain.clock import Clock
from domain.errors import BadUserInput, Conflict, NotFound
from domain.idempotency import ClientToken
from domain.models import rules
from domain.models.carried import CarriedMetrics
from domain.models.entities import (
    ExtraFile,
    Model,
    ModelChanges,
    ModelFile,
    ModelVersion,
    ModelVersionStatus,
    NewVersion,
    VersionChanges,
    VersionDraft,
    stored_file,
)
from domain.models.files import ModelFormat, extra_name, file_name, inspect
from domain.models.ports import BlobStore, IncomingFile, ModelRepository, ReceivedFile
from domain.models.quotas import Quotas
from domain.paging import Page, PageRequest
from domain.runs import Tag
from domain.search import parse
from domain.storage import UNLIMITED, Place, Storage

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class Models:
    """Use-cases of the registry."""

    def __init__(
        self,
        *,
        models: ModelRepository,
        blobs: BlobStore,
        carried: CarriedMetrics,
        clock: Clock,
        quotas: Quotas,
        storage: Storage = UNLIMITED,
    ) -> None:
        self._models = models
        self._blobs = blobs
        self._carried = carried
        self._clock = clock
        self._quotas = quotas
        self._storage = storage

    # --- models ----------------------------------------------------------------------------------

    async def create(
        self,
        scope: Scope,
        *,
        name: str,
        description: str | None = None,
        model_type: str | None = None,
        tags: Sequence[Tag] = (),
        client_token: str | None = None,
    ) -> Model:
        """A model without versions. Raises BadUserInput, or Conflict for a taken name."""
        scope.require(KeyScope.MODELS_WRITE)
        now = _milliseconds(self._clock.now())
        model = Model(
            ids.new("mdl"),
            names.slug(name),
            rules.description(description),
            rules.model_type(model_type),
            rules.checked_tags(tags),
            scope.principal.user_id,
            now,
            now,
        )
        token = ClientToken.of(
            client_token,
            "model_create",
            name=model.name,
            description=model.description,
            model_type=model.model_type,
            tags={tag.key: tag.value for tag in model.tags},
        )
        self._storage.take(0)
        return await self._models.create(scope, model, token)

    async def update(self, scope: Scope, model: str, changes: ModelChanges) -> Model:
        """Changes a model, given by id or name. Raises NotFound, BadUserInput, or Conflict for a taken name."""
        scope.carry(KeyScope.MODELS_WRITE)
        checked = ModelChanges()
        if "name" in changes:
            checked["name"] = names.slug(changes["name"])
        if "description" in changes:
            checked["description"] = rules.description(changes["description"])
        if "model_type" in changes:
            checked["model_type"] = rules.model_type(changes["model_type"])
        rules.checked_tag_changes(changes, checked)
        found = await self._allowed(scope, model)
        return await self._models.update(scope, found.id, checked, _milliseconds(self._clock.now()))

    async def delete(self, scope: Scope, model: str) -> str:
        """Deletes a model, given by id or name, with its versions; answers its id.

        Raises NotFound, or Conflict while an endpoint needs one of the versions.
        """
        found = await self._allowed(scope, model, Action.DELETE)
        for sha256 in await self._models.delete(scope, found.id):
            await self._blobs.release(sha256)
        return found.id

    async def find(self, scope: Scope, *, model_id: str | None = None, name: str | None = None) -> Model | None:
        """One model by id or by name, None when there is none. Raises BadUserInput unless exactly one is given."""
        scope.carry(KeyScope.MODELS_READ)
        if (model_id is None) == (name is None):
            raise BadUserInput("give either id or name", field="id")
        if model_id is not None:
            wanted = ids.parse("mdl", model_id)
            return (await self._models.by_ids(scope, [wanted])).get(wanted)
        return await self._models.by_name(scope, name) if name is not None and names.is_slug(name) else None

    async def get(self, scope: Scope, model: str) -> Model:
        """One model by id or name. Raises NotFound."""
        by_id = ids.looks_like_id(model)
        found = await (self.find(scope, model_id=model) if by_id else self.find(scope, name=model))
        if found is None:
            raise NotFound("there is no such model", field="id")
        return found

    async def list(self, scope: Scope, page: PageRequest, *, filter: str | None = None, offset: int = 0) -> Page[Model]:  # noqa: A002 - the API's word
        """The models of the workspace, newest first. Raises BadUserInput for a bad filter or cursor."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._models.page(scope, parse(filter, rules.FILTER), (filter or "").strip(), page, offset)

    async def by_ids(self, scope: Scope, model_ids: Sequence[str]) -> dict[str, Model]:
        """Those that exist and may be read, by id."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._models.by_ids(scope, model_ids)

    async def of_owners(self, scope: Scope, owner_ids: Sequence[str], page: PageRequest) -> dict[str, Page[Model]]:
        """The models of each user, newest first."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._models.of_owners(scope, owner_ids, page)

    # --- versions, read --------------------------------------------------------------------------

    async def versions_by_ids(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, ModelVersion]:
        """Those that exist and may be read, by id."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._models.versions_by_ids(scope, version_ids)

    async def versions_of_models(
        self, scope: Scope, model_ids: Sequence[str], page: PageRequest, *, offset: int = 0
    ) -> dict[str, Page[ModelVersion]]:
        """The versions of each model, highest number first. Raises NotFound for one that may not be read."""
        scope.carry(KeyScope.MODELS_READ)
        for model_id in model_ids:
            scope.require(KeyScope.MODELS_READ, model_id)
        return await self._models.versions_of_models(scope, model_ids, page, offset)

    async def versions_of_runs(
        self, scope: Scope, run_ids: Sequence[str], page: PageRequest
    ) -> dict[str, Page[ModelVersion]]:
        """The versions that came out of each run, newest first."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._models.versions_of_runs(scope, run_ids, page)

    async def latest_of_models(self, scope: Scope, model_ids: Sequence[str]) -> dict[str, ModelVersion]:
        """The READY version with the highest number of each model that has one."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._models.latest_of_models(scope, model_ids)

    async def architectures(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The architecture documents of the versions that have one."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._models.architectures(scope, version_ids)

    async def find_version(
        self,
        scope: Scope,
        *,
        version_id: str | None = None,
        name: str | None = None,
        version: int | None = None,
        alias: str | None = None,
    ) -> ModelVersion | None:
        """A version by id, or by model name and number or alias (without either the latest); None when missing."""
        scope.carry(KeyScope.MODELS_READ)
        which = [given for given in (version_id, version, alias) if given is not None]
        if (version_id is None) == (name is None) or len(which) > 1:
            raise BadUserInput("give either id, or name and perhaps version or alias", field="id")
        if version_id is not None:
            wanted = ids.parse("ver", version_id)
            return (await self._models.versions_by_ids(scope, [wanted])).get(wanted)
        model = await self.find(scope, name=name)
        if model is None:
            return None
        if alias is not None:
            return await self._models.version_by_alias(scope, model.id, alias) if names.is_slug(alias) else None
        if version is None:
            return (await self._models.latest_of_models(scope, [model.id])).get(model.id)
        return await self._models.version_by_number(scope, model.id, version)

    async def get_version(self, scope: Scope, model: str, version: str) -> ModelVersion:
        """A version by model (id or name) and number, `latest` or `@alias`. Raises NotFound or BadUserInput."""
        found = await self.get(scope, model)
        if version == "latest":
            latest = (await self._models.latest_of_models(scope, [found.id])).get(found.id)
            if latest is None:
                raise NotFound(f"model {found.name!r} has no READY version", field="version")
            return latest
        if version.startswith("@"):
            alias = version[1:]
            pointed = await self._models.version_by_alias(scope, found.id, alias) if names.is_slug(alias) else None
            if pointed is None:
                raise NotFound(f"model {found.name!r} has no such alias", field="version")
            return pointed
        if _NUMBER.fullmatch(version) is None:
            raise BadUserInput("expected a version number, 'latest' or '@alias'", field="version")
        numbered = await self._models.version_by_number(scope, found.id, int(version))
        if numbered is None:
            raise NotFound(f"model {found.name!r} has no version {version}", field="version")
        return numbered

    async def content(self, scope: Scope, model: str, version: str) -> tuple[ModelFile, str]:
        """A version's file and the path of its bytes. Raises NotFound, Conflict (none yet) or Unavailable."""
        found = await self.get_version(scope, model, version)
        if found.file is None:
            raise Conflict("this version has no file yet")
        return found.file, await self._blobs.path(found.file.sha256)

    # --- versions, written -----------------------------------------------------------------------

    async def receive(
        self, scope: Scope, model: str, *, announced: int | None
    ) -> AbstractAsyncContextManager[IncomingFile]:
        """Room for the file of a new version; `announced` is the length the client claims, if it does.

        Raises NotFound before a byte is read, PayloadTooLarge for what is announced too large or a full workspace, and
        Unavailable for what the disk has no room for.
        """
        await self._allowed(scope, model)
        if announced is not None:
            self._quotas.check_file(announced)
        await self.check_room(scope, announced or 1)
        self._storage.require(Place.FILES, announced or 0)
        self._storage.require(Place.DATABASE)
        return self._blobs.receive(limit=self._quotas.file_bytes)

    def receive_beside(self, count: int) -> AbstractAsyncContextManager[IncomingFile]:
        """Room for one more file beside the weights, of which there are `count` already. Raises Conflict."""
        self._quotas.check_files(count + 2)
        return self._blobs.receive(limit=self._quotas.file_bytes)

    async def add_version(
        self,
        scope: Scope,
        model: str,
        file: ReceivedFile,
        draft: VersionDraft,
        *,
        extras: Sequence[tuple[str, ReceivedFile]] = (),
        client_token: str | None = None,
    ) -> ModelVersion:
        """Checks a received file and registers it as the next version of a model; `extras` are the files beside it.

        Raises BadUserInput (also for a digest other than declared, a lying file, or an architecture that does not
        match it), NotFound for the model or the run, Conflict for a reused client token or too many files or versions,
        and PayloadTooLarge for a full workspace. Then nothing has changed.
        """
        scope.carry(KeyScope.MODELS_WRITE)
        if draft.sha256 is not None and _SHA256.fullmatch(draft.sha256) is None:
            raise BadUserInput("expected 64 hexadecimal digits", field="sha256")
        if draft.sha256 is not None and draft.sha256.lower() != file.sha256:
            raise BadUserInput(f"the bytes received have the digest {file.sha256}", field="sha256")
        said = rules.checked_draft(draft)
        found = await self._allowed(scope, model)
        name = file_name(draft.file_name, "")
        inspection, document = await asyncio.to_thread(rules.check_upload, file, name, draft.architecture)
        stored = stored_file(file, name, inspection)
        beside = await self._beside(stored, extras)
        version = ModelVersion(
            id=ids.new("ver"),
            model_id=found.id,
            model_name=found.name,
            version=0,
            status=ModelVersionStatus.READY,
            status_reason=None,
            description=said.description,
            tags=said.tags,
            metrics=said.metrics,
            file=stored,
            inputs=list(document.inputs) if document is not None else None,
            outputs=list(document.outputs) if document is not None else None,
            run_id=said.run_id,
            created_by_id=scope.principal.user_id,
            created_at=_milliseconds(self._clock.now()),
        )
        token = ClientToken.of(
            client_token,
            "model_version_upload",
            model=found.id,
            sha256=file.sha256,
            file_name=stored.name,
            architecture=document.digest() if document is not None else None,
            description=said.description,
            tags={tag.key: tag.value for tag in said.tags},
            metrics=said.metrics,
            run_id=said.run_id,
            **({"extras": {each.file.name: each.file.sha256 for each in beside}} if beside else {}),
        )
        self._storage.take(len(draft.architecture or ""))
        # Not part of the token: a run may measure more between two tries of the same upload.
        version = replace(version, metrics=await self._carried.onto(scope, said.run_id, said.metrics))

        async def place() -> None:
            await file.place()
            for _, extra in extras:
                await extra.place()

        return await self._models.add_version(
            scope, NewVersion(version, document, inspection.table, beside), place, token
        )

    async def update_version(self, scope: Scope, version_id: str, changes: VersionChanges) -> ModelVersion:
        """Changes what may change of a version. Raises NotFound or BadUserInput."""
        wanted = await self._allowed_version(scope, version_id, Action.WRITE)
        checked = VersionChanges()
        if "description" in changes:
            checked["description"] = rules.description(changes["description"])
        rules.checked_tag_changes(changes, checked)
        if "metrics" in changes:
            checked["metrics"] = rules.checked_metrics(changes["metrics"])
        return await self._models.update_version(scope, wanted, checked)

    async def set_architecture(self, scope: Scope, model: str, version: str, document: str | bytes) -> ModelVersion:
        """Gives a version its architecture (the text of the document), once; the same one again changes nothing.

        Raises NotFound, BadUserInput (malformed, or it does not match the weights) or Conflict (another one is set,
        or the file is not safetensors).
        """
        scope.carry(KeyScope.MODELS_WRITE)
        found = await self.get_version(scope, model, version)
        scope.require(KeyScope.MODELS_WRITE, found.model_id)
        if found.file is None or found.file.format is not ModelFormat.SAFETENSORS:
            raise Conflict("only a version with a safetensors file takes an architecture", field="architecture")
        parsed = await asyncio.to_thread(architectures.parse_text, document)
        tensors = await self._models.tensors(scope, found.id)
        if tensors is None:
            raise NotFound("there is no such model version", field="version")
        parsed.check_weights(rules.table_of(tensors))
        self._storage.take(len(document))
        return await self._models.set_architecture(scope, found.id, parsed)

    async def delete_version(self, scope: Scope, version_id: str) -> str:
        """Deletes a version; answers its id. Raises NotFound, or Conflict while an endpoint needs it."""
        wanted = await self._allowed_version(scope, version_id, Action.DELETE)
        for sha256 in await self._models.delete_version(scope, wanted):
            await self._blobs.release(sha256)
        return wanted

    async def delete_numbered_version(self, scope: Scope, model: str, number: str) -> None:
        """Deletes the version of a model (id or name) that has this number.

        `latest` and aliases are refused, because a request sent twice would delete two versions. Raises NotFound,
        BadUserInput, or Conflict while an endpoint needs it.
        """
        scope.carry(KeyScope.MODELS_WRITE)
        if _NUMBER.fullmatch(number) is None:
            raise BadUserInput("name the version to delete by its number", field="version")
        found = await self.get_version(scope, model, number)
        await self.delete_version(scope, found.id)

    # --- inside ----------------------------------------------------------------------------------

    async def writable(self, scope: Scope, model: str) -> Model:
        """The model, by id or name, to which versions may be added. Raises BadUserInput, NotFound, Forbidden."""
        return await self._allowed(scope, model)

    async def check_room(self, scope: Scope, size: int, *, field: str = "file") -> None:
        """Raises PayloadTooLarge where the workspace has no room for so many bytes; the last word is the database's."""
        if self._quotas.workspace_bytes is not None:
            self._quotas.check_workspace(await self._models.used(scope), size, field=field)

    async def _beside(self, weights: ModelFile, extras: Sequence[tuple[str, ReceivedFile]]) -> tuple[ExtraFile, ...]:
        """The files beside the weights, inspected. Raises BadUserInput."""
        found: tuple[ExtraFile, ...] = ()
        for name, extra in extras:
            if name in {weights.name, *(each.file.name for each in found)}:
                raise BadUserInput(f"two files are called {name!r}", field="files")
            inspection = await asyncio.to_thread(inspect, extra, extra_name(name, field="files"), field="files")
            found = (*found, ExtraFile(stored_file(extra, name, inspection), inspection.table))
        return found

    async def _allowed(self, scope: Scope, model: str, action: Action = Action.WRITE) -> Model:
        """The model, by id or name, with which this may be done. Raises BadUserInput, NotFound, Forbidden."""
        scope.carry(KeyScope.MODELS_WRITE)
        found = await self.get(scope, model)
        scope.require(KeyScope.MODELS_WRITE, found.id, action=action)
        return found

    async def _allowed_version(self, scope: Scope, version_id: str, action: Action) -> str:
        """The canonical id of a version with whose model this may be done. Raises as `_allowed`."""
        scope.carry(KeyScope.MODELS_WRITE)
        wanted = ids.parse("ver", version_id)
        if scope.reach(ResourceKind.MODELS).whole and scope.reach(ResourceKind.MODELS, action).whole:
            return wanted
        found = (await self._models.versions_by_ids(scope, [wanted])).get(wanted)
        if found is None:
            raise NotFound("there is no such model version", field="id")
        scope.require(KeyScope.MODELS_WRITE, found.model_id, action=action)
        return wanted


def _milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
