"""Experiments: named groups of runs, and the use-cases that change them. A deleted one is archived, never gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from domain import ids, names
from domain.access import Action, KeyScope, Scope
from domain.clock import Clock
from domain.errors import BadUserInput, Conflict, NotFound
from domain.idempotency import ClientToken
from domain.paging import Keyset, Page, PageRequest
from domain.patch import KEEP, Keep
from domain.search import Attribute, AttributeKind, Expression, Vocabulary, mentions, parse
from domain.storage import UNLIMITED, Storage

DEFAULT_NAME: Final = "Default"
MAX_OFFSET: Final = 10_000

EXPERIMENT_VOCABULARY: Final = Vocabulary(
    attributes={
        "id": Attribute(AttributeKind.ID, id_kind="exp"),
        "name": Attribute(AttributeKind.TEXT),
        "description": Attribute(AttributeKind.TEXT),
        "number": Attribute(AttributeKind.NUMBER),
        "created": Attribute(AttributeKind.TIME),
        "updated": Attribute(AttributeKind.TIME),
        "archived": Attribute(AttributeKind.BOOLEAN),
        "owner": Attribute(AttributeKind.REFERENCE, id_kind="usr"),
    }
)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A named group of runs. `number` is stable and counts per workspace from 1."""

    id: str
    number: int
    name: str
    description: str | None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None
    owner_id: str

    @property
    def archived(self) -> bool:
        """Whether it is hidden (and restorable)."""
        return self.archived_at is not None


@dataclass(frozen=True, slots=True)
class NewExperiment:
    """What an experiment is made of; the store adds its number."""

    id: str
    name: str
    description: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ExperimentListing:
    """A checked request for a page, newest first. `archived` None lists both."""

    page: PageRequest
    filter: Expression | None
    archived: bool | None
    keyset: Keyset
    offset: int


class ExperimentRepository(Protocol):
    """Where experiments are kept. Each method is one atomic unit and sees only the scope's workspace."""

    async def create(self, scope: Scope, new: NewExperiment, token: ClientToken | None) -> Experiment:
        """Raises Conflict when a living experiment has the name."""
        ...

    async def change(self, scope: Scope, experiment_id: str, decide: Callable[[Experiment], Experiment]) -> Experiment:
        """Locks the experiment, lets `decide` answer what it becomes, and keeps that.

        Raises NotFound, and Conflict when a living experiment has the new name.
        """
        ...

    async def by_ids(self, scope: Scope, experiment_ids: Sequence[str]) -> dict[str, Experiment]:
        """Those that exist, archived ones included."""
        ...

    async def by_name(self, scope: Scope, name: str) -> Experiment | None:
        """The living experiment of that name."""
        ...

    async def page(self, scope: Scope, listing: ExperimentListing) -> Page[Experiment]:
        """One page of the list."""
        ...


def reference(text: str, *, field: str = "experiment") -> tuple[str | None, str | None]:
    """What a text that may be an id or a name means: (id, None) or (None, name)."""
    if ids.looks_like_id(text):
        return ids.parse("exp", text, field=field), None
    return None, new_name(text, field=field)


def new_name(text: str, *, field: str = "name") -> str:
    """A checked name: 1 to 250 characters, and no id, since runs name their experiment by either."""
    name = names.title(text, field=field)
    if ids.looks_like_id(name):
        raise BadUserInput("a name may not look like an id", field=field)
    return name


