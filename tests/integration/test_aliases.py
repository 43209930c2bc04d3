"""Aliases and stages on a real database: what they may point at, how they move, and what goes with a version."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain import ids
from domain.access import Access, KeyScope, Scope, WorkspaceRole
from domain.errors import BadUserInput, Conflict, Forbidden, NotFound
from domain.models import VersionDraft
from domain.models.aliases import ARCHIVED, MAX_ALIASES, ModelAliases, Stage, stage_of
from domain.paging import PageRequest
from domain.runs import Tag
from persistence.database import Database
from persistence.models.aliases import PostgresAliases
from tests.support.registry import Registry
from tests.support.tracking import with_key


class Aliased(Registry):
    """With the use-cases of aliases."""

    def __init__(self, database: Database, root: Path) -> None:
        super().__init__(database, root)
        self.aliases = ModelAliases(aliases=PostgresAliases(database), models=self.models, clock=self.clock)

    async def told(self, scope: Scope, model: str = "m") -> dict[str, int]:
        return {alias.name: alias.version for alias in await self.aliases.of_model(scope, model)}

    async def stages(self, scope: Scope, *numbers: int) -> list[Stage]:
        """The stages of versions of `m`."""
        named = await self.aliases.of_model(scope, "m")
        found = [await self.models.get_version(scope, "m", str(number)) for number in numbers]
        return [
            stage_of([alias.name for alias in named if alias.version_id == version.id], version.tags)
            for version in found
        ]


@pytest.fixture
async def registry(database: Database, tmp_path: Path) -> Aliased:
    made = Aliased(database, tmp_path / "blobs")
    await made.blobs.open()
    return made


async def test_a_name_moves_and_is_read_by(registry: Aliased) -> None:
    scope = await registry.tracking.scope()
    first, second = await registry.version(scope, 2.0), await registry.version(scope, 3.0)
    await registry.aliases.set(scope, first.id, "champion")
    assert await registry.models.get_version(scope, "m", "@champion") == first
    registry.clock.forward(seconds=1)
    model = await registry.aliases.set(scope, second.id, "champion")
    assert model.updated_at == registry.clock.now()
    assert await registry.models.get_version(scope, "m", "@champion") == second
    assert await registry.models.find_version(scope, name="m", alias="champion") == second
    registry.clock.forward(seconds=1)
    await registry.models.create(scope, name="without")
    for filter_, named in (
        ("aliases.champion = 2", ["m"]),
        ("alias.champion >= 3 or aliases.other is not null", []),
        ("aliases.champion is null", ["without"]),
    ):
        page = await registry.models.list(scope, PageRequest(), filter=filter_)
        assert [found.name for found in page.nodes] == named, filter_
    again = await registry.aliases.set_numbered(scope, "m", "champion", 2)
    assert again.updated_at == model.updated_at  # it pointed there already
    assert (await registry.models.get(scope, "m")).updated_at == model.updated_at
    assert (await registry.models.content(scope, "m", "@champion"))[0] == second.file
    await registry.aliases.delete(scope, "m", "champion")
    with pytest.raises(NotFound) as gone:
        await registry.aliases.delete(scope, "m", "champion")
    assert gone.value.field == "alias"
    assert await registry.models.find_version(scope, name="m", alias="champion") is None
    for nothing in ("@champion", "@", "@a b", "@\x00", "@" + "x" * 200):
        with pytest.raises(NotFound):
            await registry.models.get_version(scope, "m", nothing)
    with pytest.raises(NotFound):
        await registry.aliases.delete(scope, "m", "\x00")


async def test_what_an_alias_may_point_at(registry: Aliased) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    reserved = await registry.uploads.reserve(
        scope, "m", VersionDraft(file_name="w.safetensors", sha256="0" * 64), size_bytes=10
    )
    with pytest.raises(Conflict, match="UPLOADING"):
        await registry.aliases.set(scope, reserved.id, "champion")
    for name in ("latest", "7", "v7", "../x"):
        with pytest.raises(BadUserInput) as refused:
            await registry.aliases.set(scope, version.id, name)
        assert refused.value.field == "alias"
    for missing in (ids.new("ver"), ids.new("ver")):
        with pytest.raises(NotFound) as unknown:
            await registry.aliases.set(scope, missing, "champion")
        assert unknown.value.field == "version_id"
    for place in range(MAX_ALIASES):
        await registry.aliases.set(scope, version.id, f"a{place}")
    with pytest.raises(Conflict, match="no more"):
        await registry.aliases.set(scope, version.id, "one-too-many")
    await registry.aliases.set(scope, (await registry.version(scope)).id, "a0")  # which is there already
    assert len(await registry.told(scope)) == MAX_ALIASES


async def test_a_deleted_version_takes_its_aliases_along_and_is_not_deleted_by_one(registry: Aliased) -> None:
    scope = await registry.tracking.scope()
    first, second = await registry.version(scope), await registry.version(scope)
    await registry.aliases.set(scope, first.id, "old")
    await registry.aliases.set(scope, second.id, "new")
    for name in ("@old", "latest"):
        with pytest.raises(BadUserInput):
            await registry.models.delete_numbered_version(scope, "m", name)
    await registry.models.delete_numbered_version(scope, "m", "1")
    assert await registry.told(scope) == {"new": 2}
    await registry.models.delete(scope, "m")
    assert await registry.database.fetchval("SELECT count(*) FROM model_aliases") == 0


async def test_an_endpoint_keeps_the_version_it_was_deployed_with(registry: Aliased) -> None:
    scope = await registry.tracking.scope()
    first, second = await registry.version(scope), await registry.version(scope)
    await registry.aliases.set(scope, first.id, "champion")
    pointed = await registry.models.get_version(scope, "m", "@champion")
    await registry.endpoints.create(scope, name="e", version_id=pointed.id)
    await registry.aliases.set(scope, second.id, "champion")
    assert [share.version_id for share in (await registry.endpoints.get(scope, "e")).traffic] == [first.id]
    with pytest.raises(Conflict):
        await registry.models.delete_version(scope, first.id)


async def test_stages_are_entered_and_left(registry: Aliased) -> None:
    scope = await registry.tracking.scope()
    for _ in range(3):
        await registry.version(scope)
    move = registry.aliases.set_stage
    await move(scope, "m", "1", Stage.STAGING)
    await move(scope, "m", "1", Stage.PRODUCTION)
    assert await registry.told(scope) == {"production": 1}
    await move(scope, "m", "2", Stage.PRODUCTION, archive_existing=True)
    assert await registry.stages(scope, 1, 2, 3) == [Stage.ARCHIVED, Stage.PRODUCTION, Stage.NONE]
    await move(scope, "m", "@production", Stage.PRODUCTION, archive_existing=True)
    assert await registry.stages(scope, 1, 2) == [Stage.ARCHIVED, Stage.PRODUCTION]
    await move(scope, "m", "3", Stage.PRODUCTION)
    assert await registry.stages(scope, 1, 2, 3) == [Stage.ARCHIVED, Stage.NONE, Stage.PRODUCTION]
    await move(scope, "m", "1", Stage.STAGING)
    version = await registry.models.get_version(scope, "m", "1")
    assert ARCHIVED not in version.tags
    await move(scope, "m", "1", Stage.ARCHIVED)
    await move(scope, "m", "3", Stage.NONE)
    assert await registry.told(scope) == {}
    assert await registry.stages(scope, 1, 2, 3) == [Stage.ARCHIVED, Stage.NONE, Stage.NONE]


async def test_other_tags_and_aliases_stay_when_the_stage_changes(registry: Aliased) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    await registry.models.update_version(scope, version.id, {"tags": [Tag("stage", "mine")]})
    await registry.aliases.set(scope, version.id, "champion")
    moved = await registry.aliases.set_stage(scope, "m", "1", Stage.ARCHIVED)
    assert moved.tags == [ARCHIVED, Tag("stage", "mine")]
    moved = await registry.aliases.set_stage(scope, "m", "1", Stage.STAGING)
    assert moved.tags == [Tag("stage", "mine")]
    assert await registry.told(scope) == {"champion": 1, "staging": 1}
    full = [Tag(f"k{number}", "") for number in range(1_000)]
    await registry.models.update_version(scope, version.id, {"tags": full})
    with pytest.raises(Conflict, match="1000 tags"):
        await registry.aliases.set_stage(scope, "m", "1", Stage.ARCHIVED)
    assert await registry.told(scope) == {"champion": 1, "staging": 1}


async def test_nothing_leaks_to_others(registry: Aliased) -> None:
    ada, bob = await registry.tracking.scope(), await registry.tracking.scope("bob@example.org", "other")
    version = await registry.version(ada)
    await registry.aliases.set(ada, version.id, "champion")
    assert await registry.aliases.of_models(bob, [version.model_id]) == {}
    for attempt in (
        registry.aliases.set(bob, version.id, "champion"),
        registry.aliases.set_numbered(bob, version.model_id, "champion", 1),
        registry.aliases.delete(bob, version.model_id, "champion"),
        registry.aliases.set_stage(bob, version.model_id, "1", Stage.ARCHIVED),
        registry.models.get_version(bob, version.model_id, "@champion"),
    ):
        with pytest.raises(NotFound):
            await attempt
    viewer = Scope(ada.workspace_id, ada.principal, Access(WorkspaceRole.VIEWER))
    for caller in (viewer, with_key(ada, KeyScope.MODELS_READ)):
        assert [alias.name for alias in await registry.aliases.of_model(caller, "m")] == ["champion"]
        for attempt in (
            registry.aliases.set(caller, version.id, "x"),
            registry.aliases.delete(caller, "m", "champion"),
            registry.aliases.set_stage(caller, "m", "1", Stage.NONE),
        ):
            with pytest.raises(Forbidden):
                await attempt
    assert await registry.told(ada) == {"champion": 1}
