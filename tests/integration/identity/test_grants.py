"""Permission records on a real database: who may make them, how they act, and what several do at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain import ids
from domain.access import Action, Effect, KeyScope, ResourceKind, Scope
from domain.errors import BadUserInput, Conflict, DomainError, Forbidden, NotFound
from domain.identity import Grant
from domain.identity.grants import MAX_GRANTS, Grants
from domain.paging import PageRequest
from tests.support.identity import PASSWORD, Instance, outcomes, signed_in
from tests.support.tracking import START, Tracking

PAGE = PageRequest()


@pytest.fixture
def grants(ready: Instance) -> Grants:
    return ready.identity.grants


@pytest.fixture
async def owner(ready: Instance) -> Scope:
    return await signed_in(ready, "olga@example.org", "owner")


@pytest.fixture
async def vi(ready: Instance) -> Scope:
    """A viewer."""
    return await signed_in(ready, "vi@example.org", "viewer")


@pytest.fixture
async def run(ready: Instance, owner: Scope) -> str:
    return (await Tracking(ready.database).runs.create(owner)).id


def given(vi: Scope, **changes: Any) -> dict[str, Any]:
    """A record about a viewer, all runs and writing."""
    return {"user_id": vi.principal.user_id, "kind": "runs", "resource": None, "actions": ["write"]} | changes


async def count(ready: Instance) -> int:
    counted: int = await ready.database.fetchval("SELECT count(*) FROM grants")
    return counted


async def test_a_record_acts_at_once_in_every_way_it_changes(
    ready: Instance, grants: Grants, owner: Scope, vi: Scope, run: str
) -> None:
    session = await ready.identity.sign_in.by_password(email="vi@example.org", password=PASSWORD)
    key = await ready.identity.keys.create(vi, name="k", scopes=None)

    async def may(action: Action) -> bool:
        seen = set()
        for credential in (session.tokens.access, key.secret):
            scope = await ready.identity.authenticate(authorization=f"Bearer {credential}")
            try:
                scope.require(KeyScope.RUNS_WRITE, run, action=action)
            except DomainError:
                seen.add(False)
            else:
                seen.add(True)
        assert len(seen) == 1
        return seen.pop()

    assert not await may(Action.WRITE)
    made = await grants.create(owner, **given(vi, resource=run))
    assert await may(Action.WRITE)
    await grants.update(owner, made.id, effect=Effect.DENY, actions=["read"])
    assert not await may(Action.READ)
    await grants.update(owner, made.id, effect=Effect.ALLOW, actions=["delete", "write", "delete"])
    assert await may(Action.DELETE)
    await grants.update(owner, made.id, expires_at=ready.clock.now() + timedelta(minutes=1))
    held = await ready.identity.authenticate(authorization=f"Bearer {session.tokens.access}")
    assert await may(Action.DELETE)
    assert await ready.identity.ended([held]) == []
    ready.clock.forward(minutes=1)
    assert not await may(Action.DELETE)
    assert await ready.identity.ended([held]) == [held]
    await grants.update(owner, made.id, expires_at=None)
    assert await may(Action.DELETE)
    assert await grants.delete(owner, made.id) == made.id
    assert not await may(Action.DELETE)


async def test_a_record_is_as_it_was_said(ready: Instance, grants: Grants, owner: Scope, vi: Scope, run: str) -> None:
    ends = ready.clock.now() + timedelta(days=1)
    made = await grants.create(owner, **given(vi, resource=run[4:], actions=["write", "read"], expires_at=ends))
    assert made == Grant(
        id=made.id,
        user_id=vi.principal.user_id,
        about=ResourceKind.RUNS,
        resource=run,
        held=frozenset({Action.READ, Action.WRITE}),
        effect=Effect.ALLOW,
        expires_at=ends,
        created_at=ready.clock.now(),
        created_by=owner.principal.user_id,
    )
    assert (made.kind, made.actions) == ("runs", ["read", "write"])
    assert await grants.get(owner, made.id[4:]) == made
    assert await grants.update(owner, made.id) == made
    changed = await grants.update(owner, made.id, actions=["delete"], effect=Effect.DENY, expires_at=None)
    assert changed == replace(made, held=frozenset({Action.DELETE}), effect=Effect.DENY, expires_at=None)
    assert (await grants.page(owner, PAGE)).nodes == [changed]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"user_id": "x"}, "user_id"),
        ({"user_id": ids.new("run")}, "user_id"),
        ({"kind": "experiments"}, "kind"),
        ({"kind": "RUNS"}, "kind"),
        ({"resource": ids.new("mdl")}, "resource"),
        ({"resource": ""}, "resource"),
        ({"actions": []}, "actions"),
        ({"actions": ["read"] * 17}, "actions"),
        ({"actions": ["read", "own"]}, "actions[1]"),
        ({"actions": ["predict"]}, "actions[0]"),
        ({"kind": "models", "actions": ["predict"]}, "actions[0]"),
        ({"kind": "endpoints", "actions": ["execute"]}, "actions[0]"),
        ({"kind": "notebooks", "actions": ["predict"]}, "actions[0]"),
        ({"expires_at": START}, "expires_at"),
        ({"client_token": "two words"}, "client_token"),
    ],
)
async def test_bad_input_makes_no_record(
    grants: Grants, owner: Scope, vi: Scope, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadUserInput) as problem:
        await grants.create(owner, **given(vi, **changes))
    assert problem.value.field == field
    assert (await grants.page(owner, PAGE)).nodes == []


@pytest.mark.parametrize("kind", list(ResourceKind))
async def test_every_kind_takes_its_actions(grants: Grants, owner: Scope, vi: Scope, kind: ResourceKind) -> None:
    own = {ResourceKind.ENDPOINTS: ["predict"], ResourceKind.NOTEBOOKS: ["execute"]}.get(kind, [])
    actions = ["read", "write", "delete", *own]
    assert (await grants.create(owner, **given(vi, kind=kind.value, actions=actions))).actions == actions


async def test_a_record_is_about_members_and_objects_of_the_workspace(
    ready: Instance, grants: Grants, owner: Scope, vi: Scope
) -> None:
    stranger = await signed_in(ready, "out@example.org", "owner", "elsewhere")
    foreign = (await Tracking(ready.database).runs.create(stranger)).id
    for changes, field in (
        ({"user_id": stranger.principal.user_id}, "user_id"),
        ({"user_id": ids.new("usr")}, "user_id"),
        ({"resource": foreign}, "resource"),
        ({"resource": ids.new("run")}, "resource"),
        ({"kind": "notebooks", "resource": ids.new("nbk")}, "resource"),
    ):
        with pytest.raises(NotFound) as problem:
            await grants.create(owner, **given(vi, **changes))
        assert problem.value.field == field
    assert await count(ready) == 0
    made = await grants.create(owner, **given(vi))
    for attempt in (
        grants.get(stranger, made.id),
        grants.update(stranger, made.id, actions=["read"]),
        grants.delete(stranger, made.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await grants.get(owner, made.id) == made


async def test_owners_alone_manage_records_and_no_key_does(
    ready: Instance, grants: Grants, owner: Scope, vi: Scope
) -> None:
    made = await grants.create(owner, **given(vi))
    editor = await signed_in(ready, "ed@example.org", "editor")
    key = await ready.identity.keys.create(owner, name="k", scopes=None)
    by_key = await ready.identity.authenticate(authorization=f"Bearer {key.secret}")
    for scope in (editor, vi, by_key):
        for attempt in (
            grants.create(scope, **given(vi, effect=Effect.DENY)),
            grants.update(scope, made.id, actions=["read"]),
            grants.delete(scope, made.id),
            grants.get(scope, made.id),
            grants.page(scope, PAGE),
        ):
            with pytest.raises(Forbidden):
                await attempt
    await ready.identity.workspaces.change_member(
        await ready.scope(await ready.login()),
        owner.workspace_id,
        user_id=owner.principal.user_id,
        role=vi.access.role,
    )
    with pytest.raises(Forbidden):  # the scope remembers an owner, the database knows better
        await grants.delete(owner, made.id)
    assert await count(ready) == 1


async def test_there_is_one_record_for_each_user_object_and_effect(
    ready: Instance, grants: Grants, owner: Scope, vi: Scope, run: str
) -> None:
    attempts = [grants.create(owner, **given(vi, resource=run)) for _ in range(4)]
    won, lost = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert (len(won), [type(one) for one in lost]) == (1, [Conflict] * 3)
    denial = await grants.create(owner, **given(vi, resource=run, effect=Effect.DENY))
    await grants.create(owner, **given(vi))
    with pytest.raises(Conflict):
        await grants.update(owner, denial.id, effect=Effect.ALLOW)
    assert (await grants.get(owner, denial.id)).effect is Effect.DENY
    await grants.delete(owner, won[0].id)
    assert (await grants.update(owner, denial.id, effect=Effect.ALLOW)).effect is Effect.ALLOW


async def test_a_client_token_makes_one_record(ready: Instance, grants: Grants, owner: Scope, vi: Scope) -> None:
    asked = given(vi, client_token="t")
    made = await asyncio.gather(*(grants.create(owner, **asked) for _ in range(4)))
    assert len({one.id for one in made}) == await count(ready) == 1
    with pytest.raises(Conflict):
        await grants.create(owner, **(asked | {"actions": ["read"]}))
    await grants.delete(owner, made[0].id)
    with pytest.raises(NotFound):
        await grants.create(owner, **asked)


async def test_there_are_no_more_records_than_the_most(
    ready: Instance, grants: Grants, owner: Scope, vi: Scope
) -> None:
    await ready.database.execute(
        "INSERT INTO grants (id, workspace_id, user_id, kind, resource_id, actions, effect, created_at)"
        " SELECT gen_random_uuid(), $1, $2, 'runs', gen_random_uuid(), '[\"read\"]', 'deny', now()"
        " FROM generate_series(1, $3)",
        ids.to_uuid(owner.workspace_id),
        ids.to_uuid(vi.principal.user_id),
        MAX_GRANTS - 2,
    )
    attempts = [grants.create(owner, **given(vi, kind=kind.value, actions=["read"])) for kind in ResourceKind]
    won, lost = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert (len(won), [type(one) for one in lost]) == (2, [Conflict] * 2)
    await grants.create(owner, **given(vi, user_id=owner.principal.user_id))


async def test_a_change_against_a_removal_leaves_nothing(
    ready: Instance, grants: Grants, owner: Scope, vi: Scope
) -> None:
    made = await grants.create(owner, **given(vi))
    attempts: list[Awaitable[Any]] = [grants.delete(owner, made.id) for _ in range(2)]
    attempts += [grants.update(owner, made.id, actions=[action]) for action in ("read", "delete")]
    _, lost = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert {type(one) for one in lost} == {NotFound}
    assert await count(ready) == 0


async def test_a_member_who_is_removed_at_once_is_left_without_records(
    ready: Instance, grants: Grants, owner: Scope, vi: Scope
) -> None:
    attempts: list[Awaitable[Any]] = [
        grants.create(owner, **given(vi, kind=kind.value, actions=["read"])) for kind in ResourceKind
    ]
    removal = ready.identity.workspaces.remove_member(owner, owner.workspace_id, user_id=vi.principal.user_id)
    _, lost = outcomes(await asyncio.gather(*attempts[:2], removal, *attempts[2:], return_exceptions=True))
    assert {type(one) for one in lost} <= {NotFound}
    assert await count(ready) == 0


async def test_records_are_paged_newest_first_and_filtered(
    ready: Instance, grants: Grants, owner: Scope, vi: Scope, run: str
) -> None:
    made = [await grants.create(owner, **given(vi, resource=run))]
    for kind in ("runs", "models", "endpoints"):
        ready.clock.forward(seconds=1)
        made.append(await grants.create(owner, **given(vi, kind=kind)))
    made.append(await grants.create(owner, **given(owner)))
    seen, after = [], None
    while True:
        page = await grants.page(owner, PageRequest(2, after))
        seen += page.nodes
        assert page.total_count == len(made)
        after = page.page_info.end_cursor
        if not page.has_next_page:
            break
    assert [one.created_at for one in seen] == sorted((one.created_at for one in made), reverse=True)
    assert {one.id for one in seen} == {one.id for one in made}
    wanted: list[tuple[dict[str, Any], list[Grant]]] = [
        ({"resource": run}, made[:1]),
        ({"resource": "runs"}, [made[1], made[4]]),
        ({"resource": "notebooks"}, []),
        ({"resource": ids.new("end")}, []),
        ({"user_id": owner.principal.user_id}, made[4:]),
        ({"user_id": vi.principal.user_id, "resource": "models"}, made[2:3]),
    ]
    for filters, expected in wanted:
        page = await grants.page(owner, PAGE, **filters)
        assert {one.id for one in page.nodes} == {one.id for one in expected}
        with pytest.raises(BadUserInput):
            await grants.page(owner, PageRequest(2, after), **filters)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"resource": "x"}, "resource"),
        ({"resource": ids.new("usr")}, "resource"),
        ({"user_id": "x"}, "user_id"),
    ]
    for filters, field in wrong:
        with pytest.raises(BadUserInput) as problem:
            await grants.page(owner, PAGE, **filters)
        assert problem.value.field == field
