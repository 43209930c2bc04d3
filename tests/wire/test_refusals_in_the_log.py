"""What is refused is found in the log: one line for each request, with its code and why, and nothing that was sent."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from server.settings import LimitsSettings
from tests.support.product import Product
from tests.support.servers import until

NONSENSE = "Bearer axk_ab12cd34_0123456789abcdefghijABCDEFGHIJ012345"


def _of(product: Product, log_lines: io.StringIO, name: str) -> dict[str, Any]:
    """The one line of a request."""
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    (line,) = [line for line in lines if line.get("event") == "request" and line["request_id"] == name]
    return dict(line)


async def _narrow(product: Product) -> dict[str, str]:
    made = await product.rest("POST", "/api/auth/keys", json={"name": "n", "scopes": ["runs:read"]})
    return {"Authorization": f"Bearer {made.json()['secret']}"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ models { nodes { id } } }", "FORBIDDEN"),
        ('{ a: node(id: "nothing") { id } b: models { nodes { id } } c: run(id: "run_1") { id } }', "FORBIDDEN"),
        ("{ nothing }", "BAD_USER_INPUT"),
    ],
)
async def test_a_refused_read_in_the_graph(product: Product, log_lines: io.StringIO, query: str, code: str) -> None:
    headers = {**await _narrow(product), "X-Request-Id": "narrow"}
    answer = await product.http.post("/graphql", json={"query": query}, headers=headers)
    assert code in {error["extensions"]["code"] for error in answer.json()["errors"]}
    line = _of(product, log_lines, "narrow")
    assert (line["code"], line["status"]) == (code, answer.status_code)
    assert bool(line["reason"]) is (code == "FORBIDDEN"), "words about input may repeat it"


async def test_nothing_is_noted_of_what_is_answered(product: Product, log_lines: io.StringIO) -> None:
    for number, headers in enumerate(({}, product.headers)):
        await product.http.post(
            "/graphql", json={"query": "{ serverInfo { name } }"}, headers={**headers, "X-Request-Id": f"fine-{number}"}
        )
        assert "code" not in _of(product, log_lines, f"fine-{number}")


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/api/auth/me", {}, ("UNAUTHENTICATED", None, "sign in first: send an access token or an API key as Auth")),
        ("/graphql", {}, ("UNAUTHENTICATED", None, "sign in first: send an access token or an API key as Auth")),
        ("/api/auth/me", {"Authorization": NONSENSE}, ("UNAUTHENTICATED", None, "not an API key")),
        ("/graphql", {"Authorization": NONSENSE}, ("UNAUTHENTICATED", None, "not an API key")),
        ("/graphql", {"Host": "evil.example"}, ("BAD_USER_INPUT", "Host", None)),
        (
            "/graphql",
            {"Cookie": "axonml_session=x", "Origin": "https://evil.example"},
            ("FORBIDDEN", None, "own pages"),
        ),
        ("/api/auth/login", {"X": "large"}, ("PAYLOAD_TOO_LARGE", None, "at most")),
        ("/api/experiments", {"X-Axonml-Workspace": "elsewhere", "X": "signed"}, ("NOT_FOUND", None, None)),
    ],
)
async def test_what_the_edge_refuses(
    product: Product,
    log_lines: io.StringIO,
    path: str,
    headers: dict[str, str],
    expected: tuple[str, str | None, str | None],
) -> None:
    sent = {**(product.headers if headers.get("X") == "signed" else {}), **headers, "X-Request-Id": "edge"}
    method = "GET" if path.endswith("/me") else "POST"
    body = json.dumps({"query": "{ viewer { id } }"}).encode()
    if headers.get("X") == "large":
        body = b" " * (LimitsSettings().body_bytes + 1)
    request = product.http.build_request(
        method, path, content=body, headers={"Content-Type": "application/json", **sent}
    )
    answer = await product.http.send(request)
    line = _of(product, log_lines, "edge")
    code, field, words = expected
    assert (line["code"], line["status"]) == (code, answer.status_code)
    assert field is None or line["field"] == field
    assert (line["reason"] is None) if words is None else (words in line["reason"])
    assert NONSENSE[7:] not in log_lines.getvalue()


async def test_a_rate_that_is_passed(product: Product, log_lines: io.StringIO) -> None:
    wrong = {"email": "ada@example.com", "password": "not the password at all"}
    statuses = [
        (await product.http.post("/api/auth/login", json=wrong, headers={"X-Request-Id": f"g-{number}"})).status_code
        for number in range(12)
    ]
    assert statuses[-1] == 429
    assert _of(product, log_lines, "g-0")["code"] == "UNAUTHENTICATED"
    assert _of(product, log_lines, "g-11")["code"] == "RATE_LIMITED"
    assert "ada@" not in log_lines.getvalue()


async def test_sockets(product: Product, log_lines: io.StringIO) -> None:
    protocol = [Subprotocol("graphql-transport-ws")]
    narrow = await _narrow(product)
    async with connect(product.socket_url, subprotocols=protocol, additional_headers={"X-Request-Id": "s-1"}) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": narrow}))
        await socket.recv()
        payload = {"query": "{ models { nodes { id } } }"}
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
        assert "FORBIDDEN" in str(await socket.recv())
    async with connect(product.socket_url, subprotocols=protocol, additional_headers={"X-Request-Id": "s-2"}) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": {"Authorization": NONSENSE}}))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    await until(lambda: log_lines.getvalue().count("WEBSOCKET") == 2, "the lines of both sockets")
    assert _of(product, log_lines, "s-1")["code"] == "FORBIDDEN"
    assert _of(product, log_lines, "s-2")["code"] in (str(closed.value.rcvd.code), "UNAUTHENTICATED")
    assert NONSENSE[7:] not in log_lines.getvalue()
