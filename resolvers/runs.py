"""Runs: from fields to the use-cases and loaders. Every edge of a run is one loader, so one statement per level."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import strawberry
from strawberry.dataloader import DataLoader

from domain import ids
from domain.errors import NotFound
from domain.logs import LogLevel, LogsRequest
from domain.metrics import KeysRequest, MetricStream, SeriesAxis, SeriesRequest, SummariesRequest
from domain.paging import Page, PageRequest
from domain.runs import Run, RunChange, RunOrder, RunsRequest
from resolvers.batching import by_key, by_parent, for_several, under
from resolvers.selection import page_of, wants_total

if TYPE_CHECKING:
    from domain.access import Scope
    from domain.experiments import Experiment
    from domain.identity import User
    from resolvers.context import Context, Services


class SortDirection(Enum):
    """Which way a list is sorted."""

    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True, slots=True)
class Deleted:
    """The id of something that is gone for good."""

    id: str


@dataclass(frozen=True, slots=True)
class RunsChanged:
    """The ids of the runs that a bulk change changed."""

    ids: list[str]


@dataclass(frozen=True, slots=True)
class RunLoaders:
    """Runs by id, and pages of runs under a run, an experiment and a user."""

    runs: DataLoader[str, Run | None]
    children: DataLoader[tuple[str, RunsRequest], Page[Run]]
    of_experiment: DataLoader[tuple[str, RunsRequest], Page[Run]]
    of_owner: DataLoader[tuple[str, PageRequest], Page[Run]]

    @classmethod
    def of(cls, services: Services, scope: Scope) -> RunLoaders:
        """Loaders that read as `scope`."""
        runs = services.runs

        async def of_owners(user_ids: list[str], page: PageRequest) -> dict[str, Page[Run]]:
            return await runs.of_owners(scope, user_ids, RunsRequest(page=page, total=page.total))

        return cls(
            runs=by_key(partial(runs.by_ids, scope)),
            children=by_parent(partial(runs.children, scope)),
            of_experiment=by_parent(partial(runs.of_experiments, scope)),
            of_owner=by_parent(of_owners),
        )


def request(
    info: strawberry.Info[Context, None],
    *,
    first: int | None,
    after: str | None,
    filter_text: str | None = None,
    order: Sequence[tuple[str, SortDirection]] = (),
    archived: bool = False,
    experiment_id: str | None = None,
) -> RunsRequest:
    """The arguments of a list of runs; the total is counted only when it is selected."""
    return RunsRequest(
        page=PageRequest.of(first, after),
        filter=filter_text,
        order=tuple(RunOrder(field, direction is SortDirection.DESC) for field, direction in order),
        archived=archived,
        experiment_id=experiment_id,
        total=wants_total(info),
    )


# --- root fields -------------------------------------------------------------------------------------


async def runs(info: strawberry.Info[Context, None], wanted: RunsRequest) -> Page[Run]:
    """A page of the workspace's runs."""
    return await info.context.services.runs.page(info.context.require_scope(), wanted)


async def run(info: strawberry.Info[Context, None], id: strawberry.ID) -> Run | None:  # noqa: A002 - the contract's name
    """One run by id."""
    info.context.require_scope()
    return await info.context.loaders.runs.runs.load(ids.parse("run", str(id)))


async def run_updated(info: strawberry.Info[Context, None], run_id: strawberry.ID) -> AsyncGenerator[Run, None]:
    """The run as it is, then after each change. Its edges are loaded afresh for each message."""
    context = info.context
    async with aclosing(context.services.runs.updates(context.require_scope(), str(run_id))) as updates:
        async for found in updates:
            # A cached property: the next message gets loaders that have seen nothing yet.
            context.__dict__.pop("loaders", None)
            yield found


async def runs_updated(
    info: strawberry.Info[Context, None], filter_text: str | None, experiment_id: str | None
) -> AsyncGenerator[RunChange, None]:
    """What happens to a list of runs. Edges are loaded afresh for each message."""
    context = info.context
    changes = context.services.runs.list_updates(
        context.require_scope(), filter_text=filter_text, experiment_id=experiment_id
    )
    async with aclosing(changes):
        async for change in changes:
            context.__dict__.pop("loaders", None)
            yield change


# --- edges -------------------------------------------------------------------------------------------


async def owner(parent: strawberry.Parent[Run], info: strawberry.Info[Context, None]) -> User:
    """Who made it."""
    found: User | None = await info.context.loaders.identity.users.load(parent.owner_id)
    if found is None:
        raise NotFound("the owner of this run is gone")
    return found


async def experiment(parent: strawberry.Parent[Run], info: strawberry.Info[Context, None]) -> Experiment:
    """The experiment it belongs to."""
    found = await info.context.loaders.experiments.experiments.load(parent.experiment_id)
    if found is None:
        raise NotFound("the experiment of this run is gone")
    return found


async def parent_run(parent: strawberry.Parent[Run], info: strawberry.Info[Context, None]) -> Run | None:
    """The run it is nested under."""
    return None if parent.parent_id is None else await info.context.loaders.runs.runs.load(parent.parent_id)


def children(
    parent: strawberry.Parent[Run],
    info: strawberry.Info[Context, None],
    first: int | None = 50,
    after: str | None = None,
) -> Awaitable[Page[Run]]:
    """The runs nested under it."""
    return info.context.loaders.runs.children.load((parent.id, request(info, first=first, after=after)))


def of_experiment(
    parent: Experiment, info: strawberry.Info[Context, None], wanted: RunsRequest
) -> Awaitable[Page[Run]]:
    """The runs of an experiment."""
    return info.context.loaders.runs.of_experiment.load((parent.id, wanted))


@for_several
def metrics(
    parent: strawberry.Parent[Run],
    info: strawberry.Info[Context, None],
    keys: list[str] | None = None,
    first: int = 200,
    stream: MetricStream = MetricStream.METRICS,
) -> Awaitable[Any]:
    """Summaries of its metrics."""
    return under(info.context.loaders.metrics.summaries, parent, SummariesRequest.of(keys, first, stream))


def metric_keys(
    parent: strawberry.Parent[Run],
    info: strawberry.Info[Context, None],
    first: int | None = 200,
    after: str | None = None,
    stream: MetricStream = MetricStream.METRICS,
) -> Awaitable[Any]:
    """A page of its metric keys."""
    return info.context.loaders.metrics.keys.load((parent.id, KeysRequest.of(first, after, stream)))


def series(
    run_of: Run,
    info: strawberry.Info[Context, None],
    *,
    keys: list[str] | None,
    points: int,
    axis: SeriesAxis,
    start: float | None,
    end: float | None,
    stream: MetricStream,
) -> Awaitable[Any]:
    """Its metrics as columns."""
    wanted = SeriesRequest.of(keys, points, axis, start=start, end=end, stream=stream)
    return info.context.loaders.metrics.series.load((run_of.id, wanted))


def logs(
    parent: strawberry.Parent[Run],
    info: strawberry.Info[Context, None],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    level: LogLevel | None = None,
) -> Awaitable[Any]:
    """A page of its log."""
    wanted = LogsRequest.of(first, after, level, last=last, before=before)
    return info.context.loaders.logs.lines.load((parent.id, wanted))


def model_versions(
    parent: strawberry.Parent[Run],
    info: strawberry.Info[Context, None],
    first: int | None = 50,
    after: str | None = None,
) -> Awaitable[Any]:
    """The model versions that came out of it."""
    return info.context.loaders.models.versions_of_run.load((parent.id, page_of(info, first, after)))
