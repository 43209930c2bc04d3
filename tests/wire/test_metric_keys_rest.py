"""A run of many metrics over REST: its keys come in pages, each with its series."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.product import Product


async def _wide(product: Product, keys: int) -> str:
    made = await product.rest("POST", "/api/training/runs", json={"name": "wide"})
    path = f"/api/training/runs/{made.json()['id']}/metrics"
    logged = await product.rest("POST", path, json={f"k{place:04}": place for place in range(keys)})
    assert logged.json()["accepted"] == keys
    return path


async def test_pages_lead_through_all_keys_of_a_run(product: Product) -> None:
    path = await _wide(product, 1_234)
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 200, "points": 1}
    while True:
        page = (await product.rest("GET", path, params=params)).json()
        assert 0 < len(page["series"]) <= 200
        seen += page["series"]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == [f"k{place:04}" for place in range(1_234)]
    first = (await product.rest("GET", path)).json()
    assert list(first["series"]) == seen[:20]
    then = (await product.rest("GET", path, params={"cursor": first["next_cursor"]})).json()
    assert list(then["series"]) == seen[20:40]
    rows = (await product.rest("GET", path, params={"format": "rows", "limit": 2})).json()
    assert [set(row) - {"step", "timestamp"} for row in rows] == [{"k0000", "k0001"}]


async def test_who_names_keys_gets_them_all_at_once(product: Product) -> None:
    path = await _wide(product, 30)
    named = (await product.rest("GET", path, params={"keys": "k0029,k0003"})).json()
    assert (set(named["series"]), named["next_cursor"]) == ({"k0003", "k0029"}, None)
    (exported,) = {len((await product.rest("GET", path, params={"format": "ndjson"})).text.splitlines())}
    assert exported == 30


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"cursor": "forged"}, "cursor"),
        ({"limit": 5, "keys": "a"}, "limit"),
        ({"cursor": "x", "keys": "a"}, "cursor"),
        ({"limit": 5, "format": "csv"}, "limit"),
    ],
)
async def test_what_is_wrong_with_a_page_of_keys_is_named(product: Product, params: Any, field: str) -> None:
    path = await _wide(product, 1)
    refused = await product.rest("GET", path, params=params)
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, field)
