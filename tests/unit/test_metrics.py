"""Batches in bytes, summaries against a naive account, cursors, shared reads, log lines."""

from __future__ import annotations

import asyncio
import math
import struct
import zlib
from dataclasses import replace
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import ids, logs
from domain.errors import BadUserInput, PayloadTooLarge
from domain.live import SharedReads
from domain.logs import LogLevel
from domain.metrics import Batch, Column, MetricSummary, batch_id, joined, read_cursor, write_cursor
from persistence.metrics.codec import decode, encode
from persistence.metrics.packing import CorruptPayload, pack_ints, planes

_int64 = st.integers(-(2**63), 2**63 - 1)
_keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
_points = st.lists(st.tuples(_int64, st.floats(), _int64), min_size=1, max_size=40)


def _column(key: str, points: list[tuple[int, float, int]]) -> Column:
    steps, values, times = zip(*points, strict=True)
    return Column(key, np.array(steps, np.int64), np.array(values, np.float64), np.array(times, np.int64))


def _bits(columns: list[Column]) -> list[tuple[str, bytes, bytes, bytes]]:
    return [
        (column.key, column.steps.tobytes(), column.values.tobytes(), column.timestamps.tobytes()) for column in columns
    ]


@given(st.dictionaries(_keys, _points, min_size=1, max_size=5), st.sets(_keys, max_size=2))
def test_a_batch_survives_its_bytes(series: dict[str, list[tuple[int, float, int]]], others: set[str]) -> None:
    columns = [_column(key, points) for key, points in series.items()]
    payload = encode(Batch(tuple(columns)))
    assert _bits(decode(payload)) == _bits(columns)
    wanted = {*list(series)[:2], *others}
    assert _bits(decode(payload, wanted)) == _bits([column for column in columns if column.key in wanted])


@given(_keys, st.sampled_from([1, 12, 13, 30]), _int64, st.floats(), _int64)
def test_a_single_point_has_the_form_of_every_batch(part: str, times: int, step: int, value: float, time: int) -> None:
    column = _column(part * times, [(step, value, time)])
    key = column.key.encode()
    head = struct.pack("<IHI", 1, len(key), 1) + key
    body = head + pack_ints(column.steps) + pack_ints(column.timestamps) + column.values.tobytes()
    payload = encode(Batch((column,)))
    assert payload[:2] != b"\x01\x00" or payload == b"\x01\x00" + body
    assert _bits(decode(payload)) == _bits([column])


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), min_size=1))
def test_a_mean_never_leaves_the_range_of_its_values(batches: list[list[float]]) -> None:
    columns = [_column("loss", [(step, value, 0) for step, value in enumerate(batch)]) for batch in batches]
    summary = reduce(MetricSummary.then, map(MetricSummary.of, columns))
    assert summary.min is not None
    assert summary.max is not None
    assert summary.mean is not None
    assert summary.min <= summary.mean <= summary.max


def test_a_constant_metric_has_its_constant_as_mean() -> None:
    summary = reduce(MetricSummary.then, [MetricSummary.of(_column("lr", [(step, 0.1, 0)])) for step in range(10)])
    assert summary.mean == 0.1


def test_regular_steps_cost_almost_nothing() -> None:
    steps = np.arange(1_000, dtype=np.int64)
    noise = np.random.default_rng(1).normal(size=1_000)
    payload = encode(Batch((Column("loss", steps, noise, 1_700_000_000_000 + steps * 17),)))
    assert len(payload) < 8.2 * 1_000
    assert len(encode(Batch((Column("loss", steps, np.round(noise, 1), steps),)))) < 3 * 1_000


