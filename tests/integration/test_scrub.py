"""The files of the registry, read again: what is missing, damaged or unneeded is told; what goes meanwhile is not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from domain.models.scrub import Fault, Pace, ScrubReport, scrub
from persistence.database import Database
from persistence.models.references import PostgresReferences
from tests.support.registry import Registry


@pytest.fixture
async def registry(database: Database, tmp_path: Path) -> Registry:
    made = Registry(database, tmp_path / "blobs")
    await made.blobs.open()
    return made


async def scrubbed(registry: Registry, pace: Pace | None = None) -> ScrubReport:
    return await scrub(registry.blobs, PostgresReferences(registry.database), pace or Pace(None))


async def test_every_fault_is_named_with_who_needs_the_file(registry: Registry) -> None:
    ada, bob = await registry.tracking.scope(), await registry.tracking.scope("bob@example.org", "other")
    for scope in (ada, bob):
        await registry.models.create(scope, name="m")
    kept = [await registry.upload(ada, "m", b"bytes of " + word) for word in (b"one", b"two", b"three", b"four")]
    await registry.upload(bob, "m", b"bytes of one")
    unneeded = await registry.upload(ada, "m", b"unneeded")
    await registry.models.delete_version(ada, unneeded.id)
    report = await scrubbed(registry)
    assert (report.files, report.bytes, report.sound) == (4, 12 + 12 + 14 + 13, True)
    assert report.unreferenced == [unneeded.file.sha256]  # type: ignore[union-attr]  # it was uploaded

    digests = [version.file.sha256 for version in kept if version.file is not None]
    paths = [Path(await registry.blobs.path(digest)) for digest in digests]
    for path in paths:
        path.chmod(0o600)
    paths[0].write_bytes(b"bytes of ONE")
    paths[1].unlink()
    paths[2].write_bytes(b"bytes of thr")
    paths[3].unlink()
    paths[3].symlink_to(paths[0])
    report = await scrubbed(registry)
    found = {finding.sha256: finding for finding in report.findings}
    assert {digest: finding.fault for digest, finding in found.items()} == {
        digests[0]: Fault.DAMAGED,
        digests[1]: Fault.MISSING,
        digests[2]: Fault.DAMAGED,
        digests[3]: Fault.DAMAGED,
    }
    assert found[digests[0]].needed_by == ["default/m version 1", "other/m version 1"]
    assert found[digests[2]].detail == "12 bytes instead of 14"
    assert "digest" in found[digests[0]].detail
    assert not report.sound


async def test_files_beside_the_weights_are_read_too(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    async with registry.blobs.receive(limit=100) as incoming:
        await incoming.write(b"cat\ndog\n")
        file = await incoming.finish()
        await registry.files.add(scope, version, "labels.txt", file)
    report = await scrubbed(registry)
    assert (report.files, report.unreferenced, report.sound) == (2, [], True)
    await asyncio.to_thread(os.unlink, await registry.blobs.path(file.sha256))
    assert [finding.needed_by for finding in (await scrubbed(registry)).findings] == [["default/m version 1"]]


async def test_what_is_deleted_meanwhile_is_not_missing(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    await registry.models.create(scope, name="m")
    made = [await registry.upload(scope, "m", word) for word in (b"one", b"two")]
    last = max(made, key=lambda version: version.file.sha256 if version.file is not None else "")

    async def deleting(_: float) -> None:
        if last.id in await registry.models.versions_by_ids(scope, [last.id]):
            await registry.models.delete_version(scope, last.id)
            assert await registry.collector().collect() == 1

    report = await scrubbed(registry, Pace(1.0, sleep=deleting))
    assert (report.files, report.sound, report.unreferenced) == (1, True, [])
