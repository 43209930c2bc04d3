"""Telling files apart, names that are only shown, metrics and servability."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from domain.errors import BadUserInput
from domain.models import ModelFile, ModelFormat, ModelVersion, ModelVersionStatus
from domain.models.files import MAX_FILE_NAME, file_name, inspect
from domain.models.rules import checked_metrics
from domain.safetensors import WeightsRefused
from tests.support.lies import exported_program, onnx_model
from tests.support.models import scaled_identity


class Memory:
    """Implements `FileBytes`, and counts what is read."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data = data
        self.size_bytes = len(data) if size is None else size
        self.read = 0

    def read_at(self, offset: int, count: int) -> bytes:
        found = self.data[offset : offset + count]
        self.read += len(found)
        return found


def _zip(*names: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return target.getvalue()


class _Canary:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the file was loaded",))


_KINDS: dict[str, tuple[bytes, str, ModelFormat]] = {
    "safetensors": (save(scaled_identity(1)), "", ModelFormat.SAFETENSORS),
    "pickle": (pickle.dumps(_Canary()), "model.safetensor", ModelFormat.EXECUTABLE),
    "old pickle": (pickle.dumps({"a": [1]}, protocol=0), "m", ModelFormat.EXECUTABLE),
    "torch.save": (_zip("m/data.pkl", "m/data/0"), "m.pt", ModelFormat.EXECUTABLE),
    "torch.export": (exported_program(), "m.pt2", ModelFormat.TORCH_EXPORT),
    "broken zip": (_zip("a")[:-10], "m", ModelFormat.EXECUTABLE),
    "onnx": (onnx_model(), "m", ModelFormat.ONNX),
    "onnx with a tail": (onnx_model() + b"\xff", "m", ModelFormat.OTHER),
    "hdf5": (b"\x89HDF\r\n\x1a\n....", "m", ModelFormat.EXECUTABLE),
    "by its name": (b"....", "m.PTH", ModelFormat.EXECUTABLE),
    "text": (b"hello", "notes.txt", ModelFormat.OTHER),
}


@pytest.mark.parametrize("what", _KINDS)
def test_files_are_told_from_their_bytes(what: str) -> None:
    data, name, expected = _KINDS[what]
    assert inspect(Memory(data), name).format is expected


@pytest.mark.parametrize(("data", "name"), [(b"\x80\x04.", "m.safetensors"), (struct.pack("<Q", 99) + b"{", "m.bin")])
def test_what_claims_safetensors_must_be_it(data: bytes, name: str) -> None:
    with pytest.raises(WeightsRefused):
        inspect(Memory(data), name)


def test_a_directory_of_gigabytes_is_not_read() -> None:
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 3_000_000_000, 0, 0)
    file = Memory(b"PK\x03\x04" + bytes(1_000) + end, 3_100_000_000)
    assert inspect(file, "m.pt").format is ModelFormat.EXECUTABLE
    assert file.read < 200_000


@given(st.binary(max_size=300), st.text(max_size=30))
def test_any_bytes_are_told_or_refused(data: bytes, name: str) -> None:
    try:
        found = inspect(Memory(data), name)
    except BadUserInput as refused:
        assert refused.field == "file"
    else:
        assert (found.table is not None) == (found.format is ModelFormat.SAFETENSORS)


@given(st.text(max_size=400))
def test_shown_names_are_never_paths(given_name: str) -> None:
    shown = file_name(given_name, "model.bin")
    assert 1 <= len(shown) <= MAX_FILE_NAME
    assert "/" not in shown
    assert "\\" not in shown
    assert shown not in (".", "..")
    assert shown.isprintable() or " " in shown or not shown.isascii()
    assert not any(ord(character) < 32 or ord(character) == 127 for character in shown)


def test_metrics_keep_what_json_cannot_write() -> None:
    assert checked_metrics({"a": 1, "b": float("inf"), "c": "NaN"}) == {"a": 1, "b": "Infinity", "c": "NaN"}
    json.dumps(checked_metrics({"x": float("nan")}), allow_nan=False)
    wrong: list[object] = [[], {"a": True}, {"a": None}, {"a": {}}, {"": 1}, {"a": 2**63}, {"a": "high"}, {"a\x00": 1}]
    for bad in wrong:
        with pytest.raises(BadUserInput):
            checked_metrics(bad)


def test_only_whole_safetensors_with_an_architecture_are_servable() -> None:
    file = ModelFile("w", 1, "0" * 64, ModelFormat.SAFETENSORS, 1, "")
    version = ModelVersion(
        "ver_1", "mdl_1", "m", 1, ModelVersionStatus.READY, None, None, [], {}, file, [], [], None, "usr_1",
        datetime.now(UTC),
    )  # fmt: skip
    assert version.servable
    for changed in (
        replace(version, inputs=None),
        replace(version, file=None),
        replace(version, status=ModelVersionStatus.UPLOADING),
        replace(version, file=replace(file, format=ModelFormat.TORCH_EXPORT)),
    ):
        assert not changed.servable
        assert changed.servable_reason
