"""Uploads far larger than the memory they may take, as raw bytes and as a form: the server's memory stays flat."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.registry import files_under, weights_file
from tests.support.servers import Server, server, until

log = logging.getLogger(__name__)

MIB = 2**20
PIECE = MIB
MOST_GROWTH = 50 * MIB
SAMPLE_SECONDS = 0.02
BOUNDARY = "flat"


class BigFile:
    """A valid safetensors file that exists nowhere: a header, and one tensor of `size` zeros, whole MiB."""

    def __init__(self, size: int) -> None:
        header = json.dumps({"w": {"dtype": "U8", "shape": [size // MIB, MIB], "data_offsets": [0, size]}}).encode()
        header += b" " * (-len(header) % 8)
        self._head = len(header).to_bytes(8, "little") + header
        self._zeros = size
        self.size = len(self._head) + size
        self.sha256 = ""

    async def pieces(self) -> AsyncIterator[bytes]:
        digest = hashlib.sha256(self._head)
        yield self._head
        zeros = bytes(PIECE)
        for start in range(0, self._zeros, PIECE):
            piece = zeros[: min(PIECE, self._zeros - start)]
            digest.update(piece)
            yield piece
        self.sha256 = digest.hexdigest()

    async def form(self) -> AsyncIterator[bytes]:
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="description"\r\n\r\nbig\r\n'.encode()
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="w.safetensors"\r\n\r\n'
        yield head.encode()
        async for piece in self.pieces():
            yield piece
        yield f"\r\n--{BOUNDARY}--\r\n".encode()


class Memory:
    """The resident memory of a process: at the start of the block, and at its highest meanwhile."""

    def __init__(self, served: Server) -> None:
        self._process = psutil.Process(served.pid)
        self.before = self._process.memory_info().rss
        self.highest = self.before
        self._task: asyncio.Task[None] | None = None

    @property
    def growth(self) -> int:
        return self.highest - self.before

    async def __aenter__(self) -> Memory:
        self._task = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _sample(self) -> None:
        while True:
            self.highest = max(self.highest, self._process.memory_info().rss)
            await asyncio.sleep(SAMPLE_SECONDS)


async def _upload(http: httpx.AsyncClient, big: BigFile, *, form: bool) -> dict[str, Any]:
    kind = f"multipart/form-data; boundary={BOUNDARY}" if form else "application/octet-stream"
    body = big.form() if form else big.pieces()
    answer = await http.post("/api/models/m/versions", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 201, answer.text
    version: dict[str, Any] = answer.json()
    return version


async def _download(http: httpx.AsyncClient, version: dict[str, Any]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    async with http.stream("GET", version["file"]["download_url"]) as answer:
        assert answer.status_code == 200
        async for piece in answer.aiter_bytes():
            size += len(piece)
            digest.update(piece)
    return size, digest.hexdigest()


async def _there_and_back(folder: Path, database_url: str, sizes: dict[str, int]) -> dict[str, float]:
    """How much the memory of the server grew, in bytes, by what was done."""
    async with (
        server(folder, environment={"AXONML_DATABASE_URL": database_url}) as served,
        served.http(timeout=300) as http,
    ):
        assert (await http.post("/api/models", json={"name": "m"})).status_code == 201
        small = await http.post("/api/models/m/versions", files={"file": ("w", weights_file())})
        assert small.status_code == 201, "what the first upload of all loads is not growth"
        grown: dict[str, float] = {}
        for kind, size in sizes.items():
            big = BigFile(size)
            started = time.monotonic()
            async with Memory(served) as up:
                version = await _upload(http, big, form=kind == "form")
            took = time.monotonic() - started
            assert version["file"]["size_bytes"] == big.size
            assert version["file"]["sha256"] == big.sha256
            assert (version["status"], version["file"]["format"]) == ("ready", "safetensors")
            started = time.monotonic()
            async with Memory(served) as down:
                assert await _download(http, version) == (big.size, big.sha256)
            report = (
                f"{kind} {big.size / MIB:.0f} MiB: up {took:.1f} s,"
                f" RSS {up.before / MIB:.0f} + {up.growth / MIB:.1f} MiB;"
                f" down {time.monotonic() - started:.1f} s, RSS + {down.growth / MIB:.1f} MiB"
            )
            log.info("%s", report)
            grown |= {f"{kind} up": up.growth, f"{kind} down": down.growth}
        assert len(files_under(served.data / "blobs")) == len(sizes) + 1, "nothing but the files is kept"
    return grown


async def test_a_large_upload_takes_no_memory(folder: Path, database_url: str) -> None:
    grown = await _there_and_back(folder, database_url, {"raw": 301 * MIB, "form": 300 * MIB})
    assert max(grown.values()) < MOST_GROWTH, grown


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_an_upload_of_three_gigabytes_takes_no_memory(folder: Path, database_url: str) -> None:
    assert shutil.disk_usage(folder).free > 10 * 1024**3, "this test writes 6 GiB"
    grown = await _there_and_back(folder, database_url, {"form": 3072 * MIB, "raw": 3073 * MIB})
    assert max(grown.values()) < MOST_GROWTH, grown


async def test_a_killed_server_goes_on_with_an_upload_where_it_was(folder: Path, database_url: str) -> None:
    big = BigFile(200 * MIB)
    data = b"".join([piece async for piece in big.pieces()])
    content = "/api/models/m/versions/1/content"

    def piece(start: int) -> dict[str, Any]:
        async def rest() -> AsyncIterator[bytes]:
            for at in range(start, len(data), PIECE):
                yield data[at : at + PIECE]
                if start == 0 and at >= 150 * MIB:
                    await asyncio.Event().wait()  # the client has more to send, but the server will be gone

        headers = {"Content-Type": "application/octet-stream", "Upload-Offset": str(start)}
        return {"content": rest(), "headers": headers}

    async with server(folder, environment={"AXONML_DATABASE_URL": database_url}) as served:
        async with served.http(timeout=60) as http:
            assert (await http.post("/api/models", json={"name": "m"})).status_code == 201
            reserved = {"sha256": big.sha256, "size_bytes": big.size, "file_name": "w.safetensors"}
            assert (await http.post("/api/models/m/uploads", json=reserved)).status_code == 201
            sending = asyncio.create_task(http.put(content, **piece(0)))

            async def saved() -> int:
                return int((await http.head(content)).headers["Upload-Offset"])

            async def much() -> bool:
                return await saved() >= 128 * MIB

            await until(much, "nothing was saved while it arrived")
            before = await saved()
            await served.kill()
            assert isinstance((await asyncio.gather(sending, return_exceptions=True))[0], httpx.TransportError)
        await served.start()
        async with served.http(timeout=60) as http, Memory(served) as memory:
            offset = int((await http.head(content)).headers["Upload-Offset"])
            assert before <= offset <= big.size
            slowest = 0.0
            sending = asyncio.create_task(http.put(content, **piece(offset)))
            while not sending.done():
                began = time.monotonic()
                assert (await http.get("/health")).status_code == 200
                slowest = max(slowest, time.monotonic() - began)
            answer = sending.result()
            assert (answer.status_code, answer.json()["file"]["sha256"]) == (200, big.sha256), answer.text
            assert await _download(http, answer.json()) == (big.size, big.sha256)
        log.info("slowest answer beside it: %.3f s, growth %.1f MiB", slowest, memory.growth / MIB)
        assert slowest < 2, "what was stored is read again in a thread, and never in the way of others"
        assert memory.growth < MOST_GROWTH + 30 * MIB, "all that a new process loads is in it"
        assert files_under(served.data / "blobs") == [big.sha256]
