"""Storms of NaN and infinities, as a diverged training sends: stored, counted and drawn as such."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

from tests.support.product import Product

BATCHES = 10
POINTS = 100_000
STORM = ["NaN", "Infinity", "NaN", "-Infinity"]
FINITE = 0.25
LIVE = gql("""
subscription ($run: ID!) {
  runMetrics(runId: $run, points: 1000) { reset status series { key steps values count } }
}""")


async def _storm(product: Product, run: str) -> None:
    for batch in range(BATCHES):
        values: list[Any] = STORM * (POINTS // 4)
        if batch == BATCHES // 2:
            values[POINTS // 2] = FINITE
        steps = list(range(batch * POINTS, (batch + 1) * POINTS))
        body = {"series": {"loss": {"steps": steps, "values": values}}}
        answer = await product.rest("POST", f"/api/training/runs/{run}/metrics", json=body)
        assert answer.status_code == 200, answer.text


async def _found(product: Product, text: str) -> list[str]:
    asked = "query ($filter: String) { runs(filter: $filter) { nodes { name } } }"
    found = await product.graphql(asked, filter=text)
    return [node["name"] for node in found["runs"]["nodes"]]


async def test_a_million_values_that_are_no_numbers(product: Product) -> None:
    run = (await product.rest("POST", "/api/training/runs", json={"name": "diverged"})).json()["id"]
    calm = (await product.rest("POST", "/api/training/runs", json={"name": "calm"})).json()["id"]
    await product.rest("POST", f"/api/training/runs/{calm}/metrics", json={"loss": 2})
    await _storm(product, run)
    await _is_counted(product, run)
    await _is_drawn(product, run)
    await _is_exported(product, run)
    await _is_found_by_no_number(product)
    await _is_sent_to_whoever_follows(product, run)


async def _is_counted(product: Product, run: str) -> None:
    query = "query ($run: ID!) { run(id: $run) { metrics { key last min max mean count nonFinite } } }"
    (summary,) = (await product.graphql(query, run=run))["run"]["metrics"]
    everything = BATCHES * POINTS
    finite = {"min": FINITE, "max": FINITE, "mean": FINITE}
    assert summary == {"key": "loss", "last": "-Infinity", **finite, "count": everything, "nonFinite": everything - 1}


async def _is_drawn(product: Product, run: str) -> None:
    answer = await product.rest("GET", f"/api/training/runs/{run}/metrics", params={"points": "500"})
    drawn = answer.json()["series"]["loss"]
    assert (drawn["count"], drawn["downsampled"]) == (BATCHES * POINTS, True)
    assert len(drawn["values"]) <= 2 * 500
    assert FINITE in drawn["values"] + drawn["min"] + drawn["max"], "the one number that there was has vanished"
    assert set(drawn["values"]) - {FINITE} <= set(STORM)


async def _is_exported(product: Product, run: str) -> None:
    values: Counter[str] = Counter()
    url = f"/api/training/runs/{run}/metrics"
    async with product.http.stream("GET", url, params={"format": "csv"}, headers=product.headers) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            values[line.rpartition(",")[2]] += 1
    half = BATCHES * POINTS // 2
    del values["value"]
    assert values == {"NaN": half - 1, "Infinity": half // 2, "-Infinity": half // 2, str(FINITE): 1}


async def _is_found_by_no_number(product: Product) -> None:
    names = ("NaN", "Infinity")
    for name in names:
        made = (await product.rest("POST", "/api/training/runs", json={"name": name})).json()["id"]
        await product.rest("POST", f"/api/training/runs/{made}/metrics", json={"loss": name})
    assert await _found(product, "metrics.loss < 1") == ["diverged"], "negative infinity is below every number"
    assert await _found(product, "metrics.loss <= 2 and metrics.loss >= 2") == ["calm"]
    assert sorted(await _found(product, "metrics.loss > 1")) == ["Infinity", "calm"]
    assert sorted(await _found(product, "metrics.loss != 2")) == ["Infinity", "NaN", "diverged"]


async def _is_sent_to_whoever_follows(product: Product, run: str) -> None:
    await product.rest("POST", f"/api/training/runs/{run}/finish", json={"status": "failed"})
    transport = WebsocketsTransport(
        url=product.socket_url,
        init_payload=dict(product.headers),
        subprotocols=["graphql-transport-ws"],
        connect_args={"max_size": None},
    )
    LIVE.variable_values = {"run": run}
    async with Client(transport=transport) as session:
        messages = [message["runMetrics"] async for message in session.subscribe(LIVE)]
    (drawn,) = [series for message in messages for series in message["series"]]
    assert messages[0]["reset"] is True
    assert messages[-1]["status"] == "FAILED"
    assert int(drawn["count"]) == BATCHES * POINTS
    assert json.loads(json.dumps(drawn["values"], allow_nan=False)) == drawn["values"]
