"""Canaries and ports of their own over HTTP: headers, the graph, and what such a port answers, computed by replicas."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from server.settings import InferenceSettings, Settings
from tests.support.models import linear
from tests.support.product import Product, RefusedError, running
from tests.support.registry import weights_file
from tests.support.servers import free_port

PREDICT = "/api/inference/predict/e"
ROW = [1.0, 2.0, 3.0, 4.0]
DEPLOY = """mutation ($version: ID!, $weight: Int) {
  modelVersionDeploy(input: {versionId: $version, endpoint: "e", weight: $weight}) { id status port } }"""
UPDATE = "mutation ($change: EndpointUpdateInput!) { endpointUpdate(input: $change) { id port config { port } } }"
SHOW = '{ endpoint(name: "e") { status host port traffic { weight failure version { version } } } }'


@pytest.fixture
async def product(database_url: str) -> AsyncIterator[Product]:
    first = free_port()
    settings = Settings(
        inference=InferenceSettings(default_port_range_start=first, default_port_range_end=min(first + 1, 65535))
    )
    async with running(database_url, settings=settings) as served:
        await served.rest("POST", "/api/models", json={"name": "m"})
        for factor in (1.0, 2.0):
            parts = {"file": ("w.safetensors", weights_file(factor)), "architecture": (None, json.dumps(linear()))}
            assert (await served.rest("POST", "/api/models/m/versions", files=parts)).status_code == 201
        yield served


async def _settled(product: Product) -> dict[str, Any]:
    found = await product.rest("POST", "/api/inference/endpoints/e/start", params={"wait": 60}, timeout=90)
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()
    return answer


async def test_canaries_and_ports_over_http(product: Product) -> None:
    versions = [(await product.rest("GET", f"/api/models/m/versions/{n}")).json()["id"] for n in (1, 2)]
    await product.graphql(DEPLOY, version=versions[0])
    assert (await _settled(product))["status"] == "running"
    await _canary(product, versions)
    await _port(product)


async def _canary(product: Product, versions: list[str]) -> None:
    deployed = await product.rest(
        "POST", "/api/models/m/versions/2/deploy", params={"wait": 60}, json={"endpoint": "e", "weight": 30}, timeout=90
    )
    assert {share["version"]: share["weight"] for share in deployed.json()["traffic"]} == {1: 70, 2: 30}

    async def ask(name: str, **headers: str) -> tuple[int, float]:
        answer = await product.rest("POST", PREDICT, json={"inputs": [ROW], "id": name}, headers=headers)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert answer.headers["x-axonml-version"] == str(said["version"])
        return said["version"], said["outputs"][0][0]

    by_id = [await ask(f"user {number}") for number in range(40)]
    assert set(by_id) == {(1, 1.0), (2, 2.0)}
    assert by_id == [await ask("other", **{"X-Axonml-Sticky": f"user {number}"}) for number in range(40)]
    fields = " ".join(
        f'p{number}: predict(endpoint: "e", inputs: [[1, 2, 3, 4]], sticky: "user {number}") {{ version }}'
        for number in range(40)
    )
    by_graph = await product.graphql(f"{{ {fields} }}")
    assert [by_graph[f"p{number}"]["version"] for number in range(40)] == [version for version, _ in by_id]
    alike = " ".join(f'p{number}: predict(endpoint: "e", inputs: [[1, 2, 3, 4]]) {{ version }}' for number in range(9))
    assert len({each["version"] for each in (await product.graphql(f"{{ {alike} }}")).values()}) == 1
    instances = await product.rest("POST", PREDICT, json={"instances": [ROW]}, headers={"X-Axonml-Sticky": "user 0"})
    assert instances.headers["x-axonml-version"] == str(by_id[0][0])
    shown = (await product.graphql(SHOW))["endpoint"]
    assert [(share["version"]["version"], share["weight"], share["failure"]) for share in shown["traffic"]] == [
        (1, 70, None),
        (2, 30, None),
    ]
    assert shown["host"] == (product.data / "host").read_text().strip()
    too_long = await product.rest("POST", PREDICT, json={"inputs": [ROW]}, headers={"X-Axonml-Sticky": "x" * 257})
    assert (too_long.status_code, too_long.json()["error"]["field"]) == (422, "sticky")
    endpoint = (await product.rest("GET", "/api/inference/endpoints/e")).json()["id"]
    shares = [{"versionId": versions[0], "weight": 1}, {"versionId": versions[1], "weight": 98}]
    with pytest.raises(RefusedError) as refused:
        await product.graphql(UPDATE, change={"id": endpoint, "traffic": shares})
    assert (refused.value.code, refused.value.field) == ("BAD_USER_INPUT", "traffic")
    deleted = await product.rest("DELETE", "/api/models/m/versions/2")
    assert deleted.status_code == 409, deleted.text


async def _port(product: Product) -> None:
    endpoint = (await product.rest("GET", "/api/inference/endpoints/e")).json()["id"]
    made = await product.graphql(UPDATE, change={"id": endpoint, "port": 0})
    port = made["endpointUpdate"]["port"]
    assert port is not None
    assert (await _settled(product))["port"] == port
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=False) as own:
        answer = await own.post(PREDICT, json={"inputs": [ROW]}, headers=product.headers)
        assert answer.status_code == 200, answer.text
        by_main = await product.rest("POST", PREDICT, json={"inputs": [ROW]})
        assert set(answer.headers) == set(by_main.headers)
        by_id = await own.post(f"/api/inference/predict/{endpoint}", json={"inputs": [ROW]}, headers=product.headers)
        assert by_id.status_code == 200
        assert by_id.json()["endpoint"] == "e"
        assert (await own.post(PREDICT, json={"inputs": [ROW]})).status_code == 401
        assert (await own.get("/health/ready")).status_code == 200
        for method, path in (
            ("POST", "/api/inference/predict/f"),
            ("POST", "/api/inference/predict/e/x"),
            ("GET", "/api/inference/endpoints"),
            ("GET", "/api/models"),
            ("POST", "/graphql"),
        ):
            elsewhere = await own.request(method, path, json={"query": "{ __typename }"}, headers=product.headers)
            assert elsewhere.status_code == 404, (path, elsewhere.text)
        foreign = await own.post(PREDICT, json={"inputs": [ROW]}, headers={**product.headers, "Host": "example.com"})
        assert foreign.status_code == 400
        stopped = await product.rest("POST", "/api/inference/endpoints/e/stop", params={"wait": 30}, timeout=60)
        assert (stopped.json()["status"], stopped.json()["port"]) == ("stopped", None)
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient(trust_env=False, verify=False).get(f"http://127.0.0.1:{port}/health/live")
    # Somebody else listens there now: the next one of the range is taken, and a wish for that one is refused.
    with closing(socket.create_server(("127.0.0.1", port))):
        started = await _settled(product)
        assert started["port"] == port + 1
        taken = await product.rest("PUT", "/api/inference/endpoints/e", json={"port": port})
        assert (taken.status_code, taken.json()["error"]["field"]) == (409, "port")
        outside = await product.rest("PUT", "/api/inference/endpoints/e", json={"port": port + 2})
        assert (outside.status_code, outside.json()["error"]["field"]) == (422, "port")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port + 1}", trust_env=False, verify=False) as own:
            many = await asyncio.gather(
                *(own.post(PREDICT, json={"inputs": [ROW]}, headers=product.headers) for _ in range(20))
            )
            assert {answer.status_code for answer in many} == {200}
