"""Pieces of the edge without a server."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from server.edge.connections import LiveConnections
from server.edge.identity import client_of
from server.edge.request_log import RequestLog


def http_scope(path: str = "/", **more: Any) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", **more}


async def nothing() -> Message:
    raise AssertionError("nobody reads here")


class Collected(list[Message]):
    """What was sent."""

    async def send(self, message: Message) -> None:
        self.append(message)


async def test_the_access_log_writes_a_status_as_its_number() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": HTTPStatus.CREATED, "headers": []})
        await send({"type": "http.response.body", "body": b"abc"})

    with capture_logs() as lines:
        await RequestLog(app)(http_scope("/api/things"), nothing, Collected().send)
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["status"], type(line["status"]), line["bytes"]) == (201, int, 3)


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
