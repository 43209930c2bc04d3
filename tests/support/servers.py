"""Real `axonml-server` processes for tests: started on a free port, watched, killed by pid, and always cleaned up.

Everything here waits on conditions. A server that a test killed leaves its bundled PostgreSQL behind on purpose; it
is ended with the folder.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from gql import Client
from gql.transport.websockets import WebsocketsTransport

from persistence.postgres.cluster import Layout, postmaster
from persistence.postgres.process import ServerProcess
from tests.support.product import EVERYTHING, RefusedError

REPOSITORY = Path(__file__).parents[2]
WAIT = 60.0
EMAIL = "ada@example.com"
PASSWORD = "violet-otter-7-canoe-drift"
SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0fedcba98"
POLL = 0.02


def free_port() -> int:
    """A port nothing listens on now: a server that must come back at the same address needs to know it before."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(true: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = WAIT) -> None:
    """Waits for a condition. Raises TimeoutError naming it."""
    end = time.monotonic() + seconds
    while True:
        answer = true()
        if await answer if not isinstance(answer, bool) else answer:
            return
        if time.monotonic() > end:
            raise TimeoutError(what)
        await asyncio.sleep(POLL)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for one test, open to the account that runs the bundled PostgreSQL when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="axonml-e2e-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        for data in folder.glob("*/postgres/pg[0-9]*"):
            found = postmaster(Layout(data.parent, int(data.name.removeprefix("pg"))))
            if found is not None:
                asyncio.run(ServerProcess(found.pid).stop(fast_limit=10))
        shutil.rmtree(folder, ignore_errors=True)


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie has ended."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass
class Server:
    """A place for a server: its data directory, its port, and the process that runs there now."""

    folder: Path
    name: str
    port: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    token: str = ""
    key: str = ""
    starts: int = 0
    relatives: list[psutil.Process] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / self.name

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/graphql"

    @property
    def headers(self) -> dict[str, str]:
        """A caller who may do everything with runs, models and endpoints, also after the access token expired."""
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def _file(self, kind: str) -> Path:
        return self.folder / f"{self.name}-{self.starts}.{kind}"

    @property
    def printed(self) -> str:
        return self._file("out").read_text(errors="replace")

    @property
    def logged(self) -> str:
        return self._file("err").read_text(errors="replace")

    @property
    def setup_token(self) -> str:
        found = re.search(r"/setup#(\S+)", self.printed)
        assert found, self.printed
        return found[1]

    def launch(self) -> None:
        """Starts the process; does not wait."""
        assert self.process is None or self.process.poll() is not None
        self.starts += 1
        kept = {key: text for key, text in os.environ.items() if not key.startswith(("AXONML_", "JWT_", "RUST_"))}
        with self._file("out").open("wb") as stdout, self._file("err").open("wb") as stderr:
            command = [sys.executable, "-m", "server.cli", "--port", str(self.port), "--data-dir", str(self.data)]
            self.process = subprocess.Popen(
                command,
                stdout=stdout,
                stderr=stderr,
                env={**kept, "PYTHONUNBUFFERED": "1", **self.environment},
                cwd=REPOSITORY,
            )

    async def ready(self) -> None:
        """Waits until it answers and its database does."""
        async with httpx.AsyncClient(base_url=self.url, timeout=5, trust_env=False, verify=False) as http:

            async def answers() -> bool:
                assert self.process is not None
                assert self.process.poll() is None, self.logged
                try:
                    return (await http.get("/health/ready")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(answers, f"{self.name} did not become ready:\n{self.logged}")

    async def start(self) -> None:
        """Starts the process and waits until it is ready."""
        self.launch()
        await self.ready()

    def family(self) -> list[psutil.Process]:
        """Every process below it."""
        return psutil.Process(self.pid).children(recursive=True)

    def children(self, *words: str) -> list[psutil.Process]:
        """Those whose command line has one of `words`; a zombie has none."""
        found = []
        for one in self.family():
            with suppress(psutil.NoSuchProcess):
                if any(word in " ".join(one.cmdline()) for word in words):
                    found.append(one)
        return found

    async def ended(self) -> int:
        """Waits for the end; the exit status."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, WAIT)

    def process_signal(self, number: signal.Signals) -> None:
        """Sends it a signal; does not wait."""
        assert self.process is not None
        self.process.send_signal(number)

    async def terminate(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """SIGKILL; what it started is left to see for itself."""
        assert self.process is not None
        self.relatives += self.family()
        self.process.kill()
        await self.ended()

    def clean_up(self) -> None:
        """Ends the process, and what it left when it was killed; PostgreSQL goes with the folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(WAIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(WAIT)
        for process in self.relatives:
            if alive(process) and "postgres" not in process.name():
                process.kill()

    def postmaster(self) -> psutil.Process:
        """The bundled PostgreSQL's first process."""
        (data,) = (self.data / "postgres").glob("pg[0-9]*")
        found = postmaster(Layout(data.parent, int(data.name.removeprefix("pg"))))
        assert found is not None
        return psutil.Process(found.pid)

    async def sign_in(self) -> None:
        """Signs the administrator in and, the first time, makes a key."""
        async with httpx.AsyncClient(base_url=self.url, timeout=WAIT, trust_env=False, verify=False) as http:
            signed = await http.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
            assert signed.status_code == 200, signed.text
            self.token = signed.json()["token"]
            if not self.key:
                body = {"name": "test", "scopes": EVERYTHING}
                made = await http.post("/api/auth/keys", json=body, headers={"Authorization": f"Bearer {self.token}"})
                assert made.status_code == 201, made.text
                self.key = made.json()["secret"]

    @asynccontextmanager
    async def http(self, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
        """A client with the key."""
        options = {"timeout": WAIT, "headers": self.headers, **options}
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, verify=False, **options) as client:
            yield client

    async def rest(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of a good answer; fails with the server's words otherwise."""
        async with self.http() as client:
            answer = await client.request(method, path, **options)
            assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
            return answer.json() if answer.content else None

    async def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation. Raises RefusedError when there are errors."""
        async with self.http() as client:
            document = (await client.post("/graphql", json={"query": query, "variables": variables})).json()
        if "errors" in document:
            raise RefusedError(document["errors"])
        return dict(document["data"])

    async def run(self, name: str = "run") -> str:
        """A new run; its id."""
        return str((await self.rest("POST", "/api/training/runs", json={"name": name}))["id"])

    def subscriber(self) -> Client:
        """A gql client over WebSocket, with the key."""
        transport = WebsocketsTransport(
            url=self.socket_url, init_payload=dict(self.headers), subprotocols=["graphql-transport-ws"]
        )
        return Client(transport=transport)


@asynccontextmanager
async def server(
    folder: Path, *, name: str = "data", admin: bool = True, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """A running server below `folder`, its administrator signed in. Ended, in whatever state, with the block."""
    account = {"AXONML_ADMIN_EMAIL": EMAIL, "AXONML_ADMIN_PASSWORD": PASSWORD} if admin else {}
    made = Server(folder, name, free_port(), {**account, **(environment or {})})
    try:
        await made.start()
        if admin:
            await made.sign_in()
        yield made
    finally:
        await asyncio.to_thread(made.clean_up)
