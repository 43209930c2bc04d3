"""The safetensors check: a corpus of lying files, each refused for its own reason, and properties."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import safetensors as check
from domain.errors import BadUserInput
from domain.safetensors import DTYPE_BITS, WeightsRefused
from tests.support.lies import GOOD, LIES, build, entry


def read(file: bytes) -> check.TensorTable:
    return check.read_table(io.BytesIO(file).read, len(file))


@pytest.mark.parametrize("name", LIES)
def test_lying_file_is_refused_with_its_reason(name: str) -> None:
    file, reason = LIES[name]
    with pytest.raises(WeightsRefused) as caught:
        read(file)
    assert caught.value.reason is reason
    assert isinstance(caught.value, BadUserInput)
    assert caught.value.field == "file"
    assert reason.value in caught.value.message
    assert caught.value.message.isprintable()


def test_good_file_is_read() -> None:
    table = read(build({"__metadata__": {"format": "pt"}, **GOOD}, bytes(28)))
    assert list(table.tensors) == ["a", "b"]
    assert table.tensors["a"].shape == (2, 3)
    assert table.parameter_count == 7
    assert table.data_bytes == 28
    assert table.metadata == {"format": "pt"}


def test_padding_of_spaces_is_part_of_the_format() -> None:
    raw = json.dumps(GOOD).encode() + b"   "
    assert len(read(build(raw, bytes(28))).tensors) == 2


def test_only_the_header_is_read() -> None:
    file = build({"a": entry([2**28], 0, 2**30)})
    asked: list[int] = []
    stream = io.BytesIO(file)

    def spy(count: int) -> bytes:
        asked.append(count)
        return stream.read(count)

    table = check.read_table(spy, len(file) + 2**30)
    assert table.parameter_count == 2**28
    assert sum(asked) == len(file)


WHOLE_BYTES = [name for name, bits in DTYPE_BITS.items() if bits % 8 == 0]
tensors = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=12).filter(
        lambda name: name != "__metadata__"
    ),
    st.tuples(st.sampled_from(WHOLE_BYTES), st.lists(st.integers(0, 5), max_size=4)),
    min_size=1,
    max_size=8,
)


def encode(found: dict[str, tuple[str, list[int]]]) -> bytes:
    header: dict[str, object] = {}
    position = 0
    for name, (dtype, shape) in found.items():
        size = math.prod(shape) * DTYPE_BITS[dtype] // 8
        header[name] = entry(shape, position, position + size, dtype)
        position += size
    return build(header, bytes(position))


@given(tensors)
def test_any_honest_table_is_accepted_and_returned(found: dict[str, tuple[str, list[int]]]) -> None:
    table = read(encode(found))
    assert {n: (e.dtype, list(e.shape)) for n, e in table.tensors.items()} == {n: (d, s) for n, (d, s) in found.items()}


@given(tensors, st.data())
@settings(max_examples=300)
def test_a_changed_byte_is_refused_or_harmless(found: dict[str, tuple[str, list[int]]], data: st.DataObject) -> None:
    file = bytearray(encode(found))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        table = read(bytes(file))
    except WeightsRefused:
        return
    # what we take, the library takes; it ships no annotations for this function
    accepted = {name for name, _ in safetensors.deserialize(bytes(file))}  # type: ignore[no-untyped-call]
    assert accepted == set(table.tensors)


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(WeightsRefused):
        read(garbage)


def test_what_the_library_writes_is_accepted() -> None:
    from safetensors.numpy import save

    file = save({"w": np.zeros((4, 5), np.float32), "n": np.array(3, np.int64)}, {"made": "here"})
    table = read(file)
    assert {n: e.dtype for n, e in table.tensors.items()} == {"w": "F32", "n": "I64"}
