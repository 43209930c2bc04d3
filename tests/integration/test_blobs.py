"""The file store: what is placed stays whole, what is not is gone, and no name ever leaves its directory."""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import timedelta
from pathlib import Path

import pytest

from domain.errors import PayloadTooLarge, Unavailable
from persistence import blobs as module
from persistence.blobs import LocalBlobs
from tests.support.registry import files_under


@pytest.fixture
async def store(tmp_path: Path) -> LocalBlobs:
    opened = LocalBlobs(tmp_path / "blobs")
    await opened.open()
    return opened


async def _put(store: LocalBlobs, data: bytes, *, place: bool = True) -> str:
    async with store.receive(limit=1 << 30) as incoming:
        for start in range(0, len(data), 70_000):
            await incoming.write(data[start : start + 70_000])
        file = await incoming.finish()
        if place:
            await file.place()
        return file.sha256


async def test_bytes_come_back_under_their_digest(store: LocalBlobs, tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    digest = await _put(store, data)
    assert digest == hashlib.sha256(data).hexdigest()
    path = Path(await store.path(digest))
    assert path.read_bytes() == data
    assert path == tmp_path / "blobs" / "sha256" / digest[:2] / digest[2:4] / digest
    assert path.stat().st_mode & 0o777 == 0o400
    assert files_under(tmp_path) == [digest]


async def test_what_is_not_placed_is_gone(store: LocalBlobs, tmp_path: Path) -> None:
    await _put(store, b"x" * 2_000_000, place=False)

    async def broken_off() -> None:
        async with store.receive(limit=100) as incoming:
            await incoming.write(b"x")
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        await broken_off()
    assert files_under(tmp_path) == []


async def test_a_cancelled_upload_leaves_nothing(store: LocalBlobs, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> None:
        async with store.receive(limit=1 << 40) as incoming:
            while True:
                await incoming.write(b"x" * (1 << 20))
                begun.set()

    task = asyncio.create_task(endless())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert files_under(tmp_path) == []


async def test_the_limit_stops_an_upload_before_it_is_written(store: LocalBlobs, tmp_path: Path) -> None:
    async with store.receive(limit=10) as incoming:
        await incoming.write(b"x" * 10)
        with pytest.raises(PayloadTooLarge) as refused:
            await incoming.write(b"x")
    assert refused.value.field == "file"
    assert files_under(tmp_path) == []


async def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "blobs", min_free_bytes=1 << 62)
    await store.open()
    with pytest.raises(Unavailable, match="disk space"):
        await _put(store, b"x")
    assert files_under(tmp_path) == []


async def test_the_same_bytes_at_once_are_one_file(store: LocalBlobs, tmp_path: Path) -> None:
    data = os.urandom(1_500_000)
    digests = await asyncio.gather(*(_put(store, data) for _ in range(8)))
    assert len(set(digests)) == 1
    assert files_under(tmp_path) == [digests[0]]


async def test_only_old_leftovers_are_removed_at_start(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path)
    await store.open()
    old, new = tmp_path / "tmp" / "old", tmp_path / "tmp" / "new"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    past = module.STALE_AFTER.total_seconds() + 60
    os.utime(old, (old.stat().st_atime - past, old.stat().st_mtime - past))
    assert await store.open() == 1
    assert files_under(tmp_path) == ["new"]


async def test_a_removed_file_stays_with_its_readers(store: LocalBlobs) -> None:
    digest = await _put(store, b"weights")
    with Path(await store.path(digest)).open("rb") as reader:
        await store.remove(digest)
        assert reader.read() == b"weights"
    with pytest.raises(Unavailable):
        await store.path(digest)
    await store.remove(digest)
    await store.release(digest)


async def test_grace_starts_anew_with_each_use(store: LocalBlobs) -> None:
    digest = await _put(store, b"weights")
    path = Path(await store.path(digest))

    def age() -> None:
        os.utime(path, (0, 0))

    assert await store.expired(timedelta(hours=1)) == []
    age()
    assert await store.expired(timedelta(hours=1)) == [digest]
    await _put(store, b"weights")
    assert await store.expired(timedelta(hours=1)) == []
    age()
    await store.release(digest)
    assert await store.expired(timedelta(hours=1)) == []


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "", "a" * 63, "A" * 64, "0" * 64 + "\n", "/" + "0" * 63, "0" * 62 + "/.", "\0" * 64]
)
async def test_nothing_but_a_digest_names_a_file(store: LocalBlobs, name: str) -> None:
    for use in (store.path, store.remove, store.release):
        with pytest.raises(ValueError, match="not a digest"):
            await use(name)
