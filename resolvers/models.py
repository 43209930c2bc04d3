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
from domain.models import Model, ModelVersion
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
    latest_of_model: DataLoader[str, ModelVersion | None]
    versions_of_model: DataLoader[tuple[str, PageRequest], Page[ModelVersion]]
    versions_of_run: DataLoader[tuple[str, PageRequest], Page[ModelVersion]]
    of_owner: DataLoader[tuple[str, PageRequest], Page[Model]]

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
            latest_of_model=by_key(partial(models.latest_of_models, scope)),
            versions_of_model=by_parent(of_models),
            versions_of_run=by_parent(partial(models.versions_of_runs, scope)),
            of_owner=by_parent(partial(models.of_owners, scope)),
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
) -> ModelVersion | None:
    """One version by id, or by model name and number."""
    scope = info.context.require_scope()
    return await info.context.services.models.find_version(
        scope, version_id=None if id is None else str(id), name=name, version=version
    )


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


async def created_by(parent: strawberry.Parent[ModelVersion], info: strawberry.Info[Context, None]) -> User:
    """Who uploaded it."""
    return await _user(info, parent.created_by_id)


async def _user(info: strawberry.Info[Context, None], user_id: str) -> User:
    found: User | None = await info.context.loaders.identity.users.load(user_id)
    if found is None:
        raise NotFound("that user is gone")
    return found


def model_id(given: str) -> str:
    """The id a mutation names, checked: mutations take ids, not names."""
    return ids.parse("mdl", given)


def not_null(value: T | None, field: str) -> T:
    """The value of a patch for something that cannot be cleared. Raises BadUserInput for null."""
    if value is None:
        raise BadUserInput("it cannot be cleared; leave it out to keep it", field=field)
    return value
