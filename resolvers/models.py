"""Models and versions: from fields to the use-cases and loaders. Every edge is one loader, one statement per level."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import strawberry
from strawberry.dataloader import DataLoader

from domain import ids
from domain.errors import BadUserInput, NotFound
from domain.models import Model, ModelFile, ModelVersion, ModelVersionStatus, Upload
from domain.models.aliases import ModelAlias
from domain.models.comparison import ModelVersionComparison
from domain.models.tensors import DEFAULT_TENSORS, MAX_TENSORS_AT_ONCE, StoredTensor
from domain.paging import Page, PageRequest
from resolvers.batching import by_key, by_parent
from resolvers.selection import page_of

if TYPE_CHECKING:
    from domain.access import Scope
    from domain.endpoints import Endpoint
    from domain.identity import User
    from domain.runs import Run
    from resolvers.context import Context, Services


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelLoaders:
    """Models and versions by id, and pages of them under a model, a run and a user."""

    models: DataLoader[str, Model | None]
    versions: DataLoader[str, ModelVersion | None]
    architectures: DataLoader[str, dict[str, Any] | None]
    files_beside: DataLoader[str, list[ModelFile] | None]
    uploads: DataLoader[str, Upload | None]
    latest_of_model: DataLoader[str, ModelVersion | None]
    versions_of_model: DataLoader[tuple[str, PageRequest], Page[ModelVersion]]
    versions_of_run: DataLoader[tuple[str, PageRequest], Page[ModelVersion]]
    of_owner: DataLoader[tuple[str, PageRequest], Page[Model]]
    aliases_of_model: DataLoader[str, list[ModelAlias] | None]
    tensors_of_file: DataLoader[tuple[str, PageRequest], Page[StoredTensor]]

    @classmethod
    def of(cls, services: Services, scope: Scope) -> ModelLoaders:
        """Loaders that read as `scope`."""
        models = services.models

        async def of_models(model_ids: Sequence[str], page: PageRequest) -> dict[str, Page[ModelVersion]]:
            return await models.versions_of_models(scope, model_ids, page)

        return cls(
            models=by_key(partial(models.by_ids, scope)),
            versions=by_key(partial(models.versions_by_ids, scope)),
            architectures=by_key(partial(models.architectures, scope)),
            files_beside=by_key(partial(services.model_files.beside, scope)),
            uploads=by_key(partial(services.uploads.of_versions, scope)),
            latest_of_model=by_key(partial(models.latest_of_models, scope)),
            versions_of_model=by_parent(of_models),
            versions_of_run=by_parent(partial(models.versions_of_runs, scope)),
            of_owner=by_parent(partial(models.of_owners, scope)),
            aliases_of_model=by_key(partial(services.aliases.of_models, scope)),
            tensors_of_file=by_parent(partial(services.tensors.of_files, scope)),
        )


# --- root fields ---------------------------------------------------------------------------------


async def models(
    info: strawberry.Info[Context, None],
    filter: str | None = None,  # noqa: A002 - the contract's name
    first: int | None = 50,
    after: str | None = None,
) -> Page[Model]:
    """A page of the workspace's models."""
    scope = info.context.require_scope()
    return await info.context.services.models.list(scope, page_of(info, first, after), filter=filter)


async def model(
    info: strawberry.Info[Context, None],
    id: strawberry.ID | None = None,  # noqa: A002 - the contract's name
    name: str | None = None,
) -> Model | None:
    """One model by id or name."""
    scope = info.context.require_scope()
    return await info.context.services.models.find(scope, model_id=None if id is None else str(id), name=name)


async def model_version(
    info: strawberry.Info[Context, None],
    id: strawberry.ID | None = None,  # noqa: A002 - the contract's name
    name: str | None = None,
    version: int | None = None,
    alias: str | None = None,
) -> ModelVersion | None:
    """One version by id, or by model name and number or alias."""
    scope = info.context.require_scope()
    return await info.context.services.models.find_version(
        scope, version_id=None if id is None else str(id), name=name, version=version, alias=alias
    )


async def compare(
    info: strawberry.Info[Context, None], left: strawberry.ID, right: strawberry.ID
) -> ModelVersionComparison:
    """What differs between two versions."""
    scope = info.context.require_scope()
    return await info.context.services.comparisons.compare(scope, str(left), str(right))


# --- edges ---------------------------------------------------------------------------------------


async def owner(parent: strawberry.Parent[Model], info: strawberry.Info[Context, None]) -> User:
    """Who made it."""
    return await _user(info, parent.owner_id)


