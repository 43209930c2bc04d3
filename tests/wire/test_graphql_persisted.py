"""Automatic persisted queries over every transport: by hash alone once the text has come, each caller its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from domain.errors import BadUserInput
from server.graphql.persisted import BUDGET, BUDGET_EACH, LONGEST, MOST_EACH, KeptTexts, PersistedQueryNotFound, sha256
from tests.wire.served import ALICE, Served, serving

BEARER = {"Authorization": "Bearer good"}
SPEC = "application/graphql-response+json"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as server:
        yield server


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, headers=BEARER, timeout=30) as client:
        yield client


def hashed(text: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": sha256(text)}}


def post(http: httpx.Client, accept: str = SPEC, **body: Any) -> httpx.Response:
    return http.post("/graphql", json=body, headers={"Accept": accept})


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["errors"][0]["extensions"]["code"])


def test_a_hash_runs_once_its_text_has_come_with_it(http: httpx.Client) -> None:
    text = "query ($n: String) { hello(name: $n) } # by post"
    unknown = post(http, extensions=hashed(text))
    assert (unknown.status_code, code_of(unknown)) == (400, "PERSISTED_QUERY_NOT_FOUND")
    assert unknown.json()["errors"][0]["message"] == "PersistedQueryNotFound"
    assert "data" not in unknown.json()
    assert post(http, "application/json", extensions=hashed(text)).status_code == 200
    assert post(http, query=text, extensions=hashed(text)).json() == {"data": {"hello": "hello world"}}
    answer = post(http, extensions=hashed(text), variables={"n": "again"})
    assert answer.json() == {"data": {"hello": "hello again"}}
    by_get = http.get(
        "/graphql", params={"extensions": json.dumps(hashed(text)), "variables": json.dumps({"n": "get"})}
    )
    assert by_get.json() == {"data": {"hello": "hello get"}}


def test_a_kept_mutation_does_not_run_by_get(http: httpx.Client) -> None:
    text = "mutation { bump } # kept"
    assert post(http, query=text, extensions=hashed(text)).json() == {"data": {"bump": 1}}
    assert post(http, extensions=hashed(text)).json() == {"data": {"bump": 1}}
    assert http.get("/graphql", params={"extensions": json.dumps(hashed(text))}).status_code == 405


def test_over_sse(http: httpx.Client) -> None:
    text = "subscription { count(to: 2) } # by sse"
    assert code_of(post(http, "text/event-stream", extensions=hashed(text))) == "PERSISTED_QUERY_NOT_FOUND"
    for query in (text, None):
        answer = post(http, "text/event-stream", query=query, extensions=hashed(text))
        assert answer.text.count('data: {"data":{"count":') == 2
    query = "{ hello } # by sse"
    for sent in (query, None):
        answer = post(http, "text/event-stream", query=sent, extensions=hashed(query))
        assert 'data: {"data":{"hello":"hello world"}}' in answer.text
        assert "event: complete" in answer.text


async def _hear(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await socket.recv())
    return message


async def test_over_a_socket(served: Served) -> None:
    text = "subscription { count(to: 1) } # by socket"
    async with connect(served.socket, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": BEARER}))
        await _hear(socket)

        async def subscribe(**payload: Any) -> list[dict[str, Any]]:
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            heard = [await _hear(socket)]
            while heard[-1]["type"] == "next":
                heard.append(await _hear(socket))
            return heard

        for missing in ({}, {"query": ""}, {"query": None}):
            (refused,) = await subscribe(extensions=hashed(text), **missing)
            assert refused["type"] == "error"
            assert refused["payload"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"
        for query in ({"query": text}, {}, {"query": ""}):
            first, last = await subscribe(extensions=hashed(text), **query)
            assert (first["payload"], last["type"]) == ({"data": {"count": 0}}, "complete")
        (wrong,) = await subscribe(query="{ hello }", extensions=hashed(text))
        assert wrong["payload"][0]["extensions"]["field"] == "extensions.persistedQuery.sha256Hash"
        first, _ = await subscribe(query="{ hello }")
        assert first["payload"] == {"data": {"hello": "hello world"}}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ("x", ""),
        ([], ""),
        ({"sha256Hash": "0" * 64}, ".version"),
        ({"version": 2, "sha256Hash": "0" * 64}, ".version"),
        ({"version": True, "sha256Hash": "0" * 64}, ".version"),
        ({"version": 1}, ".sha256Hash"),
        ({"version": 1, "sha256Hash": 1}, ".sha256Hash"),
        ({"version": 1, "sha256Hash": "0" * 63}, ".sha256Hash"),
        ({"version": 1, "sha256Hash": "A" * 64}, ".sha256Hash"),
        ({"version": 1, "sha256Hash": "0" * 64}, ".sha256Hash"),
    ],
)
def test_what_is_no_hash_of_the_text_is_named(http: httpx.Client, given: Any, field: str) -> None:
    answer = post(http, query="{ hello }", extensions={"persistedQuery": given})
    assert (answer.status_code, code_of(answer)) == (400, "BAD_USER_INPUT")
    assert answer.json()["errors"][0]["extensions"]["field"] == f"extensions.persistedQuery{field}"


def test_a_wrong_hash_is_not_kept_for_another_text(http: httpx.Client) -> None:
    victim, planted = "{ hello } # victim", "{ serverInfo } # planted"
    assert code_of(post(http, query=planted, extensions=hashed(victim))) == "BAD_USER_INPUT"
    assert code_of(post(http, extensions=hashed(victim))) == "PERSISTED_QUERY_NOT_FOUND"


def test_strangers_keep_nothing_and_what_cannot_run_is_not_kept(served: Served, http: httpx.Client) -> None:
    public = "{ serverInfo } # stranger"
    for _ in range(2):
        answer = httpx.post(served.graphql, json={"query": public, "extensions": hashed(public)})
        assert answer.json() == {"data": {"serverInfo": "AxonML"}}
        alone = httpx.post(served.graphql, json={"extensions": hashed(public)}, headers={"Accept": SPEC})
        assert code_of(alone) == "PERSISTED_QUERY_NOT_FOUND"
    for broken in ("{", "{ nothing }", "{ items(first: 9999999) { items { name } } }"):
        post(http, query=broken, extensions=hashed(broken))
        assert code_of(post(http, extensions=hashed(broken))) == "PERSISTED_QUERY_NOT_FOUND"


def test_a_kept_text_is_held_to_the_limits_each_time(http: httpx.Client) -> None:
    text = "query ($n: Int!) { items(first: $n) { items(first: $n) { name } } }"
    assert post(http, query=text, variables={"n": 2}, extensions=hashed(text)).status_code == 200
    assert code_of(post(http, variables={"n": 100_000}, extensions=hashed(text))) == "QUERY_TOO_COMPLEX"


OTHER = replace(ALICE, principal=replace(ALICE.principal, user_id="usr_" + "b" * 32))
KEY = replace(ALICE, principal=replace(ALICE.principal, api_key_id="key_" + "c" * 32))


def found(kept: KeptTexts, text: str, caller: Any = ALICE) -> bool:
    try:
        return kept.find(None, sha256(text), caller) == text
    except PersistedQueryNotFound:
        return False


def test_every_user_and_every_key_has_its_own() -> None:
    kept = KeptTexts()
    kept.keep("{ a }", sha256("{ a }"), ALICE)
    assert found(kept, "{ a }")
    assert found(kept, "{ a }", replace(ALICE, workspace_id="wsp_" + "1" * 32))
    assert not found(kept, "{ a }", OTHER)
    assert not found(kept, "{ a }", KEY)
    assert not found(kept, "{ a }", None)
    with pytest.raises(BadUserInput):
        kept.find(None, None, ALICE)


def test_what_is_kept_is_bounded_for_each_and_for_all() -> None:
    kept = KeptTexts()
    kept.keep("first", sha256("first"), OTHER)
    for number in range(MOST_EACH + 1):
        text = f"{{ a{number} }}"
        kept.keep(text, sha256(text), ALICE)
    assert not found(kept, "{ a0 }"), "the oldest makes room"
    assert found(kept, "{ a1 }")
    assert found(kept, f"{{ a{MOST_EACH} }}")
    assert found(kept, "first", OTHER), "nobody pushes out what is another caller's"
    kept.keep("x" * (LONGEST + 1), sha256("x" * (LONGEST + 1)), ALICE)
    assert not found(kept, "x" * (LONGEST + 1))
    before = kept.size
    kept.keep("{ a1 }", sha256("{ a1 }"), ALICE)
    assert kept.size == before, "the same text again takes no room"
    for number in range(BUDGET // BUDGET_EACH + 2):
        caller = replace(ALICE, principal=replace(ALICE.principal, user_id=f"usr_{number:032d}"))
        for part in range(BUDGET_EACH // LONGEST):
            text = f"{number} {part} ".ljust(LONGEST - 256)
            kept.keep(text, sha256(text), caller)
    assert kept.size <= BUDGET
    assert not found(kept, "first", OTHER), "those who asked for nothing for longest make room"
