"""Rules about single objects over HTTP and WebSocket: nothing leaks by any way in, and a change acts at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from domain import ids
from domain.access import Action, Effect, ResourceKind, Rule
from tests.support.attacks import ENDPOINT, EXPERIMENT, MODEL, RUN, World, changes, furnished, leaked, readings, routes
from tests.support.clusters import Cluster
from tests.support.workspaces import Workspaces, peopled

pytestmark = pytest.mark.asyncio(loop_scope="module")

GRAPHQL = Subprotocol("graphql-transport-ws")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(postgres_cluster: Cluster) -> AsyncIterator[Workspaces]:
    url = postgres_cluster.create()
    async with peopled(url) as world:
        yield world
    postgres_cluster.drop(url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secrets(people: Workspaces) -> World:
    """One of everything, with names that appear nowhere else."""
    return await furnished(people.product)


def denial(kind: ResourceKind, object_id: str, *actions: Action) -> Rule:
    return Rule(kind, frozenset(actions or {Action.READ}), Effect.DENY, object_id)


async def denied(people: Workspaces, role: str, *rules: Rule) -> dict[str, str]:
    """The headers of somebody new with this role and these rules."""
    email, user = await people.member(role)
    for rule in rules:
        await people.rule(user, rule)
    return await people.signed_in(email)


@pytest.mark.parametrize("role", ["editor", "viewer"])
async def test_nothing_that_may_not_be_read_is_found_by_any_way_in(
    people: Workspaces, secrets: World, role: str
) -> None:
    hidden = [
        denial(ResourceKind.RUNS, secrets.ids["run"]),
        denial(ResourceKind.MODELS, secrets.ids["mdl"]),
        denial(ResourceKind.ENDPOINTS, secrets.ids["end"]),
    ]
    headers = await denied(people, role, *hidden)
    for query in readings(secrets.ids):
        answer = await secrets.ask(query, headers)
        assert answer.status_code == 200
        assert "errors" not in answer.json(), (query, answer.text)
        assert leaked(answer.text, []) <= {EXPERIMENT}, query
    for path in ("training/runs", "models", "inference/endpoints"):
        answer = await secrets.product.http.get(f"/api/{path}", headers=headers)
        assert leaked(answer.text, []) == set()
        assert not any(one in answer.text for one in secrets.ids.values() if one != secrets.ids["usr"]), path


async def test_links_to_what_may_not_be_read_are_null(people: Workspaces, secrets: World) -> None:
    """Each of three objects in turn is hidden; the others are there, without what they say of it."""
    run, model, endpoint = secrets.ids["run"], secrets.ids["mdl"], secrets.ids["end"]
    nested = await people.product.rest("POST", "/api/training/runs", json={"parent_id": run, "name": "nested"})
    query = (
        "query ($r: ID!, $c: ID!, $m: ID!, $e: ID!) { run(id: $r) { modelVersions { nodes { id } totalCount } }"
        " child: run(id: $c) { parent { id } }"
        " model(id: $m) { latestVersion { run { id } endpoints { nodes { id } } } }"
        " endpoint(id: $e) { traffic { version { id } } } }"
    )
    found: dict[str, dict[str, Any]] = {}
    for kind, hidden in (
        (ResourceKind.RUNS, run),
        (ResourceKind.MODELS, model),
        (ResourceKind.ENDPOINTS, endpoint),
    ):
        headers = await denied(people, "viewer", denial(kind, hidden))
        answer = await secrets.ask(query, headers, r=run, c=nested.json()["id"], m=model, e=endpoint)
        found[hidden] = answer.json()["data"]
        assert hidden not in answer.text
        for path in (f"training/runs/{nested.json()['id']}", f"models/{model}/versions/1", "inference/endpoints"):
            rest = await secrets.product.http.get(f"/api/{path}", headers=headers)
            assert hidden not in rest.text
            if kind is ResourceKind.MODELS:
                assert secrets.ids["ver"] not in rest.text
    assert found[run]["run"] is None
    assert found[run]["child"] == {"parent": None}
    assert found[run]["model"]["latestVersion"]["run"] is None
    assert found[model]["model"] is None
    assert found[model]["run"]["modelVersions"] == {"nodes": [], "totalCount": 0}
    assert found[model]["endpoint"] == {"traffic": [{"version": None}]}
    assert found[endpoint]["endpoint"] is None
    assert found[endpoint]["model"]["latestVersion"]["endpoints"] == {"nodes": []}


async def test_whoever_may_not_read_changes_nothing_and_is_told_that_it_is_not_there(
    people: Workspaces, secrets: World
) -> None:
    hidden = [
        denial(ResourceKind.RUNS, secrets.ids["run"]),
        denial(ResourceKind.MODELS, secrets.ids["mdl"]),
        denial(ResourceKind.ENDPOINTS, secrets.ids["end"]),
    ]
    headers = await denied(people, "editor", *hidden)
    about = ("run", "params", "tags", "metrics", "logs", "model", "endpoint")
    for name, text in changes(secrets.ids).items():
        if not name.startswith(about) or name in ("runCreate", "modelCreate"):
            continue
        answer = (await secrets.ask(text, headers)).json()
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["NOT_FOUND"], (name, answer)
        assert leaked(json.dumps(answer).replace(f'"{ENDPOINT}"', ""), []) == set()
    for method, path, body in routes(secrets.ids):
        if any(one in path for one in (secrets.ids["run"], secrets.ids["mdl"], secrets.ids["end"])):
            refused = await secrets.product.http.request(method, path, json=body, headers=headers)
            assert refused.status_code == 404, (method, path, refused.text)
    upload = await secrets.product.http.post(
        f"/api/models/{MODEL}/versions", files={"file": ("w.bin", b"x")}, headers=headers
    )
    assert upload.status_code == 404
    seen = await people.product.graphql(
        "query ($r: ID!) { run(id: $r) { name tags { key } } }", token=people.product.token, r=secrets.ids["run"]
    )
    assert seen["run"] == {"name": RUN, "tags": []}


async def test_a_rule_acts_on_requests_within_a_second(people: Workspaces) -> None:
    run = await people.run()
    email, user = await people.member("editor")
    headers = await people.signed_in(email)
    key = await people.product.http.post(
        "/api/auth/keys", json={"name": "k", "scopes": ["runs:write"]}, headers=headers
    )
    by_key = {"Authorization": f"Bearer {key.json()['secret']}"}
    for each in (headers, by_key):
        assert await _logged(people, run, each) == 200
    await people.rule(user, denial(ResourceKind.RUNS, run, Action.WRITE))
    for each in (headers, by_key):
        await _until(people, run, each, 403)
    await people.rule(user, denial(ResourceKind.RUNS, run))
    for each in (headers, by_key):
        await _until(people, run, each, 404)
    await people.database.execute("DELETE FROM grants WHERE user_id = $1", ids.to_uuid(user))
    await people.database.execute("UPDATE memberships SET role = 'viewer' WHERE user_id = $1", ids.to_uuid(user))
    for each in (headers, by_key):
        await _until(people, run, each, 403)


async def _logged(people: Workspaces, run: str, headers: dict[str, str]) -> int:
    answer = await people.product.http.post(f"/api/training/runs/{run}/metrics", json={"loss": 1}, headers=headers)
    return answer.status_code


async def _until(people: Workspaces, run: str, headers: dict[str, str], status: int) -> None:
    async with asyncio.timeout(5):
        while await _logged(people, run, headers) != status:
            pass


async def _socket(people: Workspaces, headers: dict[str, str], query: str) -> ClientConnection:
    socket = await connect(people.product.socket_url, subprotocols=[GRAPHQL])
    await socket.send(json.dumps({"type": "connection_init", "payload": headers}))
    assert json.loads(await socket.recv())["type"] == "connection_ack"
    await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query}}))
    assert json.loads(await socket.recv())["type"] == "next"
    return socket


async def _closed(socket: ClientConnection) -> int | None:
    async with asyncio.timeout(5):
        with suppress(ConnectionClosed):
            async for _ in socket:
                pass
    return socket.close_code


CHANGES = {
    "a denial": "INSERT INTO grants (id, workspace_id, user_id, kind, resource_id, actions, effect, created_at)"
    " SELECT gen_random_uuid(), m.workspace_id, m.user_id, 'runs', $2, '[\"read\"]', 'deny', now()"
    " FROM memberships m WHERE m.user_id = $1",
    "another role": "UPDATE memberships SET role = 'viewer' WHERE user_id = $1 AND $2::uuid IS NOT NULL",
    "no membership": "DELETE FROM memberships WHERE user_id = $1 AND $2::uuid IS NOT NULL",
}


@pytest.mark.parametrize("change", list(CHANGES))
async def test_what_was_opened_with_other_rights_is_closed(people: Workspaces, change: str) -> None:
    run = await people.run()
    email, user = await people.member("editor")
    headers, staying = await people.signed_in(email), people.callers["editor"]
    query = f'subscription {{ runUpdated(runId: "{run}") {{ id }} }}'
    stream = f"{people.product.url.replace('http', 'ws', 1)}/api/training/runs/{run}/stream"
    socket, other = await _socket(people, headers, query), await _socket(people, staying, query)
    async with (
        connect(stream, additional_headers=headers) as watching,
        people.product.http.stream(
            "POST", "/graphql", json={"query": query}, headers={**headers, "Accept": "text/event-stream"}
        ) as events,
    ):
        lines = events.aiter_lines()
        await anext(lines)
        await people.database.execute(CHANGES[change], ids.to_uuid(user), ids.to_uuid(run))
        assert await _closed(socket) == 4403
        assert await _closed(watching) == 4403
        async with asyncio.timeout(5):
            async for line in lines:
                assert '"errors"' not in line
    await other.send('{"type": "ping"}')
    assert json.loads(await other.recv()) == {"type": "pong"}
    await other.close()


async def test_members_with_and_without_a_denial_share_no_execution(people: Workspaces) -> None:
    """They are told of the same event, and each sees of it what they may."""
    parent = await people.run()
    nested = await people.product.rest("POST", "/api/training/runs", json={"parent_id": parent})
    child = nested.json()["id"]
    email, user = await people.member("editor")
    await people.rule(user, denial(ResourceKind.RUNS, parent))
    query = f'subscription {{ runUpdated(runId: "{child}") {{ notes parent {{ id }} }} }}'
    full = await _socket(people, people.callers["editor"], query)
    narrow = await _socket(people, await people.signed_in(email), query)
    await people.product.rest("PATCH", f"/api/training/runs/{child}", json={"notes": "changed"})
    async with asyncio.timeout(5):
        told = [json.loads(await socket.recv())["payload"]["data"]["runUpdated"] for socket in (full, narrow)]
    assert told == [{"notes": "changed", "parent": {"id": parent}}, {"notes": "changed", "parent": None}]
    await asyncio.gather(full.close(), narrow.close())


async def test_an_allowance_lets_a_viewer_change_one_run_and_make_none(people: Workspaces) -> None:
    run, other = await people.run(), await people.run()
    allowed = Rule(ResourceKind.RUNS, frozenset({Action.WRITE}), Effect.ALLOW, run)
    headers = await denied(people, "viewer", allowed)
    assert await _logged(people, run, headers) == 200
    assert await _logged(people, other, headers) == 403
    made = await people.product.http.post("/api/training/runs", json={}, headers=headers)
    assert _code(made) == "FORBIDDEN"
    gone = await people.product.http.delete(f"/api/training/runs/{run}", headers=headers)
    assert _code(gone) == "FORBIDDEN"
    assert "delete" in gone.json()["error"]["message"]


def _code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])
