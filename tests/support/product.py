"""The whole product in the test's own loop: real use-cases on a real database, behind a real uvicorn."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pyotp

from domain.access import Scope
from domain.control import DatabaseKind
from resolvers.context import Context, Services
from server.app import create_app
from server.compose import compose
from server.control import LocalControl
from server.dedicated import DedicatedPorts
from server.edge.connections import LiveConnections
from server.process import bind
from server.settings import ServerSettings, Settings
from server.supervision import Supervisor
from server.web.pages import graphiql
from server.web.pages import routes as pages
from server.web_server import Server, web_server
from serving.pool import LocalServing
from tests.support.identity import CountingHasher

PASSWORD = "violet-otter-7-canoe-drift"
EVERYTHING = ["runs:write", "models:write", "endpoints:write", "endpoints:predict"]


class RefusedError(AssertionError):
    """A GraphQL operation answered errors."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors)
        self.errors = errors

    @property
    def code(self) -> str:
        return str(self.errors[0]["extensions"]["code"])

    @property
    def field(self) -> str | None:
        named = self.errors[0]["extensions"].get("field")
        return None if named is None else str(named)


@dataclass
class Product:
    """A running server with its first administrator signed in."""

    url: str
    data: Path
    services: Services
    connections: LiveConnections
    token: str = ""
    key: str = ""
    http: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    @property
    def graphql_url(self) -> str:
        return f"{self.url}/graphql"

    @property
    def socket_url(self) -> str:
        return self.graphql_url.replace("http", "ws", 1)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def graphql(self, query: str, *, token: str | None = None, **variables: Any) -> dict[str, Any]:
        """The data of an operation over HTTP. Raises RefusedError when there are errors."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        answer = await self.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
        document = answer.json()
        if "errors" in document:
            raise RefusedError(document["errors"])
        data: dict[str, Any] = document["data"]
        return data

    async def rest(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A REST request as the administrator."""
        headers = {**self.headers, **options.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **options)

    async def scope(self) -> Scope:
        """The administrator's scope, for calling use-cases directly."""
        scope = await self.services.identity.authenticate(authorization=f"Bearer {self.token}")
        assert scope is not None
        return scope

    async def context(self) -> Context:
        """A context of the administrator, for executing the schema without HTTP."""
        from domain.identity import ClientInfo

        return Context(self.services, await self.scope(), "test", ClientInfo(None, None))


@asynccontextmanager
async def running(dsn: str, *, settings: Settings | None = None, set_up: bool = True) -> AsyncIterator[Product]:
    """Serves the product on a free port of the loopback until the block ends; without `set_up`, an empty one."""
    data = Path(tempfile.mkdtemp(prefix="axonml-"))
    bound = bind("127.0.0.1", 0)
    served = ServerSettings(data_dir=data, port=bound.getsockname()[1], shutdown_seconds=5)
    settings = (settings or Settings()).model_copy(update={"server": served})
    connections = LiveConnections()
    # What a real hash costs is no concern of these tests, and would be most of what they cost.
    cheap = patch("server.security.passwords.PasswordHasher", CountingHasher)
    cheap.start()
    try:
        async with Supervisor() as supervisor, LocalServing(data / "run", stop_seconds=5) as serving:
            dedicated = DedicatedPorts("127.0.0.1")
            control = LocalControl(
                serving,
                supervisor,
                version="test",
                started_at=datetime.now(UTC),
                database=DatabaseKind.EXTERNAL,
                listeners=dedicated,
            )
            composing = compose(settings, dsn, control, supervisor=supervisor, connections=connections, version="test")
            async with composing as composed:
                app = create_app(settings, composed, connections, pages=pages(), page=graphiql)
                dedicated.serve_with(lambda: app, settings)
                server = web_server(app, settings)
                serve = asyncio.create_task(server.serve(sockets=[bound]))
                url = f"http://127.0.0.1:{bound.getsockname()[1]}"
                try:
                    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False, verify=False) as http:
                        product = Product(url, data, composed.services, connections, http=http)
                        if set_up:
                            await _sign_in(product)
                        yield product
                finally:
                    connections.stopping.set()
                    await connections.stop()
                    await _end(server, serve)
                    await supervisor.close()
                    await dedicated.stop()
    finally:
        cheap.stop()
        bound.close()
        shutil.rmtree(data, ignore_errors=True)


async def add_app(product: Product, token: str) -> pyotp.TOTP:
    """Sets an authenticator app up and turns it on, over REST. The next code that works is a step ahead."""
    headers = {"Authorization": f"Bearer {token}"}
    begun = await product.http.post("/api/auth/mfa/totp/setup", headers=headers)
    app = pyotp.TOTP(begun.json()["secret"])
    enabled = await product.http.post("/api/auth/mfa/totp/enable", json={"code": app.now()}, headers=headers)
    assert enabled.status_code == httpx.codes.OK, enabled.text
    return app


async def _end(server: Server, serve: asyncio.Task[None]) -> None:
    """Ends serving once all requests are answered, as uvicorn does, but without its pauses of a tenth of a second."""
    for listening in server.servers:
        listening.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    if server.server_state.tasks:
        await asyncio.wait(server.server_state.tasks, timeout=server.config.timeout_graceful_shutdown)
    serve.cancel()
    await asyncio.wait({serve})


async def _sign_in(product: Product) -> None:
    token = await product.services.identity.founder.ensure()
    account = {"token": token, "email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
    session = await product.http.post("/api/auth/setup", json=account)
    assert session.status_code == httpx.codes.CREATED, session.text
    product.token = session.json()["token"]
    if session.json()["user"]["must_add_factor"]:
        await add_app(product, product.token)
    made = await product.rest("POST", "/api/auth/keys", json={"name": "test", "scopes": EVERYTHING})
    assert made.status_code == httpx.codes.CREATED, made.text
    product.key = made.json()["secret"]
