"""Frames between processes: whole, in pieces, damaged, and lying about their size."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from domain.serving import threads_for
from domain.tensors import DType
from serving import control, cores, wire

Arrays = dict[str, np.ndarray[Any, Any]]

arrays = st.dictionaries(
    st.text(max_size=5),
    st.sampled_from(list(DType)).flatmap(
        lambda dtype: hnp.arrays(dtype.numpy, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    ),
    max_size=4,
)


def predict(number: int, tensors: Arrays) -> bytes:
    message = wire.Predict(number, 2**62, ("y",), wire.describe(tensors))
    return b"".join(wire.encode(message, list(tensors.values())))


def feed(reader: wire.FrameReader, data: bytes, sizes: list[int]) -> list[wire.Frame]:
    frames: list[wire.Frame] = []
    position, turn = 0, 0
    while position < len(data):
        buffer = reader.buffer()
        count = min(len(buffer), len(data) - position, sizes[turn % len(sizes)])
        buffer[:count] = data[position : position + count]
        frames.extend(reader.received(count))
        position, turn = position + count, turn + 1
    return frames


@given(st.lists(arrays, min_size=1, max_size=5), st.lists(st.integers(1, 700), min_size=1, max_size=5))
def test_frames_survive_any_cut(batches: list[Arrays], sizes: list[int]) -> None:
    data = b"".join(predict(i, tensors) for i, tensors in enumerate(batches))
    frames = feed(wire.FrameReader(), data, sizes)
    assert len(frames) == len(batches)
    for i, (frame, tensors) in enumerate(zip(frames, batches, strict=True)):
        assert isinstance(frame.message, wire.Predict)
        assert frame.message.id == i
        assert list(frame.arrays) == list(tensors)
        for name, array in tensors.items():
            np.testing.assert_array_equal(frame.arrays[name], array)
            assert frame.arrays[name].dtype == array.dtype


@pytest.mark.parametrize("size", [1000, 65_000, 70_000, 1_000_000])
def test_large_and_small_frames_mix(size: int) -> None:
    large = {"x": np.arange(size, dtype=np.float32)}
    small = {"x": np.zeros(3, np.float32)}
    data = b"".join(predict(i, tensors) for i, tensors in enumerate([small, large, small, large, large, small] * 3))
    frames = feed(wire.FrameReader(), data, [200_000])
    assert [frame.arrays["x"].size for frame in frames] == [3, size, 3, size, size, 3] * 3
    assert all(frame.arrays["x"][-1] == frame.arrays["x"].size - 1 for frame in frames if frame.arrays["x"].size > 3)
    assert all(frame.arrays["x"].flags.writeable for frame in frames)


def test_strided_arrays_are_sent_as_their_values() -> None:
    x = np.arange(24, dtype=np.int32).reshape(4, 6)[::2, ::-1]
    (frame,) = feed(wire.FrameReader(), predict(1, {"x": x}), [10_000])
    assert frame.arrays["x"].tolist() == x.tolist()


def header(magic: int = 0x41584F4E, version: int = wire.VERSION, kind: int = 1, meta: int = 10, body: int = 0) -> bytes:
    return struct.pack("<IBBHIQ", magic, version, kind, 0, meta, body) + b"\x90" * 64


@pytest.mark.parametrize(
    "data",
    [
        header(magic=1),
        header(version=2),
        header(kind=200),
        header(meta=wire.MAX_META_BYTES + 1),
        header(body=wire.MAX_BODY_BYTES + 1),
        header(body=2**64 - 1),
        header(meta=10),
    ],
    ids=["magic", "version", "kind", "metadata", "body", "body of 2^64", "metadata of the wrong type"],
)
def test_what_is_no_frame_is_refused_before_memory_is_taken(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        feed(wire.FrameReader(), data, [len(data)])


def lying(shape: tuple[int, ...], body: int, names: tuple[str, ...] = ("x",)) -> bytes:
    meta = msgspec.msgpack.encode(
        wire.Predict(1, 0, None, tuple(wire.TensorMeta(name, DType.FLOAT32, shape) for name in names))
    )
    head = struct.pack("<IBBHIQ", 0x41584F4E, wire.VERSION, 1, 0, len(meta), body) + meta
    return head + bytes(-len(head) % 64) + bytes(body)


@pytest.mark.parametrize(
    "data",
    [
        lying((5,), 16), lying((3,), 16), lying((-1, -4), 16), lying((2**62, 4), 16), lying((2**40, 2**40), 16),
        lying((1,), 68, ("x", "x")),
    ],
    ids=["too short", "left over", "negative", "overflow", "absurd", "same name twice"],
)  # fmt: skip
def test_tensors_that_lie_about_their_size_are_refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        feed(wire.FrameReader(), data, [len(data)])


@given(arrays, st.data())
@settings(max_examples=200)
def test_damaged_frames_are_refused_or_well_formed(tensors: Arrays, data: st.DataObject) -> None:
    raw = bytearray(predict(1, tensors))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        frames = feed(wire.FrameReader(), bytes(raw), [len(raw)])
    except wire.WireError:
        return
    for frame in frames:
        assert isinstance(frame, wire.Frame)


def test_control_messages_survive_any_cut() -> None:
    ready = control.Ready(1.5, 2.5, 3.5, 4, 5)
    data = control.pack_control(ready) + control.pack_control(control.Refused("no", "BAD_USER_INPUT", "file"))
    reader = control.ControlReader()
    found = [payload for i in range(len(data)) for payload in reader.feed(data[i : i + 1])]
    assert msgspec.msgpack.decode(found[0], type=control.FromReplica) == ready
    assert len(found) == 2
    with pytest.raises(wire.WireError):
        list(control.ControlReader().feed(b"\xff\xff\xff\xff"))


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu.max": "max 100000"}, 10_000),
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 10_000),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({}, 10_000),
    ],
)
def test_cores_respect_the_quota(tmp_path: Path, files: dict[str, str], most: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert 1 <= cores.available(tmp_path) <= most


def test_threads_are_shared_out() -> None:
    assert [threads_for(replicas, 4) for replicas in (1, 2, 3, 4, 8)] == [3, 2, 1, 1, 1]
    assert threads_for(1, 1) == 1
