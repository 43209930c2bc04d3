"""Weights in pieces, files beside them and quotas, on a real database and disk, with everything twice and cut off."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.access import Scope
from domain.errors import BadUserInput, Conflict, DomainError, NotFound, PayloadTooLarge, Unavailable
from domain.models import ModelVersion, ModelVersionStatus, Quotas, VersionDraft, WrongOffset
from domain.paging import PageRequest
from domain.storage import no_room
from persistence import incoming
from persistence.blobs import LocalBlobs
from persistence.database import Database
from tests.support.models import linear
from tests.support.registry import Registry, files_under, weights_file

DATA = bytes(range(256)) * 12_000  # 3 MB: a few buffers
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def make(database: Database, tmp_path: Path) -> Callable[..., Registry]:
    """A registry on this database; two of them are two processes that share a disk."""

    def made(**options: Any) -> Registry:
        return Registry(database, tmp_path / "blobs", **{"upload_limit": 1 << 24, **options})

    return made


@pytest.fixture
async def registry(make: Callable[..., Registry]) -> Registry:
    made = make()
    await made.blobs.open()
    return made


async def reserved(registry: Registry, scope: Scope, data: bytes = DATA, **said: Any) -> ModelVersion:
    if await registry.models.find(scope, name="m") is None:
        await registry.models.create(scope, name="m")
    draft = VersionDraft(**{"sha256": hashlib.sha256(data).hexdigest(), **said})
    return await registry.uploads.reserve(scope, "m", draft, size_bytes=len(data))


async def send(registry: Registry, scope: Scope, data: bytes, offset: int, number: int = 1) -> ModelVersion | None:
    receiving = await registry.uploads.receive(scope, "m", str(number), offset=offset, announced=len(data))
    async with receiving as piece:
        for start in range(0, len(data), 65_536):
            await piece.write(data[start : start + 65_536])
        return await piece.end()


async def offset_of(registry: Registry, scope: Scope, number: int = 1) -> int:
    return (await registry.uploads.progress(scope, "m", str(number))).received


async def stored(registry: Registry, scope: Scope, number: int = 1) -> bytes:
    _, path = await registry.models.content(scope, "m", str(number))
    return await asyncio.to_thread(Path(path).read_bytes)


async def test_pieces_become_a_version_as_one_request_would(registry: Registry, make: Callable[..., Registry]) -> None:
    scope, data = await registry.tracking.scope(), weights_file()
    version = await reserved(registry, scope, data, architecture=json.dumps(linear()), file_name="w.safetensors")
    assert (version.version, version.status, version.file) == (1, ModelVersionStatus.UPLOADING, None)
    assert version.servable_reason == "its file is UPLOADING"
    assert await registry.models.latest_of_models(scope, [version.model_id]) == {}
    assert await send(registry, scope, data[:100], 0) is None
    assert await send(make(), scope, data[100:150], 100) is None  # another process
    upload = (await registry.uploads.of_versions(scope, [version.id]))[version.id]
    assert (upload.received, upload.size_bytes) == (150, len(data))
    whole = await send(registry, scope, data[150:], 150)
    assert whole is not None
    assert (whole.status, whole.servable) == (ModelVersionStatus.READY, True)
    assert whole.file is not None
    assert (whole.file.name, whole.file.parameter_count) == ("w.safetensors", 20)
    assert await stored(registry, scope) == data
    assert files_under(registry.root) == [whole.file.sha256]
    assert await registry.uploads.of_versions(scope, [version.id]) == {}
    assert await send(registry, scope, b"", len(data)) == whole, "the answer to the last piece was lost"
    with pytest.raises(WrongOffset) as late:
        await send(registry, scope, data, 0)
    assert late.value.stored == len(data)


async def test_what_was_acknowledged_survives_and_what_was_not_is_written_over(
    registry: Registry, make: Callable[..., Registry]
) -> None:
    scope = await registry.tracking.scope()
    version = await reserved(registry, scope)
    receiving = await registry.uploads.receive(scope, "m", "1", offset=0, announced=None)

    async def broken_off() -> None:
        async with receiving as piece:
            await piece.write(DATA[:1_500_000])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await broken_off()
    assert await offset_of(registry, scope) == 1_500_000
    # As after kill -9: more lies on the disk than was noted, and it is not what the client will send.
    with (registry.root / "uploads" / version.id).open("ab") as file:
        file.write(b"never acknowledged" * 1_000)
    again = make()
    for wrong in (0, 1_499_999, 1_500_001, len(DATA)):
        with pytest.raises(WrongOffset) as refused:
            await send(again, scope, b"", wrong)
        assert refused.value.stored == 1_500_000
    whole = await send(again, scope, DATA[1_500_000:], 1_500_000)
    assert whole is not None
    assert await stored(again, scope) == DATA


async def test_killed_between_placing_a_file_and_noting_it(registry: Registry, make: Callable[..., Registry]) -> None:
    scope = await registry.tracking.scope()
    version = await reserved(registry, scope)
    assert await send(registry, scope, DATA[:-1], 0) is None
    arriving = registry.root / "uploads" / version.id
    with arriving.open("ab") as file:
        file.write(DATA[-1:])
    assert await registry.upload_rows.advance(version.id, len(DATA) - 1, len(DATA), registry.clock.now())
    await asyncio.to_thread(registry.blobs.keep, arriving, DIGEST, len(DATA))
    whole = await send(make(), scope, b"", len(DATA))
    assert whole is not None
    assert await stored(registry, scope) == DATA


async def test_whoever_is_back_waits_for_its_broken_request(
    registry: Registry, make: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    scope, waiting = await registry.tracking.scope(), asyncio.Event()
    await reserved(registry, scope)
    monkeypatch.setattr(incoming, "LOCK_SECONDS", 60)
    loop, have = asyncio.get_running_loop(), incoming.LocalResumed._try_lock

    def tried(file: incoming.LocalResumed) -> bool:
        had = have(file)
        if not had:
            loop.call_soon_threadsafe(waiting.set)
        return had

    monkeypatch.setattr(incoming.LocalResumed, "_try_lock", tried)
    async with await registry.uploads.receive(scope, "m", "1", offset=0, announced=None) as piece:
        await piece.write(DATA[:2_000_000])
        assert await piece.end() is None
        back = asyncio.create_task(send(make(), scope, DATA[2_000_000:], 2_000_000))
        await asyncio.wait_for(waiting.wait(), 30)
    assert await asyncio.wait_for(back, 30) is not None
    assert await stored(registry, scope) == DATA


async def test_two_that_send_at_once_never_mix(registry: Registry, make: Callable[..., Registry]) -> None:
    scope = await registry.tracking.scope()
    await reserved(registry, scope)
    first = await registry.uploads.receive(scope, "m", "1", offset=0, announced=None)
    async with first as piece:
        await piece.write(DATA[:2_000_000])
        with pytest.raises(Conflict, match="another request"):
            await send(make(), scope, b"x" * len(DATA), 0)
        assert await piece.end() is None
    # One that asked for the offset before the first moved it.
    stale = await registry.uploads.receive(scope, "m", "1", offset=2_000_000, announced=None)
    assert await send(registry, scope, DATA[2_000_000:2_500_000], 2_000_000) is None
    with pytest.raises(WrongOffset) as behind:
        async with stale as piece:
            await piece.write(b"x" * 100)
    assert behind.value.stored == 2_500_000
    answers = await asyncio.gather(
        *(send(each, scope, DATA[2_500_000:], 2_500_000) for each in (registry, make(), make())),
        return_exceptions=True,
    )
    assert any(isinstance(answer, ModelVersion) for answer in answers)
    assert all(isinstance(answer, ModelVersion | Conflict) for answer in answers), answers
    assert await stored(registry, scope) == DATA


@pytest.mark.parametrize(
    ("sent", "name", "reason"),
    [
        (b"y" * 1000, "w.bin", "the digest"),
        ((1 << 40).to_bytes(8, "little") + b"x" * 992, "w.safetensors", "header"),
    ],
)
async def test_whole_weights_that_are_refused_reject_the_version(
    registry: Registry, sent: bytes, name: str, reason: str
) -> None:
    scope = await registry.tracking.scope()
    declared = b"x" * 1000 if name == "w.bin" else sent
    version = await reserved(registry, scope, declared, file_name=name)
    await send(registry, scope, sent[:500], 0)
    with pytest.raises(BadUserInput, match=reason):
        await send(registry, scope, sent[500:], 500)
    found = await registry.models.get_version(scope, "m", "1")
    assert found.status is ModelVersionStatus.REJECTED
    assert found.status_reason is not None
    assert reason in found.status_reason
    assert files_under(registry.root) == []
    with pytest.raises(Conflict, match="rejected"):
        await send(registry, scope, b"", 0)
    assert await registry.models.delete_version(scope, version.id) == version.id


async def test_more_than_was_declared_is_refused_and_spoils_nothing(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    await reserved(registry, scope)
    with pytest.raises(PayloadTooLarge) as before:
        await send(registry, scope, DATA + b"x", 0)
    assert before.value.field == "size_bytes"
    receiving = await registry.uploads.receive(scope, "m", "1", offset=0, announced=None)

    async def too_much() -> None:
        async with receiving as piece:
            await piece.write(DATA)
            await piece.write(b"x")

    with pytest.raises(PayloadTooLarge):
        await too_much()
    assert await offset_of(registry, scope) == len(DATA)
    assert await send(registry, scope, b"", len(DATA)) is not None


async def test_a_full_disk_keeps_what_was_there_and_goes_on_later(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await registry.tracking.scope()
    await reserved(registry, scope)
    assert await send(registry, scope, DATA[:1_100_000], 0) is None

    def full(_: LocalBlobs, needed: int) -> None:
        raise no_room()

    with monkeypatch.context() as patched:
        patched.setattr(LocalBlobs, "check_space", full)
        with pytest.raises(Unavailable):
            await send(registry, scope, DATA[1_100_000:], 1_100_000)
    assert await offset_of(registry, scope) == 1_100_000

    real, writes = os.pwrite, 0

    def breaks(fd: int, data: Any, at: int) -> int:
        nonlocal writes
        writes += 1
        if writes == 2:
            real(fd, data[: len(data) // 2], at)
            raise OSError(28, "No space left on device")
        return real(fd, data, at)

    with monkeypatch.context() as patched:
        patched.setattr("persistence.incoming.os.pwrite", breaks)
        with pytest.raises(Unavailable):
            await send(registry, scope, DATA[1_100_000:], 1_100_000)
    kept = await offset_of(registry, scope)
    assert 1_100_000 < kept < len(DATA), "whole buffers were kept, the broken one was not"
    assert await send(registry, scope, DATA[kept:], kept) is not None
    assert await stored(registry, scope) == DATA


async def test_uploads_that_nobody_goes_on_with_are_given_up(make: Callable[..., Registry]) -> None:
    registry = make(idle=timedelta(0), quotas=Quotas(1 << 24, workspace_bytes=len(DATA)))
    await registry.blobs.open()
    scope = await registry.tracking.scope()
    version = await reserved(registry, scope)
    await send(registry, scope, DATA[:100], 0)
    with pytest.raises(PayloadTooLarge):
        await reserved(registry, scope, b"x")
    registry.clock.forward(seconds=1)
    assert await registry.given_up.collect() == 1
    found = await registry.models.get_version(scope, "m", "1")
    assert (found.status, files_under(registry.root)) == (ModelVersionStatus.REJECTED, [])
    assert "given up" in (found.status_reason or "")
    with pytest.raises(Conflict):
        await send(registry, scope, DATA[100:], 100)
    second = await reserved(registry, scope)
    await send(registry, scope, DATA[:100], 0, 2)
    await registry.models.delete(scope, second.model_id)
    assert files_under(registry.root) == [second.id]
    await registry.given_up.collect()
    assert files_under(registry.root) == [], f"{version.id} and what deleted versions left"


async def test_a_version_deleted_while_it_arrives_ends_the_upload(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    version = await reserved(registry, scope)
    receiving = await registry.uploads.receive(scope, "m", "1", offset=0, announced=None)

    async def deleted_meanwhile() -> None:
        async with receiving as piece:
            await piece.write(DATA)
            await registry.models.delete_version(scope, version.id)
            await piece.end()

    with pytest.raises(Conflict, match="deleted"):
        await deleted_meanwhile()
    with pytest.raises(NotFound):
        await send(registry, scope, b"", 0)


async def test_a_reservation_sent_twice_is_one(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    await registry.models.create(scope, name="m")
    draft = VersionDraft(sha256=DIGEST)
    first, second = [
        await registry.uploads.reserve(scope, "m", draft, size_bytes=len(DATA), client_token="t") for _ in range(2)
    ]
    assert first.id == second.id
    with pytest.raises(Conflict):
        await registry.uploads.reserve(scope, "m", draft, size_bytes=1, client_token="t")
    for wrong in (
        VersionDraft(),
        VersionDraft(sha256="x"),
        VersionDraft(sha256=DIGEST, architecture="{}"),
        VersionDraft(sha256=DIGEST, run_id="x"),
    ):
        with pytest.raises(BadUserInput):
            await registry.uploads.reserve(scope, "m", wrong, size_bytes=1)
    with pytest.raises(PayloadTooLarge) as large:
        await registry.uploads.reserve(scope, "m", draft, size_bytes=1 << 30)
    assert large.value.field == "size_bytes"


# --- files beside weights --------------------------------------------------------------------------


async def add(registry: Registry, scope: Scope, name: str, data: bytes, number: int = 1, **said: Any) -> Any:
    version = await registry.files.addable(scope, "m", str(number), name)
    async with await registry.models.receive(scope, "m", announced=len(data)) as incoming:
        await incoming.write(data)
        return await registry.files.add(scope, version, name, await incoming.finish(), **said)


async def test_files_are_added_and_never_replaced(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    labels = await add(registry, scope, "labels.txt", b"cat\ndog\n")
    assert await add(registry, scope, "labels.txt", b"cat\ndog\n") == labels
    with pytest.raises(Conflict) as taken:
        await add(registry, scope, "labels.txt", b"dog\ncat\n")
    assert taken.value.field == "name"
    with pytest.raises(Conflict):
        await add(registry, scope, "w.safetensors", weights_file())
    with pytest.raises(BadUserInput, match="digest"):
        await add(registry, scope, "other", b"x", sha256="0" * 64)
    with pytest.raises(BadUserInput):
        await add(registry, scope, "lie.safetensors", b"x" * 100)
    for bad in ("", ".", "..", "a/b", "a\\b", "-x", "a\nb", "ü", "x" * 129, "model.bin", "Model.Safetensors", "a b"):
        with pytest.raises(BadUserInput) as refused:
            await add(registry, scope, bad, b"x")
        assert refused.value.field == "name"
    assert version.file is not None
    assert await registry.files.of_version(scope, "m", "1") == [version.file, labels]
    answers = await asyncio.gather(
        *(add(registry, scope, "race", bytes([number])) for number in range(5)), return_exceptions=True
    )
    assert sum(not isinstance(answer, DomainError) for answer in answers) == 1
    found, path = await registry.files.content(scope, "m", "1", "race")
    assert await asyncio.to_thread(Path(path).read_bytes) == bytes([answers.index(found)])
    with pytest.raises(NotFound):
        await registry.files.content(scope, "m", "1", "nothing")
    other = await registry.version(scope, factor=3.0)
    await add(registry, scope, "labels.txt", b"cat\ndog\n", 2)
    await registry.models.delete_version(scope, version.id)
    await registry.collector().collect()
    assert other.file is not None
    assert files_under(registry.root) == sorted([other.file.sha256, labels.sha256]), "what nobody has is gone"


async def test_quotas_hold_when_many_come_at_once(make: Callable[..., Registry]) -> None:
    size = len(weights_file())
    registry = make(quotas=Quotas(1 << 20, version_files=3, model_versions=4, workspace_bytes=4 * size - 1))
    await registry.blobs.open()
    scope = await registry.tracking.scope()
    for number in range(6):
        await registry.models.create(scope, name=f"m{number}")

    async def kinds(*trials: Any) -> list[str]:
        answers = await asyncio.gather(*trials, return_exceptions=True)
        return sorted(type(answer).__name__ for answer in answers)

    uploads = [registry.upload(scope, f"m{number}", weights_file(number + 1)) for number in range(6)]
    assert await kinds(*uploads) == ["ModelVersion"] * 3 + ["PayloadTooLarge"] * 3
    with pytest.raises(PayloadTooLarge, match="workspace"):
        await registry.models.receive(scope, "m0", announced=size)
    models = (await registry.models.list(scope, PageRequest())).nodes
    latest = await registry.models.latest_of_models(scope, [model.id for model in models])
    kept = next(iter(latest.values()))
    factor = float(kept.model_name.removeprefix("m")) + 1
    await registry.models.update(scope, kept.model_id, {"name": "m"})
    for version in list(latest.values())[1:]:
        await registry.models.delete_version(scope, version.id)
    same = [registry.upload(scope, "m", weights_file(factor)) for _ in range(5)]
    assert await kinds(*same) == ["Conflict"] * 2 + ["ModelVersion"] * 3, "the same bytes cost nothing, versions count"
    trials = [add(registry, scope, f"f{number}", bytes([number]), 2) for number in range(5)]
    assert await kinds(*trials) == ["Conflict"] * 3 + ["ModelFile"] * 2
