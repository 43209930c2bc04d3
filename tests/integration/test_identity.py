"""Identity on a real database: what must happen once happens once, and what has ended stays ended."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain import ids
from domain.access import KeyScope, Principal, Scope, UserRole
from domain.errors import BadUserInput, Conflict, DomainError, Forbidden, NotFound, Unauthenticated
from domain.identity import ApiKeySecret, AuthResult
from domain.identity.keys import MAX_KEYS
from domain.paging import PageRequest
from persistence.database import Database
from server.security.secrets import RootSecretError
from server.settings import AuthSettings
from tests.support.identity import EMAIL, PASSWORD, CountingHasher, Instance, instance
from tests.support.tracking import SetClock, Tracking


@pytest.fixture
async def fresh(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance nobody has set up."""
    async with instance(database, tmp_path) as opened:
        yield opened


@pytest.fixture
async def ready(fresh: Instance) -> Instance:
    """An instance with its administrator."""
    await fresh.set_up()
    return fresh


def outcomes(results: list[Any]) -> tuple[list[Any], list[BaseException]]:
    failed = [one for one in results if isinstance(one, BaseException)]
    return [one for one in results if not isinstance(one, BaseException)], failed


async def member(ready: Instance, email: str, slug: str = "default", role: str = "user") -> str:
    """A user with the administrator's password, a member of a workspace that is made when missing."""
    database = ready.database
    workspace = await database.fetchval(
        "INSERT INTO workspaces (id, slug, name, created_at) VALUES ($1, $2, $2, $3)"
        " ON CONFLICT (slug) DO UPDATE SET name = EXCLUDED.name RETURNING id",
        ids.to_uuid(ids.new("wsp")),
        slug,
        ready.clock.now(),
    )
    user_id = ids.new("usr")
    await database.execute(
        "INSERT INTO users (id, email, name, password_hash, role, default_workspace_id, created_at)"
        " SELECT $1, $2, $2, password_hash, $4, $5, $6 FROM users WHERE email = $3",
        ids.to_uuid(user_id),
        email,
        EMAIL,
        role,
        workspace,
        ready.clock.now(),
    )
    await database.execute(
        "INSERT INTO memberships (workspace_id, user_id, role) VALUES ($1, $2, 'editor')",
        workspace,
        ids.to_uuid(user_id),
    )
    return user_id


# --- setup ---------------------------------------------------------------------------------------


async def test_setup_makes_the_administrator_and_signs_in(fresh: Instance) -> None:
    assert await fresh.identity.setup_required()
    token = await fresh.identity.ensure_setup()
    assert token is not None
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    assert (fresh.data_dir / "setup-token").read_text().strip() == token
    assert token.encode() not in await fresh.database.fetchval("SELECT setup_token_hash FROM instance")
    result = await fresh.identity.setup(token=token, email="Ada@Example.org", password=PASSWORD)
    assert (result.user.email, result.user.name, result.user.role) == (EMAIL, "ada", UserRole.ADMIN)
    scope = await fresh.scope(result)
    assert await fresh.identity.workspace_slug(scope) == "default"
    assert await fresh.database.fetchval("SELECT role FROM memberships") == "owner"
    assert not await fresh.identity.setup_required()
    assert not (fresh.data_dir / "setup-token").exists()


async def test_a_restart_shows_the_same_setup_token(fresh: Instance) -> None:
    token = await fresh.identity.ensure_setup()
    assert await fresh.identity.ensure_setup() == token
    (fresh.data_dir / "setup-token").unlink()
    other = await fresh.identity.ensure_setup()
    assert other not in (None, token)
    with pytest.raises(Unauthenticated, match="printed last") as refused:
        await fresh.identity.setup(token=token or "", email=EMAIL, password=PASSWORD)
    assert refused.value.field == "token"


@pytest.mark.parametrize("token", ["", "x", "\x00", "\ud800", "ä" * 100, "a" * 100_000])
async def test_a_wrong_setup_token_costs_no_hash_and_changes_nothing(fresh: Instance, token: str) -> None:
    await fresh.identity.ensure_setup()
    with pytest.raises(Unauthenticated):
        await fresh.identity.setup(token=token, email=EMAIL, password=PASSWORD)
    assert fresh.hasher.computed == 0
    assert await fresh.database.fetchval("SELECT count(*) FROM users") == 0


