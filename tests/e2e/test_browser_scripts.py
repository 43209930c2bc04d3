"""What somebody stored as markup is text wherever a page shows it, and a file when it is fetched: no script runs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from safetensors.numpy import save

from tests.support.browser import GraphiQLPage, Visitor, visiting
from tests.support.product import PASSWORD, Product, running
from tests.support.servers import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

EMAIL: Final = "ada@example.com"
RAN: Final = "noteViolation('a stored script ran')"
PAYLOADS: Final = (
    f'<script>{RAN}</script><img src=x onerror="{RAN}"><svg onload="{RAN}"></svg>',
    f'"\'><iframe srcdoc="<script>parent.{RAN}</script>"></iframe><a href="javascript:{RAN}">x</a>',
    f"[x](javascript:{RAN}) {{{{constructor.constructor(`{RAN}`)()}}}} ${{{RAN}}}",
)
PAGE: Final = f'<!doctype html><script>{RAN}</script><body onload="{RAN}">'


@pytest_asyncio.fixture(loop_scope="module")
async def product(database_url: str) -> AsyncIterator[Product]:
    async with running(database_url) as served:
        yield served


def quiet(visitor: Visitor) -> None:
    """No script ran, none was stopped either, nothing was fetched from elsewhere."""
    assert (visitor.violations, visitor.elsewhere) == ([], [])


async def store(product: Product, text: str) -> str:
    """Puts a text wherever the product takes one; the id of the run."""
    user = (await product.graphql("{ viewer { id } }"))["viewer"]["id"]
    rename = "mutation ($id: ID!, $name: String!) { userUpdate(input: {id: $id, name: $name}) { id } }"
    await product.graphql(rename, id=user, name=text)
    body = {"name": text, "scopes": ["runs:read"]}
    assert (await product.rest("POST", "/api/auth/keys", json=body)).status_code == 201
    login = {"email": EMAIL, "password": PASSWORD}
    assert (await product.http.post("/api/auth/login", json=login, headers={"User-Agent": text})).status_code == 200
    create = "mutation ($input: RunCreateInput!) { runCreate(input: $input) { id } }"
    given = {"name": text, "notes": text, "modelType": text, "tags": [{"key": "t", "value": text}]}
    run = str((await product.graphql(create, input=given))["runCreate"]["id"])
    log = "mutation ($input: LogsAppendInput!) { logsAppend(input: $input) { accepted } }"
    await product.graphql(log, input={"runId": run, "lines": [{"message": text}]})
    return run


async def test_markup_that_became_part_of_a_page_would_be_noticed(browser: Browser, product: Product) -> None:
    async with visiting(browser, product.url) as visitor:
        await visitor.page.goto(f"{product.url}/login")
        async with visitor.page.expect_event("console"):  # the policy stops it, and the browser says so
            await visitor.page.evaluate("(text) => { document.body.innerHTML = text; }", PAYLOADS[0])
        await until(lambda: bool(visitor.violations), "nobody noticed")


async def test_stored_markup_is_text_on_every_page(browser: Browser, product: Product) -> None:
    for text in PAYLOADS:
        run = await store(product, text)
        async with visiting(browser, product.url) as visitor:
            page, graphiql = visitor.page, GraphiQLPage(visitor.page)
            await visitor.sign_in(EMAIL, PASSWORD)
            await graphiql.ready()
            await graphiql.run(f'{{ viewer {{ name }} run(id: "{run}") {{ name notes modelType tags {{ value }} }} }}')
            await graphiql.shows("modelType")
            quiet(visitor)
            await page.goto(f"{product.url}/account")
            await expect(page.locator("main")).to_contain_text(RAN)  # as what a session says of its program
            quiet(visitor)
            # What an address says is not put on a page either.
            await page.goto(f"{product.url}/api/training/runs/{run}/logs")
            assert "noteViolation" in await page.content()
            for path in ("/login?next=", "/account?x=", "/setup#", "/graphql?query=", "/nothing/", "/api/nothing?"):
                await page.goto(product.url + path + text.replace("#", "%23"))
                await page.wait_for_load_state("load")
            quiet(visitor)


async def test_a_stored_page_is_a_file_to_the_browser(browser: Browser, product: Product) -> None:
    model = (await product.graphql('mutation { modelCreate(input: {name: "page"}) { id } }'))["modelCreate"]["id"]
    weights = save({"w": np.zeros(1, np.float32)}, metadata={"page": PAGE})
    files = {"file": ("page.html", weights, "text/html")}
    made = await product.rest("POST", f"/api/models/{model}/versions", files=files)
    assert made.status_code == 201, made.text
    path = f"{product.url}/api/models/{model}/versions/{made.json()['version']}/download"
    async with visiting(browser, product.url) as visitor:
        await visitor.sign_in(EMAIL, PASSWORD)
        await GraphiQLPage(visitor.page).ready()
        async with visitor.page.expect_download() as fetched:
            await visitor.page.evaluate("(path) => { location.href = path; }", path)
        assert re.fullmatch(r"[\w.-]+", (await fetched.value).suggested_filename)
        # Nor is it one inside a page of our own.
        refused = await visitor.page.evaluate(
            """(path) => new Promise((end) => {
              const script = document.createElement("script");
              script.onload = () => end("ran");
              script.onerror = () => end("refused");
              script.src = path;
              document.head.append(script);
            })""",
            path,
        )
        assert refused == "refused"
        quiet(visitor)
