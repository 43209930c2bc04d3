"""The ingest decoder: every REST form, the rules for steps, and refusals that name their field."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadUserInput
from domain.metrics import MAX_POINTS, Batch, Draft, decode, decode_lines
from server.rest.points import plain

NOW = 1_700_000_000_123
Point = tuple[int, float, int]


def _points(draft: Draft, *, last_step: int | None = None) -> dict[str, list[Point]]:
    """What a run whose highest step is `last_step` would hold: (step, value, ms) per key."""
    return _of(draft.settle(last_step, NOW))


def _of(batch: Batch) -> dict[str, list[Point]]:
    return {
        column.key: list(zip(column.steps.tolist(), column.values.tolist(), column.timestamps.tolist(), strict=True))
        for column in batch.columns
    }


def test_a_flat_object_places_every_other_field_at_its_step() -> None:
    draft = decode({"epoch": 5, "step": 1250, "loss": 0.234, "lr": 1, "timestamp": 99, "note": None})
    assert _points(draft) == {"epoch": [(1250, 5.0, 99)], "loss": [(1250, 0.234, 99)], "lr": [(1250, 1.0, 99)]}


def test_a_missing_step_is_the_epoch_else_the_step_after_the_last() -> None:
    assert _points(decode({"epoch": 7, "loss": 1})) == {"epoch": [(7, 7.0, NOW)], "loss": [(7, 1.0, NOW)]}
    assert _points(decode({"loss": 1}))["loss"][0][0] == 0
    assert _points(decode({"loss": 1}), last_step=41)["loss"][0][0] == 42
    assert _points(decode({"epoch": 0.5, "loss": 1}), last_step=3)["loss"][0][0] == 4


def test_rows_of_a_list_count_on_one_after_the_other() -> None:
    rows = [
        {"loss": 1},
        {"loss": 2, "acc": 0},
        {"loss": 3, "step": 100},
        {"acc": 1},
        {"loss": 4, "step": 7},
        {"acc": 2},
    ]
    found = _points(decode(rows), last_step=9)
    assert [step for step, *_ in found["loss"]] == [10, 11, 100, 7]
    assert [step for step, *_ in found["acc"]] == [11, 101, 102]
    far = _points(decode(rows), last_step=1000)
    assert [step for step, *_ in far["acc"]] == [1002, 1003, 1004]


def test_single_values_share_a_step_and_repeat_into_the_next() -> None:
    entries = [
        {"key": "loss", "value": 1},
        {"key": "acc", "value": "NaN"},
        {"key": "loss", "value": 2},
        {"key": "loss", "value": "-Infinity", "step": "9007199254740993", "timestamp": 5},
    ]
    found = _points(decode({"metrics": entries}), last_step=3)
    assert found["loss"] == [(4, 1.0, NOW), (5, 2.0, NOW), (9007199254740993, -math.inf, 5)]
    assert found["acc"][0][0] == 4
    assert math.isnan(found["acc"][0][1])


def test_columns_keep_their_order_and_count_on_without_steps() -> None:
    document = {
        "series": {
            "loss": {"steps": [3, 1, "2"], "values": [1, 2.5, "Infinity"], "timestamps": [10, 11, 12]},
            "acc": {"values": [1, 2]},
        }
    }
    found = _points(decode(document), last_step=20)
    assert found["loss"] == [(3, 1.0, 10), (1, 2.5, 11), (2, math.inf, 12)]
    assert found["acc"] == [(21, 1.0, NOW), (22, 2.0, NOW)]


def test_lines_take_any_form_each() -> None:
    lines: list[Any] = [
        {"loss": 1},
        [{"loss": 2}],
        {"metrics": [{"key": "a", "value": 1}]},
        {"series": {"b": {"values": [1]}}},
    ]
    found = _points(decode_lines(lines))
    assert [step for step, *_ in found["loss"]] == [0, 1]
    assert set(found) == {"loss", "a", "b"}


def test_points_of_a_key_keep_their_order_whatever_form_their_lines_have() -> None:
    columns = {"series": {"a": {"steps": [5, 5], "values": [1, 2]}}}
    point = {"metrics": [{"key": "a", "value": 3, "step": 5}]}
    flat = {"a": 4, "step": 5}
    for lines, values in (
        ([columns, point, flat], [1, 2, 3, 4]),
        ([flat, columns, point], [4, 1, 2, 3]),
        ([{"b": 0, "step": 5}, columns, flat, columns, point], [1, 2, 4, 1, 2, 3]),
    ):
        assert [value for _, value, _ in _points(decode_lines(lines))["a"]] == values
    counted = [{"metrics": [{"key": "a", "value": 1}]}, columns, {"metrics": [{"key": "a", "value": 6}]}]
    assert _points(decode_lines(counted))["a"] == [(0, 1, NOW), (5, 1, NOW), (5, 2, NOW), (1, 6, NOW)]


def test_a_row_of_nulls_is_a_batch_of_nothing() -> None:
    assert decode({"step": 1, "loss": None}).points == 0


def test_metrics_and_series_are_keys_too_when_they_are_numbers() -> None:
    assert set(_points(decode({"metrics": 1, "series": 2}))) == {"metrics", "series"}


def test_keys_become_nfc() -> None:
    assert set(_points(decode({"e\u0301": 1, "\u00e9": 2}))) == {"\u00e9"}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"loss": True}, "loss"),
        ({"loss": "0.5"}, "loss"),
        ({"loss": "nan"}, "loss"),
        ({"loss": [1]}, "loss"),
        ({"loss": {"value": 1}}, "loss"),
        ({"loss": 10**400}, "loss"),
        ({"step": True, "loss": 1}, "step"),
        ({"step": 1.5, "loss": 1}, "step"),
        ({"step": 2**63, "loss": 1}, "step"),
        ({"step": "12x", "loss": 1}, "step"),
        ({"timestamp": "2026-01-01", "loss": 1}, "timestamp"),
        ({"timestamp": 10**18, "loss": 1}, "timestamp"),
        ([{"loss": 1}, {"loss": 2}, {"loss": 3}, {"loss": "x"}], "[3].loss"),
        ([{"loss": 1}, 5], "[1]"),
        ({"metrics": [{"key": "a", "value": 1}, {"key": "a"}]}, "metrics[1].value"),
        ({"metrics": [{"key": 5, "value": 1}]}, "metrics[0].key"),
        ({"metrics": [{"key": "a", "value": 1, "extra": 1}]}, "metrics[0].extra"),
        ({"metrics": [], "step": 1}, "step"),
        ({"metrics": []}, "metrics"),
        ({"series": {}}, "series"),
        ({"series": {"a": {"values": []}}}, "series.a.values"),
        ({"series": {"a": {"steps": [1], "values": [1, 2]}}}, "series.a.steps"),
        ({"series": {"a": {"steps": [1, None], "values": [1, 2]}}}, "series.a.steps[1]"),
        ({"series": {"a": {"steps": [1, True], "values": [1, 2]}}}, "series.a.steps[1]"),
        ({"series": {"a": {"values": [1, None]}}}, "series.a.values[1]"),
        ({"series": {"a": {"values": [1], "timestamps": [0.5]}}}, "series.a.timestamps[0]"),
        ({"series": {"a": {"steps": [1]}}}, "series.a.values"),
        ({"series": {"a": 1}}, "series.a"),
        ({" loss": 1}, " loss"),
        ({"": 1}, ""),
        ({"a\nb": 1}, "a\nb"),
        ({"k" * 251: 1}, "k" * 250 + "…"),
    ],
)
def test_refusals_name_the_field(document: Any, field: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        decode(document)
    assert refused.value.field == field


@pytest.mark.parametrize("document", [None, 1, "x", True, [], {}, {"step": 3}, {"step": 3, "timestamp": 4}])
def test_what_holds_no_point_is_refused(document: Any) -> None:
    with pytest.raises(BadUserInput):
        decode(document)


def test_lines_are_named_from_zero() -> None:
    with pytest.raises(BadUserInput) as refused:
        decode_lines([{"a": 1}, {"metrics": [{"key": "a", "value": None}]}])
    assert refused.value.field == "[1].metrics[0].value"
    with pytest.raises(BadUserInput):
        decode_lines([])


def test_there_is_no_step_after_the_largest() -> None:
    largest = 2**63 - 1
    with pytest.raises(BadUserInput):
        decode([{"a": 1, "step": largest}, {"a": 2}])
    with pytest.raises(BadUserInput):
        decode({"a": 1}).settle(largest, NOW)


def test_too_many_points_and_keys_are_refused() -> None:
    assert decode({"series": {"a": {"values": [0.0] * MAX_POINTS}}}).points == MAX_POINTS
    for document in (
        {"series": {"a": {"values": [0.0] * (MAX_POINTS + 1)}}},
        [{"a": 1, "b": 2}] * (MAX_POINTS // 2 + 1),
        {"metrics": [{"key": "a", "value": 1}] * (MAX_POINTS + 1)},
        {f"k{place}": 1 for place in range(10_001)},
        {"series": {f"k{place}": {"values": [1]} for place in range(10_001)}},
    ):
        with pytest.raises(BadUserInput, match="a batch has at most") as refused:
            decode(document)
        assert refused.value.field in ("points", "keys")


_keys = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).filter(
    lambda key: key == key.strip() and key not in ("step", "timestamp", "epoch", "metrics", "series")
)
_steps = st.integers(-(2**63), 2**63 - 1)
_values = st.floats() | st.integers(-(2**70), 2**70)
_rows = st.lists(st.tuples(_steps, st.dictionaries(_keys, _values, min_size=1, max_size=4)), min_size=1, max_size=8)


def _json(value: float) -> Any:
    return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")


@given(_rows)
def test_all_forms_of_the_same_points_mean_the_same(rows: list[tuple[int, dict[str, float]]]) -> None:
    flat = [{"step": step, **{key: _json(value) for key, value in values.items()}} for step, values in rows]
    entries = [
        {"key": key, "value": _json(value), "step": str(step)} for step, values in rows for key, value in values.items()
    ]
    columns: dict[str, dict[str, list[Any]]] = {}
    for step, values in rows:
        for key, value in values.items():
            column = columns.setdefault(key, {"steps": [], "values": []})
            column["steps"].append(step)
            column["values"].append(_json(value))
    forms = [decode(flat), decode({"metrics": entries}), decode({"series": columns}), decode_lines(flat)]
    assert len({form.digest() for form in forms}) == 1
    assert repr(_points(forms[0])) == repr(_points(forms[2]))
    assert forms[0].points == len(entries)


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.sampled_from(["step", "timestamp", "metrics", "series", "key", "value", "values", "a"]), children
        )
    ),
    max_leaves=20,
)


@given(_json_values)
def test_any_json_is_taken_or_refused_cleanly(document: Any) -> None:
    try:
        draft = decode(document)
    except BadUserInput:
        return
    try:
        batch = draft.settle(5, NOW)
    except BadUserInput:
        return
    assert batch.points == draft.points
    for column in batch.columns:
        assert column.steps.dtype == column.timestamps.dtype == np.int64
        assert len(column) > 0


@given(
    st.lists(st.none() | _steps.map(lambda step: step // 4), min_size=1, max_size=20), st.none() | st.integers(-50, 50)
)
def test_left_out_steps_follow_the_highest_so_far(steps: list[int | None], last: int | None) -> None:
    rows = [{"a": 1} if step is None else {"a": 1, "step": step} for step in steps]
    expected, highest = [], -1 if last is None else last
    for step in steps:
        at = highest + 1 if step is None else step
        highest = max(highest, at)
        expected.append(at)
    assert [step for step, *_ in _points(decode(rows), last_step=last)["a"]] == expected


_ANY_ENTRY = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["a", "b", "a", "b", "\u00e9", "e\u0301"]),
        "value": st.one_of(
            st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**64), 2**64), st.just("NaN")
        ),
        "step": st.one_of(st.integers(-3, 3), st.sampled_from([2**63 - 1, -(2**63)])),
        "timestamp": st.integers(0, 10**12),
    }
)
_ODD_ENTRY = st.sampled_from(
    [
        {"key": "a", "value": 1.0},
        {"key": "a", "value": 1.0, "step": None, "timestamp": 5},
        {"key": "a", "value": 1.0, "step": 2.0, "timestamp": 5},
        {"key": "a", "value": True, "step": 1, "timestamp": 5},
        {"key": "a", "value": 10**400, "step": 1, "timestamp": 5},
        {"key": "a", "value": None, "step": 1, "timestamp": 5},
        {"key": "a", "value": 1.0, "step": 2**63, "timestamp": 5},
        {"key": "a", "value": 1.0, "step": 1, "timestamp": 10**18},
        {"key": "", "value": 1.0, "step": 1, "timestamp": 5},
        {"key": 7, "value": 1.0, "step": 1, "timestamp": 5},
        {"key": [], "value": 1.0, "step": 1, "timestamp": 5},
        {"key": "a", "value": 1.0, "step": 1, "time": 5},
        {"key": "a", "value": 1.0, "step": 1, "timestamp": 5, "more": 1},
        ["a", 1.0, 1, 5],
        "four",
        4,
    ]
)


@given(st.lists(_ANY_ENTRY, min_size=16, max_size=40), st.lists(st.tuples(st.integers(0, 40), _ODD_ENTRY), max_size=1))
def test_many_values_taken_at_once_are_those_taken_one_by_one(entries: list[Any], odd: list[tuple[int, Any]]) -> None:
    for place, entry in odd:
        entries.insert(place, entry)

    def told(read: Callable[[], Draft]) -> Any:
        try:
            draft = read()
        except BadUserInput as refusal:
            return refusal.message, (refusal.field or "").removeprefix("[0].")
        points = _points(draft)
        return list(points), {key: repr(of) for key, of in points.items()}, draft.digest()

    document = {"metrics": entries}
    assert told(lambda: decode(document)) == told(lambda: decode_lines([document]))


_times = st.sampled_from([99, None]) | st.integers(-(2**63) - 1, 2**63)
_plain_points = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["a", "b", "é", "é", "a b", " a"]),
        "value": st.floats().map(_json) | st.integers(),
        "step": st.integers(-(2**63) - 1, 2**63) | st.just(3) | st.just("7"),
    },
    optional={"timestamp": _times, "other": st.just(1)},
)
_plain_columns = st.fixed_dictionaries(
    {"values": st.lists(st.floats().map(_json) | st.integers(), max_size=3)},
    optional={"steps": st.lists(st.integers(-9, 9) | st.just(2**63), max_size=3), "timestamps": st.lists(_times)},
)


@given(
    st.fixed_dictionaries({"metrics": st.lists(_plain_points, max_size=6)})
    | st.fixed_dictionaries({"series": st.dictionaries(st.sampled_from(["a", "é", "é", ""]), _plain_columns)})
)
def test_what_is_read_straight_into_columns_means_what_it_means_otherwise(document: Any) -> None:
    body = msgspec.json.encode(document).ljust(600)
    straight = plain(body)
    if straight is not None:
        careful = decode(document)
        assert straight.digest() == careful.digest()
        assert not straight.counts_on
        assert repr(_points(straight)) == repr(_points(careful))
        assert list(_points(straight)) == list(_points(careful))


def test_plain_bodies_are_read_straight_into_columns() -> None:
    entries = [{"key": "ab"[place % 2], "value": place / 4, "step": place, "timestamp": 99} for place in range(20)]
    columns = {"a": {"steps": [*range(99)], "values": [*range(99)]}, "b": {"steps": [1], "values": [2.5]}}
    for document in ({"metrics": entries}, {"series": columns}):
        straight = plain(msgspec.json.encode(document))
        assert straight is not None
        assert straight.digest() == decode(document).digest()
        assert _points(straight) == _points(decode(document))


def test_the_digest_of_a_batch_stays_what_the_ledger_holds() -> None:
    one, several = decode({"loss": "NaN", "step": 3}), decode([{"a": 1.5}, {"a": 2, "b": -1, "timestamp": 99}])
    assert one.digest().hex() == "39c3347b021fff6635e57f3771ffd74227c11ffe410fc3ebcffee0e5b769ff1a"
    assert several.digest().hex() == "79aa7c66f1b70aaeb9ff793e8ba1c101680785b1cdcf9a4d4dcf5562f44aec78"
