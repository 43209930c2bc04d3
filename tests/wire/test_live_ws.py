"""Live metrics over a real WebSocket, with a client that we did not write."""

from __future__ import annotations

import asyncio
from typing import Any

from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

from tests.support.product import Product

METRICS = """
subscription ($run: ID!, $after: String) {
  runMetrics(runId: $run, after: $after, points: 10000) { cursor status reset series { key steps values } }
}
"""


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
