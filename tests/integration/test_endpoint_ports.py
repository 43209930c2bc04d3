"""Ports of their own for endpoints, in the record: unique, within the range, freed with the endpoint, taken again."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.endpoints import ConfigChanges, EndpointStatus
from domain.errors import BadUserInput, Conflict
from persistence.database import Database
from tests.support.registry import InProcess, Registry

WAIT = 20


class Doors:
    """Implements `Listeners` by remembering; some ports are somebody else's."""

    def __init__(self) -> None:
        self.open_now: dict[str, int] = {}
        self.taken: set[int] = set()

    async def open(self, endpoint_id: str, name: str, port: int) -> None:
        assert name
        if port in self.taken:
            raise Conflict(f"cannot listen on port {port}: Address already in use")
        self.open_now[endpoint_id] = port

    async def close(self, endpoint_id: str) -> None:
        self.open_now.pop(endpoint_id, None)


async def test_ports_are_unique_freed_and_taken_again(database: Database, tmp_path: Path) -> None:
    doors = Doors()
    registry = Registry(database, tmp_path / "blobs", listeners=doors)  # two ports: 8100 and 8101
    await registry.blobs.open()
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    endpoints = registry.endpoints
    made = {}
    async with registry.running():
        for name, port in (("a", 0), ("b", 8101), ("c", 0), ("d", 8100)):
            made[name] = await endpoints.create(scope, name=name, version_id=version.id, config={"port": port})
            assert made[name].port is None, "a stopped endpoint has none"
        for name, port in (("a", 8100), ("b", 8101)):
            started = await endpoints.start(scope, name)
            assert started.port == port
            assert (await endpoints.settled(scope, started, WAIT)).status is EndpointStatus.RUNNING
            assert doors.open_now[started.id] == port
        with pytest.raises(Conflict, match="all ports from 8100 to 8101 are taken"):
            await endpoints.start(scope, "c")
        with pytest.raises(Conflict, match="port 8100 is taken"):
            await endpoints.start(scope, "d")
        with pytest.raises(BadUserInput) as outside:
            await endpoints.update(scope, "c", config={"port": 8102})
        assert outside.value.field == "port"
        await endpoints.settled(scope, await endpoints.stop(scope, "a"), WAIT)
        assert (await endpoints.get(scope, "a")).port is None
        assert doors.open_now == {made["b"].id: 8101}
        taken = await endpoints.settled(scope, await endpoints.start(scope, "d"), WAIT)
        assert (taken.status, taken.port) == (EndpointStatus.RUNNING, 8100)
        # A running endpoint gives its port back, and takes another one, without being loaded again.
        loaded = len(registry.backend.deployed)
        without = await endpoints.settled(scope, await endpoints.update(scope, "d", config={"port": None}), WAIT)
        assert (without.status, without.port, without.config.port) == (EndpointStatus.RUNNING, None, None)
        assert doors.open_now == {made["b"].id: 8101}
        back = await endpoints.settled(scope, await endpoints.update(scope, "b", config={"port": 8100}), WAIT)
        assert (back.port, doors.open_now) == (8100, {made["b"].id: 8100})
        assert len(registry.backend.deployed) == loaded
        # A change that cannot be loaded leaves the port as well.
        registry.backend.refuse = "it does not load"
        bad = ConfigChanges(port=8101, max_batch_rows=3)
        kept = await endpoints.settled(scope, await endpoints.update(scope, "b", config=bad), WAIT)
        assert (kept.status, kept.port, kept.config.port) == (EndpointStatus.RUNNING, 8100, 8100)
        assert doors.open_now == {made["b"].id: 8100}
        registry.backend.refuse = None
    # The next server opens the same one; when somebody else has it meanwhile, the endpoint says so.
    doors = Doors()
    after = Registry(database, tmp_path / "blobs", backend=InProcess(), listeners=doors)
    await after.operator.restore()
    async with after.running():
        assert (await after.endpoints.settled(scope, made["b"], WAIT)).port == 8100
        assert doors.open_now == {made["b"].id: 8100}
    doors = Doors()
    doors.taken.add(8100)
    last = Registry(database, tmp_path / "blobs", backend=InProcess(), listeners=doors)
    await last.operator.restore()
    async with last.running():
        failed = await last.endpoints.settled(scope, made["b"], WAIT)
        assert (failed.status, failed.port) == (EndpointStatus.FAILED, None)
        assert failed.status_reason == "cannot listen on port 8100: Address already in use"
        await last.endpoints.settled(scope, made["d"], WAIT)
        assert last.backend.sets.keys() == {(made["d"].id, version.id)}