async def test_setup_before_any_token_was_offered_is_refused(fresh: Instance) -> None:
    with pytest.raises(Unauthenticated):
        await fresh.identity.setup(token="", email=EMAIL, password=PASSWORD)


async def test_a_refused_setup_can_be_corrected(fresh: Instance) -> None:
    token = await fresh.identity.ensure_setup() or ""
    for email, password, field in (("ada", PASSWORD, "email"), (EMAIL, "short", "password")):
        with pytest.raises(BadUserInput) as refused:
            await fresh.identity.setup(token=token, email=email, password=password)
        assert refused.value.field == field
    assert (await fresh.identity.setup(token=token, email=EMAIL, password=PASSWORD)).user.email == EMAIL


async def test_of_concurrent_setups_one_wins(fresh: Instance) -> None:
    token = await fresh.identity.ensure_setup() or ""
    attempts = [
        fresh.identity.setup(token=token, email=f"user{number}@example.org", password=PASSWORD) for number in range(8)
    ]
    won, lost = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert len(won) == 1
    assert [type(one) for one in lost] == [Conflict] * 7
    assert await fresh.database.fetchval("SELECT count(*) FROM users") == 1
    assert await fresh.database.fetchval("SELECT count(*) FROM sessions") == 1


async def test_setup_stays_closed_even_without_users(ready: Instance, tmp_path: Path) -> None:
    await ready.database.execute("DELETE FROM users")
    for token in ("", "x"):
        with pytest.raises(Conflict, match="already set up"):
            await ready.identity.setup(token=token, email=EMAIL, password=PASSWORD)
    async with instance(ready.database, tmp_path) as restarted:
        assert await restarted.identity.ensure_setup() is None
        assert await restarted.identity.ensure_setup(email=EMAIL, password=PASSWORD) is None
        assert not await restarted.identity.setup_required()
    assert await ready.database.fetchval("SELECT count(*) FROM users") == 0


async def test_headless_setup(fresh: Instance) -> None:
    assert await fresh.identity.ensure_setup() is not None
    with pytest.raises(BadUserInput) as refused:
        await fresh.identity.ensure_setup(email=EMAIL, password="passwordpassword")
    assert refused.value.field == "admin_password"
    assert await fresh.identity.ensure_setup(email=EMAIL, password=PASSWORD) is None
    assert not (fresh.data_dir / "setup-token").exists()
    assert (await fresh.login()).user.role is UserRole.ADMIN
    assert await fresh.database.fetchval("SELECT count(*) FROM sessions") == 1
    await fresh.identity.ensure_setup(email="other@example.org", password=PASSWORD)  # no longer empty: ignored
    assert await fresh.database.fetchval("SELECT count(*) FROM users") == 1


async def test_two_servers_that_start_at_once_agree(database: Database, tmp_path: Path) -> None:
    clock = SetClock()
    settings = AuthSettings.model_validate({"jwt_secret": "a root secret which two servers have in common"})
    homes = [tmp_path / name for name in "ab"]
    for home in homes:
        home.mkdir()
    first, second = (instance(database, home, clock=clock, settings=settings) for home in homes)
    one, two = await asyncio.gather(first.__aenter__(), second.__aenter__())
    assert await database.fetchval("SELECT count(*) FROM signing_keys") == 1
    await asyncio.gather(*(each.identity.ensure_setup(email=EMAIL, password=PASSWORD) for each in (one, two)))
    assert await database.fetchval("SELECT count(*) FROM users") == 1
    signed_in = await one.login()
    assert (await two.scope(signed_in)).principal.email == EMAIL
    await asyncio.gather(first.__aexit__(None, None, None), second.__aexit__(None, None, None))


