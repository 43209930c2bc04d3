"""Attacks on the server as it is served: forged credentials, exhaustion, and what leaves it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from server.graphql.documents import LONGEST, LONGEST_ANONYMOUS
from server.protocol import HEAD_BYTES
from server.settings import LimitsSettings, Settings
from tests.support.attacks import ENDPOINT, MODEL, RUN, World
from tests.support.product import PASSWORD, Product, running
from tests.support.raw import answer_to
from tests.support.registry import weights_file

BLINK = 3.0
"""Seconds in which a refusal must come, also on a busy machine."""


# --- credentials ---------------------------------------------------------------------------------------


async def test_credentials_that_a_browser_adds_are_not_taken_from_foreign_pages(world: World) -> None:
    basic = {"Authorization": "Basic " + base64.b64encode(f"x:{world.product.key}".encode()).decode()}
    http, body = world.product.http, {"name": "forged"}
    for foreign in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
    ):
        refused = await http.post("/api/experiments", json=body, headers={**basic, **foreign})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN"), foreign
    own = await http.post("/api/experiments", json=body, headers={**basic, "Origin": world.product.url})
    assert own.status_code == 201


async def test_a_second_authorization_is_refused_and_neither_is_taken(world: World) -> None:
    for first, second in ((world.product.token, "x"), ("x", world.product.token)):
        headers = [("Authorization", f"Bearer {first}"), ("authorization", f"Bearer {second}")]
        answer = await world.product.http.get("/api/auth/me", headers=headers)
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, "Authorization")


@pytest.mark.parametrize(
    "request_",
    [
        {"query": "query A { serverInfo { name } } query B { viewer { id } }", "operationName": "B"},
        {"query": "query A { viewer { id } } query A { serverInfo { name } }", "operationName": "A"},
        {"query": "{ serverInfo { name } } { viewer { id } }"},
        {"query": "{ serverInfo: viewer { id } }"},
        {"query": "{ ... { ...F } } fragment F on Query { ...G } fragment G on Query { viewer { id } }"},
        {"query": "query ($yes: Boolean = false) { viewer @include(if: $yes) { id } serverInfo { name } }"},
        {"query": "mutation { authLogout { ended } authRefresh(input: {}) { token } }"},
        {"query": "subscription { __typename }"},
        {"query": "{ serverInfo { name } __schema { types { name } } }"},
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "multipart/mixed"])
async def test_no_document_hides_what_needs_a_caller(product: Product, request_: Any, accept: str) -> None:
    answer = await product.http.post("/graphql", json=request_, headers={"Accept": accept})
    assert '"data":{' not in answer.text.replace(" ", "")
    assert '"code":"' in answer.text.replace(" ", "")
    assert "@" not in answer.text


async def test_a_login_never_takes_over_a_session_that_was_there(product: Product) -> None:
    account = {"email": "ada@example.com", "password": PASSWORD, "session": "cookie"}
    first = await product.http.post("/api/auth/login", json=account)
    planted = product.http.cookies["axonml_session"]
    again = await product.http.post("/api/auth/login", json=account, headers={"Origin": product.url})
    assert (first.status_code, again.status_code) == (200, 200)
    assert product.http.cookies["axonml_session"] != planted


async def _events_of(world: World, headers: dict[str, str], end: Any) -> str:
    """What a stream said until it ended, which `end` makes it do once it has begun."""
    query = f'subscription {{ runUpdated(runId: "{world.ids["run"]}") {{ name }} }}'
    said = ""
    async with (
        asyncio.timeout(20),
        world.product.http.stream(
            "POST", "/graphql", json={"query": query}, headers={**headers, "Accept": "text/event-stream"}
        ) as stream,
    ):
        async for text in stream.aiter_text():
            if RUN in text and RUN not in said:
                await end()
            said += text
    return said


async def test_event_streams_end_with_their_session_and_with_their_key(world: World) -> None:
    http = world.product.http
    signed = await http.post("/api/auth/login", json={"email": "ada@example.com", "password": PASSWORD})
    session = {"Authorization": f"Bearer {signed.json()['token']}"}
    assert RUN in await _events_of(world, session, lambda: http.post("/api/auth/logout", headers=session))
    key = await world.key("runs:read")
    newest = (await world.product.rest("GET", "/api/auth/keys")).json()["items"][0]["id"]
    assert RUN in await _events_of(world, key, lambda: world.product.rest("DELETE", f"/api/auth/keys/{newest}"))


# --- exhaustion ----------------------------------------------------------------------------------------

_FRAGMENTS = " ".join(f"fragment F{n} on User {{ id email name role createdAt }}" for n in range(190))
_SPREADS = " ".join(f"...F{n}" for n in range(190))
HEAVY = {
    "a comment of megabytes": "#" + "x" * 4_000_000 + "\n{ serverInfo { name } }",
    "commas": "," * 4_000_000 + "{ serverInfo { name } }",
    "a string of megabytes": '{ node(id: "' + "\\u0041" * 600_000 + '") { id } }',
    "fragments against each other": f"{{ viewer {{ {_SPREADS} }} }} {_FRAGMENTS}",
    "nesting": "{ a" * 3_000 + "}" * 3_000,
    "a nested literal": "{ node(id: " + "[" * 3_000 + "]" * 3_000 + ") { id } }",
    "an endless number": "query ($n: Int = " + "9" * 5_000 + ") { runs(first: $n) { nodes { id } } }",
}


@pytest.mark.parametrize("name", HEAVY)
async def test_a_heavy_document_is_refused_at_once(product: Product, name: str) -> None:
    for headers in ({}, product.headers):
        started = time.perf_counter()
        answer = await product.http.post("/graphql", json={"query": HEAVY[name]}, headers=headers)
        assert time.perf_counter() - started < BLINK
        assert (
            headers or "UNAUTHENTICATED" in answer.text or "BAD_USER_INPUT" in answer.text or "COMPLEX" in answer.text
        )
        assert "INTERNAL" not in answer.text
        assert len(HEAVY[name]) < LONGEST or "QUERY_TOO_COMPLEX" in answer.text or not headers
    assert LONGEST_ANONYMOUS < LONGEST


def _aliased(inputs: str) -> str:
    asked = " ".join(f'a{n}: predict(endpoint: "e", inputs: {inputs}) {{ rows }}' for n in range(100))
    return f"query ($x: JSON!) {{ {asked} }}"


_NESTED = "runs(first: $n) { nodes { children(first: $n) { nodes { children(first: $n) { nodes { id name } } } } } }"
_DRAWN = "runs(first: 500) { nodes { series(keys: $k, points: 10000) { values } } }"


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (f"query ($n: Int) {{ {_NESTED} }}", {"n": 500}),
        (f"query ($k: [String!]) {{ {_DRAWN} }}", {"k": [f"k{n}" for n in range(200)]}),
        (_aliased("$x"), {"x": {"x": [[1]] * 20_000}}),
        (_aliased("{x: $x}"), {"x": [[1]] * 20_000}),
    ],
)
async def test_cost_bombs_through_variables_are_priced(product: Product, query: str, variables: Any) -> None:
    answer = await product.http.post("/graphql", json={"query": query, "variables": variables}, headers=product.headers)
    assert answer.json()["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX", answer.text[:300]


@pytest.mark.parametrize(
    "pattern",
    [
        "notes matches '((a*)*)*b'",
        "notes matches '(a|a|a|a)*{}b'".replace("{}", ""),
        "notes matches '(a{1,30}){1,30}b'",
        "notes like '" + "%a" * 120 + "b'",
        "notes matches '(.*)(.*)(.*)(.*)(.*)(.*)b'",
    ],
)
async def test_patterns_cannot_hold_up_the_database(product: Product, pattern: str) -> None:
    for _ in range(3):
        await product.rest("POST", "/api/training/runs", json={"name": "r", "notes": "a" * 60_000})
    started = time.perf_counter()
    answer = await product.rest("GET", "/api/training/runs", params={"filter": pattern})
    assert time.perf_counter() - started < BLINK
    assert answer.status_code in (200, 400, 422), answer.text


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
@pytest.mark.parametrize(("content", "times"), [(b"", 200_000), (b"[" + b" " * 80_000_000, 1), (b"[" * 500_000, 1)])
async def test_compressed_bombs_are_refused_at_once(
    world: World, content: bytes, times: int, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    body = pack(content) * times
    started = time.perf_counter()
    answer = await world.product.rest(
        "POST",
        f"/api/training/runs/{world.ids['run']}/metrics",
        content=body,
        headers={"Content-Encoding": encoding, "Content-Type": "application/json"},
    )
    assert time.perf_counter() - started < BLINK
    assert (answer.status_code, answer.json()["error"]["code"]) in ((413, "PAYLOAD_TOO_LARGE"), (400, "BAD_USER_INPUT"))


_START = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (_START, b"X: ", *[b"x" * 65_536] * 64),
        (_START, *[b"X: y\r\n" * 4_096] * 8, b"\r\n"),
        (_START + b"X: " + b"x" * (HEAD_BYTES + 1) + b"\r\n\r\n",),
        (b"GET /" + b"x" * (HEAD_BYTES + 1) + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",),
    ],
    ids=["one endless header", "many headers", "one large header", "a long address"],
)
async def test_the_head_of_a_request_is_bounded(product: Product, parts: tuple[bytes, ...]) -> None:
    said = await answer_to(product.url, *parts)
    assert said == b"" or said.split()[1] in (b"400", b"431"), said[:200]
    if b" 400 " in said:
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "BAD_USER_INPUT"
    assert b" 200 " in await answer_to(product.url, _START, b"\r\n")


async def test_a_head_that_never_comes_holds_no_connection(database_url: str) -> None:
    async with running(database_url, settings=Settings(limits=LimitsSettings(receive_seconds=0.2))) as product:
        assert await answer_to(product.url) == b""
        assert await answer_to(product.url, _START) == b""


async def test_trailers_are_no_headers(product: Product) -> None:
    forged = (
        b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1b\r\n" + b'{"query":"{viewer{email}}"}' + b"\r\n0\r\n"
        b"Authorization: Bearer " + product.token.encode() + b"\r\n\r\n"
    )
    said = await answer_to(product.url, forged)
    assert b"UNAUTHENTICATED" in said
    assert b"ada@" not in said


@pytest.mark.parametrize("deep", [b"[" * 200_000, b'{"a":' * 100_000, b'{"query":"{viewer{id}}","variables":' * 3_000])
async def test_json_as_deep_as_it_likes_is_refused(world: World, deep: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path in (
        ("POST", "/graphql"),
        ("POST", "/api/models"),
        ("POST", "/api/auth/login"),
        ("POST", f"/api/training/runs/{world.ids['run']}/metrics"),
        ("POST", f"/api/inference/predict/{ENDPOINT}"),
        ("PUT", f"/api/models/{MODEL}/versions/1/architecture"),
    ):
        answer = await world.product.rest(method, path, content=deep, headers=headers)
        assert answer.status_code in (400, 422), (path, answer.text[:200])
        assert "INTERNAL" not in answer.text


# --- what leaves the server ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ['a"; filename="b.html', "x\r\nSet-Cookie: a=b", "../../etc/passwd", "<script>.html", "é\u202egnp.exe", "a\x00b"],
)
async def test_a_download_is_an_attachment_whatever_it_is_called(world: World, name: str) -> None:
    encoded = name.encode().replace(b'"', b"%22").replace(b"\r\n", b"%0D%0A")
    form = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="'
        + encoded
        + b'"\r\n\r\n'
        + weights_file(4.0)
        + b"\r\n--B--\r\n"
    )
    path = f"/api/models/{MODEL}/versions"
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    made = await world.product.rest("POST", path, content=form, headers=headers)
    if made.status_code != 201:
        assert made.status_code in (400, 422), made.text
        return
    answer = await world.product.rest("GET", f"{path}/{made.json()['version']}/download")
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-type"] == "application/octet-stream"
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy == ["sandbox", "default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "private, no-cache", "the next reader of this cache may not be allowed to"
    etag = {"If-None-Match": answer.headers["etag"]}
    assert (await world.product.rest("GET", f"{path}/1/download", headers=etag)).status_code == 200
    assert (await world.product.http.get(f"{path}/1/download", headers=etag)).status_code == 401


@pytest.mark.parametrize("wanted", ["-0", "99999-", ",".join(["0-0"] * 10_000), "9" * 5_000 + "-"])
async def test_odd_ranges_are_ignored_or_refused(world: World, wanted: str) -> None:
    path = f"/api/models/{MODEL}/versions/1/download"
    answer = await world.product.rest("GET", path, headers={"Range": f"bytes={wanted}"})
    if answer.status_code != 200:
        assert (answer.status_code, answer.json()["error"]["field"]) == (416, "Range")
    assert len(answer.content) < 2 * len(weights_file())


async def test_private_answers_are_stored_by_no_cache(world: World) -> None:
    for path in ("/api/auth/me", "/api/models", f"/api/training/runs/{world.ids['run']}/metrics?format=csv"):
        assert (await world.product.rest("GET", path)).headers["cache-control"] == "no-store"
    assert (await world.ask("{ viewer { id } }", world.product.headers)).headers["cache-control"] == "no-store"


async def test_what_callers_send_neither_forges_nor_reaches_the_log(product: Product, log_lines: io.StringIO) -> None:
    secret = "marigold-under-nine-bridges"
    await product.http.get("/api/x%0a%1b[2J%c2%9b31m%e2%80%aeforged", headers={"Authorization": f"Bearer {secret}"})
    await product.http.get("/health", headers={"Cookie": f"axonml_session={secret}", "X-Request-Id": "a b\tc"})
    login = f'mutation {{ authLogin(input: {{email: "ada@example.com", password: "{secret}"}}) {{ token }} }}'
    await product.http.post("/graphql", json={"query": login})
    await product.http.post("/graphql", json={"query": login + "}"})
    await product.http.post("/api/auth/login", json={"email": "a@b.c", "password": secret, "more": 1})
    await product.http.post("/api/auth/refresh", json={"refresh_token": f"axr_{secret}"})
    text = log_lines.getvalue()
    assert "forged" in text, "the request itself is logged"
    assert secret not in text
    for line in text.splitlines():
        json.loads(line)
        assert not any(character in line for character in ("\x1b", "\x9b", "\u202e"))
