"""As many metric keys as a run may have, and one more: refused whole, naming the key, with nothing changed."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.product import Product

MOST = 10_000
STATE = """
query ($run: ID!) { run(id: $run) { metricKeys(first: 1) { totalCount } metrics(keys: ["key 0"]) { count } } }
"""


async def _log(product: Product, run: str, body: Any, batch: str | None = None) -> tuple[int, dict[str, Any]]:
    headers = {} if batch is None else {"Idempotency-Key": batch}
    answer = await product.rest("POST", f"/api/training/runs/{run}/metrics", json=body, headers=headers)
    return answer.status_code, answer.json()


async def _state(product: Product, run: str) -> tuple[Any, Any, int]:
    found = (await product.graphql(STATE, run=run))["run"]
    exported = await product.rest("GET", f"/api/training/runs/{run}/metrics", params={"format": "csv"})
    return found["metricKeys"]["totalCount"], found["metrics"], len(exported.text.splitlines())


async def test_ten_thousand_keys_and_not_one_more(product: Product) -> None:
    run = (await product.rest("POST", "/api/training/runs", json={"name": "wide"})).json()["id"]
    all_but_ten = {f"key {number}": number for number in range(MOST - 10)}
    assert (await _log(product, run, {"step": 0, **all_but_ten}))[0] == 200
    # Two that would both fit alone: one does.
    answers = await asyncio.gather(
        *(_log(product, run, {"step": 1, **{f"{name} {number}": 1 for number in range(10)}}) for name in "ab")
    )
    assert sorted(status for status, _ in answers) == [200, 422]
    before = await _state(product, run)
    assert before[0] == MOST

    status, refused = await _log(product, run, {"step": 2, "key 0": 5, "one more": 1}, "refused")
    assert (status, refused["error"]["code"], refused["error"]["field"]) == (422, "BAD_USER_INPUT", "metrics.one more")
    assert str(MOST) in refused["error"]["message"]
    status, refused = await _log(product, run, {f"other {number}": 1 for number in range(MOST + 1)})
    assert (status, refused["error"]["code"], refused["error"]["field"]) == (422, "BAD_USER_INPUT", "keys")
    assert await _state(product, run) == before

    assert (await _log(product, run, {"step": 2, "key 0": 5}, "refused"))[0] == 200, "a refused id is free"
    assert await _state(product, run) == (before[0], [{"count": 2}], before[2] + 1)
