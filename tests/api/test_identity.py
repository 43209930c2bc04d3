"""The part of the graph about users, executed against a real database without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import strawberry

from domain import ids
from domain.access import Scope
from domain.errors import DomainError
from domain.identity import ClientInfo, Tokens
from persistence.database import Database
from resolvers.context import Context, Services, SessionCookies
from schema.build import build
from tests.support.application import services
from tests.support.identity import EMAIL, PASSWORD, Instance, instance


@dataclass
class Jar:
    """Implements SessionCookies in memory."""

    access_token: str | None = None
    refresh_token: str | None = None
    kept: list[Tokens] = field(default_factory=list)
    cleared: int = 0

    def keep(self, tokens: Tokens) -> None:
        self.kept.append(tokens)
        self.access_token = tokens.access
        self.refresh_token = tokens.refresh

    def clear(self) -> None:
        self.cleared += 1
        self.access_token = None
        self.refresh_token = None


class Refused(Exception):  # noqa: N818  # reads as a condition
    """The first error of an answer."""

    def __init__(self, code: str, field: str | None, message: str) -> None:
        super().__init__(code, field, message)
        self.code, self.field = code, field


@dataclass
class Graph:
    """The schema on an instance, asked as a scope."""

    schema: strawberry.Schema
    instance: Instance
    services: Services
    scope: Scope | None = None

    async def ask(
        self, text: str, scope: Scope | None = None, cookies: SessionCookies | None = None, **variables: Any
    ) -> dict[str, Any]:
        """The data. Raises Refused with the first error, which must be a domain error."""
        context = Context(self.services, scope or self.scope, "req", ClientInfo("127.0.0.1", "test"), cookies)
        answer = await self.schema.execute(text, variable_values=variables, context_value=context)
        if answer.errors:
            original = answer.errors[0].original_error
            assert isinstance(original, DomainError), answer.errors[0]
            raise Refused(original.code, original.field, original.message)
        assert answer.data is not None
        return answer.data


@pytest.fixture
async def empty(database: Database, tmp_path: Path) -> AsyncIterator[Graph]:
    async with instance(database, tmp_path) as opened:
        yield Graph(build(), opened, services(opened))


@pytest.fixture
async def graph(empty: Graph) -> Graph:
    """Signed in as the administrator."""
    empty.scope = await empty.instance.scope(await empty.instance.set_up())
    return empty


SETUP = """mutation ($input: AuthSetupInput!) { authSetup(input: $input) {
    token refreshToken expiresIn requiresMfa mfaToken user { id email name role mfaEnabled lastLoginAt } } }"""
LOGIN = """mutation ($input: AuthLoginInput!) { authLogin(input: $input) {
    token refreshToken expiresIn requiresMfa user { email } } }"""
REFRESH = """mutation ($input: AuthRefreshInput!) { authRefresh(input: $input) { token refreshToken expiresIn } }"""
CREATE = """mutation ($input: ApiKeyCreateInput!) { apiKeyCreate(input: $input) {
    secret apiKey { id name prefix scopes createdAt expiresAt lastUsedAt revokedAt } } }"""
REVOKE = "mutation ($id: ID!) { apiKeyRevoke(input: {id: $id}) { id revokedAt } }"


async def test_setup_signs_in_once(empty: Graph) -> None:
    token = await empty.instance.identity.founder.ensure()
    assert (await empty.ask("{ serverInfo { setupRequired } }"))["serverInfo"] == {"setupRequired": True}
    given = {"token": token, "email": EMAIL, "password": PASSWORD, "name": "Ada"}
    answer = (await empty.ask(SETUP, input=given))["authSetup"]
    assert answer["token"]
    assert answer["refreshToken"].startswith("axr_")
    assert (answer["expiresIn"], answer["requiresMfa"], answer["mfaToken"]) == (600, False, None)
    assert answer["user"].items() >= {"email": EMAIL, "name": "Ada", "role": "ADMIN", "mfaEnabled": False}.items()
    assert (await empty.ask("{ serverInfo { setupRequired } }"))["serverInfo"] == {"setupRequired": False}
    with pytest.raises(Refused) as refused:
        await empty.ask(SETUP, input=given)
    assert refused.value.code == "CONFLICT"


async def test_login_with_tokens_or_cookies(graph: Graph) -> None:
    given = {"email": EMAIL, "password": PASSWORD}
    assert (await graph.ask(LOGIN, input=given))["authLogin"]["token"]
    jar = Jar()
    answer = (await graph.ask(LOGIN, cookies=jar, input=given | {"session": "COOKIE"}))["authLogin"]
    assert answer == {
        "token": None,
        "refreshToken": None,
        "expiresIn": 600,
        "requiresMfa": False,
        "user": {"email": EMAIL},
    }
    assert len(jar.kept) == 1
    with pytest.raises(Refused) as refused:  # as on a WebSocket
        await graph.ask(LOGIN, input=given | {"session": "COOKIE"})
    assert (refused.value.code, refused.value.field) == ("BAD_USER_INPUT", "session")
    with pytest.raises(Refused) as refused:
        await graph.ask(LOGIN, input=given | {"password": "wrong"})
    assert refused.value.code == "UNAUTHENTICATED"


async def test_refresh_answers_the_way_it_was_asked(graph: Graph) -> None:
    jar = Jar()
    await graph.ask(LOGIN, cookies=jar, input={"email": EMAIL, "password": PASSWORD, "session": "COOKIE"})
    first = jar.refresh_token
    by_cookie = (await graph.ask(REFRESH, cookies=jar, input={}))["authRefresh"]
    assert by_cookie == {"token": None, "refreshToken": None, "expiresIn": 600}
    assert jar.refresh_token != first
    by_token = (await graph.ask(REFRESH, input={"refreshToken": jar.refresh_token}))["authRefresh"]
    assert by_token["refreshToken"].startswith("axr_")
    jar.refresh_token = "axr_nonsense"
    with pytest.raises(Refused) as refused:
        await graph.ask(REFRESH, cookies=jar, input={"refreshToken": None})
    assert refused.value.code == "UNAUTHENTICATED"
    assert jar.cleared == 1
    with pytest.raises(Refused) as refused:
        await graph.ask(REFRESH, input={})
    assert (refused.value.code, refused.value.field) == ("UNAUTHENTICATED", "refresh_token")


async def test_logout_ends_the_session_and_its_cookies(graph: Graph) -> None:
    jar = Jar("axr_x")
    assert (await graph.ask("mutation { authLogout { ended } }", cookies=jar))["authLogout"] == {"ended": True}
    assert jar.cleared == 1
    assert graph.scope is not None
    assert graph.instance.closings.sessions == [graph.scope.principal.session_id]


async def test_without_a_session_nothing_of_this_answers(empty: Graph) -> None:
    for text in (
        "{ viewer { id } }",
        "mutation { authLogout { ended } }",
        'mutation { apiKeyCreate(input: {name: "x", scopes: ["runs:read"]}) { secret } }',
        f'mutation {{ apiKeyRevoke(input: {{id: "{ids.new("key")}"}}) {{ id }} }}',
        f'{{ node(id: "{ids.new("usr")}") {{ id }} }}',
    ):
        with pytest.raises(Refused) as refused:
            await empty.ask(text)
        assert refused.value.code == "UNAUTHENTICATED"


async def test_keys_are_made_listed_found_and_revoked(graph: Graph) -> None:
    made = (await graph.ask(CREATE, input={"name": "ci", "scopes": ["runs:write", "endpoints:predict"]}))[
        "apiKeyCreate"
    ]
    key = made["apiKey"]
    assert made["secret"].startswith(key["prefix"])
    assert key["scopes"] == ["runs:write", "endpoints:predict"]
    assert key["expiresAt"] == "2026-05-01T09:30:00.000Z"
    endless = (await graph.ask(CREATE, input={"name": "x", "scopes": ["runs:read"], "expiresAt": None}))["apiKeyCreate"]
    assert endless["apiKey"]["expiresAt"] is None
    listed = (await graph.ask("{ viewer { email apiKeys { id name } } }"))["viewer"]
    assert {one["name"] for one in listed["apiKeys"]} == {"ci", "x"}
    by_id = await graph.ask("query ($id: ID!) { node(id: $id) { __typename ... on ApiKey { name } } }", id=key["id"])
    assert by_id["node"] == {"__typename": "ApiKey", "name": "ci"}
    gone = (await graph.ask(REVOKE, id=key["id"]))["apiKeyRevoke"]
    assert gone["revokedAt"] is not None
    assert graph.instance.closings.keys == [key["id"]]
    for wrong, code in (
        ("nonsense", "BAD_USER_INPUT"),
        (ids.new("run"), "BAD_USER_INPUT"),
        (ids.new("key"), "NOT_FOUND"),
    ):
        with pytest.raises(Refused) as refused:
            await graph.ask(REVOKE, id=wrong)
        assert (refused.value.code, refused.value.field) == (code, "id")


async def test_a_key_sees_its_owner_and_no_keys(graph: Graph) -> None:
    made = (await graph.ask(CREATE, input={"name": "ci", "scopes": ["runs:read"]}))["apiKeyCreate"]
    held = await graph.instance.identity.authenticate(authorization=f"Bearer {made['secret']}")
    text = "query ($id: ID!) { viewer { email apiKeys { id } } node(id: $id) { id } }"
    answer = await graph.ask(text, held, id=made["apiKey"]["id"])
    assert answer == {"viewer": {"email": EMAIL, "apiKeys": None}, "node": None}
    for text, variables in (
        (CREATE, {"input": {"name": "more", "scopes": ["runs:read"]}}),
        (REVOKE, {"id": made["apiKey"]["id"]}),
        ("mutation { authLogout { ended } }", {}),
    ):
        with pytest.raises(Refused) as refused:
            await graph.ask(text, held, **variables)
        assert refused.value.code == "FORBIDDEN"


async def test_a_user_is_a_node_and_a_stranger_is_none(graph: Graph) -> None:
    assert graph.scope is not None
    me = graph.scope.principal.user_id
    text = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on User { email } } }"
    answer = await graph.ask(text, ids=[me, ids.new("usr")])
    assert answer["nodes"] == [{"__typename": "User", "id": me, "email": EMAIL}, None]


async def test_what_a_user_owns_hangs_under_them(graph: Graph) -> None:
    assert graph.scope is not None
    for number in range(3):
        await graph.ask(f'mutation {{ runCreate(input: {{name: "r{number}"}}) {{ id }} }}')
    text = """{ viewer { runs(first: 2) { totalCount pageInfo { hasNextPage endCursor } nodes { name owner { email } } }
                models { totalCount } endpoints { totalCount } } }"""
    viewer = (await graph.ask(text))["viewer"]
    assert viewer["models"] == viewer["endpoints"] == {"totalCount": 0}
    assert viewer["runs"]["totalCount"] == 3
    assert viewer["runs"]["pageInfo"]["hasNextPage"] is True
    assert [run["owner"] for run in viewer["runs"]["nodes"]] == [{"email": EMAIL}] * 2
    with pytest.raises(Refused) as refused:
        await graph.ask("{ viewer { runs(first: 201) { totalCount } } }")
    assert (refused.value.code, refused.value.field) == ("BAD_USER_INPUT", "first")