async def test_a_server_with_another_root_secret_is_refused(ready: Instance, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(RootSecretError, match="another root secret"):
        async with instance(ready.database, elsewhere):
            pass


# --- login ---------------------------------------------------------------------------------------


async def test_login_opens_a_session_and_notes_it(ready: Instance) -> None:
    ready.clock.forward(minutes=1)
    result = await ready.login()
    assert result.user.last_login_at == ready.clock.now()
    scope = await ready.scope(result)
    assert scope.principal.scopes is None
    row = await ready.database.fetchrow("SELECT * FROM sessions ORDER BY created_at DESC LIMIT 1")
    assert row is not None
    assert (row["user_agent"], row["address"]) == ("test", "127.0.0.1")
    assert scope.principal.session_id == ids.from_uuid("ses", row["id"])
    assert (result.tokens.expires_in, result.tokens.session_expires_in) == (600, 7 * 86_400)


FAILURES = {
    "unknown": ("nobody@example.org", PASSWORD),
    "wrong password": (EMAIL, PASSWORD + "x"),
    "malformed address": ("\x00 nonsense", PASSWORD),
    "disabled, wrong password": ("disabled@example.org", "x"),
    "without a password": ("gone@example.org", PASSWORD),
}


async def test_every_failed_login_costs_one_hash_and_says_the_same(ready: Instance) -> None:
    await member(ready, "disabled@example.org")
    await ready.database.execute("UPDATE users SET disabled_at = now() WHERE email = 'disabled@example.org'")
    await member(ready, "gone@example.org")
    await ready.database.execute("UPDATE users SET password_hash = NULL WHERE email = 'gone@example.org'")
    said = set()
    for name, (email, password) in FAILURES.items():
        before = ready.hasher.computed
        with pytest.raises(Unauthenticated) as refused:
            await ready.identity.login(email=email, password=password)
        assert ready.hasher.computed == before + 1, name
        said.add((refused.value.message, refused.value.field))
    assert len(said) == 1
    before = ready.hasher.computed
    with pytest.raises(Unauthenticated, match="disabled"):
        await ready.identity.login(email="disabled@example.org", password=PASSWORD)
    assert ready.hasher.computed == before + 1


async def test_login_takes_any_spelling_of_address_and_password(ready: Instance) -> None:
    user_id = await member(ready, "bo@example.org")
    stored = ready.hasher.hash("\u00fcber den sieben Wolken")
    await ready.database.execute("UPDATE users SET password_hash = $1 WHERE id = $2", stored, ids.to_uuid(user_id))
    signed_in = await ready.identity.login(email="BO@example.ORG", password="u\u0308ber den sieben Wolken")
    assert signed_in.user.id == user_id


async def test_an_outdated_hash_is_renewed_at_login(ready: Instance, tmp_path: Path) -> None:
    before = await ready.database.fetchval("SELECT password_hash FROM users")
    async with instance(ready.database, tmp_path, hasher=CountingHasher(time_cost=2)) as stronger:
        await stronger.login()
        after = await ready.database.fetchval("SELECT password_hash FROM users")
        assert after != before
        assert "t=2" in after
        await stronger.login()
        assert await ready.database.fetchval("SELECT password_hash FROM users") == after


class Meddling(CountingHasher):
    """Stores another hash in between, while the first check runs."""

    def __init__(self, ready: Instance, stored: str) -> None:
        super().__init__()
        self.changing: Any = ready.database.execute("UPDATE users SET password_hash = $1", stored)
        self.loop = asyncio.get_running_loop()

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override] # noqa: A002
        changing, self.changing = self.changing, None
        if changing is not None:
            asyncio.run_coroutine_threadsafe(changing, self.loop).result(30)
        return super().verify(hash, password)


async def test_a_password_that_changes_while_it_is_checked_opens_no_session(ready: Instance) -> None:
    hasher = Meddling(ready, ready.hasher.hash("another password altogether"))
    async with instance(ready.database, ready.data_dir, hasher=hasher) as other:
        with pytest.raises(Unauthenticated):
            await other.login()
    assert await ready.database.fetchval("SELECT count(*) FROM sessions") == 1


async def test_a_hash_that_another_login_renewed_meanwhile_does_not_refuse_this_one(ready: Instance) -> None:
    hasher = Meddling(ready, ready.hasher.hash(PASSWORD))
    async with instance(ready.database, ready.data_dir, hasher=hasher) as other:
        await other.login()
    assert await ready.database.fetchval("SELECT count(*) FROM sessions") == 2


# --- refresh -------------------------------------------------------------------------------------


async def refreshes(ready: Instance) -> int:
    value: int = await ready.database.fetchval("SELECT sum(refresh_counter)::bigint FROM sessions")
    return value


