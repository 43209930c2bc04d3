"""The machine's load over REST and over a WebSocket."""

from __future__ import annotations

import asyncio

import httpx
import msgspec
import websockets
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

from server.rest.structs.system import SystemMetrics
from tests.support.product import Product, running


async def test_the_figures_over_rest(product: Product) -> None:
    answer = await product.rest("GET", "/api/metrics")
    assert answer.status_code == httpx.codes.OK
    found = msgspec.json.decode(answer.content, type=SystemMetrics)
    assert 0 <= found.cpu.percent <= 100
    assert 0 < found.memory.percent < 100
    assert found.disks[0].name == "data"
    assert found.process.processes >= 1
    assert found.process.uptime_seconds > 0


async def test_rest_refuses_strangers_and_keys_that_read_nothing(product: Product) -> None:
    stranger = await product.http.get("/api/metrics")
    assert (stranger.status_code, stranger.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
    body = {"name": "predicts", "scopes": ["endpoints:predict"]}
    key = (await product.rest("POST", "/api/auth/keys", json=body)).json()["secret"]
    refused = await product.http.get("/api/metrics", headers={"Authorization": f"Bearer {key}"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
    reads = await product.http.get("/api/metrics", headers={"Authorization": f"Bearer {product.key}"})
    assert reads.status_code == httpx.codes.OK


async def test_a_subscriber_hears_until_the_server_stops(database_url: str) -> None:
    received: list[str] = []
    closed: list[int] = []

    async def listen(product: Product) -> None:
        headers = {"Authorization": f"Bearer {product.key}"}
        transport = WebsocketsTransport(
            url=product.socket_url, init_payload=headers, subprotocols=["graphql-transport-ws"]
        )
        asked = gql("subscription { systemMetrics(intervalSeconds: 0.5) { at cpuPercent } }")
        try:
            async with Client(transport=transport) as session:
                async for message in session.subscribe(asked):
                    received.append(message["systemMetrics"]["at"])  # noqa: PERF401 - it is read while it grows
        except Exception as error:  # noqa: BLE001 - gql wraps the close in an error of its own
            cause = error if isinstance(error, websockets.ConnectionClosed) else error.__cause__
            if isinstance(cause, websockets.ConnectionClosed) and cause.rcvd is not None:
                closed.append(cause.rcvd.code)

    async with running(database_url) as product:
        listener = asyncio.create_task(listen(product))
        while len(received) < 2 and not listener.done():
            await asyncio.wait([listener], timeout=0.05)
    async with asyncio.timeout(5):
        await listener
    assert len(set(received)) >= 2
    assert closed == [1012]
