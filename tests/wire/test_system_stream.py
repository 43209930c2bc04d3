"""A script's own load: a stream of its run beside the metrics, which nobody gets who did not ask for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import websockets

from tests.support.product import Product

BOTH = [
    {"loss": 0.5},
    {"system/cpu_percent": 40.0, "timestamp": 1_700_000_000_000},
    {"loss": 0.25},
    {"system/cpu_percent": 60.0, "system/memory_bytes": 1e9, "timestamp": 1_700_000_010_000},
]


async def logged(product: Product, body: Any = BOTH) -> str:
    run: str = (await product.rest("POST", "/api/training/runs", json={"name": "both"})).json()["id"]
    answer = await product.rest("POST", f"/api/training/runs/{run}/metrics", json=body)
    assert answer.status_code == 200, answer.text
    return run


async def read(product: Product, run: str, **asked: Any) -> Any:
    answer = await product.rest("GET", f"/api/training/runs/{run}/metrics", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json() if "format" not in asked else [json.loads(line) for line in answer.text.splitlines()]


async def test_rest_keeps_them_apart(product: Product) -> None:
    run = await logged(product)
    assert (await product.rest("GET", f"/api/training/runs/{run}")).json()["metrics"] == {"loss": 0.25}
    metrics = (await read(product, run))["series"]
    assert {key: series["steps"] for key, series in metrics.items()} == {"loss": [0, 1]}
    system = (await read(product, run, stream="system"))["series"]
    assert system["system/cpu_percent"]["steps"] == [1_700_000_000_000, 1_700_000_010_000]
    assert system.keys() == {"system/cpu_percent", "system/memory_bytes"}
    named = (await read(product, run, keys=["loss", "system/cpu_percent"]))["series"]
    assert named.keys() == {"loss", "system/cpu_percent"}
    exported = {form: await read(product, run, format="ndjson", stream=form) for form in ("metrics", "system")}
    assert [point["key"] for point in exported["metrics"]] == ["loss", "loss"]
    assert len(exported["system"]) == 3


async def test_the_steps_of_the_script_do_not_count_on_from_it(product: Product) -> None:
    run = await logged(product)
    path = f"/api/training/runs/{run}/metrics"
    for body in ({"system/cpu_percent": 1.0}, {"system/cpu_percent": 2.0, "step": 10**15}, {"loss": 0.125}):
        assert (await product.rest("POST", path, json=body)).status_code == 200
    assert (await read(product, run))["series"]["loss"]["steps"] == [0, 1, 2]
    steps = (await read(product, run, stream="system"))["series"]["system/cpu_percent"]["steps"]
    assert steps[:2] == [1_700_000_000_000, 1_700_000_010_000]
    assert 1_700_000_010_000 < steps[2] < steps[3] == 10**15


GRAPH = """query ($run: ID!, $stream: MetricStream!) { run(id: $run) {
  metrics(stream: $stream) { key last } metricKeys(stream: $stream) { nodes { key } totalCount }
  series(stream: $stream) { key count }
} }"""


@pytest.mark.parametrize(
    ("stream", "keys"), [("METRICS", ["loss"]), ("SYSTEM", ["system/cpu_percent", "system/memory_bytes"])]
)
async def test_the_graph_keeps_them_apart(product: Product, stream: str, keys: list[str]) -> None:
    run = await logged(product)
    shown = (await product.graphql(GRAPH, run=run, stream=stream))["run"]
    assert [each["key"] for each in shown["metrics"]] == keys
    assert [each["key"] for each in shown["metricKeys"]["nodes"]] == keys
    assert shown["metricKeys"]["totalCount"] == len(keys)
    assert [each["key"] for each in shown["series"]] == keys
    plain = (await product.graphql("query ($run: ID!) { run(id: $run) { metrics { key } } }", run=run))["run"]
    assert plain["metrics"] == [{"key": "loss"}]


@pytest.mark.parametrize(("stream", "keys"), [("METRICS", {"loss"}), ("SYSTEM", {"system/cpu_percent"})])
async def test_live_readers_get_the_stream_they_asked_for(product: Product, stream: str, keys: set[str]) -> None:
    from schema.build import build

    run = await logged(product, [{"system/cpu_percent": 1.0}])
    query = f'subscription {{ runMetrics(runId: "{run}", stream: {stream}) {{ series {{ key }} }} }}'
    results = await build().subscribe(query, context_value=await product.context())
    path = f"/api/training/runs/{run}/metrics"
    heard: set[str] = set()
    for body in ({"system/cpu_percent": 2.0}, {"loss": 0.5}):
        await product.rest("POST", path, json=body)
    await product.rest("POST", f"/api/training/runs/{run}/finish", json={"status": "completed"})
    async for result in results:
        assert result.data is not None
        heard |= {series["key"] for series in result.data["runMetrics"]["series"]}
    assert heard == keys


@pytest.mark.parametrize(
    ("query", "values"), [("", {"loss": 0.25}), ("?stream=system", {"cpu_percent": 60.0, "memory_bytes": 1e9})]
)
async def test_the_socket_sends_one_stream(product: Product, query: str, values: dict[str, float]) -> None:
    run = await logged(product)
    url = product.url.replace("http", "ws", 1) + f"/api/training/runs/{run}/stream{query}"
    async with websockets.connect(url, additional_headers=product.headers) as socket:
        first = json.loads(await socket.recv())
    data = first["data"]
    found = {key.removeprefix("system/"): value for key, value in data.items() if key not in ("step", "epoch")}
    assert found == values
