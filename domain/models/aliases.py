"""Names that move: `champion` points at one version today and at another one tomorrow.

Whoever reads by an alias reads what it points at then; an endpoint keeps the version that it was deployed with. What
older clients call the stage of a version is told by two aliases and a tag, see `Stage`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, Protocol

from domain import ids, names
from domain.access import Action, KeyScope, Scope
from domain.clock import Clock
from domain.errors import BadUserInput, Conflict, NotFound
from domain.models.entities import Model, ModelVersion, ModelVersionStatus
from domain.models.registry import Models
from domain.runs import Tag
from domain.storage import UNLIMITED, Storage

MAX_ALIASES: Final = 100
"""How many names one model may have."""

ARCHIVED: Final = Tag("axonml.archived", "true")
"""The tag of versions whose stage is ARCHIVED."""

_RESERVED: Final = re.compile(r"latest|v?[0-9]+", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelAlias:
    """A name and the version it points at. `updated_at` is when it was last pointed at another one."""

    model_id: str
    name: str
    version_id: str
    version: int
    updated_at: datetime


class Stage(Enum):
    """Where a version stands in the words of older clients.

    STAGING and PRODUCTION are the aliases of these names, so each has one version of a model; ARCHIVED is the tag
    ARCHIVED, which many may carry. An alias says more than the tag, and `production` more than `staging`.
    """

    NONE = "none"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"

    @property
    def alias(self) -> str | None:
        """The alias that says it, where one does."""
        return self.value if self in (Stage.STAGING, Stage.PRODUCTION) else None


def stage_of(aliases: Sequence[str], tags: Sequence[Tag]) -> Stage:
    """The stage of a version with these aliases and tags."""
    for stage in (Stage.PRODUCTION, Stage.STAGING):
        if stage.alias in aliases:
            return stage
    return Stage.ARCHIVED if ARCHIVED in tags else Stage.NONE


def alias_name(value: str) -> str:
    """A name as models have them that cannot be taken for a version's number. Raises BadUserInput."""
    name = names.slug(value, field="alias")
    if _RESERVED.fullmatch(name) is not None:
        raise BadUserInput("'latest', numbers, and 'v' with a number, are no aliases", field="alias")
    return name


class AliasRepository(Protocol):
    """Aliases within what the scope may read; each change is one atomic unit that locks the model."""

    async def set_alias(self, scope: Scope, version: ModelVersion, name: str, now: datetime, *, most: int) -> None:
        """Points the name at the version; that it does so already changes nothing.

        Raises NotFound for a version that is gone, Conflict for one name too many.
        """
        ...

    async def delete_alias(self, scope: Scope, model_id: str, name: str, now: datetime) -> None:
        """Raises NotFound."""
        ...

    async def set_stage(
        self, scope: Scope, version: ModelVersion, stage: Stage, now: datetime, *, archive: bool, most: int
    ) -> None:
        """Leaves the stage that the version has and enters the other one. Raises as `set_alias`.

        `archive`: the version that had the alias before is ARCHIVED.
        """
        ...

    async def aliases_of_models(self, scope: Scope, model_ids: Sequence[str]) -> dict[str, list[ModelAlias]]:
        """The aliases of each model, by name; a model without any is left out."""
        ...


class ModelAliases:
    """Use-cases. Every method authorises by the scope it is given."""

    def __init__(self, *, aliases: AliasRepository, models: Models, clock: Clock, storage: Storage = UNLIMITED) -> None:
        self._aliases = aliases
        self._models = models
        self._clock = clock
        self._storage = storage

    async def of_models(self, scope: Scope, model_ids: Sequence[str]) -> dict[str, list[ModelAlias]]:
        """The aliases of each model that may be read and has some, by name."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._aliases.aliases_of_models(scope, model_ids)

    async def of_model(self, scope: Scope, model: str) -> list[ModelAlias]:
        """The aliases of one model, given by id or name. Raises NotFound."""
        found = await self._models.get(scope, model)
        return (await self.of_models(scope, [found.id])).get(found.id, [])

    async def set(self, scope: Scope, version_id: str, alias: str) -> Model:
        """Points an alias at a version. Raises BadUserInput, NotFound, or Conflict (not READY, too many aliases)."""
        scope.carry(KeyScope.MODELS_WRITE)
        wanted = ids.parse("ver", version_id, field="version_id")
        version = (await self._models.versions_by_ids(scope, [wanted])).get(wanted)
        if version is None:
            raise NotFound("there is no such model version", field="version_id")
        await self._set(scope, version, alias)
        return await self._models.get(scope, version.model_id)

    async def set_numbered(self, scope: Scope, model: str, alias: str, number: int) -> ModelAlias:
        """The same by model (id or name) and number; answers the alias."""
        scope.carry(KeyScope.MODELS_WRITE)
        name = alias_name(alias)
        version = await self._models.get_version(scope, model, str(number))
        now = await self._set(scope, version, name)
        set_now = (each for each in await self.of_model(scope, version.model_id) if each.name == name)
        # Somebody else may have moved or removed it meanwhile; what was asked for has been done all the same.
        return next(set_now, ModelAlias(version.model_id, name, version.id, version.version, now))

    async def delete(self, scope: Scope, model: str, alias: str) -> Model:
        """Removes an alias of a model, given by id or name. Raises NotFound."""
        scope.carry(KeyScope.MODELS_WRITE)
        found = await self._models.get(scope, model)
        scope.require(KeyScope.MODELS_WRITE, found.id, action=Action.WRITE)
        if not names.is_slug(alias):
            raise NotFound("this model has no such alias", field="alias")
        await self._aliases.delete_alias(scope, found.id, alias, self._now())
        return await self._models.get(scope, found.id)

    async def set_stage(
        self, scope: Scope, model: str, version: str, stage: Stage, *, archive_existing: bool = False
    ) -> ModelVersion:
        """Moves a version (as `Models.get_version` takes it) to a stage; answers it.

        Whichever version had the stage's alias leaves it, and is archived with `archive_existing`. Raises as `set`.
        """
        scope.carry(KeyScope.MODELS_WRITE)
        found = await self._models.get_version(scope, model, version)
        self._admit(scope, found)
        await self._aliases.set_stage(scope, found, stage, self._now(), archive=archive_existing, most=MAX_ALIASES)
        return await self._models.get_version(scope, found.model_id, str(found.version))

    async def _set(self, scope: Scope, version: ModelVersion, alias: str) -> datetime:
        name = alias_name(alias)
        self._admit(scope, version)
        now = self._now()
        await self._aliases.set_alias(scope, version, name, now, most=MAX_ALIASES)
        return now

    def _admit(self, scope: Scope, version: ModelVersion) -> None:
        scope.require(KeyScope.MODELS_WRITE, version.model_id, action=Action.WRITE)
        if version.status is not ModelVersionStatus.READY:
            raise Conflict(f"version {version.version} is {version.status.name}; aliases point at READY ones")
        self._storage.take(0)

    def _now(self) -> datetime:
        now = self._clock.now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)
