"""The server as a process: how it starts, what it says, how it ends, and what it survives."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

WAIT = 60.0
PASSWORD = "seven purple llamas knitting quietly"
EMAIL = "admin@example.org"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that the account of the bundled PostgreSQL may enter also when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="axonml-e2e-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def eventually(true: Callable[[], bool], what: str, seconds: float = WAIT) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


@dataclass
class Running:
    """A server process and what it printed."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def printed(self) -> str:
        return self.out.read_text()

    @property
    def logged(self) -> str:
        return self.err.read_text()

    @property
    def url(self) -> str:
        found = re.search(r"http://127\.0\.0\.1:\d+", self.printed)
        assert found, self.logged
        return found[0]

    @property
    def setup_token(self) -> str:
        found = re.search(r"/setup#(\S+)", self.printed)
        assert found, self.printed
        return found[1]

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.logged
            return "is running" in self.printed and httpx.get(f"{self.url}/health/ready").status_code == 200

        eventually(ready, "the server did not become ready")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def spawn(folder: Path, *arguments: str, name: str = "server", **environment: str) -> Running:
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AXONML_", "JWT_", "RUST_"))}
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.cli", "--port", "0", *arguments],
            stdout=stdout,
            stderr=stderr,
            env={**kept, "PYTHONUNBUFFERED": "1", **environment},
            cwd=Path(__file__).parents[2],
        )
    return Running(process, out, err)


@contextmanager
def running(folder: Path, *arguments: str, name: str = "server", **environment: str) -> Iterator[Running]:
    server = spawn(folder, *arguments, name=name, **environment)
    try:
        server.wait_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def refused(folder: Path, *arguments: str, name: str = "refused", **environment: str) -> str:
    """Starts a server that cannot start; what it said."""
    server = spawn(folder, *arguments, name=name, **environment)
    assert server.process.wait(WAIT) == 1, server.logged
    assert "Traceback" not in server.logged
    assert server.printed == ""
    return server.logged


def query(server: Running, text: str, token: str | None = None, **variables: object) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = {"query": text, "variables": variables}
    answer: dict[str, Any] = httpx.post(f"{server.url}/graphql", json=body, headers=headers, timeout=WAIT).json()
    return answer


def sign_in(server: Running) -> str:
    body = {"email": EMAIL, "password": PASSWORD}
    return str(httpx.post(f"{server.url}/api/auth/login", json=body, timeout=WAIT).json()["token"])


def admin(password: str = PASSWORD) -> dict[str, str]:
    return {"AXONML_ADMIN_EMAIL": EMAIL, "AXONML_ADMIN_PASSWORD": password}


def test_an_empty_instance_with_the_bundled_database(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(tmp_path, "--data-dir", str(data)) as server:
        assert f"GraphiQL  {server.url}/graphql" in server.printed
        assert query(server, "{ serverInfo { setupRequired } }") == {"data": {"serverInfo": {"setupRequired": True}}}
        rss = psutil.Process(server.process.pid).memory_info().rss
        assert rss < 150 * 2**20, f"{rss / 2**20:.0f} MiB"
        postgres = server.family()
        assert postgres

        second = refused(tmp_path, "--data-dir", str(data))
        assert f"another server (process {server.process.pid}) is using the data directory" in second

        made = httpx.post(
            f"{server.url}/api/auth/setup",
            json={"token": server.setup_token, "email": EMAIL, "password": PASSWORD},
            timeout=WAIT,
        )
        assert made.status_code == 201, made.text
        token = server.setup_token
        assert server.stop() == 0
        assert token not in server.logged
        assert PASSWORD not in server.logged
    assert not any(alive(process) for process in postgres), "PostgreSQL must end with the server"

    started = time.monotonic()
    with running(tmp_path, "--data-dir", str(data), name="again") as server:
        assert time.monotonic() - started < 10
        assert "setup#" not in server.printed
        assert sign_in(server)


def test_two_servers_on_one_database_migrate_once_and_share_users(tmp_path: Path, empty_database_url: str) -> None:
    shared = {"AXONML_DATABASE_URL": empty_database_url, "JWT_SECRET": "0f1e2d3c4b5a69788796a5b4c3d2e1f0fedcba98"}
    first = spawn(tmp_path, "--data-dir", str(tmp_path / "a"), name="a", **shared, **admin())
    second = spawn(tmp_path, "--data-dir", str(tmp_path / "b"), name="b", **shared, **admin())
    try:
        first.wait_ready()
        second.wait_ready()
        assert (first.logged + second.logged).count("migrated the database: 0_") == 1
        token = sign_in(first)
        assert query(second, "{ viewer { email } }", token) == {"data": {"viewer": {"email": EMAIL}}}
    finally:
        assert (first.stop(), second.stop()) == (0, 0)


def test_a_graceful_stop_ends_streams_then_requests(tmp_path: Path, database_url: str) -> None:
    with running(tmp_path, "--data-dir", str(tmp_path / "data"), AXONML_DATABASE_URL=database_url, **admin()) as server:
        token = sign_in(server)
        address = server.url.replace("http", "ws") + "/graphql"
        protocol = [Subprotocol("graphql-transport-ws")]
        with connect(address, subprotocols=protocol) as stream, connect(address, subprotocols=protocol) as idle:
            stream.send(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}))
            assert json.loads(stream.recv(WAIT)) == {"type": "connection_ack"}
            # A request whose body is still on its way when the signal comes.
            host, port = server.url.removeprefix("http://").split(":")
            body = json.dumps({"query": "{ viewer { email } }"}).encode()
            with socket.create_connection((host, int(port))) as request:
                request.sendall(
                    f"POST /graphql HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                    + body[:5]
                )
                server.process.send_signal(signal.SIGTERM)
                for opened in (stream, idle):
                    with pytest.raises(ConnectionClosed):
                        opened.recv(WAIT)
                    assert opened.close_code == 1012
                request.sendall(body[5:])
                request.settimeout(WAIT)
                answer = b""
                while chunk := request.recv(65536):
                    answer += chunk
        assert answer.startswith(b"HTTP/1.1 200")
        assert EMAIL.encode() in answer
        assert server.process.wait(WAIT) == 0


