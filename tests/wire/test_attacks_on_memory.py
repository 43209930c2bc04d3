"""What subscriptions hold for as long as they live: nothing that they do not use, and no more than a caller's share."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from server.graphql.holding import MOST_HELD
from tests.support.product import Product

MIB = 2**20


async def _run(product: Product) -> str:
    made = await product.rest("POST", "/api/training/runs", json={"name": "followed"})
    return f'subscription {{ runUpdated(runId: "{made.json()["id"]}") {{ name }} }}'


@asynccontextmanager
async def _socket(product: Product) -> AsyncIterator[ClientConnection]:
    async with connect(product.socket_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await _say(socket, type="connection_init", payload=product.headers)
        assert (await _hear(socket))["type"] == "connection_ack"
        yield socket


async def _say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def _hear(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(20):
        message: dict[str, Any] = json.loads(await socket.recv())
    return message


async def _subscribed(socket: ClientConnection, name: str, query: str, **payload: Any) -> dict[str, Any]:
    await _say(socket, type="subscribe", id=name, payload={"query": query, **payload})
    return await _hear(socket)


async def test_a_subscription_keeps_nothing_of_what_came_with_it_and_is_not_used(product: Product) -> None:
    query = await _run(product)
    body = json.dumps({"query": query, "variables": {"unused": "x" * 4 * MIB}}).encode()
    headers = {**product.headers, "Accept": "text/event-stream", "Content-Type": "application/json"}
    async with _socket(product) as socket, AsyncExitStack() as streams:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(20):
                heard = await _subscribed(socket, str(number), query, variables={"unused": "x" * (MIB // 2)})
                assert heard["type"] == "next"
            for _ in range(3):
                stream = product.http.stream("POST", "/graphql", content=body, headers=headers)
                answer = await streams.enter_async_context(stream)
                assert answer.status_code == 200
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] - before < 3 * MIB
        finally:
            tracemalloc.stop()


async def test_what_the_subscriptions_of_one_caller_hold_is_bounded(product: Product) -> None:
    query = await _run(product)
    length = 50_000
    async with _socket(product) as socket, _socket(product) as second:
        heard = [await _subscribed(socket, str(n), f"#{n}".ljust(length, "x") + "\n" + query) for n in range(8)]
        kinds = [each["type"] for each in heard]
        assert 1 <= kinds.count("next") <= MOST_HELD // length
        first = kinds.index("error")
        assert heard[first]["payload"][0]["extensions"]["code"] == "OVERLOADED"
        again = "#0".ljust(length, "x") + "\n" + query
        assert (await _subscribed(second, "the same text", again))["type"] == "next"
        refused = await _subscribed(second, "another", "#another".ljust(length, "x") + "\n" + query)
        assert refused["type"] == "error", "another socket of the same caller has no share of its own"
        await _say(socket, type="complete", id="1")
        freed = await _subscribed(second, "freed", "#freed".ljust(length, "x") + "\n" + query)
        assert freed["type"] == "next"
