"""A server that is held to a list of operations."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from server.graphql.documents import Documents
from server.graphql.persisted import sha256
from server.graphql.trusted import load, trust
from server.settings import GraphqlSettings, LimitsSettings, Settings, SettingsError
from server.web.documents import STATIC, documents
from tests.support.product import Product, running
from tests.unit.test_introspection_cost import served as schema

ME = "query Me { viewer { email } }"
FOLLOW = "subscription Follow($id: ID!) { runUpdated(runId: $id) { name } }"
NEVER = {
    "the schema": "{ __schema { types { name } } }",
    "a type": '{ ...F } fragment F on Query { __type(name: "Run") { name } }',
}


@asynccontextmanager
async def held(database_url: str, path: Path) -> AsyncIterator[Product]:
    settings = Settings(graphql=GraphqlSettings(trusted_documents=path))
    async with running(database_url, settings=settings) as product:
        yield product


@pytest.fixture
async def strict(database_url: str, tmp_path: Path) -> AsyncIterator[Product]:
    for name, text in {"me": ME, "follow": FOLLOW}.items():
        (tmp_path / f"{name}.graphql").write_text(text)
    async with held(database_url, tmp_path) as product:
        yield product


def hashed(text: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": sha256(text)}}


async def asked(product: Product, **body: Any) -> Any:
    answer = await product.http.post("/graphql", json=body, headers=product.headers)
    return answer.json()


def code_of(answer: Any) -> str:
    return str(answer["errors"][0]["extensions"]["code"])


async def test_only_what_is_on_the_list_runs(strict: Product) -> None:
    mine = {"data": {"viewer": {"email": "ada@example.com"}}}
    assert await asked(strict, extensions=hashed(ME)) == mine
    assert await asked(strict, query=ME) == mine
    assert await asked(strict, query=ME, extensions=hashed(ME)) == mine
    for other in ("{ viewer { email } }", ME + " ", "{ __typename }", "{", *NEVER.values()):
        assert code_of(await asked(strict, query=other)) == "FORBIDDEN", other
        assert code_of(await asked(strict, query=other, extensions=hashed(other))) == "FORBIDDEN", other
        assert code_of(await asked(strict, extensions=hashed(other))) == "PERSISTED_QUERY_NOT_FOUND", other
    assert code_of(await asked(strict, query=ME, extensions=hashed(FOLLOW))) == "BAD_USER_INPUT"
    assert code_of(await asked(strict)) == "BAD_USER_INPUT"
    stranger = await strict.http.post("/graphql", json={"extensions": hashed(ME)})
    assert code_of(stranger.json()) == "UNAUTHENTICATED"
    sse = {**strict.headers, "Accept": "text/event-stream"}
    refused = await strict.http.post("/graphql", json={"query": "subscription { systemMetrics { at } }"}, headers=sse)
    assert code_of(refused.json()) == "FORBIDDEN"


async def test_sockets_are_held_to_it_too(strict: Product) -> None:
    run = (await strict.rest("POST", "/api/training/runs", json={"name": "r"})).json()["id"]
    async with connect(strict.socket_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": strict.headers}))
        await socket.recv()
        for number, payload in enumerate([{"query": "{ viewer { id } }"}, {"extensions": hashed("{ viewer { id } }")}]):
            await socket.send(json.dumps({"type": "subscribe", "id": str(number), "payload": payload}))
            refused = json.loads(await socket.recv())
            assert refused["type"] == "error"
            assert refused["payload"][0]["extensions"]["code"] in ("FORBIDDEN", "PERSISTED_QUERY_NOT_FOUND")
        for payload in ({"query": FOLLOW}, {"extensions": hashed(FOLLOW)}):
            message = {"type": "subscribe", "id": "ok", "payload": {**payload, "variables": {"id": run}}}
            await socket.send(json.dumps(message))
            assert json.loads(await socket.recv())["payload"] == {"data": {"runUpdated": {"name": "r"}}}
            await socket.send(json.dumps({"type": "complete", "id": "ok"}))


async def test_there_is_no_explorer_and_the_pages_still_work(strict: Product) -> None:
    page = await strict.http.get("/graphql", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/account")
    for text in documents():
        answer = await asked(strict, query=text, variables={})
        assert "errors" not in answer or code_of(answer) not in ("FORBIDDEN", "INTERNAL", "QUERY_TOO_COMPLEX"), text
        assert not any("Cannot query" in error["message"] for error in answer.get("errors", ())), text


def test_every_document_of_the_pages_is_found() -> None:
    scripts = "".join(file.read_text() for file in STATIC.glob("*.js") if file.name != "graphiql.js")
    found = documents()
    assert len(found) == len(set(found)) >= 15
    for mention in ("mutation (", "mutation {", "query ("):
        assert scripts.count(mention) <= sum(text.startswith(mention) for text in found), mention
    assert not [text for text in found if "${" in text]


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "content",
    [
        [ME, FOLLOW],
        {sha256(ME): ME, f"sha256:{sha256(FOLLOW)}": FOLLOW},
        {"version": 1, "operations": [{"id": sha256(ME), "body": ME, "type": "query"}, {"body": FOLLOW}]},
    ],
)
def test_lists_are_read_as_tools_write_them(tmp_path: Path, content: object) -> None:
    assert sorted(load(write(tmp_path / "list.json", content)).values()) == [ME, FOLLOW]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "there is no document"),
        ("text", "expected a list"),
        ([1], "number 1: expected a text"),
        ({"0" * 64: ME}, "not the SHA-256"),
        ({"operations": [{"id": "x"}]}, "expected a text"),
        (["{"], "number 1: Syntax Error"),
        (["{ nothing }"], "Cannot query field"),
        (["fragment F on Query { viewer { id } }"], "number 1"),
        ([NEVER["the schema"]], "reads the schema"),
        ([NEVER["a type"]], "reads the schema"),
        (["{ viewer { id } }" + " query A { viewer { id } }"], "number 1"),
        (["{ " + " ".join(f"a{n}: viewer {{ id }}" for n in range(129)) + " }"], "129 aliases"),
    ],
)
def test_a_fault_anywhere_in_the_list_stops_the_start(tmp_path: Path, content: object, words: str) -> None:
    path = write(tmp_path / "list.json", content)
    with pytest.raises(SettingsError) as caught:
        trust(path, [], Documents(LimitsSettings()), schema())
    (problem,) = caught.value.problems
    assert problem.startswith(f"graphql.trusted_documents: {path}")
    assert words in problem


@pytest.mark.parametrize("content", [None, b"\xff", b"{"])
def test_a_list_that_cannot_be_read_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "list.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"graphql\.trusted_documents: .*cannot be read"):
        load(path)
