"""Who sees whom on a real database, and that secrets are seen by nobody."""

from __future__ import annotations

import pytest

from domain import ids
from domain.access import Principal, Scope, UserRole
from domain.errors import BadUserInput, DomainError, NotFound
from domain.identity import AuthResult
from tests.support.access import EDITOR
from tests.support.identity import EMAIL, PASSWORD, Instance, member
from tests.support.tracking import SetClock, Tracking


async def test_a_workspace_knows_its_members_and_the_authors_of_its_rows(ready: Instance) -> None:
    admin = await ready.scope(await ready.login())
    colleague = await member(ready, "bo@example.org")
    stranger = await member(ready, "eve@example.org", "other")
    author = await member(ready, "former@example.org")
    tracking = Tracking(ready.database)
    scope = Scope(admin.workspace_id, Principal(author, "former@example.org", UserRole.USER, ids.new("ses")), EDITOR)
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
    key = await ready.identity.keys.create(await ready.scope(result), name="ci", scopes=["runs:write"])
    secrets = [PASSWORD, result.tokens.access, result.tokens.refresh, key.secret, key.secret[12:44]]
    tables = await ready.database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for table in tables:
        rows = await ready.database.fetch(f'SELECT * FROM "{table["tablename"]}"')
        text = repr([dict(row) for row in rows])
        assert not any(secret in text for secret in secrets), table["tablename"]
    sealed = await ready.database.fetchval("SELECT private_encrypted FROM signing_keys")
    access = ready.identity.sessions._access_tokens
    assert all(private.private_bytes_raw() not in sealed for private in access._private.values())  # type: ignore[attr-defined]


async def test_every_refusal_is_a_domain_error_whatever_is_presented(ready: Instance) -> None:
    strange = ["", "\x00", "\ud800", "ä", "'; DROP TABLE users; --", "a" * 5_000, "\u202e", "%s", "{}", "null"]
    for text in strange:
        for attempt in (
            ready.identity.sign_in.by_password(email=text, password=text),
            ready.identity.sessions.refresh(text),
            ready.identity.founder.found(token=text, email=text, password=text),
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
