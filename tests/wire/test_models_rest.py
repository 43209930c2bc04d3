"""What is said about models and versions, changed over REST."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.product import Product
from tests.support.registry import weights_file


@pytest.fixture
async def served(product: Product) -> Product:
    assert (await product.rest("POST", "/api/models", json={"name": "m", "tags": {"a": "1"}})).status_code == 201
    sent = {"files": {"file": ("w.safetensors", weights_file())}, "data": {"tags": '{"a": "1"}'}}
    assert (await product.rest("POST", "/api/models/m/versions", **sent)).status_code == 201
    return product


@pytest.mark.parametrize("place", ["/api/models/m", "/api/models/m/versions/1", "/api/models/m/versions/latest"])
async def test_single_tags_are_set_and_removed_beside_others(served: Product, place: str) -> None:
    async def post(body: Any) -> Any:
        return await served.rest("POST", f"{place}/tags", json=body)

    await asyncio.gather(*(post({f"k{number}": "x"}) for number in range(8)))
    changed = await post({"b": "2", "a": None, "k0": None, "never": None})
    assert changed.status_code == 200
    assert list(changed.json()["tags"]) == ["b", *(f"k{number}" for number in range(1, 8))]
    assert (await served.rest("GET", place)).json() == changed.json()
    for body, status, field in (
        ({}, 422, None),
        ({"a": 1}, 422, "[...]"),
        ({" a": "x"}, 422, " a"),
        ({" a": None}, 422, " a"),
        ({f"f{number}": "" for number in range(1_000)}, 409, "tags_set"),
    ):
        refused = await post(body)
        assert (refused.status_code, refused.json()["error"]["field"]) == (status, field), refused.text
    assert (await served.rest("GET", place)).json()["tags"] == changed.json()["tags"]


async def test_a_version_is_changed_but_not_its_bytes(served: Product) -> None:
    path = "/api/models/m/versions/1"
    before = (await served.rest("GET", path)).json()
    patch = {"description": "best", "metrics": {"acc": 0.5, "loss": "NaN"}, "tags": {"stage": "dev"}}
    changed = await served.rest("PUT", path, json=patch)
    assert (changed.status_code, changed.json()) == (200, before | patch)
    cleared = await served.rest("PUT", path, json={"description": None})
    assert cleared.json() == before | patch | {"description": None}
    assert (await served.rest("PUT", path, json={})).json() == cleared.json()
    for body, field in (
        ({"metrics": {"acc": "high"}}, "metrics.acc"),
        ({"file": {}}, "file"),
        ({"tags": None}, "tags"),
    ):
        refused = await served.rest("PUT", path, json=body)
        assert refused.status_code in (400, 422)
        assert refused.json()["error"]["field"] == field, refused.text
    assert (await served.rest("PUT", "/api/models/m/versions/2", json=patch)).status_code == 404
