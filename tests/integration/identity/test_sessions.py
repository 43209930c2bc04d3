"""Sessions on a real database: refreshed once, and what has ended stays ended."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from domain import ids
from domain.access import NOTHING
from domain.errors import NotFound, Unauthenticated
from persistence.database import Database
from server.settings import AuthSettings
from tests.support.identity import PASSWORD, Instance, instance, member


async def refreshes(ready: Instance) -> int:
    value: int = await ready.database.fetchval("SELECT sum(refresh_counter)::bigint FROM sessions")
    return value


async def works(ready: Instance, token: str) -> bool:
    """Whether a refresh token is taken, which uses it up."""
    try:
        await ready.identity.sessions.refresh(token)
    except Unauthenticated:
        return False
    return True


def a_second_later(ready: Instance) -> None:
    """As if a second had passed since the process last asked the database about a session."""
    ready.identity._authentication._sessions._ticks = lambda: time.monotonic() + 1


async def test_refresh_trades_one_token_for_the_next(ready: Instance) -> None:
    first = await ready.login()
    second = await ready.identity.sessions.refresh(first.tokens.refresh)
    third = await ready.identity.sessions.refresh(second.tokens.refresh)
    assert len({first.tokens.refresh, second.tokens.refresh, third.tokens.refresh}) == 3
    assert await refreshes(ready) == 2
    assert (await ready.scope(first)) == (await ready.scope(third))


async def test_fifty_concurrent_refreshes_count_once_and_answer_the_same(ready: Instance) -> None:
    first = await ready.login()
    results = await asyncio.gather(*(ready.identity.sessions.refresh(first.tokens.refresh) for _ in range(50)))
    assert await refreshes(ready) == 1
    assert len({one.tokens.refresh for one in results}) == 1
    for one in results:
        await ready.scope(one)


async def test_the_token_before_answers_the_same_within_the_grace_and_ends_the_session_after(ready: Instance) -> None:
    first = await ready.login()
    second = await ready.identity.sessions.refresh(first.tokens.refresh)
    ready.clock.forward(seconds=10)
    assert (await ready.identity.sessions.refresh(first.tokens.refresh)).tokens.refresh == second.tokens.refresh
    assert await refreshes(ready) == 1
    ready.clock.forward(milliseconds=1)
    assert not await works(ready, first.tokens.refresh)
    assert not await works(ready, second.tokens.refresh)
    with pytest.raises(Unauthenticated):
        await ready.scope(second)
    assert (
        await ready.database.fetchval("SELECT end_reason FROM sessions WHERE ended_at IS NOT NULL") == "refresh_reuse"
    )
    assert len(ready.closings.sessions) == 1


async def test_an_older_token_ends_the_session_even_within_the_grace(ready: Instance) -> None:
    first = await ready.login()
    second = await ready.identity.sessions.refresh(first.tokens.refresh)
    third = await ready.identity.sessions.refresh(second.tokens.refresh)
    assert not await works(ready, first.tokens.refresh)
    assert not await works(ready, third.tokens.refresh)


async def test_a_forged_refresh_token_neither_works_nor_ends_anything(ready: Instance) -> None:
    first, other = await ready.login(), await ready.login()
    token = first.tokens.refresh
    for forged in ("", "axr_", "axr_" + "A" * 75, token[:-2] + ("AA" if token[-2:] != "AA" else "BA"), token + "A",
                   token[:30] + other.tokens.refresh[30:], token.upper(), first.tokens.access, "ä" * 79):  # fmt: skip
        assert not await works(ready, forged)
    renewed = await ready.identity.sessions.refresh(token)
    assert await ready.scope(renewed) == await ready.scope(first)


async def test_refresh_fails_after_logout_disable_and_deletion(ready: Instance) -> None:
    out = await ready.login()
    await ready.identity.sessions.logout(await ready.scope(out))
    assert not await works(ready, out.tokens.refresh)
    disabled, deleted = await ready.login(), await ready.login()
    await ready.database.execute("UPDATE users SET disabled_at = now()")
    assert not await works(ready, disabled.tokens.refresh)
    await ready.database.execute("DELETE FROM users")
    assert not await works(ready, deleted.tokens.refresh)


async def test_a_session_ends_at_its_absolute_end_however_often_it_is_refreshed(ready: Instance) -> None:
    result = await ready.login()
    for _ in range(7 * 24 - 1):
        ready.clock.forward(hours=1)
        result = await ready.identity.sessions.refresh(result.tokens.refresh)
    ready.clock.forward(minutes=55)
    result = await ready.identity.sessions.refresh(result.tokens.refresh)
    assert result.tokens.expires_in == result.tokens.session_expires_in == 300
    ready.clock.forward(minutes=5)
    assert not await works(ready, result.tokens.refresh)
    with pytest.raises(Unauthenticated):
        await ready.scope(result)


async def test_a_session_that_is_not_used_ends(ready: Instance) -> None:
    result = await ready.login()
    ready.clock.forward(hours=11, minutes=59)
    result = await ready.identity.sessions.refresh(result.tokens.refresh)
    ready.clock.forward(hours=12)
    assert not await works(ready, result.tokens.refresh)


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
        await ready.identity.sessions.logout(scope)
        with pytest.raises(Unauthenticated):
            await ready.scope(result)
        assert await ready.identity.ended([scope]) == [scope]
        a_second_later(elsewhere)
        with pytest.raises(Unauthenticated):
            await elsewhere.scope(result)
    assert ready.closings.sessions == [scope.principal.session_id]
    await ready.identity.sessions.logout(scope)  # again is no error


async def test_a_disabled_user_is_out_within_a_second(ready: Instance) -> None:
    result = await ready.login()
    await ready.scope(result)
    await ready.database.execute("UPDATE users SET disabled_at = now()")
    a_second_later(ready)
    with pytest.raises(Unauthenticated):
        await ready.scope(result)


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
    bo = await ready.identity.sign_in.by_password(email="bo@example.org", password=PASSWORD)
    scope = await ready.scope(bo)
    assert await ready.identity.workspace_slug(scope) == "other"
    authorization = f"Bearer {bo.tokens.access}"
    assert await ready.identity.authenticate(authorization=authorization, workspace="other") == scope
    for foreign in ("default", "nowhere", "", "OTHER", "\x00", "x" * 10_000):
        with pytest.raises(NotFound):
            await ready.identity.authenticate(authorization=authorization, workspace=foreign)
    await ready.database.execute("DELETE FROM memberships WHERE user_id = $1", ids.to_uuid(bo.person.id))
    ready.identity._authentication._sessions._entries.clear()
    alone = await ready.identity.authenticate(authorization=authorization)
    assert (alone.nowhere, alone.access, alone.principal) == (True, NOTHING, scope.principal)
    assert await ready.identity.ended([scope, alone]) == [scope, alone]
    with pytest.raises(NotFound):
        await ready.identity.authenticate(authorization=authorization, workspace="other")
