"""`system` and `systemMetrics` of the graph."""

from __future__ import annotations

from typing import Any

from domain.errors import BadUserInput, Forbidden, Unauthenticated
from resolvers.context import Context
from schema.build import build
from tests.support.product import Product

SCHEMA = build()
FIELDS = """
  at cpuPercent cores memoryUsedBytes memoryTotalBytes disks { name path usedBytes totalBytes freeBytes }
  networkReceivedPerSecond networkSentPerSecond processMemoryBytes processCpuPercent
  gpus { index name utilizationPercent memoryUsedBytes memoryTotalBytes temperature powerWatts }
"""
QUERY = f"{{ system {{ {FIELDS} }} }}"
FOLLOW = f"subscription ($every: Float! = 2) {{ systemMetrics(intervalSeconds: $every) {{ {FIELDS} }} }}"


def check(found: dict[str, Any]) -> None:
    assert 0 <= found["cpuPercent"] <= 100
    assert found["cores"] >= 1
    assert 0 < found["memoryUsedBytes"] < found["memoryTotalBytes"]
    assert 2**20 < found["processMemoryBytes"] < found["memoryTotalBytes"]
    assert found["disks"][0]["name"] == "data"
    assert all(0 < disk["usedBytes"] <= disk["totalBytes"] for disk in found["disks"])
    assert min(found["networkReceivedPerSecond"], found["networkSentPerSecond"], found["processCpuPercent"]) >= 0
    assert all(gpu["memoryTotalBytes"] > 0 for gpu in found["gpus"])


async def test_the_load_of_now(product: Product) -> None:
    result = await SCHEMA.execute(QUERY, context_value=await product.context())
    assert result.errors is None
    assert result.data is not None
    check(result.data["system"])


async def test_the_load_again_and_again(product: Product) -> None:
    results = await SCHEMA.subscribe(FOLLOW, {"every": 0.5}, context_value=await product.context())
    moments = []
    async for result in results:
        assert result.errors is None
        assert result.data is not None
        check(result.data["systemMetrics"])
        moments.append(result.data["systemMetrics"]["at"])
        if len(moments) == 3:
            break
    await results.aclose()
    assert moments == sorted(set(moments))


async def test_who_may_not_ask(product: Product) -> None:
    body = {"name": "predicts", "scopes": ["endpoints:predict"]}
    key = (await product.rest("POST", "/api/auth/keys", json=body)).json()["secret"]
    scope = await product.services.identity.authenticate(authorization=f"Bearer {key}")
    mine = await product.context()
    for asker, refusal in ((scope, Forbidden), (None, Unauthenticated)):
        context = Context(mine.services, asker, "test", mine.client)
        answered = await SCHEMA.execute(QUERY, context_value=context)
        assert answered.errors
        assert isinstance(answered.errors[0].original_error, refusal)
        results = await SCHEMA.subscribe(FOLLOW, context_value=context)
        first = await anext(results)
        assert first.errors
        assert isinstance(first.errors[0].original_error, refusal)


async def test_an_interval_out_of_bounds_is_refused(product: Product) -> None:
    results = await SCHEMA.subscribe(FOLLOW, {"every": 0.1}, context_value=await product.context())
    first = await anext(results)
    assert first.errors
    error = first.errors[0].original_error
    assert isinstance(error, BadUserInput)
    assert error.field == "interval_seconds"
