"""The stream of a run's current values over a real WebSocket, with a client that we did not write."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from domain import ids
from domain.errors import Unauthenticated
from server.protocol import BoundedSocket
from tests.support.product import Product


def _url(product: Product, run: str, query: str = "?interval=0.1") -> str:
    return f"{product.url.replace('http', 'ws', 1)}/api/training/runs/{run}/stream{query}"


@asynccontextmanager
async def _watching(product: Product, run: str, query: str = "?interval=0.1") -> AsyncIterator[ClientConnection]:
    async with connect(_url(product, run, query), additional_headers=product.headers) as socket:
        yield socket


async def _next(socket: ClientConnection) -> tuple[str, dict[str, Any]]:
    async with asyncio.timeout(20):
        message = json.loads(await socket.recv())
    assert message.keys() == {"type", "data"}
    return message["type"], message["data"]


async def _close_code(socket: ClientConnection) -> int:
    async with asyncio.timeout(20):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return int(closed.rcvd.code)


async def _run(product: Product, **given: Any) -> str:
    made = await product.rest("POST", "/api/training/runs", json={"name": "live", **given})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def _open(product: Product, count: int) -> None:
    """Waits until so many streams are open."""
    async with asyncio.timeout(20):
        while product.connections.open_count != count:  # noqa: ASYNC110 - the registry has no event for it
            await asyncio.sleep(0.01)


async def _log(product: Product, run: str, points: Any) -> None:
    answer = await product.rest("POST", f"/api/training/runs/{run}/metrics", json=points)
    assert answer.status_code == 200, answer.text


async def _finish(product: Product, run: str, status: str = "completed") -> None:
    answer = await product.rest("POST", f"/api/training/runs/{run}/finish", json={"status": status})
    assert answer.status_code == 200, answer.text


async def test_current_values_then_changed_ones_then_the_final_status(product: Product) -> None:
    run = await _run(product)
    await _log(product, run, {"epoch": 5, "step": 1250, "loss": 0.25, "lr": 0.001})
    await _log(product, run, {"step": 1200, "accuracy": "NaN"})
    async with _watching(product, run) as socket:
        kind, data = await _next(socket)
        assert kind == "metrics"
        assert data == {"epoch": 5, "step": 1250, "accuracy": "NaN", "loss": 0.25, "lr": 0.001}
        assert list(data)[:2] == ["epoch", "step"]
        await _log(product, run, {"step": 1251, "loss": 0.25})  # the same value, but a new point
        assert await _next(socket) == ("metrics", {"epoch": 5, "step": 1251, "loss": 0.25})
        await _log(product, run, {"epoch": 6, "step": 1300, "loss": "Infinity"})
        await _finish(product, run)
        assert await _next(socket) == ("metrics", {"epoch": 6, "step": 1300, "loss": "Infinity"})
        kind, data = await _next(socket)
        ended = (await product.rest("GET", f"/api/training/runs/{run}")).json()["completed_at"]
        assert (kind, data) == ("status", {"status": "completed", "completed_at": ended})
        assert await _close_code(socket) == 1000


async def test_an_ended_run_says_what_it_came_to(product: Product) -> None:
    run = await _run(product)
    await _finish(product, run, "failed")
    async with _watching(product, run, "") as socket:
        assert await _next(socket) == ("metrics", {})
        kind, data = await _next(socket)
        assert (kind, data["status"]) == ("status", "failed")
        assert await _close_code(socket) == 1000


async def test_every_change_of_status_is_told_and_what_was_logged_last_does_not_wait(product: Product) -> None:
    run = await _run(product, start=False)
    async with _watching(product, run, "?interval=60") as socket:
        assert await _next(socket) == ("metrics", {})
        await product.rest("POST", f"/api/training/runs/{run}/start")
        assert await _next(socket) == ("status", {"status": "running", "completed_at": None})
        await _log(product, run, {"loss": 1})
        await product.rest("POST", f"/api/training/runs/{run}/stop", json={"force": True})
        assert await _next(socket) == ("metrics", {"step": 0, "loss": 1})
        assert (await _next(socket))[1]["status"] == "stopped"
        assert await _close_code(socket) == 1000


async def test_at_most_one_message_per_interval_and_none_without_points(product: Product) -> None:
    run = await _run(product)
    loop = asyncio.get_running_loop()
    async with _watching(product, run, "?interval=0.5") as socket:
        await _next(socket)
        begun = loop.time()

        async def write() -> None:
            step = 0
            while loop.time() < begun + 1.6:
                await _log(product, run, {"a": step, "step": step} if step % 2 else {"b": step, "step": step})
                step += 1
            await _finish(product, run)

        writing = asyncio.ensure_future(write())
        messages: list[tuple[float, dict[str, Any]]] = []
        while (received := await _next(socket))[0] == "metrics":
            messages.append((loop.time() - begun, received[1]))
        await writing
    assert 2 <= len(messages) <= 5  # in 1.6 s: one per half second, and the last one
    assert all(later - earlier > 0.4 for (earlier, _), (later, _) in itertools.pairwise(messages[:-1]))
    assert all({"a", "b"} <= data.keys() for _, data in messages[:2])
    steps = [data["step"] for _, data in messages]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?interval=0", "interval"),
        ("?interval=nan", "interval"),
        ("?interval=61", "interval"),
        ("?interval=soon", "interval"),
        ("?interval=1&interval=2", "interval"),
        ("?every=1", "every"),
    ],
)
async def test_a_bad_interval_is_refused_before_the_socket_opens(product: Product, query: str, field: str) -> None:
    run = await _run(product)
    assert await _refused(product, run, query) == (400, "BAD_USER_INPUT", field)
    assert product.connections.open_count == 0


async def test_runs_and_callers_that_are_not_there_are_refused_before_the_socket_opens(product: Product) -> None:
    run = await _run(product)
    assert await _refused(product, ids.new("run")) == (404, "NOT_FOUND", "id")
    assert await _refused(product, ids.new("mdl")) == (400, "BAD_USER_INPUT", "id")
    assert (await _refused(product, run, headers={}))[:2] == (401, "UNAUTHENTICATED")
    cookie = {"Cookie": f"axonml_session={product.token}"}
    assert (await _refused(product, run, headers=cookie))[:2] == (403, "FORBIDDEN")
    foreign = {**cookie, "Origin": "https://evil.example"}
    assert (await _refused(product, run, headers=foreign))[:2] == (403, "FORBIDDEN")
    async with connect(_url(product, run), additional_headers={**cookie, "Origin": product.url}) as socket:
        assert (await _next(socket))[0] == "metrics"
    plain = await product.rest("GET", f"/api/training/runs/{run}/stream")
    assert (plain.status_code, plain.json()["error"]["field"]) == (400, "Upgrade")


async def test_a_refused_handshake_is_no_error_of_the_server(product: Product, log_lines: io.StringIO) -> None:
    run = await _run(product)
    assert (await _refused(product, run, headers={}))[:2] == (401, "UNAUTHENTICATED")
    assert (await _refused(product, run, "?interval=0.001"))[:2] == (400, "BAD_USER_INPUT")
    assert (await _refused(product, ids.new("run")))[:2] == (404, "NOT_FOUND")
    assert [line["status"] for line in await _requests(log_lines, run, 2)] == [401, 400]
    assert _complaints(log_lines) == []


async def test_a_client_that_leaves_during_the_handshake_is_no_error_of_the_server(
    product: Product, log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await _run(product)
    asked, left = asyncio.Event(), asyncio.Event()
    lost = BoundedSocket.connection_lost

    async def authenticate(**_: Any) -> None:
        asked.set()
        await left.wait()
        raise Unauthenticated("the access token is not valid")

    def connection_lost(protocol: BoundedSocket, problem: Exception | None) -> None:
        lost(protocol, problem)
        left.set()

    monkeypatch.setattr(product.services.identity, "authenticate", authenticate)
    monkeypatch.setattr(BoundedSocket, "connection_lost", connection_lost)
    async with asyncio.timeout(20):
        opening = asyncio.ensure_future(connect(_url(product, run), additional_headers=product.headers).__aenter__())
        await asked.wait()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await left.wait()
    assert len(await _requests(log_lines, run, 1)) == 1
    assert _complaints(log_lines) == []


async def _requests(lines: io.StringIO, run: str, count: int) -> list[dict[str, Any]]:
    """The lines of the access log about the stream of a run, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            found = [line for line in map(json.loads, lines.getvalue().splitlines()) if line["event"] == "request"]
            found = [line for line in found if line["path"].endswith(f"{run}/stream")]
            if len(found) >= count:
                return found
            await asyncio.sleep(0)  # the line is written after the answer


