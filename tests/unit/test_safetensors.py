"""The safetensors check: a corpus of lying files, each refused for its own reason, and properties."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import safetensors as check
from domain.errors import BadUserInput
from domain.safetensors import DTYPE_BITS, Refusal, WeightsRefused


def build(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def read(file: bytes) -> check.TensorTable:
    return check.read_table(io.BytesIO(file).read, len(file))


def entry(shape: list[Any], begin: int, end: int, dtype: str = "F32", **extra: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **extra}


GOOD = {"a": entry([2, 3], 0, 24), "b": entry([], 24, 28)}
ONE = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'

LIES: dict[str, tuple[bytes, Refusal]] = {
    "empty file": (b"", Refusal.FILE_TOO_SHORT),
    "seven bytes": (b"\x02\0\0\0\0\0\0", Refusal.FILE_TOO_SHORT),
    "zero header": (build(b"", length=0), Refusal.HEADER_EMPTY),
    "header of 2^63": (build(b"{}", length=2**63), Refusal.HEADER_TOO_LARGE),
    "header of 9 MB": (build(b"{}", length=9 * 2**20), Refusal.HEADER_TOO_LARGE),
    "header past the end": (build(b"{}", length=3), Refusal.HEADER_TRUNCATED),
    "leading space": (build(b' {"a":{' + ONE.encode() + b"}}", bytes(4)), Refusal.HEADER_NOT_OBJECT),
    "an array": (build(b"[1]"), Refusal.HEADER_NOT_OBJECT),
    "not utf-8": (build(b'{"\xff":1}'), Refusal.HEADER_NOT_UTF8),
    "not json": (build(b"{a:1}"), Refusal.HEADER_NOT_JSON),
    "a float": (build(b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}'), Refusal.HEADER_NOT_JSON),
    "NaN": (build(b'{"a":NaN}'), Refusal.HEADER_NOT_JSON),
    "a number of 5000 digits": (build(b'{"a":' + b"9" * 5000 + b"}"), Refusal.HEADER_NOT_JSON),
    "nesting": (build(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), Refusal.HEADER_NOT_JSON),
    "two documents": (build(b'{"a":1}{"b":2}'), Refusal.HEADER_NOT_JSON),
    "trailing newline": (build(b'{"a":1}\n'), Refusal.TRAILING_CHARACTERS),
    "trailing NUL": (build(b'{"a":1}\0'), Refusal.TRAILING_CHARACTERS),
    "equal duplicate": (
        build(f'{{"a":{{{ONE}}},"a":{{{ONE}}}}}'.encode(), bytes(4)),
        Refusal.DUPLICATE_KEY,
    ),
    "duplicate field": (build(f'{{"a":{{{ONE},"dtype":"F32"}}}}'.encode(), bytes(4)), Refusal.DUPLICATE_KEY),
    "no tensors": (build({}), Refusal.NO_TENSORS),
    "metadata only": (build({"__metadata__": {"format": "pt"}}), Refusal.NO_TENSORS),
    "metadata of numbers": (build({"__metadata__": {"a": 1}, **GOOD}, bytes(28)), Refusal.BAD_METADATA),
    "metadata a list": (build({"__metadata__": [], **GOOD}, bytes(28)), Refusal.BAD_METADATA),
    "50,001 tensors": (build({str(i): entry([0], 0, 0) for i in range(50_001)}), Refusal.TOO_MANY_TENSORS),
    "empty name": (build({"": entry([1], 0, 4)}, bytes(4)), Refusal.BAD_NAME),
    "NUL in name": (build({"a\0": entry([1], 0, 4)}, bytes(4)), Refusal.BAD_NAME),
    "lone surrogate in name": (build(b'{"\\ud800":{' + ONE.encode() + b"}}", bytes(4)), Refusal.BAD_NAME),
    "long name": (build({"a" * 513: entry([1], 0, 4)}, bytes(4)), Refusal.BAD_NAME),
    "entry a list": (build({"a": []}), Refusal.BAD_ENTRY),
    "missing dtype": (build({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)), Refusal.MISSING_FIELD),
    "extra field": (build({"a": entry([1], 0, 4, note="x")}, bytes(4)), Refusal.EXTRA_FIELD),
    "unknown dtype": (build({"a": entry([1], 0, 4, "F33")}, bytes(4)), Refusal.UNKNOWN_DTYPE),
    "dtype a list": (build({"a": {**entry([1], 0, 4), "dtype": ["F32"]}}, bytes(4)), Refusal.UNKNOWN_DTYPE),
    "negative size": (build({"a": entry([-1], 0, 4)}, bytes(4)), Refusal.BAD_SHAPE),
    "boolean size": (build({"a": entry([True], 0, 4)}, bytes(4)), Refusal.BAD_SHAPE),
    "17 dimensions": (build({"a": entry([1] * 17, 0, 4)}, bytes(4)), Refusal.BAD_SHAPE),
    "absurd empty tensor": (build({"a": entry([0, 2**62], 0, 0)}), Refusal.DIMENSION_TOO_LARGE),
    "absurd product": (build({"a": entry([0, 2**30, 2**30], 0, 0)}), Refusal.TOO_MANY_ELEMENTS),
    "overflowing product": (build({"a": entry([2**30] * 3, 0, 4)}, bytes(4)), Refusal.TOO_MANY_ELEMENTS),
    "backward offsets": (build({"a": entry([1], 4, 0)}, bytes(4)), Refusal.BAD_OFFSETS),
    "three offsets": (build({"a": {**entry([1], 0, 4), "data_offsets": [0, 4, 8]}}), Refusal.BAD_OFFSETS),
    "negative offset": (build({"a": entry([1], -4, 0)}, bytes(4)), Refusal.BAD_OFFSETS),
    "shape larger than bytes": (build({"a": entry([2], 0, 4)}, bytes(4)), Refusal.SIZE_MISMATCH),
    "half a byte": (build({"a": entry([1], 0, 1, "F4")}, bytes(1)), Refusal.SIZE_MISMATCH),
    "does not start at 0": (build({"a": entry([1], 4, 8)}, bytes(8)), Refusal.HOLE),
    "hole": (build({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)), Refusal.HOLE),
    "overlap": (build({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, bytes(8)), Refusal.OVERLAP),
    "same bytes twice": (build({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4)), Refusal.OVERLAP),
    "data cut off": (build(GOOD, bytes(27)), Refusal.DATA_TRUNCATED),
    "bytes left over": (build(GOOD, bytes(29)), Refusal.TRAILING_BYTES),
}


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
