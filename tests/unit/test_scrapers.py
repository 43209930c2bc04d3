"""Reading `/metrics` through an outage of the database: only for keys of administrators that were right before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import pytest
from starlette.types import Message, Receive, Send
from starlette.types import Scope as AsgiScope

from domain.access import Principal, Scope, UserRole
from domain.errors import DeadlineExceeded, DomainError, Unauthenticated, Unavailable
from server.edge.connections import LiveConnections
from server.edge.cookies import Cookies
from server.edge.gate import Gate
from server.edge.identity import Credentials, caller_of
from server.edge.rates import Rates
from server.edge.scrapers import MOST, TRUSTED_SECONDS, Scrapers
from server.edge.shares import Shares
from server.settings import LimitsSettings, RatesSettings
from tests.support.access import EDITOR

ADMIN = Principal("usr_" + "a" * 32, "ada@example.com", UserRole.ADMIN, api_key_id="key_" + "b" * 32)
WORKSPACE = "wsp_" + "c" * 32
KEY = Credentials("Bearer key")


class Time:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def right(principal: Principal = ADMIN) -> Scope:
    return Scope(WORKSPACE, principal, EDITOR)


async def fails(problem: DomainError) -> Scope:
    raise problem


async def hangs() -> Scope:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody answers")


async def watched(connections: LiveConnections, _: str) -> None:
    """One round of the watch, in which the database says that nothing holds any more."""
    asked = asyncio.Event()

    async def all_of(scopes: Iterable[Scope]) -> Iterable[Scope]:
        asked.set()
        return scopes

    async with asyncio.timeout(10):
        watching = asyncio.create_task(connections.watch(all_of))
        await asked.wait()
        await asyncio.sleep(0)
        watching.cancel()


async def test_a_key_that_was_right_reads_on_for_a_quarter_of_an_hour() -> None:
    time = Time()
    scrapers = Scrapers(LiveConnections(), clock=time, patience=0.01)
    found = await scrapers.resolve(KEY, right())
    time.now = TRUSTED_SECONDS - 1
    assert await scrapers.resolve(KEY, fails(Unavailable("away"))) == found
    assert await scrapers.resolve(KEY, hangs()) == found
    time.now += 1
    with pytest.raises(Unavailable):
        await scrapers.resolve(KEY, fails(Unavailable("away")))


async def test_nobody_else_gets_in() -> None:
    scrapers = Scrapers(LiveConnections(), patience=0.01)
    with pytest.raises(DeadlineExceeded):
        await scrapers.resolve(KEY, hangs())
    await scrapers.resolve(KEY, right())
    with pytest.raises(Unavailable):
        await scrapers.resolve(Credentials("Bearer other"), fails(Unavailable("away")))
    with pytest.raises(Unauthenticated):
        await scrapers.resolve(KEY, fails(Unauthenticated("revoked")))
    with pytest.raises(Unavailable):
        await scrapers.resolve(KEY, fails(Unavailable("away")))


@pytest.mark.parametrize("ended", [LiveConnections.end_api_key, watched])
async def test_a_key_that_no_longer_holds_is_forgotten_before_an_outage(ended: Callable[..., Awaitable[None]]) -> None:
    connections = LiveConnections()
    scrapers = Scrapers(connections)
    await scrapers.resolve(KEY, right())
    assert connections.open_count == 0
    await connections.stop()
    assert (await scrapers.resolve(KEY, fails(Unavailable("away")))).principal == ADMIN, "a shutdown ends no key"
    await ended(connections, ADMIN.api_key_id)
    with pytest.raises(Unavailable):
        await scrapers.resolve(KEY, fails(Unavailable("away")))


@pytest.mark.parametrize("principal", [replace(ADMIN, role=UserRole.USER), replace(ADMIN, api_key_id=None)])
async def test_only_keys_of_administrators_are_remembered(principal: Principal) -> None:
    scrapers = Scrapers(LiveConnections())
    await scrapers.resolve(KEY, right(principal))
    with pytest.raises(Unavailable):
        await scrapers.resolve(KEY, fails(Unavailable("away")))


async def test_only_so_many_are_remembered() -> None:
    scrapers = Scrapers(LiveConnections())
    for number in range(MOST + 1):
        await scrapers.resolve(Credentials(f"Bearer {number}"), right())
    assert (await scrapers.resolve(Credentials("Bearer 1"), fails(Unavailable("away")))).principal == ADMIN
    with pytest.raises(Unavailable):
        await scrapers.resolve(Credentials("Bearer 0"), fails(Unavailable("away")))


class Identity:
    """Implements the edge's Authenticator on a database that can be away."""

    away = False

    async def authenticate(
        self, *, authorization: str | None = None, session: str | None = None, workspace: str | None = None
    ) -> Scope:
        return await (fails(Unavailable("away")) if self.away else right())


@pytest.mark.parametrize(("path", "passes"), [("/metrics", True), ("/api/admin/stats", False), ("/graphql", False)])
async def test_the_gate_opens_nothing_but_the_figures(path: str, passes: bool) -> None:
    callers: list[Principal] = []

    async def app(scope: AsgiScope, receive: Receive, send: Send) -> None:
        callers.append(caller_of(scope).require().principal)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    identity = Identity()
    shares = Shares(LimitsSettings())
    gate = Gate(app, identity, Cookies(secure=False), Rates(RatesSettings()), LiveConnections(), shares=shares)
    for identity.away in (False, True):
        headers = [(b"authorization", b"Bearer key")]
        await gate({"type": "http", "method": "GET", "path": path, "headers": headers, "client": None}, receive, send)
    assert callers == [ADMIN] * (2 if passes else 1)
