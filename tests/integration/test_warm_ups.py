"""What loading a version cost stays with the endpoint: while it serves, once it is stopped, and after a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from domain import ids
from domain.endpoints import ConfigChanges, EndpointStatus
from domain.endpoints.warm_ups import WarmUpReport
from persistence.database import Database
from tests.support.registry import WARM, Registry

WAIT = 10.0


async def test_reports_survive_a_stop_and_a_restart(database: Database, tmp_path: Path) -> None:
    before = Registry(database, tmp_path / "blobs")
    await before.blobs.open()
    scope = await before.tracking.scope()
    first, second = await before.version(scope, 2.0), await before.version(scope, 3.0)
    async with before.running():
        endpoint = await before.endpoints.deploy(scope, first.id, endpoint="e", config=ConfigChanges(max_batch_rows=8))
        await before.endpoints.settled(scope, endpoint, WAIT)
        (report,) = (await before.endpoints.warm_ups(scope, [endpoint.id]))[endpoint.id]
        assert report == WarmUpReport(first.id, WARM, 8, "cpu", report.measured_at)
        await before.endpoints.stop(scope, "e")
        assert (await before.endpoints.settled(scope, endpoint, WAIT)).status is EndpointStatus.STOPPED
    after = Registry(database, tmp_path / "blobs")
    assert await after.endpoints.warm_ups(scope, [endpoint.id]) == {endpoint.id: [report]}
    async with after.running():
        await after.endpoints.start(scope, "e")
        await after.endpoints.settled(scope, endpoint, WAIT)
        await after.endpoints.deploy(scope, second.id, endpoint="e")
        await after.endpoints.settled(scope, endpoint, WAIT)
        (newest,) = (await after.endpoints.warm_ups(scope, [endpoint.id]))[endpoint.id]
        assert newest.version_id == second.id
        assert newest.measured_at >= report.measured_at
        stranger = replace(scope, workspace_id=ids.new("wsp"))
        assert await after.endpoints.warm_ups(stranger, [endpoint.id]) == {}
        await after.endpoints.stop(scope, "e")
        await after.endpoints.settled(scope, endpoint, WAIT)
        await after.endpoints.delete(scope, "e")
    assert await after.endpoints.warm_ups(scope, [endpoint.id]) == {}
