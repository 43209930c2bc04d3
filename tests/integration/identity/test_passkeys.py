"""Passkeys on a real database: registered, used both ways, used up, flagged, removed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput, Conflict, Forbidden, MfaRequired, NotFound, Unauthenticated
from domain.identity import AuthResult
from domain.identity.factors import Credential, FactorKind, PasskeyUse
from domain.identity.passkeys import PASSKEY_ALONE
from persistence.passkeys import PostgresPasskeys
from tests.support.authenticator import TRUTH, Authenticator, Lies, decoded
from tests.support.factors import pending, with_app
from tests.support.identity import EMAIL, PASSWORD, Instance, instance, member, outcomes
from tests.support.passkeys import CLIENT, Holder


@pytest.fixture
async def first(fresh: Instance) -> AuthResult:
    return await fresh.set_up()


@pytest.fixture
async def scope(fresh: Instance, first: AuthResult) -> Scope:
    return await fresh.scope(first)


@pytest.fixture
def holder(fresh: Instance) -> Holder:
    return Holder(fresh, Authenticator())


@pytest.fixture
async def passkey(holder: Holder, scope: Scope) -> Credential:
    return await holder.register(scope)


async def rows(of: Instance, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await of.database.fetch(sql)]


async def test_from_registration_to_both_ways_in(holder: Holder, scope: Scope) -> None:
    begun = await holder.passkeys.start_registration(scope)
    options = begun.options
    assert options["rp"] == {"name": "AxonML", "id": "localhost"}
    assert options["user"].items() >= {"name": EMAIL, "displayName": "Ada"}.items()
    assert len(decoded(options["user"]["id"])) == 64
    assert len(decoded(options["challenge"])) == 32
    assert options["attestation"] == "none"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert [one["alg"] for one in options["pubKeyCredParams"]] == [-8, -7, -257]
    answer = holder.device.create(options)
    made = await holder.passkeys.finish_registration(scope, name="laptop", credential=answer)
    assert (made.kind, made.name, made.last_used_at) == (FactorKind.WEBAUTHN, "laptop", None)

    waiting = await holder.of.login()
    assert waiting.requires_mfa
    assert waiting.mfa_token is not None
    result = await holder.second(token=waiting.mfa_token)
    assert result.user is not None
    assert result.user.mfa_enabled
    session = await holder.of.identity.sessions.current(await holder.of.scope(result))
    assert (session.assurance.level, session.assurance.methods) == (2, ("pwd", "hwk"))

    alone = await holder.alone()
    assert alone.user is not None
    assert alone.user.email == EMAIL
    session = await holder.of.identity.sessions.current(await holder.of.scope(alone))
    assert (session.assurance.level, session.assurance.methods) == (2, ("hwk", "user"))
    listed = await holder.of.identity.credentials_of_users(await holder.of.scope(alone), [made.user_id])
    assert [(one.id, one.last_used_at) for one in listed[made.user_id]] == [(made.id, holder.of.clock.now())]
    facts = "sign_count, transports::text, aaguid, backed_up, user_verified, discoverable"
    assert await rows(holder.of, f"SELECT {facts} FROM passkeys") == [
        (2, '["hybrid", "internal"]', "00000000-0000-0000-0000-000000000000", False, True, True)
    ]
    assert await rows(holder.of, "SELECT * FROM webauthn_challenges") == []


async def test_options_name_only_the_passkeys_of_a_pending_sign_in(holder: Holder, passkey: Credential) -> None:
    nobody = (await holder.passkeys.start()).options
    assert (nobody["allowCredentials"], nobody["userVerification"], nobody["rpId"]) == ([], "required", "localhost")
    begun = (await holder.passkeys.start(await pending(holder.of))).options
    assert [decoded(one["id"]) for one in begun["allowCredentials"]] == list(holder.device.held)
    assert begun["userVerification"] == "preferred"
    with pytest.raises(Unauthenticated) as refused:
        await holder.passkeys.start("axm_" + "x" * 43)
    assert refused.value.field == "mfa_token"


async def test_a_second_passkey_is_offered_without_those_there_are(holder: Holder, scope: Scope) -> None:
    first = await holder.register(scope)
    options = (await holder.passkeys.start_registration(scope)).options
    assert [decoded(one["id"]) for one in options["excludeCredentials"]] == list(holder.device.held)
    with pytest.raises(Conflict) as refused:
        await holder.register(scope, name="LAPTOP")
    assert refused.value.field == "name"
    again = await holder.register(scope, name="phone")
    assert first.user_id == again.user_id
    handles = {held.handle for held in holder.device.held.values()}
    assert len(handles) == 1


async def test_registering_ends_other_sessions_and_raises_this_one(
    fresh: Instance, holder: Holder, scope: Scope
) -> None:
    other = await fresh.login()
    await holder.register(scope)
    with pytest.raises(Unauthenticated):
        await fresh.scope(other)
    session = await fresh.identity.sessions.current(scope)
    assert (session.assurance.level, session.assurance.methods) == (2, ("pwd", "hwk"))
    assert len(fresh.closings.sessions) == 1


async def test_registering_takes_a_session_that_was_opened_within_the_hour(holder: Holder, scope: Scope) -> None:
    begun = await holder.passkeys.start_registration(scope)
    answer = holder.device.create(begun.options)
    holder.of.clock.forward(minutes=61)
    with pytest.raises(Forbidden, match="sign in again"):
        await holder.passkeys.start_registration(scope)
    with pytest.raises(Forbidden, match="sign in again"):
        await holder.passkeys.finish_registration(scope, name="laptop", credential=answer)


async def test_registering_takes_a_session_of_level_two_once_there_is_a_factor(
    fresh: Instance, first: AuthResult, holder: Holder
) -> None:
    scope = await fresh.scope(first)
    await with_app(fresh, first)
    await holder.register(scope)
    await fresh.database.execute("UPDATE sessions SET aal = 1")
    with pytest.raises(MfaRequired):
        await holder.passkeys.start_registration(scope)


async def test_api_keys_register_and_remove_nothing(fresh: Instance, holder: Holder, scope: Scope) -> None:
    passkey = await holder.register(scope)
    made = await fresh.identity.keys.create(scope, name="ci", scopes=["runs:write"], expires_at=None)
    script = await fresh.identity.authenticate(authorization=f"Bearer {made.secret}")
    with pytest.raises(Forbidden):
        await holder.passkeys.start_registration(script)
    with pytest.raises(Forbidden):
        await holder.passkeys.delete(script, passkey.id, password=PASSWORD)


@pytest.mark.parametrize(
    "lies",
    [
        Lies(origin="https://evil.example"),
        Lies(origin="http://localhost:3001"),
        Lies(rp_id="evil.example"),
        Lies(kind="webauthn.get"),
        Lies(present=False),
        Lies(client={"crossOrigin": True}),
        Lies(client={"topOrigin": "https://evil.example"}),
        Lies(algorithm=-37),
        Lies(format="none", statement={"sig": b"x"}),
        Lies(format="packed", statement={"alg": -7, "sig": b"x"}),
        Lies(format="packed", statement={"alg": -7, "sig": b"x", "x5c": [b"x"]}),
        Lies(format="certified"),
        Lies(format="tpm", statement={"ver": "2.0"}),
        Lies(format="nonsense"),
    ],
    ids=repr,
)
async def test_a_registration_that_is_not_right_is_refused(holder: Holder, scope: Scope, lies: Lies) -> None:
    with pytest.raises(BadUserInput) as refused:
        await holder.register(scope, lies=lies)
    assert refused.value.field == "credential"
    assert await rows(holder.of, "SELECT * FROM passkeys") == []
    assert (await holder.of.identity.sessions.current(scope)).assurance.level == 1


async def test_self_attestation_is_taken(holder: Holder, scope: Scope) -> None:
    await holder.register(scope, lies=Lies(format="packed"))
    assert (await holder.alone()).user is not None


async def test_a_challenge_of_a_registration_is_good_for_one_user_once(
    fresh: Instance, holder: Holder, scope: Scope
) -> None:
    begun = await holder.passkeys.start_registration(scope)
    answer = holder.device.create(begun.options)
    await member(fresh, "eve@example.org")
    eve = await fresh.scope(await fresh.identity.sign_in.by_password(email="eve@example.org", password=PASSWORD))
    with pytest.raises(Conflict):
        await holder.passkeys.finish_registration(eve, name="mine", credential=answer)
    with pytest.raises(Conflict):
        await holder.passkeys.finish_registration(scope, name="mine", credential=answer, ceremony_id="0" * 32)
    await holder.passkeys.finish_registration(scope, name="mine", credential=answer, ceremony_id=begun.id)
    with pytest.raises(Conflict):
        await holder.passkeys.finish_registration(scope, name="again", credential=answer)
    assert len(await rows(fresh, "SELECT * FROM passkeys")) == 1


async def test_a_wrong_answer_uses_its_challenge_up(holder: Holder, scope: Scope, passkey: Credential) -> None:
    begun = await holder.passkeys.start()
    wrong = holder.device.get(begun.options, Lies(signature=lambda given: given[:-1] + bytes([given[-1] ^ 1])))
    right = holder.device.get(begun.options)
    for answer in (wrong, right):
        with pytest.raises(Unauthenticated):
            await holder.passkeys.finish(credential=answer)
    begun = await holder.passkeys.start_registration(scope)
    with pytest.raises(BadUserInput):
        await holder.passkeys.finish_registration(
            scope, name="b", credential=holder.device.create(begun.options, Lies(present=False))
        )
    with pytest.raises(Conflict):
        await holder.passkeys.finish_registration(scope, name="b", credential=holder.device.create(begun.options))


async def test_two_finishes_of_one_registration_make_one_passkey(holder: Holder, scope: Scope) -> None:
    begun = await holder.passkeys.start_registration(scope)
    answer = holder.device.create(begun.options)
    results = await asyncio.gather(
        *(holder.passkeys.finish_registration(scope, name=f"n{n}", credential=answer) for n in range(4)),
        return_exceptions=True,
    )
    made, failed = outcomes(list(results))
    assert len(made) == 1
    assert {type(one) for one in failed} == {Conflict}
    assert len(await rows(holder.of, "SELECT * FROM passkeys")) == 1


async def test_a_credential_id_that_exists_is_not_registered_again(
    fresh: Instance, holder: Holder, passkey: Credential
) -> None:
    (known,) = holder.device.held
    await member(fresh, "eve@example.org")
    eve = await fresh.scope(await fresh.identity.sign_in.by_password(email="eve@example.org", password=PASSWORD))
    thief = Holder(fresh, Authenticator())
    with pytest.raises(Conflict, match="registered already"):
        await thief.register(eve, lies=Lies(credential_id=known))
    result = await holder.alone()
    assert result.user is not None
    assert result.user.email == EMAIL


async def test_there_are_at_most_ten(holder: Holder, scope: Scope) -> None:
    for number in range(9):
        await holder.register(scope, name=f"key {number}")
    begun = [await holder.passkeys.start_registration(scope) for _ in range(3)]
    answers = [holder.device.create(one.options) for one in begun]
    results = await asyncio.gather(
        *(
            holder.passkeys.finish_registration(scope, name=f"last {number}", credential=answer)
            for number, answer in enumerate(answers)
        ),
        return_exceptions=True,
    )
    made, failed = outcomes(list(results))
    assert (len(made), {type(one) for one in failed}) == (1, {Conflict})
    with pytest.raises(Conflict, match="at most 10"):
        await holder.passkeys.start_registration(scope)


async def test_of_two_sessions_that_register_a_first_passkey_one_wins(
    fresh: Instance, first: AuthResult, holder: Holder
) -> None:
    scopes = [await fresh.scope(first), await fresh.scope(await fresh.login())]
    results = await asyncio.gather(
        *(holder.register(scope, name=f"n{number}") for number, scope in enumerate(scopes)), return_exceptions=True
    )
    made, failed = outcomes(list(results))
    assert len(made) == 1
    assert {type(one) for one in failed} <= {Unauthenticated, MfaRequired}
    assert len(await rows(fresh, "SELECT * FROM sessions WHERE ended_at IS NULL")) == 1


# --- signing in --------------------------------------------------------------------------------------

BROKEN = [
    Lies(origin="https://evil.example"),
    Lies(origin="http://localhost:3000/"),
    Lies(origin="http://LOCALHOST:3000"),
    Lies(rp_id="evil.example"),
    Lies(kind="webauthn.create"),
    Lies(challenge=b"x" * 32),
    Lies(present=False),
    Lies(handle=b"x" * 64),
    Lies(credential_id=b"x" * 32),
    Lies(client={"crossOrigin": True}),
    Lies(client={"crossOrigin": "false"}),
    Lies(client={"topOrigin": "http://localhost:3000"}),
    Lies(signature=lambda given: given[:-1] + bytes([given[-1] ^ 1])),
    Lies(signature=lambda _: b"\x30\x06\x02\x01\x00\x02\x01\x00"),
    Lies(authenticator=lambda given: given + b"\x00"),
    Lies(authenticator=lambda given: given[:36]),
    Lies(authenticator=lambda given: given[:32] + bytes([given[32] | 0xC0]) + given[33:] + b"\x9f" * 3_000),
]


@pytest.mark.parametrize("lies", [*BROKEN, Lies(verified=False)], ids=range(len(BROKEN) + 1))
async def test_a_wrong_answer_alone_opens_nothing(holder: Holder, passkey: Credential, lies: Lies) -> None:
    before = await rows(holder.of, "SELECT id FROM sessions")
    with pytest.raises(Unauthenticated) as refused:
        await holder.alone(lies)
    assert (refused.value.field, refused.value.message[:12]) == ("credential", "this passkey")
    assert await rows(holder.of, "SELECT id FROM sessions") == before
    assert await rows(holder.of, "SELECT flagged_at FROM passkeys") == [(None,)]
    assert (await holder.alone()).user is not None


@pytest.mark.parametrize("lies", BROKEN, ids=range(len(BROKEN)))
async def test_a_wrong_answer_as_second_factor_counts(holder: Holder, passkey: Credential, lies: Lies) -> None:
    token = await pending(holder.of)
    with pytest.raises(Unauthenticated) as refused:
        await holder.second(lies, token)
    assert refused.value.field == "credential"
    assert await rows(holder.of, "SELECT failures FROM pending_sign_ins") == [(1,)]
    assert (await holder.second(token=token)).user is not None


async def test_as_second_factor_presence_is_enough(holder: Holder, passkey: Credential) -> None:
    assert (await holder.second(Lies(verified=False))).user is not None


async def test_the_fifth_wrong_answer_ends_the_pending_sign_in(holder: Holder, passkey: Credential) -> None:
    token = await pending(holder.of)
    for _ in range(5):
        with pytest.raises(Unauthenticated) as refused:
            await holder.second(Lies(present=False), token)
        assert refused.value.field == "credential"
    with pytest.raises(Unauthenticated) as refused:
        await holder.second(token=token)
    assert refused.value.field == "mfa_token"


async def test_an_answer_is_taken_once(holder: Holder, passkey: Credential) -> None:
    begun = await holder.passkeys.start()
    answer = holder.device.get(begun.options)
    results = await asyncio.gather(
        *(holder.passkeys.finish(credential=answer) for _ in range(5)), return_exceptions=True
    )
    opened, failed = outcomes(list(results))
    assert len(opened) == 1
    assert {type(one) for one in failed} == {Unauthenticated}
    with pytest.raises(Unauthenticated):
        await holder.passkeys.finish(credential=answer)


async def test_a_second_factor_is_taken_once(holder: Holder, passkey: Credential) -> None:
    token = await pending(holder.of)
    begun = await holder.passkeys.start(token)
    answer = holder.device.get(begun.options)
    results = await asyncio.gather(
        *(holder.passkeys.finish(mfa_token=token, credential=answer) for _ in range(5)), return_exceptions=True
    )
    opened, failed = outcomes(list(results))
    assert len(opened) == 1
    assert {type(one) for one in failed} == {Unauthenticated}


async def test_a_challenge_is_good_for_what_it_was_given_for(holder: Holder, scope: Scope) -> None:
    await holder.register(scope)
    tokens = [await pending(holder.of), await pending(holder.of)]
    for_one, alone = await holder.passkeys.start(tokens[0]), await holder.passkeys.start()
    registration = await holder.passkeys.start_registration(scope)
    foreign = {**for_one.options, "challenge": registration.options["challenge"]}
    with pytest.raises(Unauthenticated) as refused:  # of another pending sign-in of the same user
        await holder.passkeys.finish(mfa_token=tokens[1], credential=holder.device.get(for_one.options))
    assert refused.value.field == "credential"
    with pytest.raises(Unauthenticated):  # of a second factor, without the password
        await holder.passkeys.finish(credential=holder.device.get(for_one.options))
    with pytest.raises(Unauthenticated):  # of a login by passkey alone
        await holder.passkeys.finish(mfa_token=tokens[0], credential=holder.device.get(alone.options))
    with pytest.raises(Unauthenticated):  # of a registration
        await holder.passkeys.finish(credential=holder.device.get(foreign))
    with pytest.raises(Unauthenticated):  # of another ceremony
        await holder.passkeys.finish(credential=holder.device.get(alone.options), ceremony_id=for_one.id)
    assert (
        await holder.passkeys.finish(credential=holder.device.get(alone.options), ceremony_id=alone.id)
    ).user is not None


async def test_a_passkey_of_somebody_else_completes_no_sign_in(
    fresh: Instance, holder: Holder, passkey: Credential
) -> None:
    await member(fresh, "eve@example.org")
    eve = Holder(fresh, Authenticator())
    signed = await fresh.identity.sign_in.by_password(email="eve@example.org", password=PASSWORD)
    await eve.register(await fresh.scope(signed))
    token = await pending(fresh)  # of the administrator, whose password Eve knows
    begun = await eve.passkeys.start(token)
    own = eve.device.get({**begun.options, "allowCredentials": []})
    with pytest.raises(Unauthenticated):
        await eve.passkeys.finish(mfa_token=token, credential=own)
    begun = await eve.passkeys.start()
    (handle,) = {held.handle for held in holder.device.held.values()}
    with pytest.raises(Unauthenticated):
        await eve.passkeys.finish(credential=eve.device.get(begun.options, Lies(handle=handle)))


async def test_alone_the_authenticator_must_name_its_user(holder: Holder, passkey: Credential) -> None:
    begun = await holder.passkeys.start()
    answer = holder.device.get(begun.options)
    del answer["response"]["userHandle"]
    with pytest.raises(Unauthenticated):
        await holder.passkeys.finish(credential=answer)
    token = await pending(holder.of)
    answer = holder.device.get((await holder.passkeys.start(token)).options)
    answer["response"]["userHandle"] = None
    assert (await holder.passkeys.finish(mfa_token=token, credential=answer)).user is not None


@pytest.mark.parametrize("count", [0, 4, 5])
@pytest.mark.parametrize("alone", [True, False])
async def test_a_counter_that_goes_back_takes_the_passkey_out_of_service(
    holder: Holder, passkey: Credential, count: int, alone: bool
) -> None:
    await holder.second(Lies(count=5))
    sign_in = holder.alone if alone else holder.second
    with pytest.raises(Unauthenticated) as refused:
        await sign_in(Lies(count=count))
    assert refused.value.field == "credential"
    assert await rows(holder.of, "SELECT sign_count, flagged_at FROM passkeys") == [(5, holder.of.clock.now())]
    with pytest.raises(Unauthenticated):
        await holder.alone(Lies(count=9))
    assert await pending(holder.of)  # the password alone is not enough again


async def test_only_a_genuine_answer_takes_a_passkey_out_of_service(holder: Holder, passkey: Credential) -> None:
    await holder.second(Lies(count=5))
    forged = Lies(count=1, signature=lambda given: given[:-1] + bytes([given[-1] ^ 1]))
    for attempt in (holder.alone, holder.second):
        with pytest.raises(Unauthenticated):
            await attempt(forged)
    assert (await holder.alone(Lies(count=6))).user is not None


async def test_of_two_answers_that_counted_alike_one_is_taken(holder: Holder, passkey: Credential) -> None:
    begun = [await holder.passkeys.start() for _ in range(4)]
    answers = [holder.device.get(one.options, Lies(count=7)) for one in begun]
    results = await asyncio.gather(
        *(holder.passkeys.finish(credential=answer) for answer in answers), return_exceptions=True
    )
    opened, failed = outcomes(list(results))
    assert len(opened) == 1
    assert {type(one) for one in failed} == {Unauthenticated}


async def test_passkeys_that_do_not_count_are_taken(fresh: Instance, scope: Scope) -> None:
    holder = Holder(fresh, Authenticator(counts=False))
    await holder.register(scope)
    for _ in range(2):
        assert (await holder.alone()).user is not None
        assert (await holder.second()).user is not None


async def test_a_disabled_account_reads_like_an_unknown_passkey(holder: Holder, passkey: Credential) -> None:
    with pytest.raises(Unauthenticated) as unknown:
        await holder.alone(Lies(credential_id=b"x" * 32))
    token = await pending(holder.of)
    await holder.of.database.execute("UPDATE users SET disabled_at = now()")
    with pytest.raises(Unauthenticated) as disabled:
        await holder.alone()
    assert (unknown.value.message, unknown.value.field) == (disabled.value.message, disabled.value.field)
    with pytest.raises(Unauthenticated) as refused:
        await holder.second(token=token)
    assert refused.value.field == "mfa_token"


@pytest.mark.parametrize("fate", ["disabled_at", "deleted_at"])
async def test_an_account_that_goes_while_its_passkey_is_checked_opens_nothing(
    holder: Holder, passkey: Credential, fate: str
) -> None:
    passkeys, use = PostgresPasskeys(holder.of.database), PasskeyUse(passkey.id, 0, 1, backed_up=False)
    session = holder.of.identity.sessions.new(CLIENT, PASSKEY_ALONE)
    await holder.of.database.execute(f"UPDATE users SET {fate} = now()")
    assert not await passkeys.open_session(passkey.user_id, use, session)
    await holder.of.database.execute(f"UPDATE users SET {fate} = NULL")
    assert await passkeys.open_session(passkey.user_id, use, session)
    assert not await passkeys.open_session(passkey.user_id, use, session)


async def test_challenges_expire_and_are_tidied(holder: Holder, passkey: Credential) -> None:
    begun = await holder.passkeys.start()
    holder.of.clock.forward(seconds=301)
    with pytest.raises(Unauthenticated):
        await holder.passkeys.finish(credential=holder.device.get(begun.options))
    await holder.passkeys.start()
    assert len(await rows(holder.of, "SELECT * FROM webauthn_challenges")) == 1


async def test_one_user_has_few_challenges(holder: Holder, scope: Scope) -> None:
    begun = [await holder.passkeys.start_registration(scope) for _ in range(15)]
    assert len(await rows(holder.of, "SELECT * FROM webauthn_challenges")) == 10
    answer = holder.device.create(begun[-1].options)
    assert (await holder.passkeys.finish_registration(scope, name="k", credential=answer)).name == "k"


async def test_an_account_without_passkeys_is_not_offered_any(
    fresh: Instance, first: AuthResult, holder: Holder
) -> None:
    await with_app(fresh, first)
    with pytest.raises(Conflict) as refused:
        await holder.passkeys.start(await pending(fresh))
    assert refused.value.field == "mfa_token"


# --- removing ----------------------------------------------------------------------------------------


async def test_after_the_last_passkey_the_password_alone_signs_in(
    fresh: Instance, holder: Holder, scope: Scope
) -> None:
    passkey = await holder.register(scope)
    await fresh.identity.recovery.generate(scope, password=PASSWORD)
    other = await holder.alone()
    with pytest.raises(Unauthenticated) as refused:
        await holder.passkeys.delete(scope, passkey.id, password="wrong " + PASSWORD)
    assert refused.value.field == "password"
    assert await holder.passkeys.delete(scope, passkey.id.removeprefix("psk_"), password=PASSWORD) == passkey.id
    with pytest.raises(Unauthenticated):
        await fresh.scope(other)
    assert (await fresh.login()).user is not None
    assert await rows(fresh, "SELECT * FROM recovery_codes") == []
    with pytest.raises(Unauthenticated):
        await holder.alone()
    with pytest.raises(NotFound):
        await holder.passkeys.delete(scope, passkey.id, password=PASSWORD)


async def test_nobody_removes_the_passkey_of_somebody_else(
    fresh: Instance, holder: Holder, passkey: Credential
) -> None:
    await member(fresh, "eve@example.org")
    eve = await fresh.scope(await fresh.identity.sign_in.by_password(email="eve@example.org", password=PASSWORD))
    with pytest.raises(NotFound):
        await holder.passkeys.delete(eve, passkey.id, password=PASSWORD)
    with pytest.raises(NotFound):
        await holder.passkeys.delete(eve, ids.new("psk"), password=PASSWORD)
    assert (await holder.alone()).user is not None


async def test_a_removed_passkey_completes_no_sign_in_under_way(holder: Holder, scope: Scope) -> None:
    passkey = await holder.register(scope)
    await holder.register(scope, name="another")
    begun = await holder.passkeys.start()
    answer = holder.device.get(begun.options)
    await holder.passkeys.delete(scope, passkey.id, password=PASSWORD)
    with pytest.raises(Unauthenticated):
        await holder.passkeys.finish(credential=answer)


async def test_a_login_under_way_opens_no_session_past_a_first_passkey(
    fresh: Instance, holder: Holder, scope: Scope
) -> None:
    results = await asyncio.gather(holder.register(scope), *(fresh.login() for _ in range(6)), return_exceptions=True)
    _, failed = outcomes(list(results))
    assert not failed
    assert await rows(fresh, "SELECT * FROM sessions WHERE ended_at IS NULL AND aal = 1") == []


async def test_where_no_browser_could_use_passkeys_the_server_says_so(fresh: Instance, scope: Scope) -> None:
    async with instance(fresh.database, fresh.data_dir, relying_party=None) as bare:
        passkeys = bare.identity.passkeys
        for attempt in (passkeys.start(), passkeys.start_registration(scope), passkeys.finish(credential={})):
            with pytest.raises(Conflict, match=r"webauthn\.origins"):
                await attempt


async def test_a_passkey_works_at_every_listed_origin(fresh: Instance, scope: Scope, holder: Holder) -> None:
    await holder.register(scope)
    assert (await holder.alone(replace(TRUTH, origin="https://axon.localhost"))).user is not None


async def test_no_two_accounts_have_the_same_handle(holder: Holder, scope: Scope) -> None:
    other = await member(holder.of, "bo@example.org")
    repository = PostgresPasskeys(holder.of.database)
    kept = await repository.handle(scope.principal.user_id, b"h" * 64)
    with pytest.raises(asyncpg.UniqueViolationError):
        await repository.handle(other, kept)