def test_what_was_packed_with_zlib_is_read() -> None:
    column = _column("loss", [(step, 0.5, step) for step in range(60)])
    plain = b"\1\0\0\0" + b"\4\0" + b"\x3c\0\0\0" + b"loss" + 2 * (pack_ints(column.steps))
    plain += planes(column.values.tobytes())
    stored = b"\1\1" + len(plain).to_bytes(4, "little") + zlib.compress(plain, level=1)
    assert _bits(decode(stored)) == _bits([column])


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damage_is_reported_as_damage(junk: bytes, cut: int) -> None:
    payload = encode(Batch((_column("loss", [(step, step / 3, step) for step in range(60)]),)))
    for damaged in (junk, payload[:cut] if cut < len(payload) else b"", b"\x02" + payload[1:]):
        with pytest.raises(CorruptPayload):
            decode(damaged)


def _naive(key: str, points: list[tuple[int, float, int]]) -> MetricSummary:
    finite = [value for _, value, _ in points if math.isfinite(value)]
    highest = max(step for step, *_ in points)
    last = next(value for step, value, _ in reversed(points) if step == highest)
    mean = float(sum(map(Fraction, finite)) / len(finite)) if finite else None
    return MetricSummary(
        key,
        last,
        highest,
        min(finite, default=None),
        max(finite, default=None),
        mean,
        len(points),
        len(points) - len(finite),
    )


@given(st.lists(_points, min_size=1, max_size=5))
def test_summaries_of_batches_add_up_to_those_of_all_points(batches: list[list[tuple[int, float, int]]]) -> None:
    everything = [point for batch in batches for point in batch]
    expected = _naive("k", everything)
    found = MetricSummary.of(_column("k", batches[0]))
    for batch in batches[1:]:
        found = found.then(MetricSummary.of(_column("k", batch)))
    assert struct.pack("d", found.last) == struct.pack("d", expected.last) or math.isnan(found.last)
    assert (found.last_step, found.min, found.max, found.count, found.non_finite) == (
        expected.last_step,
        expected.min,
        expected.max,
        expected.count,
        expected.non_finite,
    )
    if expected.mean is None:
        assert found.mean is None
    else:
        assert found.mean is not None
        assert math.isfinite(found.mean)
        spread = max(abs(value) for _, value, _ in everything if math.isfinite(value))
        assert found.mean == pytest.approx(expected.mean, rel=1e-9, abs=max(spread * 1e-9, 1e-300))


@given(st.lists(st.lists(st.tuples(st.integers(-5, 5) | _int64, st.floats(), _int64), min_size=1), max_size=6))
def test_summaries_of_many_columns_are_those_of_each(series: list[list[tuple[int, float, int]]]) -> None:
    columns = [_column(f"k{place}", points) for place, points in enumerate(series)]
    together, single = MetricSummary.of_all(columns), [MetricSummary.of(column) for column in columns]
    for found, expected in zip(together, single, strict=True):
        assert struct.pack("d", found.last) == struct.pack("d", expected.last)
        assert replace(found, mean=None, last=0.0) == replace(expected, mean=None, last=0.0)
        assert (found.mean is None) == (expected.mean is None)
        if found.mean is not None and expected.min is not None and expected.max is not None:
            most = max(abs(expected.min), abs(expected.max))
            assert found.mean == pytest.approx(expected.mean, rel=1e-9, abs=max(most * 1e-9, 1e-300))


def test_columns_whose_steps_grow_are_summed_up_in_one_pass() -> None:
    columns = [_column("a", [(1, 2.0, 0), (1, 4.0, 0)]), _column("b", [(0, -1.5, 0)])]
    assert MetricSummary.of_all(columns) == [
        MetricSummary("a", 4.0, 1, 2.0, 4.0, 3.0, 2, 0),
        MetricSummary("b", -1.5, 0, -1.5, -1.5, -1.5, 1, 0),
    ]


def test_joining_keeps_the_order_of_acceptance() -> None:
    parts = [_column("k", [(2, 1.0, 1)]), _column("k", [(1, 2.0, 2), (2, 3.0, 3)])]
    assert joined(parts).values.tolist() == [1.0, 2.0, 3.0]


