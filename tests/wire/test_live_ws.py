"""Live metrics over a real WebSocket, with a client that we did not write."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.product import Product

METRICS = """
subscription ($run: ID!, $after: String) {
  runMetrics(runId: $run, after: $after, points: 10000) { cursor status reset series { key steps values } }
}
"""
SHORT = "subscription ($run: ID!) { runMetrics(runId: $run) { series { steps } } }"


async def _run(product: Product) -> str:
    made = await product.graphql('mutation { runCreate(input: {name: "live"}) { id } }')
    return str(made["runCreate"]["id"])


def _points(message: dict[str, Any]) -> list[int]:
    return [step for series in message["series"] for step in series["steps"]]


async def _follow(product: Product, run: str, drop_after: int) -> list[int]:
    """Reads to the end of the run; takes a new connection after every `drop_after` messages."""
    got: list[int] = []
    cursor, status = None, "RUNNING"
    while status == "RUNNING":
        transport = WebsocketsTransport(product.socket_url, init_payload=product.headers)
        async with Client(transport=transport) as session:
            document = gql(METRICS)
            document.variable_values = {"run": run, "after": cursor}
            messages = 0
            async for data in session.subscribe(document):
                message = data["runMetrics"]
                assert not message["reset"]
                got += _points(message)
                cursor, status = message["cursor"], message["status"]
                messages += 1
                if messages == drop_after and status == "RUNNING":
                    break
    return got


async def test_subscribers_that_reconnect_get_every_point_once(product: Product) -> None:
    run = await _run(product)
    readers = [asyncio.ensure_future(_follow(product, run, drop)) for drop in (1, 3, 7, 10_000)]
    for step in range(120):
        answer = await product.rest("POST", f"/api/training/runs/{run}/metrics", json={"loss": step / 2, "step": step})
        assert answer.status_code == 200, answer.text
    await product.rest("POST", f"/api/training/runs/{run}/finish", json={"status": "completed"})
    async with asyncio.timeout(60):
        for got in await asyncio.gather(*readers):
            assert got == list(range(120))


async def test_a_list_of_runs_is_followed(product: Product) -> None:
    document = gql(
        'subscription { runsUpdated(filter: "metrics.loss < 0.5") { kind runId run { name metrics { key last } } } }'
    )
    run = await _run(product)
    transport = WebsocketsTransport(product.socket_url, init_payload=product.headers)
    told: list[dict[str, Any]] = []
    async with Client(transport=transport) as session, asyncio.timeout(20):
        # The list has no first message, so points are logged until the list has told of them.
        async def log(value: float) -> None:
            while True:
                await product.rest("POST", f"/api/training/runs/{run}/metrics", json={"loss": value})
                await asyncio.sleep(0.05)

        logging = asyncio.ensure_future(log(0.25))
        async for data in session.subscribe(document):
            change = data["runsUpdated"]
            told.append(change)
            assert change["runId"] == run
            if len(told) == 1:
                logging.cancel()
                await product.rest("POST", f"/api/training/runs/{run}/metrics", json={"loss": 0.75})
            if change["kind"] == "REMOVED":
                break
    assert told[0]["kind"] in ("ADDED", "UPDATED")
    assert told[0]["run"] == {"name": "live", "metrics": [{"key": "loss", "last": 0.25}]}
    assert told[-1]["run"]["metrics"] == [{"key": "loss", "last": 0.75}]
    with pytest.raises(TransportQueryError) as refused:
        await _first(product, 'subscription { runsUpdated(filter: "loss <") { kind } }')
    assert refused.value.errors is not None
    assert refused.value.errors[0]["extensions"]["field"] == "filter"


async def _first(product: Product, text: str) -> dict[str, Any]:
    async with Client(transport=WebsocketsTransport(product.socket_url, init_payload=product.headers)) as session:
        return await anext(session.subscribe(gql(text)))


async def _subscribed(product: Product, run: str, identifier: str, headers: dict[str, str]) -> ClientConnection:
    """A socket that follows the run, past its first message."""
    socket = await connect(product.socket_url, subprotocols=[Subprotocol("graphql-transport-ws")], max_queue=None)
    await socket.send(json.dumps({"type": "connection_init", "payload": headers}))
    asked = {"query": SHORT, "variables": {"run": run}}
    assert json.loads(await socket.recv()) == {"type": "connection_ack"}
    await socket.send(json.dumps({"id": identifier, "type": "subscribe", "payload": asked}))
    return socket


async def _until(socket: ClientConnection, identifier: str, last: int) -> list[int]:
    """The steps that arrive, up to and including `last`."""
    steps: list[int] = []
    while last not in steps:
        message = json.loads(await socket.recv())
        assert (message["id"], message["type"]) == (identifier, "next"), message
        steps += _points(message["payload"]["data"]["runMetrics"])
    return steps


async def test_many_sockets_share_their_reads_and_each_keeps_its_own_pace_and_id(product: Product) -> None:
    run = await _run(product)

    async def log(*steps: int) -> None:
        rows = [{"loss": step / 2, "step": step} for step in steps]
        answer = await product.rest("POST", f"/api/training/runs/{run}/metrics", json=rows)
        assert answer.status_code == 200, answer.text

    figures = product.services.metrics.figures
    async with asyncio.timeout(60):
        await log(0)
        names = [f'"{place}\u00e9' for place in range(30)]
        sockets = [await _subscribed(product, run, name, product.headers) for name in names]
        for socket, name in zip(sockets, names, strict=True):
            assert await _until(socket, name, 0) == [0]
        asked, read = figures.reads, figures.executions
        for step in range(1, 21):
            await log(step)
            for socket, name in zip(sockets[2:], names[2:], strict=True):  # two are in no hurry
                assert await _until(socket, name, step) == [step]
        late = await _subscribed(product, run, "late", product.headers)
        assert await _until(late, "late", 20) == list(range(21))
        assert figures.reads - asked >= 20 * 28
        assert figures.executions - read <= 2 * 20 + 1
        await sockets[2].send(json.dumps({"id": names[2], "type": "complete"}))
        await sockets[3].close()
        await log(21)
        for socket, name in zip((*sockets[4:], late), (*names[4:], "late"), strict=True):
            assert await _until(socket, name, 21) == [21]
        for socket, name in zip(sockets[:2], names[:2], strict=True):
            assert await _until(socket, name, 21) == list(range(1, 22))
        for socket in (*sockets, late):
            await socket.close()
