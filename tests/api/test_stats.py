"""`stats` of the graph: what is there, what was done, and who may see it."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from graphql import GraphQLObjectType, get_named_type

from schema.build import build
from tests.support.product import PASSWORD, Product, RefusedError
from tests.support.servers import until

SCHEMA = build()


def every_field(name: str) -> str:
    """The fields of a type, all the way down."""
    kind = SCHEMA._schema.type_map[name]
    assert isinstance(kind, GraphQLObjectType)
    parts = []
    for field, of in kind.fields.items():
        below = get_named_type(of.type)
        parts.append(f"{field} {every_field(below.name)}" if isinstance(below, GraphQLObjectType) else field)
    return "{ " + " ".join(parts) + " }"


QUERY = f"{{ stats {every_field('ServerStats')} }}"


async def test_what_is_there_and_what_was_done(product: Product) -> None:
    run = (await product.rest("POST", "/api/training/runs", json={"name": "counted"})).json()["id"]
    path = f"/api/training/runs/{run}/metrics"
    for step in range(3):
        assert (await product.rest("POST", path, json={"loss": 0.5, "acc": 0.1, "step": step})).status_code == 200
    assert (await product.rest("POST", path, json={"loss": 1}, headers={"Idempotency-Key": "a"})).status_code == 200
    assert (await product.rest("POST", path, json={"loss": 2}, headers={"Idempotency-Key": "a"})).status_code == 409
    assert (await product.rest("GET", "/api/training/runs/none")).status_code == 400
    stats: dict[str, Any] = (await product.graphql(QUERY))["stats"]

    assert (stats["users"], stats["runs"], stats["runsActive"], stats["points"]) == (1, 1, 1, 7)
    assert (stats["models"], stats["endpointsRunning"], stats["fileBytes"]) == (0, 0, 0)
    assert stats["databaseBytes"] > 2**20
    ingest = stats["ingest"]
    assert (ingest["batches"], ingest["points"], ingest["queuedBatches"]) == (4, 7, 0)
    assert ingest["bytes"] > 4 * 24
    assert ingest["refused"] == [{"code": "CONFLICT", "count": 1}]
    assert ingest["commitSeconds"]["count"] == ingest["groupBatches"]["count"] == 5
    assert 0 < ingest["commitSeconds"]["p50"] <= ingest["commitSeconds"]["p99"]
    kinds = {(each["method"], each["route"], each["status"]): each["seconds"]["count"] for each in stats["requests"]}
    assert kinds["POST", "/api/training/runs/{id}/metrics", 200] == 4
    assert kinds["POST", "/api/training/runs/{id}/metrics", 409] == 1
    assert kinds["GET", "/api/training/runs/{id}", 400] == 1
    (process,) = stats["processes"]
    assert (process["worker"], process["connectionsWaiting"]) == (0, 0)
    assert process["memoryBytes"] > 2**20
    assert 1 <= process["connectionsOpen"] <= process["connectionsMost"]
    sealing = stats["sealing"]
    assert (sealing["unsealedRuns"], sealing["unsealedPoints"], sealing["dueRuns"]) == (1, 7, 0)
    assert (sealing["lagSeconds"], sealing["damaged"]) == (0, [])


async def test_the_holder_of_the_lease_is_named(product: Product) -> None:
    name = (product.data / "host").read_text().strip()

    async def held() -> bool:
        found = (await product.graphql("{ stats { sealing { holder mine sweeps lastSweepAt } } }"))["stats"]["sealing"]
        return found["holder"] == name and found["mine"] and found["sweeps"] > 0 and found["lastSweepAt"] is not None

    await until(held, "nobody holds the lease")
    assert await held()


async def test_live_readers_are_counted(product: Product) -> None:
    run = (await product.rest("POST", "/api/training/runs", json={"name": "watched"})).json()["id"]
    path = f"/api/training/runs/{run}/metrics"
    query = f'subscription {{ runMetrics(runId: "{run}") {{ cursor series {{ key }} }} }}'
    results = await SCHEMA.subscribe(query, context_value=await product.context())
    await anext(results)
    await product.rest("POST", path, json={"loss": 0.5})
    told = (await anext(results)).data
    assert told is not None
    assert [series["key"] for series in told["runMetrics"]["series"]] == ["loss"]
    live = (await product.graphql("{ stats { live { readers deltas executions reads } } }"))["stats"]["live"]
    await results.aclose()
    assert (live["readers"], live["deltas"]) == (1, 2)
    assert 2 <= live["executions"] <= live["reads"]


async def test_what_subscriptions_share_is_counted(product: Product) -> None:
    run = (await product.rest("POST", "/api/training/runs", json={"name": "watched"})).json()["id"]
    body = {"query": f'subscription {{ runMetrics(runId: "{run}") {{ cursor }} }}'}
    headers = {**product.headers, "Accept": "text/event-stream"}
    for _ in range(2):
        async with product.http.stream("POST", "/graphql", json=body, headers=headers) as events:
            assert await anext(line async for line in events.aiter_lines() if "cursor" in line)
    live = (await product.graphql("{ stats { live { payloads encodings } } }"))["stats"]["live"]
    assert live == {"payloads": 2, "encodings": 2}  # one after the other: there was nobody to share with
    page = (await product.rest("GET", "/metrics")).text
    assert 'axonml_live_payloads_total{worker="0"} 2.0' in page
    assert 'axonml_live_encodings_total{worker="0"} 2.0' in page


@pytest.mark.parametrize(("scopes", "code"), [(["runs:write"], "FORBIDDEN"), (["stats:read"], None)])
async def test_keys_of_an_administrator_need_the_scope(product: Product, scopes: list[str], code: str | None) -> None:
    key = (await product.rest("POST", "/api/auth/keys", json={"name": "scrape", "scopes": scopes})).json()["secret"]
    try:
        await product.graphql("{ stats { users } }", token=key)
        found = None
    except RefusedError as refused:
        found = refused.code
    assert found == code


async def test_nobody_but_administrators_sees_them(product: Product, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:  # accounts other than the first administrator's cannot be made yet
        assert await connection.execute("UPDATE users SET role = 'user'") == "UPDATE 1"
    finally:
        await connection.close()
    login = {"email": "ada@example.com", "password": PASSWORD}
    product.token = (await product.http.post("/api/auth/login", json=login)).json()["token"]
    with pytest.raises(RefusedError) as refused:
        await product.graphql("{ stats { users } }")
    assert refused.value.code == "FORBIDDEN"
    assert (await product.rest("GET", "/metrics")).status_code == 403
    assert (await product.rest("GET", "/api/admin/stats")).status_code == 403
