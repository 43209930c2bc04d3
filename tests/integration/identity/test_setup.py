"""The first administrator on a real database: made once, whoever asks at the same time."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from domain.access import UserRole
from domain.errors import BadUserInput, Conflict, Unauthenticated
from persistence.database import Database
from server.security.secrets import RootSecretError
from server.settings import AuthSettings
from tests.support.identity import EMAIL, PASSWORD, Instance, instance, outcomes
from tests.support.tracking import SetClock


async def test_setup_makes_the_administrator_and_signs_in(fresh: Instance) -> None:
    assert await fresh.identity.founder.required()
    token = await fresh.identity.founder.ensure()
    assert token is not None
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    assert (fresh.data_dir / "setup-token").read_text().strip() == token
    assert token.encode() not in await fresh.database.fetchval("SELECT setup_token_hash FROM instance")
    result = await fresh.identity.founder.found(token=token, email="Ada@Example.org", password=PASSWORD)
    assert (result.person.email, result.person.name, result.person.role) == (EMAIL, "ada", UserRole.ADMIN)
    scope = await fresh.scope(result)
    assert await fresh.identity.workspace_slug(scope) == "default"
    assert await fresh.database.fetchval("SELECT role FROM memberships") == "owner"
    assert not await fresh.identity.founder.required()
    assert not (fresh.data_dir / "setup-token").exists()


async def test_a_restart_shows_the_same_setup_token(fresh: Instance) -> None:
    token = await fresh.identity.founder.ensure()
    assert await fresh.identity.founder.ensure() == token
    (fresh.data_dir / "setup-token").unlink()
    other = await fresh.identity.founder.ensure()
    assert other not in (None, token)
    with pytest.raises(Unauthenticated, match="printed last") as refused:
        await fresh.identity.founder.found(token=token or "", email=EMAIL, password=PASSWORD)
    assert refused.value.field == "token"


@pytest.mark.parametrize("token", ["", "x", "\x00", "\ud800", "ä" * 100, "a" * 100_000])
async def test_a_wrong_setup_token_costs_no_hash_and_changes_nothing(fresh: Instance, token: str) -> None:
    await fresh.identity.founder.ensure()
    with pytest.raises(Unauthenticated):
        await fresh.identity.founder.found(token=token, email=EMAIL, password=PASSWORD)
    assert fresh.hasher.computed == 0
    assert await fresh.database.fetchval("SELECT count(*) FROM users") == 0


async def test_setup_before_any_token_was_offered_is_refused(fresh: Instance) -> None:
    with pytest.raises(Unauthenticated):
        await fresh.identity.founder.found(token="", email=EMAIL, password=PASSWORD)


async def test_a_refused_setup_can_be_corrected(fresh: Instance) -> None:
    token = await fresh.identity.founder.ensure() or ""
    for email, password, field in (("ada", PASSWORD, "email"), (EMAIL, "short", "password")):
        with pytest.raises(BadUserInput) as refused:
            await fresh.identity.founder.found(token=token, email=email, password=password)
        assert refused.value.field == field
    assert (await fresh.identity.founder.found(token=token, email=EMAIL, password=PASSWORD)).person.email == EMAIL


async def test_of_concurrent_setups_one_wins(fresh: Instance) -> None:
    token = await fresh.identity.founder.ensure() or ""
    attempts = [
        fresh.identity.founder.found(token=token, email=f"user{number}@example.org", password=PASSWORD)
        for number in range(8)
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
            await ready.identity.founder.found(token=token, email=EMAIL, password=PASSWORD)
    async with instance(ready.database, tmp_path) as restarted:
        assert await restarted.identity.founder.ensure() is None
        assert await restarted.identity.founder.ensure(email=EMAIL, password=PASSWORD) is None
        assert not await restarted.identity.founder.required()
    assert await ready.database.fetchval("SELECT count(*) FROM users") == 0


async def test_headless_setup(fresh: Instance) -> None:
    assert await fresh.identity.founder.ensure() is not None
    with pytest.raises(BadUserInput) as refused:
        await fresh.identity.founder.ensure(email=EMAIL, password="passwordpassword")
    assert refused.value.field == "admin_password"
    assert await fresh.identity.founder.ensure(email=EMAIL, password=PASSWORD) is None
    assert not (fresh.data_dir / "setup-token").exists()
    assert (await fresh.login()).person.role is UserRole.ADMIN
    assert await fresh.database.fetchval("SELECT count(*) FROM sessions") == 1
    await fresh.identity.founder.ensure(email="other@example.org", password=PASSWORD)  # no longer empty: ignored
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
    await asyncio.gather(*(each.identity.founder.ensure(email=EMAIL, password=PASSWORD) for each in (one, two)))
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
