"""Signing in and out over real HTTP and WebSocket: REST, the graph and cookies, with clients we did not write."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from domain import ids
from persistence.database import Database
from tests.support.identity import EMAIL, PASSWORD
from tests.support.site import Site, bearer, problem, serving

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(database, tmp_path) as opened:
        yield opened


@pytest.fixture
async def ready(site: Site) -> Site:
    assert (await site.setup()).status_code == 201
    return site


async def test_setup_over_rest_once(site: Site) -> None:
    assert problem(await site.setup(token="wrong")) == (401, "UNAUTHENTICATED", "token")
    assert problem(await site.setup(password="too short")) == (422, "BAD_USER_INPUT", "password")
    assert problem(await site.setup(role="admin")) == (422, "BAD_USER_INPUT", "role")
    first = await site.setup()
    assert first.status_code == 201
    assert first.json().keys() == {"token", "refresh_token", "expires_in", "user"}
    assert problem(await site.setup(token="x")) == (409, "CONFLICT", None)
    user = first.json()["user"]
    assert user.items() >= {"email": EMAIL, "name": "ada", "role": "admin", "mfa_enabled": False}.items()
    me = await site.http.get("/api/auth/me", headers=bearer(first.json()["token"]))
    assert me.json() == user


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("admin", "admin"),
        ("admin@localhost", "admin"),
        ("admin@axonml.local", "admin"),  # as documented for older servers, and the next one too
        ("DevOps@automatanexus.com", "Invertedskynet2$"),
    ],
)
async def test_there_are_no_default_users(ready: Site, email: str, password: str) -> None:
    answer = await ready.login(email=email, password=password)
    assert problem(answer) == (401, "UNAUTHENTICATED", None)


async def test_failed_logins_answer_alike(ready: Site) -> None:
    answers = [await ready.login(password=PASSWORD + "x"), await ready.login(email="nobody@example.org")]
    bodies = []
    for answer in answers:
        body = answer.json()["error"]
        del body["request_id"]
        bodies.append((answer.status_code, body, sorted(answer.headers)))
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"email": 1, "password": []}', b'{"email": "a@b.c"}', b"\xff\xfe", b"[" * 100_000,
     b'{"email":"a@b.c","password":"x","mfa":true}', b'{"email":"a@b.c","password":"' + b"x" * 2_000 + b'"}'],
)  # fmt: skip
async def test_garbage_at_login_is_refused_without_a_hash(ready: Site, body: bytes) -> None:
    before = ready.instance.hasher.computed
    answer = await ready.http.post("/api/auth/login", content=body, headers=JSON)
    status, code, _ = problem(answer)
    assert status in (400, 422)
    assert code == "BAD_USER_INPUT"
    assert ready.instance.hasher.computed == before


async def test_a_session_over_rest_from_login_to_logout(ready: Site) -> None:
    pair = (await ready.login()).json()
    again = await ready.http.post("/api/auth/refresh", json={"refresh_token": pair["refresh_token"]})
    assert again.status_code == 200
    assert again.json()["refresh_token"] != pair["refresh_token"]
    assert "set-cookie" not in again.headers
    out = await ready.http.post("/api/auth/logout", headers=bearer(pair["token"]))
    assert (out.status_code, out.content) == (204, b"")
    for token in (pair["token"], again.json()["token"]):
        assert problem(await ready.http.get("/api/auth/me", headers=bearer(token)))[:2] == (401, "UNAUTHENTICATED")
    body = {"refresh_token": again.json()["refresh_token"]}
    assert problem(await ready.http.post("/api/auth/refresh", json=body))[:2] == (401, "UNAUTHENTICATED")
    assert problem(await ready.http.post("/api/auth/refresh")) == (401, "UNAUTHENTICATED", "refresh_token")


async def test_fifty_refreshes_at_once_over_http_are_one(ready: Site) -> None:
    pair = (await ready.login()).json()
    answers = await asyncio.gather(
        *(ready.http.post("/api/auth/refresh", json={"refresh_token": pair["refresh_token"]}) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_a_browser_signs_in_refreshes_and_signs_out_with_cookies(ready: Site) -> None:
    async with ready.browser() as browser:
        given = {"email": EMAIL, "password": PASSWORD, "session": "cookie"}
        answer = await browser.post("/api/auth/login", json=given)
        assert answer.json().keys() == {"expires_in", "user"}
        assert all("HttpOnly" in one for one in answer.headers.get_list("set-cookie"))
        assert (await browser.get("/api/auth/me")).json()["email"] == EMAIL
        kept = dict(browser.cookies.jar._cookies["127.0.0.1"]["/graphql"])  # type: ignore[attr-defined]
        text = {"query": "mutation { authRefresh(input: {}) { token expiresIn } }"}
        renewed = (await browser.post("/graphql", json=text)).json()
        assert renewed == {"data": {"authRefresh": {"token": None, "expiresIn": 600}}}
        assert dict(browser.cookies.jar._cookies["127.0.0.1"]["/graphql"]) != kept  # type: ignore[attr-defined]
        assert (await browser.post("/api/auth/refresh", json={})).json().keys() == {"expires_in", "user"}
        assert (await browser.get("/api/auth/me")).status_code == 200
        assert (await browser.post("/api/auth/logout")).status_code == 204
        assert list(browser.cookies.jar) == []
        assert (await browser.get("/api/auth/me")).status_code == 401


async def test_a_cookie_that_is_no_longer_good_is_taken_away_and_does_not_bar_the_login(ready: Site) -> None:
    async with ready.browser() as browser:
        given = {"email": EMAIL, "password": PASSWORD, "session": "COOKIE"}
        login = {
            "query": "mutation ($input: AuthLoginInput!) { authLogin(input: $input) { token user { email } } }",
            "variables": {"input": given},
        }
        expected = {"data": {"authLogin": {"token": None, "user": {"email": EMAIL}}}}
        assert (await browser.post("/graphql", json=login)).json() == expected
        await ready.instance.database.execute("UPDATE sessions SET ended_at = now()")
        refresh = await browser.post("/api/auth/refresh", json={})
        assert problem(refresh)[:2] == (401, "UNAUTHENTICATED")
        assert list(browser.cookies.jar) == []
        browser.cookies.set("axonml_session", "stale", domain="127.0.0.1")
        assert (await browser.post("/graphql", json=login)).json() == expected
        assert (await browser.get("/api/auth/me")).status_code == 200


async def test_a_foreign_page_cannot_use_the_cookies(ready: Site) -> None:
    async with ready.browser() as browser:
        await browser.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD, "session": "cookie"})
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            for path in ("/api/auth/logout", "/api/auth/keys", "/graphql"):
                answer = await browser.post(path, json={"query": "mutation { authLogout { ended } }"}, headers=headers)
                assert answer.status_code == 403
        assert (await browser.get("/api/auth/me")).status_code == 200


async def test_keys_over_rest(ready: Site) -> None:
    signed_in = bearer((await ready.login()).json()["token"])
    made = await ready.http.post("/api/auth/keys", json={"name": "ci", "scopes": ["runs:write"]}, headers=signed_in)
    assert made.status_code == 201
    secret, key = made.json()["secret"], made.json()["api_key"]
    assert key["prefix"] == secret[:12]
    assert (key["expires_at"], key["revoked_at"]) == ("2026-05-01T09:30:00.000Z", None)
    for bad, field in (
        ({"name": "", "scopes": ["runs:read"]}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["admin"]}, "scopes[0]"),
        ({"name": "x", "scopes": ["runs:read"], "expires_at": "tomorrow"}, "expires_at"),
        ({"name": "x", "scopes": ["runs:read"], "expires_at": "2026-01-31T09:30:00Z"}, "expires_at"),
        ({"name": "x", "scopes": ["runs:read"], "user_id": "usr_1"}, "user_id"),
    ):
        answer = await ready.http.post("/api/auth/keys", json=bad, headers=signed_in)
        assert problem(answer) == (422, "BAD_USER_INPUT", field)
    endless = {"name": "x", "scopes": ["runs:read"], "expires_at": None}
    assert (await ready.http.post("/api/auth/keys", json=endless, headers=signed_in)).json()["api_key"][
        "expires_at"
    ] is None
    page = (await ready.http.get("/api/auth/keys", params={"limit": 1}, headers=signed_in)).json()
    assert (len(page["items"]), page["total"]) == (1, 2)
    following = {"limit": 1, "cursor": page["next_cursor"]}
    rest = (await ready.http.get("/api/auth/keys", params=following, headers=signed_in)).json()
    assert rest["next_cursor"] is None
    assert {page["items"][0]["id"], rest["items"][0]["id"]} >= {key["id"]}
    both = {"cursor": page["next_cursor"], "offset": 1}
    assert problem(await ready.http.get("/api/auth/keys", params=both, headers=signed_in))[2] == "offset"
    assert (await ready.http.get("/api/auth/me", headers=bearer(secret))).json()["email"] == EMAIL
    assert (await ready.http.get("/api/auth/me", auth=("anything", secret))).json()["email"] == EMAIL
    assert problem(await ready.http.get("/api/auth/keys", headers=bearer(secret))) == (403, "FORBIDDEN", None)
    for _ in range(2):
        assert (await ready.http.delete(f"/api/auth/keys/{key['id']}", headers=signed_in)).status_code == 204
    assert problem(await ready.http.get("/api/auth/me", headers=bearer(secret)))[:2] == (401, "UNAUTHENTICATED")
    assert problem(await ready.http.delete("/api/auth/keys/run_1", headers=signed_in)) == (400, "BAD_USER_INPUT", "id")


async def test_a_foreign_workspace_does_not_exist(ready: Site) -> None:
    signed_in = bearer((await ready.login()).json()["token"])
    for slug, status in (("default", 200), ("other", 404)):
        answer = await ready.http.get("/api/auth/me", headers=signed_in | {"X-Axonml-Workspace": slug})
        assert answer.status_code == status


async def _opened(site: Site, credential: str) -> Any:
    socket = await connect(f"ws://127.0.0.1:{site.port}/graphql", subprotocols=["graphql-transport-ws"])  # type: ignore[list-item]
    await socket.send(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {credential}"}}))
    assert json.loads(await socket.recv())["type"] == "connection_ack"
    return socket


async def _drained(socket: Any) -> None:
    async for _ in socket:  # the answer may or may not come before the close
        pass


async def test_sockets_close_with_their_session_and_with_their_key(ready: Site) -> None:
    token = (await ready.login()).json()["token"]
    made = await ready.http.post("/api/auth/keys", json={"name": "k", "scopes": ["runs:read"]}, headers=bearer(token))
    by_session, by_key = await _opened(ready, token), await _opened(ready, made.json()["secret"])
    await ready.http.delete(f"/api/auth/keys/{made.json()['api_key']['id']}", headers=bearer(token))
    async with asyncio.timeout(1):
        with pytest.raises(ConnectionClosed) as closed:
            await by_key.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403
    await ready.http.post("/api/auth/logout", headers=bearer(token))
    async with asyncio.timeout(1):
        with pytest.raises(ConnectionClosed):
            await by_session.recv()
    for credential in (token, made.json()["secret"], "nonsense"):
        with pytest.raises(ConnectionClosed):
            await _opened(ready, credential)


async def test_sockets_close_when_their_session_or_key_ends_elsewhere(ready: Site) -> None:
    token = (await ready.login()).json()["token"]
    other = (await ready.login()).json()["token"]
    made = await ready.http.post("/api/auth/keys", json={"name": "k", "scopes": ["runs:read"]}, headers=bearer(token))
    by_session, by_key, staying = [await _opened(ready, one) for one in (token, made.json()["secret"], other)]
    database = ready.instance.database
    scope = await ready.instance.identity.authenticate(authorization=f"Bearer {token}")
    assert scope.principal.session_id is not None
    session = ids.to_uuid(scope.principal.session_id)
    for socket, sql in (
        (by_key, "UPDATE api_keys SET expires_at = '2026-01-01' WHERE $1::uuid IS NOT NULL"),
        (by_session, "UPDATE sessions SET ended_at = now() WHERE id = $1"),
    ):
        await database.execute(sql, session)
        async with asyncio.timeout(2):
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        assert socket.close_code == 4403
    await staying.send('{"type": "ping"}')
    assert json.loads(await staying.recv()) == {"type": "pong"}


async def test_signing_in_and_out_over_a_socket(ready: Site) -> None:
    token = (await ready.login()).json()["token"]
    socket = await _opened(ready, token)
    login = (
        f'mutation {{ authLogin(input: {{email: "{EMAIL}", password: "{PASSWORD}", session: COOKIE}}) {{ token }} }}'
    )
    await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": login}}))
    refused = json.loads(await socket.recv())
    assert "BAD_USER_INPUT" in json.dumps(refused)
    out = "mutation { authLogout { ended } }"
    await socket.send(json.dumps({"id": "2", "type": "subscribe", "payload": {"query": out}}))
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionClosed):
            await _drained(socket)
    assert socket.close_code == 4403
    assert (await ready.http.get("/api/auth/me", headers=bearer(token))).status_code == 401