def versions(
    parent: strawberry.Parent[Model],
    info: strawberry.Info[Context, None],
    first: int | None = 50,
    after: str | None = None,
) -> Awaitable[Page[ModelVersion]]:
    """Its versions, newest first."""
    return info.context.loaders.models.versions_of_model.load((parent.id, page_of(info, first, after)))


def latest_version(
    parent: strawberry.Parent[Model], info: strawberry.Info[Context, None]
) -> Awaitable[ModelVersion | None]:
    """The READY version with the highest number."""
    return info.context.loaders.models.latest_of_model.load(parent.id)


async def model_of_version(parent: strawberry.Parent[ModelVersion], info: strawberry.Info[Context, None]) -> Model:
    """The model it belongs to."""
    found = await info.context.loaders.models.models.load(parent.model_id)
    if found is None:
        raise NotFound("the model of this version is gone")
    return found


async def files(parent: strawberry.Parent[ModelVersion], info: strawberry.Info[Context, None]) -> list[ModelFile]:
    """Its weights and the files beside them."""
    beside = await info.context.loaders.models.files_beside.load(parent.id) or []
    return beside if parent.file is None else [parent.file, *beside]


async def upload(parent: strawberry.Parent[ModelVersion], info: strawberry.Info[Context, None]) -> Upload | None:
    """How far its weights are."""
    if parent.status is not ModelVersionStatus.UPLOADING:
        return None
    return await info.context.loaders.models.uploads.load(parent.id)


def architecture(
    parent: strawberry.Parent[ModelVersion], info: strawberry.Info[Context, None]
) -> Awaitable[dict[str, Any] | None]:
    """Its architecture document."""
    return info.context.loaders.models.architectures.load(parent.id)


async def run_of_version(parent: strawberry.Parent[ModelVersion], info: strawberry.Info[Context, None]) -> Run | None:
    """The run it came from."""
    return None if parent.run_id is None else await info.context.loaders.runs.runs.load(parent.run_id)


def endpoints_of_version(
    parent: strawberry.Parent[ModelVersion],
    info: strawberry.Info[Context, None],
    first: int | None = 50,
    after: str | None = None,
) -> Awaitable[Page[Endpoint]]:
    """The endpoints that serve it."""
    return info.context.loaders.endpoints.of_version.load((parent.id, page_of(info, first, after)))


async def aliases(parent: strawberry.Parent[Model], info: strawberry.Info[Context, None]) -> list[ModelAlias]:
    """The names that point at its versions."""
    return await info.context.loaders.models.aliases_of_model.load(parent.id) or []


async def aliases_of_version(
    parent: strawberry.Parent[ModelVersion], info: strawberry.Info[Context, None]
) -> list[str]:
    """The names that point at it."""
    found = await info.context.loaders.models.aliases_of_model.load(parent.model_id) or []
    return [alias.name for alias in found if alias.version_id == parent.id]


async def version_of_alias(parent: strawberry.Parent[ModelAlias], info: strawberry.Info[Context, None]) -> ModelVersion:
    """The version it points at."""
    found = await info.context.loaders.models.versions.load(parent.version_id)
    if found is None:
        raise NotFound("the version of this alias was deleted meanwhile")
    return found


def tensors(
    parent: strawberry.Parent[ModelFile],
    info: strawberry.Info[Context, None],
    first: int | None = DEFAULT_TENSORS,
    after: str | None = None,
) -> Awaitable[Page[StoredTensor]]:
    """A page of its tensors."""
    wanted = DEFAULT_TENSORS if first is None else first
    page = PageRequest.of(wanted, after, most=MAX_TENSORS_AT_ONCE)
    return info.context.loaders.models.tensors_of_file.load((parent.sha256, page))


async def created_by(parent: strawberry.Parent[ModelVersion], info: strawberry.Info[Context, None]) -> User:
    """Who uploaded it."""
    return await _user(info, parent.created_by_id)


async def _user(info: strawberry.Info[Context, None], user_id: str) -> User:
    found: User | None = await info.context.loaders.identity.users.load(user_id)
    if found is None:
        raise NotFound("that user is gone")
    return found


def model_id(given: str, *, field: str = "id") -> str:
    """The id a mutation names, checked: mutations take ids, not names."""
    return ids.parse("mdl", given, field=field)


def not_null(value: T | None, field: str) -> T:
    """The value of a patch for something that cannot be cleared. Raises BadUserInput for null."""
    if value is None:
        raise BadUserInput("it cannot be cleared; leave it out to keep it", field=field)
    return value
