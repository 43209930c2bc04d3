"""A real uvicorn in a thread, serving the real edge and GraphQL view around a small schema of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Self, TypeVar

import strawberry
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from domain.access import Principal, Scope, UserRole
from domain.audit import Event, Outcome
from domain.errors import BadUserInput, Conflict, DomainError, NotFound, RateLimited, Unauthenticated, Unavailable
from domain.identity import ClientInfo
from server.edge.connections import LiveConnections
from server.edge.cookies import Cookies
from server.edge.identity import client_of, request_id_of
from server.edge.rates import Rates
from server.edge.stack import Dispatcher, edge
from server.figures import RequestFigures
from server.graphql.executor import OnePassExecutor
from server.graphql.extensions import extensions
from server.graphql.view import GraphQLView
from server.process import bind
from server.rest.handler import starlette_routes
from server.rest.route import Route as RestRoute
from server.settings import LimitsSettings, RatesSettings, ServerSettings, Settings
from server.web_server import web_server
from tests.support.access import EDITOR

T = TypeVar("T")

ALICE = Scope(
    "wsp_" + "c" * 32, Principal("usr_" + "a" * 32, "alice@example.org", UserRole.USER, session_id="ses_1"), EDITOR
)


class Tokens:
    """Knows one token, and one workspace. Implements the edge's Authenticator."""

    async def authenticate(
        self, *, authorization: str | None = None, session: str | None = None, workspace: str | None = None
    ) -> Scope:
        if authorization == "Bearer defect":
            raise RuntimeError("the token store broke")
        if authorization != "Bearer good" and not (authorization is None and session == "good"):
            raise Unauthenticated("the access token is not valid")
        if workspace not in (None, "default"):
            raise NotFound("there is no such workspace")
        return ALICE


class Unwritten:
    """An audit log that nothing is read from."""

    async def refused(self, event: Event, outcome: Outcome) -> None:
        """Forgets it."""


@dataclass
class Context:
    """What the test schema's resolvers get."""

    scope: Scope | None
    request_id: str
    client: ClientInfo
    response: Response | None
    problem: DomainError | None = None
    seen: list[str] = field(default_factory=list)
    operations: int = 0

    def for_operation(self) -> Self:
        return replace(self, operations=self.operations + 1)


Info = strawberry.Info[Context, None]


@strawberry.type
class Item:
    name: str

    @strawberry.field
    def items(self, first: int = 50) -> list[Item]:
        return [Item(name=f"{self.name}.{index}") for index in range(first)]


