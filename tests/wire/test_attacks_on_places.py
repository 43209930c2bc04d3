"""Nobody takes every place: one user, and all who have not signed in, hold a share of the sockets and requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from server.settings import LimitsSettings, Settings
from tests.support.product import PASSWORD, Product, running

PLACES = 20
SHARE = 10
OF_KEYS = 9
STRANGERS = 4
LIMITS = LimitsSettings(connections=PLACES, connections_per_caller=SHARE, connections_of_strangers=STRANGERS)


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[Product]:
    async with running(database_url, settings=Settings(limits=LIMITS)) as served:
        yield served


@pytest.fixture
async def held() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def _key(product: Product) -> dict[str, str]:
    return {"Authorization": f"Bearer {product.key}"}


async def _run(product: Product) -> str:
    made = await product.rest("POST", "/api/training/runs", json={"name": "followed"})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def _stranger(product: Product, held: AsyncExitStack) -> ClientConnection:
    return await held.enter_async_context(
        connect(product.socket_url, subprotocols=[Subprotocol("graphql-transport-ws")])
    )


async def _told(socket: ClientConnection, headers: Mapping[str, str]) -> str | tuple[int, str]:
    """What the server answers to `connection_init`: the type of its message, or how it closes the socket."""
    await socket.send(json.dumps({"type": "connection_init", "payload": headers}))
    try:
        async with asyncio.timeout(20):
            return str(json.loads(await socket.recv())["type"])
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        return closed.rcvd.code, closed.rcvd.reason


async def _watching(product: Product, run: str, headers: Mapping[str, str], held: AsyncExitStack) -> ClientConnection:
    """A training stream that has said its first word. Raises InvalidStatus."""
    url = f"{product.url.replace('http', 'ws', 1)}/api/training/runs/{run}/stream"
    socket = await held.enter_async_context(connect(url, additional_headers=headers))
    async with asyncio.timeout(20):
        await socket.recv()
    return socket


async def _event_stream(product: Product, run: str, headers: Mapping[str, str], held: AsyncExitStack) -> httpx.Response:
    asked = {"query": f'subscription {{ runUpdated(runId: "{run}") {{ name }} }}'}
    return await held.enter_async_context(
        product.http.stream("POST", "/graphql", json=asked, headers={**headers, "Accept": "text/event-stream"})
    )


async def _open(product: Product, count: int) -> None:
    """Waits until so many sockets and streams are open."""
    async with asyncio.timeout(20):
        while product.connections.open_count != count:  # noqa: ASYNC110 - the registry has no event for it
            await asyncio.sleep(0.01)


async def _all_by_key(product: Product, run: str, held: AsyncExitStack) -> tuple[ClientConnection, ...]:
    """Takes all that API keys may hold: the training streams, the GraphQL sockets, and one event stream."""
    key = _key(product)
    watching = [await _watching(product, run, key, held) for _ in range(4)]
    sockets = [await _stranger(product, held) for _ in range(4)]
    assert [await _told(socket, key) for socket in sockets] == ["connection_ack"] * 4
    assert (await _event_stream(product, run, key, held)).status_code == 200
    assert len(watching) + len(sockets) + 1 == OF_KEYS
    return (*watching, *sockets)


async def _check_full(product: Product, run: str, held: AsyncExitStack) -> None:
    """Every way in says when to come back."""
    key = _key(product)
    refused = await product.http.get("/api/training/runs", headers=key)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"]["code"] == "OVERLOADED"
    stream = await _event_stream(product, run, key, held)
    assert (stream.status_code, stream.headers["retry-after"]) == (429, "1")
    assert json.loads(await stream.aread())["errors"][0]["extensions"]["code"] == "OVERLOADED"
    with pytest.raises(InvalidStatus) as handshake:
        await _watching(product, run, key, held)
    assert (handshake.value.response.status_code, handshake.value.response.headers["retry-after"]) == (429, "1")
    told = await _told(await _stranger(product, held), key)
    assert told == (
        1013,
        f"this user has too many requests and sockets open, at most {OF_KEYS}; end some, or try again",
    )


async def test_a_user_holds_a_share_and_nobody_else_notices(small: Product, held: AsyncExitStack) -> None:
    run = await _run(small)
    made = {"email": "bob@example.com", "password": "heron-lantern-9-quarry-mint", "name": "Bob"}
    assert (await small.rest("POST", "/api/admin/users", json=made)).status_code == 201
    open_by_key = await _all_by_key(small, run, held)
    await _check_full(small, run, held)

    for socket in open_by_key[4:]:  # those that were open are as they were
        await socket.send(json.dumps({"type": "ping"}))
        assert json.loads(await socket.recv())["type"] == "pong"
    assert (await small.rest("GET", "/api/training/runs")).status_code == 200, "what keys leave to the browser"
    login = {"email": "bob@example.com", "password": "heron-lantern-9-quarry-mint"}
    bob = (await small.http.post("/api/auth/login", json=login)).json()["token"]
    other = {"Authorization": f"Bearer {bob}"}
    assert await _told(await _stranger(small, held), other) == "connection_ack"
    me = await small.http.get("/api/auth/me", headers=other)
    assert me.json()["email"] == "bob@example.com"


@pytest.mark.parametrize("end", ["killed", "revoked"])
async def test_what_sockets_took_is_free_once_they_end(small: Product, end: str) -> None:
    run = await _run(small)
    for _ in range(2):
        made = (await small.rest("POST", "/api/auth/keys", json={"name": "next", "scopes": ["runs:write"]})).json()
        small.key = made["secret"]
        async with AsyncExitStack() as held:
            sockets = await _all_by_key(small, run, held)
            await _check_full(small, run, held)
            if end == "killed":
                for socket in sockets:
                    socket.transport.abort()
                await _open(small, 1)  # the event stream, which ends with its client
            else:
                assert (await small.rest("DELETE", f"/api/auth/keys/{made['api_key']['id']}")).status_code == 204
                await _open(small, 0)
                assert {socket.close_code for socket in sockets} == {4403}
        await _open(small, 0)


async def test_strangers_hold_a_share_and_the_signed_in_do_not_notice(small: Product, held: AsyncExitStack) -> None:
    waiting = [await _stranger(small, held) for _ in range(STRANGERS)]
    with pytest.raises(InvalidStatus) as refused:
        await _stranger(small, held)
    assert (refused.value.response.status_code, refused.value.response.headers["retry-after"]) == (429, "1")
    login: dict[str, Any] = {"email": "ada@example.com", "password": PASSWORD}
    assert (await small.http.post("/api/auth/login", json=login)).status_code == 200, "sockets keep nobody out"
    small.http.cookies.clear()
    assert (await small.rest("GET", "/api/auth/me")).status_code == 200
    assert await _told(waiting[0], small.headers) == "connection_ack"
    await _stranger(small, held)  # for the first one is no stranger any more