async def refused(ready: Instance, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await ready.identity.refresh(token)


async def test_refresh_trades_one_token_for_the_next(ready: Instance) -> None:
    first = await ready.login()
    second = await ready.identity.refresh(first.tokens.refresh)
    third = await ready.identity.refresh(second.tokens.refresh)
    assert len({first.tokens.refresh, second.tokens.refresh, third.tokens.refresh}) == 3
    assert await refreshes(ready) == 2
    assert (await ready.scope(first)) == (await ready.scope(third))


async def test_fifty_concurrent_refreshes_count_once_and_answer_the_same(ready: Instance) -> None:
    first = await ready.login()
    results = await asyncio.gather(*(ready.identity.refresh(first.tokens.refresh) for _ in range(50)))
    assert await refreshes(ready) == 1
    assert len({one.tokens.refresh for one in results}) == 1
    for one in results:
        await ready.scope(one)


async def test_the_token_before_answers_the_same_within_the_grace_and_ends_the_session_after(ready: Instance) -> None:
    first = await ready.login()
    second = await ready.identity.refresh(first.tokens.refresh)
    ready.clock.forward(seconds=10)
    assert (await ready.identity.refresh(first.tokens.refresh)).tokens.refresh == second.tokens.refresh
    assert await refreshes(ready) == 1
    ready.clock.forward(milliseconds=1)
    await refused(ready, first.tokens.refresh)
    await refused(ready, second.tokens.refresh)
    with pytest.raises(Unauthenticated):
        await ready.scope(second)
    assert (
        await ready.database.fetchval("SELECT end_reason FROM sessions WHERE ended_at IS NOT NULL") == "refresh_reuse"
    )
    assert len(ready.closings.sessions) == 1


async def test_an_older_token_ends_the_session_even_within_the_grace(ready: Instance) -> None:
    first = await ready.login()
    second = await ready.identity.refresh(first.tokens.refresh)
    third = await ready.identity.refresh(second.tokens.refresh)
    await refused(ready, first.tokens.refresh)
    await refused(ready, third.tokens.refresh)


async def test_a_forged_refresh_token_neither_works_nor_ends_anything(ready: Instance) -> None:
    first, other = await ready.login(), await ready.login()
    token = first.tokens.refresh
    for forged in ("", "axr_", "axr_" + "A" * 75, token[:-2] + ("AA" if token[-2:] != "AA" else "BA"), token + "A",
                   token[:30] + other.tokens.refresh[30:], token.upper(), first.tokens.access, "ä" * 79):  # fmt: skip
        await refused(ready, forged)
    await ready.scope(await ready.identity.refresh(token))


async def test_refresh_fails_after_logout_disable_and_deletion(ready: Instance) -> None:
    out = await ready.login()
    await ready.identity.logout(await ready.scope(out))
    await refused(ready, out.tokens.refresh)
    disabled, deleted = await ready.login(), await ready.login()
    await ready.database.execute("UPDATE users SET disabled_at = now()")
    await refused(ready, disabled.tokens.refresh)
    await ready.database.execute("DELETE FROM users")
    await refused(ready, deleted.tokens.refresh)


async def test_a_session_ends_at_its_absolute_end_however_often_it_is_refreshed(ready: Instance) -> None:
    result = await ready.login()
    for _ in range(7 * 24 - 1):
        ready.clock.forward(hours=1)
        result = await ready.identity.refresh(result.tokens.refresh)
    ready.clock.forward(minutes=55)
    result = await ready.identity.refresh(result.tokens.refresh)
    assert result.tokens.expires_in == result.tokens.session_expires_in == 300
    ready.clock.forward(minutes=5)
    await refused(ready, result.tokens.refresh)
    with pytest.raises(Unauthenticated):
        await ready.scope(result)


async def test_a_session_that_is_not_used_ends(ready: Instance) -> None:
    result = await ready.login()
    ready.clock.forward(hours=11, minutes=59)
    result = await ready.identity.refresh(result.tokens.refresh)
    ready.clock.forward(hours=12)
    await refused(ready, result.tokens.refresh)


# --- the gate ------------------------------------------------------------------------------------


async def test_use_keeps_a_session_from_being_idle(database: Database, tmp_path: Path) -> None:
    settings = AuthSettings(session_timeout_minutes=4, access_token_minutes=60)
    async with instance(database, tmp_path, settings=settings) as ready:
        result = await ready.set_up()
        for _ in range(5):
            ready.clock.forward(minutes=3)
            ready.identity._authentication._sessions.drop("")  # as if the short memory had run out
            ready.identity._authentication._sessions._entries.clear()
            await ready.scope(result)
        ready.clock.forward(minutes=4)
        with pytest.raises(Unauthenticated):
            await ready.scope(result)


async def test_logout_acts_at_once_here_and_within_a_second_elsewhere(ready: Instance) -> None:
    result = await ready.login()
    scope = await ready.scope(result)
    async with instance(ready.database, ready.data_dir, clock=ready.clock) as elsewhere:
        await elsewhere.scope(result)
        await ready.identity.logout(scope)
        with pytest.raises(Unauthenticated):
            await ready.scope(result)
        assert await ready.identity.ended([scope.principal]) == [scope.principal]
        async with asyncio.timeout(1):
            while True:
                try:
                    await elsewhere.scope(result)
                except Unauthenticated:
                    break
    assert ready.closings.sessions == [scope.principal.session_id]
    await ready.identity.logout(scope)  # again is no error


async def test_a_disabled_user_is_out_within_a_second(ready: Instance) -> None:
    result = await ready.login()
    await ready.scope(result)
    await ready.database.execute("UPDATE users SET disabled_at = now()")
    async with asyncio.timeout(1):
        while True:
            try:
                await ready.scope(result)
            except Unauthenticated:
                break


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer x", "bearer", "Basic", "Basic ???", "Basic YTpi", "Token x", "Bearer axk_",
     "Bearer axr_" + "A" * 75, "Bearer " + "x" * 100_000, "Bearer ä", "Digest a=b", "Basic " + "A" * 5_000],
)  # fmt: skip
async def test_a_wrong_header_is_refused_and_never_falls_back_to_the_cookie(ready: Instance, header: str) -> None:
    good = (await ready.login()).tokens.access
    with pytest.raises(Unauthenticated):
        await ready.identity.authenticate(authorization=header, session=good)


