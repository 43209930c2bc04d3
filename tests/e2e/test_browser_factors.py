"""Second factors, passkeys and the account page in a real browser, on the name that passkeys need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pyotp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Request, Response, Route, expect

from server.settings import AuthSettings, RatesSettings, Settings
from tests.support.browser import visiting
from tests.support.clusters import Cluster
from tests.support.pages import Site, alert, at_account, phone, shown, sign_out, signed_in, somebody, wrong
from tests.support.product import PASSWORD, running

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
_UNLABELLED = """
[...document.querySelectorAll("input:not([hidden])")].filter((field) => !field.labels.length).map((field) => field.name)
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(postgres_cluster: Cluster) -> AsyncIterator[Site]:
    url = postgres_cluster.create()
    # Everybody here has the same address.
    settings = Settings(rates=RatesSettings(sign_in="off"), auth=AuthSettings(registration="invite"))
    async with running(url, settings=settings) as product:
        database = await asyncpg.connect(url)
        yield Site(product, database)
        await database.close()
    postgres_cluster.drop(url)


async def test_password_and_code_by_keyboard_alone(browser: Browser, site: Site) -> None:
    email, app = await site.with_app("keyboard")
    async with somebody(browser, site) as visitor:
        page = visitor.page
        await page.emulate_media(reduced_motion="reduce")
        await visitor.sign_in(email, PASSWORD, "/login?next=/account")
        code, said = (
            page.get_by_label("Code", exact=True),
            alert(page.get_by_role("form", name="By an authenticator app")),
        )
        await expect(code).to_be_focused()
        await expect(page.get_by_role("heading", name="Second step")).to_be_visible()
        await expect(page.get_by_role("status")).to_contain_text("password was right")
        assert await code.get_attribute("inputmode") == "numeric"
        assert await code.get_attribute("autocomplete") == "one-time-code"
        assert await visitor.cookies() == {}

        asked = len(visitor.requests)
        await page.keyboard.type("12345")
        await page.keyboard.press("Enter")
        await expect(said).to_have_text("The code has six digits.")
        assert len(visitor.requests) == asked
        await page.keyboard.type(wrong(app))  # over the old one, which is selected
        await page.keyboard.press("Enter")
        await expect(said).to_have_text("this code is wrong, or it was used already")
        await expect(code).to_be_focused()
        await expect(code).to_have_attribute("aria-invalid", "true")
        assert await code.get_attribute("aria-errormessage") == await said.get_attribute("id")
        assert await page.evaluate("document.getAnimations().length") == 0
        assert await page.evaluate(_UNLABELLED) == []

        right = shown(app, 1)
        await page.keyboard.type(f"{right[:3]} {right[3:]}")
        await page.keyboard.press("Enter")
        await at_account(visitor, email)
        assert await page.evaluate(_UNLABELLED) == []
        assert "axonml_session /" in await visitor.cookies()
        # Suggesting passkeys to a browser that has none would cost its address one of its tries to sign in.
        assert not [one for one in visitor.requests if "webauthn" in (one.post_data or "")]


async def test_a_second_step_that_is_over_leads_back_to_the_first(browser: Browser, site: Site) -> None:
    email, app = await site.with_app("late")
    async with somebody(browser, site) as visitor:
        page = visitor.page
        await visitor.sign_in(email, PASSWORD)
        code, said = (
            page.get_by_label("Code", exact=True),
            alert(page.get_by_role("form", name="By an authenticator app")),
        )
        for _ in range(5):
            await code.fill(wrong(app))
            await page.keyboard.press("Enter")
            await expect(said).to_have_text("this code is wrong, or it was used already")
        await code.fill(shown(app, 1))
        await page.keyboard.press("Enter")
        await expect(alert(page.get_by_role("form", name="Sign in"))).to_contain_text("start again with your password")
        await expect(page.get_by_label("Password")).to_be_focused()
        await expect(page.get_by_label("E-mail")).to_have_value(email)
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(code).to_be_focused()
        await page.get_by_role("button", name="Start again").click()
        await expect(page.get_by_label("E-mail")).to_be_focused()
        await expect(page.get_by_label("Password")).to_have_value("")