@strawberry.type
class Query:
    @strawberry.field
    def server_info(self) -> str:
        return "AxonML"

    @strawberry.field
    def hello(self, name: str = "world") -> str:
        return f"hello {name}"

    @strawberry.field
    def me(self, info: Info) -> str:
        assert info.context.scope is not None
        return info.context.scope.principal.email

    @strawberry.field
    def operations(self, info: Info) -> int:
        return info.context.operations

    @strawberry.field
    def items(self, first: int = 50) -> list[Item]:
        return [Item(name=str(index)) for index in range(first)]

    @strawberry.field
    async def sleep(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return True

    @strawberry.field
    def boom(self) -> str:
        raise RuntimeError("secret detail: hunter2")

    @strawberry.field
    def refuse(self) -> str:
        raise BadUserInput("the name is too short", field="display_name")

    @strawberry.field
    def limited(self) -> str | None:
        raise RateLimited("slow down", retry_after=3)

    @strawberry.field
    def busy(self, seconds: float | None = None) -> str:
        raise Unavailable("the database is away", retry_after=seconds)

    @strawberry.field
    def huge(self) -> int:
        return 2**40


@strawberry.type
class Mutation:
    @strawberry.mutation
    def auth_login(self, info: Info, email: str) -> str:
        assert info.context.response is not None
        info.context.response.set_cookie("axonml_session", "good", httponly=True)
        return email

    @strawberry.mutation
    def bump(self) -> int:
        return 1


ended: list[str] = []


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncGenerator[int, None]:
        for index in range(to):
            yield index

    @strawberry.subscription
    async def endless(self, name: str = "endless") -> AsyncGenerator[int, None]:
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    @strawberry.subscription
    async def flood(self, name: str) -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "x" * 10_000
                await asyncio.sleep(0)
        finally:
            ended.append(name)

    @strawberry.subscription
    async def failing(self) -> AsyncGenerator[int, None]:
        yield 0
        raise Conflict("the run has ended")

    @strawberry.subscription
    async def breaking(self) -> AsyncGenerator[int, None]:
        yield 0
        raise RuntimeError("secret detail: hunter2")


@dataclass
class Served:
    """A running server."""

    port: int
    connections: LiveConnections
    loop: asyncio.AbstractEventLoop
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def graphql(self) -> str:
        return f"{self.url}/graphql"

    @property
    def socket(self) -> str:
        return f"ws://127.0.0.1:{self.port}/graphql"

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something on the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


async def _stream(request: Request) -> Response:
    connections: LiveConnections = request.app.state.connections

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"first\n"
        await asyncio.Event().wait()

    return StreamingResponse(connections.until_stopping(chunks()))


async def _broken(_: Request) -> Response:
    raise RuntimeError("secret detail: hunter2")


async def _read(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def _page(_: Request) -> Response:
    return PlainTextResponse("the page", media_type="text/html")


@contextmanager
def serving(
    *,
    limits: LimitsSettings | None = None,
    server: ServerSettings | None = None,
    rates: RatesSettings | None = None,
    rest: tuple[RestRoute, ...] = (),
) -> Iterator[Served]:
    """Serves the test schema until the block ends."""
    places = (server or ServerSettings()).model_copy(update={"shutdown_seconds": 5.0})
    settings = Settings(limits=limits or LimitsSettings(), server=places, rates=rates or RatesSettings())
    started = threading.Event()
    running: list[Served] = []

    async def run() -> None:
        connections = LiveConnections()
        cookies = Cookies(secure=False)
        counted = Rates(settings.rates)
        schema = strawberry.Schema(
            Query,
            Mutation,
            Subscription,
            extensions=extensions(settings.limits, counted),
            execution_context_class=OnePassExecutor,
        )
        view = GraphQLView(
            schema,
            make_context=lambda scope, connection, response: Context(
                scope, request_id_of(connection.scope), client_of(connection), response
            ),
            authenticator=Tokens(),
            connections=connections,
            limits=settings.limits,
            rates=counted,
            page=_page,
        )
        dispatcher = Dispatcher(
            [
                Route("/graphql", view),
                WebSocketRoute("/graphql", view),
                *starlette_routes(rest),
                Route("/api/models/{id}/versions", _read, methods=["POST"]),
                Route("/api/training/runs/{id}/metrics", _read, methods=["POST"]),
                Route("/api/read", _read, methods=["POST"]),
                Route("/api/stream", _stream),
                Route("/api/broken", _broken),
                Route("/health", _page),
                WebSocketRoute("/api/training/runs/{id}/stream", _echo),
            ],
            connections=connections,
            services=SimpleNamespace(audit=Unwritten()),
        )
        bound = bind("127.0.0.1", 0)
        app = edge(dispatcher, settings, Tokens(), cookies, RequestFigures(), rates=counted, connections=connections)
        http = web_server(app, settings)
        running.append(Served(bound.getsockname()[1], connections, asyncio.get_running_loop(), http))
        serve = asyncio.create_task(http.serve(sockets=[bound]))
        while not http.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        started.set()
        await serve

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="server", daemon=True)
    thread.start()
    if not started.wait(30):
        raise TimeoutError("the server did not start")
    try:
        yield running[0]
    finally:
        running[0].server.should_exit = True
        thread.join(30)