async def test_the_cookie_takes_an_access_token_and_nothing_else(ready: Instance) -> None:
    result = await ready.login()
    scope = await ready.identity.authenticate(session=result.tokens.access)
    key = await ready.identity.keys.create(scope, name="k", scopes=None)
    for wrong in (key.secret, result.tokens.refresh, "", "x" * 100_000):
        with pytest.raises(Unauthenticated):
            await ready.identity.authenticate(session=wrong)
    with pytest.raises(Unauthenticated, match="sign in first"):
        await ready.identity.authenticate()


async def test_the_workspace_is_the_one_asked_for_or_the_default(ready: Instance) -> None:
    await member(ready, "bo@example.org", "other")
    bo = await ready.identity.login(email="bo@example.org", password=PASSWORD)
    scope = await ready.scope(bo)
    assert await ready.identity.workspace_slug(scope) == "other"
    authorization = f"Bearer {bo.tokens.access}"
    assert await ready.identity.authenticate(authorization=authorization, workspace="other") == scope
    for foreign in ("default", "nowhere", "", "OTHER", "\x00", "x" * 10_000):
        with pytest.raises(NotFound):
            await ready.identity.authenticate(authorization=authorization, workspace=foreign)
    await ready.database.execute("DELETE FROM memberships WHERE user_id = $1", ids.to_uuid(bo.user.id))
    ready.identity._authentication._sessions._entries.clear()
    with pytest.raises(NotFound, match="not a member"):
        await ready.identity.authenticate(authorization=authorization)


# --- API keys ------------------------------------------------------------------------------------


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
    with pytest.raises(Unauthenticated, match="no longer a member"):
        await by_key(ready, key.secret)


