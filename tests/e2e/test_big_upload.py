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
from tests.support.servers import Server, server

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
