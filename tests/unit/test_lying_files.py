"""Every lying file of the corpus is refused when it is inspected, for its own reason, and nothing in it is run."""

from __future__ import annotations

import io
import pickle
import zipfile

import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import BadUserInput
from domain.models import ModelFormat
from domain.models.files import inspect
from domain.models.refusals import FileRefused
from domain.safetensors import WeightsRefused
from tests.support.lies import CORPUS, exported_program, onnx_model, zip_of


class Memory:
    """Implements `FileBytes`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size_bytes = len(data)

    def read_at(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]


@pytest.mark.parametrize("what", CORPUS)
def test_a_lying_file_is_refused_with_its_reason(what: str) -> None:
    data, name, reason = CORPUS[what]
    with pytest.raises((WeightsRefused, FileRefused)) as caught:
        inspect(Memory(data), name)
    assert isinstance(caught.value, WeightsRefused | FileRefused)
    assert caught.value.reason is reason
    assert caught.value.field == "file"
    assert f"[{reason.value}]" in caught.value.message
    assert caught.value.message.isprintable()


def test_the_polyglots_are_what_they_seem_to_both_readers() -> None:
    for what in ("a zip within a tensor", "a pickle around tensors"):
        assert [name for name, _ in safetensors.deserialize(CORPUS[what][0])] == ["a"]  # type: ignore[no-untyped-call]
    assert zipfile.ZipFile(io.BytesIO(CORPUS["a zip within a tensor"][0])).namelist() == ["m/data.pkl"]
    assert pickle.loads(CORPUS["a pickle around tensors"][0]) == 2


def test_honest_archives_and_models_are_taken() -> None:
    assert inspect(Memory(exported_program()), "m.pt2").format is ModelFormat.TORCH_EXPORT
    for expression in ("s31", "Max(1, s0)", "FloorDiv(s0, 2) - 3", "-(s1 + 1)*4"):
        assert inspect(Memory(exported_program(expression=expression)), "m").format is ModelFormat.TORCH_EXPORT
    symbolic = exported_program(target="_operator.mul")
    assert inspect(Memory(symbolic), "m").format is ModelFormat.TORCH_EXPORT
    assert inspect(Memory(onnx_model()), "m").format is ModelFormat.ONNX


@pytest.mark.parametrize("record", ["p/data/aotinductor/model/a.so", "p/data/constants/custom_obj_0", "q/other", "p/x"])
def test_archives_with_more_than_tensors_are_taken_for_executable(record: str) -> None:
    data = exported_program(records=((record, b""),))
    assert inspect(Memory(data), "m.pt2").format is ModelFormat.EXECUTABLE


def test_archives_with_something_before_them_are_taken_for_executable() -> None:
    data = b"PK\x03\x04" + bytes(9) + exported_program()
    assert inspect(Memory(data), "m.pt2").format is ModelFormat.EXECUTABLE


def test_legacy_archives_are_taken_for_executable() -> None:
    data = zip_of(("serialized_exported_program.json", b"{}"), ("serialized_state_dict.pt", b""))
    assert inspect(Memory(data), "m.pt2").format is ModelFormat.EXECUTABLE


@given(st.sampled_from([exported_program(), onnx_model()]), st.data())
@settings(max_examples=200)
def test_changed_bytes_are_told_or_refused(data: bytes, draws: st.DataObject) -> None:
    file = bytearray(data)
    for _ in range(draws.draw(st.integers(1, 4))):
        file[draws.draw(st.integers(0, len(file) - 1))] = draws.draw(st.integers(0, 255))
    try:
        inspect(Memory(bytes(file)), "m")
    except BadUserInput as refused:
        assert refused.field == "file"
