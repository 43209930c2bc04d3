"""Attacks on the walls between callers: API keys against every noun, and one workspace against another."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest
from argon2 import PasswordHasher
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from domain import ids
from domain.access import KeyScope
from tests.support.attacks import (
    ENDPOINT,
    MARKS,
    MODEL,
    RUN,
    World,
    changes,
    data_of,
    leaked,
    readings,
    routes,
    scope_for,
    state,
)
from tests.support.product import PASSWORD
from tests.support.registry import weights_file

GRAPHQL = Subprotocol("graphql-transport-ws")


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["runs:read"], ["runs"]),
        (["runs:write"], ["runs"]),
        (["models:read"], ["models"]),
        (["models:write"], ["models"]),
        (["endpoints:read"], ["endpoints"]),
        (["endpoints:write"], ["endpoints"]),
        (["endpoints:predict"], []),
        (["runs:read", "endpoints:predict"], ["runs"]),
    ],
)
async def test_a_key_reads_only_the_nouns_of_its_scopes(world: World, scopes: list[str], allowed: list[str]) -> None:
    headers = await world.key(*scopes)
    seen: set[str] = set()
    for query in readings(world.ids):
        answer = await world.ask(query, headers)
        assert "QUERY_TOO_COMPLEX" not in answer.text
        assert leaked(data_of(answer), allowed) == set(), query
        assert leaked(json.dumps(answer.json().get("errors")), allowed) == set(), query
        seen |= {mark for marks in MARKS.values() for mark in marks if mark in data_of(answer)}
    assert seen == set().union(*(MARKS[noun] for noun in allowed)), "what it may read, it can"
    for path in ("training/runs", "experiments", "models", "inference/endpoints"):
        answer = await world.product.http.get(f"/api/{path}", headers=headers)
        assert answer.status_code in (200, 403)
        assert leaked(answer.text, allowed) - ({MODEL} if "endpoints" in allowed else set()) == set(), path
    keys = await world.ask("{ viewer { apiKeys { id } } }", headers)
    assert keys.json()["data"]["viewer"]["apiKeys"] is None
    key = await world.ask("query ($id: ID!) { node(id: $id) { id } }", headers, id=world.ids["key"])
    assert key.json()["data"]["node"] is None


@pytest.mark.parametrize("field", ["runUpdated", "runMetrics", "runLogs"])
async def test_a_key_follows_only_what_it_may_read(world: World, field: str) -> None:
    headers = await world.key("models:write", "endpoints:write", "endpoints:predict")
    query = f'subscription {{ {field}(runId: "{world.ids["run"]}") {{ __typename }} }}'
    async with world.product.http.stream(
        "POST", "/graphql", json={"query": query}, headers={**headers, "Accept": "text/event-stream"}
    ) as stream:
        text = (await stream.aread()).decode()
    assert "FORBIDDEN" in text
    assert RUN not in text
    async with connect(world.product.socket_url, subprotocols=[GRAPHQL]) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": headers}))
        await socket.recv()
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query}}))
        said = str(await socket.recv())
    assert "FORBIDDEN" in said


@pytest.mark.parametrize("missing", ["runs:write", "models:write", "endpoints:write"])
async def test_a_key_without_the_scope_changes_nothing_by_any_mutation(
    world: World, database_url: str, missing: str
) -> None:
    noun = missing.partition(":")[0]
    headers = await world.key(*(scope.value for scope in KeyScope if scope.value != missing), f"{noun}:read")
    before = await state(database_url)
    for name, text in changes(world.ids).items():
        if scope_for(name) not in (missing, None):
            continue
        answer = (await world.ask(text, headers)).json()
        assert [error["extensions"]["code"] for error in answer.get("errors", [])] == ["FORBIDDEN"], (name, answer)
    assert await state(database_url) == before


async def test_a_key_that_reads_changes_nothing_by_any_route(world: World, database_url: str) -> None:
    headers = await world.key("runs:read", "models:read", "endpoints:read")
    before = await state(database_url)
    for method, path, body in [
        *routes(world.ids),
        ("POST", f"/api/inference/predict/{ENDPOINT}", {"inputs": [[1, 2, 3, 4]]}),
    ]:
        answer = await world.product.http.request(method, path, json=body, headers=headers)
        if answer.status_code != 404 or "there is nothing" not in answer.text:
            assert answer.status_code == 403, (method, path, answer.text)
    upload = await world.product.http.post(
        f"/api/models/{MODEL}/versions", files={"file": ("w.safetensors", weights_file(3.0))}, headers=headers
    )
    assert upload.status_code == 403
    asked = await world.ask(f'{{ predict(endpoint: "{ENDPOINT}", inputs: [[1, 2, 3, 4]]) {{ rows }} }}', headers)
    assert asked.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert await state(database_url) == before


# --- another workspace -------------------------------------------------------------------------------


# What anybody may do with their own account, wherever they belong; no input of these names anything of a workspace.
OWN_ACCOUNT = ("auth", "mfa", "password", "recovery", "session", "webauthn")


@pytest.fixture
async def stranger(world: World, database_url: str) -> dict[str, str]:
    """The headers of somebody who belongs to another workspace only."""
    workspace, user = ids.to_uuid(ids.new("wsp")), ids.to_uuid(ids.new("usr"))
    secret = PasswordHasher().hash(PASSWORD)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO workspaces (id, slug, name, created_at) VALUES ($1, 'other', 'Other', now())", workspace
        )
        await connection.execute(
            "INSERT INTO users (id, email, name, password_hash, role, default_workspace_id, created_at)"
            " VALUES ($1, 'eve@example.com', 'Eve', $2, 'user', $3, now())",
            user,
            secret,
            workspace,
        )
        await connection.execute(
            "INSERT INTO memberships (workspace_id, user_id, role) VALUES ($1, $2, 'owner')", workspace, user
        )
    finally:
        await connection.close()
    signed = await world.product.http.post("/api/auth/login", json={"email": "eve@example.com", "password": PASSWORD})
    assert signed.status_code == 200, signed.text
    return {"Authorization": f"Bearer {signed.json()['token']}"}


async def test_nothing_of_another_workspace_is_read_or_changed(
    world: World, stranger: dict[str, str], database_url: str
) -> None:
    before = await state(database_url)
    for query in readings(world.ids):
        answer = await world.ask(query, stranger)
        assert leaked(answer.text, []) == set(), query
        assert "ada@example.com" not in answer.text, query
    for name, text in changes(world.ids).items():
        if name.startswith(OWN_ACCOUNT) or (name.endswith("Create") and name != "endpointCreate"):
            continue
        answer = await world.ask(text, stranger)
        assert answer.json()["errors"][0]["extensions"]["code"] == "NOT_FOUND", (name, answer.text)
        assert leaked(answer.text.replace(f'"{ENDPOINT}"', ""), []) == set()
    for method, path, body in routes(world.ids):
        if path.endswith(("/logout", "/auth/keys", "/experiments", "/training/runs", "/api/models")):
            continue
        answer = await world.product.http.request(method, path, json=body, headers=stranger)
        assert answer.status_code == 404, (method, path, answer.text)
    for path in (f"training/runs/{world.ids['run']}/metrics", f"training/runs/{world.ids['run']}/logs"):
        assert (await world.product.http.get(f"/api/{path}", headers=stranger)).status_code == 404
    for path in (f"{world.ids['mdl']}/versions/1/download", f"{MODEL}/versions/1/download", f"{MODEL}/versions"):
        assert (await world.product.http.get(f"/api/models/{path}", headers=stranger)).status_code == 404
    nested = await world.ask(
        "mutation ($p: ID!, $e: String!) { a: runCreate(input: {parentId: $p}) { id }"
        " b: runCreate(input: {experiment: $e}) { id } }",
        stranger,
        p=world.ids["run"],
        e=world.ids["exp"],
    )
    assert [error["extensions"]["code"] for error in nested.json()["errors"]] == ["NOT_FOUND"] * len(
        nested.json()["errors"]
    )
    assert await state(database_url) == before


async def test_the_workspace_header_opens_no_other_workspace(world: World, stranger: dict[str, str]) -> None:
    for name in ("default", "DEFAULT", "default, other", ids.new("wsp"), "*", "'"):
        answer = await world.ask("{ runs { nodes { name } } }", {**stranger, "X-Axonml-Workspace": name})
        assert RUN not in answer.text
        assert "NOT_FOUND" in answer.text, name
    key = await world.key("runs:read")
    assert "NOT_FOUND" in (await world.ask("{ runs { nodes { name } } }", {**key, "X-Axonml-Workspace": "other"})).text
    async with connect(world.product.socket_url, subprotocols=[GRAPHQL]) as socket:
        payload = {**stranger, "x-axonml-workspace": "default"}
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        with pytest.raises(ConnectionClosed, match="4403"):
            await asyncio.wait_for(socket.recv(), 10)
