"""Signing in on a real database: every failure costs and says the same, and hashes are renewed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from domain import ids
from domain.errors import Unauthenticated
from tests.support.identity import EMAIL, PASSWORD, CountingHasher, Instance, instance, member


async def test_login_opens_a_session_and_notes_it(ready: Instance) -> None:
    ready.clock.forward(minutes=1)
    result = await ready.login()
    assert result.person.last_login_at == ready.clock.now()
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
            await ready.identity.sign_in.by_password(email=email, password=password)
        assert ready.hasher.computed == before + 1, name
        said.add((refused.value.message, refused.value.field))
    assert len(said) == 1
    before = ready.hasher.computed
    with pytest.raises(Unauthenticated, match="disabled"):
        await ready.identity.sign_in.by_password(email="disabled@example.org", password=PASSWORD)
    assert ready.hasher.computed == before + 1


async def test_login_takes_any_spelling_of_address_and_password(ready: Instance) -> None:
    user_id = await member(ready, "bo@example.org")
    stored = ready.hasher.hash("\u00fcber den sieben Wolken")
    await ready.database.execute("UPDATE users SET password_hash = $1 WHERE id = $2", stored, ids.to_uuid(user_id))
    signed_in = await ready.identity.sign_in.by_password(
        email="BO@example.ORG", password="u\u0308ber den sieben Wolken"
    )
    assert signed_in.person.id == user_id


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