async def test_setting_an_app_up_and_signing_in_with_a_recovery_code(browser: Browser, site: Site) -> None:
    email = await site.person("recovery")
    async with somebody(browser, site) as visitor:
        page = await signed_in(visitor, email)
        await page.get_by_role("button", name="Set up an app").press("Enter")
        await expect(page.get_by_label("Code that the app shows")).to_be_focused()
        picture = page.get_by_alt_text("QR code of the secret")
        await expect(picture).to_have_js_property("complete", value=True)
        assert await picture.evaluate("(image) => image.naturalWidth") > 0
        app = pyotp.TOTP((await page.locator("#totp-secret").inner_text()).replace(" ", ""))
        form = page.get_by_role("form", name="Authenticator app")
        await page.keyboard.type(wrong(app))
        await page.keyboard.press("Enter")
        await expect(alert(form)).to_have_text("this code is wrong, or it was used already")
        await page.keyboard.type(shown(app))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("The authenticator app is on.")
        await expect(page.get_by_role("heading", name="Your new recovery codes")).to_be_focused()
        codes = await page.locator("#codes code").all_inner_texts()
        assert len(set(codes)) == 10
        await page.evaluate("window.print = () => { window.printed = true; }")
        await page.get_by_role("button", name="Print").click()
        assert await page.evaluate("window.printed")
        await visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await page.get_by_role("button", name="Copy").click()
        await expect(page.get_by_role("status")).to_have_text("The codes are copied.")
        assert await page.evaluate("navigator.clipboard.readText()") == "\n".join(codes)
        await page.get_by_role("button", name="I have kept them").click()
        await expect(page.get_by_role("heading", name="Recovery codes", exact=True)).to_be_focused()
        assert not [code for code in codes if code in await page.content()]
        await sign_out(page)

        await visitor.sign_in(email, PASSWORD, "/login?next=/account")
        await page.get_by_role("button", name="Use a recovery code").press("Enter")
        typed, said = (
            page.get_by_label("Recovery code"),
            alert(page.get_by_role("form", name="Without the second factor")),
        )
        await expect(typed).to_be_focused()
        await page.keyboard.type("0000-0000-0000-0000")
        await page.keyboard.press("Enter")
        await expect(said).to_have_text("this code is wrong, or it was used already")
        await expect(typed).to_be_focused()
        await page.keyboard.type(codes[3].lower())
        await page.keyboard.press("Enter")
        await at_account(visitor, email)
        await expect(page.get_by_text("You have 9 unused codes.")).to_be_visible()

        await page.get_by_role("button", name="Turn off").press("Enter")
        dialog = page.get_by_role("dialog", name="Turn the authenticator app off?")
        await expect(dialog.get_by_label("Password")).to_be_focused()
        await page.keyboard.type("not the password at all")
        await page.keyboard.press("Enter")
        await expect(alert(dialog)).to_have_text("the password is wrong")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("The authenticator app is off.")
        await expect(page.get_by_role("heading", name="Authenticator app")).to_be_focused()
        await sign_out(page)
        await signed_in(visitor, email)  # by password alone again


