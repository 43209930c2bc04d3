"""Second factors that the settings require: what is left when they are removed at once, and what a password needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain import ids
from domain.errors import BadUserInput, Conflict, MfaRequired, Unauthenticated
from persistence.database import Database
from server.settings import AuthSettings
from tests.support.factors import with_app
from tests.support.identity import EMAIL, Instance, instance, outcomes

SHORT, OTHER, LONG = "vq8#mZ2k", "tj4!Wx7p", "seven copper kettles on the roof"
_PASSKEY = """
    INSERT INTO passkeys (id, user_id, credential_id, credential_digest, public_key, sign_count, name, transports,
                          aaguid, backed_up, user_verified, discoverable, created_at, flagged_at)
    VALUES ($1, $2, $3, $4, '\\x00', 0, $4, '[]', $5, false, true, true, now(), CASE WHEN $6 THEN now() END)"""


@pytest.fixture
async def required(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance where everybody needs a second factor, before its setup."""
    async with instance(database, tmp_path, settings=AuthSettings(require_mfa=True)) as opened:
        yield opened


async def add_passkey(of: Instance, user_id: str, name: str, *, flagged: bool = False) -> str:
    """The id of a passkey that no authenticator holds."""
    passkey = ids.new("psk")
    await of.database.execute(
        _PASSKEY, ids.to_uuid(passkey), ids.to_uuid(user_id), name.encode(), name, "0" * 32, flagged
    )
    return passkey


async def test_the_first_administrator_must_add_a_factor_and_cannot_remove_it(required: Instance) -> None:
    result = await required.set_up(password=SHORT)
    assert required.identity.must_add_factor(result.person)
    assert (await required.scope(result)).principal.must_add_factor
    await with_app(required, result)
    scope = await required.scope(result)
    assert (scope.principal.confined, scope.nowhere) == (False, False)
    with pytest.raises(Conflict, match="your last one"):
        await required.identity.totp.disable(scope, password=SHORT)
    assert not (await required.scope(result)).principal.confined


async def test_of_two_factors_removed_at_once_one_stays(required: Instance) -> None:
    result = await required.set_up(password=SHORT)
    await with_app(required, result)
    scope = await required.scope(result)
    passkey = await add_passkey(required, result.person.id, "phone")
    results = await asyncio.gather(
        required.identity.totp.disable(scope, password=SHORT),
        required.identity.passkeys.delete(scope, passkey, password=SHORT),
        return_exceptions=True,
    )
    done, failed = outcomes(list(results))
    assert (len(done), [type(one) for one in failed]) == (1, [Conflict])
    assert not (await required.scope(result)).principal.confined


async def test_a_passkey_out_of_service_is_no_factor_to_be_left_with(required: Instance) -> None:
    result = await required.set_up(password=SHORT)
    await with_app(required, result)
    scope = await required.scope(result)
    flagged = await add_passkey(required, result.person.id, "copied", flagged=True)
    with pytest.raises(Conflict, match="your last one"):
        await required.identity.totp.disable(scope, password=SHORT)
    assert await required.identity.passkeys.delete(scope, flagged, password=SHORT) == flagged


async def test_what_a_password_needs_follows_the_setting_of_now(
    required: Instance, database: Database, tmp_path: Path
) -> None:
    app = await with_app(required, await required.set_up(password=SHORT))
    async with instance(database, tmp_path, clock=required.clock) as later:
        waiting = await later.identity.sign_in.by_password(email=EMAIL, password=SHORT)
        assert waiting.mfa_token is not None
        signed_in = await later.identity.totp.verify(mfa_token=waiting.mfa_token, code=app.next_code())
        scope = await later.scope(signed_in)
        with pytest.raises(BadUserInput, match="at least 15") as problem:
            await later.identity.password.change(scope, current=SHORT, new=OTHER)
        assert problem.value.field == "new"
        await later.identity.password.change(scope, current=SHORT, new=LONG)
        with pytest.raises(BadUserInput, match="at least 15"):
            await later.identity.operator.create("cy@example.org", OTHER)
        assert not (await later.identity.totp.disable(scope, password=LONG)).mfa_enabled
    await required.identity.operator.create("cy@example.org", OTHER)


async def test_a_session_from_before_is_good_for_adding_a_factor_once_one_is_required(
    ready: Instance, database: Database, tmp_path: Path
) -> None:
    result = await ready.login()
    key = await ready.identity.keys.create(await ready.scope(result), name="k", scopes=None)
    async with instance(database, tmp_path, settings=AuthSettings(require_mfa=True), clock=ready.clock) as later:
        assert (await later.scope(result)).principal.must_add_factor
        with pytest.raises(Unauthenticated, match="no second factor"):
            await later.identity.authenticate(authorization=f"Bearer {key.secret}")
        await with_app(later, result)
        assert not (await later.scope(result)).nowhere
        later.identity._authentication.forget_user(None)
        assert (await later.identity.authenticate(authorization=f"Bearer {key.secret}")).principal.api_key_id


async def test_the_operator_removes_lost_factors_and_new_ones_must_be_added(required: Instance) -> None:
    result = await required.set_up(password=SHORT)
    await with_app(required, result)
    await required.identity.operator.reset_password(EMAIL, OTHER, drop_factors=True)
    with pytest.raises(Unauthenticated):
        await required.scope(result)
    again = await required.identity.sign_in.by_password(email=EMAIL, password=OTHER)
    scope = await required.scope(again)
    assert (scope.principal.must_change_password, scope.principal.must_add_factor) == (True, True)
    await required.identity.password.change(scope, current=OTHER, new=SHORT)
    await with_app(required, again)
    assert not (await required.scope(again)).principal.confined


async def test_a_session_opened_by_password_alone_is_never_enough(required: Instance) -> None:
    result = await required.set_up(password=SHORT)
    await add_passkey(required, result.person.id, "phone")
    required.identity._authentication.forget_user(None)
    scope = await required.scope(result)
    assert scope.principal.must_add_factor
    with pytest.raises(MfaRequired):
        await required.identity.totp.setup(scope)