@given(st.integers(0, 2**63 - 1))
def test_cursors_lead_back_to_their_place_and_nowhere_else(seq: int) -> None:
    run, other = ids.new("run"), ids.new("run")
    cursor = write_cursor("metrics", run, seq)
    assert read_cursor("metrics", run, cursor) == seq
    for stream, target in (("metrics", other), ("logs", run)):
        with pytest.raises(BadUserInput) as refused:
            read_cursor(stream, target, cursor)
        assert refused.value.field == "after"


@given(st.text(max_size=300))
def test_forged_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(BadUserInput):
        read_cursor("metrics", "run_" + "0" * 32, cursor)


def test_negative_places_are_refused() -> None:
    run = ids.new("run")
    with pytest.raises(BadUserInput):
        read_cursor("metrics", run, write_cursor("metrics", run, -1))


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "é", "a\n"])
def test_batch_ids_are_short_printable_ascii(text: str) -> None:
    with pytest.raises(BadUserInput):
        batch_id(text)


async def test_equal_reads_of_one_turn_are_one_read() -> None:
    reads: SharedReads[int] = SharedReads()
    fetched = 0

    async def fetch() -> int:
        nonlocal fetched
        fetched += 1
        await asyncio.sleep(0)
        return fetched

    assert await asyncio.gather(*(reads.read("same", fetch) for _ in range(50))) == [1] * 50
    assert await reads.read("same", fetch) == 2


async def test_nobody_joins_a_read_that_has_begun() -> None:
    reads: SharedReads[str] = SharedReads()
    begun, go = asyncio.Event(), asyncio.Event()

    async def early() -> str:
        begun.set()
        await go.wait()
        return "early"

    async def late() -> str:
        return "late"

    first = asyncio.ensure_future(reads.read("key", early))
    await begun.wait()
    assert await reads.read("key", late) == "late"
    go.set()
    assert await first == "early"


async def test_another_reader_takes_over_from_a_cancelled_one() -> None:
    reads: SharedReads[str] = SharedReads()
    begun = asyncio.Event()

    async def hangs() -> str:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    async def answers() -> str:
        return "answered"

    leader = asyncio.ensure_future(reads.read("key", hangs))
    follower = asyncio.ensure_future(reads.read("key", answers))
    await begun.wait()
    leader.cancel()
    assert await follower == "answered"
    with pytest.raises(asyncio.CancelledError):
        await leader


async def test_a_failed_read_fails_for_all_who_asked() -> None:
    reads: SharedReads[str] = SharedReads()

    async def fails() -> str:
        raise PayloadTooLarge("too large")

    found = await asyncio.gather(*(reads.read("key", fails) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [PayloadTooLarge] * 3


@pytest.mark.parametrize(
    ("message", "lines"),
    [
        ("", [""]),
        ("one", ["one"]),
        ("one\n", ["one"]),
        ("one\r\ntwo\n\nfour", ["one", "two", "", "four"]),
        (" 10%\r 50%\r100%", ["100%"]),
        ("100%\r\r", ["100%"]),
        ("epoch 1\n 10%\r100%\ndone\n", ["epoch 1", "100%", "done"]),
        ("\x1b[31mred\x1b[0m", ["\x1b[31mred\x1b[0m"]),
    ],
)
def test_messages_become_lines_as_a_terminal_shows_them(message: str, lines: list[str]) -> None:
    assert [line.message for line in logs.draft([(message, LogLevel.INFO, None)]).lines] == lines


def test_log_batches_are_bounded() -> None:
    info = LogLevel.INFO
    assert len(logs.draft([("x\n" * 10_000, info, None)]).lines) == 10_000
    with pytest.raises(BadUserInput, match="at most 10000 lines") as refused:
        logs.draft([("x\n" * 10_001, info, None)])
    assert refused.value.field == "lines"
    for entries, field in (
        ([("ok", info, None), ("x" * 65_537, info, None)], "lines[1].message"),
        ([("a\x00b", info, None)], "lines[0].message"),
        ([("\ud800", info, None)], "lines[0].message"),
        ([], "lines"),
    ):
        with pytest.raises(BadUserInput) as refused:
            logs.draft(entries)
        assert refused.value.field == field
