"""Passkeys over real HTTP: by REST and by the graph, with tokens and with cookies, and what strangers may send."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from server.edge.cookies import Cookies
from tests.support.authenticator import Authenticator, Lies
from tests.support.product import PASSWORD, Product, RefusedError

START = "/api/auth/mfa/webauthn/authenticate/start"
FINISH = "/api/auth/mfa/webauthn/authenticate/finish"
LOGIN = {"email": "ada@example.com", "password": PASSWORD}
REGISTER = """mutation ($input: WebauthnRegisterInput!) {
  webauthnRegisterFinish(input: $input) { id kind name createdAt lastUsedAt } }"""
BEGIN = "mutation ($input: WebauthnStartInput!) { webauthnAuthenticateStart(input: $input) }"
END = """mutation ($input: WebauthnFinishInput!) {
  webauthnAuthenticateFinish(input: $input) { token refreshToken requiresMfa user { email mfaEnabled } } }"""


def problem(response: httpx.Response) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["field"]


def at_home(product: Product) -> Authenticator:
    """An authenticator behind a page of this server."""
    return Authenticator(origin=product.url.replace("127.0.0.1", "localhost"))


async def register(product: Product, device: Authenticator, name: str = "laptop") -> dict[str, Any]:
    begun = (await product.rest("POST", "/api/auth/mfa/webauthn/register/start")).json()
    answer = device.create(begun["options"])
    body = {"ceremony_id": begun["ceremony_id"], "name": name, "credential": answer}
    made = await product.rest("POST", "/api/auth/mfa/webauthn/register/finish", json=body)
    assert made.status_code == 201, made.text
    credential: dict[str, Any] = made.json()["credential"]
    return credential


async def test_by_rest(product: Product) -> None:
    device = at_home(product)
    made = await register(product, device)
    assert made.keys() == {"id", "name", "created_at", "last_used_at"}
    assert made.items() >= {"name": "laptop", "last_used_at": None}.items()
    me = await product.rest("GET", "/api/auth/me")
    assert me.json()["mfa_enabled"] is True

    first = (await product.http.post("/api/auth/login", json=LOGIN)).json()
    assert first.keys() == {"requires_mfa", "mfa_token"}
    token = first["mfa_token"]
    begun = (await product.http.post(START, json={"mfa_token": token})).json()
    body = {"ceremony_id": begun["ceremony_id"], "mfa_token": token, "credential": device.get(begun["options"])}
    pair = await product.http.post(FINISH, json=body)
    assert pair.status_code == 200, pair.text
    assert pair.json().keys() == {"token", "refresh_token", "expires_in", "user"}
    assert problem(await product.http.post(FINISH, json=body)) == (401, "UNAUTHENTICATED", "mfa_token")

    begun = (await product.http.post(START)).json()
    assert begun["options"]["allowCredentials"] == []
    body = {"ceremony_id": begun["ceremony_id"], "credential": device.get(begun["options"]), "session": "cookie"}
    kept = await product.http.post(FINISH, json=body)
    assert kept.status_code == 200, kept.text
    assert kept.json().keys() == {"expires_in", "user"}
    assert Cookies(secure=False).session_name in kept.cookies
    product.http.cookies.clear()
    assert problem(await product.http.post(FINISH, json=body)) == (401, "UNAUTHENTICATED", "credential")

    path = f"/api/auth/mfa/webauthn/{made['id']}"
    wrong = await product.rest("DELETE", path, json={"password": "not the right password"})
    assert problem(wrong) == (401, "UNAUTHENTICATED", "password")
    assert (await product.rest("DELETE", path, json={"password": PASSWORD})).status_code == 204
    assert problem(await product.rest("DELETE", path, json={"password": PASSWORD})) == (404, "NOT_FOUND", "id")
    assert "token" in (await product.http.post("/api/auth/login", json=LOGIN)).json()


async def test_by_the_graph(product: Product) -> None:
    device = at_home(product)
    options = (await product.graphql("mutation { webauthnRegisterStart }"))["webauthnRegisterStart"]
    given = {"name": "laptop", "credential": device.create(options)}
    made = (await product.graphql(REGISTER, input=given))["webauthnRegisterFinish"]
    assert made.items() >= {"kind": "WEBAUTHN", "name": "laptop", "lastUsedAt": None}.items()

    async def stranger(query: str, **variables: Any) -> dict[str, Any]:
        answer = await product.http.post("/graphql", json={"query": query, "variables": variables})
        document: dict[str, Any] = answer.json()
        return document

    begun = await stranger(BEGIN, input={})
    credential = device.get(begun["data"]["webauthnAuthenticateStart"])
    signed = (await stranger(END, input={"credential": credential}))["data"]["webauthnAuthenticateFinish"]
    assert signed["user"] == {"email": "ada@example.com", "mfaEnabled": True}
    assert signed["requiresMfa"] is False
    again = (await stranger(END, input={"credential": credential}))["errors"][0]["extensions"]
    assert (again["code"], again["field"]) == ("UNAUTHENTICATED", "credential")

    token = (await product.http.post("/api/auth/login", json=LOGIN)).json()["mfa_token"]
    begun = await stranger(BEGIN, input={"mfaToken": token})
    credential = device.get(begun["data"]["webauthnAuthenticateStart"])
    answer = {"credential": credential, "mfaToken": token, "session": "COOKIE"}
    kept = (await stranger(END, input=answer))["data"]["webauthnAuthenticateFinish"]
    assert (kept["token"], kept["refreshToken"], kept["user"]["email"]) == (None, None, "ada@example.com")
    product.http.cookies.clear()

    delete = "mutation ($input: WebauthnCredentialDeleteInput!) { webauthnCredentialDelete(input: $input) { id } }"
    with pytest.raises(RefusedError) as refused:
        await product.graphql(delete, input={"id": made["id"], "password": "not the right password"})
    assert (refused.value.code, refused.value.field) == ("UNAUTHENTICATED", "password")
    gone = await product.graphql(delete, input={"id": made["id"], "password": PASSWORD})
    assert gone == {"webauthnCredentialDelete": {"id": made["id"]}}


async def test_a_page_elsewhere_learns_where_passkeys_work(product: Product) -> None:
    begun = (await product.rest("POST", "/api/auth/mfa/webauthn/register/start")).json()
    answer = at_home(product).create(begun["options"], Lies(origin="http://localhost"))
    body = {"ceremony_id": begun["ceremony_id"], "name": "k", "credential": answer}
    refused = await product.rest("POST", "/api/auth/mfa/webauthn/register/finish", json=body)
    assert problem(refused) == (422, "BAD_USER_INPUT", "credential")
    assert at_home(product).origin in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("credential", "field"),
    [
        ({}, "credential.rawId"),
        ({"rawId": "AAAA", "id": "AAAB"}, "credential.id"),
        ({"rawId": "AAAA", "id": "AAAA", "type": "password"}, "credential.type"),
        ({"rawId": "AAAA", "id": "AAAA", "type": "public-key", "response": []}, "credential.response"),
        (
            {"rawId": "AAAA", "id": "AAAA", "type": "public-key", "response": {}},
            "credential.response.clientDataJSON",
        ),
    ],
)
async def test_rubbish_is_refused_by_name(product: Product, credential: dict[str, Any], field: str) -> None:
    refused = await product.http.post(FINISH, json={"ceremony_id": "0" * 32, "credential": credential})
    assert problem(refused) == (422, "BAD_USER_INPUT", field)
    asked = {"query": END, "variables": {"input": {"credential": credential}}}
    told = (await product.http.post("/graphql", json=asked)).json()["errors"][0]["extensions"]
    assert (told["code"], told["field"].startswith("credential")) == ("BAD_USER_INPUT", True)


async def test_deep_and_large_bodies_are_refused(product: Product) -> None:
    head = {"Content-Type": "application/json"}
    for depth in (1_000, 100_000):
        deep = b'{"ceremony_id": "' + b"0" * 32 + b'", "credential": {"rawId": ' + b"[" * depth + b"]" * depth + b"}}"
        answer = await product.http.post(FINISH, content=deep, headers=head)
        assert answer.status_code in (400, 422), answer.text
        nested = b'{"credential": {"rawId": ' + b"[" * depth + b"]" * depth + b"}}"
        asked = b'{"query": ' + json.dumps(END).encode() + b', "variables": {"input": ' + nested + b"}}"
        answer = await product.http.post("/graphql", content=asked, headers=head)
        assert answer.json()["errors"], answer.text
    large = {"ceremony_id": "0" * 32, "credential": {"rawId": "A" * 2_000_000}}
    assert problem(await product.http.post(FINISH, json=large))[0] == 413
    assert problem(await product.http.post(FINISH, json={"ceremony_id": "x", "credential": {}})) == (
        422,
        "BAD_USER_INPUT",
        "ceremony_id",
    )


async def test_strangers_begin_and_finish_as_often_as_they_may_sign_in(product: Product) -> None:
    statuses = [(await product.http.post(START)).status_code for _ in range(40)]
    assert set(statuses) == {200, 429}
    assert (await product.http.post(FINISH, json={})).status_code == 429
    assert (await product.http.post("/api/auth/login", json=LOGIN)).status_code == 429
