"""kill -9 of the server while its endpoints start, drain, switch and share: afterwards record and replicas agree."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import linear
from tests.support.registry import weights_file
from tests.support.servers import Server, alive, free_port, server, until

ROW = [[1, 2, 3, 4]]
ENDPOINTS = "/api/inference/endpoints"


@pytest.fixture
async def served(folder: Path, database_url: str) -> AsyncIterator[Server]:
    first = free_port()
    environment = {
        "AXONML_DATABASE_URL": database_url,
        "AXONML_INFERENCE__DEFAULT_PORT_RANGE_START": str(first),
        "AXONML_INFERENCE__DEFAULT_PORT_RANGE_END": str(first),
    }
    async with server(folder, environment=environment) as made:
        await made.rest("POST", "/api/models", json={"name": "m"})
        for factor in (1, 2):
            files, data = {"file": ("w.safetensors", weights_file(factor))}, {"architecture": json.dumps(linear())}
            await made.rest("POST", "/api/models/m/versions", files=files, data=data)
        yield made


async def _deploy(served: Server, name: str, version: int, *, wait: int = 60, **body: Any) -> dict[str, Any]:
    path = f"/api/models/m/versions/{version}/deploy"
    found: dict[str, Any] = await served.rest("POST", path, params={"wait": wait}, json={"endpoint": name, **body})
    return found


async def _killed(served: Server) -> None:
    """The server is killed, its replicas end by themselves, and the next server starts."""
    replicas = served.children("serving.forkserver")
    await served.kill()
    await until(lambda: not any(map(alive, replicas)), "the replicas of a killed server go on", 20)
    await served.start()


async def _settled(served: Server, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}

    async def steady() -> bool:
        shown.update(await served.rest("GET", f"{ENDPOINTS}/{name}"))
        if shown["status"] == "running":
            # Whatever is shown as running does answer.
            async with served.http() as http:
                answer = await http.post(f"/api/inference/predict/{name}", json={"inputs": ROW})
            assert answer.status_code == 200, answer.text
        switching = (shown["status_reason"] or "").startswith("switching")
        return shown["status"] not in ("starting", "draining") and not switching

    await until(steady, f"{name} does not come to rest")
    return shown


async def _versions(served: Server, name: str) -> set[int]:
    """Which versions answer."""
    found = set()
    async with served.http() as http:
        for number in range(40):
            body = {"inputs": ROW, "id": f"user {number}"}
            answer = await http.post(f"/api/inference/predict/{name}", json=body)
            assert answer.status_code == 200, answer.text
            said = answer.json()
            assert said["outputs"] == [[said["version"] * value for value in ROW[0]]]
            found.add(said["version"])
    return found


async def test_record_and_replicas_agree_after_a_kill_at_any_moment(served: Server) -> None:
    # While starting. Nothing waits, so the first replica is still on its way.
    assert (await _deploy(served, "e", 1, wait=0))["status"] == "starting"
    await _killed(served)
    assert (await _settled(served, "e"))["status"] == "running"
    assert await _versions(served, "e") == {1}

    # With a canary and a port of its own: both come back.
    shared = await _deploy(served, "e", 2, weight=40)
    assert [share["weight"] for share in shared["traffic"]] == [60, 40]
    port = (await served.rest("PUT", f"{ENDPOINTS}/e", params={"wait": 30}, json={"port": 0}))["port"]
    await _killed(served)
    shown = await _settled(served, "e")
    assert (shown["port"], [share["weight"] for share in shown["traffic"]]) == (port, [60, 40])
    assert await _versions(served, "e") == {1, 2}
    async with served.http() as http:
        own = await http.post(f"http://127.0.0.1:{port}/api/inference/predict/e", json={"inputs": ROW})
        assert own.status_code == 200, own.text

    # While switching: the next server goes on with the change.
    switching = await served.rest("PUT", f"{ENDPOINTS}/e", json={"config": {"max_batch_rows": 7, "queue_delay_us": 10}})
    assert switching["status"] == "running"
    await _killed(served)
    shown = await _settled(served, "e")
    assert (shown["status"], shown["config"]["max_batch_rows"]) == ("running", 7)
    assert await _versions(served, "e") == {1, 2}

    # While draining: it ends up stopped, with nothing left of it, and its port is free.
    slow = {"queue_delay_us": 1_000_000, "max_batch_rows": 4096, "drain_timeout_seconds": 30}
    await served.rest("PUT", f"{ENDPOINTS}/e", params={"wait": 60}, json={"config": slow})
    assert (await served.rest("POST", f"{ENDPOINTS}/e/stop"))["status"] in ("draining", "stopped")
    await _killed(served)
    shown = await _settled(served, "e")
    assert (shown["status"], shown["port"], shown["host"]) == ("stopped", None, None)
    assert served.children("serving.forkserver") == []
    await served.rest("DELETE", f"{ENDPOINTS}/e")
