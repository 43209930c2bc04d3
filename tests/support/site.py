"""Identity behind a real server in the test's own loop, with a clock that the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from persistence.database import Database
from server.app import Composed, create_app
from server.edge.connections import LiveConnections
from server.process import bind
from server.rest.routes import ROUTES, SOCKETS
from server.settings import Settings
from server.web_server import web_server
from tests.support.application import services
from tests.support.identity import EMAIL, PASSWORD, Instance, instance


@dataclass
class Site:
    """A running server and a client without credentials."""

    instance: Instance
    http: httpx.AsyncClient
    port: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def setup(self, **other: Any) -> httpx.Response:
        token = await self.instance.identity.founder.ensure()
        return await self.http.post(
            "/api/auth/setup", json={"token": token, "email": EMAIL, "password": PASSWORD} | other
        )

    async def login(self, **other: Any) -> httpx.Response:
        return await self.http.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD} | other)

    def browser(self) -> httpx.AsyncClient:
        """A client with a cookie jar that says where its requests come from."""
        return httpx.AsyncClient(
            base_url=self.origin, headers={"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}, timeout=30
        )


async def _ready() -> None:
    pass


@asynccontextmanager
async def serving(database: Database, data_dir: Path, settings: Settings | None = None) -> AsyncIterator[Site]:
    """An instance that nobody has set up."""
    settings = settings or Settings()
    connections = LiveConnections()
    async with instance(database, data_dir, connections=connections) as opened:
        app = create_app(settings, Composed(services(opened), _ready, ROUTES, SOCKETS), connections)
        bound = bind("127.0.0.1", 0)
        server = web_server(app, settings)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        watching = asyncio.create_task(connections.watch(opened.identity.ended))
        port = bound.getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            yield Site(opened, http, port)
        watching.cancel()
        await connections.stop()
        server.should_exit = True
        await serving


def bearer(token: str) -> dict[str, str]:
    """The header that presents a token."""
    return {"Authorization": f"Bearer {token}"}


def problem(response: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and field of a refusal."""
    error = response.json()["error"]
    assert error["request_id"]
    return response.status_code, error["code"], error["field"]
