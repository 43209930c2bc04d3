"""The registry on a real database and disk: names, versions, uploads that lie, deletion and collection."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save

from domain import ids
from domain.access import KeyScope
from domain.errors import BadUserInput, Conflict, DomainError, Forbidden, NotFound, PayloadTooLarge
from domain.models import ModelFormat
from domain.paging import PageRequest
from domain.runs import Tag
from persistence.database import Database
from tests.support.models import linear, scaled_identity
from tests.support.registry import Registry, files_under, weights_file
from tests.support.tracking import with_key

ARCHITECTURE = json.dumps(linear())


@pytest.fixture
async def registry(database: Database, tmp_path: Path) -> Registry:
    made = Registry(database, tmp_path / "blobs")
    await made.blobs.open()
    return made


async def test_models_are_made_changed_found_and_listed(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    made = await registry.models.create(
        scope, name="net", description="it", model_type="mlp", tags=[Tag("b", "2"), Tag("a", "1")], client_token="t"
    )
    assert [(tag.key, tag.value) for tag in made.tags] == [("a", "1"), ("b", "2")]
    again = await registry.models.create(
        scope, name="net", description="it", model_type="mlp", tags=[Tag("a", "1"), Tag("b", "2")], client_token="t"
    )
    assert again == made
    with pytest.raises(Conflict, match="client token"):
        await registry.models.create(scope, name="other", client_token="t")
    with pytest.raises(Conflict) as taken:
        await registry.models.create(scope, name="net")
    assert taken.value.field == "name"
    registry.clock.forward(seconds=1)
    changed = await registry.models.update(scope, "net", {"name": "net2", "description": None})
    assert (changed.name, changed.description, changed.model_type) == ("net2", None, "mlp")
    assert changed.updated_at > made.updated_at
    assert await registry.models.find(scope, name="net") is None
    assert await registry.models.find(scope, model_id=made.id.removeprefix("mdl_")) == changed


async def test_lists_page_newest_first_and_filter(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    for index in range(5):
        registry.clock.forward(seconds=1)
        await registry.models.create(scope, name=f"m{index}", tags=[Tag("stage", "prod" if index % 2 else "dev")])
    seen, after = [], None
    while True:
        page = await registry.models.list(scope, PageRequest(2, after))
        assert page.total_count == 5
        seen += [model.name for model in page.nodes]
        if not page.has_next_page:
            break
        after = page.cursors[-1]
    assert seen == ["m4", "m3", "m2", "m1", "m0"]
    found = await registry.models.list(scope, PageRequest(), filter='tags.stage = "prod" and name != "m1"')
    assert [model.name for model in found.nodes] == ["m3"]
    address = (await registry.database.fetch("SELECT email FROM users"))[0]["email"]
    for owner in (address, scope.principal.user_id):
        mine = await registry.models.list(scope, PageRequest(), filter=f'owner = "{owner}" and name = "m1"')
        assert [model.name for model in mine.nodes] == ["m1"]
    assert (await registry.models.list(scope, PageRequest(), filter='owner = "eve@example.com"')).nodes == []
    with pytest.raises(BadUserInput) as foreign:
        await registry.models.list(scope, PageRequest(2, page.cursors[0]), filter='name = "m1"')
    assert foreign.value.field == "after"
    with pytest.raises(BadUserInput):
        await registry.models.list(scope, PageRequest(), filter="metrics.loss < 1")
    owned = await registry.models.of_owners(scope, [scope.principal.user_id], PageRequest(2))
    assert [model.name for model in owned[scope.principal.user_id].nodes] == ["m4", "m3"]


async def test_an_upload_becomes_a_version(registry: Registry, tmp_path: Path) -> None:
    scope = await registry.tracking.scope()
    run = await registry.tracking.runs.create(scope, name="r")
    await registry.models.create(scope, name="m")
    version = await registry.upload(
        scope,
        "m",
        weights_file(),
        file_name="w.safetensors",
        architecture=ARCHITECTURE,
        description="first",
        metrics={"acc": 0.5, "loss": float("nan")},
        run_id=run.id,
        tags=[Tag("k", "v")],
    )
    assert (version.version, version.servable, version.servable_reason) == (1, True, None)
    assert version.file is not None
    assert (version.file.format, version.file.parameter_count) == (ModelFormat.SAFETENSORS, 20)
    assert version.file.download_url == f"/api/models/{version.model_id}/versions/1/download"
    assert version.metrics == {"acc": 0.5, "loss": "NaN"}
    assert files_under(tmp_path) == [version.file.sha256]
    assert await registry.models.get_version(scope, "m", "latest") == version
    assert await registry.models.get_version(scope, version.model_id, "1") == version
    assert await registry.models.find_version(scope, name="m") == version
    of_run = await registry.models.versions_of_runs(scope, [run.id], PageRequest())
    assert of_run[run.id].nodes == [version]
    assert (await registry.models.architectures(scope, [version.id]))[version.id]["format"] == "arch/1"
    for missing in ("2", "@champion"):
        with pytest.raises(NotFound):
            await registry.models.get_version(scope, "m", missing)
    for malformed in ("0", "01", "-1", "1.0", "x", "9" * 20):
        with pytest.raises(BadUserInput):
            await registry.models.get_version(scope, "m", malformed)


async def test_numbers_are_never_used_twice_even_at_once(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    await registry.models.create(scope, name="m")
    made = await asyncio.gather(*(registry.upload(scope, "m", b"same bytes") for _ in range(6)))
    assert sorted(version.version for version in made) == [1, 2, 3, 4, 5, 6]
    last = max(made, key=lambda version: version.version)
    await registry.models.delete_version(scope, last.id)
    assert (await registry.upload(scope, "m", b"same bytes")).version == 7


async def test_a_token_answers_the_first_upload(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    await registry.models.create(scope, name="m")
    first = await registry.upload(scope, "m", b"bytes", client_token="t")
    assert (await registry.upload(scope, "m", b"bytes", client_token="t")).id == first.id
    with pytest.raises(Conflict):
        await registry.upload(scope, "m", b"other", client_token="t")
    assert (await registry.upload(scope, "m", b"other")).version == 2


def _header(document: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text + data


_TENSOR = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
_LIES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "no file": (b"", {}),
    "not what its name says": (b"GIF89a", {"file_name": "w.safetensors"}),
    "pickle under a good name": (b"\x80\x04]q.", {"file_name": "w.safetensors"}),
    "truncated data, no name": (_header(_TENSOR, b"1234"), {}),
    "trailing bytes": (_header(_TENSOR, b"12345678x"), {}),
    "header longer than the file": (struct.pack("<Q", 10_000) + b'{"w":{}}', {}),
    "header of terabytes": (struct.pack("<Q", 1 << 39) + b"{" * 100, {}),
    "unknown dtype": (_header({"w": {**_TENSOR["w"], "dtype": "F33"}}, b"12345678"), {}),
    "another digest": (b"bytes", {"sha256": "0" * 64}),
    "no digest": (b"bytes", {"sha256": "zz"}),
    "architecture of other weights": (save(scaled_identity(1, 3)), {"architecture": ARCHITECTURE}),
    "architecture for a pickle": (b"\x80\x04.", {"architecture": ARCHITECTURE}),
    "architecture that is no JSON": (weights_file(), {"architecture": "{"}),
    "architecture with an unknown op": (
        weights_file(),
        {"architecture": ARCHITECTURE.replace('"Linear"', '"os.system"')},
    ),
    "metrics that are no numbers": (b"bytes", {"metrics": {"a": "high"}}),
    "a run of another kind": (b"bytes", {"run_id": "mdl_" + "0" * 32}),
    "a run that is not there": (b"bytes", {"run_id": ids.new("run")}),
}


@pytest.mark.parametrize("what", _LIES)
async def test_a_refused_upload_changes_nothing(registry: Registry, tmp_path: Path, what: str) -> None:
    scope = await registry.tracking.scope()
    model = await registry.models.create(scope, name="m")
    data, said = _LIES[what]
    with pytest.raises(BadUserInput if what != "a run that is not there" else NotFound) as refused:
        await registry.upload(scope, "m", data, **said)
    assert refused.value.field is not None
    assert files_under(tmp_path) == []
    assert await registry.models.get(scope, "m") == model
    assert (await registry.upload(scope, "m", b"good")).version == 1


async def test_a_run_of_another_workspace_does_not_exist(registry: Registry) -> None:
    scope, other = await registry.tracking.scope(), await registry.tracking.scope("bob@example.org", "other")
    run = await registry.tracking.runs.create(other, name="r")
    await registry.models.create(scope, name="m")
    with pytest.raises(NotFound) as refused:
        await registry.upload(scope, "m", b"bytes", run_id=run.id)
    assert refused.value.field == "run_id"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/abs/w.bin", "w.bin"),
        ("..", "model.bin"),
        ("a\x00b\r\n.bin", "ab.bin"),
        ("\u202egnp.bin", "gnp.bin"),
        ("x" * 400, "x" * 250),
        ("", "model.bin"),
    ],
)
async def test_file_names_are_shown_and_never_paths(registry: Registry, tmp_path: Path, given: str, shown: str) -> None:
    scope = await registry.tracking.scope()
    await registry.models.create(scope, name="m")
    version = await registry.upload(scope, "m", b"bytes", file_name=given)
    assert version.file is not None
    assert version.file.name == shown
    assert files_under(tmp_path) == [version.file.sha256]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a\x00", ".hidden", "%2e%2e", "é", "mdl_" + "0" * 32, "a" * 129])
async def test_unusable_model_names_are_refused(registry: Registry, name: str) -> None:
    scope = await registry.tracking.scope()
    with pytest.raises(BadUserInput) as refused:
        await registry.models.create(scope, name=name)
    assert refused.value.field == "name"
    assert await registry.models.find(scope, name=name) is None


async def test_the_architecture_is_set_once(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    await registry.models.create(scope, name="m")
    bare = await registry.upload(scope, "m", weights_file())
    assert bare.servable_reason == "it has no architecture yet"
    with pytest.raises(BadUserInput, match=r"0\.weight"):
        await registry.models.set_architecture(scope, "m", "1", json.dumps(linear(4, 5)))
    ready = await registry.models.set_architecture(scope, "m", "1", ARCHITECTURE)
    assert ready.servable
    assert await registry.models.set_architecture(scope, "m", "1", ARCHITECTURE) == ready
    renamed = linear()
    renamed["outputs"][0]["name"] = "z"
    with pytest.raises(Conflict):
        await registry.models.set_architecture(scope, "m", "1", json.dumps(renamed))
    await registry.upload(scope, "m", b"\x80\x04.")
    with pytest.raises(Conflict):
        await registry.models.set_architecture(scope, "m", "2", ARCHITECTURE)


async def test_files_go_when_nobody_refers_to_them(registry: Registry, tmp_path: Path) -> None:
    ada, bob = await registry.tracking.scope(), await registry.tracking.scope("bob@example.org", "other")
    await registry.models.create(ada, name="m")
    await registry.models.create(bob, name="m")
    first, second = await registry.upload(ada, "m", b"shared"), await registry.upload(ada, "m", b"shared")
    await registry.upload(bob, "m", b"shared")
    collector = registry.collector()
    assert first.file is not None
    await registry.models.delete_version(ada, first.id)
    assert await collector.collect() == 0
    await registry.models.delete_version(ada, second.id)
    assert await collector.collect() == 0
    assert await registry.database.fetchval("SELECT count(*) FROM blobs") == 1
    await registry.models.delete(bob, "m")
    assert await registry.database.fetchval("SELECT count(*) FROM blobs") == 0
    assert files_under(tmp_path) == [first.file.sha256]
    assert await collector.collect() == 1
    assert files_under(tmp_path) == []


async def test_collecting_while_uploading_never_loses_a_file(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    await registry.models.create(scope, name="m")
    collector = registry.collector()

    async def churn() -> None:
        for _ in range(10):
            version = await registry.upload(scope, "m", b"the same bytes")
            file, path = await registry.models.content(scope, "m", str(version.version))
            assert await asyncio.to_thread(Path(path).read_bytes) == b"the same bytes"
            assert file.size_bytes == 14
            await registry.models.delete_version(scope, version.id)

    async def collect() -> None:
        for _ in range(40):
            await collector.collect()

    await asyncio.gather(churn(), churn(), collect())


async def test_nothing_leaks_to_other_workspaces_and_keys(registry: Registry) -> None:
    ada, bob = await registry.tracking.scope(), await registry.tracking.scope("bob@example.org", "other")
    version = await registry.version(ada)
    assert await registry.models.by_ids(bob, [version.model_id]) == {}
    assert await registry.models.versions_by_ids(bob, [version.id]) == {}
    assert await registry.models.architectures(bob, [version.id]) == {}
    assert (await registry.models.versions_of_models(bob, [version.model_id], PageRequest()))[
        version.model_id
    ].nodes == []
    assert await registry.models.latest_of_models(bob, [version.model_id]) == {}
    for attempt in (
        registry.models.content(bob, version.model_id, "1"),
        registry.models.update(bob, version.model_id, {"name": "x"}),
        registry.models.update_version(bob, version.id, {"description": "x"}),
        registry.models.delete_version(bob, version.id),
        registry.models.delete(bob, version.model_id),
    ):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(Forbidden):
        await registry.models.create(with_key(ada, KeyScope.MODELS_READ), name="x")
    with pytest.raises(Forbidden):
        await registry.models.get(with_key(ada, KeyScope.PREDICT), "m")


async def test_what_is_announced_too_large_is_refused_at_once(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    await registry.models.create(scope, name="m")
    with pytest.raises(PayloadTooLarge):
        await registry.models.receive(scope, "m", announced=(1 << 20) + 1)
    with pytest.raises(NotFound):
        await registry.models.receive(scope, "n", announced=1)


async def test_versions_change_only_where_they_may(registry: Registry) -> None:
    scope = await registry.tracking.scope()
    version = await registry.version(scope)
    changed = await registry.models.update_version(
        scope, version.id, {"description": "d", "tags": [Tag("a", "b")], "metrics": {"acc": 1}}
    )
    assert (changed.description, changed.metrics, changed.file) == ("d", {"acc": 1}, version.file)
    assert (await registry.models.update_version(scope, version.id, {"description": None})).description is None
    with pytest.raises(DomainError):
        await registry.models.update_version(scope, version.id, {"metrics": {"a": True}})
