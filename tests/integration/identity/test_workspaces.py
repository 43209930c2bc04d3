"""Workspaces and members on a real database: who may manage them, what follows from it, and what several do at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from domain import ids
from domain.access import Scope, WorkspaceRole
from domain.errors import BadUserInput, Conflict, DomainError, Forbidden, NotFound, Unauthenticated
from domain.identity import Workspace
from domain.identity.workspaces import MAX_JOINED, MAX_WORKSPACES, Workspaces
from domain.runs import RunStatus
from tests.support.identity import EMAIL, PASSWORD, Instance, outcomes, signed_in
from tests.support.tracking import Tracking

OWNER, EDITOR, VIEWER = WorkspaceRole
MEMBERSHIPS = "SELECT 1 FROM memberships WHERE workspace_id = $1 FOR UPDATE"


async def again(ready: Instance, scope: Scope, workspace: str | None = None) -> Scope:
    """The same person, signed in anew."""
    result = await ready.identity.sign_in.by_password(email=scope.principal.email, password=PASSWORD)
    return await ready.identity.authenticate(authorization=f"Bearer {result.tokens.access}", workspace=workspace)


async def roles(ready: Instance, workspace_id: str) -> dict[str, str]:
    """Roles by address, as they stand in the database."""
    rows = await ready.database.fetch(
        "SELECT u.email, m.role FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.workspace_id = $1",
        ids.to_uuid(workspace_id),
    )
    return {row["email"]: row["role"] for row in rows}


async def all_wait(ready: Instance, begun: asyncio.Event, number: int) -> None:
    """Returns once, after `begun`, so many statements wait for locks."""
    await begun.wait()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while await ready.database.fetchval(waits) < number:  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.01)


async def held_up(ready: Instance, statement: str, *arguments: object, attempts: Sequence[Awaitable[Any]]) -> list[Any]:
    """What becomes of attempts that all get as far as a transaction with this statement lets them before its commit."""
    begun = asyncio.Event()

    async def after(attempt: Awaitable[Any]) -> Any:
        await begun.wait()
        return await attempt

    trying = [asyncio.create_task(after(attempt)) for attempt in attempts]
    looking = asyncio.create_task(all_wait(ready, begun, len(trying)))
    async with ready.database.transaction() as tx:
        await tx.execute(statement, *arguments)
        begun.set()
        await looking
    return await asyncio.gather(*trying, return_exceptions=True)


@pytest.fixture
def rooms(ready: Instance) -> Workspaces:
    return ready.identity.workspaces


@pytest.fixture
async def admin(ready: Instance) -> Scope:
    return await ready.scope(await ready.login())


@pytest.fixture
async def owner(ready: Instance) -> Scope:
    """The owner of `team`."""
    return await signed_in(ready, "olga@example.org", "owner", "team")


# --- making, changing, deleting ------------------------------------------------------------------


async def test_whoever_is_signed_in_makes_a_workspace_and_enters_it_at_once(ready: Instance, rooms: Workspaces) -> None:
    result = await signed_in(ready, "vi@example.org", "viewer")
    session = await ready.identity.sign_in.by_password(email="vi@example.org", password=PASSWORD)
    held = f"Bearer {session.tokens.access}"
    with pytest.raises(NotFound):
        await ready.identity.authenticate(authorization=held, workspace="lab")
    made = await rooms.create(result, slug="lab", name="The lab")
    assert made == Workspace(made.id, "lab", "The lab", ready.clock.now())
    inside = await ready.identity.authenticate(authorization=held, workspace="lab")
    assert (inside.workspace_id, inside.access.role) == (made.id, OWNER)
    assert [one.slug for one in await rooms.mine(result)] == ["default", "lab"]


@pytest.mark.parametrize("slug", ["", "A", "-a", "a b", "a_b", "ä", "x" * 64, "~a", "0" * 32, "a\n"])
async def test_a_bad_slug_makes_nothing(ready: Instance, rooms: Workspaces, admin: Scope, slug: str) -> None:
    with pytest.raises(BadUserInput) as problem:
        await rooms.create(admin, slug=slug, name="x")
    assert problem.value.field == "slug"
    assert await ready.database.fetchval("SELECT count(*) FROM workspaces") == 1


async def test_a_slug_is_had_once_also_by_those_who_ask_at_once(
    ready: Instance, rooms: Workspaces, admin: Scope
) -> None:
    attempts = [rooms.create(admin, slug="lab", name=str(number)) for number in range(6)]
    won, lost = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert len(won) == 1
    assert [(type(one), getattr(one, "field", None)) for one in lost] == [(Conflict, "slug")] * 5
    assert await ready.database.fetchval("SELECT count(*) FROM memberships WHERE role = 'owner'") == 2


async def test_nobody_belongs_to_more_than_the_most(ready: Instance, rooms: Workspaces, owner: Scope) -> None:
    await ready.database.execute(
        "WITH w AS (INSERT INTO workspaces (id, slug, name, created_at)"
        " SELECT gen_random_uuid(), 'w' || n, 'w', now() FROM generate_series(1, $2) n RETURNING id)"
        " INSERT INTO memberships (workspace_id, user_id, role) SELECT id, $1, 'owner' FROM w",
        ids.to_uuid(owner.principal.user_id),
        MAX_JOINED - 3,
    )
    attempts = [rooms.create(owner, slug=f"s{number}", name="x") for number in range(5)]
    won, lost = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert len(won) == 2
    assert [type(one) for one in lost] == [Conflict] * 3


async def test_the_instance_holds_no_more_than_the_most(ready: Instance, rooms: Workspaces, admin: Scope) -> None:
    await ready.database.execute(
        "INSERT INTO workspaces (id, slug, name, created_at)"
        " SELECT gen_random_uuid(), 'w' || n, 'w', now() FROM generate_series(1, $1) n",
        MAX_WORKSPACES - 2,
    )
    await rooms.create(admin, slug="last", name="x")
    with pytest.raises(Conflict, match="the most"):
        await rooms.create(admin, slug="too-many", name="x")


async def test_a_client_token_makes_one_workspace_while_its_maker_belongs_to_it(
    ready: Instance, rooms: Workspaces, owner: Scope
) -> None:
    made = await asyncio.gather(*(rooms.create(owner, slug="new", name="N", client_token="t") for _ in range(4)))
    assert len({one.id for one in made}) == 1
    elsewhere = replace(owner, workspace_id=made[0].id)
    assert await rooms.create(elsewhere, slug="new", name="N", client_token="t") == made[0]
    with pytest.raises(Conflict) as problem:
        await rooms.create(owner, slug="other", name="N", client_token="t")
    assert problem.value.field == "client_token"
    with pytest.raises(BadUserInput):
        await rooms.create(owner, slug="other", name="N", client_token="two words")
    stranger = await signed_in(ready, "out@example.org", "owner", "elsewhere")
    assert (await rooms.create(stranger, slug="theirs", name="T", client_token="t")).id != made[0].id
    await rooms.delete(owner, made[0].id)
    assert (await rooms.create(owner, slug="new", name="N", client_token="t")).id != made[0].id


async def test_only_owners_and_administrators_manage_a_workspace(
    ready: Instance, rooms: Workspaces, admin: Scope, owner: Scope
) -> None:
    editor = await signed_in(ready, "ed@example.org", "editor", "team")
    outsider = await signed_in(ready, "out@example.org", "owner", "elsewhere")
    place, target = owner.workspace_id, editor.principal.user_id

    def attempts(scope: Scope) -> list[Callable[[], Awaitable[Any]]]:
        return [
            lambda: rooms.update(scope, place, name="Mine"),
            lambda: rooms.add_member(scope, place, user_id=scope.principal.user_id, role=OWNER),
            lambda: rooms.change_member(scope, place, user_id=target, role=OWNER),
            lambda: rooms.remove_member(scope, place, user_id=owner.principal.user_id),
            lambda: rooms.delete(scope, place),
        ]

    before = await roles(ready, place)
    for scope, refusal in ((editor, Forbidden), (outsider, NotFound)):
        for attempt in attempts(scope):
            with pytest.raises(refusal):
                await attempt()
    assert await roles(ready, place) == before
    assert (await rooms.update(owner, place, name="Ours")).name == "Ours"
    assert (await rooms.update(admin, place[4:])).name == "Ours"
    for wrong in (ids.new("run"), "x"):
        with pytest.raises(BadUserInput):
            await rooms.update(owner, wrong)
    with pytest.raises(BadUserInput):
        await rooms.update(owner, place, name=" ")


async def test_api_keys_manage_nothing_and_know_only_their_workspace(
    ready: Instance, rooms: Workspaces, admin: Scope
) -> None:
    key = await ready.identity.keys.create(admin, name="k", scopes=None)
    held = await ready.identity.authenticate(authorization=f"Bearer {key.secret}")
    other = await rooms.create(admin, slug="other", name="x")
    place, user = held.workspace_id, held.principal.user_id
    for attempt in (
        rooms.create(held, slug="lab", name="x"),
        rooms.update(held, place, name="x"),
        rooms.delete(held, other.id),
        rooms.add_member(held, place, user_id=user, role=OWNER),
        rooms.change_member(held, place, user_id=user, role=OWNER),
        rooms.remove_member(held, place, user_id=user),
        rooms.members(held, [place]),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert [one.id for one in await rooms.mine(held)] == [place]
    assert set(await rooms.by_ids(held, [place, other.id])) == {place}
    assert [one.id for one in (await rooms.of_users(held, [user]))[user]] == [place]


async def test_an_empty_workspace_is_deleted_and_its_slug_is_free(
    ready: Instance, rooms: Workspaces, admin: Scope, owner: Scope
) -> None:
    tracking = Tracking(ready.database)
    run = await tracking.runs.create(owner)
    key = await ready.identity.keys.create(owner, name="k", scopes=None)
    with pytest.raises(Conflict, match="holds runs"):
        await rooms.delete(owner, owner.workspace_id)
    await tracking.runs.finish(owner, run.id, RunStatus.COMPLETED)
    await tracking.runs.delete(owner, run.id)
    with pytest.raises(Conflict, match="holds runs"):
        await rooms.delete(owner, owner.workspace_id)
    await tracking.runs.purge(owner, run.id)
    assert await rooms.delete(owner, owner.workspace_id) == owner.workspace_id
    with pytest.raises(Unauthenticated):
        await ready.identity.authenticate(authorization=f"Bearer {key.secret}")
    assert (await again(ready, owner)).nowhere
    assert ready.closings.keys == [key.api_key.id]
    assert [one.slug for one in await rooms.mine(admin)] == ["default"]
    for scope in (owner, admin):
        with pytest.raises(NotFound):
            await rooms.delete(scope, owner.workspace_id)
    anew = await rooms.create(admin, slug="team", name="Another")
    assert anew.id != owner.workspace_id
    with pytest.raises(Unauthenticated):
        await ready.identity.authenticate(authorization=f"Bearer {key.secret}")


async def test_what_is_being_made_in_a_workspace_is_waited_for(
    ready: Instance, rooms: Workspaces, owner: Scope
) -> None:
    (outcome,) = await held_up(
        ready,
        "INSERT INTO models (id, workspace_id, owner_id, name, tags, next_version, created_at, updated_at)"
        " VALUES (gen_random_uuid(), $1, $2, 'm', '{}', 1, now(), now())",
        ids.to_uuid(owner.workspace_id),
        ids.to_uuid(owner.principal.user_id),
        attempts=[rooms.delete(owner, owner.workspace_id)],
    )
    assert isinstance(outcome, Conflict)
    assert "holds models" in outcome.message


async def test_one_workspace_always_remains(ready: Instance, rooms: Workspaces, admin: Scope) -> None:
    other = await rooms.create(admin, slug="other", name="x")
    attempts = [rooms.delete(admin, other.id), rooms.delete(admin, admin.workspace_id)]
    won, lost = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert len(won) == 1
    assert [type(one) for one in lost] == [Conflict]
    assert len(await rooms.mine(admin)) == 1


# --- members -------------------------------------------------------------------------------------


async def test_a_member_is_added_once_and_their_role_acts_at_once(
    ready: Instance, rooms: Workspaces, admin: Scope, owner: Scope
) -> None:
    vi = await signed_in(ready, "vi@example.org", "viewer")
    place, user = owner.workspace_id, vi.principal.user_id
    session = await ready.identity.sign_in.by_password(email="vi@example.org", password=PASSWORD)

    async def role() -> WorkspaceRole:
        held = await ready.identity.authenticate(authorization=f"Bearer {session.tokens.access}", workspace="team")
        return held.access.role

    with pytest.raises(NotFound):
        await role()
    with pytest.raises(NotFound) as problem:  # they share no workspace: nothing is told of strangers
        await rooms.add_member(owner, place, user_id=user, role=VIEWER)
    assert problem.value.field == "user_id"
    attempts = [rooms.add_member(admin, place, user_id=user, role=VIEWER) for _ in range(4)]
    assert {one.id for one in await asyncio.gather(*attempts)} == {place}
    assert await role() is VIEWER
    with pytest.raises(Conflict):
        await rooms.add_member(owner, place, user_id=user, role=EDITOR)
    assert await role() is VIEWER
    await rooms.change_member(owner, place, user_id=user, role=EDITOR)
    assert await role() is EDITOR
    await rooms.remove_member(owner, place, user_id=user)
    with pytest.raises(NotFound):
        await role()
    for attempt in (rooms.remove_member, rooms.change_member):
        given = {} if attempt == rooms.remove_member else {"role": VIEWER}
        with pytest.raises(NotFound) as problem:
            await attempt(owner, place, user_id=user, **given)
        assert problem.value.field == "user_id"
    for unknown in (ids.new("usr"), ids.new("usr")[4:]):
        with pytest.raises(NotFound):
            await rooms.add_member(admin, place, user_id=unknown, role=VIEWER)


async def test_owners_add_whom_they_meet_elsewhere(ready: Instance, rooms: Workspaces, owner: Scope) -> None:
    editor = await signed_in(ready, "ed@example.org", "editor", "team")
    lab = await rooms.create(owner, slug="lab", name="x")
    await rooms.add_member(owner, lab.id, user_id=editor.principal.user_id, role=VIEWER)
    assert await roles(ready, lab.id) == {"olga@example.org": "owner", "ed@example.org": "viewer"}


async def test_a_workspace_holds_no_more_members_than_the_most(
    ready: Instance, rooms: Workspaces, admin: Scope, owner: Scope
) -> None:
    people = [await signed_in(ready, f"p{number}@example.org", "viewer") for number in range(4)]
    with patch("persistence.workspaces.MAX_MEMBERS", 3):
        attempts = [
            rooms.add_member(admin, owner.workspace_id, user_id=one.principal.user_id, role=VIEWER) for one in people
        ]
        won, lost = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert (len(won), [type(one) for one in lost]) == (2, [Conflict] * 2)


async def test_the_last_owner_neither_leaves_nor_steps_down(
    ready: Instance, rooms: Workspaces, admin: Scope, owner: Scope
) -> None:
    second = await signed_in(ready, "oz@example.org", "owner", "team")
    place, user = owner.workspace_id, owner.principal.user_id
    await ready.database.execute("UPDATE users SET disabled_at = now() WHERE email = 'oz@example.org'")
    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: rooms.remove_member(owner, place, user_id=user),
        lambda: rooms.change_member(owner, place, user_id=user, role=EDITOR),
        lambda: rooms.remove_member(admin, place, user_id=user),
    ]
    for attempt in attempts:
        with pytest.raises(Conflict, match="at least one owner"):
            await attempt()
    await rooms.change_member(owner, place, user_id=user, role=OWNER)
    await ready.database.execute("UPDATE users SET disabled_at = NULL")
    await rooms.remove_member(owner, place, user_id=user)
    assert await roles(ready, place) == {"oz@example.org": "owner"}
    assert second.workspace_id == place


async def test_two_owners_who_remove_each_other_at_once_leave_one(
    ready: Instance, rooms: Workspaces, owner: Scope
) -> None:
    second = await signed_in(ready, "oz@example.org", "owner", "team")
    place = owner.workspace_id
    attempts = [
        rooms.remove_member(owner, place, user_id=second.principal.user_id),
        rooms.remove_member(second, place, user_id=owner.principal.user_id),
    ]
    won, lost = outcomes(await held_up(ready, MEMBERSHIPS, ids.to_uuid(place), attempts=attempts))
    assert len(won) == 1
    assert [type(one) for one in lost] == [NotFound]  # the other one is no longer in the workspace
    assert list((await roles(ready, place)).values()) == ["owner"]


async def test_two_owners_who_step_down_at_once_leave_one(ready: Instance, rooms: Workspaces, owner: Scope) -> None:
    second = await signed_in(ready, "oz@example.org", "owner", "team")
    attempts = [
        rooms.change_member(one, owner.workspace_id, user_id=one.principal.user_id, role=VIEWER)
        for one in (owner, second)
    ]
    place = ids.to_uuid(owner.workspace_id)
    _, lost = outcomes(await held_up(ready, MEMBERSHIPS, place, attempts=attempts))
    assert [type(one) for one in lost] == [Conflict]
    assert sorted((await roles(ready, owner.workspace_id)).values()) == ["owner", "viewer"]


async def test_a_change_against_a_removal_never_brings_anybody_back(
    ready: Instance, rooms: Workspaces, owner: Scope
) -> None:
    editor = await signed_in(ready, "ed@example.org", "editor", "team")
    place, user = owner.workspace_id, editor.principal.user_id
    attempts: list[Awaitable[Any]] = [rooms.remove_member(owner, place, user_id=user)]
    attempts += [rooms.change_member(owner, place, user_id=user, role=role) for role in (VIEWER, OWNER, VIEWER)]
    _, lost = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert {type(one) for one in lost} <= {NotFound}
    assert await roles(ready, place) == {"olga@example.org": "owner"}


async def test_whoever_leaves_takes_keys_and_records_along(
    ready: Instance, rooms: Workspaces, admin: Scope, owner: Scope
) -> None:
    editor = await signed_in(ready, "ed@example.org", "editor", "team")
    place, user = owner.workspace_id, editor.principal.user_id
    await rooms.add_member(admin, admin.workspace_id, user_id=user, role=VIEWER)
    inside = await again(ready, editor, "team")
    key = await ready.identity.keys.create(inside, name="team", scopes=None)
    kept = await ready.identity.keys.create(await again(ready, editor, "default"), name="default", scopes=None)
    await ready.identity.grants.create(owner, user_id=user, kind="runs", resource=None, actions=["read"])
    await ready.identity.authenticate(authorization=f"Bearer {key.secret}")
    await rooms.remove_member(inside, place, user_id=user)
    with pytest.raises(Unauthenticated):
        await ready.identity.authenticate(authorization=f"Bearer {key.secret}")
    assert await ready.identity.ended([inside, await again(ready, editor)]) == [inside]
    assert ready.closings.keys == [key.api_key.id]
    assert (await again(ready, editor)).workspace_id == admin.workspace_id
    default = await ready.database.fetchval("SELECT default_workspace_id FROM users WHERE email = 'ed@example.org'")
    assert default == ids.to_uuid(admin.workspace_id)
    with pytest.raises(NotFound):
        await ready.identity.keys.create(inside, name="late", scopes=None)
    await rooms.add_member(admin, place, user_id=user, role=EDITOR)
    assert await ready.database.fetchval("SELECT count(*) FROM grants") == 0
    with pytest.raises(Unauthenticated):
        await ready.identity.authenticate(authorization=f"Bearer {key.secret}")
    await ready.identity.authenticate(authorization=f"Bearer {kept.secret}")


# --- who sees what -------------------------------------------------------------------------------


async def test_workspaces_and_members_are_seen_by_those_inside(
    ready: Instance, rooms: Workspaces, admin: Scope, owner: Scope
) -> None:
    viewer = await signed_in(ready, "vi@example.org", "viewer", "team")
    outsider = await signed_in(ready, "out@example.org", "owner", "elsewhere")
    place = owner.workspace_id
    for scope in (owner, viewer, admin):
        shown = (await rooms.members(scope, [place]))[place]
        assert [(one.user.email, one.role) for one in shown] == [
            ("olga@example.org", OWNER),
            ("vi@example.org", VIEWER),
        ]
        assert set(await rooms.by_ids(scope, [place])) == {place}
    assert await rooms.members(outsider, [place]) == {place: []}
    assert await rooms.by_ids(outsider, [place]) == {}
    users = [owner.principal.user_id, outsider.principal.user_id, admin.principal.user_id]
    seen = {
        one.principal.email: [len(rooms_) for rooms_ in (await rooms.of_users(one, users)).values()]
        for one in (viewer, outsider, admin)
    }
    assert seen == {"vi@example.org": [1, 0, 0], "out@example.org": [0, 1, 0], EMAIL: [1, 1, 1]}
    assert [one.slug for one in await rooms.mine(viewer)] == ["team"]
    assert {one.slug for one in await rooms.mine(admin)} == {"default", "team", "elsewhere"}


@pytest.mark.parametrize("text", ["", "x", "run_" + "0" * 32, "\x00", "'; --", "wsp_" + "g" * 32])
async def test_whatever_is_presented_is_refused_with_its_field(rooms: Workspaces, owner: Scope, text: str) -> None:
    place = owner.workspace_id
    for field, attempt in (
        ("id", rooms.update(owner, text)),
        ("id", rooms.delete(owner, text)),
        ("workspace_id", rooms.add_member(owner, text, user_id=ids.new("usr"), role=VIEWER)),
        ("user_id", rooms.change_member(owner, place, user_id=text, role=VIEWER)),
        ("user_id", rooms.remove_member(owner, place, user_id=text)),
    ):
        with pytest.raises(DomainError) as problem:
            await attempt
        assert (type(problem.value), problem.value.field) == (BadUserInput, field)
