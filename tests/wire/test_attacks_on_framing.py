"""Requests whose length two readers could take for different ones, so that a second request hides in the first."""

from __future__ import annotations

import asyncio
import json
import re
from urllib.parse import urlsplit

from tests.support.product import Product
from tests.support.raw import answer_to

HIDDEN = b"GET /api/auth/me HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
START = b"POST /api/auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
AMBIGUOUS = {
    "both lengths": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way round": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two different lengths": b"Content-Length: 2\r\nContent-Length: 48\r\n\r\n{}",
    "two lengths in one header": b"Content-Length: 2, 48\r\n\r\n{}",
    "a signed length": b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": b"Content-Length: 0x2\r\n\r\n{}",
    "chunked, but not last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an unknown encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 2\r\n\r\n{}",
    "a folded header": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "two encodings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a header behind a lone carriage return": b"X: a\rContent-Length: 2\r\n\r\n{}",
    "a header with a NUL": b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    "a chunk that a lone line feed begins": b"Transfer-Encoding: chunked\r\n\r\n2;a\n{}\r\n0\r\n\r\n",
    "a chunk that something else ends": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n",
    "a chunk of a length in hexadecimal": b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk of a signed length": b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
    "a chunk of more than there is": b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
}


async def answers(product: Product, request: bytes) -> list[bytes]:
    """The statuses that the server answers until it closes the connection."""
    return re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", await answer_to(product.url, request))


async def test_a_request_of_two_lengths_is_refused_with_what_follows_it(product: Product) -> None:
    for name, lines in AMBIGUOUS.items():
        assert await answers(product, START + lines + HIDDEN) == [b"400"], name


async def test_one_length_is_one_request(product: Product) -> None:
    """What the refusals above are told from: the same two requests, of which the first has one length."""
    whole = START.replace(b"/api/auth/login", b"/graphql") + b"Content-Length: 30\r\n\r\n"
    assert await answers(product, whole + b'{"query":"{serverInfo{name}}"}' + HIDDEN) == [b"200", b"401"]


async def test_what_cannot_be_read_adds_nothing_to_an_answer_that_has_begun(product: Product) -> None:
    """A second answer in the middle of the first would be data that somebody else chose."""
    made = await product.rest("POST", "/api/training/runs", json={"name": "followed"})
    asked = json.dumps({"query": f'subscription {{ runUpdated(runId: "{made.json()["id"]}") {{ name }} }}'}).encode()
    head = f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {product.token}\r\n".encode()
    kind = b"Content-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(asked)
    chunked = START.replace(b"/api/auth/login", b"/api/auth/me") + b"Transfer-Encoding: chunked\r\n\r\n"
    for request, begun, unreadable in (
        (head + kind + asked, b'"followed"', b"\x00\r\n\r\n"),  # the stream of events goes on
        (chunked, b'"request_id"', b"zz\r\n{}\r\n"),  # answered before its body has arrived
    ):
        address = urlsplit(product.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(request)
            async with asyncio.timeout(10):
                said = await reader.readuntil(begun)
                writer.write(unreadable)
                said += await reader.read()
        finally:
            writer.close()
        assert said.count(b"HTTP/1.1 ") == 1, said
        assert b"that can be read" not in said
