"""Accounts on a real database: made, changed, switched off and deleted by administrators, several at once included."""

from __future__ import annotations

import asyncio
import json

import pyotp
import pytest

from domain import ids
from domain.access import KeyScope, Scope, UserRole, WorkspaceRole
from domain.errors import BadUserInput, Conflict, DomainError, Forbidden, MfaRequired, NotFound, Unauthenticated
from domain.identity.people import People
from domain.paging import PageRequest
from tests.integration.identity.test_workspaces import held_up
from tests.support.factors import with_app
from tests.support.identity import EMAIL, PASSWORD, Instance, member, outcomes, signed_in

TEMPORARY = "seven copper kettles on the roof"
BO = "bo@example.org"
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('administrators', 0))"


@pytest.fixture
def people(ready: Instance) -> People:
    return ready.identity.people


@pytest.fixture
async def admin(ready: Instance) -> Scope:
    return await ready.scope(await ready.login())


async def login(ready: Instance, email: str = BO, password: str = PASSWORD) -> Scope:
    return await ready.scope(await ready.identity.sign_in.by_password(email=email, password=password))


# --- making and listing --------------------------------------------------------------------------


async def test_a_new_account_must_change_its_password_and_then_is_an_editor(
    ready: Instance, people: People, admin: Scope
) -> None:
    made = await people.create(admin, email="Bo@Example.org", password=TEMPORARY)
    assert (made.email, made.name, made.role) == (BO, "bo", UserRole.USER)
    limited = await login(ready, password=TEMPORARY)
    assert limited.principal.must_change_password
    with pytest.raises(Forbidden):
        limited.require(KeyScope.RUNS_READ)
    changed = await ready.identity.password.change(limited, current=TEMPORARY, new=PASSWORD)
    assert not changed.must_change_password
    scope = await login(ready)
    assert not scope.principal.must_change_password
    assert scope.access.role is WorkspaceRole.EDITOR
    assert scope.workspace_id == admin.workspace_id


async def test_making_an_account_again_with_the_same_token_is_making_it_once(people: People, admin: Scope) -> None:
    attempts = [people.create(admin, email=BO, password=TEMPORARY, client_token="t") for _ in range(4)]
    made = await asyncio.gather(*attempts)
    assert len({one.id for one in made}) == 1
    with pytest.raises(Conflict) as problem:
        await people.create(admin, email=BO, password=TEMPORARY)
    assert problem.value.field == "email"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": f"{BO} and more of it"}, "password"),
        ({"name": ""}, "name"),
        ({"client_token": "a b"}, "client_token"),
    ],
)
async def test_bad_input_makes_no_account(
    ready: Instance, people: People, admin: Scope, given: dict[str, str], field: str
) -> None:
    with pytest.raises(BadUserInput) as problem:
        await people.create(admin, **{"email": BO, "password": TEMPORARY, **given})  # type: ignore[arg-type]
    assert problem.value.field == field
    assert await ready.database.fetchval("SELECT count(*) FROM users") == 1


async def test_accounts_are_listed_in_pages_and_found_by_parts(ready: Instance, people: People, admin: Scope) -> None:
    for number in range(3):
        ready.clock.forward(seconds=1)
        await people.create(admin, email=f"b{number}@example.org", password=TEMPORARY, name=f"Bea_{number}")
    first = await people.page(admin, PageRequest(2))
    rest = await people.page(admin, PageRequest(2, first.cursors[-1]))
    assert [user.email[:3] for page in (first, rest) for user in page.nodes] == ["b2@", "b1@", "b0@", "ada"]
    assert (first.total_count, rest.has_next_page) == (4, False)
    for search, found in (("BEA_1", 1), ("@example", 4), ("_", 3), ("%", 0), ("", 4)):
        assert len((await people.page(admin, PageRequest(), search=search)).nodes) == found, search
    with pytest.raises(BadUserInput):
        await people.page(admin, PageRequest(), search="x" * 251)
    with pytest.raises(BadUserInput):
        await people.page(admin, PageRequest(2, first.cursors[-1]), search="b")


async def test_administrators_see_who_waits_after_wrong_passwords(
    ready: Instance, people: People, admin: Scope
) -> None:
    bo = await people.create(admin, email=BO, password=TEMPORARY)
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await login(ready, password="wrong")
    assert set(await people.locked_until(admin, [bo, await ready.identity.viewer(admin)])) == {bo.id}


