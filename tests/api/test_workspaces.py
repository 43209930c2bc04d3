"""Workspaces, members and permission records as the graph shows them, and in how many statements."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.test_statement_counts import counted
from tests.support.product import PASSWORD, Product, RefusedError

MADE = "mutation ($slug: String!) { workspaceCreate(input: {slug: $slug, name: $slug}) { id slug name createdAt } }"
MEMBERS = "id slug members { role user { email mfaEnabled workspaces { slug } } }"
ADD = f"""mutation ($workspace: ID!, $user: ID!, $role: WorkspaceRole!) {{
  memberAdd(input: {{workspaceId: $workspace, userId: $user, role: $role}}) {{ {MEMBERS} }}
}}"""
UPDATE = ADD.replace("memberAdd", "memberUpdate")
REMOVE = f"""mutation ($workspace: ID!, $user: ID!) {{
  memberRemove(input: {{workspaceId: $workspace, userId: $user}}) {{ {MEMBERS} }}
}}"""
GRANT = "id resource kind actions effect expiresAt user { email }"
GRANT_CREATE = f"mutation ($input: GrantCreateInput!) {{ grantCreate(input: $input) {{ {GRANT} createdAt }} }}"
GRANT_UPDATE = f"mutation ($input: GrantUpdateInput!) {{ grantUpdate(input: $input) {{ {GRANT} }} }}"


async def person(product: Product, email: str, role: str = "editor") -> tuple[str, str]:
    """A new member of `default`: the id, and an access token."""
    from uuid import uuid4

    database = product.services.runs._runs._database  # type: ignore[attr-defined]  # the pool of the product itself
    user = uuid4()
    await database.execute(
        "INSERT INTO users (id, email, name, password_hash, role, default_workspace_id, created_at)"
        " SELECT $1, $2, $2, password_hash, 'user', default_workspace_id, now() FROM users WHERE role = 'admin'",
        user,
        email,
    )
    await database.execute(
        "INSERT INTO memberships (workspace_id, user_id, role) SELECT default_workspace_id, id, $2 FROM users"
        " WHERE id = $1",
        user,
        role,
    )
    answer = await product.http.post("/api/auth/login", json={"email": email, "password": PASSWORD})
    return f"usr_{user.hex}", answer.json()["token"]


async def refused(product: Product, query: str, **variables: Any) -> tuple[str, str | None]:
    with pytest.raises(RefusedError) as problem:
        await product.graphql(query, **variables)
    return problem.value.code, problem.value.field


async def test_a_workspace_from_its_beginning_to_its_end(product: Product) -> None:
    bo, token = await person(product, "bo@example.com")
    made = (await product.graphql(MADE, slug="lab"))["workspaceCreate"]
    assert (made["slug"], made["name"]) == ("lab", "lab")
    place = {"workspace": made["id"]}
    assert await refused(product, MADE, slug="lab") == ("CONFLICT", "slug")
    assert await refused(product, MADE, slug="Lab") == ("BAD_USER_INPUT", "slug")
    assert await refused(product, MADE, token=token, slug="Lab") == ("BAD_USER_INPUT", "slug")

    added = (await product.graphql(ADD, **place, user=bo, role="VIEWER"))["memberAdd"]
    assert [(one["role"], one["user"]["email"]) for one in added["members"]] == [
        ("OWNER", "ada@example.com"),
        ("VIEWER", "bo@example.com"),
    ]
    assert added["members"][1]["user"]["workspaces"] == [{"slug": "default"}, {"slug": "lab"}]
    seen = await product.graphql(
        f"query ($id: ID!) {{ workspaces {{ {MEMBERS} }} viewer {{ workspaces {{ slug }} }}"
        " node(id: $id) { id ... on Workspace { name } } }",
        token=token,
        id=made["id"],
    )
    assert [one["slug"] for one in seen["workspaces"]] == ["default", "lab"]
    assert seen["viewer"]["workspaces"] == [{"slug": "default"}, {"slug": "lab"}]
    assert seen["node"] == {"id": made["id"], "name": "lab"}
    assert await refused(product, ADD, **place, user=bo, role="EDITOR") == ("CONFLICT", "userId")
    assert await refused(product, UPDATE, token=token, **place, user=bo, role="OWNER") == ("FORBIDDEN", None)
    changed = (await product.graphql(UPDATE, **place, user=bo, role="OWNER"))["memberUpdate"]
    assert [one["role"] for one in changed["members"]] == ["OWNER", "OWNER"]

    left = (await product.graphql(REMOVE, token=token, **place, user=bo))["memberRemove"]
    assert left["members"] == [], "whoever left sees nobody any more"
    assert await refused(product, REMOVE, **place, user=bo) == ("NOT_FOUND", "userId")
    assert (await product.graphql("query ($id: ID!) { node(id: $id) { id } }", token=token, id=made["id"]))[
        "node"
    ] is None
    rename = "mutation ($id: ID!, $name: String) { workspaceUpdate(input: {id: $id, name: $name}) { name } }"
    assert (await product.graphql(rename, id=made["id"], name="The lab"))["workspaceUpdate"] == {"name": "The lab"}
    assert await refused(product, rename, id=made["id"], name=None) == ("BAD_USER_INPUT", "name")
    kept = "mutation ($id: ID!) { workspaceUpdate(input: {id: $id}) { name } }"
    assert (await product.graphql(kept, id=made["id"]))["workspaceUpdate"] == {"name": "The lab"}
    delete = "mutation ($id: ID!) { workspaceDelete(input: {id: $id}) { id } }"
    assert (await product.graphql(delete, id=made["id"]))["workspaceDelete"] == {"id": made["id"]}
    assert await refused(product, delete, id=made["id"]) == ("NOT_FOUND", "id")


async def test_a_permission_record_from_its_beginning_to_its_end(product: Product) -> None:
    bo, token = await person(product, "bo@example.com", "viewer")
    run = (await product.graphql("mutation { runCreate(input: {}) { id } }"))["runCreate"]["id"]
    finish = 'mutation ($id: ID!) { runUpdate(input: {id: $id, name: "n"}) { id } }'
    assert await refused(product, finish, token=token, id=run) == ("FORBIDDEN", None)
    given = {"userId": bo, "kind": "runs", "resource": run, "actions": ["write"], "clientToken": "t"}
    made = (await product.graphql(GRANT_CREATE, input=given))["grantCreate"]
    assert (await product.graphql(GRANT_CREATE, input=given))["grantCreate"] == made
    del made["createdAt"]
    assert made == {
        "id": made["id"],
        "resource": run,
        "kind": "runs",
        "actions": ["write"],
        "effect": "ALLOW",
        "expiresAt": None,
        "user": {"email": "bo@example.com"},
    }
    assert (await product.graphql(finish, token=token, id=run))["runUpdate"] == {"id": run}
    changes = {"id": made["id"], "effect": "DENY", "actions": ["read"], "expiresAt": "2100-01-01T00:00:00.000Z"}
    changed = (await product.graphql(GRANT_UPDATE, input=changes))["grantUpdate"]
    assert changed == made | {"effect": "DENY", "actions": ["read"], "expiresAt": "2100-01-01T00:00:00.000Z"}
    assert (await product.graphql("query ($id: ID!) { run(id: $id) { id } }", token=token, id=run))["run"] is None
    assert (await product.graphql(GRANT_UPDATE, input={"id": made["id"], "expiresAt": None}))["grantUpdate"] == (
        changed | {"expiresAt": None}
    )
    for field in ("actions", "effect"):
        asked = {"id": made["id"], field: None}
        assert await refused(product, GRANT_UPDATE, input=asked) == ("BAD_USER_INPUT", field)
    listing = (
        "query ($on: ID) { grants(resource: $on) { totalCount nodes { id } edges { cursor } pageInfo { endCursor } } }"
    )
    for on, expected in ((None, 1), (run, 1), ("runs", 0)):
        found = (await product.graphql(listing, on=on))["grants"]
        assert (found["totalCount"], len(found["nodes"]), len(found["edges"])) == (expected,) * 3
    assert await refused(product, listing, on="x") == ("BAD_USER_INPUT", "resource")
    assert await refused(product, listing, token=token) == ("FORBIDDEN", None)
    delete = "mutation ($id: ID!) { grantDelete(input: {id: $id}) { id } }"
    assert (await product.graphql(delete, id=made["id"]))["grantDelete"] == {"id": made["id"]}
    assert await refused(product, delete, id=made["id"]) == ("NOT_FOUND", "id")
    assert (await product.graphql("query ($id: ID!) { run(id: $id) { id } }", token=token, id=run))["run"] == {
        "id": run
    }


async def test_statements_do_not_grow_with_workspaces_members_and_records(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = f"""{{ workspaces {{ {MEMBERS} }} viewer {{ workspaces {{ {MEMBERS} }} }}
      grants {{ totalCount nodes {{ {GRANT} }} }} }}"""
    people = [(await person(product, f"p{number}@example.com"))[0] for number in range(4)]

    async def statements(rooms: int) -> tuple[int, dict[str, Any]]:
        for number in range(rooms):
            made = (await product.graphql(MADE, slug=f"w{number}"))["workspaceCreate"]
            for one in people:
                await product.graphql(ADD, workspace=made["id"], user=one, role="VIEWER")
            kind = ["runs", "models", "endpoints", "notebooks"][number]
            given = {"userId": people[number], "kind": kind, "actions": ["read"]}
            await product.graphql(GRANT_CREATE, input=given)
        with counted(monkeypatch) as seen:
            answer = await product.graphql(query)
        return sum(seen.values()), answer

    few, _ = await statements(0)
    many, answer = await statements(4)
    assert len(answer["workspaces"]) == 5
    assert [len(one["members"]) for one in answer["workspaces"]] == [5] * 5
    assert answer["grants"]["totalCount"] == 4
    # With nobody to look up, the users of records cost nothing; and the members of both lists are asked for at once
    # only when both lists have come by then. Nothing else may differ.
    assert many <= few + 2