def _complaints(lines: io.StringIO) -> list[dict[str, Any]]:
    logged = map(json.loads, lines.getvalue().splitlines())
    return [line for line in logged if line["level"] in ("warning", "error", "critical")]


async def _refused(
    product: Product, run: str, query: str = "", headers: dict[str, str] | None = None
) -> tuple[int, str, str | None]:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(
            _url(product, run, query), additional_headers=product.headers if headers is None else headers
        ):
            pass
    error = json.loads(refused.value.response.body or b"{}")["error"]
    return refused.value.response.status_code, error["code"], error["field"]


async def test_the_end_of_the_session_and_of_the_server_close_it(product: Product) -> None:
    run = await _run(product)
    made = (await product.rest("POST", "/api/auth/keys", json={"name": "reader", "scopes": ["runs:write"]})).json()
    key = {"Authorization": f"Bearer {made['secret']}"}
    async with connect(_url(product, run), additional_headers=key) as revoked, _watching(product, run) as stopped:
        await _next(revoked)
        await _next(stopped)
        assert product.connections.open_count == 2
        await product.rest("DELETE", f"/api/auth/keys/{made['api_key']['id']}")
        assert await _close_code(revoked) == 4403
        await product.connections.stop()
        assert await _close_code(stopped) == 1012
    assert await _refused(product, run) == (503, "UNAVAILABLE", None)


async def test_a_purge_closes_it(product: Product) -> None:
    run = await _run(product)
    async with _watching(product, run) as socket:
        await _next(socket)
        await product.rest("DELETE", f"/api/training/runs/{run}")
        await product.rest("POST", f"/api/training/runs/{run}/purge")
        assert await _close_code(socket) == 4404


async def test_what_the_client_sends_is_ignored_and_its_leaving_ends_everything(product: Product) -> None:
    run = await _run(product)
    async with _watching(product, run) as socket:
        await _next(socket)
        for text in ("hello", "{", b"\x00"):
            await socket.send(text)
        await _log(product, run, {"loss": 1})
        assert (await _next(socket))[1]["loss"] == 1
    await _open(product, 0)
