"""People at the sign-in and account pages in tests: with an authenticator app, with a phone that holds passkeys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pyotp
from playwright.async_api import Browser, Locator, Page, expect

from domain import ids
from tests.support.browser import Visitor, visiting
from tests.support.product import PASSWORD, Product

_LIKE_ADA = """
    WITH made AS (
        INSERT INTO users (id, email, name, password_hash, role, default_workspace_id, created_at)
        SELECT $1, $2, 'Bea', password_hash, 'user', default_workspace_id, created_at
          FROM users WHERE email = 'ada@example.com' RETURNING id, default_workspace_id
    ) INSERT INTO memberships (workspace_id, user_id, role) SELECT default_workspace_id, id, 'viewer' FROM made"""
_PHONE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@dataclass
class Site:
    """The server of these tests, under the name that passkeys are made for."""

    product: Product
    database: asyncpg.Connection

    @property
    def url(self) -> str:
        return f"http://localhost:{urlsplit(self.product.url).port}"

    async def person(self, name: str) -> str:
        """Somebody new, with everybody's password; the address."""
        email = f"{name}@example.com"
        await self.database.execute(_LIKE_ADA, ids.to_uuid(ids.new("usr")), email)
        return email

    async def ask(self, path: str, token: str | None = None, **body: Any) -> dict[str, Any]:
        """A REST request of somebody who uses no browser."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = await self.product.http.post(f"/api/auth/{path}", json=body, headers=headers)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def with_app(self, name: str) -> tuple[str, pyotp.TOTP]:
        """Somebody whose authenticator app is on: the address and the app. The next code that works is a step ahead."""
        email = await self.person(name)
        token = (await self.ask("login", email=email, password=PASSWORD))["token"]
        app = pyotp.TOTP((await self.ask("mfa/totp/setup", token))["secret"])
        await self.ask("mfa/totp/enable", token, code=app.now())
        return email, app


@asynccontextmanager
async def somebody(browser: Browser, site: Site, *, expired: int = 0) -> AsyncIterator[Visitor]:
    """A visitor, after whose visit nothing may have gone wrong in the browser.

    `expired`: how many requests find out that the session must be renewed, which browsers always complain about.
    """
    async with visiting(browser, site.url) as visitor:
        yield visitor
        assert (visitor.elsewhere, visitor.violations) == ([], [])
        assert [text.partition("status of ")[2][:3] for text in visitor.complaints] == ["401"] * expired


async def phone(visitor: Visitor, *, suggests: bool = False) -> None:
    """Gives the visitor an authenticator whose user is verified at once, and takes any suggestion of it."""
    if not suggests:
        await visitor.context.add_init_script("PublicKeyCredential.isConditionalMediationAvailable = async () => false")
    devices = await visitor.context.new_cdp_session(visitor.page)
    await devices.send("WebAuthn.enable")
    await devices.send("WebAuthn.addVirtualAuthenticator", {"options": _PHONE})


def shown(app: pyotp.TOTP, step: int = 0) -> str:
    """What the app shows now, or so many steps later. The next step's is taken already."""
    return app.at(datetime.now(UTC), counter_offset=step)


def wrong(app: pyotp.TOTP) -> str:
    """Six digits that are no code of these minutes."""
    right = {shown(app, step) for step in range(-3, 4)}
    return next(code for code in (digit * 6 for digit in "0123456789") if code not in right)


def alert(form: Locator) -> Locator:
    return form.get_by_role("alert")


async def signed_in(visitor: Visitor, email: str) -> Page:
    """At the account page, by password."""
    await visitor.sign_in(email, PASSWORD, "/login?next=/account")
    return await at_account(visitor, email)


async def at_account(visitor: Visitor, email: str) -> Page:
    page = visitor.page
    await page.wait_for_url(f"{visitor.origin}/account")
    await expect(page.get_by_text(email)).to_be_visible()
    return page


async def sign_out(page: Page) -> None:
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await page.wait_for_url("**/login")
