"""Attacks below the requests: handshakes that are none, what never ends between the bytes that count, foreign names."""

from __future__ import annotations

from server.protocol import HEAD_BYTES
from tests.support.product import Product
from tests.support.raw import answer_to

_KIB_64 = b"x" * 65_536
_POST = b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
_HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
_HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_LAST = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


async def test_what_only_begins_like_a_handshake_is_answered_and_ended(product: Product) -> None:
    for rest in (
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"X: y\r\n" * 129 + b"\r\n",
        b"X: " + b"y" * 9_000 + b"\r\n\r\n",
    ):
        said = await answer_to(product.url, _HANDSHAKE + rest)
        assert said.startswith(b"HTTP/1.1 400 "), (rest[:40], said)
        assert b"BAD_USER_INPUT" in said


async def test_what_has_no_end_and_is_no_content_ends_its_connection(product: Product) -> None:
    for begun, piece in {
        "a trailer": (_POST + b"\r\n2\r\n{}\r\n0\r\nX: ", _KIB_64),
        "the name of a trailer": (_POST + b"\r\n2\r\n{}\r\n0\r\n", _KIB_64),
        "a trailer after the answer": (_POST.replace(b"/graphql", b"/api/auth/me") + b"\r\n0\r\nX: ", _KIB_64),
        "what a chunk says": (_POST + b"\r\n1;", _KIB_64),
        "zeroes of a length": (_POST + b"\r\n", b"0" * 65_536),
    }.values():
        said = await answer_to(product.url, begun, *[piece] * 64)
        assert said.count(b"HTTP/1.1 ") <= 1, (begun, said)
        assert b" 200 " not in said
    assert b" 200 " in await answer_to(product.url, _LAST)


async def test_many_requests_at_once_are_no_long_head(product: Product) -> None:
    most = 2 * HEAD_BYTES // len(_HEALTH)
    assert (await answer_to(product.url, _HEALTH * most + _LAST)).count(b"HTTP/1.1 200 OK") == most + 1


async def test_what_is_no_host_name_is_none_of_ours(product: Product) -> None:
    for host in ("127.0.0.1:80@evil.example", "[::1]evil.example", "localhost:evil", "localhost/x", ""):
        refused = await product.http.get("/health", headers={"Host": host})
        assert (refused.status_code, refused.json()["error"]["field"]) == (400, "Host"), host


async def test_a_whole_address_names_the_host_by_itself(product: Product) -> None:
    rest = b" HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
    foreign = await answer_to(product.url, b"GET http://evil.example/health" + rest % b"127.0.0.1")
    own = await answer_to(product.url, b"GET http://localhost:80/health" + rest % b"evil.example")
    assert (foreign.split()[1], own.split()[1]) == (b"400", b"200")
