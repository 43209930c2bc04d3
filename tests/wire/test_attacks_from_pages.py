"""What a page of somebody else can make a browser send: foreign hosts, foreign origins, forms, and links."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx
import pytest

from server.edge import public
from server.rest.routes import ROUTES
from tests.support.attacks import World, state
from tests.support.product import PASSWORD, Product

UNSAFE: Final = ("POST", "PUT", "PATCH", "DELETE", "QUERY", "TRACE", "MKCOL", "PROPFIND")
FORM: Final = "application/x-www-form-urlencoded"
# What a form, an image or a link can send without asking: https://fetch.spec.whatwg.org, simple requests.
SIMPLE: Final = (
    (FORM, b"name=forged"),
    ("text/plain", b'{"name": "forged"}'),
    (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nforged\r\n--b--\r\n',
    ),
    ("text/plain; charset=application/json", b'{"name": "forged"}'),
)


@pytest.fixture
async def browser(product: Product) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that is signed in by cookie, and says nothing of where its requests come from."""
    async with httpx.AsyncClient(base_url=product.url, timeout=30) as client:
        account = {"email": "ada@example.com", "password": PASSWORD, "session": "cookie"}
        assert (await client.post("/api/auth/login", json=account)).status_code == 200
        yield client


@pytest.mark.parametrize("method", UNSAFE)
async def test_no_method_changes_anything_for_a_foreign_page(
    browser: httpx.AsyncClient, database_url: str, method: str
) -> None:
    before = await state(database_url)
    for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {}):
        for path in ("/api/experiments", "/api/models/x", "/graphql", "/v1/permissions"):
            body = {"name": "forged", "query": 'mutation { modelCreate(input: {name: "forged"}) { id } }'}
            answer = await browser.request(method, path, headers=foreign, json=body)
            assert (answer.status_code, answer.text.count("FORBIDDEN")) == (403, 1), (path, foreign, answer.text)
    assert await state(database_url) == before


@pytest.mark.parametrize("method", [*UNSAFE, "GET", "HEAD", "OPTIONS"])
async def test_no_method_is_answered_under_a_foreign_name(product: Product, method: str) -> None:
    for path in ("/health", "/graphql", "/api/auth/login", "/api/models", "/"):
        headers = {**product.headers, "Host": "rebound.example"}
        answer = await product.http.request(method, path, headers=headers, json={"query": "{ viewer { id } }"})
        assert answer.status_code == 400, (path, answer.text)
        assert method == "HEAD" or "host name" in answer.text


async def test_what_a_form_can_send_changes_nothing(browser: httpx.AsyncClient, database_url: str) -> None:
    before = await state(database_url)
    for kind, body in SIMPLE:
        for page in ({"Origin": str(browser.base_url).rstrip("/")}, {"Origin": "http://evil.example"}):
            for path in ("/api/experiments", "/api/training/runs", "/api/models", "/graphql", "/api/auth/login"):
                answer = await browser.post(path, content=body, headers={"Content-Type": kind, **page})
                assert answer.status_code in (400, 403, 415), (path, kind, answer.text)
    assert await state(database_url) == before


async def test_a_link_changes_nothing(browser: httpx.AsyncClient, world: World, database_url: str) -> None:
    before = await state(database_url)
    changing = {route.operation.path for route in ROUTES if route.operation.method != "get"}
    for path in sorted(changing - {path for method, path in public.ROUTES if method == "GET"}):
        for known in world.ids.values():
            await browser.get(path.replace("{id}", known).replace("{v}", "1").replace("{name}", "x"))
            break
    for document in (
        "mutation { authLogoutAll { __typename } }",
        'mutation { modelCreate(input: {name: "x"}) { id } }',
    ):
        answer = await browser.get("/graphql", params={"query": document}, headers={"Accept": "application/json"})
        assert answer.status_code in (400, 401, 403, 405), answer.text
    assert await state(database_url) == before
    assert (await browser.get("/api/auth/me")).status_code == 200
