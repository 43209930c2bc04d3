"""The pages in a real browser: setup, sign-in, GraphiQL with live data, renewal of the session, foreign pages."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Response, expect

from tests.e2e.test_process import running as server_process
from tests.support.browser import GraphiQLPage, Visitor, visiting
from tests.support.product import PASSWORD, Product, running

EMAIL = "ada@example.com"
# One loop for the browser and for the product that it visits. The time covers a browser that has to be installed.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


@pytest_asyncio.fixture(loop_scope="module")
async def product(database_url: str) -> AsyncIterator[Product]:
    async with running(database_url) as served:
        yield served


@asynccontextmanager
async def signed_in(browser: Browser, product: Product, *friends: str) -> AsyncIterator[Visitor]:
    """A visitor whose session was started through the login page, in GraphiQL."""
    async with visiting(browser, product.url, *friends) as visitor:
        await visitor.sign_in(EMAIL, PASSWORD)
        await GraphiQLPage(visitor.page).ready()
        yield visitor


async def new_run(product: Product) -> str:
    made = await product.graphql('mutation { runCreate(input: {name: "first", experiment: "digits"}) { id } }')
    return str(made["runCreate"]["id"])


async def log(product: Product, run: str, key: str, **columns: list[float]) -> None:
    mutation = "mutation ($input: MetricsLogInput!) { metricsLog(input: $input) { accepted } }"
    await product.graphql(mutation, input={"runId": run, "series": [{"key": key, **columns}]})


async def experiments(product: Product) -> list[str]:
    found = await product.graphql("{ experiments { nodes { name } } }")
    return [node["name"] for node in found["experiments"]["nodes"]]


async def test_the_setup_link_makes_one_account_and_its_token_is_never_in_an_address(
    browser: Browser, database_url: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="axonml-e2e-") as folder:
        data = str(Path(folder) / "data")
        with server_process(Path(folder), "--data-dir", data, AXONML_DATABASE_URL=database_url) as server:
            link = f"{server.url}/setup#{server.setup_token}"
            async with visiting(browser, server.url) as first, visiting(browser, server.url) as second:
                await first.page.goto(link)
                await expect(first.page.get_by_label("E-mail")).to_be_focused()
                for text in (EMAIL, "Ada", PASSWORD):
                    await first.page.keyboard.type(text)
                    await first.page.keyboard.press("Tab")
                await first.page.keyboard.press("Enter")
                graphiql = GraphiQLPage(first.page)
                await graphiql.ready()
                assert first.page.url == f"{server.url}/graphql"
                await graphiql.run("{ viewer { email name role } }")
                await graphiql.shows("ADMIN")
                assert EMAIL in await graphiql.answer()

                await second.page.goto(f"{server.url}/setup")
                await expect(second.page.get_by_role("alert")).to_contain_text("setup link")
                await expect(second.page.get_by_role("button")).to_be_disabled()
                async with second.page.expect_event("load"):
                    await second.page.goto(link)  # the same document: only the fragment differs
                await second.page.get_by_label("E-mail").fill("eve@example.com")
                await second.page.get_by_label("Password").fill(PASSWORD)
                await second.page.get_by_role("button").click()
                await expect(second.page.get_by_role("alert")).to_contain_text("set up")
                assert second.page.url == link
                assert await second.cookies() == {}

                for visitor in (first, second):
                    assert not [url for url in visitor.urls if server.setup_token in url]
                    referrers = [request.headers.get("referer", "") for request in visitor.requests]
                    assert not [address for address in referrers if server.setup_token in address]
                    assert (visitor.elsewhere, visitor.violations, visitor.complaints) == ([], [], [])
            assert server.setup_token not in server.logged
            # Passkeys need no setting on this machine, whatever port the server was given.
            async with httpx.AsyncClient(base_url=server.url) as http:
                begun = await http.post("/api/auth/mfa/webauthn/authenticate/start")
            assert begun.json()["options"]["rpId"] == "localhost"


async def test_signing_in_by_keyboard_announces_a_wrong_password_and_then_works(
    browser: Browser, product: Product
) -> None:
    async with visiting(browser, product.url) as visitor:
        page = visitor.page
        await visitor.sign_in(EMAIL, "not the password at all")
        await expect(page.get_by_role("alert")).to_have_text("the e-mail address or the password is wrong")
        assert await visitor.cookies() == {}
        await expect(page.get_by_label("Password")).to_be_focused()
        await page.keyboard.type(PASSWORD)  # over the old one, which is selected
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Sign in")).to_be_focused()
        await page.keyboard.press("Enter")
        await GraphiQLPage(page).ready()
        assert page.url == product.graphql_url
        assert (visitor.elsewhere, visitor.violations, visitor.complaints) == ([], [], [])

        # A signed-in visitor of the login page is led on, but never to another host.
        for place in (
            "https://evil.example/",
            "//evil.example/",
            "/\\evil.example/",
            "/\t/evil.example/",
            "/.//evil.example/",
            "javascript:alert(1)",
        ):
            async with page.expect_event("load"):
                await page.goto(f"{product.url}/login?next={quote(place)}")
            await page.wait_for_function("() => location.pathname !== '/login'")
            assert urlsplit(page.url).netloc == urlsplit(product.url).netloc, place
        assert visitor.elsewhere == []
        await page.goto(f"{product.url}/login?next={quote('/graphql?tab=2')}")
        await page.wait_for_url(f"{product.graphql_url}?tab=2")


async def test_graphiql_works_with_every_other_host_out_of_reach(browser: Browser, product: Product) -> None:
    run = await new_run(product)
    async with signed_in(browser, product) as visitor:
        page, graphiql = visitor.page, GraphiQLPage(visitor.page)
        await page.locator(".graphiql-execute-button").click()  # of the two operations that everybody finds there
        await page.get_by_role("menuitem", name="Newest").click()
        await graphiql.shows('"totalCount": 1')

        await graphiql.run("{ viewer { name } serverInfo { name } }")
        await graphiql.shows('"name": "AxonML"')
        assert '"name": "Ada"' in await graphiql.answer()

        await page.get_by_label("Show Documentation Explorer").click()
        docs = page.locator(".graphiql-doc-explorer")
        await docs.get_by_text("Subscription", exact=True).first.click()
        await expect(docs).to_contain_text("runMetrics")
        await page.get_by_label("Hide Documentation Explorer").click()

        await page.get_by_label("Open settings dialog").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await page.evaluate("getComputedStyle(document.body).overflow") == "hidden"
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        assert await page.evaluate("document.adoptedStyleSheets.length") == 0

        await log(product, run, "loss", values=[0.75], steps=[1])
        await graphiql.run(f'subscription {{ runMetrics(runId: "{run}") {{ status series {{ key steps values }} }} }}')
        await graphiql.shows("0.75")
        await log(product, run, "loss", values=[0.4375], steps=[2])
        await graphiql.shows("0.4375")

        assert visitor.sockets == [product.socket_url]
        assert (visitor.elsewhere, visitor.violations, visitor.complaints) == ([], [], [])


async def test_cookies_are_out_of_reach_of_scripts(browser: Browser, product: Product) -> None:
    async with signed_in(browser, product) as visitor:
        cookies = await visitor.cookies()
        assert set(cookies) == {
            "axonml_session /",
            "axonml_refresh /graphql",
            "axonml_refresh /api/auth/refresh",
        }
        assert all(cookie["httpOnly"] for cookie in cookies.values())
        assert cookies["axonml_session /"]["sameSite"] == "Lax"
        assert cookies["axonml_refresh /graphql"]["sameSite"] == "Strict"
        assert await visitor.page.evaluate("document.cookie") == ""
        kept = await visitor.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        assert not [cookie for cookie in cookies.values() if str(cookie["value"]) in kept]


async def test_a_lost_session_cookie_is_renewed_in_silence_and_signing_out_ends_it(
    browser: Browser, product: Product
) -> None:
    async with signed_in(browser, product) as visitor:
        page, graphiql = visitor.page, GraphiQLPage(visitor.page)
        before = await visitor.cookies()
        await visitor.context.clear_cookies(name="axonml_session")
        await graphiql.run("{ viewer { name } }")
        await graphiql.shows('"name": "Ada"')
        after = await visitor.cookies()
        assert "axonml_session /" in after
        assert after["axonml_refresh /graphql"]["value"] != before["axonml_refresh /graphql"]["value"]

        await page.wait_for_function(WRITTEN_DOWN)  # GraphiQL keeps operations and variables
        await visitor.context.clear_cookies(name="axonml_session")
        await page.get_by_role("button", name="Sign out").click()  # also when the access token is gone
        await page.wait_for_url(f"{product.url}/login")
        assert await visitor.cookies() == {}
        assert not await page.evaluate(WRITTEN_DOWN)
        await page.goto(product.graphql_url)
        await page.wait_for_url(f"{product.url}/login?next=%2Fgraphql")
        await expect(page.get_by_label("E-mail")).to_be_focused()
        assert (visitor.elsewhere, visitor.violations) == ([], [])


async def test_a_subscription_goes_on_after_a_restart_with_a_renewed_session(
    browser: Browser, product: Product
) -> None:
    run = await new_run(product)
    async with signed_in(browser, product) as visitor:
        graphiql = GraphiQLPage(visitor.page)
        await graphiql.run(f'subscription {{ runMetrics(runId: "{run}") {{ status series {{ values }} }} }}')
        await graphiql.shows("RUNNING")
        await visitor.context.clear_cookies(name="axonml_session")
        async with visitor.page.expect_event("websocket"):
            await product.connections.stop()  # as a server does that restarts …
            product.connections.stopping.clear()  # … and is back
        await log(product, run, "loss", values=[0.4375], steps=[1])
        await graphiql.shows("0.4375")
        assert (visitor.elsewhere, visitor.violations, visitor.complaints) == ([], [], [])


async def test_a_page_that_the_browser_kept_in_memory_is_asked_for_again(browser: Browser, product: Product) -> None:
    async with signed_in(browser, product) as visitor:
        page = visitor.page
        await page.goto(f"{product.url}/account")
        await expect(page.get_by_text("This browser")).to_be_visible()
        await visitor.context.clear_cookies()
        await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        await page.wait_for_url(f"{product.url}/login?next=/account")
        assert (visitor.elsewhere, visitor.violations) == ([], [])


WRITTEN_DOWN = "Object.keys(localStorage).some((key) => key.startsWith('graphiql:'))"
FOREIGN = b"<!doctype html><title>foreign</title><form method=post enctype=text/plain><input name=x></form>"
ATTACK = """
async ([url, body]) => {
  const outcomes = [];
  for (const [mode, type] of [["cors", "application/json"], ["cors", "text/plain"], ["no-cors", "text/plain"]]) {
    outcomes.push(await fetch(url + "/graphql", {
      method: "POST", mode, credentials: "include", headers: { "Content-Type": type }, body,
    }).then((answer) => answer.type === "opaque" ? "opaque" : "read", () => "blocked"));
  }
  outcomes.push(await new Promise((end) => {
    const socket = new WebSocket(url.replace("http", "ws") + "/graphql", "graphql-transport-ws");
    socket.onopen = () => end("open");
    socket.onclose = () => end("closed");
  }));
  return outcomes;
}
"""


@asynccontextmanager
async def foreign_page() -> AsyncIterator[int]:
    """The port of a server that gives everybody the same page."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(FOREIGN)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + FOREIGN)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