async def test_a_passkey_signs_in_alone_and_after_a_password(browser: Browser, site: Site) -> None:
    email = await site.person("passkey")
    async with somebody(browser, site) as visitor:
        await phone(visitor)
        page = await signed_in(visitor, email)
        name = page.get_by_label("Name of a new passkey")
        await name.fill("phone")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("The passkey is added. Make recovery codes next")
        await name.fill("phone")
        await page.keyboard.press("Enter")
        await expect(alert(page.get_by_role("form", name="Passkeys"))).to_contain_text("a passkey of this name")
        await expect(name).to_be_focused()
        await name.fill("tablet")
        await page.keyboard.press("Enter")
        await expect(alert(page.get_by_role("form", name="Passkeys"))).to_contain_text(
            "holds a passkey of this account"
        )
        await sign_out(page)

        await page.goto(f"{site.url}/login?next=/account")
        await page.get_by_role("button", name="Sign in with a passkey").press("Enter")
        await at_account(visitor, email)
        await sign_out(page)

        await visitor.sign_in(email, PASSWORD, "/login?next=/account")
        await page.get_by_role("button", name="Use a passkey").press("Enter")
        await at_account(visitor, email)

        await page.get_by_role("button", name="Make new codes").press("Enter")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Your new recovery codes")).to_be_focused()
        await expect(page.locator("#codes code")).to_have_count(10)
        await expect(page.get_by_text("You have 10 unused codes.")).to_be_visible()
        await page.get_by_role("button", name="Remove phone").press("Enter")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("The passkey is removed.")
        await expect(page.get_by_role("heading", name="Passkeys")).to_be_focused()
        await expect(page.get_by_role("button", name="Remove phone")).to_have_count(0)
        await sign_out(page)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(alert(page.get_by_role("form", name="By passkey alone"))).to_contain_text(
            "not one that opens an account here"
        )
        await signed_in(visitor, email)  # by password alone again


async def test_a_passkey_that_the_browser_suggests_signs_in(browser: Browser, site: Site) -> None:
    email = await site.person("suggested")
    async with somebody(browser, site) as visitor:
        await phone(visitor, suggests=True)
        page = await signed_in(visitor, email)
        await page.get_by_label("Name of a new passkey").fill("phone")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Remove phone")).to_be_visible()
        await sign_out(page)
        await page.wait_for_url(f"{site.url}/graphql")


async def test_a_passkey_is_not_asked_for_on_a_bare_address(browser: Browser, site: Site) -> None:
    email, app = await site.with_app("address")
    async with visiting(browser, site.product.url, site.url) as visitor:
        page = visitor.page
        await visitor.sign_in(email, PASSWORD, "/login?next=/account")
        await expect(page.get_by_label("Code", exact=True)).to_be_focused()
        await expect(page.get_by_role("button", name="Use a passkey")).to_be_hidden()
        there = f"{site.url}/login?next=/account"
        await expect(page.get_by_role("link", name="open this page on localhost")).to_have_attribute("href", there)
        await page.keyboard.type(shown(app, 1))
        await page.keyboard.press("Enter")
        await at_account(visitor, email)
        await expect(page.get_by_role("button", name="Add a passkey")).to_be_hidden()
        await page.get_by_role("link", name="open this page on localhost").click()
        await page.wait_for_url(f"{site.url}/login?next=/account")  # of another name it knows no session
        assert (visitor.elsewhere, visitor.violations, visitor.complaints) == ([], [], [])


async def test_the_account_page_is_for_the_signed_in_and_leads_back_to_itself(browser: Browser, site: Site) -> None:
    http = site.product.http
    for method in ("GET", "HEAD"):
        answer = await http.request(method, "/account?next=https://evil.example/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/account")
        assert answer.content == b""
    assert (await http.post("/account")).status_code == 401
    wrong_session = await http.get("/account", headers={"Cookie": "axonml_session=nonsense"})
    assert wrong_session.status_code == 303

    email = await site.person("visitor")
    async with somebody(browser, site, expired=1) as visitor:
        page = visitor.page
        await visitor.sign_in(email, PASSWORD, "/account")
        await at_account(visitor, email)
        await visitor.context.clear_cookies(name="axonml_session")
        await page.reload()
        await at_account(visitor, email)  # by way of the login page, which renewed the session
        await visitor.context.clear_cookies()
        await page.get_by_role("button", name="Set up an app").click()
        await page.wait_for_url(f"{site.url}/login?next=%2Faccount")


