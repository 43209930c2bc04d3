"""Experiments: from fields to the use-cases and loaders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import strawberry
from strawberry.dataloader import DataLoader

from domain.errors import BadUserInput, NotFound
from domain.experiments import Experiment
from domain.paging import Page
from resolvers.batching import by_key
from resolvers.selection import page_of

if TYPE_CHECKING:
    from domain.access import Scope
    from domain.identity import User
    from resolvers.context import Context, Services

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExperimentLoaders:
    """Experiments by id."""

    experiments: DataLoader[str, Experiment | None]

    @classmethod
    def of(cls, services: Services, scope: Scope) -> ExperimentLoaders:
        """Loaders that read as `scope`."""
        return cls(by_key(partial(services.experiments.by_ids, scope)))


async def experiments(
    info: strawberry.Info[Context, None],
    filter: str | None = None,  # noqa: A002 - the contract's name
    first: int | None = 50,
    after: str | None = None,
) -> Page[Experiment]:
    """A page of the workspace's experiments."""
    scope = info.context.require_scope()
    return await info.context.services.experiments.page(scope, page_of(info, first, after), filter_text=filter)


async def experiment(
    info: strawberry.Info[Context, None],
    id: strawberry.ID | None = None,  # noqa: A002 - the contract's name
    name: str | None = None,
) -> Experiment | None:
    """One experiment by id or name."""
    scope = info.context.require_scope()
    return await info.context.services.experiments.find(scope, experiment_id=None if id is None else str(id), name=name)


async def owner(parent: strawberry.Parent[Experiment], info: strawberry.Info[Context, None]) -> User:
    """Who made it."""
    found: User | None = await info.context.loaders.identity.users.load(parent.owner_id)
    if found is None:
        raise NotFound("the owner of this experiment is gone")
    return found


def not_null(value: T | None, field: str) -> T:
    """The value of a patch for something that cannot be cleared. Raises BadUserInput for null."""
    if value is None:
        raise BadUserInput("it cannot be cleared; leave it out to keep it", field=field)
    return value
