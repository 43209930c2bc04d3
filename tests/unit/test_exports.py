"""Exports: all forms hold the same points, in pieces of bounded size; nothing in them runs in a spreadsheet."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import StreamingResponse

from domain.metrics import Column
from domain.metrics.batch import MAX_STEP, MAX_TIMESTAMP, MIN_STEP, MIN_TIMESTAMP
from server.rest import exports
from server.rest.exports import ExportForm, export, pieces

_keys = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=20).filter(
    lambda key: key == key.strip()
)
_columns = st.builds(
    lambda key, points: Column(
        key,
        np.array([step for step, _, _ in points], np.int64),
        np.array([value for _, value, _ in points], np.float64),
        np.array([time for _, _, time in points], np.int64),
    ),
    _keys | st.sampled_from(["=1+1", "+a", "-a", "@a", "'a", 'a"b', "a,b", "loss", "ｅ＝"]),
    st.lists(
        st.tuples(
            st.integers(MIN_STEP, MAX_STEP) | st.integers(-5, 5),
            st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0]),
            st.integers(MIN_TIMESTAMP, MAX_TIMESTAMP),
        ),
        min_size=1,
        max_size=30,
    ),
)
_batches = st.lists(st.lists(_columns, max_size=4), max_size=6)


async def _given(batches: list[list[Column]]) -> AsyncGenerator[list[Column]]:
    for columns in batches:
        yield columns


def _exported(batches: list[list[Column]], form: ExportForm) -> list[bytes]:
    async def read() -> list[bytes]:
        response = export("run_1", _given(batches), form)
        assert isinstance(response, StreamingResponse)
        return [part async for part in response.body_iterator if isinstance(part, bytes)]

    return asyncio.run(read())


def _plain(batches: list[list[Column]]) -> list[tuple[str, int, int, str]]:
    return [
        (column.key, step, time, repr(value))
        for columns in batches
        for column in columns
        for step, time, value in zip(
            column.steps.tolist(), column.timestamps.tolist(), column.values.tolist(), strict=True
        )
    ]


def _of_arrow(stream: bytes) -> list[tuple[str, int, int, str]]:
    table = pa.ipc.open_stream(stream).read_all()
    table.validate(full=True)
    times = table["timestamp"].cast(pa.int64())
    columns = (table["key"], table["step"], times, table["value"])
    return [
        (key, step, time, repr(value))
        for key, step, time, value in zip(*(column.to_pylist() for column in columns), strict=True)
    ]


def _number(value: Any) -> float:
    return float(value)


@settings(max_examples=100, deadline=None)
@given(_batches)
def test_arrow_csv_and_ndjson_hold_the_same_points(batches: list[list[Column]]) -> None:
    expected = _plain(batches)
    assert _of_arrow(b"".join(_exported(batches, "arrow"))) == expected
    lines = [json.loads(line) for line in b"".join(_exported(batches, "ndjson")).splitlines()]
    assert [
        (line["key"], int(line["step"]), line["timestamp"], repr(_number(line["value"]))) for line in lines
    ] == expected
    rows = list(csv.reader(io.StringIO(b"".join(_exported(batches, "csv")).decode(), newline="")))
    assert rows[0] == ["key", "step", "timestamp", "value"]
    assert [
        (key.removeprefix("'"), int(step), int(time), repr(_number(value))) for key, step, time, value in rows[1:]
    ] == expected
    assert not [key for key, *_ in rows[1:] if key.startswith(tuple("=+-@＝＋－＠\t\r"))]


def test_the_types_of_an_arrow_export_are_those_of_the_contract() -> None:
    schema = pa.ipc.open_stream(b"".join(_exported([], "arrow"))).schema
    assert schema == pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("step", pa.int64(), nullable=False),
            pa.field("timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
            pa.field("value", pa.float64(), nullable=False),
        ]
    )
    moment = datetime(2026, 1, 31, 12, 0, 0, 125_000, tzinfo=UTC)
    column = Column("k", np.zeros(1, np.int64), np.ones(1), np.array([round(moment.timestamp() * 1000)], np.int64))
    (row,) = pa.ipc.open_stream(b"".join(_exported([[column]], "arrow"))).read_all().to_pylist()
    assert (row["timestamp"], row["timestamp"].utcoffset()) == (moment, timedelta(0))


def test_a_torn_arrow_stream_is_told_from_a_whole_one() -> None:
    steps = np.arange(100_000)
    column = Column("loss", steps, steps.astype(float), steps)
    parts = _exported([[column]] * 3, "arrow")
    whole = b"".join(parts)
    assert len(parts) > 4
    assert whole.endswith(b"\xff\xff\xff\xff\x00\x00\x00\x00"), "the end-of-stream mark"
    assert not b"".join(parts[:-1]).endswith(parts[-1])
    for length in (len(whole) - len(parts[-1]) - 1, len(whole) // 2, 5):
        with pytest.raises((OSError, pa.ArrowInvalid)):
            pa.ipc.open_stream(whole[:length]).read_all()


def test_record_batches_are_bounded_whatever_the_batches_were() -> None:
    one = [Column(key, np.arange(1), np.ones(1), np.arange(1)) for key in ("ä" * 250, "b")]
    many = [Column(key, np.arange(200_000), np.ones(200_000), np.arange(200_000)) for key in ("ä" * 250, "b")]
    parts = _exported([one] * 3_000 + [many], "arrow")
    assert max(map(len, parts)) < exports._ARROW_BYTES + 4_096
    assert len(parts) < 100, "small batches go together"
    assert len(_of_arrow(b"".join(parts))) == 406_000


@given(_batches, st.integers(1, 40))
def test_pieces_are_full_but_for_the_last(batches: list[list[Column]], most: int) -> None:
    async def cut() -> list[list[Column]]:
        return [list(piece) async for piece in pieces(_given(batches), lambda _: 1, most)]

    found = asyncio.run(cut())
    assert _plain(found) == _plain(batches)
    sizes = [sum(map(len, piece)) for piece in found]
    assert sizes[:-1] == [most] * (len(sizes) - 1)
    assert all(0 < size <= most for size in sizes)