async def test_a_new_password_and_sessions_that_end(browser: Browser, site: Site) -> None:
    email, chosen = await site.person("sessions"), "seven quiet boats on a slow river"
    async with somebody(browser, site) as visitor:
        page = await signed_in(visitor, email)
        elsewhere = await site.ask("login", email=email, password=PASSWORD)
        await page.reload()
        sessions = page.get_by_role("region", name="Sessions").get_by_role("listitem")
        await expect(sessions).to_have_count(2)
        await expect(sessions.filter(has_text="This browser").get_by_role("button")).to_have_count(0)
        await sessions.filter(has_text="httpx").get_by_role("button", name="End").press("Enter")
        await expect(page.get_by_role("status")).to_have_text("The session has ended.")
        await expect(sessions).to_have_count(1)
        await expect(page.get_by_role("heading", name="Sessions")).to_be_focused()
        headers = {"Authorization": f"Bearer {elsewhere['token']}"}
        assert (await site.product.http.get("/api/auth/me", headers=headers)).status_code == 401

        form = page.get_by_role("form", name="Password")
        await page.get_by_label("Present password").fill("not the password at all")
        await page.get_by_label("New password").fill(chosen)
        await page.keyboard.press("Enter")
        await expect(alert(form)).to_have_text("the password is wrong")
        await expect(page.get_by_label("Present password")).to_be_focused()
        await page.keyboard.type(PASSWORD)
        await page.get_by_label("New password").fill("too short")
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("New password")).to_be_focused()
        await expect(alert(form)).not_to_have_text("")
        await page.keyboard.type(chosen)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("The password is changed.")
        await page.get_by_role("button", name="Sign out everywhere").click()
        await page.wait_for_url("**/login")
        await visitor.sign_in(email, chosen, "/login?next=/account")
        await at_account(visitor, email)


async def invite(site: Site, email: str, workspace: str | None = None) -> str:
    """The token of a new invite link for that address, to the administrator's workspace or another one."""
    mutation = "mutation ($input: InviteCreateInput!) { inviteCreate(input: $input) { url } }"
    body = {"query": mutation, "variables": {"input": {"email": email, "role": "EDITOR"}}}
    headers = {"X-Axonml-Workspace": workspace} if workspace else {}
    answer = await site.product.rest("POST", "/graphql", json=body, headers=headers)
    return str(answer.json()["data"]["inviteCreate"]["url"]).partition("/login#invite=")[2]