class Experiments:
    """The use-cases. Each authorises first, and raises DomainError subclasses only."""

    def __init__(self, *, experiments: ExperimentRepository, clock: Clock, storage: Storage = UNLIMITED) -> None:
        self._experiments = experiments
        self._clock = clock
        self._storage = storage

    async def create(
        self, scope: Scope, *, name: str, description: str | None = None, client_token: str | None = None
    ) -> Experiment:
        """Raises BadUserInput, and Conflict (field `name`) when a living experiment has the name."""
        scope.require(KeyScope.RUNS_WRITE)
        token = ClientToken.of(client_token, "experimentCreate", name=name, description=description)
        new = NewExperiment(ids.new("exp"), new_name(name), _description(description), self._now())
        self._storage.take(0)
        return await self._experiments.create(scope, new, token)

    async def update(
        self, scope: Scope, experiment_id: str, *, name: str | Keep = KEEP, description: str | Keep | None = KEEP
    ) -> Experiment:
        """Changes what is not KEEP. Raises NotFound, BadUserInput, Conflict."""
        scope.require(KeyScope.RUNS_WRITE)
        now = self._now()
        checked = name if isinstance(name, Keep) else new_name(name)
        text = description if isinstance(description, Keep) else _description(description)

        def decide(experiment: Experiment) -> Experiment:
            if experiment.archived:
                raise Conflict("the experiment is archived; restore it first", field="id")
            changed = replace(
                experiment,
                name=experiment.name if isinstance(checked, Keep) else checked,
                description=experiment.description if isinstance(text, Keep) else text,
            )
            return experiment if changed == experiment else replace(changed, updated_at=now)

        return await self._experiments.change(scope, _id(experiment_id), decide)

    async def delete(self, scope: Scope, experiment_id: str) -> Experiment:
        """Archives it; its runs stay as they are. Archiving it again changes nothing. Raises NotFound."""
        scope.require(KeyScope.RUNS_WRITE, action=Action.DELETE)
        now = self._now()
        return await self._experiments.change(
            scope, _id(experiment_id), lambda found: found if found.archived else replace(found, archived_at=now)
        )

    async def restore(self, scope: Scope, experiment_id: str) -> Experiment:
        """Raises NotFound, and Conflict when a living experiment took the name meanwhile."""
        scope.require(KeyScope.RUNS_WRITE, action=Action.DELETE)
        return await self._experiments.change(scope, _id(experiment_id), lambda found: replace(found, archived_at=None))

    async def get(self, scope: Scope, experiment_id: str) -> Experiment:
        """One experiment by id, archived or not. Raises NotFound."""
        found = await self.find(scope, experiment_id=experiment_id)
        if found is None:
            raise NotFound("there is no such experiment", field="id")
        return found

    async def find(
        self, scope: Scope, *, experiment_id: str | None = None, name: str | None = None
    ) -> Experiment | None:
        """By id (archived or not) or by name (living); exactly one of the two must be given."""
        scope.require(KeyScope.RUNS_READ)
        if (experiment_id is None) == (name is None):
            raise BadUserInput("give either an id or a name", field="id")
        if experiment_id is not None:
            canonical = _id(experiment_id)
            return (await self._experiments.by_ids(scope, [canonical])).get(canonical)
        return await self._experiments.by_name(scope, names.title(name or ""))

    async def by_ids(self, scope: Scope, experiment_ids: Sequence[str]) -> dict[str, Experiment]:
        """Those that exist, by canonical id."""
        scope.require(KeyScope.RUNS_READ)
        return await self._experiments.by_ids(scope, experiment_ids)

    async def page(
        self, scope: Scope, page: PageRequest, *, filter_text: str | None = None, offset: int = 0
    ) -> Page[Experiment]:
        """A page of the living experiments, newest first; a filter that names `archived` decides that itself."""
        scope.require(KeyScope.RUNS_READ)
        expression = parse(filter_text, EXPERIMENT_VOCABULARY)
        if not 0 <= offset <= MAX_OFFSET:
            raise BadUserInput(f"expected 0 to {MAX_OFFSET}", field="offset")
        if offset and page.after is not None:
            raise BadUserInput("an offset does not go together with a cursor", field="offset")
        keyset = Keyset(("experiments", (filter_text or "").strip()), (datetime, str))
        if page.after is not None:
            keyset.decode(page.after)
        archived = None if expression is not None and mentions(expression, "archived") else False
        return await self._experiments.page(scope, ExperimentListing(page, expression, archived, keyset, offset))

    def _now(self) -> datetime:
        now = self._clock.now()
        return now.replace(microsecond=now.microsecond // 1_000 * 1_000)


def _id(text: str) -> str:
    return ids.parse("exp", text)


def _description(text: str | None) -> str | None:
    return None if text is None else names.notes(text, field="description")
