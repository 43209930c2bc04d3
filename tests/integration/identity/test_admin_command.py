"""`axonml-server admin` on a real database: what it changes acts, and what it refuses it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner, Result

from domain.access import UserRole
from domain.errors import Unauthenticated
from persistence.database import Database
from server.cli import app
from tests.support.factors import with_app
from tests.support.identity import EMAIL, PASSWORD, CountingHasher, Instance, instance
from tests.support.tracking import SetClock

BO = "bo@example.org"
NEW = "seven copper kettles on the roof"
Opening = Callable[[], AbstractAsyncContextManager[Instance]]
Command = Callable[..., Result]


@pytest.fixture
def opened(database_url: str, tmp_path: Path) -> Opening:
    """A server's identity, between commands: a process has one pool."""
    clock = SetClock(datetime.now(UTC))
    (tmp_path / "data").mkdir()

    @asynccontextmanager
    async def open_it() -> AsyncIterator[Instance]:
        async with Database(database_url) as database, instance(database, tmp_path / "data", clock=clock) as one:
            yield one

    return open_it


@pytest.fixture
def command(database_url: str, tmp_path: Path) -> Iterator[Command]:
    """Runs a command on that server's database and data directory."""

    def run(*arguments: str, password: str | None = None, data: str = "data") -> Result:
        return CliRunner().invoke(
            app,
            ["admin", *arguments, "--data-dir", str(tmp_path / data)],
            input=password,
            env={"AXONML_DATABASE_URL": database_url},
        )

    with patch("server.security.passwords.PasswordHasher", CountingHasher):
        yield run


async def set_up(opened: Opening) -> None:
    async with opened() as one:
        await one.set_up()


def test_a_server_without_users_is_set_up(opened: Opening, command: Command) -> None:
    asyncio.run(_nothing(opened))
    assert command("create", EMAIL, password=PASSWORD).exit_code == 0

    async def check() -> None:
        async with opened() as one:
            assert not await one.identity.founder.required()
            result = await one.login()
            assert result.person.role is UserRole.ADMIN
            assert (await one.scope(result)).access.role.value == "owner"

    asyncio.run(check())


async def _nothing(opened: Opening) -> None:
    async with opened():
        pass


def test_a_new_administrator_signs_in_and_what_is_wrong_is_said(opened: Opening, command: Command) -> None:
    asyncio.run(set_up(opened))
    made = command("create", "Bo@example.org", "--name", "Bo", password=f"{NEW}\n")
    assert (made.exit_code, made.output) == (0, f"{BO} is an administrator now\n")
    for arguments, password, said in (
        (("create", BO), NEW, "email: this address has an account already"),
        (("create", "cy@example.org"), "short", "password: expected at least 15 characters"),
        (("create", "nobody"), NEW, "expected an address"),
        (("create", "cy@example.org"), "", "no password"),
        (("unlock", "cy@example.org"), None, "there is no account with the address cy@example.org"),
    ):
        refused = command(*arguments, password=password)
        assert refused.exit_code == 1
        assert said in refused.output

    async def check() -> None:
        async with opened() as one:
            result = await one.identity.sign_in.by_password(email=BO, password=NEW)
            assert (result.person.role, result.person.must_change_password) == (UserRole.ADMIN, False)
            rows = await one.database.fetch("SELECT action, outcome, request_id FROM audit_events")
            assert [tuple(row) for row in rows] == [("adminCreate", "ok", "command line")]

    asyncio.run(check())


def test_a_lost_password_and_lost_factors_are_replaced(opened: Opening, command: Command) -> None:
    async def lose() -> None:
        async with opened() as one:
            await with_app(one, await one.set_up())

    async def check(requires_mfa: bool) -> None:
        async with opened() as one:
            assert await one.database.fetchval("SELECT count(*) FROM sessions WHERE ended_at IS NULL") == 0
            result = await one.identity.sign_in.by_password(email=EMAIL, password=NEW)
            assert result.requires_mfa is requires_mfa
            if not requires_mfa:
                assert (await one.scope(result)).principal.must_change_password

    asyncio.run(lose())
    assert command("reset-password", EMAIL, password=NEW).exit_code == 0
    asyncio.run(check(requires_mfa=True))
    assert command("reset-password", EMAIL, "--drop-factors", password=NEW).exit_code == 0
    asyncio.run(check(requires_mfa=False))


def test_an_account_is_unlocked(opened: Opening, command: Command) -> None:
    async def lock() -> None:
        async with opened() as one:
            await one.set_up()
            for _ in range(10):
                with pytest.raises(Unauthenticated):
                    await one.identity.sign_in.by_password(email=EMAIL, password="wrong")  # wrong
            await one.database.execute("UPDATE users SET disabled_at = now()")

    async def check() -> None:
        async with opened() as one:
            assert (await one.login()).person.email == EMAIL

    asyncio.run(lock())
    assert command("unlock", EMAIL).exit_code == 0
    asyncio.run(check())


def test_sessions_are_listed_and_ended(opened: Opening, command: Command) -> None:
    asyncio.run(set_up(opened))
    listed = command("sessions", EMAIL)
    (line,) = listed.output.splitlines()
    assert line.startswith("ses_")
    assert line.count("\t") == 4
    assert command("sessions", EMAIL, "--end").exit_code == 0
    assert command("sessions", EMAIL).output == ""


def test_another_data_directory_is_refused(opened: Opening, command: Command, tmp_path: Path) -> None:
    asyncio.run(set_up(opened))
    (tmp_path / "other").mkdir()
    refused = command("unlock", EMAIL, data="other")
    assert refused.exit_code == 1
    assert "holds no root secret" in refused.output
    assert not (tmp_path / "other" / "secret").exists()
