"""The part of the graph about experiments."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from domain import experiments
from domain.patch import KEEP
from resolvers import experiments as resolve
from resolvers import runs as resolve_runs
from schema.node import Node
from schema.orders import RunOrder, orders
from schema.paging import Connection

if TYPE_CHECKING:
    from resolvers.context import Context
    from schema.identity import User
    from schema.runs import Run


def _runs(
    parent: strawberry.Parent[experiments.Experiment],
    info: strawberry.Info[Context, None],
    *,
    filter: str | None = None,  # noqa: A002 - the contract's name
    order_by: list[RunOrder] | None = None,
    archived: bool = False,
    first: int | None = 50,
    after: str | None = None,
) -> Awaitable[Any]:
    wanted = resolve_runs.request(
        info, first=first, after=after, filter_text=filter, order=orders(order_by), archived=archived
    )
    return resolve_runs.of_experiment(parent, info, wanted)


@strawberry.type
class Experiment(Node):
    number: int
    name: str
    description: str | None
    archived: bool
    created_at: datetime
    updated_at: datetime
    owner: Annotated[Annotated[User, strawberry.lazy("schema.identity")], strawberry.field(resolver=resolve.owner)]
    runs: Annotated[
        Connection[Annotated[Run, strawberry.lazy("schema.runs")]],
        strawberry.field(resolver=_runs),
    ]

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, experiments.Experiment)


@strawberry.input
class ExperimentCreateInput:
    name: str
    description: str | None = None
    client_token: str | None = None


@strawberry.input
class ExperimentUpdateInput:
    id: strawberry.ID
    name: Maybe[str | None] = None
    description: Maybe[str | None] = None


@strawberry.input
class ExperimentIdInput:
    id: strawberry.ID


async def _create(
    info: strawberry.Info[Context, None], given: Annotated[ExperimentCreateInput, strawberry.argument(name="input")]
) -> Any:
    context = info.context
    return await context.services.experiments.create(
        context.require_scope(),
        name=given.name,
        description=given.description,
        client_token=given.client_token,
    )


async def _update(
    info: strawberry.Info[Context, None], given: Annotated[ExperimentUpdateInput, strawberry.argument(name="input")]
) -> Any:
    context = info.context
    return await context.services.experiments.update(
        context.require_scope(),
        str(given.id),
        name=KEEP if given.name is None else resolve.not_null(given.name.value, "name"),
        description=KEEP if given.description is None else given.description.value,
    )


async def _delete(
    info: strawberry.Info[Context, None], given: Annotated[ExperimentIdInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.experiments.delete(info.context.require_scope(), str(given.id))


async def _restore(
    info: strawberry.Info[Context, None], given: Annotated[ExperimentIdInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.experiments.restore(info.context.require_scope(), str(given.id))


@strawberry.type
class ExperimentQuery:
    experiments: Annotated[Connection[Experiment], strawberry.field(resolver=resolve.experiments)]
    experiment: Annotated[Experiment | None, strawberry.field(resolver=resolve.experiment)]


@strawberry.type
class ExperimentMutation:
    experiment_create: Annotated[Experiment, strawberry.mutation(resolver=_create)]
    experiment_update: Annotated[Experiment, strawberry.mutation(resolver=_update)]
    experiment_delete: Annotated[Experiment, strawberry.mutation(resolver=_delete)]
    experiment_restore: Annotated[Experiment, strawberry.mutation(resolver=_restore)]
