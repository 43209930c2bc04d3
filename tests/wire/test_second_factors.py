"""Second factors over real HTTP and WebSocket: REST, cookies, sockets, and a pending token that opens nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from domain import ids
from persistence.database import Database
from server.edge import public
from server.rest.routes import ROUTES, SOCKETS
from server.settings import RatesSettings, Settings
from tests.support.identity import EMAIL, PASSWORD
from tests.support.site import Site, bearer, problem, serving

TOTP, RECOVERY = "/api/auth/mfa/totp", "/api/auth/mfa/recovery"


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(database, tmp_path) as opened:
        yield opened


class Caller:
    """The administrator with an app."""

    def __init__(self, site: Site, token: str) -> None:
        self.site, self.token, self.secret = site, token, ""

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.site.http.post(path, json=body or None, headers=bearer(self.token))

    def code(self, offset: int = 0) -> str:
        return pyotp.TOTP(self.secret).at(self.site.instance.clock.now(), counter_offset=offset)

    async def set_up(self) -> None:
        self.secret = (await self.post(f"{TOTP}/setup")).json()["secret"]

    async def enable(self) -> list[str]:
        await self.set_up()
        answer = await self.post(f"{TOTP}/enable", code=self.code())
        assert answer.status_code == 200, answer.text
        codes: list[str] = answer.json()["recovery_codes"]
        return codes

    async def pending(self) -> str:
        challenge = (await self.site.login()).json()
        assert challenge.keys() == {"requires_mfa", "mfa_token"}
        return str(challenge["mfa_token"])


@pytest.fixture
async def ada(site: Site) -> Caller:
    return Caller(site, (await site.setup()).json()["token"])


async def test_from_setup_to_signing_in_with_a_code(site: Site, ada: Caller) -> None:
    made = (await ada.post(f"{TOTP}/setup")).json()
    assert made.keys() == {"secret", "qr_code", "otpauth_url"}
    assert made["qr_code"].startswith("data:image/png;base64,")
    ada.secret = made["secret"]
    assert problem(await ada.post(f"{TOTP}/verify", code=ada.code(7))) == (401, "UNAUTHENTICATED", "code")
    assert problem(await ada.post(f"{TOTP}/enable")) == (401, "UNAUTHENTICATED", "code")
    assert (await ada.post(f"{TOTP}/verify", code=ada.code())).json() == {"valid": True}
    enabled = await ada.post(f"{TOTP}/enable")
    assert (enabled.status_code, len(enabled.json()["recovery_codes"])) == (200, 10)
    assert problem(await ada.post(f"{TOTP}/enable", code=ada.code(1)))[:2] == (409, "CONFLICT")
    body = {"mfa_token": await ada.pending(), "code": ada.code(1)}
    for bad, field in (
        (body | {"code": "1"}, "code"),
        (body | {"code": 123456}, "code"),
        (body | {"mfa_token": ""}, "mfa_token"),
        (body | {"user": "x"}, "user"),
    ):
        assert problem(await site.http.post(f"{TOTP}/verify", json=bad)) == (422, "BAD_USER_INPUT", field)
    # What else the client sends along does not matter.
    pair = await site.http.post(f"{TOTP}/verify", json=body, headers=bearer("stale"))
    assert pair.json().keys() == {"token", "refresh_token", "expires_in", "user"}
    assert pair.json()["user"]["mfa_enabled"] is True
    assert problem(await site.http.post(f"{TOTP}/verify", json=body)) == (401, "UNAUTHENTICATED", "mfa_token")
    me = await site.http.get("/api/auth/me", headers=bearer(pair.json()["token"]))
    assert me.json() == pair.json()["user"]


async def test_a_second_step_may_end_in_cookies(site: Site, ada: Caller) -> None:
    codes = await ada.enable()
    async with site.browser() as browser:
        body = {"mfa_token": await ada.pending(), "code": ada.code(1), "session": "cookie"}
        assert (await browser.post(f"{TOTP}/verify", json=body)).json().keys() == {"expires_in", "user"}
        assert (await browser.get("/api/auth/me")).json()["email"] == EMAIL
        assert (await browser.post(f"{TOTP}/verify", json={"code": ada.code(1)})).status_code == 401  # used up
        text = """mutation ($input: MfaCodeInput!) { recoveryCodeUse(input: $input) { token user { email } } }"""
        given = {"mfaToken": await ada.pending(), "code": codes[0], "session": "COOKIE"}
        answer = await browser.post("/graphql", json={"query": text, "variables": {"input": given}})
        assert answer.json() == {"data": {"recoveryCodeUse": {"token": None, "user": {"email": EMAIL}}}}


async def test_recovery_codes_over_rest(site: Site, ada: Caller) -> None:
    assert problem(await ada.post(f"{RECOVERY}/generate"))[:2] == (409, "CONFLICT")
    first = await ada.enable()
    second = (await ada.post(f"{RECOVERY}/generate")).json()["recovery_codes"]
    assert len(set(first) | set(second)) == 20
    token = await ada.pending()
    old = await site.http.post(RECOVERY, json={"mfa_token": token, "code": first[0]})
    assert problem(old) == (401, "UNAUTHENTICATED", "code")
    used = await site.http.post(RECOVERY, json={"mfa_token": token, "code": second[0].lower()})
    assert used.json().keys() == {"token", "refresh_token", "expires_in", "user"}
    site.instance.clock.forward(minutes=6)
    assert problem(await ada.post(f"{RECOVERY}/generate"))[:2] == (401, "MFA_REQUIRED")
    assert (await ada.post(f"{TOTP}/verify", code=ada.code())).json() == {"valid": True}
    assert (await ada.post(f"{RECOVERY}/generate")).status_code == 200


@pytest.mark.parametrize(
    ("path", "instead"),
    [
        (f"{TOTP}/setup", f"{TOTP}/setup"),
        (RECOVERY, f"{RECOVERY}/generate"),
        (f"{RECOVERY}/generate", f"{RECOVERY}/generate"),
    ],
)
async def test_nothing_changes_by_get(site: Site, ada: Caller, path: str, instead: str) -> None:
    await ada.enable()
    before = await site.instance.database.fetchval("SELECT string_agg(code_hash, ',' ORDER BY id) FROM recovery_codes")
    answer = await site.http.get(path, headers=bearer(ada.token))
    assert problem(answer)[:2] == (405, "METHOD_NOT_ALLOWED")
    assert f"POST {instead}" in answer.json()["error"]["message"]
    assert "POST" in answer.headers["allow"]
    after = await site.instance.database.fetchval("SELECT string_agg(code_hash, ',' ORDER BY id) FROM recovery_codes")
    assert after == before
    assert (await site.http.get(path)).status_code == 401


async def _opened(site: Site, credential: str) -> Any:
    socket = await connect(f"ws://127.0.0.1:{site.port}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")])
    await socket.send(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {credential}"}}))
    assert json.loads(await socket.recv())["type"] == "connection_ack"
    return socket


async def test_enabling_closes_the_sockets_of_other_sessions(site: Site, ada: Caller) -> None:
    other = await _opened(site, (await site.login()).json()["token"])
    own = await _opened(site, ada.token)
    await ada.enable()
    async with asyncio.timeout(1):
        with pytest.raises(ConnectionClosed):
            await other.recv()
    assert other.close_code == 4403
    await own.send('{"type": "ping"}')
    assert json.loads(await own.recv()) == {"type": "pong"}
    await own.close()


SIGNED_IN_ROUTES = [
    (operation.method.upper(), re.sub(r"\{[^}]+\}", "x", operation.path))
    for operation in (route.operation for route in ROUTES)
    if (operation.method.upper(), operation.path) not in public.ROUTES - public.EITHER_WAY
]


@pytest.fixture
async def unlimited(database: Database, tmp_path: Path) -> AsyncIterator[Caller]:
    """A server that looks at every credential, however many were wrong."""
    rates = RatesSettings(refused="off", visitors="off", sign_in="off", refresh="off")
    async with serving(database, tmp_path, Settings(rates=rates)) as opened:
        yield Caller(opened, (await opened.setup()).json()["token"])


async def test_the_pending_token_is_refused_everywhere_else(unlimited: Caller) -> None:
    ada, site = unlimited, unlimited.site
    await ada.enable()
    token = await ada.pending()
    basic = base64.b64encode(f"x:{token}".encode()).decode()
    presented = (bearer(token), {"Authorization": f"Basic {basic}"}, {"Authorization": token})
    cookie = {"Cookie": f"axonml_session={token}; axonml_refresh={token}", "Origin": site.origin}
    bodies = {"/graphql": {"query": "{ viewer { id } }"}, f"{TOTP}/verify": {"code": "123456"}}
    asked = [*SIGNED_IN_ROUTES, ("POST", "/graphql"), ("GET", "/nothing")]
    assert len(asked) > 60
    for method, path in asked:
        for headers in (*presented, cookie | {"Sec-Fetch-Site": "same-origin"}):
            answer = await site.http.request(
                method, path, headers=headers | {"Content-Type": "application/json"}, json=bodies.get(path, {})
            )
            assert "UNAUTHENTICATED" in answer.text or (method == "HEAD" and answer.status_code == 401), (method, path)
            assert answer.status_code == 401 or path == "/graphql"
    assert (await site.http.post("/api/auth/refresh", json={"refresh_token": token})).status_code == 401
    with pytest.raises(ConnectionClosed):
        await _opened(site, token)
    run = SOCKETS[0].path.replace("{id}", ids.new("run"))
    for headers in presented:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{site.port}{run}", additional_headers=headers)
        assert refused.value.response.status_code == 401
    # And it still is what it was made for.
    done = await site.http.post(f"{TOTP}/verify", json={"mfa_token": token, "code": ada.code(1)})
    assert done.status_code == 200


async def test_wrong_passwords_wait_longer_and_longer_for_known_and_unknown_alike(site: Site, ada: Caller) -> None:
    said = []
    for email in (EMAIL, "nobody@example.org"):
        for _ in range(10):
            answer = await site.http.post("/api/auth/login", json={"email": email, "password": "wrong"})
            assert problem(answer)[:2] == (401, "UNAUTHENTICATED")
        answer = await site.http.post("/api/auth/login", json={"email": email, "password": PASSWORD})
        assert problem(answer)[:2] == (429, "RATE_LIMITED")
        said.append((answer.headers["retry-after"], answer.json()["error"]["message"]))
    assert said[0] == said[1]
    assert said[0][0] == "1"
    site.instance.clock.forward(seconds=1)
    assert (await site.login()).status_code == 200
