"""What the use-cases of runs need of the place where runs are kept, and what they hand to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.access import Scope
from domain.idempotency import ClientToken
from domain.paging import Page
from domain.runs.entity import Moment, Run, RunStatus
from domain.runs.listing import RunListing, RunParents
from domain.runs.values import JsonValue, Param, Tag


@dataclass(frozen=True, slots=True)
class ExperimentChoice:
    """The experiment of a new run: one by id, or the living one of that name, made as `new_id` when missing."""

    id: str | None
    name: str | None
    new_id: str


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run is made of, all of it checked."""

    id: str
    name: str
    experiment: ExperimentChoice
    status: RunStatus
    model_type: str | None
    config: Mapping[str, JsonValue] | None
    params: tuple[Param, ...]
    tags: tuple[Tag, ...]
    notes: str | None
    parent_id: str | None
    created_at: datetime
    config_from: str | None = None
    """The run that tells the model type and the configuration where they are None."""


class RunRepository(Protocol):
    """Where runs are kept. Each method is one atomic unit and sees only what the scope may read.

    Of a parent that may not be read, a run does not tell.
    """

    async def create(self, scope: Scope, new: NewRun, token: ClientToken | None, at: Moment) -> Run:
        """Makes the run, or answers the one that the token made before.

        Raises NotFound (its experiment, parent or `config_from`, naming the field) and
        Conflict (an archived one, or the token).
        """
        ...

    async def change(self, scope: Scope, run_id: str, at: Moment, decide: Callable[[Run], Run]) -> tuple[Run, bool]:
        """Locks the run, lets `decide` answer what it becomes, and keeps that; whether anything changed.

        `decide` may change everything but id, owner, parent and creation time. Raises NotFound, and what it raises.
        """
        ...

    async def change_many(
        self, scope: Scope, run_ids: Sequence[str], at: Moment, decide: Callable[[Run], Run]
    ) -> list[str]:
        """Like `change`, for all of the runs or none: the ids of those that changed, each once, in the order given.

        Whatever is raised names the first run it is about, by `ids[place]`.
        """
        ...

    async def by_ids(self, scope: Scope, run_ids: Sequence[str], at: Moment) -> dict[str, Run]:
        """Those that exist and may be read, archived ones included."""
        ...

    async def page(self, scope: Scope, wanted: RunListing, at: Moment) -> Page[Run]:
        """One page of the workspace's runs."""
        ...

    async def pages(self, scope: Scope, parents: RunParents, wanted: RunListing, at: Moment) -> dict[str, Page[Run]]:
        """One page under each parent, for all of them at once; an empty page where there is nothing."""
        ...

    async def marks(self, scope: Scope, wanted: RunListing, at: Moment, *, most: int) -> dict[str, str]:
        """The runs that a list holds, whatever its page, at most `most`: id, and a mark that changes with the run."""
        ...

    async def standing(
        self, scope: Scope, wanted: RunListing, run_ids: Sequence[str], at: Moment
    ) -> dict[str, str | None]:
        """Those of the runs that exist: the mark of those that the list holds, None for the others."""
        ...

    async def mark_purged(self, scope: Scope, run_id: str, at: Moment) -> None:
        """Takes an archived run away from every reader. Raises NotFound, and Conflict unless it is archived."""
        ...

    async def mark_many_purged(self, scope: Scope, run_ids: Sequence[str], at: Moment) -> None:
        """Like `mark_purged`, for all of the runs or none. What it raises names the first run it is about."""
        ...

    async def sweep(self, *, rows: int) -> int:
        """Removes what is left of purged runs, at most `rows` rows per transaction; how many runs are gone now."""
        ...