async def test_an_invite_makes_an_account_by_keyboard_alone(browser: Browser, site: Site) -> None:
    email, token = "invited@example.com", await invite(site, "invited@example.com")
    async with somebody(browser, site) as visitor:
        page = visitor.page
        await page.goto(f"{site.url}/login?next=/account")
        await expect(page.get_by_label("E-mail")).to_be_focused()
        async with page.expect_event("load"):  # the same document: only the fragment differs
            await page.goto(f"{site.url}/login?next=/account#invite={token}")
        form = page.get_by_role("form", name="Make an account")
        await expect(form.get_by_label("E-mail")).to_be_focused()
        await expect(page.get_by_role("heading", name="You are invited")).to_be_visible()
        assert page.url == f"{site.url}/login?next=/account"
        assert await page.evaluate(_UNLABELLED) == []
        for text in (email, "Ivy", "too short"):
            await page.keyboard.type(text)
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(alert(form)).not_to_have_text("")
        await expect(form.get_by_label("Password")).to_be_focused()
        await page.keyboard.type("password1234567")
        await page.keyboard.press("Enter")
        await expect(alert(form)).to_contain_text("easily guessed")
        await expect(form.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
        assert await visitor.cookies() == {}
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await at_account(visitor, email)
        assert "axonml_session /" in await visitor.cookies()
        assert not [one for one in visitor.requests if token in one.url or token in str(one.headers)]


async def test_an_invite_of_somebody_who_has_an_account_is_accepted_by_keyboard_alone(
    browser: Browser, site: Site
) -> None:
    email, other = await site.person("member"), await site.person("other")
    await site.product.graphql('mutation { workspaceCreate(input: {slug: "lab", name: "Lab"}) { id } }')
    token = await invite(site, email, "lab")
    async with somebody(browser, site) as visitor:
        page = await signed_in(visitor, other)
        await page.goto(f"{site.url}/login#invite={token}")
        accepting = page.get_by_role("form", name="Accept the invite")
        await expect(page.get_by_role("status")).to_have_text(f"You are signed in as Bea, {other}.")
        await expect(accepting.get_by_role("button")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(alert(accepting)).to_contain_text("this invite is not good")
        await page.goto(f"{site.url}/account")
        await sign_out(page)

        await page.goto(f"{site.url}/login?next=/account#invite={token}")
        registering = page.get_by_role("form", name="Make an account")
        await expect(registering.get_by_label("E-mail")).to_be_focused()
        for text in (email, "Bea", PASSWORD):
            await page.keyboard.type(text)
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(alert(registering)).to_contain_text("sign in and accept the invite")
        await expect(registering.get_by_label("E-mail")).to_be_focused()
        await page.get_by_role("button", name="I have an account").press("Enter")
        await expect(page.get_by_role("form", name="Sign in").get_by_label("E-mail")).to_be_focused()
        await page.keyboard.type(email)
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text(f"You are signed in as Bea, {email}.")
        await page.keyboard.press("Enter")
        await at_account(visitor, email)
        ask = "import('/assets/ask.js').then(({ ask }) => ask('{ workspaces { slug } }'))"
        found = await page.evaluate(ask)
        assert "lab" in [room["slug"] for room in found["workspaces"]]
        assert not [one for one in visitor.requests if token in one.url or token in str(one.headers)]


async def test_a_password_of_somebody_elses_choice_is_changed_first(browser: Browser, site: Site) -> None:
    email, chosen = "temporary@example.com", "four green boats on a quiet lake"
    mutation = "mutation ($input: UserCreateInput!) { userCreate(input: $input) { id } }"
    await site.product.graphql(mutation, input={"email": email, "password": PASSWORD})
    async with somebody(browser, site) as visitor:
        await visitor.sign_in(email, PASSWORD)
        page = await at_account(visitor, email)  # though it asked for no page
        await expect(page.get_by_text("Somebody else chose your password")).to_be_visible()
        await expect(page.get_by_label("Present password")).to_be_focused()
        await expect(page.get_by_role("region")).to_have_count(1)
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Tab")
        await page.keyboard.type(chosen)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("The password is changed.")
        await expect(page.get_by_text("Somebody else chose your password")).to_be_hidden()
        await expect(page.get_by_role("region", name="Sessions").get_by_role("listitem")).to_have_count(1)
        await page.get_by_role("link", name="GraphiQL").press("Enter")
        await page.wait_for_url(f"{site.url}/graphql")


async def test_two_tabs_whose_session_cookie_has_expired_renew_it_once(browser: Browser, site: Site) -> None:
    email = await site.person("tabs")
    async with somebody(browser, site, expired=2) as visitor:
        first = await signed_in(visitor, email)
        second = await visitor.context.new_page()
        await second.goto(f"{site.url}/account")
        await expect(second.get_by_text(email)).to_be_visible()
        ask = "import('/assets/session.js').then((session) => session.askSignedIn('{ viewer { email } }'))"
        renewals: list[Request] = []
        refused = asyncio.Semaphore(0)

        async def hold(route: Route) -> None:
            """A renewal waits until both tabs have found out that they need one."""
            if "authRefresh" in (route.request.post_data or ""):
                renewals.append(route.request)
                if len(renewals) == 1:
                    await refused.acquire()
                    await refused.acquire()
            await route.fallback()

        async def note(answer: Response) -> None:
            if "viewer" in (answer.request.post_data or "") and "UNAUTHENTICATED" in await answer.text():
                refused.release()

        await visitor.context.route("**/graphql", hold)
        visitor.context.on("response", note)
        await visitor.context.clear_cookies(name="axonml_session")
        found = await asyncio.gather(*(page.evaluate(ask) for page in (first, second)))
        assert found == [{"viewer": {"email": email}}] * 2
        assert len(renewals) == 1
