"""The audit log: one row for everything that is changed, with who did it; nothing for what was not, and no secrets."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import count
from typing import Any, Final
from unittest.mock import patch

import asyncpg
import pyotp
import pytest
import pytest_asyncio

from domain import audit, ids
from domain.audit import EXEMPT, AuditEvent, AuditFilter, Event
from persistence.audit import PostgresAudit
from server.rest.operations import SERVED
from tests.support import workspaces
from tests.support.authenticator import Authenticator
from tests.support.clusters import Cluster
from tests.support.product import PASSWORD
from tests.support.workspaces import Workspaces, peopled
from tests.wire.calls import GIVEN, REQUESTS, ROOTS, Given, Things, document, named
from tests.wire.permissions import GRAPH

pytestmark = pytest.mark.asyncio(loop_scope="module")

Make = Callable[[Things], Awaitable[Given]]
_requests: Final = count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def things(postgres_cluster: Cluster) -> AsyncIterator[Things]:
    url = postgres_cluster.create()
    settings = workspaces.SETTINGS.model_copy(
        update={
            "auth": workspaces.SETTINGS.auth.model_copy(update={"registration": "open"}),
            "inference": workspaces.SETTINGS.inference.model_copy(update={"max_endpoints": 100}),
        }
    )
    with patch.object(workspaces, "SETTINGS", settings):
        async with peopled(url) as world:
            yield await Things.of(world)
    postgres_cluster.drop(url)


@pytest.fixture
def world(things: Things) -> Workspaces:
    return things.world


async def told(world: Workspaces, request_id: str) -> list[asyncpg.Record]:
    """The rows of a request."""
    return await world.database.fetch("SELECT * FROM audit_events WHERE request_id = $1", request_id)


async def ask(
    world: Workspaces, headers: dict[str, str], query: str, **variables: Any
) -> tuple[dict[str, Any], list[asyncpg.Record]]:
    """The answer to an operation, and the rows it wrote."""
    request_id = f"audit-{next(_requests)}"
    answer = await world.product.http.post(
        "/graphql", json={"query": query, "variables": variables}, headers={**headers, "X-Request-Id": request_id}
    )
    return answer.json(), await told(world, request_id)


async def actor(world: Workspaces, headers: dict[str, str]) -> tuple[str, str | None]:
    """Whose headers these are: user and session."""
    scope = await world.product.services.identity.authenticate(authorization=headers["Authorization"])
    return scope.principal.user_id, scope.principal.session_id


# --- every mutation ----------------------------------------------------------------------------------------

# What the calls of the permission matrix do not change, or not alone.


async def new_name(things: Things) -> Given:
    return {"id": things.world.scope.workspace_id, "name": f"Default {next(things.world.numbers)}"}


async def somebody_else(things: Things) -> Given:
    _, user = await things.world.member("owner", "other")
    return {"workspaceId": things.world.scope.workspace_id, "userId": user, "role": "VIEWER"}


async def gone_workspace(things: Things) -> Given:
    made = await things.world.product.services.identity.workspaces.create(
        things.world.scope, slug=f"gone-{next(things.world.numbers)}", name="Gone"
    )
    return {"id": made.id}


async def archived_experiment(things: Things) -> Given:
    experiment = await things.world.experiment()
    await things.world.product.services.experiments.delete(things.world.scope, experiment)
    return {"id": experiment}


async def scaled(things: Things) -> Given:
    return {"id": await things.world.endpoint(things.version), "replicas": 2}


async def stopped(things: Things) -> Given:
    return {"id": await things.world.endpoint(things.version)}


async def started(things: Things) -> Given:
    endpoint = await things.world.endpoint(things.version)
    await things.world.product.services.endpoints.start(things.world.scope, endpoint)
    return {"id": endpoint}


async def deployed(things: Things) -> Given:
    return {"versionId": things.version, "endpoint": f"deployed-{next(things.world.numbers)}"}


async def newcomer(things: Things) -> Given:
    return {"email": f"new-{next(things.world.numbers)}@example.com", "password": PASSWORD}


async def invited(things: Things) -> Given:
    return {"email": f"new-{next(things.world.numbers)}@example.com", "role": "VIEWER"}


async def an_invite(things: Things) -> Given:
    made, _ = await ask(things.world, things.headers, INVITE, input=await invited(things))
    return {"id": made["data"]["inviteCreate"]["invite"]["id"]}


async def an_invite_for_me(things: Things) -> Given:
    viewer, _ = await ask(things.world, things.headers, "{ viewer { email } }")
    given = {"email": viewer["data"]["viewer"]["email"], "role": "VIEWER"}
    made, _ = await ask(things.world, things.headers, INVITE, input=given)
    return {"token": made["data"]["inviteCreate"]["url"].partition("#invite=")[2]}


def user(**more: Any) -> Make:
    async def make(things: Things) -> Given:
        return {"id": (await things.world.member("viewer"))[1], **more}

    return make


async def somebody_with_an_app(things: Things) -> Given:
    email, identifier = await things.world.member("viewer")
    headers = await things.world.signed_in(email)
    begun = await things.world.product.http.post("/api/auth/mfa/totp/setup", headers=headers)
    assert begun.status_code < 300, begun.text
    return {"id": identifier}


INVITE: Final = "mutation ($input: InviteCreateInput!) { inviteCreate(input: $input) { url invite { id } } }"
CHANGING: Final[dict[str, Make]] = {
    **{name: make for name, make in GIVEN.items() if f"Mutation.{name}" in GRAPH},
    "authRegister": newcomer,
    "inviteCreate": invited,
    "inviteRevoke": an_invite,
    "inviteAccept": an_invite_for_me,
    "userCreate": newcomer,
    "userUpdate": user(name="Another"),
    "userDisable": user(),
    "userFactorsReset": somebody_with_an_app,
    "userDelete": user(),
    "workspaceUpdate": new_name,
    "workspaceDelete": gone_workspace,
    "memberAdd": somebody_else,
    "experimentRestore": archived_experiment,
    "modelVersionDeploy": deployed,
    "endpointUpdate": scaled,
    "endpointStart": stopped,
    "endpointStop": started,
    "endpointCreate": named("audited", lambda things: {"versionId": things.version}),
}
# What needs a second factor first: `test_second_factors_and_sign_ins`.
WITH_FACTORS: Final = {
    "mfaTotpEnable",
    "mfaTotpVerify",
    "mfaTotpDisable",
    "recoveryCodesGenerate",
    "recoveryCodeUse",
    "webauthnRegisterFinish",
    "webauthnAuthenticateFinish",
    "webauthnCredentialDelete",
}
ONCE: Final = {"authSetup"}
# Who is new or not signed in yet does these; all else is done by the caller.
NEW_ACTOR: Final = {"authRegister", "authLogin"}
REST_ALONE: Final = {
    "modelVersionUpload",
    "modelVersionContentPut",
    "modelVersionFileAdd",
    "modelVersionArchitectureSet",
    "modelVersionStageSet",
    "modelTagsSet",
    "modelVersionTagsSet",
}
MUTATIONS: Final = set(ROOTS["Mutation"].fields)


async def test_every_mutation_is_exempt_by_name_or_shown_to_write_a_row() -> None:
    assert {"logAppend", "predict"} == audit.DATA_PLANE - MUTATIONS  # only REST, and only a query
    assert audit.PASSING < MUTATIONS
    assert (set(CHANGING) - EXEMPT) | WITH_FACTORS | ONCE == MUTATIONS - EXEMPT
    rest = {one.operation_id for one in SERVED if one.method != "get"}
    assert rest - MUTATIONS == {"logAppend", "predict", *REST_ALONE}


@pytest.mark.parametrize("name", sorted(MUTATIONS - EXEMPT - WITH_FACTORS - ONCE))
async def test_a_change_writes_one_row_about_who_did_what(things: Things, name: str) -> None:
    world = things.world
    headers = await world.somebody("admin")
    caller, session = await actor(world, headers)
    text, variables = document(f"Mutation.{name}", await CHANGING[name](replace(things, headers=headers)))
    answer, rows = await ask(world, headers, text, **variables)
    assert "errors" not in answer, answer
    assert [(row["action"], row["outcome"]) for row in rows] == [(name, "ok")]
    (row,) = rows
    assert re.fullmatch(r"[a-z]{3}_[0-9a-f]{32}", row["resource"])
    assert row["address"] == "127.0.0.1"
    assert row["api_key_id"] is None
    given = variables.get("input", {})
    if "id" in given:
        assert row["resource"] == given["id"]
    if name not in NEW_ACTOR:
        assert ids.from_uuid("usr", row["actor_id"]) == caller
        assert ids.from_uuid("ses", row["session_id"]) == session
        assert row["workspace_id"] is not None
    if name.startswith(("run", "model", "experiment", "grant", "member")):
        assert ids.from_uuid("wsp", row["workspace_id"]) == world.scope.workspace_id


@pytest.mark.parametrize("name", sorted(EXEMPT & MUTATIONS))
async def test_what_is_exempt_writes_none(things: Things, name: str) -> None:
    headers = await things.world.somebody("admin")
    text, variables = document(f"Mutation.{name}", await GIVEN[name](replace(things, headers=headers)))
    answer, rows = await ask(things.world, headers, text, **variables)
    assert "errors" not in answer, answer
    assert rows == []


CHANGED_BY_REST: Final = [
    "POST /api/auth/keys",
    "DELETE /api/auth/keys/{id}",
    "POST /api/auth/login",
    "POST /api/auth/logout",
    "POST /v1/permissions",
    "DELETE /v1/permissions/{id}",
    "POST /api/experiments",
    "POST /api/training/runs",
    "DELETE /api/training/runs/{id}",
    "POST /api/training/runs/{id}/purge",
    "POST /api/models",
    "POST /api/models/{id}/tags",
    "POST /api/models/{id}/versions",
    "POST /api/models/{id}/versions/{v}/tags",
    "PUT /api/models/{id}/versions/{v}",
    "PUT /api/models/{id}/versions/{v}/stage",
    "POST /api/models/{id}/uploads",
    "PUT /api/models/{id}/versions/{v}/content",
    "PUT /api/models/{id}/versions/{v}/files/{name}",
    "DELETE /api/models/{id}/versions/{v}",
    "POST /api/inference/endpoints",
    "DELETE /api/inference/endpoints/{id}",
]


@pytest.mark.parametrize("operation", CHANGED_BY_REST)
async def test_rest_writes_the_same_rows(things: Things, operation: str) -> None:
    world = things.world
    headers = await world.somebody("admin")
    method, _, path = operation.partition(" ")
    given = await REQUESTS[operation](replace(things, headers=headers))
    path = path.format(**given.pop("path", {}))
    request_id = f"rest-{next(_requests)}"
    headers = {**headers, **given.pop("headers", {}), "X-Request-Id": request_id}
    answer = await world.product.http.request(method, path, headers=headers, **given)
    assert answer.status_code < 300, answer.text
    known = {f"{one.method.upper()} {one.path}": one.operation_id for one in SERVED}
    assert [(row["action"], row["outcome"]) for row in await told(world, request_id)] == [(known[operation], "ok")]


# --- what changes nothing, and what is refused -------------------------------------------------------------


async def test_a_repeat_writes_no_second_row(world: Workspaces) -> None:
    headers = world.callers["editor"]
    create = "mutation ($input: RunCreateInput!) { runCreate(input: $input) { id } }"
    given = {"name": "once", "clientToken": f"t{next(_requests)}"}
    first, rows = await ask(world, headers, create, input=given)
    again, none = await ask(world, headers, create, input=given)
    assert (first, len(rows), none) == (again, 1, [])
    run = first["data"]["runCreate"]["id"]
    start = "mutation ($id: ID!) { runDelete(input: {id: $id}) { id } }"
    assert [len((await ask(world, headers, start, id=run))[1]) for _ in range(2)] == [1, 0]


async def test_every_mutation_of_a_document_has_its_row(world: Workspaces) -> None:
    made = 'experimentCreate(input: {name: "aa"}) { id }'
    text = f"mutation {{ a: {made} b: {made} }}"
    answer, rows = await ask(world, world.callers["editor"], text)
    assert answer["errors"][0]["extensions"]["code"] == "CONFLICT"
    assert [row["outcome"] for row in rows] == ["ok"]


async def test_of_several_objects_every_one_is_named(world: Workspaces) -> None:
    runs = [await world.run() for _ in range(3)]
    _, rows = await ask(
        world, world.callers["editor"], "mutation ($ids: [ID!]!) { runsDelete(input: {ids: $ids}) { ids } }", ids=runs
    )
    (row,) = rows
    assert sorted([row["resource"], *json.loads(row["others"])]) == sorted(runs)


async def test_a_refusal_of_somebody_known_is_told(world: Workspaces) -> None:
    run = await world.run()
    viewer = world.callers["viewer"]
    answer, rows = await ask(world, viewer, "mutation ($id: ID!) { runDelete(input: {id: $id}) { id } }", id=run)
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    (row,) = rows
    assert (row["action"], row["outcome"]) == ("runDelete", "denied")
    assert ids.from_uuid("usr", row["actor_id"]) == (await actor(world, viewer))[0]
    key = world.keys["runs:read"]
    _, (by_key,) = await ask(world, key, "mutation ($id: ID!) { runDelete(input: {id: $id}) { id } }", id=run)
    assert (by_key["outcome"], by_key["session_id"]) == ("denied", None)
    assert by_key["api_key_id"] is not None


LOGIN: Final = """mutation ($email: String!, $password: String!) {
  authLogin(input: {email: $email, password: $password}) { token refreshToken mfaToken } }"""


async def test_a_failed_login_tells_the_account_only_where_there_is_one(world: Workspaces) -> None:
    email, known = await world.member("viewer")
    for address, resource in ((email, known), ("nobody-here@example.com", None)):
        answer, (row,) = await ask(world, {}, LOGIN, email=address, password="the wrong password entirely")
        assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert (row["outcome"], row["actor_id"], row["resource"]) == ("failed", None, resource)


async def test_too_many_guesses_are_told(world: Workspaces) -> None:
    email, _ = await world.member("viewer")
    outcomes = []
    for _ in range(12):
        _, rows = await ask(world, {}, LOGIN, email=email, password="the wrong password entirely")
        outcomes += [row["outcome"] for row in rows]
    assert (outcomes[:10], len(outcomes)) == (["failed"] * 10, 12)
    assert "limited" in outcomes[10:]


async def test_an_old_refresh_token_is_told_with_its_session(world: Workspaces) -> None:
    email, known = await world.member("viewer")
    answer, (login,) = await ask(world, {}, LOGIN, email=email, password=PASSWORD)
    assert (login["outcome"], ids.from_uuid("usr", login["actor_id"])) == ("ok", known)
    refresh = "mutation ($token: String!) { authRefresh(input: {refreshToken: $token}) { refreshToken } }"
    old = answer["data"]["authLogin"]["refreshToken"]
    newer, none = await ask(world, {}, refresh, token=old)
    newest, _ = await ask(world, {}, refresh, token=newer["data"]["authRefresh"]["refreshToken"])
    assert (none, "errors" in newest) == ([], False)
    _, (row,) = await ask(world, {}, refresh, token=old)
    assert (row["action"], row["outcome"], row["resource"]) == ("authRefresh", "reused", known)
    assert row["session_id"] == login["session_id"]
    _, garbage = await ask(world, {}, refresh, token="axr_" + "A" * 75)
    assert garbage == []


async def test_second_factors_and_sign_ins(world: Workspaces) -> None:
    email, user_id = await world.member("owner")
    headers = await world.signed_in(email)
    seen: list[tuple[str, str]] = []

    async def step(query: str, by: dict[str, str] | None = None, **variables: Any) -> dict[str, Any]:
        answer, rows = await ask(world, headers if by is None else by, query, **variables)
        seen.extend((row["action"], row["outcome"]) for row in rows)
        assert all(row["actor_id"] is None or ids.from_uuid("usr", row["actor_id"]) == user_id for row in rows)
        data: dict[str, Any] = answer.get("data") or {}
        return data

    setup = await step("mutation { mfaTotpSetup { secret } }")
    app = pyotp.TOTP(setup["mfaTotpSetup"]["secret"])
    enable = "mutation ($code: String) { mfaTotpEnable(input: {code: $code}) { recoveryCodes } }"
    codes = (await step(enable, code=app.now()))["mfaTotpEnable"]["recoveryCodes"]
    pending = (await step(LOGIN, {}, email=email, password=PASSWORD))["authLogin"]["mfaToken"]
    verify = "mutation ($t: String!, $c: String!) { mfaTotpVerify(input: {mfaToken: $t, code: $c}) { token } }"
    await step(verify, {}, t=pending, c="000000")
    recover = "mutation ($t: String!, $c: String!) { recoveryCodeUse(input: {mfaToken: $t, code: $c}) { token } }"
    await step(recover, {}, t=pending, c=codes[0])
    pending = (await step(LOGIN, {}, email=email, password=PASSWORD))["authLogin"]["mfaToken"]
    await step(verify, {}, t=pending, c=app.at(int(time.time()), counter_offset=1))
    generate = "mutation ($p: String!) { recoveryCodesGenerate(input: {password: $p}) { recoveryCodes } }"
    await step(generate, p=PASSWORD)
    device = Authenticator(origin=world.product.url.replace("127.0.0.1", "localhost"))
    options = (await step("mutation { webauthnRegisterStart }"))["webauthnRegisterStart"]
    register = """mutation ($c: JSON!) {
        webauthnRegisterFinish(input: {name: "laptop", credential: $c}) { id } }"""
    passkey = (await step(register, c=device.create(options)))["webauthnRegisterFinish"]["id"]
    begun = await step("mutation { webauthnAuthenticateStart(input: {}) }", {})
    finish = "mutation ($c: JSON!) { webauthnAuthenticateFinish(input: {credential: $c}) { token } }"
    credential = device.get(begun["webauthnAuthenticateStart"])
    await step(finish, {}, c=credential)
    await step(finish, {}, c=credential)
    remove = """mutation ($id: ID!, $p: String!) {
        webauthnCredentialDelete(input: {id: $id, password: $p}) { id } }"""
    await step(remove, id=passkey, p=PASSWORD)
    await step(
        "mutation ($p: String!) { mfaTotpDisable(input: {password: $p}) { id } }", p="the wrong password entirely"
    )
    await step("mutation ($p: String!) { mfaTotpDisable(input: {password: $p}) { id } }", p=PASSWORD)
    assert seen == [
        ("mfaTotpSetup", "ok"),
        ("mfaTotpEnable", "ok"),
        ("authLogin", "mfa_required"),
        ("mfaTotpVerify", "failed"),
        ("recoveryCodeUse", "ok"),
        ("authLogin", "mfa_required"),
        ("mfaTotpVerify", "ok"),
        ("recoveryCodesGenerate", "ok"),
        ("webauthnRegisterFinish", "ok"),
        ("webauthnAuthenticateFinish", "ok"),
        ("webauthnAuthenticateFinish", "failed"),
        ("webauthnCredentialDelete", "ok"),
        ("mfaTotpDisable", "failed"),
        ("mfaTotpDisable", "ok"),
    ]


async def test_setting_up_is_told(world: Workspaces) -> None:
    (row,) = await world.database.fetch("SELECT * FROM audit_events WHERE action = 'authSetup'")
    assert (row["outcome"], row["resource"]) == ("ok", ids.from_uuid("usr", row["actor_id"]))
    assert row["session_id"] is not None


async def test_what_the_operator_does_is_told_without_an_actor(world: Workspaces) -> None:
    email, user_id = await world.member("viewer")
    operator, log = world.product.services.identity.operator, PostgresAudit(world.database)
    for action, work in (
        ("adminUnlock", operator.unlock(email)),
        ("adminResetPassword", operator.reset_password(email, f"{PASSWORD} reset")),
    ):
        async with audit.during(log, Event(action, f"{action}-1")):
            await work
        (row,) = await told(world, f"{action}-1")
        assert (row["action"], row["outcome"], row["actor_id"], row["resource"]) == (action, "ok", None, user_id)


# --- the rows ------------------------------------------------------------------------------------------------


async def test_a_change_whose_row_is_lost_does_not_happen(world: Workspaces) -> None:
    async def lost(_: object) -> None:
        raise asyncpg.DataError("no row")

    with patch("persistence.audit.Change.tell", lost):
        answer, rows = await ask(
            world, world.callers["editor"], 'mutation { experimentCreate(input: {name: "lost"}) { id } }'
        )
    assert answer["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert rows == []
    assert await world.database.fetchval("SELECT count(*) FROM experiments WHERE name = 'lost'") == 0


async def test_a_refusal_whose_row_is_lost_is_the_same_refusal(world: Workspaces) -> None:
    with patch("persistence.audit._INSERT", "INSERT INTO nowhere VALUES ($1)"):
        answer, rows = await ask(world, {}, LOGIN, email="nobody@example.com", password="the wrong password entirely")
    assert (answer["errors"][0]["extensions"]["code"], rows) == ("UNAUTHENTICATED", [])


async def sealed(world: Workspaces) -> list[AuditEvent]:
    """The chain, once nothing waits for it."""
    async with asyncio.timeout(30):
        while await world.database.fetchval("SELECT count(*) FROM audit_events WHERE seq IS NULL"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return await PostgresAudit(world.database).after(0, 100_000, AuditFilter(), 2**62)


async def test_no_row_holds_a_secret_or_an_address_of_an_account(world: Workspaces) -> None:
    rows = await world.database.fetch("SELECT row_to_json(e)::text AS text FROM audit_events e")
    users = await world.database.fetch("SELECT email, name, password_hash FROM users")
    secrets = {PASSWORD, world.product.token, world.product.key, "the wrong password entirely"}
    secrets |= {value for row in users for value in row.values() if value and len(value) > 4}
    known = [*world.callers.values(), *world.keys.values()]
    secrets |= {headers["Authorization"].split()[1] for headers in known if headers}
    text = "\n".join(row["text"] for row in rows)
    assert len(rows) > 50
    assert [secret for secret in secrets if secret in text] == []
    assert re.search(r"ax[krm]_|eyJ|argon2|@", text) is None


WRONG_FILTERS: Final[list[dict[str, Any]]] = [
    {"from": "yesterday"},
    {"actor_id": "x"},
    {"after": -1},
    {"since": "x"},
    {"action": "a\x00b"},
    {"outcome": "good"},
]


async def test_administrators_read_and_export_it(world: Workspaces) -> None:
    admin = world.callers["admin"]
    await ask(world, world.callers["editor"], 'mutation { experimentCreate(input: {name: "read"}) { id } }')
    chain = await sealed(world)
    assert [row.seq for row in chain] == list(range(1, len(chain) + 1))
    query = """query ($filter: AuditFilter, $after: String) {
        auditEvents(filter: $filter, first: 2, after: $after) {
            nodes { seq action outcome actorId actor { id } resource hash }
            pageInfo { endCursor hasNextPage } totalCount } }"""
    wanted = {"action": "experimentCreate", "outcome": "ok"}
    found, _ = await ask(world, admin, query, filter=wanted)
    page = found["data"]["auditEvents"]
    expected = [row for row in reversed(chain) if (row.action, row.outcome) == ("experimentCreate", "ok")]
    assert [node["seq"] for node in page["nodes"]] == [row.seq for row in expected[:2]]
    assert page["nodes"][0]["hash"] == expected[0].hash.hex()
    assert page["nodes"][0]["actor"]["id"] == page["nodes"][0]["actorId"] == expected[0].actor_id
    assert page["totalCount"] == len(expected)
    following, _ = await ask(world, admin, query, filter=wanted, after=page["pageInfo"]["endCursor"])
    assert [node["seq"] for node in following["data"]["auditEvents"]["nodes"]] == [row.seq for row in expected[2:4]]
    later = {"from": expected[0].at.isoformat(), "actorId": expected[0].actor_id}
    at_last, _ = await ask(world, admin, query, filter=later)
    assert {node["seq"] for node in at_last["data"]["auditEvents"]["nodes"]} <= {row.seq for row in chain[-9:]}

    answer = await world.product.http.get("/api/admin/audit", headers=admin)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["seq"] for line in lines][: len(chain)] == [row.seq for row in chain]
    assert lines[0] == {**chain[0].facts(), "hash": chain[0].hash.hex()}
    some = await world.product.http.get(
        "/api/admin/audit", params={"after": 3, "action": "experimentCreate", "outcome": "ok"}, headers=admin
    )
    numbers = [json.loads(line)["seq"] for line in some.text.splitlines()]
    assert numbers == [row.seq for row in reversed(expected) if row.seq > 3]
    for params in WRONG_FILTERS:
        wrong = await world.product.http.get("/api/admin/audit", params=params, headers=admin)
        assert (wrong.status_code, wrong.json()["error"]["field"]) == (400, next(iter(params)))
