"""The REST document that a client reads is the contract, and what it lists is what answers."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from server.rest.openapi import served_part
from tests.support.product import Product

CONTRACT = Path(__file__).parents[2] / "schema" / "openapi.json"


async def test_the_served_document_is_the_served_part_of_the_contract(product: Product) -> None:
    answer = await product.rest("GET", "/api/openapi.json")
    assert answer.status_code == httpx.codes.OK
    assert answer.json() == served_part(json.loads(CONTRACT.read_text()))


async def test_the_served_schema_of_architectures_is_the_committed_one(product: Product) -> None:
    answer = await product.rest("GET", "/api/schemas/arch-1.json")
    assert answer.status_code == httpx.codes.OK
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.json() == json.loads(CONTRACT.with_name("arch-1.json").read_text())


async def test_every_operation_of_the_document_answers(product: Product) -> None:
    document = (await product.rest("GET", "/api/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method in operations.keys() & {"get", "put", "post", "patch", "delete"}:
            url = path.replace("{id}", "nothing-of-this-name").replace("{name}", "nothing").replace("{v}", "1")
            answer = await product.rest(method.upper(), url)
            found = answer.status_code not in {404, 405} or answer.json()["error"]["code"] == "NOT_FOUND"
            assert found, (method, path, answer.text)
            assert "nothing at this path" not in answer.text, (method, path, answer.text)


async def test_what_is_no_route_says_so(product: Product) -> None:
    unknown = await product.rest("GET", "/api/nothing")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "NOT_FOUND")
    wrong = await product.rest("GET", "/api/auth/login")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert "POST" in wrong.headers["allow"]
