"""What is left to somebody who must add a second factor first, or belongs to no workspace: over every protocol."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pyotp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from server.edge import public
from server.edge.confinement import ADD_FACTOR_FIRST, JOIN_FIRST
from server.rest.operations import SERVED
from server.settings import AuthSettings, RatesSettings, Settings
from tests.support.product import PASSWORD, Product, RefusedError, add_app, running
from tests.wire.calls import ROOTS
from tests.wire.test_people import INVITE

BO, TEMPORARY, SHORT = "bo@example.com", "seven copper kettles on the roof", "vq8#mZ2k"
RATES = RatesSettings(sign_in="off", requests="off", refused="off")
REQUIRED = Settings(auth=AuthSettings(require_mfa=True), rates=RATES)
CREATE = "mutation ($input: UserCreateInput!) { userCreate(input: $input) { id mustChangePassword mustAddFactor } }"
CHANGE = "mutation ($old: String!, $new: String!) { passwordChange(input: {current: $old, new: $new}) { id } }"
LOGIN = """mutation ($password: String!) { authLogin(input: {email: "bo@example.com", password: $password}) {
  token requiresMfa mfaToken user { mfaEnabled mustChangePassword mustAddFactor }
} }"""
# These would end the session that the walk is made with.
ENDING = {"authLogout", "authLogoutAll"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def refusal(product: Product, query: str, **given: Any) -> tuple[str, str | None]:
    with pytest.raises(RefusedError) as problem:
        await product.graphql(query, **given)
    return problem.value.code, problem.value.field


async def person(product: Product, password: str = PASSWORD) -> str:
    """Bo, with a password of their own; the token of a session."""
    await product.graphql(CREATE, input={"email": BO, "password": TEMPORARY})
    token = await login(product, TEMPORARY)
    await product.graphql(CHANGE, token=token, old=TEMPORARY, new=password)
    return token


async def login(product: Product, password: str = PASSWORD) -> str:
    answer = await product.http.post("/api/auth/login", json={"email": BO, "password": password})
    return str(answer.json()["token"])


async def homeless(product: Product, dsn: str) -> str:
    """Bo, removed from the only workspace they were in; the token of a session."""
    await person(product)
    rows = await asyncpg.connect(dsn)
    await rows.execute("DELETE FROM memberships m USING users u WHERE u.id = m.user_id AND u.email = $1", BO)
    await rows.close()
    return await login(product)


# --- the walk ------------------------------------------------------------------------------------


async def walk(
    product: Product,
    token: str,
    left: tuple[frozenset[tuple[str, str]], dict[str, frozenset[str]]],
    code: str,
    said: str,
) -> None:
    """That every route and root field but those that are left is refused with this, over HTTP, SSE and WebSocket."""
    routes, fields = left
    wrong = []
    for operation in SERVED:
        method, path = operation.method.upper(), operation.path
        if (method, path) in public.ROUTES or (method, path) == ("POST", "/api/auth/logout"):
            continue
        answer = await product.http.request(method, re.sub(r"\{[^}]+\}", "x", path), headers=bearer(token))
        refused = said in answer.text and answer.json()["error"]["code"] == code
        if refused is ((method, path) in routes):
            wrong.append(f"{method} {path}: {answer.status_code}")
    texts = []
    for kind, root in ROOTS.items():
        for name in root.fields.keys() - ENDING:
            word = kind.lower()
            open_to_all = name in public.ROOT_FIELDS[word]
            text = f"{word} {{ {name} {{ __typename }} }}"
            for accept in ("application/json", "text/event-stream"):
                answer = await product.http.post(
                    "/graphql", json={"query": text}, headers={**bearer(token), "Accept": accept}
                )
                refused = said in answer.text and f'"{code}"' in answer.text
                # Subscriptions are not for the JSON of a single answer.
                other = word == "subscription" and accept == "application/json" and answer.status_code == 400
                if refused is (open_to_all or name in fields[word]) and not other:
                    wrong.append(f"{text} by {accept}: {answer.text[:200]}")
            if not open_to_all and name not in fields[word]:
                texts.append(text)
    assert not wrong, "\n".join(wrong)
    # Hidden behind something that is left they are refused all the same.
    assert await refusal(
        product, "{ viewer { id } ...F } fragment F on Query { runs { totalCount } }", token=token
    ) == (
        code,
        None,
    )
    await over_a_socket(product, token, texts[::9], code)


async def over_a_socket(product: Product, token: str, texts: list[str], code: str) -> None:
    """That a socket answers these with the code alone, and is closed as soon as sessions are looked at."""
    said = []
    async with connect(product.socket_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}))
        try:
            for place, text in enumerate(texts):
                operation = {"type": "subscribe", "id": str(place), "payload": {"query": text}}
                await socket.send(json.dumps(operation))
            async with asyncio.timeout(20):
                while True:
                    said.append(json.loads(await socket.recv()))
        except ConnectionClosed:
            pass
    assert socket.close_code == 4403
    answers = [one for one in said if one["type"] not in ("connection_ack", "ping", "complete")]
    assert {one["type"] for one in answers} <= {"error"}, answers
    assert {one["payload"][0]["extensions"]["code"] for one in answers} <= {code}


# --- a second factor that is required ------------------------------------------------------------


async def test_without_a_required_factor_nothing_answers_but_what_adds_one(database_url: str) -> None:
    async with running(database_url, settings=REQUIRED) as product:
        token = await person(product)
        left = (public.ADDING_FACTOR_ROUTES, public.ADDING_FACTOR_FIELDS)
        await walk(product, token, left, "MFA_REQUIRED", ADD_FACTOR_FIRST)
        seen = await product.graphql(
            "{ viewer { mustAddFactor sessions { id } apiKeys { id } workspaces { id } runs { totalCount } } }",
            token=token,
        )
        assert seen["viewer"] == {
            "mustAddFactor": True,
            "sessions": None,
            "apiKeys": [],
            "workspaces": [],
            "runs": {"totalCount": 0},
        }
        page = await product.http.get("/graphql", headers={**bearer(token), "Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/account")
        assert (await product.http.get("/account", headers=bearer(token))).status_code == 200
        assert (await product.http.post("/api/auth/logout", headers=bearer(token))).status_code == 204


async def test_from_a_short_temporary_password_to_everything_over_rest(database_url: str) -> None:
    async with running(database_url, settings=REQUIRED) as product:
        made = await product.rest("POST", "/api/admin/users", json={"email": BO, "password": "tj4!Wx7p"})
        assert made.status_code == 201, made.text
        session = (await product.http.post("/api/auth/login", json={"email": BO, "password": "tj4!Wx7p"})).json()
        assert (session["user"]["must_change_password"], session["user"]["must_add_factor"]) == (True, True)
        token = session["token"]
        early = await product.http.post("/api/auth/mfa/totp/setup", headers=bearer(token))
        assert (early.status_code, early.json()["error"]["code"]) == (403, "FORBIDDEN")
        assert await refusal(product, CHANGE, token=token, old="tj4!Wx7p", new="vq8#mZ2") == ("BAD_USER_INPUT", "new")
        await product.graphql(CHANGE, token=token, old="tj4!Wx7p", new=SHORT)
        me = (await product.http.get("/api/auth/me", headers=bearer(token))).json()
        assert (me["must_change_password"], me["must_add_factor"], me["mfa_enabled"]) == (False, True, False)
        key = {"name": "k", "scopes": ["runs:read"]}
        refused = await product.http.post("/api/auth/keys", json=key, headers=bearer(token))
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "MFA_REQUIRED")
        app = await add_app(product, token)
        assert (await product.http.post("/api/auth/keys", json=key, headers=bearer(token))).status_code == 201
        challenge = (await product.http.post("/api/auth/login", json={"email": BO, "password": SHORT})).json()
        assert challenge["requires_mfa"]
        second = {"mfa_token": challenge["mfa_token"], "code": app.at(datetime.now(UTC), counter_offset=1)}
        signed_in = (await product.http.post("/api/auth/mfa/totp/verify", json=second)).json()
        assert not signed_in["user"]["must_add_factor"]
        assert (await product.http.get("/api/training/runs", headers=bearer(signed_in["token"]))).status_code == 200


async def test_the_graph_says_what_is_required_and_keeps_the_last_factor(database_url: str) -> None:
    async with running(database_url, settings=REQUIRED) as product:
        info = (await product.http.post("/graphql", json={"query": INFO})).json()["data"]["serverInfo"]
        assert info == {"registration": "CLOSED", "mfaRequired": True, "passwordMinLength": 8}
        await person(product, SHORT)
        payload = (await product.graphql(LOGIN, password=SHORT))["authLogin"]
        assert payload["user"] == {"mfaEnabled": False, "mustChangePassword": False, "mustAddFactor": True}
        token = payload["token"]
        app = pyotp.TOTP(
            (await product.graphql("mutation { mfaTotpSetup { secret } }", token=token))["mfaTotpSetup"]["secret"]
        )
        enable = "mutation ($code: String!) { mfaTotpEnable(input: {code: $code}) { recoveryCodes } }"
        assert len((await product.graphql(enable, token=token, code=app.now()))["mfaTotpEnable"]["recoveryCodes"]) == 10
        seen = await product.graphql(
            "{ viewer { mfaEnabled mustAddFactor sessions { id } } runs { totalCount } }", token=token
        )
        assert (seen["viewer"]["mfaEnabled"], seen["viewer"]["mustAddFactor"]) == (True, False)
        assert len(seen["viewer"]["sessions"]) == 1
        off = "mutation ($password: String!) { mfaTotpDisable(input: {password: $password}) { mfaEnabled } }"
        assert await refusal(product, off, token=token, password=SHORT) == ("CONFLICT", None)
        assert (await product.graphql("{ viewer { mfaEnabled } }", token=token))["viewer"]["mfaEnabled"]


async def test_of_two_sign_ins_at_once_one_adds_the_factor(database_url: str) -> None:
    async with running(database_url, settings=REQUIRED) as product:
        await person(product)
        tokens = await asyncio.gather(login(product), login(product))
        begun = [await product.http.post("/api/auth/mfa/totp/setup", headers=bearer(token)) for token in tokens]
        app = pyotp.TOTP(begun[-1].json()["secret"])
        enabled = await asyncio.gather(
            *(
                product.http.post("/api/auth/mfa/totp/enable", json={"code": app.now()}, headers=bearer(token))
                for token in tokens
            )
        )
        first, second = sorted(one.status_code for one in enabled)
        assert (first, second in (401, 409)) == (200, True)
        inside = [await product.http.get("/api/training/runs", headers=bearer(token)) for token in tokens]
        by_outcome = {one.status_code: two for one, two in zip(enabled, inside, strict=True)}
        assert by_outcome.pop(200).status_code == 200
        assert [one.json()["error"]["code"] for one in by_outcome.values()] == ["UNAUTHENTICATED"]
        assert (await product.graphql(LOGIN, password=PASSWORD))["authLogin"]["requiresMfa"]


async def test_a_key_is_worth_nothing_while_its_owner_has_no_factor(database_url: str) -> None:
    async with running(database_url, settings=REQUIRED) as product:
        token = await person(product)
        await add_app(product, token)
        key = {"name": "k", "scopes": ["runs:read"]}
        secret = (await product.http.post("/api/auth/keys", json=key, headers=bearer(token))).json()["secret"]
        assert (await product.http.get("/api/training/runs", headers=bearer(secret))).status_code == 200
        async with connect(product.socket_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
            await socket.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {secret}"}}))
            assert json.loads(await socket.recv())["type"] == "connection_ack"
            rows = await asyncpg.connect(database_url)
            await rows.execute("DELETE FROM totp_factors t USING users u WHERE u.id = t.user_id AND u.email = $1", BO)
            await rows.close()
            async with asyncio.timeout(20):
                await socket.wait_closed()
        assert socket.close_code == 4403
        product.services.identity._authentication.forget_user(None)
        refused = await product.http.get("/api/training/runs", headers=bearer(secret))
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
        assert "no second factor" in refused.json()["error"]["message"]
        query = {"query": "{ runs { totalCount } }"}
        refused = await product.http.post("/graphql", json=query, headers=bearer(secret))
        assert refused.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert "no second factor" in refused.json()["errors"][0]["message"]


INFO = "{ serverInfo { registration mfaRequired passwordMinLength } }"


async def test_where_no_factor_is_required_nobody_must_add_one(product: Product) -> None:
    info = (await product.http.post("/graphql", json={"query": INFO})).json()["data"]["serverInfo"]
    assert info == {"registration": "CLOSED", "mfaRequired": False, "passwordMinLength": 15}
    assert (await product.graphql("{ viewer { mustAddFactor } }"))["viewer"] == {"mustAddFactor": False}
    made = (await product.graphql(CREATE, input={"email": BO, "password": TEMPORARY}))["userCreate"]
    assert not made["mustAddFactor"]
    seen = await product.graphql("{ viewer { workspaces { members { user { email mustAddFactor } } } } }")
    assert len(seen["viewer"]["workspaces"][0]["members"]) == 2
    token = await login(product, TEMPORARY)
    await product.graphql(CHANGE, token=token, old=TEMPORARY, new=PASSWORD)
    seen = await product.graphql("{ viewer { workspaces { members { user { email mustAddFactor } } } } }", token=token)
    members = {one["user"]["email"]: one["user"]["mustAddFactor"] for one in seen["viewer"]["workspaces"][0]["members"]}
    assert members == {"ada@example.com": None, BO: False}


# --- nobody's workspace --------------------------------------------------------------------------


async def test_without_a_workspace_nothing_answers_but_the_own_account(database_url: str) -> None:
    async with running(database_url, settings=Settings(rates=RATES)) as product:
        token = await homeless(product, database_url)
        await walk(product, token, (public.NOWHERE_ROUTES, public.NOWHERE_FIELDS), "FORBIDDEN", JOIN_FIRST)
        seen = await product.graphql("{ __schema { queryType { name } } workspaces { id } }", token=token)
        assert seen == {"__schema": {"queryType": {"name": "Query"}}, "workspaces": []}


async def test_without_a_workspace_the_own_account_is_managed(database_url: str) -> None:
    async with running(database_url, settings=Settings(rates=RATES)) as product:
        token, other = await homeless(product, database_url), await login(product)
        exported = await product.http.get("/api/auth/export", headers=bearer(token))
        assert (exported.status_code, exported.json()["memberships"]) == (200, [])
        seen = (await product.graphql("{ viewer { email sessions { id current } } }", token=token))["viewer"]
        assert seen["email"] == BO
        ended = next(one["id"] for one in seen["sessions"] if not one["current"])
        revoke = "mutation ($id: ID!) { sessionRevoke(input: {id: $id}) { id } }"
        await product.graphql(revoke, token=token, id=ended)
        left = await product.graphql("{ viewer { sessions { id } } }", token=token)
        assert ended not in {one["id"] for one in left["viewer"]["sessions"]}
        await product.graphql(CHANGE, token=token, old=PASSWORD, new=TEMPORARY)
        assert (await product.http.get("/api/auth/me", headers=bearer(other))).status_code == 401
        await add_app(product, token)
        off = "mutation ($password: String!) { mfaTotpDisable(input: {password: $password}) { mfaEnabled } }"
        assert not (await product.graphql(off, token=token, password=TEMPORARY))["mfaTotpDisable"]["mfaEnabled"]
        await product.graphql(
            'mutation ($id: ID!) { userUpdate(input: {id: $id, name: "Bo"}) { name } }',
            token=token,
            id=exported.json()["user"]["id"],
        )
        rows = await asyncpg.connect(database_url)
        places = await rows.fetch("SELECT workspace_id FROM audit_events WHERE action = 'userUpdate'")
        await rows.close()
        assert [one["workspace_id"] for one in places] == [None]


async def test_an_invite_or_an_own_workspace_leads_back_in(database_url: str) -> None:
    async with running(database_url, settings=Settings(rates=RATES)) as product:
        token = await homeless(product, database_url)
        invite = (await product.graphql(INVITE, email=BO))["inviteCreate"]["url"].partition("=")[2]
        accept = (
            "mutation ($token: String!) { inviteAccept(input: {token: $token}) { slug members { user { email } } } }"
        )
        payload = {"query": accept, "variables": {"token": invite}}
        answer = (await product.http.post("/graphql", json=payload, headers=bearer(token))).json()
        assert answer["data"]["inviteAccept"]["slug"] == "default"
        assert len(answer["data"]["inviteAccept"]["members"]) == 2
        assert (await product.http.get("/api/training/runs", headers=bearer(token))).status_code == 200
        rows = await asyncpg.connect(database_url)
        await rows.execute("DELETE FROM memberships m USING users u WHERE u.id = m.user_id AND u.email = $1", BO)
        await rows.close()
        product.services.identity._authentication.forget_user(None)
        made = 'mutation { workspaceCreate(input: {slug: "own", name: "Own"}) { slug } }'
        assert (await product.graphql(made, token=token))["workspaceCreate"] == {"slug": "own"}
        assert (await product.graphql("mutation { runCreate(input: {}) { id } }", token=token))["runCreate"]["id"]
