"""One's own password on a real database: changed once, and guessed at slower and slower."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from domain.errors import BadUserInput, Overloaded, RateLimited, Unauthenticated
from tests.support.factors import pending, with_app
from tests.support.identity import EMAIL, PASSWORD, CountingHasher, Instance, instance, outcomes

NEW = "seven copper kettles on the roof"


async def test_a_change_ends_the_other_sessions_and_what_is_pending(fresh: Instance) -> None:
    app = await with_app(fresh, await fresh.set_up())
    one, two = await app.sign_in(), await app.sign_in()
    waiting = await pending(fresh)
    await fresh.database.execute("UPDATE users SET must_change_password = true")
    scope = await fresh.scope(one)
    other = (await fresh.scope(two)).principal.session_id
    assert (await fresh.identity.password.change(scope, current=PASSWORD, new=NEW)).email == EMAIL
    assert other in fresh.closings.sessions
    assert await fresh.database.fetchval("SELECT count(*) FROM pending_sign_ins") == 0
    with pytest.raises(Unauthenticated):
        await fresh.scope(two)
    assert (await fresh.scope(one)).principal == replace(scope.principal, must_change_password=False)
    with pytest.raises(Unauthenticated) as refused:
        await fresh.identity.totp.verify(mfa_token=waiting, code=app.next_code())
    assert refused.value.field == "mfa_token"
    with pytest.raises(Unauthenticated):
        await fresh.login()
    assert (await fresh.identity.sign_in.by_password(email=EMAIL, password=NEW)).requires_mfa
    assert not await fresh.database.fetchval("SELECT must_change_password FROM users")


async def test_a_second_step_during_the_change_opens_nothing_that_stays(fresh: Instance) -> None:
    app = await with_app(fresh, await fresh.set_up())
    result = await app.sign_in()
    scope, waiting, code = await fresh.scope(result), await pending(fresh), app.next_code()
    await asyncio.gather(
        fresh.identity.password.change(scope, current=PASSWORD, new=NEW),
        fresh.identity.totp.verify(mfa_token=waiting, code=code),
        return_exceptions=True,
    )
    alive = await fresh.database.fetchval("SELECT count(*) FROM sessions WHERE ended_at IS NULL")
    assert alive == 1


@pytest.mark.parametrize(
    ("current", "new", "error", "field"),
    [
        (PASSWORD + "x", NEW, Unauthenticated, "current"),
        (PASSWORD, "short", BadUserInput, "new"),
        (PASSWORD, PASSWORD, BadUserInput, "new"),
        (PASSWORD, f"{EMAIL} and more of it", BadUserInput, "new"),
        ("\x00", NEW, BadUserInput, "current"),
        (PASSWORD, "x" * 2_000, BadUserInput, "new"),
    ],
)
async def test_a_refused_change_changes_nothing(
    ready: Instance, current: str, new: str, error: type[Exception], field: str
) -> None:
    result = await ready.login()
    before = await ready.database.fetchval("SELECT password_hash FROM users")
    with pytest.raises(error) as refused:
        await ready.identity.password.change(await ready.scope(result), current=current, new=new)
    assert refused.value.field == field  # type: ignore[attr-defined]
    assert await ready.database.fetchval("SELECT password_hash FROM users") == before


async def test_two_changes_at_once_are_one(ready: Instance) -> None:
    scope = await ready.scope(await ready.login())
    wanted = [NEW, NEW.upper(), NEW.title()]
    done, failed = outcomes(
        await asyncio.gather(
            *(ready.identity.password.change(scope, current=PASSWORD, new=new) for new in wanted),
            return_exceptions=True,
        )
    )
    assert len(done) == 1
    assert {type(one) for one in failed} == {Unauthenticated}


async def guess(of: Instance, email: str, password: str = "wrong") -> float | None:
    """How long to wait after too many guesses; None for one that was looked at and wrong."""
    try:
        await of.identity.sign_in.by_password(email=email, password=password)
    except RateLimited as problem:
        return problem.retry_after
    except Unauthenticated:
        return None
    raise AssertionError("this was right")


@pytest.mark.parametrize("email", [EMAIL, EMAIL.upper(), "nobody@example.org", "no address at all"])
async def test_ten_guesses_are_free_and_then_each_waits_twice_as_long(ready: Instance, email: str) -> None:
    assert [await guess(ready, email) for _ in range(10)] == [None] * 10
    waits = []
    for _ in range(12):
        before = ready.hasher.computed
        wait = await guess(ready, email)
        assert wait == await guess(ready, email, PASSWORD)  # the right one as well
        assert ready.hasher.computed == before
        assert wait is not None
        waits.append(wait)
        ready.clock.forward(seconds=wait)
        assert await guess(ready, email) is None
        assert ready.hasher.computed == before + 1
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    ready.clock.forward(hours=1)
    assert [await guess(ready, email) for _ in range(10)] == [None] * 10


async def test_wrong_guesses_are_forgotten_after_five_minutes_or_a_right_one(ready: Instance) -> None:
    for _ in range(9):
        await guess(ready, EMAIL)
    await ready.login()
    for _ in range(9):
        await guess(ready, EMAIL)
    ready.clock.forward(minutes=5)
    assert [await guess(ready, EMAIL) for _ in range(10)] == [None] * 10
    assert await guess(ready, EMAIL) == 1
    ready.clock.forward(seconds=1)
    assert (await ready.login()).user is not None


async def test_guesses_count_together_over_processes_and_at_once(ready: Instance) -> None:
    async with instance(ready.database, ready.data_dir, clock=ready.clock) as other:
        tries = [guess(one, EMAIL) for _ in range(20) for one in (ready, other)]
        waits = await asyncio.gather(*tries)
        assert waits.count(None) == 10
        assert ready.hasher.computed + other.hasher.computed == 1 + 10  # and the one of the setup


async def test_guesses_at_the_own_password_count_as_well(ready: Instance) -> None:
    scope = await ready.scope(await ready.login())
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await ready.identity.password.change(scope, current="wrong", new=NEW)
    with pytest.raises(RateLimited):
        await ready.identity.password.change(scope, current=PASSWORD, new=NEW)
    assert await guess(ready, EMAIL, PASSWORD) == 1


async def test_no_address_is_kept(ready: Instance) -> None:
    await guess(ready, "nobody@example.org")
    keys = [row["key"] for row in await ready.database.fetch("SELECT key FROM attempts")]
    assert [len(key) for key in keys] == [64]
    assert len({*keys, ready.identity.sign_in._guesses._mark("password:nobody@example.org")}) == 1


async def test_old_counts_go(ready: Instance) -> None:
    await guess(ready, "one@example.org")
    ready.clock.forward(days=1, seconds=1)
    await guess(ready, "two@example.org")
    assert await ready.database.fetchval("SELECT count(*) FROM attempts") == 1


async def test_a_password_that_was_not_looked_at_is_no_guess(ready: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_stored: str | None, _password: str) -> None:
        raise Overloaded("too many at once")

    with monkeypatch.context() as patched:
        patched.setattr(ready.identity.sign_in._guesses._passwords, "verify", full)
        for _ in range(15):
            with pytest.raises(Overloaded):
                await guess(ready, EMAIL)
    assert (await ready.login()).user is not None


async def test_an_outdated_hash_is_renewed_though_a_second_factor_follows(fresh: Instance) -> None:
    app = await with_app(fresh, await fresh.set_up())
    async with instance(fresh.database, fresh.data_dir, clock=fresh.clock, hasher=CountingHasher(time_cost=2)) as other:
        waiting = await pending(other)
        assert "t=2" in await fresh.database.fetchval("SELECT password_hash FROM users")
        assert (await other.identity.totp.verify(mfa_token=waiting, code=app.next_code())).user is not None