async def test_a_revoked_key_is_out_at_once_and_stays_listed_for_a_while(ready: Instance) -> None:
    scope, key = await made(ready)
    held = await by_key(ready, key.secret)
    gone = await ready.identity.keys.revoke(scope, key.api_key.id)
    assert gone.revoked_at == ready.clock.now()
    with pytest.raises(Unauthenticated):
        await by_key(ready, key.secret)
    assert await ready.identity.ended([held.principal, scope.principal]) == [held.principal]
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
        ready.identity.logout(held),
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
    bo = await ready.scope(await ready.identity.login(email="bo@example.org", password=PASSWORD))
    own = await ready.identity.keys.create(bo, name="own", scopes=["runs:read"])
    keys = ready.identity.keys
    both = [key.api_key.id, own.api_key.id]
    assert set(await keys.by_ids(bo, both)) == {own.api_key.id}
    assert set(await keys.by_ids(admin, both)) == set(both)
    users = [admin.principal.user_id, user_id]
    assert await keys.of_users(bo, users) == {user_id: [own.api_key]}
    assert set(await keys.of_users(admin, users)) == set(users)
    for stranger, other in ((bo, key), (admin, own)):
        with pytest.raises(NotFound):
            await keys.revoke(stranger, other.api_key.id)
    for wrong in (ids.new("run"), "nonsense", ""):
        with pytest.raises(BadUserInput):
            await keys.revoke(bo, wrong)
    with pytest.raises(NotFound):
        await keys.revoke(bo, ids.new("key"))


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


# --- who sees whom -------------------------------------------------------------------------------


async def test_a_workspace_knows_its_members_and_the_authors_of_its_rows(ready: Instance) -> None:
    admin = await ready.scope(await ready.login())
    colleague = await member(ready, "bo@example.org")
    stranger = await member(ready, "eve@example.org", "other")
    author = await member(ready, "former@example.org")
    tracking = Tracking(ready.database)
    scope = Scope(admin.workspace_id, Principal(author, "former@example.org", UserRole.USER, ids.new("ses")))
    await tracking.experiments.create(scope, name="kept")
    await ready.database.execute("DELETE FROM memberships WHERE user_id = $1", ids.to_uuid(author))
    everybody = [admin.principal.user_id, colleague, stranger, author, ids.new("usr")]
    found = await ready.identity.users_by_ids(admin, everybody)
    assert set(found) == {admin.principal.user_id, colleague, author}
    assert (await ready.identity.viewer(admin)).email == EMAIL
    assert (await ready.identity.user(admin, colleague[4:])).email == "bo@example.org"
    for wrong, error in ((stranger, NotFound), (ids.new("key"), BadUserInput), ("x", BadUserInput)):
        with pytest.raises(error):
            await ready.identity.user(admin, wrong)


async def test_no_secret_is_readable_in_the_database(ready: Instance) -> None:
    result = await ready.login()
    _, key = await made(ready)
    secrets = [PASSWORD, result.tokens.access, result.tokens.refresh, key.secret, key.secret[12:44]]
    tables = await ready.database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for table in tables:
        rows = await ready.database.fetch(f'SELECT * FROM "{table["tablename"]}"')
        text = repr([dict(row) for row in rows])
        assert not any(secret in text for secret in secrets), table["tablename"]
    sealed = await ready.database.fetchval("SELECT private_encrypted FROM signing_keys")
    access = ready.identity._access_tokens
    assert all(private.private_bytes_raw() not in sealed for private in access._private.values())  # type: ignore[attr-defined]


async def test_every_refusal_is_a_domain_error_whatever_is_presented(ready: Instance) -> None:
    strange = ["", "\x00", "\ud800", "ä", "'; DROP TABLE users; --", "a" * 5_000, "\u202e", "%s", "{}", "null"]
    for text in strange:
        for attempt in (
            ready.identity.login(email=text, password=text),
            ready.identity.refresh(text),
            ready.identity.setup(token=text, email=text, password=text),
            ready.identity.authenticate(authorization=text, workspace=text),
            ready.identity.authenticate(session=text, workspace=text),
        ):
            with pytest.raises(DomainError):
                await attempt


def test_a_result_hides_its_tokens_from_a_cookie_client() -> None:
    from domain.identity import Tokens, User

    user = User(ids.new("usr"), EMAIL, "Ada", UserRole.USER, SetClock().now())
    shown = AuthResult(user, Tokens("a", "r", 600, 3600))
    assert (shown.token, shown.refresh_token, shown.expires_in) == ("a", "r", 600)
    hidden = shown.kept_in_cookies()
    assert (hidden.token, hidden.refresh_token, hidden.expires_in, hidden.requires_mfa) == (None, None, 600, False)
