"""Time-based codes on a real database: set up, enabled, used once, disabled."""

from __future__ import annotations

import asyncio
import base64

import pyotp
import pytest

from domain.access import Scope
from domain.errors import Conflict, DomainError, Forbidden, MfaRequired, RateLimited, Unauthenticated
from domain.identity import AuthResult
from domain.identity.factors import CredentialChange
from persistence.credentials import PostgresCredentials
from tests.support.factors import App, pending, with_app
from tests.support.identity import EMAIL, PASSWORD, Instance, member, outcomes


@pytest.fixture
async def first(fresh: Instance) -> AuthResult:
    return await fresh.set_up()


@pytest.fixture
async def app(fresh: Instance, first: AuthResult) -> App:
    return await with_app(fresh, first)


async def row(of: Instance, columns: str, table: str = "totp_factors") -> tuple[object, ...]:
    found = await of.database.fetchrow(f"SELECT {columns} FROM {table}")  # a test's own words
    assert found is not None
    return tuple(found)


async def test_from_setup_to_a_session_of_level_two(fresh: Instance, first: AuthResult) -> None:
    scope = await fresh.scope(first)
    setup = await fresh.identity.totp.setup(scope)
    assert len(base64.b32decode(setup.secret)) == 20
    parsed = pyotp.parse_uri(setup.url)
    assert (parsed.secret, parsed.name, parsed.issuer) == (setup.secret, EMAIL, "AxonML")
    assert base64.b64decode(setup.qr_code.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert (await fresh.login()).mfa_token is None  # set up is not enabled
    app = App(fresh, setup.secret, [])
    codes = (await fresh.identity.totp.enable(scope, app.code())).recovery_codes
    assert len(set(codes)) == 10
    waiting = await fresh.login()
    assert (waiting.requires_mfa, waiting.user, waiting.token, waiting.refresh_token) == (True, None, None, None)
    assert waiting.mfa_token is not None
    result = await fresh.identity.totp.verify(mfa_token=waiting.mfa_token, code=app.next_code())
    assert result.user is not None
    assert result.user.mfa_enabled
    assert (await fresh.identity.sessions.current(await fresh.scope(result))).assurance.level == 2
    assert await row(fresh, "aal, amr", "sessions WHERE ended_at IS NULL ORDER BY created_at DESC") == (2, "pwd otp")
    renewed = await fresh.identity.sessions.refresh(result.tokens.refresh)
    assert (await fresh.identity.sessions.current(await fresh.scope(renewed))).assurance.level == 2


async def test_the_secret_is_stored_sealed(app: App) -> None:
    (sealed,) = await row(app.of, "secret_sealed")
    assert isinstance(sealed, bytes)
    assert app.secret.encode() not in sealed
    assert base64.b32decode(app.secret) not in sealed


async def test_setting_up_takes_a_session_that_was_opened_within_the_hour(fresh: Instance, first: AuthResult) -> None:
    scope = await fresh.scope(first)
    setup = await fresh.identity.totp.setup(scope)
    fresh.clock.forward(minutes=61)
    with pytest.raises(Forbidden, match="sign in again"):
        await fresh.identity.totp.setup(scope)
    await fresh.identity.totp.enable(scope, App(fresh, setup.secret, []).code())  # what was begun in time


async def test_enabling_ends_the_other_sessions_and_raises_this_one(fresh: Instance, first: AuthResult) -> None:
    other = await fresh.login()
    scope, elsewhere = await fresh.scope(first), await fresh.scope(other)
    setup = await fresh.identity.totp.setup(scope)
    fresh.clock.forward(minutes=3)
    await fresh.identity.totp.enable(scope, pyotp.TOTP(setup.secret).at(fresh.clock.now()))
    assert fresh.closings.sessions == [elsewhere.principal.session_id]
    with pytest.raises(Unauthenticated):
        await fresh.scope(other)
    with pytest.raises(Unauthenticated):
        await fresh.identity.sessions.refresh(other.tokens.refresh)
    kept = await fresh.identity.sessions.require_proven(await fresh.scope(first))
    assert (kept.assurance.level, kept.proved_at) == (2, fresh.clock.now())


async def test_a_login_that_began_before_opens_no_session_after(fresh: Instance, first: AuthResult) -> None:
    """Of many logins while the first factor is enabled each is either ended by that or asked for the factor."""
    scope = await fresh.scope(first)
    setup = await fresh.identity.totp.setup(scope)
    enable = fresh.identity.totp.enable(scope, pyotp.TOTP(setup.secret).at(fresh.clock.now()))
    await asyncio.gather(enable, *(fresh.login() for _ in range(8)))
    alive = await fresh.database.fetch("SELECT aal FROM sessions WHERE ended_at IS NULL")
    assert [one["aal"] for one in alive] == [2]


async def test_enabling_needs_a_right_code_or_one_of_the_last_five_minutes(fresh: Instance, first: AuthResult) -> None:
    scope, totp = await fresh.scope(first), fresh.identity.totp
    with pytest.raises(Conflict):
        await totp.enable(scope, "123456")
    app = App(fresh, (await totp.setup(scope)).secret, [])
    hashes = fresh.hasher.computed
    for wrong in (None, app.code(5), "", "12345", app.code() + " "):
        with pytest.raises(Unauthenticated) as refused:
            await totp.enable(scope, wrong)
        assert refused.value.field == "code"
    await totp.check(scope, app.code())
    fresh.clock.forward(minutes=5, milliseconds=1)
    with pytest.raises(Unauthenticated):
        await totp.enable(scope, None)
    assert fresh.hasher.computed == hashes  # nothing that is refused costs ten hashes
    await totp.check(scope, app.code())
    await totp.setup(scope)  # another app: what was verified is not it
    with pytest.raises(Unauthenticated):
        await totp.enable(scope, None)
    app = App(fresh, (await totp.setup(scope)).secret, [])
    verified = app.code()
    await totp.check(scope, verified)
    fresh.clock.forward(seconds=20)
    assert len((await totp.enable(scope, None)).recovery_codes) == 10
    with pytest.raises(Unauthenticated):  # what was shown to enable the app opens nothing
        await totp.verify(mfa_token=await pending(fresh), code=verified)


async def test_enabling_works_once(fresh: Instance, first: AuthResult) -> None:
    scope, totp = await fresh.scope(first), fresh.identity.totp
    app = App(fresh, (await totp.setup(scope)).secret, [])
    done, failed = outcomes(
        await asyncio.gather(*(totp.enable(scope, app.code()) for _ in range(4)), return_exceptions=True)
    )
    assert len(done) == 1
    assert {type(one) for one in failed} == {Conflict}
    assert await fresh.database.fetchval("SELECT count(*) FROM recovery_codes") == 10
    for again in (totp.enable(scope, app.next_code()), totp.setup(scope)):
        with pytest.raises(Conflict):
            await again
    used = await fresh.identity.recovery.use(mfa_token=await pending(fresh), code=done[0].recovery_codes[3])
    assert used.user is not None


async def test_an_app_that_is_set_up_while_another_is_enabled_is_not_enabled(
    fresh: Instance, first: AuthResult
) -> None:
    scope, totp = await fresh.scope(first), fresh.identity.totp
    for _ in range(3):
        app = App(fresh, (await totp.setup(scope)).secret, [])
        done, _ = outcomes(
            list(await asyncio.gather(totp.enable(scope, app.code()), totp.setup(scope), return_exceptions=True))
        )
        enabled = await row(fresh, "enabled_at IS NOT NULL")
        codes = await fresh.database.fetchval("SELECT count(*) FROM recovery_codes")
        assert (enabled, codes) in (((True,), 10), ((False,), 0))
        if enabled == (True,):
            result = await app.sign_in()
            await totp.disable(await fresh.scope(result), password=PASSWORD)
            scope = await fresh.scope(result)
        assert done


async def test_a_code_opens_one_session(app: App) -> None:
    tokens = [await pending(app.of) for _ in range(4)]
    code = app.next_code()
    before = await app.of.database.fetchval("SELECT count(*) FROM sessions")
    done, failed = outcomes(
        await asyncio.gather(
            *(app.of.identity.totp.verify(mfa_token=token, code=code) for token in tokens), return_exceptions=True
        )
    )
    assert len(done) == 1
    assert {(type(one), one.field) for one in failed if isinstance(one, DomainError)} == {(Unauthenticated, "code")}
    assert await app.of.database.fetchval("SELECT count(*) FROM sessions") == before + 1


async def test_a_pending_token_opens_one_session(app: App) -> None:
    token = await pending(app.of)
    code, after = app.next_code(), app.code(1)
    done, failed = outcomes(
        await asyncio.gather(
            *(app.of.identity.totp.verify(mfa_token=token, code=one) for one in (code, after)), return_exceptions=True
        )
    )
    assert len(done) == 1
    assert len(failed) == 1
    assert isinstance(failed[0], Unauthenticated)
    with pytest.raises(Unauthenticated) as refused:
        await app.of.identity.totp.verify(mfa_token=token, code=app.next_code())
    assert refused.value.field == "mfa_token"


async def test_codes_of_past_steps_and_other_digits_are_refused(app: App) -> None:
    token = await pending(app.of)
    app.of.clock.forward(minutes=5 - 1 / 60)
    right = app.code()
    wide = "".join(chr(ord(digit) - ord("0") + 0xFF10) for digit in right)
    for wrong in (wide, app.code(-2), app.code(2), f" {right}"):
        with pytest.raises(Unauthenticated) as refused:
            await app.of.identity.totp.verify(mfa_token=token, code=wrong)
        assert refused.value.field == "code"
    assert (await app.of.identity.totp.verify(mfa_token=token, code=right)).user is not None
    with pytest.raises(Unauthenticated):  # within the window, but before the step that was used
        await app.of.identity.totp.verify(mfa_token=await pending(app.of), code=app.code(-1))
    assert (await app.of.identity.totp.verify(mfa_token=await pending(app.of), code=app.code(1))).user is not None


async def test_the_code_before_is_taken_while_it_was_not_used(app: App) -> None:
    app.of.clock.forward(minutes=2)
    assert (await app.of.identity.totp.verify(mfa_token=await pending(app.of), code=app.code(-1))).user is not None


async def test_five_failures_end_a_pending_sign_in(app: App) -> None:
    token, other = await pending(app.of), await pending(app.of)
    app.of.clock.forward(seconds=60)
    for _ in range(5):
        with pytest.raises(Unauthenticated) as refused:
            await app.of.identity.totp.verify(mfa_token=token, code=app.code(9))
        assert refused.value.field == "code"
    with pytest.raises(Unauthenticated) as refused:
        await app.of.identity.totp.verify(mfa_token=token, code=app.code())
    assert refused.value.field == "mfa_token"
    assert (await app.of.identity.totp.verify(mfa_token=other, code=app.code())).user is not None


async def test_a_pending_sign_in_takes_five_wrong_codes_at_once_and_no_more(app: App) -> None:
    token = await pending(app.of)
    attempts = [app.of.identity.totp.verify(mfa_token=token, code=app.code(9)) for _ in range(12)]
    _, failed = outcomes(await asyncio.gather(*attempts, return_exceptions=True))
    assert [one.field for one in failed if isinstance(one, Unauthenticated)].count("code") == 5


async def test_a_pending_sign_in_lasts_five_minutes_and_is_good_for_nothing_else(app: App) -> None:
    token = await pending(app.of)
    for header in (f"Bearer {token}", f"Basic {base64.b64encode(f'x:{token}'.encode()).decode()}"):
        with pytest.raises(Unauthenticated):
            await app.of.identity.authenticate(authorization=header)
    with pytest.raises(Unauthenticated):
        await app.of.identity.authenticate(session=token)
    with pytest.raises(Unauthenticated):
        await app.of.identity.sessions.refresh(token)
    app.of.clock.forward(minutes=5)
    with pytest.raises(Unauthenticated) as refused:
        await app.of.identity.totp.verify(mfa_token=token, code=app.code())
    assert refused.value.field == "mfa_token"


@pytest.mark.parametrize("token", ["", "axm_", "axm_x", "x" * 4_096, "\x00", "axr_" + "A" * 75, "axm_\ud800"])
async def test_what_is_no_pending_token_is_refused(app: App, token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await app.of.identity.totp.verify(mfa_token=token, code=app.code(1))
    assert refused.value.field == "mfa_token"


async def test_a_check_of_an_enabled_app_uses_the_code_up_and_proves_the_session_anew(app: App) -> None:
    result = await app.sign_in()
    scope = await app.of.scope(result)
    with pytest.raises(Unauthenticated):
        await app.of.identity.totp.check(scope, app.code())  # the one it signed in with
    app.of.clock.forward(hours=1)
    code = app.code()
    await app.of.identity.totp.check(scope, code)
    assert (await app.of.identity.sessions.current(scope)).proved_at == app.of.clock.now()
    with pytest.raises(Unauthenticated):
        await app.of.identity.totp.verify(mfa_token=await pending(app.of), code=code)


async def test_disabling_needs_password_and_level_two_and_ends_the_others(app: App) -> None:
    one, two = await app.sign_in(), await app.sign_in()
    scope, totp = await app.of.scope(one), app.of.identity.totp
    before = app.of.hasher.computed
    with pytest.raises(Unauthenticated) as refused:
        await totp.disable(scope, password=PASSWORD + "x")
    assert (refused.value.field, app.of.hasher.computed) == ("password", before + 1)
    await app.of.database.execute("UPDATE sessions SET aal = 1")
    with pytest.raises(MfaRequired):
        await totp.disable(scope, password=PASSWORD)
    await app.of.database.execute("UPDATE sessions SET aal = 2")
    waiting = await pending(app.of)
    user = await totp.disable(scope, password=PASSWORD)
    assert not user.mfa_enabled
    with pytest.raises(Unauthenticated):
        await app.of.scope(two)
    assert await app.of.database.fetchval("SELECT count(*) FROM recovery_codes") == 0
    with pytest.raises(Unauthenticated):
        await totp.verify(mfa_token=waiting, code=app.code(1))
    assert not (await totp.disable(scope, password=PASSWORD)).mfa_enabled  # again changes nothing
    other = await app.of.login()
    assert not other.requires_mfa
    await totp.disable(scope, password=PASSWORD)
    assert (await app.of.scope(other)).principal.user_id == user.id  # nor does it end anything


async def test_enabling_and_disabling_at_once_leave_one_of_both(app: App) -> None:
    result = await app.sign_in()
    scope, totp = await app.of.scope(result), app.of.identity.totp
    done, failed = outcomes(
        list(
            await asyncio.gather(
                totp.disable(scope, password=PASSWORD),
                totp.disable(scope, password=PASSWORD),
                app.of.identity.recovery.generate(scope, password=PASSWORD),
                return_exceptions=True,
            )
        )
    )
    assert {type(one) for one in failed} <= {Conflict}
    assert len(done) >= 2
    assert await app.of.database.fetchval("SELECT count(*) FROM totp_factors") == 0
    assert await app.of.database.fetchval("SELECT count(*) FROM recovery_codes") == 0


async def test_api_keys_touch_no_factor(app: App) -> None:
    result = await app.sign_in()
    scope = await app.of.scope(result)
    key = await app.of.identity.keys.create(scope, name="k", scopes=None)
    held: Scope = await app.of.identity.authenticate(authorization=f"Bearer {key.secret}")
    identity = app.of.identity
    for attempt in (
        identity.totp.setup(held),
        identity.totp.check(held, "123456"),
        identity.totp.enable(held, None),
        identity.totp.disable(held, password=PASSWORD),
        identity.recovery.generate(held, password=PASSWORD),
        identity.recovery.generate(held),
        identity.password.change(held, current=PASSWORD, new="x"),
        identity.sessions.logout_all(held),
        identity.sessions.revoke(held, str(scope.principal.session_id)),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert await identity.credentials_of_users(held, [held.principal.user_id]) == {}


async def test_a_session_of_one_factor_changes_nothing_of_an_account_with_two(app: App) -> None:
    result = await app.sign_in()
    scope, identity = await app.of.scope(result), app.of.identity
    other = await app.of.scope(await app.sign_in())
    await app.of.database.execute("UPDATE sessions SET aal = 1, amr = 'pwd'")
    for attempt in (
        identity.totp.setup(scope),
        identity.totp.enable(scope, None),
        identity.recovery.generate(scope),
        identity.recovery.generate(scope, password=PASSWORD),
        identity.password.change(scope, current=PASSWORD, new="x"),
        identity.sessions.logout_all(scope),
        identity.sessions.revoke(scope, str(other.principal.session_id)),
    ):
        with pytest.raises(MfaRequired):
            await attempt
    await identity.sessions.logout(scope)  # one's own may always be ended


async def test_the_level_is_looked_at_again_when_the_change_is_made(app: App) -> None:
    """Another session may have added the first factor between the look at this one and its change."""
    scope = await app.of.scope(await app.sign_in())
    await app.of.database.execute("UPDATE sessions SET aal = 1")
    change = CredentialChange(scope.principal.user_id, str(scope.principal.session_id), app.of.clock.now())
    before = await app.of.database.fetchval("SELECT password_hash FROM users")
    with pytest.raises(MfaRequired):
        await PostgresCredentials(app.of.database).change_password(change, "another hash")
    assert await app.of.database.fetchval("SELECT password_hash FROM users") == before


async def test_thirty_wrong_codes_an_hour_and_no_more(app: App) -> None:
    """Counted for the account: over pending sign-ins, over kinds of codes, and before the code is looked at."""
    app.of.clock.forward(minutes=2)
    identity, refused = app.of.identity, []
    for number in range(8):
        token = await pending(app.of)
        tries = [
            identity.recovery.use(mfa_token=token, code="0000-0000-0000-0000")
            if number % 2
            else identity.totp.verify(mfa_token=token, code=app.code(9))
            for _ in range(5)
        ]
        refused += outcomes(await asyncio.gather(*tries, return_exceptions=True))[1]
    counts = {kind: sum(type(one) is kind for one in refused) for kind in (Unauthenticated, RateLimited)}
    assert counts == {Unauthenticated: 30, RateLimited: 10}
    last = refused[-1]
    assert isinstance(last, RateLimited)
    assert last.retry_after == 3_600
    with pytest.raises(RateLimited):  # the right one as well
        await identity.totp.verify(mfa_token=await pending(app.of), code=app.code())
    app.of.clock.forward(minutes=59, seconds=59)
    with pytest.raises(RateLimited):
        await identity.totp.verify(mfa_token=await pending(app.of), code=app.code())
    app.of.clock.forward(seconds=1)
    assert (await identity.totp.verify(mfa_token=await pending(app.of), code=app.code())).user is not None


async def test_right_codes_are_not_counted(app: App) -> None:
    for _ in range(31):
        await app.sign_in()
    assert await row(app.of, "failures", "attempts") == (0,)


async def test_another_account_has_codes_of_its_own(app: App) -> None:
    await member(app.of, "bo@example.org")
    bo = await app.of.identity.sign_in.by_password(email="bo@example.org", password=PASSWORD)
    await with_app(app.of, bo)
    waiting = await app.of.identity.sign_in.by_password(email="bo@example.org", password=PASSWORD)
    assert waiting.mfa_token is not None
    with pytest.raises(Unauthenticated):
        await app.of.identity.totp.verify(mfa_token=waiting.mfa_token, code=app.next_code())
    with pytest.raises(Unauthenticated):
        await app.of.identity.recovery.use(mfa_token=waiting.mfa_token, code=app.recovery_codes[0])
