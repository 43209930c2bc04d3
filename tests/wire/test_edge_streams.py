"""Long answers and crowds over real sockets: what is cut off is torn visibly, and who comes on top is told so."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from server.rest.route import Answer, Handler, Operation, Route
from server.settings import LimitsSettings
from tests.wire.served import Served, serving
from tests.wire.things import SIGNED_IN, error_of


def _large_file(tmp_path: Path) -> Path:
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(256 << 20)
    return file


def _long_answers(file: Path) -> tuple[Route, ...]:
    """An export that never ends, and a download that nobody reads as fast as it is sent."""

    async def lines() -> AsyncIterator[bytes]:
        while True:
            yield b"key,step,timestamp,value\r\n"
            await asyncio.sleep(0)

    async def export(_: Request) -> Response:
        return StreamingResponse(lines())

    async def download(_: Request) -> Response:
        return FileResponse(file)

    def route(name: str, handler: Handler) -> Route:
        answers = {200: Answer("Much.")}
        operation = Operation(
            method="get",
            path=f"/api/{name}",
            operation_id=name,
            tag="system",
            summary=name,
            description=name,
            answers=answers,
        )
        return Route(operation, handler)

    return route("export", export), route("download", download)


@pytest.mark.parametrize("path", ["/api/export", "/api/download"])
@pytest.mark.parametrize("end", ["stop", "session"])
def test_what_is_being_sent_is_torn_visibly_when_it_must_end(
    path: str, end: str, tmp_path: Path, log_lines: io.StringIO
) -> None:
    with serving(rest=_long_answers(_large_file(tmp_path))) as server, httpx.Client(timeout=30) as client:
        connections = server.connections
        with client.stream("GET", f"{server.url}{path}", headers=SIGNED_IN) as response:
            pieces = response.iter_raw()
            next(pieces)
            server.call(connections.stop() if end == "stop" else connections.end_session("ses_1"))
            with pytest.raises(httpx.TransportError):
                list(pieces)
        later = client.get(f"{server.url}{path}", headers=SIGNED_IN) if end == "stop" else None
    if later is not None:
        assert error_of(later) == (503, "UNAVAILABLE", None)
        assert later.headers["retry-after"] == "1"
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert [line["event"] for line in lines if line["event"] == "answer cut short"] == ["answer cut short"]
    assert not [line for line in lines if line["level"] in ("error", "critical")]


def test_who_comes_on_top_of_the_limit_is_told_to_come_back() -> None:
    with (
        serving(limits=LimitsSettings(connections=10, connections_per_caller=10)) as server,
        httpx.Client(base_url=server.url, headers=SIGNED_IN, timeout=30) as client,
        ExitStack() as held,
    ):
        sockets = [held.enter_context(_graphql_socket(server)) for _ in range(2)]
        streams = [held.enter_context(client.stream("GET", "/api/stream")).iter_raw() for _ in range(8)]
        assert [next(stream) for stream in streams] == [b"first\n"] * 8

        refused = client.post("/api/read", content=b"x" * 1000)
        assert error_of(refused) == (503, "UNAVAILABLE", None)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["request_id"] == refused.headers["x-request-id"]
        of_graph = client.post("/graphql", json={"query": "{ hello }"})
        assert (of_graph.status_code, of_graph.headers["retry-after"]) == (503, "1")
        assert of_graph.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
        with pytest.raises(InvalidStatus) as no_socket, _graphql_socket(server):
            pass
        assert no_socket.value.response.status_code == 503
        assert no_socket.value.response.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200

        sockets[0].close()
        until = time.monotonic() + 10
        while (answered := client.post("/api/read", content=b"x" * 1000)).status_code == 503:
            assert time.monotonic() < until
        assert answered.text == "1000"
        server.call(server.connections.stop())


def _graphql_socket(server: Served) -> ClientConnection:
    return connect(server.socket, subprotocols=[Subprotocol("graphql-transport-ws")])


def test_streams_end_when_the_server_stops() -> None:
    with (
        serving() as server,
        httpx.Client(timeout=30) as client,
        client.stream("GET", f"{server.url}/api/stream", headers=SIGNED_IN) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "first"
        server.call(server.connections.stop())
        assert list(lines) == []
