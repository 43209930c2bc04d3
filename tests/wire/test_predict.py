"""From an uploaded file to predictions over HTTP, by REST and by GraphQL, computed by real replicas."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from os import kill
from typing import Any

import pytest

from server.settings import InferenceSettings, LimitsSettings, Settings
from tests.support.models import linear
from tests.support.product import Product, RefusedError, running
from tests.support.registry import weights_file

PREDICT = "/api/inference/predict/e"
ROW = [1.0, 2.0, 3.0, 4.0]


@pytest.fixture
async def product(database_url: str) -> AsyncIterator[Product]:
    settings = Settings(limits=LimitsSettings(predict_body_bytes=1 << 20), inference=InferenceSettings(max_endpoints=2))
    async with running(database_url, settings=settings) as served:
        await served.rest("POST", "/api/models", json={"name": "m"})
        for factor in (2.0, 3.0):
            parts = {
                "file": ("w.safetensors", weights_file(factor)),
                "architecture": (None, json.dumps(linear())),
            }
            made = await served.rest("POST", "/api/models/m/versions", files=parts)
            assert made.status_code == 201, made.text
        yield served


async def _deploy(product: Product, version: str, wait: int = 60) -> dict[str, Any]:
    answer = await product.rest(
        "POST", f"/api/models/m/versions/{version}/deploy", params={"wait": wait}, json={"endpoint": "e"}, timeout=90
    )
    assert answer.status_code == 200, answer.text
    endpoint: dict[str, Any] = answer.json()
    return endpoint


async def test_a_deployed_version_answers_by_rest_and_graph(product: Product) -> None:
    endpoint = await _deploy(product, "1")
    assert (endpoint["status"], endpoint["status_reason"]) == ("running", None)
    assert [(share["model_name"], share["version"], share["weight"]) for share in endpoint["traffic"]] == [
        ("m", 1, 100)
    ]
    await _rest_forms(product)
    await _refusals(product)
    await _graph(product)
    await _swap_and_crash(product, endpoint["id"])
    await _stop(product)


async def _rest_forms(product: Product) -> None:
    rows = await product.rest("POST", PREDICT, json={"inputs": [ROW, ROW]})
    assert rows.status_code == 200, rows.text
    found = rows.json()
    assert (found["outputs"], found["endpoint"], found["version"], found["rows"]) == (
        [[2.0, 4.0, 6.0, 8.0]] * 2,
        "e",
        1,
        2,
    )
    assert found["latency_ms"] > 0
    named = await product.rest("POST", PREDICT, json={"inputs": {"x": [ROW]}})
    assert named.json()["outputs"] == {"y": [[2.0, 4.0, 6.0, 8.0]]}
    instances = await product.rest("POST", PREDICT, json={"instances": [{"x": ROW}, {"x": ROW}]})
    assert instances.json() == {"predictions": [[2.0, 4.0, 6.0, 8.0]] * 2}
    unusual = await product.rest("POST", PREDICT, json={"inputs": [["NaN", "Infinity", 0, 1]]})
    assert unusual.json()["outputs"] == [["NaN", "NaN", "NaN", "NaN"]]
    by_key = await product.http.post(
        PREDICT, json={"inputs": [ROW]}, headers={"Authorization": f"Bearer {product.key}"}
    )
    assert by_key.status_code == 200
    assert (await product.http.post(PREDICT, json={"inputs": [ROW]})).status_code == 401


async def _refusals(product: Product) -> None:
    for body, status, field in (
        ({"inputs": [[1.0]]}, 422, "inputs[0]"),
        ({"inputs": [["1", 2, 3, 4]]}, 422, "inputs[0][0]"),
        ({"inputs": [[True, 2, 3, 4]]}, 422, "inputs[0][0]"),
        ({"inputs": []}, 422, "inputs"),
        ({"inputs": {"z": [ROW]}}, 422, "inputs"),
        ({"inputs": [ROW], "instances": [ROW]}, 422, "inputs"),
        ({}, 422, "inputs"),
        ({"inputs": [ROW], "timeout_ms": 0}, 422, "timeout_ms"),
        ({"inputs": [ROW], "extra": 1}, 422, "extra"),
        ({"inputs": [ROW] * 4_097}, 413, "inputs"),
    ):
        answer = await product.rest("POST", PREDICT, json=body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.text
    large = await product.rest("POST", PREDICT, content=b"[" * (2 << 20), headers={"Content-Type": "application/json"})
    assert large.status_code == 413
    deep = await product.rest(
        "POST", PREDICT, content=b'{"inputs":' + b"[" * 900_000, headers={"Content-Type": "application/json"}
    )
    assert deep.status_code == 400
    for name in ("nowhere", "..%2f", "e%00", "mdl_" + "0" * 32):
        missing = await product.rest("POST", f"/api/inference/predict/{name}", json={"inputs": [ROW]})
        assert missing.status_code in (400, 404)


async def _graph(product: Product) -> None:
    fields = " ".join(
        f'p{i}: predict(endpoint: "e", inputs: [[{i}, 0, 0, 0]]) {{ outputs rows version }}' for i in range(64)
    )
    found = await product.graphql("{ " + fields + " }")
    assert [found[f"p{i}"]["outputs"][0][0] for i in range(64)] == [2.0 * i for i in range(64)]
    with pytest.raises(RefusedError) as refused:
        await product.graphql(
            'query { ok: predict(endpoint: "e", inputs: [[1, 0, 0, 0]]) { rows }'
            ' bad: predict(endpoint: "e", inputs: [[1]]) { rows } }'
        )
    assert [error["path"] for error in refused.value.errors] == [["bad"]]
    assert (refused.value.code, refused.value.field) == ("BAD_USER_INPUT", "inputs[0]")
    nested = await product.graphql(
        '{ model(name: "m") { latestVersion { version servable file { format parameterCount }'
        " model { name owner { email } } }"
        " versions { nodes { version endpoints { nodes { name status traffic { weight version { version"
        " architecture inputs { name dtype shape } } } config { threads maxBatchRows } } } } } } }"
    )
    served = nested["model"]["versions"]["nodes"][1]["endpoints"]["nodes"][0]
    assert (served["name"], served["status"]) == ("e", "RUNNING")
    assert served["traffic"][0]["version"]["inputs"] == [{"name": "x", "dtype": "float32", "shape": [-1, 4]}]
    await _reports(product)


async def _reports(product: Product) -> None:
    """What loading cost, in graph and REST alike."""
    shown = await product.graphql(
        '{ endpoint(name: "e") { warmUps { version { version } loadMs batchOneMs batchMaxMs maxBatchRows'
        " residentBytes privateBytes deviceBytes threads device measuredAt } } }"
    )
    (graph,) = shown["endpoint"]["warmUps"]
    (rest,) = (await product.rest("GET", "/api/inference/endpoints/e")).json()["warm_ups"]
    assert graph["version"] == {"version": 1}
    assert (graph["device"], graph["deviceBytes"], graph["maxBatchRows"]) == ("cpu", 0, 64)
    assert min(graph["loadMs"], graph["batchOneMs"], graph["batchMaxMs"], graph["privateBytes"]) > 0
    for name, other in (("loadMs", "load_ms"), ("residentBytes", "resident_bytes"), ("measuredAt", "measured_at")):
        assert graph[name] == rest[other]


async def _swap_and_crash(product: Product, endpoint_id: str) -> None:
    done = asyncio.Event()

    async def client() -> set[int]:
        seen = set()
        while not done.is_set():
            answer = await product.rest("POST", PREDICT, json={"inputs": [ROW]})
            assert answer.status_code == 200, answer.text
            assert answer.json()["outputs"][0][0] == answer.json()["version"] + 1.0
            seen.add(answer.json()["version"])
        return seen

    async with asyncio.TaskGroup() as tasks:
        clients = [tasks.create_task(client()) for _ in range(4)]
        swapped = await _deploy(product, "latest")
        assert [share["version"] for share in swapped["traffic"]] == [2]
        status = await product.graphql("query($id: ID!) { endpoint(id: $id) { status } }", id=endpoint_id)
        assert status["endpoint"]["status"] == "RUNNING"
        for pid in _replicas(product):
            kill(pid, signal.SIGKILL)  # one retry hides it from every client
        await asyncio.wait_for(_answers(product), 30)
        done.set()
    assert {2} <= set().union(*(task.result() for task in clients)) <= {1, 2}


async def _answers(product: Product) -> None:
    while (await product.rest("POST", PREDICT, json={"inputs": [ROW]})).json().get("version") != 2:
        pass


def _replicas(product: Product) -> list[int]:
    operator: Any = product.services.endpoints._operator
    backend: Any = operator._backend
    return [replica.pid for one in backend._sets.values() for replica in one.status().replicas if replica.pid]


async def _stop(product: Product) -> None:
    busy = await product.rest("DELETE", "/api/inference/endpoints/e")
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "CONFLICT")
    kept = await product.graphql('{ modelVersion(name: "m") { id } }')
    with pytest.raises(RefusedError) as used:
        await product.graphql(
            "mutation($id: ID!) { modelVersionDelete(input: {id: $id}) { id } }", id=kept["modelVersion"]["id"]
        )
    assert used.value.code == "CONFLICT"
    stopped = await product.rest("POST", "/api/inference/endpoints/e/stop", params={"wait": 30}, timeout=60)
    assert stopped.json()["status"] == "stopped"
    gone = await product.rest("POST", PREDICT, json={"inputs": [ROW]})
    assert (gone.status_code, gone.json()["error"]["code"]) == (503, "UNAVAILABLE")
    assert (await product.rest("DELETE", "/api/inference/endpoints/e")).status_code == 204
    assert (await product.rest("POST", PREDICT, json={"inputs": [ROW]})).status_code == 404