# Another port is the same site, so the browser does send the cookie there; another name is another site.
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_foreign_page_can_neither_write_nor_listen(browser: Browser, product: Product, host: str) -> None:
    def create(name: str) -> str:
        return f'{{"query": "mutation {{ experimentCreate(input: {{name: \\"{name}\\"}}) {{ id }} }}", "x": "="}}'

    async with foreign_page() as port, signed_in(browser, product, f"http://{host}:{port}") as visitor:
        page = visitor.page
        answers: list[Response] = []
        page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - it marks what it is given
        assert (await page.evaluate(ATTACK, [product.url, create("own")]))[0] == "read"
        assert await experiments(product) == ["own"]

        await page.goto(f"http://{host}:{port}/")
        answers.clear()
        outcomes = await page.evaluate(ATTACK, [product.url, create("foreign")])
        assert outcomes == ["blocked", "blocked", "blocked", "closed"]
        assert [answer for answer in answers if answer.ok] == []
        # A form needs nobody's leave: the browser shows whatever the server answers.
        name, value = create("form").split("=")
        async with page.expect_navigation():
            await page.evaluate(
                "([url, name, value]) => { const form = document.forms[0]; form.action = url + '/graphql';"
                " form[0].name = name; form[0].value = value; form.submit(); }",
                [product.url, name, value],
            )
        refusals = [answer.status for answer in answers if answer.request.method == "POST"]
        # With the cookie it is refused for its origin; without it, it is not even JSON.
        assert refusals[-1] == (403 if host == "127.0.0.1" else 415)
        assert await experiments(product) == ["own"]
