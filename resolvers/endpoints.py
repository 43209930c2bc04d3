"""Endpoints and predictions: from fields to the use-cases and loaders."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import strawberry
from strawberry.dataloader import DataLoader

from domain import ids
from domain.endpoints import Endpoint, EndpointTraffic, Prediction, PredictionRequest
from domain.endpoints.warm_ups import WarmUpReport
from domain.errors import NotFound
from domain.paging import Page, PageRequest
from resolvers.batching import by_key, by_parent
from resolvers.selection import page_of

if TYPE_CHECKING:
    from domain.access import Scope
    from domain.identity import User
    from domain.models import ModelVersion
    from resolvers.context import Context, Services


@dataclass(frozen=True, slots=True)
class EndpointLoaders:
    """Endpoints by id, pages of them under a version and a user, and the predictions of one operation."""

    endpoints: DataLoader[str, Endpoint | None]
    of_version: DataLoader[tuple[str, PageRequest], Page[Endpoint]]
    of_owner: DataLoader[tuple[str, PageRequest], Page[Endpoint]]
    predictions: DataLoader[PredictionRequest, Prediction]
    warm_ups: DataLoader[str, list[WarmUpReport] | None]

    @classmethod
    def of(cls, services: Services, scope: Scope) -> EndpointLoaders:
        """Loaders that read as `scope`."""
        endpoints = services.endpoints

        async def predict(requests: list[PredictionRequest]) -> Sequence[Prediction | BaseException]:
            return await endpoints.predict_many(scope, requests)

        return cls(
            endpoints=by_key(partial(endpoints.by_ids, scope)),
            of_version=by_parent(partial(endpoints.of_versions, scope)),
            of_owner=by_parent(partial(endpoints.of_owners, scope)),
            predictions=DataLoader(load_fn=predict, cache=False),
            warm_ups=by_key(partial(endpoints.warm_ups, scope)),
        )


# --- root fields ---------------------------------------------------------------------------------


async def endpoints(
    info: strawberry.Info[Context, None], first: int | None = 50, after: str | None = None
) -> Page[Endpoint]:
    """A page of the workspace's endpoints."""
    return await info.context.services.endpoints.list(info.context.require_scope(), page_of(info, first, after))


async def endpoint(
    info: strawberry.Info[Context, None],
    id: strawberry.ID | None = None,  # noqa: A002 - the contract's name
    name: str | None = None,
) -> Endpoint | None:
    """One endpoint by id or name."""
    scope = info.context.require_scope()
    return await info.context.services.endpoints.find(scope, endpoint_id=None if id is None else str(id), name=name)


def predict(info: strawberry.Info[Context, None], request: PredictionRequest) -> Awaitable[Prediction]:
    """A prediction; those of one operation travel together."""
    info.context.require_scope()
    return info.context.loaders.endpoints.predictions.load(request)


# --- edges ---------------------------------------------------------------------------------------


async def owner(parent: strawberry.Parent[Endpoint], info: strawberry.Info[Context, None]) -> User:
    """Who made it."""
    found: User | None = await info.context.loaders.identity.users.load(parent.owner_id)
    if found is None:
        raise NotFound("the owner of this endpoint is gone")
    return found


async def warm_ups(parent: strawberry.Parent[Endpoint], info: strawberry.Info[Context, None]) -> list[WarmUpReport]:
    """What loading its versions cost."""
    return await info.context.loaders.endpoints.warm_ups.load(parent.id) or []


def version_of_traffic(
    parent: strawberry.Parent[EndpointTraffic | WarmUpReport], info: strawberry.Info[Context, None]
) -> Awaitable[ModelVersion | None]:
    """The version that takes the share, or was measured."""
    return info.context.loaders.models.versions.load(parent.version_id)


def endpoint_id(given: str) -> str:
    """The id a mutation names, checked: mutations take ids, not names."""
    return ids.parse("end", given)
