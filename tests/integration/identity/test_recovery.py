"""Recovery codes on a real database: one hash for each try, one use for each code."""

from __future__ import annotations

import asyncio
import re

import pytest

from domain.errors import Conflict, MfaRequired, Unauthenticated
from tests.support.factors import App, pending, with_app
from tests.support.identity import PASSWORD, Instance, outcomes


@pytest.fixture
async def app(fresh: Instance) -> App:
    return await with_app(fresh, await fresh.set_up())


async def test_codes_have_a_public_group_and_sixty_secret_bits(app: App) -> None:
    rows = await app.of.database.fetch("SELECT place, code_hash FROM recovery_codes")
    places = {row["place"]: row["code_hash"] for row in rows}
    assert len(app.recovery_codes) == len(places) == 10
    for code in app.recovery_codes:
        assert re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}", code)
        assert places[code[:4]].startswith("$argon2id$")
        assert code[5:9] not in places[code[:4]]


async def test_every_try_costs_one_hash_whatever_is_wrong(app: App) -> None:
    first, second = app.recovery_codes[:2]
    await app.of.identity.recovery.use(mfa_token=await pending(app.of), code=first)
    others = [code[:4] for code in app.recovery_codes]
    unknown = next(f"{number:04}" for number in range(1_000) if f"{number:04}" not in others)
    wrong = {
        "used": first,
        "unknown place": f"{unknown}{second[4:]}",
        "wrong secret": second[:-1] + ("0" if second[-1] != "0" else "1"),
        "another code's secret": second[:4] + app.recovery_codes[2][4:],
        "empty": "",
        "no code": "x" * 64,
        "too long": second + "-" * 100,
        "full width": "".join(chr(ord(one) + 0xFEE0) if one.isdigit() else one for one in second) + "\uff10",
        "all noughts": "0" * 16,
    }
    said = set()
    for name, code in wrong.items():
        token = await pending(app.of)
        before = app.of.hasher.computed
        with pytest.raises(Unauthenticated) as refused:
            await app.of.identity.recovery.use(mfa_token=token, code=code)
        assert app.of.hasher.computed == before + 1, name
        said.add((refused.value.message, refused.value.field))
    assert len(said) == 1
    token = await pending(app.of)
    before = app.of.hasher.computed
    assert (await app.of.identity.recovery.use(mfa_token=token, code=second)).user is not None
    assert app.of.hasher.computed == before + 1


async def test_any_usual_spelling_is_the_code(app: App) -> None:
    first, second, third = app.recovery_codes[:3]
    for spelled in (first.lower(), f" {second.replace('-', ' ')} ", third.replace("-", "").replace("0", "o")):
        assert (await app.of.identity.recovery.use(mfa_token=await pending(app.of), code=spelled)).user is not None


async def test_a_code_that_is_used_twice_at_once_opens_one_session(app: App) -> None:
    tokens = [await pending(app.of) for _ in range(4)]
    done, failed = outcomes(
        await asyncio.gather(
            *(app.of.identity.recovery.use(mfa_token=token, code=app.recovery_codes[0]) for token in tokens),
            return_exceptions=True,
        )
    )
    assert len(done) == 1
    assert {type(one) for one in failed} == {Unauthenticated}
    session = await app.of.identity.sessions.current(await app.of.scope(done[0]))
    assert (session.assurance.level, session.assurance.methods) == (2, ("pwd", "rec"))


async def test_new_codes_void_the_old_ones_and_end_the_other_sessions(app: App) -> None:
    one, two = await app.sign_in(), await app.sign_in()
    waiting = await pending(app.of)
    fresh = await app.of.identity.recovery.generate(await app.of.scope(one), password=PASSWORD)
    with pytest.raises(Unauthenticated):
        await app.of.scope(two)
    with pytest.raises(Unauthenticated) as refused:
        await app.of.identity.recovery.use(mfa_token=waiting, code=fresh.recovery_codes[1])
    assert refused.value.field == "mfa_token"
    with pytest.raises(Unauthenticated):
        await app.of.identity.recovery.use(mfa_token=await pending(app.of), code=app.recovery_codes[0])
    used = await app.of.identity.recovery.use(mfa_token=await pending(app.of), code=fresh.recovery_codes[0])
    assert used.user is not None


async def test_codes_made_twice_at_once_are_the_last_ones(app: App) -> None:
    scope = await app.of.scope(await app.sign_in())
    made = await asyncio.gather(*(app.of.identity.recovery.generate(scope, password=PASSWORD) for _ in range(3)))
    places = {row["place"] for row in await app.of.database.fetch("SELECT place FROM recovery_codes")}
    assert len(places) == 10
    assert places in [{code[:4] for code in one.recovery_codes} for one in made]


async def test_without_a_password_codes_need_a_recent_proof(app: App) -> None:
    scope = await app.of.scope(await app.sign_in())
    app.of.clock.forward(minutes=5)
    await app.of.identity.recovery.generate(scope)
    app.of.clock.forward(seconds=1)
    with pytest.raises(MfaRequired):
        await app.of.identity.recovery.generate(scope)
    await app.of.identity.totp.check(scope, app.code())
    await app.of.identity.recovery.generate(scope)


async def test_an_account_without_a_factor_has_no_recovery_codes(ready: Instance) -> None:
    scope = await ready.scope(await ready.login())
    with pytest.raises(Conflict):
        await ready.identity.recovery.generate(scope, password=PASSWORD)
    assert await ready.database.fetchval("SELECT count(*) FROM recovery_codes") == 0
