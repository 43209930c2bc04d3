"""Uploads and downloads over HTTP: forms and raw bytes, broken and hostile ones, ranges, and what stays behind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.settings import Settings, StorageSettings
from tests.support.lies import CORPUS
from tests.support.models import linear
from tests.support.product import Product, running
from tests.support.registry import files_under, weights_file

VERSIONS = "/api/models/m/versions"
LIMIT = 8 << 20


@pytest.fixture
async def product(database_url: str) -> AsyncIterator[Product]:
    storage = StorageSettings(max_upload_bytes=LIMIT)
    async with running(database_url, settings=Settings(storage=storage)) as served:
        made = await served.rest("POST", "/api/models", json={"name": "m"})
        assert made.status_code == 201
        yield served


async def _raw(product: Product, data: bytes | AsyncIterator[bytes], **options: Any) -> httpx.Response:
    headers = {"Content-Type": "application/octet-stream", **options.pop("headers", {})}
    return await product.rest("POST", options.pop("path", VERSIONS), content=data, headers=headers, **options)


def _stored(product: Product) -> list[str]:
    return files_under(product.data / "blobs")


async def _nothing_changed(product: Product) -> None:
    assert _stored(product) == []
    listed = await product.rest("GET", VERSIONS)
    assert listed.json()["items"] == []


async def test_a_form_becomes_a_servable_version(product: Product) -> None:
    data = weights_file()
    parts = {
        "file": ("../../evil/w.safetensors", data, "application/octet-stream"),
        "architecture": (None, json.dumps(linear()), "application/json"),
        "description": (None, "first"),
        "metrics": (None, '{"acc": 0.97}'),
        "tags": (None, '{"stage": "dev"}'),
        "sha256": (None, hashlib.sha256(data).hexdigest().upper()),
    }
    answer = await product.rest("POST", VERSIONS, files=parts)
    assert answer.status_code == 201, answer.text
    version = answer.json()
    assert (version["version"], version["status"], version["servable"]) == (1, "ready", True)
    assert version["file"] == {
        "name": "w.safetensors",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "format": "safetensors",
        "parameter_count": 20,
        "download_url": f"/api/models/{version['model_id']}/versions/1/download",
    }
    assert (version["metrics"], version["tags"]) == ({"acc": 0.97}, {"stage": "dev"})
    assert version["architecture"]["format"] == "arch/1"
    assert _stored(product) == [version["file"]["sha256"]]
    model = (await product.rest("GET", "/api/models/m")).json()
    assert model["latest_version"] == 1


async def test_raw_bytes_stream_with_the_rest_in_the_query(product: Product) -> None:
    data = os.urandom(3_000_000)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    answer = await _raw(product, chunks(), params={"description": "raw", "metrics": '{"a": 1}'})
    assert answer.status_code == 201, answer.text
    assert answer.json()["file"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert (answer.json()["description"], answer.json()["servable"]) == ("raw", False)


async def test_downloads_give_the_bytes_back(product: Product) -> None:
    data = os.urandom(300_000)
    made = await product.rest("POST", VERSIONS, files={"file": ('w\u00e9ights "1".bin', data)})
    url = made.json()["file"]["download_url"]
    etag = f'"{hashlib.sha256(data).hexdigest()}"'
    whole = await product.rest("GET", url)
    assert whole.content == data
    assert whole.headers["etag"] == etag
    assert whole.headers["content-disposition"].startswith("attachment")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-type"] == "application/octet-stream"
    head = await product.rest("HEAD", url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(data)))
    known = await product.rest("GET", url, headers={"If-None-Match": f'W/"x", {etag}'})
    assert (known.status_code, known.content) == (304, b"")
    part = await product.rest("GET", url, headers={"Range": "bytes=100-199", "If-Range": etag})
    assert (part.status_code, part.content) == (206, data[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(data)}"
    stale = await product.rest("GET", url, headers={"Range": "bytes=100-199", "If-Range": '"other"'})
    assert (stale.status_code, stale.content) == (200, data)
    many = await product.rest("GET", url, headers={"Range": "bytes=" + ",".join("0-" for _ in range(1_000))})
    assert (many.status_code, many.content) == (200, data)
    two = await product.rest("GET", url, headers={"Range": "bytes=0-9,100-109"})
    assert two.headers["content-type"].startswith("multipart/byteranges")
    assert data[100:110] in two.content
    beyond = await product.rest("GET", url, headers={"Range": "bytes=999999999-"})
    assert (beyond.status_code, beyond.json()["error"]["field"]) == (416, "Range")
    assert beyond.headers["content-range"] == f"bytes */{len(data)}"
    for odd in ("bytes=-", "bytes=5-1", "lines=1-2", "bytes=a-b", "bytes=" + "9" * 50 + "-"):
        ignored = await product.rest("GET", url, headers={"Range": odd})
        assert (ignored.status_code, ignored.content) == (200, data), odd
    last = await product.rest("GET", url, headers={"Range": "bytes=-10"})
    assert (last.status_code, last.content) == (206, data[-10:])
    assert (await product.rest("GET", "/api/models/m/versions/latest/download")).content == data
    anonymous = await product.http.get(url)
    assert anonymous.status_code == 401


def _form(*parts: tuple[str, bytes], boundary: str = "b", end: bool = True) -> bytes:
    body = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (boundary.encode(), name.encode(), data)
        for name, data in parts
    )
    return body + (f"--{boundary}--\r\n".encode() if end else b"")


_FILE = ('name="file"; filename="w.bin"', b"bytes")
_BROKEN: dict[str, tuple[str, bytes, int, str | None]] = {
    "no boundary": ("multipart/form-data", _form(_FILE), 400, "Content-Type"),
    "huge boundary": (f"multipart/form-data; boundary={'b' * 5000}", _form(_FILE), 400, "Content-Type"),
    "another boundary": ("multipart/form-data; boundary=c", _form(_FILE), 400, None),
    "cut off": ("multipart/form-data; boundary=b", _form(_FILE)[:-12], 400, None),
    "no end": ("multipart/form-data; boundary=b", _form(_FILE, end=False), 400, None),
    "not a form": ("multipart/form-data; boundary=b", b"garbage", 400, None),
    "nothing": ("multipart/form-data; boundary=b", b"", 400, None),
    "no file": ("multipart/form-data; boundary=b", _form(('name="description"', b"d")), 422, "file"),
    "two files": ("multipart/form-data; boundary=b", _form(_FILE, _FILE), 422, "file"),
    "an unknown part": ("multipart/form-data; boundary=b", _form(_FILE, ('name="path"', b"/etc")), 422, "path"),
    "a part without a name": ("multipart/form-data; boundary=b", _form(_FILE, ("x=y", b"")), 400, None),
    "tags that are no object": ("multipart/form-data; boundary=b", _form(_FILE, ('name="tags"', b"[1]")), 422, "tags"),
    "metrics that are no JSON": (
        "multipart/form-data; boundary=b",
        _form(_FILE, ('name="metrics"', b'{"a": NaN}')),
        422,
        "metrics",
    ),
    "metrics nested deep": (
        "multipart/form-data; boundary=b",
        _form(_FILE, ('name="metrics"', b'{"a":' * 100_000)),
        422,
        "metrics",
    ),
    "text that is not UTF-8": (
        "multipart/form-data; boundary=b",
        _form(_FILE, ('name="description"', b"\xff\xfe")),
        422,
        "description",
    ),
    "a huge part beside the file": (
        "multipart/form-data; boundary=b",
        _form(('name="description"', b"x" * ((8 << 20) + 1)), _FILE),
        413,
        "description",
    ),
    "an architecture for other bytes": (
        "multipart/form-data; boundary=b",
        _form(_FILE, ('name="architecture"', b"{}")),
        422,
        "architecture",
    ),
    "a lying name": (
        "multipart/form-data; boundary=b",
        _form(('name="file"; filename="w.safetensors"', b"bytes")),
        422,
        "file",
    ),
    "an empty file": ("application/octet-stream", b"", 422, "file"),
    "JSON": ("application/json", b"{}", 415, "Content-Type"),
    "no type": ("", b"bytes", 415, "Content-Type"),
}


async def test_broken_uploads_are_refused_and_change_nothing(product: Product) -> None:
    for what, (kind, body, status, field) in _BROKEN.items():
        answer = await product.rest("POST", VERSIONS, content=body, headers={"Content-Type": kind})
        assert answer.status_code == status, (what, answer.text)
        assert answer.json()["error"]["field"] == field, what
        await _nothing_changed(product)


async def test_lying_files_are_refused_with_their_reason_and_change_nothing(product: Product) -> None:
    for what, (data, name, reason) in CORPUS.items():
        answer = await product.rest("POST", VERSIONS, files={"file": (name, data)})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["field"]) == (422, "BAD_USER_INPUT", "file"), what
        assert error["message"].endswith(f"[{reason.value}]"), what
    await _nothing_changed(product)


async def test_too_large_files_are_refused_early(product: Product) -> None:
    announced = await _raw(product, b"x" * (LIMIT + 1))
    assert (announced.status_code, announced.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    # Without a length: the answer comes while the client is still sending.
    reader, writer = await _request(product, "Transfer-Encoding: chunked")
    block = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    for _ in range((LIMIT >> 20) + 2):
        writer.write(block)
        await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()
    await _nothing_changed(product)


async def test_uploads_broken_off_leave_nothing(product: Product) -> None:
    reader, writer = await _request(product, "Content-Length: 4000000")
    writer.write(b"x" * 2_500_000)
    await writer.drain()
    await _until(lambda: len(list((product.data / "blobs" / "tmp").iterdir())) == 1)
    writer.close()
    await writer.wait_closed()
    assert await reader.read() == b""
    await _until(lambda: not list((product.data / "blobs" / "tmp").iterdir()))
    await _nothing_changed(product)


async def test_versions_are_deleted_by_number_and_their_numbers_stay_used(product: Product) -> None:
    for _ in range(2):
        assert (await _raw(product, b"the same bytes")).status_code == 201
    for place, (status, code) in {
        "latest": (400, "BAD_USER_INPUT"),
        "@best": (400, "BAD_USER_INPUT"),
        "0": (400, "BAD_USER_INPUT"),
        "7": (404, "NOT_FOUND"),
    }.items():
        answer = await product.rest("DELETE", f"{VERSIONS}/{place}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), place
    assert (await product.rest("DELETE", "/api/models/nowhere/versions/1")).status_code == 404
    assert (await product.rest("GET", VERSIONS)).json()["total"] == 2

    gone = await product.rest("DELETE", f"{VERSIONS}/2")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await product.rest("DELETE", f"{VERSIONS}/2")).status_code == 404
    assert (await product.rest("GET", f"{VERSIONS}/1/download")).content == b"the same bytes"
    assert (await _raw(product, b"others")).json()["version"] == 3
    for number in (1, 3):
        assert (await product.rest("DELETE", f"{VERSIONS}/{number}")).status_code == 204
    assert (await product.rest("GET", VERSIONS)).json()["items"] == []


async def test_a_version_that_an_endpoint_uses_stays(product: Product) -> None:
    parts = {
        "file": ("w.safetensors", weights_file(), "application/octet-stream"),
        "architecture": (None, json.dumps(linear()), "application/json"),
    }
    version = (await product.rest("POST", VERSIONS, files=parts)).json()
    endpoint = {"name": "e", "model_version_id": version["id"]}
    assert (await product.rest("POST", "/api/inference/endpoints", json=endpoint)).status_code == 201
    refused = await product.rest("DELETE", f"{VERSIONS}/1")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CONFLICT")
    assert (await product.rest("GET", f"{VERSIONS}/1")).status_code == 200


async def test_an_upload_that_is_sent_twice_happens_once(product: Product) -> None:
    key = {"Idempotency-Key": "upload-1"}
    first, again = await asyncio.gather(*(_raw(product, b"bytes", headers=key) for _ in range(2)))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    other = await _raw(product, b"other", headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "CONFLICT")


@pytest.mark.parametrize("name", ["nowhere", "..%2f..", "%2e%2e", "a%00", "a;b", "mdl_" + "0" * 32])
async def test_uploads_to_no_model_are_refused_before_the_body(product: Product, name: str) -> None:
    answer = await _raw(product, b"x" * 1_000_000, path=f"/api/models/{name}/versions")
    assert answer.status_code == 404
    assert _stored(product) == []


async def test_the_architecture_comes_later_and_once(product: Product) -> None:
    await _raw(product, weights_file())
    path = f"{VERSIONS}/1/architecture"
    wrong = await product.rest("PUT", path, json=linear(5, 5))
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "architecture")
    right = await product.rest("PUT", path, json=linear())
    assert (right.status_code, right.json()["servable"]) == (200, True)
    assert (await product.rest("PUT", path, json=linear())).status_code == 200
    other = linear()
    other["outputs"][0]["name"] = "z"
    assert (await product.rest("PUT", path, json=other)).status_code == 409


async def test_a_large_upload_takes_little_memory(database_url: str) -> None:
    size, chunk = 192 << 20, os.urandom(1 << 20)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // len(chunk)):
            yield chunk

    async with running(database_url) as product:
        await product.rest("POST", "/api/models", json={"name": "m"})
        await _raw(product, b"warm up")
        before = _peak()
        answer = await _raw(product, chunks(), timeout=120)
        assert answer.status_code == 201
        assert answer.json()["file"]["size_bytes"] == size
        assert _peak() - before < 64 << 20


def _peak() -> int:
    """The most memory this process (client and server) has had, in bytes."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


async def _request(product: Product, length: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the head of an upload was sent."""
    host, port = product.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {VERSIONS} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {product.token}\r\n"
        f"Content-Type: application/octet-stream\r\n{length}\r\n\r\n"
    )
    writer.write(head.encode())
    return reader, writer


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a directory has no event
            await asyncio.sleep(0.01)
