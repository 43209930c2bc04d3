"""Other signing keys and another root secret: nobody is signed out, nothing half done, nothing under the old root."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import jwt
import pyotp
import pytest
from typer.testing import CliRunner

from domain.audit import AuditFilter
from domain.errors import Conflict
from persistence.audit import PostgresAudit
from persistence.database import Database, PoolSettings
from server.cli import app
from server.security import tokens
from server.security.rotation import NEXT, rotate_root_secret, rotate_root_setting, rotate_signing_key
from server.security.secrets import FILE_NAME, RootSecretError, Vault, open_vault
from tests.support.factors import with_app
from tests.support.identity import Instance, instance
from tests.support.tracking import SetClock

OLD, NEW = "o" * 40, "n" * 40


@asynccontextmanager
async def command(url: str) -> AsyncIterator[Database]:
    """The pool of a command."""
    async with Database(url, PoolSettings(name="command")) as database:
        yield database


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def rows_told(database: Database) -> list[tuple[str, str]]:
    log = PostgresAudit(database)
    await log.seal(100)
    return [(row.action, row.outcome) for row in await log.after(0, 100, AuditFilter(), 100)]


# --- signing keys ------------------------------------------------------------------------------------------


async def test_a_new_key_signs_and_the_old_one_is_good_until_its_tokens_end(ready: Instance) -> None:
    vault = open_vault(None, ready.data_dir)
    before = await ready.login()
    kid = await rotate_signing_key(ready.database, vault)
    issuer = ready.identity._authentication._tokens
    issuer._loaded_at -= 60  # type: ignore[attr-defined]
    await issuer._reload()  # type: ignore[attr-defined]
    after = await ready.login()
    assert kid_of(before.tokens.access) != kid_of(after.tokens.access) == kid
    assert (await ready.scope(before)).principal == (await ready.scope(before)).principal
    assert await rows_told(ready.database) == [("keysRotate", "ok")]
    claims = await issuer.verify(before.tokens.access, ready.clock.now())
    assert claims is not None
    retired = await ready.database.fetchval("SELECT retired_at FROM signing_keys WHERE retired_at IS NOT NULL")
    assert not issuer._verifies(kid_of(before.tokens.access), retired + tokens.RETIRED_ACCEPTED)  # type: ignore[attr-defined]


async def test_keys_that_are_good_for_nothing_any_more_are_forgotten(ready: Instance) -> None:
    vault = open_vault(None, ready.data_dir)
    first = kid_of((await ready.login()).tokens.access)
    second = await rotate_signing_key(ready.database, vault)
    await ready.database.execute(
        "UPDATE signing_keys SET retired_at = retired_at - $1::interval WHERE kid = $2",
        tokens.RETIRED_ACCEPTED + timedelta(seconds=1),
        first,
    )
    third = await rotate_signing_key(ready.database, vault)
    kept = {row["kid"]: row["retired_at"] is None for row in await ready.database.fetch("SELECT * FROM signing_keys")}
    assert kept == {second: False, third: True}


async def test_keys_made_at_once_leave_one_that_signs(ready: Instance) -> None:
    vault = open_vault(None, ready.data_dir)
    made = await asyncio.gather(*(rotate_signing_key(ready.database, vault) for _ in range(4)))
    (living,) = await ready.database.fetch("SELECT kid FROM signing_keys WHERE retired_at IS NULL")
    assert living["kid"] in made


async def test_under_another_root_no_key_is_made(ready: Instance) -> None:
    with pytest.raises(RootSecretError, match="another root secret"):
        await rotate_signing_key(ready.database, Vault(b"x" * 40))
    assert await ready.database.fetchval("SELECT count(*) FROM signing_keys") == 1


# --- the root secret -----------------------------------------------------------------------------------------


class Before:
    """What somebody holds who was signed in before a rotation: tokens, an app."""

    access: str
    refresh: str
    app: str
    clock: SetClock


async def used(url: str, data: Path) -> Before:
    """An instance whose administrator has an app, and is signed in; its server is stopped."""
    held = Before()
    held.clock = SetClock()
    async with Database(url) as database, instance(database, data, clock=held.clock) as opened:
        first = await opened.set_up()
        app_of = await with_app(opened, first)
        result = await app_of.sign_in()
        held.access, held.refresh, held.app = result.tokens.access, result.tokens.refresh, app_of.secret
    return held


async def works(url: str, data: Path, held: Before) -> None:
    """Whether nothing was lost: the token, its renewal, and a sign-in with the app."""
    held.clock.forward(seconds=90)
    async with Database(url) as database, instance(database, data, clock=held.clock) as opened:
        scope = await opened.identity.authenticate(authorization=f"Bearer {held.access}")
        assert scope.principal.session_id is not None
        renewed = await opened.identity.sessions.refresh(held.refresh)
        assert renewed.tokens.access
        held.refresh = renewed.tokens.refresh
        pending = (await opened.login()).mfa_token
        assert pending is not None
        code = pyotp.TOTP(held.app).at(opened.clock.now())
        assert (await opened.identity.totp.verify(mfa_token=pending, code=code)).tokens.access


async def test_under_a_new_root_everything_goes_on(database_url: str, tmp_path: Path) -> None:
    held = await used(database_url, tmp_path)
    old = (tmp_path / FILE_NAME).read_text()
    async with command(database_url) as database:
        assert await rotate_root_secret(database, tmp_path) == tmp_path / FILE_NAME
        assert ("secretsRotate", "ok") in await rows_told(database)
    new = tmp_path / FILE_NAME
    assert new.read_text() != old
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir() if "secret" in path.name} == {FILE_NAME}
    await works(database_url, tmp_path, held)
    new.write_text(old)
    with pytest.raises(RootSecretError, match="another root secret"):
        await works(database_url, tmp_path, held)


SEALED = {("signing_keys", "private_encrypted"), ("sessions", "refresh_key"), ("totp_factors", "secret_sealed")}
# Digests, public keys and identifiers.
PLAIN = {
    ("instance", "setup_token_hash"),
    ("users", "webauthn_handle"),
    ("api_keys", "secret_hash"),
    ("signing_keys", "public_raw"),
    ("passkeys", "credential_id"),
    ("passkeys", "public_key"),
    ("audit_events", "hash"),
    ("client_tokens", "digest"),
}


async def test_nothing_sealed_is_left_under_the_old_root(database_url: str, tmp_path: Path) -> None:
    await used(database_url, tmp_path)
    async with command(database_url) as database:
        columns = await database.fetch(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND udt_name = 'bytea' AND table_name !~ '^(metric|log)_'"
        )
        assert {(row["table_name"], row["column_name"]) for row in columns} == SEALED | PLAIN

        async def values(table: str, column: str) -> set[bytes]:
            return {bytes(row[0]) for row in await database.fetch(f"SELECT {column} FROM {table}")}

        before = {place: await values(*place) for place in SEALED}
        await rotate_root_secret(database, tmp_path)
        after = {place: await values(*place) for place in SEALED}
    for place, sealed in before.items():
        assert sealed, place
        assert not sealed & after[place]
        assert len(sealed) == len(after[place])


async def test_a_root_given_by_a_setting_is_changed_where_it_is_set(database_url: str, tmp_path: Path) -> None:
    await used(database_url, tmp_path)
    first = (tmp_path / FILE_NAME).read_text().strip()
    async with command(database_url) as database:
        with pytest.raises(RootSecretError, match="another root secret"):
            await rotate_root_setting(database, OLD, NEW)
        with pytest.raises(RootSecretError, match="at least 32"):
            await rotate_root_setting(database, first, "short")
        with pytest.raises(RootSecretError, match="present one"):
            await rotate_root_setting(database, first, first)
        await rotate_root_setting(database, first, NEW)
        assert await database.fetchval("SELECT root_fingerprint FROM instance") == Vault(NEW.encode()).fingerprint()


async def test_while_a_server_runs_nothing_happens(database_url: str, tmp_path: Path) -> None:
    held = await used(database_url, tmp_path)
    async with Database(database_url) as database, instance(database, tmp_path):
        await asyncio.gather(*(database.fetchval("SELECT pg_sleep(0.05)") for _ in range(3)))
        with patch("server.security.rotation.PATIENCE", 0.0), pytest.raises(Conflict, match="stop every server"):
            await rotate_root_secret(database, tmp_path)
    await works(database_url, tmp_path, held)
    assert not (tmp_path / NEXT).exists()


@pytest.mark.parametrize("at", ["before", "after"])
async def test_cut_off_it_is_undone_or_finished_by_the_next_start(database_url: str, tmp_path: Path, at: str) -> None:
    held = await used(database_url, tmp_path)
    old = (tmp_path / FILE_NAME).read_text()
    place = {"before": "server.security.rotation._reseal", "after": "server.security.rotation._replace"}[at]
    async with command(database_url) as database:
        with patch(place, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            await rotate_root_secret(database, tmp_path)
    assert (tmp_path / NEXT).exists()
    assert (tmp_path / FILE_NAME).read_text() == old
    await works(database_url, tmp_path, held)
    assert not (tmp_path / NEXT).exists()
    assert ((tmp_path / FILE_NAME).read_text() == old) is (at == "before")


async def test_cut_off_in_the_middle_of_the_rows_nothing_has_changed(database_url: str, tmp_path: Path) -> None:
    held = await used(database_url, tmp_path)
    async with command(database_url) as database:
        with patch("server.security.totp.place_of", side_effect=LookupError), pytest.raises(LookupError):
            await rotate_root_secret(database, tmp_path)
    await works(database_url, tmp_path, held)


# --- from the command line -----------------------------------------------------------------------------------


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*words])
    return result.exit_code, result.stdout, result.stderr


def test_the_commands(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXONML_DATABASE_URL", database_url)
    monkeypatch.setenv("AXONML_DATA_DIR", str(tmp_path))
    held = asyncio.run(used(database_url, tmp_path))
    code, out, _ = run("keys", "rotate")
    assert (code, out.startswith("access tokens are signed with ")) == (0, True)
    code, out, _ = run("secrets", "rotate")
    assert (code, out.startswith(f"done: {tmp_path / FILE_NAME}")) == (0, True)
    asyncio.run(works(database_url, tmp_path, held))
    new = tmp_path / "new"
    new.write_text("0123456789" * 4)
    assert run("secrets", "rotate", "--new", str(new))[0] == 1
    monkeypatch.setenv("JWT_SECRET", (tmp_path / FILE_NAME).read_text().strip())
    code, _, err = run("secrets", "rotate")
    assert (code, "--new" in err) == (1, True)
    for unfit in ("short", "n" * 40):
        (tmp_path / "unfit").write_text(unfit)
        assert run("secrets", "rotate", "--new", str(tmp_path / "unfit"))[0] == 1
    assert run("secrets", "rotate", "--new", str(new))[0] == 0
    monkeypatch.setenv("JWT_SECRET", new.read_text())
    assert run("keys", "rotate")[0] == 0


def test_the_command_checks_the_chain(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXONML_DATABASE_URL", database_url)
    monkeypatch.setenv("AXONML_DATA_DIR", str(tmp_path))

    async def prepare(*statements: str) -> None:
        async with command(database_url) as database:
            for statement in statements:
                await database.execute(statement)
            await PostgresAudit(database).seal(100)

    asyncio.run(used(database_url, tmp_path))
    for _ in range(3):
        assert run("keys", "rotate")[0] == 0
    asyncio.run(prepare())
    code, out, _ = run("audit", "verify")
    assert (code, out.splitlines()[0]) == (0, "3 rows, each as it was written. The end of the chain:")
    head = out.splitlines()[1]
    assert run("audit", "verify", "--known", head)[0] == 0
    assert run("audit", "verify", "--known", head.replace("3:", "4:"))[0] == 1
    assert run("audit", "verify", "--known", "x")[0] == 2
    asyncio.run(
        prepare(
            "ALTER TABLE audit_events DISABLE TRIGGER USER",
            "UPDATE audit_events SET action = 'nothing' WHERE seq = 2",
        )
    )
    code, _, err = run("audit", "verify")
    assert (code, "the audit log is broken: row 2 (aud_" in err) == (1, True)
    monkeypatch.setenv("AXONML_DATA_DIR", str(tmp_path / "nowhere"))
    code, _, err = run("audit", "verify")
    assert (code, "there is no data directory" in err) == (1, True)
