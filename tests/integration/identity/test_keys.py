"""API keys on a real database: who makes, sees and revokes them, and where they work."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain import ids
from domain.access import KeyScope, Principal, Scope, UserRole
from domain.errors import BadUserInput, Conflict, Forbidden, NotFound, Unauthenticated
from domain.identity import ApiKeySecret
from domain.identity.keys import MAX_KEYS
from domain.paging import PageRequest
from tests.support.identity import EMAIL, PASSWORD, Instance, member, outcomes
from tests.support.tracking import SetClock


async def made(ready: Instance, **given: Any) -> tuple[Scope, ApiKeySecret]:
    scope = await ready.scope(await ready.login())
    return scope, await ready.identity.keys.create(scope, **({"name": "ci", "scopes": ["runs:write"]} | given))


async def by_key(ready: Instance, secret: str, workspace: str | None = None) -> Scope:
    return await ready.identity.authenticate(authorization=f"Bearer {secret}", workspace=workspace)


async def test_a_key_acts_for_its_owner_with_its_scopes(ready: Instance) -> None:
    scope, key = await made(ready)
    held = await by_key(ready, key.secret)
    assert held.workspace_id == scope.workspace_id
    assert held.principal == Principal(
        scope.principal.user_id, EMAIL, UserRole.ADMIN, None, key.api_key.id, frozenset({KeyScope.RUNS_WRITE})
    )
    basic = base64.b64encode(f"anything:{key.secret}".encode()).decode()
    assert await ready.identity.authenticate(authorization=f"Basic {basic}") == held
    assert key.api_key.prefix == key.secret[:12]
    assert key.api_key.expires_at == ready.clock.now() + timedelta(days=90)
    rows = await ready.database.fetch("SELECT * FROM api_keys")
    assert key.secret[12:44] not in str([dict(row) for row in rows])


async def test_a_wrong_secret_under_a_right_prefix_is_refused_and_leaves_no_use(ready: Instance) -> None:
    from server.security.apikeys import checksum

    _, key = await made(ready)
    body = key.secret[:12] + "A" * 32
    with pytest.raises(Unauthenticated):
        await by_key(ready, body + checksum(body))
    assert await ready.database.fetchval("SELECT last_used_at FROM api_keys") is None


async def test_use_is_noted_to_the_minute(ready: Instance) -> None:
    _, key = await made(ready)
    first = ready.clock.forward(seconds=1)
    await by_key(ready, key.secret)
    ready.clock.forward(seconds=59)
    ready.identity._authentication._keys._entries.clear()
    await by_key(ready, key.secret)
    assert await ready.database.fetchval("SELECT last_used_at FROM api_keys") == first
    second = ready.clock.forward(seconds=1)
    await by_key(ready, key.secret)
    assert await ready.database.fetchval("SELECT last_used_at FROM api_keys") == second


async def test_a_key_works_in_its_workspace_only(ready: Instance) -> None:
    _, key = await made(ready)
    await by_key(ready, key.secret, "default")
    await member(ready, "bo@example.org", "other")
    with pytest.raises(NotFound):
        await by_key(ready, key.secret, "other")
    await ready.database.execute("DELETE FROM memberships WHERE user_id = (SELECT user_id FROM api_keys)")
    ready.identity._authentication._keys._entries.clear()
    await by_key(ready, key.secret)  # an administrator may enter every workspace
    await ready.database.execute("UPDATE users SET role = 'user' WHERE id = (SELECT user_id FROM api_keys)")
    ready.identity._authentication._keys._entries.clear()
    with pytest.raises(Unauthenticated, match="no longer a member"):
        await by_key(ready, key.secret)


async def test_a_revoked_key_is_out_at_once_and_stays_listed_for_a_while(ready: Instance) -> None:
    scope, key = await made(ready)
    held = await by_key(ready, key.secret)
    gone = await ready.identity.keys.revoke(scope, key.api_key.id)
    assert gone.revoked_at == ready.clock.now()
    with pytest.raises(Unauthenticated):
        await by_key(ready, key.secret)
    assert await ready.identity.ended([held, scope]) == [held]
    assert ready.closings.keys == [key.api_key.id]
    ready.clock.forward(minutes=5)
    assert (await ready.identity.keys.revoke(scope, key.api_key.id)).revoked_at == gone.revoked_at
    user = scope.principal.user_id
    assert await ready.identity.keys.of_users(scope, [user]) == {user: [gone]}
    assert (await ready.identity.keys.page(scope, PageRequest())).nodes == []
    ready.clock.forward(days=31)
    assert await ready.identity.keys.of_users(scope, [user]) == {user: []}


async def test_a_key_expires_or_never(ready: Instance) -> None:
    scope, short = await made(ready, expires_at=ready.clock.now() + timedelta(days=1))
    endless = await ready.identity.keys.create(scope, name="endless", scopes=None, expires_at=None)
    assert endless.api_key.key_scopes == frozenset(KeyScope)
    ready.clock.forward(days=1)
    with pytest.raises(Unauthenticated):
        await by_key(ready, short.secret)
    ready.clock.forward(days=3650)
    await by_key(ready, endless.secret)


async def test_keys_manage_no_credentials(ready: Instance) -> None:
    scope, key = await made(ready, scopes=[each.value for each in KeyScope])
    held = await by_key(ready, key.secret)
    keys = ready.identity.keys
    for attempt in (
        keys.create(held, name="more", scopes=None),
        keys.revoke(held, key.api_key.id),
        keys.page(held, PageRequest()),
        ready.identity.sessions.logout(held),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert await keys.by_ids(held, [key.api_key.id]) == {}
    assert await keys.of_users(held, [scope.principal.user_id]) == {}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 251}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["runs:write", "everything"]}, "scopes[1]"),
        ({"expires_at": SetClock().now()}, "expires_at"),
        ({"expires_at": SetClock().now() + timedelta(days=4_000)}, "expires_at"),
    ],
)
async def test_bad_input_makes_no_key(ready: Instance, given: dict[str, Any], field: str) -> None:
    with pytest.raises(BadUserInput) as problem:
        await made(ready, **given)
    assert problem.value.field == field
    assert await ready.database.fetchval("SELECT count(*) FROM api_keys") == 0


async def test_keys_are_their_owners_and_an_administrators_to_see(ready: Instance) -> None:
    admin, key = await made(ready)
    user_id = await member(ready, "bo@example.org")
    bo = await ready.scope(await ready.identity.sign_in.by_password(email="bo@example.org", password=PASSWORD))
    own = await ready.identity.keys.create(bo, name="own", scopes=["runs:read"])
    keys = ready.identity.keys
    both = [key.api_key.id, own.api_key.id]
    assert set(await keys.by_ids(bo, both)) == {own.api_key.id}
    assert set(await keys.by_ids(admin, both)) == set(both)
    users = [admin.principal.user_id, user_id]
    assert await keys.of_users(bo, users) == {user_id: [own.api_key]}
    assert set(await keys.of_users(admin, users)) == set(users)
    with pytest.raises(NotFound):
        await keys.revoke(bo, key.api_key.id)
    for wrong in (ids.new("run"), "nonsense", ""):
        with pytest.raises(BadUserInput):
            await keys.revoke(bo, wrong)
    with pytest.raises(NotFound):
        await keys.revoke(bo, ids.new("key"))


async def test_an_administrator_revokes_the_keys_of_others_where_they_are(ready: Instance) -> None:
    admin = await ready.scope(await ready.login())
    await member(ready, "bo@example.org")
    bo = await ready.scope(await ready.identity.sign_in.by_password(email="bo@example.org", password=PASSWORD))
    key = await ready.identity.keys.create(bo, name="leaked", scopes=["runs:read"])
    held = await by_key(ready, key.secret)
    with pytest.raises(NotFound):
        await ready.identity.keys.revoke(replace(admin, workspace_id=ids.new("wsp")), key.api_key.id)
    await ready.identity.keys.revoke(admin, key.api_key.id)
    assert await ready.identity.ended([held, bo]) == [held]
    with pytest.raises(Unauthenticated):
        await by_key(ready, key.secret)


async def test_keys_are_paged_newest_first(ready: Instance) -> None:
    scope, _ = await made(ready, name="0")
    for number in range(1, 5):
        ready.clock.forward(seconds=number % 2)  # some share a time
        await ready.identity.keys.create(scope, name=str(number), scopes=None)
    seen, after = [], None
    while True:
        page = await ready.identity.keys.page(scope, PageRequest(2, after))
        seen += [key.name for key in page.nodes]
        assert page.total_count == 5
        after = page.page_info.end_cursor
        if not page.has_next_page:
            break
    assert sorted(seen) == list("01234")
    times = {key.name: key.created_at for key in (await ready.identity.keys.page(scope, PageRequest())).nodes}
    assert [times[name] for name in seen] == sorted(times.values(), reverse=True)
    assert [key.name for key in (await ready.identity.keys.page(scope, PageRequest(2), 3)).nodes] == seen[3:]
    for forged in ("x", "e30", after and after[:-1] + "A"):
        with pytest.raises(BadUserInput):
            await ready.identity.keys.page(scope, PageRequest(2, forged))


async def test_concurrent_creations_never_pass_the_most(ready: Instance) -> None:
    scope, _ = await made(ready)
    await ready.database.execute(
        "INSERT INTO api_keys (id, user_id, workspace_id, name, lookup, secret_hash, scopes, created_at)"
        " SELECT gen_random_uuid(), $1, $2, 'n', n::text, '', '[\"runs:read\"]', now() FROM generate_series(1, $3) n",
        ids.to_uuid(scope.principal.user_id),
        ids.to_uuid(scope.workspace_id),
        MAX_KEYS - 4,
    )
    attempts = [ready.identity.keys.create(scope, name=str(number), scopes=None) for number in range(10)]
    won, lost = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert len(won) == 3
    assert [type(one) for one in lost] == [Conflict] * 7
