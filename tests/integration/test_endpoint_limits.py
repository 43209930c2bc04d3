"""What of a server an endpoint may ask for: its devices, its cores, its memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.endpoints import ConfigChanges, EndpointStatus
from domain.errors import BadUserInput
from persistence.database import Database
from tests.support.registry import Registry

WAIT = 10.0


async def test_devices_and_threads_are_checked_where_they_are_asked_for(database: Database, tmp_path: Path) -> None:
    registry = Registry(database, tmp_path / "blobs", cores=2)
    await registry.blobs.open()
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    for changes, field, message in (
        (ConfigChanges(device="cuda"), "config.device", "no CUDA device"),
        (ConfigChanges(device="gpu"), "config.device", "expected cpu, cuda or cuda:0"),
        (ConfigChanges(max_memory_bytes=-1), "config.max_memory_bytes", "whole number"),
        (ConfigChanges(threads=3), "config.threads", "3 cores; this server has 2; ask for fewer, or set force"),
    ):
        with pytest.raises(BadUserInput, match=message) as refused:
            await registry.endpoints.create(scope, name="e", version_id=version.id, config=changes)
        assert refused.value.field == field
    async with registry.running():
        forced = ConfigChanges(threads=3, force=True, max_memory_bytes=2**40)
        endpoint = await registry.endpoints.deploy(scope, version.id, endpoint="e", config=forced)
        assert (await registry.endpoints.settled(scope, endpoint, WAIT)).status is EndpointStatus.RUNNING
        with pytest.raises(BadUserInput, match="no CUDA device"):
            await registry.endpoints.update(scope, "e", config=ConfigChanges(device="cuda:0"))
        with pytest.raises(BadUserInput, match="set force"):
            await registry.endpoints.update(scope, "e", config=ConfigChanges(force=False))
        (deployed,) = registry.backend.deployed
        assert (deployed.config.threads, deployed.config.force) == (3, True)
        assert (deployed.config.max_memory_bytes, deployed.config.device) == (2**40, "cpu")
