"""Signing in from a browser that holds a session already: the new one takes its place, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from persistence.database import Database
from tests.support.identity import EMAIL, PASSWORD, member
from tests.support.site import Site, bearer, serving

OTHER = "grace@example.com"
GRAPH = "mutation ($input: AuthLoginInput!) { authLogin(input: $input) { user { email } } }"


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(database, tmp_path) as opened:
        assert (await opened.setup()).status_code == 201
        await member(opened.instance, OTHER)
        await database.execute("UPDATE sessions SET ended_at = now(), end_reason = 'before'")
        yield opened


async def _login(
    browser: httpx.AsyncClient, email: str = EMAIL, *, graph: bool = False, **other: Any
) -> httpx.Response:
    given = {"email": email, "password": PASSWORD, "session": "cookie"}
    if graph:
        body = {"query": GRAPH, "variables": {"input": {**given, "session": "COOKIE"}}}
        return await browser.post("/graphql", json=body, **other)
    return await browser.post("/api/auth/login", json=given, **other)


async def _sessions(site: Site) -> list[tuple[str, str | None]]:
    """Whose, and why it ended; in the order in which they were opened."""
    rows = await site.instance.database.fetch(
        "SELECT u.email, s.end_reason FROM sessions s JOIN users u ON u.id = s.user_id"
        " WHERE s.end_reason IS DISTINCT FROM 'before' ORDER BY s.id"
    )
    return [(row["email"], row["end_reason"]) for row in rows]


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("email", [EMAIL, OTHER])
async def test_the_session_before_ends_whoever_signs_in(site: Site, email: str, graph: bool) -> None:
    async with site.browser() as browser:
        assert (await _login(browser)).status_code == 200
        before = browser.cookies["axonml_session"]
        assert (await _login(browser, email, graph=graph)).status_code == 200
        assert (await browser.get("/api/auth/me")).json()["email"] == email
        assert (await site.http.get("/api/auth/me", headers=bearer(before))).status_code == 401
        assert await _sessions(site) == [(EMAIL, "replaced"), (email, None)]
    told = await site.instance.database.fetch(
        "SELECT a.action, u.email FROM audit_events a JOIN users u ON u.id = a.actor_id ORDER BY a.at DESC LIMIT 2"
    )
    assert {(row["action"], row["email"]) for row in told} == {("authLogout", EMAIL), ("authLogin", email)}


async def test_a_session_ends_also_when_its_token_is_over(site: Site) -> None:
    async with site.browser() as browser:
        await _login(browser)
        site.instance.clock.forward(hours=2)
        assert (await browser.get("/api/auth/me")).status_code == 401
        await _login(browser, OTHER)
    assert await _sessions(site) == [(EMAIL, "replaced"), (OTHER, None)]


async def test_what_signs_nobody_in_or_hands_no_cookies_over_ends_nothing(site: Site) -> None:
    async with site.browser() as browser:
        await _login(browser)
        wrong = {"email": EMAIL, "password": "not the password at all", "session": "cookie"}
        assert (await browser.post("/api/auth/login", json=wrong)).status_code == 401
        tokens = {"email": OTHER, "password": PASSWORD}
        assert (await browser.post("/api/auth/login", json=tokens)).json()["token"]
        assert (await browser.post("/api/auth/refresh", json={})).status_code == 200
        assert (await browser.get("/api/auth/me")).json()["email"] == EMAIL
        cookie = f"axonml_session={browser.cookies['axonml_session']}"
        signed = cookie[:-8] + "AAAAAAAA"
        for made_up in ("axonml_session=x", "axonml_session=a.b.c", signed):
            own = {"Cookie": made_up, "Origin": site.origin}
            assert (await _login(site.http, OTHER, headers=own)).status_code == 200
        site.http.cookies.clear()
    assert (await _sessions(site))[0] == (EMAIL, None)
    assert "replaced" not in {reason for _, reason in await _sessions(site)}


async def test_without_a_cookie_every_session_goes_on(site: Site) -> None:
    for _ in range(2):
        assert (await site.login()).status_code == 200
        assert (await _login(site.http)).status_code == 200
        site.http.cookies.clear()
    assert {reason for _, reason in await _sessions(site)} == {None}


@pytest.mark.parametrize("graph", [False, True])
async def test_no_page_of_others_ends_a_session(site: Site, graph: bool) -> None:
    """Neither by a request with the cookie, nor by one that a header of its own keeps from being looked at as such."""
    async with site.browser() as browser:
        await _login(browser)
        for foreign in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await _login(browser, OTHER, graph=graph, headers=foreign)).status_code == 403
            bearing = {**foreign, "Authorization": "Bearer x"}
            await _login(browser, OTHER, graph=graph, headers={**bearing, "Cookie": _cookies(browser)})
        assert (await _sessions(site))[0] == (EMAIL, None)


async def test_of_two_at_once_both_are_signed_in_and_the_session_before_ends_once(site: Site) -> None:
    async with site.browser() as browser, site.browser() as one, site.browser() as other:
        await _login(browser)
        for tab in (one, other):
            tab.cookies.update(browser.cookies)
        answers = await asyncio.gather(_login(one), _login(other, OTHER))
        assert [answer.status_code for answer in answers] == [200, 200]
        assert [(await tab.get("/api/auth/me")).json()["email"] for tab in (one, other)] == [EMAIL, OTHER]
    assert sorted(await _sessions(site), key=str) == sorted(
        [(EMAIL, "replaced"), (EMAIL, None), (OTHER, None)], key=str
    )
    ended = await site.instance.database.fetchval("SELECT count(*) FROM audit_events WHERE action = 'authLogout'")
    assert ended == 1


def _cookies(browser: httpx.AsyncClient) -> str:
    return f"axonml_session={browser.cookies['axonml_session']}"
