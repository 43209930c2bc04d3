"""Uploads that go on later, files beside weights, and quotas, over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from server.settings import Settings, StorageSettings
from tests.support.product import Product, running
from tests.support.registry import files_under, weights_file

BYTES = "application/octet-stream"
LIMIT = 4 << 20
RESERVE = """
    mutation ($input: ModelVersionCreateInput!) { modelVersionCreate(input: $input) {
        id version status file { name } files { name } upload { received sizeBytes sha256 expiresAt } } }
"""
PROGRESS = """
    query ($id: ID!) { modelVersion(id: $id) {
        status upload { received } file { sha256 } files { name sizeBytes sha256 downloadUrl } servable } }
"""


@pytest.fixture
async def product(database_url: str) -> AsyncIterator[Product]:
    storage = StorageSettings(max_upload_bytes=LIMIT, max_version_files=4, max_workspace_bytes=3 * LIMIT)
    async with running(database_url, settings=Settings(storage=storage)) as served:
        made = await served.rest("POST", "/api/models", json={"name": "m"})
        assert made.status_code == 201
        yield served


async def put(
    product: Product, data: Any, offset: int | str | None, number: int = 1, headers: dict[str, str] | None = None
) -> httpx.Response:
    said = {} if offset is None else {"Upload-Offset": str(offset)}
    given = {"Content-Type": BYTES, **said, **(headers or {})}
    return await product.rest("PUT", f"/api/models/m/versions/{number}/content", content=data, headers=given)


async def reserve(product: Product, data: bytes, **more: Any) -> dict[str, Any]:
    body = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data), **more}
    answer = await product.rest("POST", "/api/models/m/uploads", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def error(answer: httpx.Response) -> tuple[int, str, str | None]:
    told = answer.json()["error"]
    return answer.status_code, told["code"], told["field"]


async def test_a_version_is_reserved_sent_in_pieces_and_watched(product: Product) -> None:
    data = weights_file()
    model = (await product.rest("GET", "/api/models/m")).json()["id"]
    given = {"modelId": model, "sha256": hashlib.sha256(data).hexdigest().upper(), "sizeBytes": len(data)}
    made = (await product.graphql(RESERVE, input=given | {"fileName": "w.safetensors"}))["modelVersionCreate"]
    assert (made["version"], made["status"], made["file"], made["files"]) == (1, "UPLOADING", None, [])
    assert (made["upload"]["received"], made["upload"]["sizeBytes"]) == (0, len(data))
    assert made["upload"]["expiresAt"] > "2"
    piece = await put(product, data[:100], 0)
    assert (piece.status_code, piece.headers["Upload-Offset"], piece.json()["received"]) == (202, "100", 100)
    seen = (await product.graphql(PROGRESS, id=made["id"]))["modelVersion"]
    assert (seen["status"], seen["upload"], seen["file"]) == ("UPLOADING", {"received": 100}, None)
    shown = (await product.rest("GET", "/api/models/m/versions/1")).json()
    assert (shown["status"], shown["upload"]["received"], shown["servable"]) == ("uploading", 100, False)
    asked = await product.rest("GET", "/api/models/m/versions/1/content")
    assert asked.json() == {
        "status": "uploading",
        "status_reason": None,
        "received": 100,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    head = await product.rest("HEAD", "/api/models/m/versions/1/content")
    assert (head.status_code, head.headers["Upload-Offset"], head.content) == (200, "100", b"")
    wrong = await put(product, data[99:], 99)
    assert (error(wrong), wrong.headers["Upload-Offset"]) == ((409, "CONFLICT", "Upload-Offset"), "100")
    assert "100 bytes are stored" in wrong.json()["error"]["message"]
    whole = await put(product, data[100:], 100)
    assert (whole.status_code, whole.json()["status"]) == (200, "ready")
    assert (await put(product, b"", len(data))).json() == whole.json()
    assert (await product.rest("GET", "/api/models/m/versions/1/download")).content == data
    seen = (await product.graphql(PROGRESS, id=made["id"]))["modelVersion"]
    assert (seen["status"], seen["upload"], [file["name"] for file in seen["files"]]) == (
        "READY",
        None,
        ["w.safetensors"],
    )


async def test_pieces_that_are_none_are_refused_and_change_nothing(product: Product) -> None:
    data = os.urandom(1000)
    await reserve(product, data)
    for offset in (None, "", "-1", "x", "1e2", "9" * 30):
        assert error(await put(product, data, offset)) == (400, "BAD_USER_INPUT", "Upload-Offset"), offset
    zipped = await put(product, gzip.compress(data), 0, headers={"Content-Encoding": "gzip"})
    assert error(zipped) == (415, "UNSUPPORTED_MEDIA_TYPE", "Content-Encoding")
    form = await put(product, data, 0, headers={"Content-Type": "text/plain"})
    assert error(form) == (415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type")
    assert error(await put(product, data + b"x", 0)) == (413, "PAYLOAD_TOO_LARGE", "size_bytes")
    assert (await put(product, data, 0, number=2)).status_code == 404
    assert (await product.rest("GET", "/api/models/m/versions/1/content")).json()["received"] == 0
    lying = await put(product, data[::-1], 0)
    assert error(lying) == (422, "BAD_USER_INPUT", "sha256")
    rejected = (await product.rest("GET", "/api/models/m/versions/1")).json()
    assert (rejected["status"], rejected["upload"], rejected["file"]) == ("rejected", None, None)
    assert "digest" in rejected["status_reason"]
    assert files_under(product.data / "blobs") == []
    assert error(await put(product, data, 0)) == (409, "CONFLICT", None)
    body = {"sha256": "0" * 64, "size_bytes": LIMIT + 1}
    large = await product.rest("POST", "/api/models/m/uploads", json=body)
    assert error(large) == (413, "PAYLOAD_TOO_LARGE", "size_bytes")


async def test_a_client_that_goes_away_goes_on_where_it_was(product: Product) -> None:
    data = os.urandom(3_000_000)
    await reserve(product, data)
    address = urlsplit(product.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"PUT /api/models/m/versions/1/content HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {product.token}\r\nContent-Type: {BYTES}\r\nUpload-Offset: 0\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    writer.write(head.encode() + data[:2_000_000])
    await writer.drain()

    async def received() -> int:
        return int((await product.rest("GET", "/api/models/m/versions/1/content")).json()["received"])

    while (await put(product, b"", 0)).status_code != 409:  # the other has not begun yet
        pass
    writer.transport.abort()
    async with asyncio.timeout(10):
        while (stored := await received()) == 0:  # noqa: ASYNC110 - the server has yet to hear of it
            await asyncio.sleep(0.01)
    assert 0 < stored <= 2_000_000

    async def rest(stored: int) -> AsyncIterator[bytes]:
        for start in range(stored, len(data), 100_000):
            yield data[start : start + 100_000]

    async with asyncio.timeout(30):
        while (sent := await put(product, rest(stored), stored)).status_code == 409:
            # It had been saved while the other was still sending, and more of that has come since.
            stored = await received()
            assert stored <= 2_000_000
    assert sent.status_code == 200
    assert (await product.rest("GET", "/api/models/m/versions/1/download")).content == data


async def test_a_version_of_several_files(product: Product) -> None:
    weights, labels = weights_file(), b"cat\ndog\n"
    parts = [
        ("file", ("w.safetensors", weights)),
        ("files", ("labels.txt", labels)),
        ("files", ("tokenizer.json", b"{}")),
        ("description", (None, b"three files")),
    ]
    made = await product.rest("POST", "/api/models/m/versions", files=parts)
    assert made.status_code == 201, made.text
    assert [file["name"] for file in made.json()["files"]] == ["w.safetensors", "labels.txt", "tokenizer.json"]
    url = made.json()["files"][1]["download_url"]
    assert url.endswith("/versions/1/files/labels.txt")
    whole = await product.rest("GET", url)
    assert (whole.content, whole.headers["etag"]) == (labels, f'"{hashlib.sha256(labels).hexdigest()}"')
    assert whole.headers["content-disposition"] == 'attachment; filename="labels.txt"'
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = await product.rest("GET", url, headers={"Range": "bytes=4-6", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, b"dog")
    assert (await product.rest("GET", url, headers={"Range": "bytes=4-6", "If-Range": '"x"'})).status_code == 200
    assert (await product.rest("GET", url, headers={"If-None-Match": whole.headers["etag"]})).status_code == 304
    for named in (whole.headers["etag"], f'"x", {whole.headers["etag"]}', "*"):
        assert (await product.rest("GET", url, headers={"Range": "bytes=4-6", "If-Match": named})).status_code == 206
    other = await product.rest("GET", url, headers={"Range": "bytes=4-6", "If-Match": '"x"'})
    assert (error(other), other.headers["etag"]) == ((412, "CONFLICT", "If-Match"), whole.headers["etag"])
    head = await product.rest("HEAD", url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "8", b"")
    assert (await product.rest("GET", "/api/models/m/versions/1/files/w.safetensors")).content == weights
    added = await _add(product, "vocab.txt", b"a b c")
    assert (added.status_code, added.json()["size_bytes"]) == (200, 5)
    assert (await _add(product, "vocab.txt", b"a b c")).json() == added.json()
    assert error(await _add(product, "vocab.txt", b"d e f")) == (409, "CONFLICT", "name")
    assert error(await _add(product, "more.txt", b"x")) == (409, "CONFLICT", "files")
    listed = (await product.rest("GET", "/api/models/m/versions/1/files")).json()
    assert [file["name"] for file in listed["items"]] == ["w.safetensors", "labels.txt", "tokenizer.json", "vocab.txt"]
    assert error(await _add(product, "%2e%2e%2fevil", b"x"))[0] in (400, 404)
    assert error(await _add(product, "a b", b"x")) == (400, "BAD_USER_INPUT", "name")
    assert error(await product.rest("GET", "/api/models/m/versions/1/files/none")) == (404, "NOT_FOUND", "name")


async def _add(product: Product, name: str, data: bytes, **params: str) -> httpx.Response:
    path = f"/api/models/m/versions/1/files/{name}"
    return await product.rest("PUT", path, content=data, headers={"Content-Type": BYTES}, params=params)


@pytest.mark.parametrize(
    ("parts", "status", "field"),
    [
        ([("labels.txt", b"a"), ("labels.txt", b"b")], 422, "files"),
        ([("w.bin", b"a")], 422, "files"),
        ([("../evil", b"a")], 422, "files"),
        ([("", b"a")], 422, "files"),
        ([("empty", b"")], 422, "files"),
        ([(f"f{number}", b"x") for number in range(4)], 409, "files"),
        ([("big", b"x" * (LIMIT + 1))], 413, "file"),
    ],
)
async def test_forms_of_bad_files_leave_nothing(
    product: Product, parts: list[tuple[str, bytes]], status: int, field: str
) -> None:
    form = [("file", ("w.bin", b"weights")), *(("files", part) for part in parts)]
    answer = await product.rest("POST", "/api/models/m/versions", files=form)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.text
    assert files_under(product.data / "blobs") == []
    assert (await product.rest("GET", "/api/models/m/versions")).json()["items"] == []


async def test_a_full_workspace_takes_no_more(product: Product) -> None:
    for number in range(3):
        answer = await product.rest(
            "POST",
            "/api/models/m/versions",
            content=bytes([number]) * (LIMIT - 1000),
            headers={"Content-Type": BYTES},
        )
        assert answer.status_code == 201
    for request in (
        product.rest("POST", "/api/models/m/versions", content=b"x" * 4000, headers={"Content-Type": BYTES}),
        product.rest("POST", "/api/models/m/versions", files={"file": ("w", os.urandom(4000))}),
        product.rest("POST", "/api/models/m/uploads", content=json.dumps({"sha256": "0" * 64, "size_bytes": 4000}),
                     headers={"Content-Type": "application/json"}),
        _add(product, "labels", os.urandom(4000)),
    ):  # fmt: skip
        answer = await request
        assert error(answer)[:2] == (413, "PAYLOAD_TOO_LARGE")
        assert "workspace" in answer.json()["error"]["message"]
    assert len(files_under(product.data / "blobs")) == 3
