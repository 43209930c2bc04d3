"""What happens to files, versions and aliases when several callers change them at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from domain.errors import Conflict, NotFound
from domain.models.aliases import ModelAliases
from persistence.database import Database
from persistence.models import files
from persistence.models.aliases import PostgresAliases
from tests.support.registry import Registry, files_under
from tests.support.servers import until

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def registry(database: Database, tmp_path: Path) -> Registry:
    made = Registry(database, tmp_path / "blobs")
    await made.blobs.open()
    return made


async def waiting_or_done(registry: Registry, task: asyncio.Task[Any]) -> None:
    """Until the task is at an end, or waits for a lock of the database."""

    async def met() -> bool:
        return task.done() or await registry.database.fetchval(WAITING) > 0

    await until(met, "the other change neither ended nor waited")


async def test_a_file_stays_the_workspaces_while_another_version_of_it_goes(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await registry.tracking.scope()
    await registry.models.create(scope, name="m")
    await registry.models.create(scope, name="n")
    first = await registry.upload(scope, "m", b"shared")
    reached, go = asyncio.Event(), asyncio.Event()
    refer = files.refer

    async def holding(*given: Any) -> None:
        await refer(*given)
        reached.set()
        await go.wait()

    monkeypatch.setattr(files, "refer", holding)
    second = asyncio.create_task(registry.upload(scope, "n", b"shared"))
    await reached.wait()
    deleting = asyncio.create_task(registry.models.delete_version(scope, first.id))
    await waiting_or_done(registry, deleting)
    go.set()
    await asyncio.gather(second, deleting)
    assert await registry.database.fetchval("SELECT count(*) FROM blobs") == 1
    assert await registry.collector().collect() == 0
    assert (await registry.models.content(scope, "n", "1"))[0].size_bytes == 6


async def test_what_is_uploaded_while_it_is_collected_is_there_afterwards(registry: Registry, tmp_path: Path) -> None:
    scope = await registry.tracking.scope()
    await registry.models.create(scope, name="m")
    gone = await registry.upload(scope, "m", b"the same bytes")
    await registry.models.delete_version(scope, gone.id)
    assert gone.file is not None
    reached, go = asyncio.Event(), asyncio.Event()

    async def removing() -> None:
        reached.set()
        await go.wait()
        await registry.blobs.remove(gone.file.sha256)  # type: ignore[union-attr]  # asserted above

    collecting = asyncio.create_task(registry.rows.collect(gone.file.sha256, removing))
    await reached.wait()
    uploading = asyncio.create_task(registry.upload(scope, "m", b"the same bytes"))
    await waiting_or_done(registry, uploading)
    assert not uploading.done()
    go.set()
    assert await collecting
    made = await uploading
    _, path = await registry.models.content(scope, "m", str(made.version))
    assert await asyncio.to_thread(Path(path).read_bytes) == b"the same bytes"
    assert files_under(tmp_path) == [gone.file.sha256]
    assert await registry.collector().collect() == 0


async def test_a_version_is_deployed_or_deleted_never_both(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    outcomes = set()
    async with registry.running():
        for number in range(12):
            version = await registry.version(scope)
            name = f"e{number}"
            deploy = registry.endpoints.deploy(scope, version.id, endpoint=name)
            delete = registry.models.delete_version(scope, version.id)
            ordered = (deploy, delete) if number % 2 else (delete, deploy)
            done = await asyncio.gather(*ordered, return_exceptions=True)
            deployed, deleted = done if number % 2 else reversed(done)
            there = version.id in await registry.models.versions_by_ids(scope, [version.id])
            if isinstance(deployed, NotFound):
                assert deleted == version.id
                assert not there
                assert await registry.endpoints.find(scope, name=name) is None
            else:
                assert isinstance(deleted, Conflict), deleted
                assert there
                settled = await registry.endpoints.settled(scope, deployed, 10)  # type: ignore[arg-type]
                assert settled.status.name == "RUNNING", settled
                await registry.endpoints.settled(scope, await registry.endpoints.stop(scope, name), 10)
                await registry.endpoints.delete(scope, name)
            outcomes.add(type(deployed).__name__)
    assert outcomes <= {"NotFound", "Endpoint"}


async def test_an_alias_never_outlives_what_it_points_at(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    aliases = ModelAliases(aliases=PostgresAliases(registry.database), models=registry.models, clock=registry.clock)
    for number in range(12):
        version = await registry.version(scope)
        pair = (aliases.set(scope, version.id, "champion"), registry.models.delete_version(scope, version.id))
        done = await asyncio.gather(*(pair if number % 2 else reversed(pair)), return_exceptions=True)
        assert all(not isinstance(each, Exception) or isinstance(each, NotFound) for each in done), done
        assert await aliases.of_model(scope, "m") == []


async def test_an_alias_that_is_moved_at_once_points_at_one_of_them(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    aliases = ModelAliases(aliases=PostgresAliases(registry.database), models=registry.models, clock=registry.clock)
    versions = [await registry.version(scope) for _ in range(3)]
    await asyncio.gather(*(aliases.set(scope, version.id, "champion") for version in versions * 4))
    (alias,) = await aliases.of_model(scope, "m")
    assert alias.version_id in {version.id for version in versions}
