"""The first administrator and a newcomer at the pages of a server that is open and requires second factors."""

from __future__ import annotations

from urllib.parse import urlsplit

import pyotp
import pytest
from playwright.async_api import Browser, Page, expect

from server.settings import AuthSettings, RatesSettings, Settings
from tests.support.browser import Visitor, visiting
from tests.support.pages import alert, at_account, phone, shown
from tests.support.product import running

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
SETTINGS = Settings(auth=AuthSettings(registration="open", require_mfa=True), rates=RatesSettings(sign_in="off"))
ADA, BO, SHORT, TOO_SHORT = "ada@example.com", "bo@example.com", "vq8#mZ2k", "vq8#mZ2"
_UNLABELLED = """
[...document.querySelectorAll("input:not([hidden])")].filter((field) => !field.labels.length).map((field) => field.name)
"""


async def type_all(page: Page, *texts: str) -> None:
    """Each text into the next field, and sent."""
    for text in texts[:-1]:
        await page.keyboard.type(text)
        await page.keyboard.press("Tab")
    await page.keyboard.type(texts[-1])
    await page.keyboard.press("Enter")


async def must_add(page: Page) -> None:
    """Nothing is offered but adding a factor and signing out, and the keyboard is where one begins."""
    await expect(page.locator("#must-add")).to_be_visible()
    await expect(page.get_by_role("button", name="Set up an app")).to_be_focused()
    await expect(page.get_by_role("region")).to_have_count(2)
    await expect(page.get_by_role("link", name="GraphiQL")).to_be_hidden()
    await expect(page.get_by_role("button", name="Sign out everywhere")).to_be_hidden()
    await expect(page.get_by_role("button", name="Sign out", exact=True)).to_be_visible()
    assert await page.evaluate(_UNLABELLED) == []


async def free(page: Page, origin: str) -> None:
    """Everything is open."""
    await expect(page.locator("#must-add")).to_be_hidden()
    await expect(page.get_by_role("region", name="Sessions").get_by_role("listitem")).to_have_count(1)
    await page.get_by_role("link", name="GraphiQL").press("Enter")
    await page.wait_for_url(f"{origin}/graphql")


def unharmed(visitor: Visitor) -> None:
    assert (visitor.elsewhere, visitor.violations) == ([], [])
    # Whether somebody is still signed in is asked by the login page, and browsers complain about a no.
    assert {text.partition("status of ")[2][:3] for text in visitor.complaints} <= {"401"}


async def test_an_administrator_and_a_newcomer_are_led_to_their_second_factors(
    browser: Browser, database_url: str
) -> None:
    async with running(database_url, settings=SETTINGS, set_up=False) as product:
        origin = f"http://localhost:{urlsplit(product.url).port}"
        setup_token = await product.services.identity.founder.ensure()
        async with visiting(browser, origin) as visitor:
            page = visitor.page
            await page.goto(f"{origin}/setup#{setup_token}")
            await expect(page.get_by_text("At least 8 characters")).to_be_visible()
            await expect(page.get_by_label("E-mail")).to_be_focused()
            await type_all(page, ADA, "Ada", TOO_SHORT)
            await expect(page.get_by_label("Password")).to_be_focused()
            await expect(page.get_by_role("alert")).not_to_have_text("")
            await type_all(page, SHORT)
            await at_account(visitor, ADA)  # though it asked for no page
            await must_add(page)
            await page.keyboard.press("Enter")
            await expect(page.get_by_label("Code that the app shows")).to_be_focused()
            app = pyotp.TOTP((await page.locator("#totp-secret").inner_text()).replace(" ", ""))
            await type_all(page, shown(app))
            await expect(page.get_by_role("heading", name="Your new recovery codes")).to_be_focused()
            await page.get_by_role("button", name="Turn off").click()
            dialog = page.get_by_role("dialog", name="Turn the authenticator app off?")
            await type_all(page, SHORT)
            await expect(alert(dialog)).to_contain_text("your last one")
            await dialog.get_by_role("button", name="Cancel").click()
            await free(page, origin)
            unharmed(visitor)

        async with visiting(browser, origin) as visitor:
            await phone(visitor)
            page = visitor.page
            await page.goto(f"{origin}/login")
            await page.get_by_role("button", name="Make an account").press("Enter")
            form = page.get_by_role("form", name="Make an account")
            await expect(page.get_by_role("heading", name="Make an account")).to_be_visible()
            await expect(page.get_by_role("status")).to_have_text("It comes with a workspace of your own.")
            await expect(form.get_by_label("E-mail")).to_be_focused()
            assert await page.evaluate(_UNLABELLED) == []
            await page.get_by_role("button", name="I have an account").press("Enter")
            await expect(page.get_by_role("form", name="Sign in").get_by_label("E-mail")).to_be_focused()
            await page.get_by_role("button", name="Make an account").press("Enter")
            await type_all(page, BO, "Bo", TOO_SHORT)
            await expect(form.get_by_label("Password")).to_be_focused()
            await type_all(page, "password")
            await expect(alert(form)).to_contain_text("easily guessed")
            await type_all(page, SHORT)
            await expect(page.get_by_role("status")).to_contain_text("There is an account for this address now")
            assert await visitor.cookies() == {}
            signing_in = page.get_by_role("form", name="Sign in")
            await expect(signing_in.get_by_label("E-mail")).to_have_value(BO)
            await expect(signing_in.get_by_label("Password")).to_be_focused()
            await type_all(page, SHORT)
            await at_account(visitor, BO)
            await must_add(page)
            await page.get_by_label("Name of a new passkey").fill("phone")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("status")).to_contain_text("The passkey is added.")
            await free(page, origin)
            unharmed(visitor)
