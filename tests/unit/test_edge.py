"""Pieces of the edge without a server."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import structlog
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from server import logs
from server.edge.connections import LiveConnections
from server.edge.identity import client_of
from server.edge.replies import header
from server.edge.request_log import RequestLog
from server.figures import RequestFigures


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged, as JSON lines."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    logs.configure("info", "json", stream=written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def http_scope(path: str = "/", **more: Any) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", **more}


async def nothing() -> Message:
    raise AssertionError("nobody reads here")


class Collected(list[Message]):
    """What was sent."""

    async def send(self, message: Message) -> None:
        self.append(message)


async def test_the_access_log_writes_a_status_as_its_number(stream: io.StringIO) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": HTTPStatus.CREATED, "headers": []})
        await send({"type": "http.response.body", "body": b"abc"})

    headers = [(b"x-request-id", b"r-7")]
    figures = RequestFigures()
    await RequestLog(app, figures)(http_scope("/api/things", headers=headers), nothing, Collected().send)
    (counted,) = figures.now()
    assert (counted.method, counted.route, counted.status, counted.seconds.count) == ("GET", "unmatched", 201, 1)
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["status"], type(line["status"]), line["bytes"]) == (201, int, 3)
    assert (line["event"], line["logger"], line["level"]) == ("request", "axonml.access", "info")
    assert (line["method"], line["path"], line["request_id"]) == ("GET", "/api/things", "r-7")


async def test_the_access_log_keeps_secrets_and_forged_lines_out(stream: io.StringIO) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    secret = "axk_ab12cd34_0123456789abcdefghijABCDEFGHIJ012345"
    headers = [(b"x-request-id", secret.encode())]
    await RequestLog(app, RequestFigures())(
        http_scope(f"/api/{secret}/\n{{}}", headers=headers), nothing, Collected().send
    )
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert secret not in stream.getvalue()
    assert line["path"] == "/api/axk_[redacted]\\x0a{}"


async def test_an_empty_registry_of_connections_is_still_one() -> None:
    connections = LiveConnections()
    assert bool(connections) is True
    assert connections.open_count == 0

    async def close(_code: int, _reason: str) -> None:
        raise AssertionError("nobody closes here")

    async with connections.opened(close):
        assert connections.open_count == 1
    assert connections.open_count == 0


@pytest.mark.parametrize(
    ("scope", "address", "agent"),
    [
        (http_scope(client=("10.1.2.3", 999), headers=[(b"user-agent", b"curl/8")]), "10.1.2.3", "curl/8"),
        (http_scope(client=None), None, None),
    ],
)
def test_where_a_request_came_from(scope: dict[str, Any], address: str | None, agent: str | None) -> None:
    found = client_of(Request(scope))
    assert (found.address, found.user_agent) == (address, agent)


def test_of_a_header_that_comes_twice_the_first_counts_wherever_it_is_asked_for() -> None:
    scope = http_scope(headers=[(b"accept", b"one"), (b"x-other", b"\xe9"), (b"accept", b"two")])
    assert header(scope, b"accept") == Request(scope).headers["accept"] == "one"
    assert header(scope, b"x-other") == "\xe9"
    assert header(scope, b"content-type") is None