def test_a_second_signal_ends_at_once(tmp_path: Path, database_url: str) -> None:
    with running(tmp_path, "--data-dir", str(tmp_path / "data"), AXONML_DATABASE_URL=database_url) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as stuck:
            head = b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            stuck.sendall(head + b"Content-Length: 9\r\n\r\n")
            eventually(lambda: httpx.get(f"{server.url}/health").status_code == 200, "not answering")
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: '"stopping"' in server.logged, "the signal was not taken")
            assert server.stop(signal.SIGINT) == 128 + signal.SIGINT


def test_not_ready_while_stopping(tmp_path: Path, database_url: str) -> None:
    with running(tmp_path, "--data-dir", str(tmp_path / "data"), AXONML_DATABASE_URL=database_url) as server:
        address = server.url.replace("http", "ws") + "/graphql"
        with httpx.Client(base_url=server.url) as client:
            assert client.get("/health/ready").status_code == 200
            # A peer that never answers the close holds the first step of the stop open for its bounded time.
            with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]):
                server.process.send_signal(signal.SIGTERM)
                eventually(lambda: '"stopping"' in server.logged, "the signal was not taken")
                try:
                    response = client.get("/health/ready")
                except httpx.TransportError:
                    response = None  # already past the point where connections are taken
        assert response is None or response.status_code == 503
        assert server.process.wait(WAIT) == 0


def test_kill_9_loses_nothing_and_the_next_start_takes_over(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with running(tmp_path, "--data-dir", data, **admin()) as server:
        token = sign_in(server)
        created = query(
            server,
            "mutation($input: ExperimentCreateInput!) { experimentCreate(input: $input) { id name } }",
            token,
            input={"name": "kept"},
        )
        identifier = created["data"]["experimentCreate"]["id"]
        server.process.kill()
        server.process.wait(WAIT)
    with running(tmp_path, "--data-dir", data, name="next") as server:
        found = query(server, "query($id: ID!) { experiment(id: $id) { name } }", sign_in(server), id=identifier)
        assert found == {"data": {"experiment": {"name": "kept"}}}


def test_a_database_that_dies_is_restarted_meanwhile_requests_say_unavailable(tmp_path: Path) -> None:
    with running(tmp_path, "--data-dir", str(tmp_path / "data"), **admin()) as server:
        token = sign_in(server)
        postmaster = next(process for process in server.family() if "postgres" in process.name())
        postmaster.kill()
        seen: set[int] = set()

        def back() -> bool:
            response = httpx.get(f"{server.url}/health/ready", timeout=WAIT)
            seen.add(response.status_code)
            if response.status_code == 503:
                assert "retry-after" in response.headers
                assert response.json()["error"]["code"] == "UNAVAILABLE"
            return response.status_code == 200 and not psutil.pid_exists(postmaster.pid)

        eventually(back, "the database did not come back")
        assert seen <= {200, 503}
        assert query(server, "{ viewer { email } }", token) == {"data": {"viewer": {"email": EMAIL}}}
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_starts_that_cannot_work_say_why_in_one_line(tmp_path: Path, database_url: str) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = refused(tmp_path, *data, "--port", str(port), AXONML_DATABASE_URL=database_url)
        assert f"port {port} on 127.0.0.1 is in use" in text
    away = refused(tmp_path, *data, AXONML_DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in away
    assert len(away.strip().splitlines()) == 1
    assert "unknown environment variable" in refused(tmp_path, *data, AXONML_PROT="1")
    assert "at least 32 bytes" in refused(tmp_path, *data, JWT_SECRET="short")
    assert "cannot listen on" in refused(tmp_path, *data, "--host", "192.0.2.1", AXONML_DATABASE_URL=database_url)
    weak = refused(tmp_path, *data, AXONML_DATABASE_URL=database_url, **admin("short"))
    assert "auth.admin_password: expected at least" in weak
    assert "short" not in weak.replace("too short", "")
    (tmp_path / "file").write_text("")
    assert "is not a directory" in refused(tmp_path, "--data-dir", str(tmp_path / "file"))


def test_a_number_of_workers_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for number in ("0", "17"):
        server = spawn(tmp_path, "--data-dir", str(tmp_path / "data"), "--workers", number)
        assert server.process.wait(WAIT) == 1
        assert "server.workers: " in server.logged


def test_a_signal_during_the_start_stops_it(tmp_path: Path) -> None:
    server = spawn(tmp_path, "--data-dir", str(tmp_path / "data"))
    try:
        eventually((tmp_path / "data" / "postgres").exists, "the start did not begin")
        assert server.stop() == 0
        assert "Traceback" not in server.logged
    finally:
        if server.process.poll() is None:
            server.process.kill()


def test_the_settings_command_prints_the_documentation() -> None:
    command = [sys.executable, "-m", "server.cli", "settings", "--markdown"]
    output = subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parents[2]).stdout
    assert output.decode() == (Path(__file__).parents[2] / "docs" / "settings.md").read_text()


def test_the_web_process_never_imports_torch() -> None:
    code = "import sys, server.process, server.compose, server.app, schema.build; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
