"""Cursors: exact for the list that made them, a clear refusal for everything else."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadUserInput
from domain.paging import Keyset, KeyValue, Page, PageRequest, Total

KEYSET = Keyset(("runs", "created desc", "status = 'running'"), (datetime, float, int, str))
MOMENTS = st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))  # noqa: DTZ001
KEYS = st.tuples(
    MOMENTS | st.none(),
    st.floats(allow_nan=True) | st.none(),
    st.integers(-(2**63), 2**63 - 1) | st.none(),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40) | st.none(),
)


def same(left: KeyValue, right: KeyValue) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return left == right and type(left) is type(right)


@given(KEYS)
def test_a_cursor_carries_its_key_exactly(key: tuple[KeyValue, ...]) -> None:
    decoded = KEYSET.decode(KEYSET.encode(key))
    assert all(same(left, right) for left, right in zip(key, decoded, strict=True))


@given(KEYS)
def test_a_cursor_of_another_list_is_refused(key: tuple[KeyValue, ...]) -> None:
    for binding in (("runs", "created desc"), ("runs", "created desc", "status = 'failed'"), ("models",)):
        with pytest.raises(BadUserInput) as refusal:
            Keyset(binding, KEYSET.types).decode(KEYSET.encode(key))
        assert refusal.value.field == "after"


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_arbitrary_text_is_never_a_cursor(text: str) -> None:
    with pytest.raises(BadUserInput):
        KEYSET.decode(text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.lists(JSON_VALUES, min_size=4, max_size=4))
def test_a_forged_key_is_refused_or_well_typed(values: list[object]) -> None:
    genuine = KEYSET.encode((None, None, None, None))
    head = json.loads(base64.urlsafe_b64decode(genuine + "=" * (-len(genuine) % 4)))[:2]
    forged = base64.urlsafe_b64encode(json.dumps([*head, *values], separators=(",", ":")).encode()).decode().rstrip("=")
    try:
        decoded = KEYSET.decode(forged)
    except BadUserInput:
        return
    for value, kind in zip(decoded, KEYSET.types, strict=True):
        assert value is None or type(value) is kind


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, "0001-01-01T00:00:00+23:59"), (0, "9999-12-31T23:59:59-23:59"), (3, "x\ud800"), (3, "x\x00")],
)
def test_a_forged_moment_or_text_that_no_list_can_hold_is_refused(place: int, value: str) -> None:
    genuine = KEYSET.encode((None, None, None, None))
    document = json.loads(base64.urlsafe_b64decode(genuine + "=" * (-len(genuine) % 4)))
    document[2 + place] = value
    forged = base64.urlsafe_b64encode(json.dumps(document, separators=(",", ":")).encode()).decode().rstrip("=")
    with pytest.raises(BadUserInput):
        KEYSET.decode(forged)


@pytest.mark.parametrize("tampered", ["=", "\n", " ", "A"])
def test_a_cursor_has_one_spelling(tampered: str) -> None:
    cursor = KEYSET.encode((datetime(2026, 1, 1, tzinfo=UTC), 1.5, 7, "x"))
    with pytest.raises(BadUserInput):
        KEYSET.decode(cursor + tampered)


def test_page_size_is_bounded() -> None:
    assert PageRequest.of(None, None).first == 50
    assert PageRequest.of(0, None).first == 0
    assert PageRequest.of(200, None).first == 200
    for first in (-1, 201):
        with pytest.raises(BadUserInput) as refusal:
            PageRequest.of(first, None)
        assert refusal.value.field == "first"
    with pytest.raises(BadUserInput):
        PageRequest.of(10, "x" * 3_000)


def test_a_page_tells_where_it_lies() -> None:
    page = Page(["a", "b"], ["1", "2"], has_next_page=True, has_previous_page=False, total=Total.capped(10_001))
    assert [(edge.cursor, edge.node) for edge in page.edges] == [("1", "a"), ("2", "b")]
    assert (page.page_info.start_cursor, page.page_info.end_cursor) == ("1", "2")
    assert (page.total_count, page.total_count_at_least) == (None, 10_000)
    assert Page([], [], has_next_page=False, has_previous_page=True, total=Total(0)).page_info.end_cursor is None
