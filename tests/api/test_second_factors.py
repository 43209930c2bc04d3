"""The part of the graph about second factors and sessions, executed against a real database without HTTP."""

from __future__ import annotations

from typing import Any

import pyotp
import pytest

from domain import ids
from domain.identity import AuthResult
from tests.api.test_identity import LOGIN, Graph, Jar, Refused, empty, graph
from tests.support.identity import EMAIL, PASSWORD, member

__all__ = ["empty", "graph"]  # fixtures

SETUP = "mutation { mfaTotpSetup { secret url qrCode } }"
ENABLE = "mutation ($input: TotpCodeInput!) { mfaTotpEnable(input: $input) { recoveryCodes } }"
PAYLOAD = "{ token refreshToken requiresMfa mfaToken user { email mfaEnabled } }"
PENDING = f"mutation ($input: AuthLoginInput!) {{ authLogin(input: $input) {PAYLOAD} }}"
VERIFY = f"mutation ($input: MfaCodeInput!) {{ mfaTotpVerify(input: $input) {PAYLOAD} }}"
RECOVER = f"mutation ($input: MfaCodeInput!) {{ recoveryCodeUse(input: $input) {PAYLOAD} }}"
DISABLE = "mutation ($input: PasswordInput!) { mfaTotpDisable(input: $input) { id mfaEnabled } }"
GENERATE = "mutation ($input: PasswordInput!) { recoveryCodesGenerate(input: $input) { recoveryCodes } }"
CHANGE = "mutation ($input: PasswordChangeInput!) { passwordChange(input: $input) { email } }"
REVOKE = "mutation ($id: ID!) { sessionRevoke(input: {id: $id}) { id } }"
MINE = """{ viewer { sessions { id createdAt lastSeenAt expiresAt userAgent address current }
    credentials { id kind name createdAt lastUsedAt remaining } } }"""


def code(graph: Graph, secret: str, offset: int = 0) -> str:
    return pyotp.TOTP(secret).at(graph.instance.clock.now(), counter_offset=offset)


async def signed_in(graph: Graph) -> AuthResult:
    return await graph.instance.login()


async def enabled(graph: Graph) -> tuple[str, list[str]]:
    """The secret of an app that was enabled, and the recovery codes."""
    secret = (await graph.ask(SETUP))["mfaTotpSetup"]["secret"]
    answer = await graph.ask(ENABLE, input={"code": code(graph, secret)})
    codes: list[str] = answer["mfaTotpEnable"]["recoveryCodes"]
    return secret, codes


async def pending(graph: Graph, cookies: Jar | None = None) -> str:
    given = {"email": EMAIL, "password": PASSWORD} | ({"session": "COOKIE"} if cookies else {})
    answer = (await graph.ask(PENDING, cookies=cookies, input=given))["authLogin"]
    token: str = answer.pop("mfaToken")
    assert answer == {"token": None, "refreshToken": None, "requiresMfa": True, "user": None}
    return token


async def test_from_setup_to_signing_in_with_a_code_and_off_again(graph: Graph) -> None:
    secret, codes = await enabled(graph)
    assert len(codes) == 10
    given = {"mfaToken": await pending(graph), "code": code(graph, secret, 1)}
    answer = (await graph.ask(VERIFY, input=given))["mfaTotpVerify"]
    assert answer["token"]
    assert answer["refreshToken"].startswith("axr_")
    assert answer.items() >= {"requiresMfa": False, "mfaToken": None}.items()
    assert answer["user"] == {"email": EMAIL, "mfaEnabled": True}
    with pytest.raises(Refused) as refused:
        await graph.ask(VERIFY, input=given)
    assert (refused.value.code, refused.value.field) == ("UNAUTHENTICATED", "mfa_token")
    off = (await graph.ask(DISABLE, input={"password": PASSWORD}))["mfaTotpDisable"]
    assert off["mfaEnabled"] is False
    assert (await graph.ask(LOGIN, input={"email": EMAIL, "password": PASSWORD}))["authLogin"]["token"]


async def test_a_second_step_with_cookies_keeps_them_and_no_token(graph: Graph) -> None:
    _, codes = await enabled(graph)
    jar = Jar()
    given = {"mfaToken": await pending(graph, jar), "code": codes[0], "session": "COOKIE"}
    assert jar.kept == []
    answer = (await graph.ask(RECOVER, cookies=jar, input=given))["recoveryCodeUse"]
    assert (answer["token"], answer["refreshToken"], len(jar.kept)) == (None, None, 1)
    token = await pending(graph)
    with pytest.raises(Refused) as refused:  # as on a WebSocket
        await graph.ask(RECOVER, input=given | {"mfaToken": token, "code": codes[1]})
    assert (refused.value.code, refused.value.field) == ("BAD_USER_INPUT", "session")
    used = await graph.ask(RECOVER, input={"mfaToken": token, "code": codes[1]})  # neither was used up by that
    assert used["recoveryCodeUse"]["token"]


async def test_recovery_codes_are_made_anew_with_the_password(graph: Graph) -> None:
    with pytest.raises(Refused) as refused:
        await graph.ask(GENERATE, input={"password": PASSWORD})
    assert refused.value.code == "CONFLICT"
    await enabled(graph)
    with pytest.raises(Refused) as refused:
        await graph.ask(GENERATE, input={"password": "wrong"})
    assert (refused.value.code, refused.value.field) == ("UNAUTHENTICATED", "password")
    codes = (await graph.ask(GENERATE, input={"password": PASSWORD}))["recoveryCodesGenerate"]["recoveryCodes"]
    used = await graph.ask(RECOVER, input={"mfaToken": await pending(graph), "code": codes[4]})
    assert used["recoveryCodeUse"]["user"]["email"] == EMAIL


