"""Subscribers that never read: they are cut off within the limit, cost no memory, and disturb nobody who reads."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import psutil

from tests.support.raw import RawClient, frame, open_socket, raw, request, subscribe
from tests.support.servers import Server, server, until
from tests.support.watching import METRICS, Watch

LIMIT = "1"
KEYS = 500
POINTS = 10
SUBSCRIPTION = "subscription ($run: ID!) { runMetrics(runId: $run) { series { key steps values } } }"
MIB = 2**20


def _memory(served: Server) -> int:
    return int(psutil.Process(served.pid).memory_info().rss)


async def _over_websocket(client: RawClient, served: Server, run: str) -> None:
    await subscribe(client, served, SUBSCRIPTION, {"run": run})


async def _over_sse(client: RawClient, served: Server, run: str) -> None:
    body = json.dumps({"query": SUBSCRIPTION, "variables": {"run": run}}).encode()
    kind = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    await client.send(request("POST", "/graphql", {**served.headers, **kind}, body))


async def _over_the_stream(client: RawClient, served: Server, run: str) -> None:
    await open_socket(client, f"/api/training/runs/{run}/stream?interval=0.1", served.headers)


async def test_subscribers_that_do_not_read_are_cut_off_and_others_get_everything(
    folder: Path, database_url: str
) -> None:
    limits = {"AXONML_DATABASE_URL": database_url, "AXONML_LIMITS__SEND_SECONDS": LIMIT}
    async with server(folder, environment=limits) as served, AsyncExitStack() as stack:
        run = await served.run()
        reading = Watch(served, METRICS, run)
        following = asyncio.create_task(reading.follow())
        await until(lambda: reading.messages > 0, "the subscription did not begin")
        deaf: dict[str, RawClient] = {}
        for begin in (_over_websocket, _over_sse, _over_the_stream):
            deaf[begin.__name__] = await stack.enter_async_context(raw(served))
            await begin(deaf[begin.__name__], served, run)
        before = _memory(served)
        step = 0
        async with served.http() as http:

            async def all_cut_off() -> bool:
                nonlocal step
                column = {"steps": [step] * POINTS, "values": [step / 3] * POINTS}
                wide = {f"key {place:03} {'x' * 240}": column for place in range(KEYS)}
                series = {**wide, "loss": {"steps": [step], "values": [step]}}
                answer = await http.post(f"/api/training/runs/{run}/metrics", json={"series": series})
                assert answer.status_code == 200, answer.text
                step += 1
                return all(client.ended() for client in deaf.values())

            await until(all_cut_off, "a subscriber that does not read was kept")
            await http.post(f"/api/training/runs/{run}/finish", json={"status": "completed"})
        async with asyncio.timeout(60):
            await following
        assert reading.points("loss") == [(place, float(place)) for place in range(step)]
        assert (reading.connections, reading.closed) == (1, [])
        assert served.logged.count("connection cut off: the client does not read") == len(deaf)
        assert _memory(served) - before < 100 * MIB
        assert "Traceback" not in served.logged


async def test_answers_to_the_pings_of_a_client_that_does_not_read_are_not_kept(
    folder: Path, database_url: str
) -> None:
    async with server(folder, environment={"AXONML_DATABASE_URL": database_url}) as served, raw(served) as client:
        run = await served.run()
        await open_socket(client, f"/api/training/runs/{run}/stream", served.headers)
        before = peak = _memory(served)
        pings = frame(b"x" * 125, opcode=9) * 2_000
        async with asyncio.timeout(60):
            for _ in range(30 * MIB // len(pings)):
                await client.send(pings)
                peak = max(peak, _memory(served))
        assert peak - before < 12 * MIB
        assert (await served.rest("GET", f"/api/training/runs/{run}"))["id"] == run
