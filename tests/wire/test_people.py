"""Accounts, invites and registration over HTTP, and how little a temporary password opens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from server.settings import AuthSettings, Settings
from tests.support.product import PASSWORD, Product, RefusedError, running

NEW = "seven copper kettles on the roof"
CHANGED = "nine lanterns under quiet water"
BO = "bo@example.com"
INVITE = "mutation ($email: String!) { inviteCreate(input: {email: $email, role: EDITOR}) { url invite { id email } } }"
REGISTER = """mutation ($email: String!, $invite: String) {
  authRegister(input: {email: $email, password: "seven copper kettles on the roof", invite: $invite}) {
    token refreshToken expiresIn requiresMfa user { email mustChangePassword }
  }
}"""
USER = "id email name role disabled mustChangePassword"
CREATE = f"mutation ($input: UserCreateInput!) {{ userCreate(input: $input) {{ {USER} }} }}"
UPDATE = f"mutation ($input: UserUpdateInput!) {{ userUpdate(input: $input) {{ {USER} }} }}"


@pytest.fixture
async def inviting(database_url: str) -> AsyncIterator[Product]:
    """A product where whoever was invited may register."""
    async with running(database_url, settings=Settings(auth=AuthSettings(registration="invite"))) as served:
        yield served


async def post(product: Product, path: str, **body: Any) -> httpx.Response:
    return await product.http.post(path, json=body)


async def anonymous(product: Product, query: str, **variables: Any) -> dict[str, Any]:
    answer = await product.http.post("/graphql", json={"query": query, "variables": variables})
    document: dict[str, Any] = answer.json()
    return document


async def refused(product: Product, query: str, **variables: Any) -> tuple[str, str | None]:
    with pytest.raises(RefusedError) as problem:
        await product.graphql(query, **variables)
    return problem.value.code, problem.value.field


async def test_an_invite_from_its_link_to_an_account_in_the_graph(inviting: Product) -> None:
    created = (await inviting.graphql(INVITE, email=BO))["inviteCreate"]
    assert created["url"].startswith(f"{inviting.url}/login#invite=axi_")
    token = created["url"].partition("=")[2]
    listed = await inviting.graphql("{ invites { totalCount nodes { id email role expiresAt } } }")
    assert [(one["id"], one["email"], one["role"]) for one in listed["invites"]["nodes"]] == [
        (created["invite"]["id"], BO, "EDITOR")
    ]
    without = await anonymous(inviting, REGISTER, email=BO)
    assert without["errors"][0]["extensions"] | {"requestId": ""} == {
        "code": "FORBIDDEN",
        "field": "invite",
        "requestId": "",
    }
    payload = (await anonymous(inviting, REGISTER, email=BO, invite=token))["data"]["authRegister"]
    assert payload["user"] == {"email": BO, "mustChangePassword": False}
    viewer = await inviting.graphql("{ viewer { email workspaces { slug } } }", token=payload["token"])
    assert viewer == {"viewer": {"email": BO, "workspaces": [{"slug": "default"}]}}
    revoke = "mutation ($id: ID!) { inviteRevoke(input: {id: $id}) { id } }"
    assert await refused(inviting, revoke, id=created["invite"]["id"]) == ("NOT_FOUND", "id")
    other = (await inviting.graphql(INVITE, email="cy@example.com"))["inviteCreate"]
    assert (await inviting.graphql(revoke, id=other["invite"]["id"]))["inviteRevoke"] == {"id": other["invite"]["id"]}


async def test_an_invite_over_rest_opens_a_session_in_cookies(inviting: Product) -> None:
    created = (await inviting.graphql(INVITE, email=BO))["inviteCreate"]
    token = created["url"].partition("=")[2]
    account = {"email": BO, "password": NEW, "invite": token, "session": "cookie"}
    answer = await post(inviting, "/api/auth/register", **account)
    assert answer.status_code == 201
    assert answer.json()["user"]["email"] == BO
    assert "token" not in answer.json()
    assert {name for name in answer.cookies if "axonml" in name} != set()
    inviting.http.cookies.clear()
    again = await post(inviting, "/api/auth/register", **account)
    assert (again.status_code, again.json()["error"]["field"]) == (403, "invite")


async def test_open_registration_answers_the_same_for_taken_addresses(database_url: str) -> None:
    async with running(database_url, settings=Settings(auth=AuthSettings(registration="open"))) as served:
        answers = [
            await post(served, "/api/auth/register", email=email, password=NEW) for email in (BO, BO, "ada@example.com")
        ]
        assert [(one.status_code, one.content) for one in answers] == [(202, b"")] * 3
        told = [await anonymous(served, REGISTER, email=email) for email in ("cy@example.com", "ada@example.com")]
        assert told[0] == told[1]
        assert told[0]["data"]["authRegister"] == {
            "token": None,
            "refreshToken": None,
            "expiresIn": None,
            "requiresMfa": False,
            "user": None,
        }
        assert (await post(served, "/api/auth/login", email=BO, password=NEW)).status_code == 200


async def test_existing_accounts_accept_invites(inviting: Product) -> None:
    await inviting.graphql(CREATE, input={"email": BO, "password": NEW})
    await inviting.graphql('mutation { workspaceCreate(input: {slug: "lab", name: "Lab"}) { id } }')
    headers = {**inviting.headers, "X-Axonml-Workspace": "lab"}
    answer = await inviting.http.post("/graphql", json={"query": INVITE, "variables": {"email": BO}}, headers=headers)
    invite = answer.json()["data"]["inviteCreate"]["url"].partition("=")[2]
    token = (await post(inviting, "/api/auth/login", email=BO, password=NEW)).json()["token"]
    change = "mutation ($old: String!, $new: String!) { passwordChange(input: {current: $old, new: $new}) { id } }"
    await inviting.graphql(change, token=token, old=NEW, new=CHANGED)
    accept = "mutation ($token: String!) { inviteAccept(input: {token: $token}) { slug } }"
    for _ in range(2):
        payload = {"query": accept, "variables": {"token": invite}}
        accepted = await inviting.http.post("/graphql", json=payload, headers={"Authorization": f"Bearer {token}"})
        assert accepted.json() == {"data": {"inviteAccept": {"slug": "lab"}}}


async def test_a_temporary_password_is_good_for_changing_it_alone(product: Product) -> None:
    made = (await product.graphql(CREATE, input={"email": BO, "password": NEW, "role": "ADMIN"}))["userCreate"]
    assert (made["email"], made["role"], made["disabled"], made["mustChangePassword"]) == (BO, "ADMIN", False, True)
    session = (await post(product, "/api/auth/login", email=BO, password=NEW)).json()
    assert session["user"]["must_change_password"]
    token = session["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    for query in (
        "{ runs { totalCount } }",
        "{ viewer { id } users { totalCount } }",
        'mutation { workspaceCreate(input: {slug: "x", name: "x"}) { id } }',
        'mutation { apiKeyCreate(input: {name: "k", scopes: ["runs:read"]}) { secret } }',
        "mutation { mfaTotpSetup { secret } }",
    ):
        assert await refused(product, query, token=token) == ("FORBIDDEN", None), query
    for method, path in (
        ("GET", "/api/training/runs"),
        ("GET", "/api/auth/keys"),
        ("GET", "/api/auth/export"),
        ("POST", "/api/auth/mfa/totp/setup"),
        ("GET", "/api/openapi.json"),
    ):
        answer = await product.http.request(method, path, headers=bearer)
        assert answer.status_code == 403, path
        assert "change it first" in answer.json()["error"]["message"]
    run = (await product.graphql("mutation { runCreate(input: {}) { id } }"))["runCreate"]["id"]
    async with connect(product.socket_url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        operation = {"query": f'subscription {{ runUpdated(runId: "{run}") {{ __typename }} }}'}
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": operation}))
        said = json.loads(await socket.recv())
        assert (said["type"], said["payload"][0]["extensions"]["code"]) == ("error", "FORBIDDEN")
    seen = await product.graphql("{ viewer { email mustChangePassword runs { totalCount } } }", token=token)
    assert seen["viewer"] == {"email": BO, "mustChangePassword": True, "runs": {"totalCount": 0}}
    assert (await product.http.get("/api/auth/me", headers=bearer)).status_code == 200
    change = "mutation ($old: String!, $new: String!) { passwordChange(input: {current: $old, new: $new}) { email } }"
    await product.graphql(change, token=token, old=NEW, new=CHANGED)
    seen = await product.graphql("{ viewer { mustChangePassword runs { totalCount } } }", token=token)
    assert seen["viewer"] == {"mustChangePassword": False, "runs": {"totalCount": 0}}
    assert (await product.graphql("{ users { totalCount } }", token=token))["users"] == {"totalCount": 2}


async def test_accounts_in_the_graph(product: Product) -> None:
    bo = (await product.graphql(CREATE, input={"email": BO, "password": NEW, "clientToken": "t"}))["userCreate"]
    assert (await product.graphql(CREATE, input={"email": BO, "password": NEW, "clientToken": "t"}))["userCreate"] == bo
    found = await product.graphql('{ users(search: "BO@") { totalCount nodes { email } } }')
    assert found["users"] == {"totalCount": 1, "nodes": [{"email": BO}]}
    changed = (await product.graphql(UPDATE, input={"id": bo["id"], "name": "Bo", "role": "ADMIN"}))["userUpdate"]
    assert (changed["name"], changed["role"]) == ("Bo", "ADMIN")
    assert await refused(product, UPDATE, input={"id": bo["id"], "name": None}) == ("BAD_USER_INPUT", "name")
    assert await refused(product, UPDATE, input={"id": "usr_x", "name": "x"}) == ("BAD_USER_INPUT", "id")
    disable = f"mutation ($id: ID!) {{ userDisable(input: {{id: $id}}) {{ {USER} }} }}"
    assert (await product.graphql(disable, id=bo["id"]))["userDisable"]["disabled"]
    assert not (await product.graphql(UPDATE, input={"id": bo["id"], "disabled": False}))["userUpdate"]["disabled"]
    delete = "mutation ($id: ID!) { userDelete(input: {id: $id}) { id } }"
    assert (await product.graphql(delete, id=bo["id"]))["userDelete"] == {"id": bo["id"]}
    assert await refused(product, delete, id=bo["id"]) == ("NOT_FOUND", "id")
    me = (await product.graphql("{ viewer { id } }"))["viewer"]["id"]
    assert await refused(product, delete, id=me) == ("CONFLICT", "id")


async def test_accounts_over_rest(product: Product) -> None:
    account = {"email": BO, "password": NEW, "name": "Bo"}
    made = await product.rest("POST", "/api/admin/users", json=account, headers={"Idempotency-Key": "k"})
    again = await product.rest("POST", "/api/admin/users", json=account, headers={"Idempotency-Key": "k"})
    assert (made.status_code, again.status_code, made.json()) == (201, 201, again.json())
    bo = made.json()
    assert (bo["role"], bo["must_change_password"], bo["locked_until"]) == ("user", True, None)
    for _ in range(10):
        await post(product, "/api/auth/login", email=BO, password="wrong")
    page = (await product.rest("GET", "/api/admin/users", params={"limit": 1})).json()
    assert (page["total"], page["items"][0]["id"]) == (2, bo["id"])
    assert page["items"][0]["locked_until"] is not None
    rest = (await product.rest("GET", "/api/admin/users", params={"cursor": page["next_cursor"]})).json()
    assert [one["email"] for one in rest["items"]] == ["ada@example.com"]
    path = f"/api/admin/users/{bo['id']}"
    changed = await product.rest("PUT", path, json={"disabled": True, "role": "admin"})
    assert (changed.json()["disabled"], changed.json()["role"]) == (True, "admin")
    short = await product.rest("PUT", path, json={"password": "short"})
    assert (short.status_code, short.json()["error"]["field"]) == (422, "password")
    assert (await product.rest("DELETE", path)).status_code == 204
    assert (await product.rest("DELETE", path)).status_code == 404
    exported = (await product.rest("GET", "/api/auth/export")).json()
    assert exported["user"]["email"] == "ada@example.com"
    assert [room["role"] for room in exported["memberships"]] == ["owner"]
    assert [key["name"] for key in exported["api_keys"]] == ["test"]
    assert PASSWORD not in json.dumps(exported)
