"""Clients that send drop by drop: each is ended within the limit, and scripts beside them notice nothing.

A client that is merely slow, but faster than the least rate, is served.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.e2e.test_kill import Script, check_exact, progress
from tests.support.raw import PAUSE, RawClient, frame, open_socket, raw, request
from tests.support.servers import Server, server

LIMIT = 2
ENDLESS = b"x" * 100_000
TWO_SECONDS = {"AXONML_LIMITS__RECEIVE_SECONDS": str(LIMIT)}

Drip = Callable[[RawClient, Server, str], Coroutine[Any, Any, bytes]]


def _path(run: str) -> str:
    return f"/api/training/runs/{run}/metrics"


async def _head(client: RawClient, _served: Server, run: str) -> bytes:
    await client.send(b"POST " + _path(run).encode() + b" HTTP/1.1\r\nX: ")
    await client.drip(ENDLESS)
    return await client.rest()


async def _body(client: RawClient, served: Server, run: str) -> bytes:
    said = {**served.headers, "Content-Type": "application/json", "Content-Length": "100000"}
    await client.send(request("POST", _path(run), said))
    await client.drip(b'{"loss": ' + ENDLESS)
    return await client.rest()


async def _chunked_gzip(client: RawClient, served: Server, run: str) -> bytes:
    said = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
    await client.send(request("POST", _path(run), {**served.headers, **said}))
    await client.drip(b"".join(b"1\r\n%c\r\n" % byte for byte in gzip.compress(json.dumps({"x": 1}).encode() * 4_000)))
    return await client.rest()


async def _operation(client: RawClient, served: Server, _run: str) -> bytes:
    said = {**served.headers, "Content-Type": "application/json", "Content-Length": "100000"}
    await client.send(request("POST", "/graphql", said))
    await client.drip(b'{"query": "' + ENDLESS)
    return await client.rest()


async def _answered_body(client: RawClient, _served: Server, run: str) -> bytes:
    """It was refused before its body came, and goes on sending that."""
    await client.send(request("POST", _path(run), {"Content-Length": "100000"}))
    said = await client.head()
    await client.drip(ENDLESS)
    return said


async def _frame(client: RawClient, served: Server, run: str) -> bytes:
    await open_socket(client, f"/api/training/runs/{run}/stream", served.headers)
    await client.drip(frame(ENDLESS[:60_000]))
    return await client.rest()


SAYS: dict[Drip, bytes] = {
    _head: b"",
    _body: b"HTTP/1.1 408 ",
    _chunked_gzip: b"HTTP/1.1 408 ",
    _operation: b"HTTP/1.1 408 ",
    _answered_body: b"HTTP/1.1 401 ",
    _frame: b"",
}


async def test_whoever_drips_is_ended_and_scripts_notice_nothing(folder: Path, database_url: str) -> None:
    async with (
        server(folder, environment={"AXONML_DATABASE_URL": database_url, **TWO_SECONDS}) as served,
        AsyncExitStack() as stack,
    ):
        run = await served.run()
        scripts = [Script(served, await served.run(f"script {number}")) for number in range(3)]
        working = [asyncio.create_task(script.work()) for script in scripts]
        try:
            await progress(scripts, 3)
            dripping = {
                drip: asyncio.create_task(drip(await stack.enter_async_context(raw(served)), served, run))
                for drip in SAYS
            }
            await progress(scripts, 10)
            async with asyncio.timeout(60):
                await asyncio.gather(*dripping.values())
            await progress(scripts, 3)
        finally:
            for script in scripts:
                script.stop = True
            await asyncio.wait(working)
        for script, task in zip(scripts, working, strict=True):
            task.result()
            assert set(script.statuses) == {200}, script.refusals
            await check_exact(script)
        for drip, dripped in dripping.items():
            assert dripped.result().startswith(SAYS[drip]), drip.__name__
            if SAYS[drip].startswith(b"HTTP/1.1 408"):
                assert b"DEADLINE_EXCEEDED" in dripped.result()
                assert f"within {LIMIT} s".encode() in dripped.result()
        assert (await served.rest("GET", _path(run)))["series"] == {}
        assert "Traceback" not in served.logged


async def test_a_body_that_comes_steadily_may_take_longer_than_the_limit(folder: Path, database_url: str) -> None:
    text = json.dumps({"loss": 1, "step": 3}).encode().ljust(48_000)
    async with (
        server(folder, environment={"AXONML_DATABASE_URL": database_url, **TWO_SECONDS}) as served,
        raw(served) as client,
    ):
        run = await served.run()
        said = {"Content-Type": "application/json", "Content-Length": str(len(text)), "Connection": "close"}
        await client.send(request("POST", _path(run), {**served.headers, **said}))
        began = asyncio.get_running_loop().time()
        for place in range(0, len(text), 1_000):
            await client.send(text[place : place + 1_000])
            await asyncio.sleep(PAUSE)
        assert asyncio.get_running_loop().time() - began > LIMIT
        assert (await client.rest()).startswith(b"HTTP/1.1 200 ")