async def test_the_password_is_changed(graph: Graph) -> None:
    new = "seven copper kettles on the roof"
    assert await graph.ask(CHANGE, input={"current": PASSWORD, "new": new}) == {"passwordChange": {"email": EMAIL}}
    for wrong, name in (({"current": PASSWORD, "new": new}, "current"), ({"current": new, "new": "short"}, "new")):
        with pytest.raises(Refused) as refused:
            await graph.ask(CHANGE, input=wrong)
        assert refused.value.field == name
    assert (await graph.ask(LOGIN, input={"email": EMAIL, "password": new}))["authLogin"]["token"]


async def test_sessions_are_listed_and_ended(graph: Graph) -> None:
    graph.instance.clock.forward(minutes=1)
    other = await graph.instance.scope(await signed_in(graph))
    listed: list[dict[str, Any]] = (await graph.ask(MINE))["viewer"]["sessions"]
    assert [one["current"] for one in listed] == [False, True]
    assert listed[0].items() >= {"id": other.principal.session_id, "userAgent": "test", "address": "127.0.0.1"}.items()
    for _ in range(2):  # again changes nothing
        assert await graph.ask(REVOKE, id=listed[0]["id"]) == {"sessionRevoke": {"id": listed[0]["id"]}}
    assert [one["current"] for one in (await graph.ask(MINE))["viewer"]["sessions"]] == [True]
    assert graph.instance.closings.sessions[:1] == [listed[0]["id"]]
    for wrong, expected in (("x", "BAD_USER_INPUT"), (ids.new("run"), "BAD_USER_INPUT"), (ids.new("ses"), "NOT_FOUND")):
        with pytest.raises(Refused) as refused:
            await graph.ask(REVOKE, id=wrong)
        assert (refused.value.code, refused.value.field) == (expected, "id")


async def test_a_user_ends_no_foreign_session_and_an_administrator_does(graph: Graph) -> None:
    assert graph.scope is not None
    await member(graph.instance, "bo@example.org")
    result = await graph.instance.identity.sign_in.by_password(email="bo@example.org", password=PASSWORD)
    bo = await graph.instance.scope(result)
    with pytest.raises(Refused) as refused:
        await graph.ask(REVOKE, bo, id=graph.scope.principal.session_id)
    assert refused.value.code == "NOT_FOUND"
    assert await graph.ask(MINE)
    seen = (
        "query ($id: ID!) { node(id: $id) { ... on User { email sessions { id } credentials { id } apiKeys { id } } } }"
    )
    foreign = (await graph.ask(seen, bo, id=graph.scope.principal.user_id))["node"]
    assert foreign == {"email": EMAIL, "sessions": None, "credentials": None, "apiKeys": None}
    shown = (await graph.ask(seen, id=bo.principal.user_id))["node"]
    assert shown["sessions"] == [{"id": bo.principal.session_id}]
    assert shown["credentials"] == []
    await graph.ask(REVOKE, id=bo.principal.session_id)
    assert (await graph.ask(seen, id=bo.principal.user_id))["node"]["sessions"] == []


async def test_every_session_ends_at_once(graph: Graph) -> None:
    await signed_in(graph)
    jar = Jar("axr_x")
    answer = await graph.ask("mutation { authLogoutAll { ended } }", cookies=jar)
    assert (answer, jar.cleared) == ({"authLogoutAll": {"ended": True}}, 1)
    assert len(graph.instance.closings.sessions) == 2
    with pytest.raises(Refused) as refused:
        await graph.ask("mutation { authLogoutAll { ended } }")
    assert refused.value.code == "UNAUTHENTICATED"


async def test_credentials_are_listed(graph: Graph) -> None:
    assert (await graph.ask(MINE))["viewer"]["credentials"] == []
    await graph.ask(SETUP)  # not before it is enabled
    assert (await graph.ask(MINE))["viewer"]["credentials"] == []
    _, codes = await enabled(graph)
    await graph.ask(RECOVER, input={"mfaToken": await pending(graph), "code": codes[0]})
    listed = {one["kind"]: one for one in (await graph.ask(MINE))["viewer"]["credentials"]}
    assert listed.keys() == {"TOTP", "RECOVERY"}
    assert listed["RECOVERY"].items() >= {"name": "Recovery codes", "remaining": 9}.items()
    assert listed["TOTP"].items() >= {"name": "Authenticator app", "remaining": None, "lastUsedAt": None}.items()


async def test_without_a_session_only_the_second_step_is_tried(empty: Graph) -> None:
    for text, given in (
        (SETUP, None),
        (ENABLE, {"code": "123456"}),
        (DISABLE, {"password": "x"}),
        (GENERATE, {"password": "x"}),
        (CHANGE, {"current": "x", "new": "y"}),
        ("mutation { authLogoutAll { ended } }", None),
        (VERIFY, {"mfaToken": "axm_x", "code": "123456"}),
        (RECOVER, {"mfaToken": "axm_x", "code": "123456"}),
    ):
        with pytest.raises(Refused) as refused:
            await empty.ask(text, input=given)
        assert refused.value.code == "UNAUTHENTICATED"
