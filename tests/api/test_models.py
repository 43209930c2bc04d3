"""Models, versions and endpoints in the graph: patches, look-ups, refusals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain import ids
from tests.support.product import Product, RefusedError
from tests.support.registry import weights_file

CREATE = (
    "mutation($i: ModelCreateInput!) { modelCreate(input: $i) { id name description modelType tags { key value } } }"
)
UPDATE = "mutation($i: ModelUpdateInput!) { modelUpdate(input: $i) { name description modelType tags { key value } } }"
VERSION_UPDATE = (
    "mutation($i: ModelVersionUpdateInput!) { modelVersionUpdate(input: $i) { description metrics tags { key } } }"
)


async def _refused(product: Product, query: str, **variables: Any) -> tuple[str, str | None]:
    with pytest.raises(RefusedError) as refused:
        await product.graphql(query, **variables)
    return refused.value.code, refused.value.field


async def test_patches_keep_change_and_clear(product: Product) -> None:
    given = {
        "name": "m",
        "description": "d",
        "modelType": "t",
        "tags": [{"key": "a", "value": "b"}],
        "clientToken": "1",
    }
    made = (await product.graphql(CREATE, i=given))["modelCreate"]
    assert (await product.graphql(CREATE, i=given))["modelCreate"] == made
    changed = await product.graphql(UPDATE, i={"id": made["id"], "description": None, "name": "n"})
    assert changed["modelUpdate"] == {"name": "n", "description": None, "modelType": "t", "tags": made["tags"]}
    assert await _refused(product, UPDATE, i={"id": made["id"], "name": None}) == ("BAD_USER_INPUT", "name")
    assert await _refused(product, UPDATE, i={"id": made["id"], "tags": None}) == ("BAD_USER_INPUT", "tags")
    assert await _refused(product, UPDATE, i={"id": "n", "name": "x"}) == ("BAD_USER_INPUT", "id")
    assert await _refused(product, UPDATE, i={"id": ids.new("mdl"), "name": "x"}) == ("NOT_FOUND", "id")
    assert await _refused(product, CREATE, i={"name": "n"}) == ("CONFLICT", "name")
    assert await _refused(product, CREATE, i={"name": "../n"}) == ("BAD_USER_INPUT", "name")
    deleted = await product.graphql("mutation($i: ID!) { modelDelete(input: {id: $i}) { id } }", i=made["id"])
    assert deleted["modelDelete"]["id"] == made["id"]
    assert (await product.graphql('{ model(name: "n") { id } }'))["model"] is None


async def test_versions_are_found_changed_and_deleted(product: Product) -> None:
    await product.graphql(CREATE, i={"name": "m"})
    uploaded = (await product.rest("POST", "/api/models/m/versions", files={"file": ("w.bin", weights_file())})).json()
    one = uploaded["id"]
    found = await product.graphql(
        'query($id: ID!) { a: modelVersion(id: $id) { id } b: modelVersion(name: "m") { id }'
        ' c: modelVersion(name: "m", version: 1) { id } d: modelVersion(name: "m", version: 2) { id }'
        ' e: modelVersion(name: "../m") { id } n: node(id: $id) { ... on ModelVersion { version architecture } } }',
        id=one,
    )
    assert found == {
        **{key: {"id": one} for key in "abc"},
        "d": None,
        "e": None,
        "n": {"version": 1, "architecture": None},
    }
    changed = await product.graphql(VERSION_UPDATE, i={"id": one, "metrics": {"acc": 0.5, "loss": "NaN"}})
    assert changed["modelVersionUpdate"]["metrics"] == {"acc": 0.5, "loss": "NaN"}
    assert await _refused(product, VERSION_UPDATE, i={"id": one, "metrics": {"a": [1]}}) == (
        "BAD_USER_INPUT",
        "metrics.a",
    )
    deploy = 'mutation($id: ID!) { modelVersionDeploy(input: {versionId: $id, endpoint: "e"}) { id } }'
    assert await _refused(product, deploy, id=one) == ("CONFLICT", "versionId")
    assert await _refused(product, deploy, id=ids.new("ver")) == ("NOT_FOUND", "versionId")
    assert await _refused(product, deploy, id=ids.new("mdl")) == ("BAD_USER_INPUT", "versionId")
    delete = "mutation($id: ID!) { modelVersionDelete(input: {id: $id}) { id } }"
    assert (await product.graphql(delete, id=one))["modelVersionDelete"]["id"] == one
    assert await _refused(product, delete, id=one) == ("NOT_FOUND", "id")


async def test_single_tags_are_set_and_removed_beside_others(product: Product) -> None:
    made = (await product.graphql(CREATE, i={"name": "m", "tags": [{"key": "a", "value": "1"}]}))["modelCreate"]
    uploaded = (await product.rest("POST", "/api/models/m/versions", files={"file": ("w.bin", weights_file())})).json()
    for query, name, wanted in (
        (UPDATE, "modelUpdate", made["id"]),
        (VERSION_UPDATE, "modelVersionUpdate", uploaded["id"]),
    ):
        await product.graphql(query, i={"id": wanted, "tags": [{"key": "a", "value": "1"}]})
        pieces = [{"id": wanted, "tagsSet": [{"key": f"k{number}", "value": "x"}]} for number in range(8)]
        await asyncio.gather(*(product.graphql(query, i=piece) for piece in pieces))
        last = {"id": wanted, "tagsSet": [{"key": "b", "value": "2"}], "tagsDelete": ["a", "k0", "never"]}
        changed = (await product.graphql(query, i=last))[name]
        assert [tag["key"] for tag in changed["tags"]] == ["b", *(f"k{number}" for number in range(1, 8))]
        both = {"id": wanted, "tags": [], "tagsDelete": ["b"]}
        assert await _refused(product, query, i=both) == ("BAD_USER_INPUT", "tags")
        bad = {"id": wanted, "tagsDelete": [" b"]}
        assert await _refused(product, query, i=bad) == ("BAD_USER_INPUT", "tagsDelete[0]")
        full = [{"key": f"f{number}", "value": ""} for number in range(1_000)]
        assert await _refused(product, query, i={"id": wanted, "tagsSet": full}) == ("CONFLICT", "tagsSet")


async def test_malformed_look_ups_are_refused(product: Product) -> None:
    for query in (
        "{ model { id } }",
        '{ model(id: "x", name: "y") { id } }',
        '{ model(id: "run_00000000000000000000000000000000") { id } }',
        "{ modelVersion(version: 1) { id } }",
        "{ endpoint { id } }",
    ):
        assert (await _refused(product, query)) == ("BAD_USER_INPUT", "id"), query
    assert (await _refused(product, '{ models(filter: "name ~ 1") { totalCount } }')) == ("BAD_USER_INPUT", "filter")
    assert (await _refused(product, '{ models(after: "x") { totalCount } }')) == ("BAD_USER_INPUT", "after")
    assert (await _refused(product, "{ models(first: 201) { totalCount } }")) == ("BAD_USER_INPUT", "first")
    assert (await _refused(product, '{ predict(endpoint: "e", inputs: [1]) { rows } }')) == ("NOT_FOUND", "endpoint")