# --- who may -------------------------------------------------------------------------------------


async def test_nobody_but_administrators_manages_accounts(ready: Instance, people: People) -> None:
    owner = await signed_in(ready, BO, "owner")
    other = await member(ready, "cy@example.org")
    for attempt in (
        people.page(owner, PageRequest()),
        people.create(owner, email="x@example.org", password=TEMPORARY),
        people.update(owner, other, name="x"),
        people.update(owner, owner.principal.user_id, role=UserRole.ADMIN),
        people.update(owner, owner.principal.user_id, email="x@example.org"),
        people.disable(owner, other),
        people.delete(owner, other),
        people.delete(owner, owner.principal.user_id),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert (await people.update(owner, owner.principal.user_id, name="Bo B.")).name == "Bo B."
    assert (await people.update(owner, owner.principal.user_id)).name == "Bo B."


async def test_an_administrator_with_a_second_factor_must_have_used_it(fresh: Instance) -> None:
    result = await fresh.set_up()
    first = await fresh.scope(result)
    bo = await member(fresh, BO)
    await with_app(fresh, result)
    await fresh.database.execute("UPDATE sessions SET aal = 1")
    with pytest.raises(MfaRequired):
        await fresh.identity.people.disable(first, bo)


async def test_the_own_password_is_not_set_but_changed(people: People, admin: Scope) -> None:
    with pytest.raises(Forbidden) as problem:
        await people.update(admin, admin.principal.user_id, password=TEMPORARY)
    assert problem.value.field == "password"


async def test_whoever_is_no_administrator_any_more_changes_nothing(
    ready: Instance, people: People, admin: Scope
) -> None:
    bo = await member(ready, BO)
    await ready.database.execute("UPDATE users SET role = 'user' WHERE email = $1", EMAIL)
    for attempt in (
        people.create(admin, email="x@example.org", password=TEMPORARY),
        people.disable(admin, bo),
        people.delete(admin, bo),
    ):
        with pytest.raises(Forbidden):  # the scope still says that they are one
            await attempt
    assert await ready.database.fetchval("SELECT count(*) FROM users WHERE disabled_at IS NULL") == 2


# --- changing ------------------------------------------------------------------------------------


async def test_a_password_reset_ends_sessions_and_must_be_changed(
    ready: Instance, people: People, admin: Scope
) -> None:
    scope = await signed_in(ready, BO, "editor")
    key = await ready.identity.keys.create(scope, name="k", scopes=["runs:read"])
    await people.update(admin, scope.principal.user_id, password=TEMPORARY)
    assert ready.closings.sessions == [scope.principal.session_id]
    with pytest.raises(Unauthenticated):
        await login(ready)
    assert (await login(ready, password=TEMPORARY)).principal.must_change_password
    by_key = await ready.identity.authenticate(authorization=f"Bearer {key.secret}")
    assert not by_key.principal.must_change_password, "scripts go on"


async def test_lost_factors_are_reset_by_an_administrator_who_was_here_just_now(
    ready: Instance, people: People, admin: Scope
) -> None:
    bo = await signed_in(ready, BO, "editor")
    user = bo.principal.user_id
    await people.reset_factors(admin, user)
    assert ready.closings.sessions == [], "where there is nothing to reset, nobody is signed out"
    setup = await ready.identity.totp.setup(bo)
    await ready.identity.totp.enable(bo, pyotp.TOTP(setup.secret).at(ready.clock.now()))
    assert (await ready.identity.sign_in.by_password(email=BO, password=PASSWORD)).mfa_token is not None

    with pytest.raises(Forbidden) as own:
        await people.reset_factors(admin, admin.principal.user_id)
    assert own.value.field == "id"
    with pytest.raises(Forbidden):
        await people.reset_factors(bo, user)
    ready.clock.forward(seconds=3_601)
    with pytest.raises(Forbidden, match="more than an hour ago"):
        await people.reset_factors(admin, user)

    assert not (await people.reset_factors(await ready.scope(await ready.login()), user)).mfa_enabled
    assert ready.closings.sessions == [bo.principal.session_id]
    kept = "SELECT count(*) FROM {} WHERE user_id = $1"
    for table in ("totp_factors", "recovery_codes", "pending_sign_ins"):
        assert await ready.database.fetchval(kept.format(table), ids.to_uuid(user)) == 0
    assert (await login(ready)).principal.user_id == user, "the password is what it was"


async def test_disabling_ends_everything_at_once_and_enabling_brings_sign_ins_back(
    ready: Instance, people: People, admin: Scope
) -> None:
    result_scope = await signed_in(ready, BO, "editor")
    key = await ready.identity.keys.create(result_scope, name="k", scopes=["runs:read"])
    bo = result_scope.principal.user_id
    for _ in range(2):
        assert (await people.disable(admin, bo)).disabled
    assert ready.closings.sessions == [result_scope.principal.session_id]
    with pytest.raises(Unauthenticated):
        await ready.identity.authenticate(authorization=f"Bearer {key.secret}")
    with pytest.raises(Unauthenticated):
        await login(ready)
    assert not (await people.update(admin, bo, disabled=False)).disabled
    assert (await login(ready)).principal.user_id == bo


async def test_an_address_is_changed_unless_it_is_taken(ready: Instance, people: People, admin: Scope) -> None:
    bo = await member(ready, BO)
    with pytest.raises(Conflict) as problem:
        await people.update(admin, bo, email=EMAIL, name="x")
    assert problem.value.field == "email"
    changed = await people.update(admin, bo, email="New@example.org", role=UserRole.ADMIN)
    assert (changed.email, changed.name, changed.role) == ("new@example.org", BO, UserRole.ADMIN)
    assert (await login(ready, "new@example.org")).principal.role is UserRole.ADMIN


@pytest.mark.parametrize("how", ["disabled", "role", "id"])
async def test_the_last_administrator_stays_one(ready: Instance, people: People, admin: Scope, how: str) -> None:
    me = admin.principal.user_id
    gone = await member(ready, BO, role="admin")
    await people.disable(admin, gone)
    attempts = {
        "disabled": people.disable(admin, me),
        "role": people.update(admin, me, role=UserRole.USER),
        "id": people.delete(admin, me),
    }
    for name, attempt in attempts.items():
        if name != how:
            attempt.close()
    with pytest.raises(Conflict) as problem:
        await attempts[how]
    assert problem.value.field == how
    assert (await login(ready, EMAIL)).principal.role is UserRole.ADMIN


@pytest.mark.parametrize("how", ["disable", "delete", "demote"])
async def test_two_last_administrators_who_remove_each_other_at_once_leave_one(
    ready: Instance, people: People, admin: Scope, how: str
) -> None:
    await member(ready, BO, role="admin")
    other = await login(ready)
    pairs = [(admin, other.principal.user_id), (other, admin.principal.user_id)]

    async def remove(by: Scope, whom: str) -> object:
        match how:
            case "disable":
                return await people.disable(by, whom)
            case "delete":
                return await people.delete(by, whom)
        return await people.update(by, whom, role=UserRole.USER)

    won, lost = outcomes(await held_up(ready, LOCK, attempts=[remove(*pair) for pair in pairs]))
    assert len(won) == 1
    assert [type(one) for one in lost] == [Forbidden]
    left = "SELECT count(*) FROM users WHERE role = 'admin' AND disabled_at IS NULL"
    assert await ready.database.fetchval(left) == 1


async def test_two_last_administrators_who_step_down_at_once_leave_one(
    ready: Instance, people: People, admin: Scope
) -> None:
    await member(ready, BO, role="admin")
    other = await login(ready)
    attempts = [people.update(one, one.principal.user_id, role=UserRole.USER) for one in (admin, other)]
    won, lost = outcomes(await held_up(ready, LOCK, attempts=attempts))
    assert len(won) == 1
    assert [type(one) for one in lost] == [Conflict]


# --- deleting ------------------------------------------------------------------------------------


async def test_a_deleted_user_leaves_a_row_without_personal_data(ready: Instance, people: People, admin: Scope) -> None:
    scope = await signed_in(ready, BO, "owner")
    bo, identity = scope.principal.user_id, ready.identity
    key = await identity.keys.create(scope, name="k", scopes=["runs:read"])
    await identity.invites.create(scope, email="cy@example.org", role=WorkspaceRole.VIEWER)
    await identity.grants.create(admin, user_id=bo, kind="runs", resource=None, actions=["read"])
    await identity.totp.setup(scope)
    await ready.database.execute(
        "INSERT INTO experiments (id, workspace_id, owner_id, number, name, created_at, updated_at)"
        " VALUES (gen_random_uuid(), $1, $2, 1, 'e', now(), now())",
        ids.to_uuid(scope.workspace_id),
        ids.to_uuid(bo),
    )
    assert await people.delete(admin, bo) == bo
    assert ready.closings.sessions == [scope.principal.session_id]
    assert ready.closings.keys == [key.api_key.id]
    author = (await identity.users_by_ids(admin, [bo]))[bo]
    assert (author.email, author.name, author.disabled) == (f"deleted:{ids.to_uuid(bo)}", "Deleted user", True)
    for table in ("sessions", "api_keys", "memberships", "grants", "totp_factors"):
        left = f"SELECT count(*) FROM {table} WHERE user_id = $1"  # names of tables
        assert await ready.database.fetchval(left, ids.to_uuid(bo)) == 0, table
    assert await ready.database.fetchval("SELECT count(*) FROM invites") == 0
    for row in await ready.database.fetch("SELECT to_jsonb(u) AS whole FROM users u WHERE id = $1", ids.to_uuid(bo)):
        assert "bo@" not in row["whole"]
        assert json.loads(row["whole"])["password_hash"] is None
    assert [user.email for user in (await people.page(admin, PageRequest())).nodes] == [EMAIL]
    for attempt in (people.delete(admin, bo), people.update(admin, bo, disabled=False), people.disable(admin, bo)):
        with pytest.raises(NotFound):
            await attempt
    again = await people.create(admin, email=BO, password=TEMPORARY)
    assert again.id != bo


async def test_a_deletion_against_a_sign_in_leaves_no_session(ready: Instance, people: People, admin: Scope) -> None:
    bo = await member(ready, BO)
    _, lost = outcomes(
        await held_up(
            ready,
            "SELECT 1 FROM users WHERE id = $1 FOR UPDATE",
            ids.to_uuid(bo),
            attempts=[people.delete(admin, bo), ready.identity.sign_in.by_password(email=BO, password=PASSWORD)],
        )
    )
    assert all(isinstance(one, Unauthenticated) for one in lost)
    assert await ready.database.fetchval("SELECT count(*) FROM sessions WHERE user_id = $1", ids.to_uuid(bo)) == 0


async def test_a_deletion_against_whatever_joins_the_user_to_something_leaves_nothing(
    ready: Instance, people: People, admin: Scope
) -> None:
    scope = await signed_in(ready, BO, "editor")
    bo = scope.principal.user_id
    await ready.identity.workspaces.create(admin, slug="lab", name="Lab")
    lab = next(one.id for one in await ready.identity.workspaces.mine(admin) if one.slug == "lab")
    results = await held_up(
        ready,
        "SELECT 1 FROM users WHERE id = $1 FOR UPDATE",
        ids.to_uuid(bo),
        attempts=[
            people.delete(admin, bo),
            ready.identity.keys.create(scope, name="k", scopes=["runs:read"]),
            ready.identity.workspaces.add_member(admin, lab, user_id=bo, role=WorkspaceRole.VIEWER),
            ready.identity.workspaces.create(scope, slug="own", name="Own"),
        ],
    )
    assert results[0] == bo
    assert not [one for one in results if isinstance(one, BaseException) and not isinstance(one, DomainError)]
    for table in ("memberships", "api_keys", "grants"):
        left = f"SELECT count(*) FROM {table} WHERE user_id = $1"  # names of tables
        assert await ready.database.fetchval(left, ids.to_uuid(bo)) == 0, table


# --- one's own data ------------------------------------------------------------------------------


async def test_an_export_holds_everything_but_secrets(fresh: Instance) -> None:
    result = await fresh.set_up()
    await with_app(fresh, result)
    scope = await fresh.scope(result)
    key = await fresh.identity.keys.create(scope, name="k", scopes=["runs:read"])
    await fresh.identity.workspaces.create(scope, slug="lab", name="The lab")
    exported = await fresh.identity.people.export(scope)
    history = exported.history
    assert history.user.email == EMAIL
    assert [(room.slug, room.role) for room in history.memberships] == [
        ("default", WorkspaceRole.OWNER),
        ("lab", WorkspaceRole.OWNER),
    ]
    assert [one.id for one in history.sessions] == [scope.principal.session_id]
    assert [one.id for one in history.keys] == [key.api_key.id]
    assert {one.kind.value for one in exported.credentials} == {"totp", "recovery"}
    assert key.secret not in repr(exported)
    by_key = await fresh.identity.authenticate(authorization=f"Bearer {key.secret}")
    with pytest.raises(Forbidden):
        await fresh.identity.people.export(by_key)
