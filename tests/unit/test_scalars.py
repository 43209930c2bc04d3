"""Scalars: every number and time survives the way through JSON, and nothing else gets in."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import scalars

INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats()
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


def through_json(value: object) -> object:
    return json.loads(json.dumps(value, allow_nan=False))


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


@given(INTS)
def test_whole_numbers_survive_any_client_that_reads_doubles(value: int) -> None:
    written = through_json(scalars.write_int(value))
    if not isinstance(written, str):
        assert abs(value) <= 2**53 - 1
    assert scalars.read_int(written) == value


@given(FLOATS)
def test_doubles_survive(value: float) -> None:
    assert same(scalars.read_float(through_json(scalars.write_float(value))), value)


@given(st.lists(INTS))
def test_columns_of_whole_numbers_survive(values: list[int]) -> None:
    written = through_json(scalars.write_ints(np.array(values, dtype=np.int64)))
    assert scalars.read_ints(written) == values
    assert written == [scalars.write_int(value) for value in values]


@given(st.lists(FLOATS))
def test_columns_of_doubles_survive(values: list[float]) -> None:
    written = through_json(scalars.write_floats(np.array(values)))
    assert all(same(left, right) for left, right in zip(scalars.read_floats(written), values, strict=True))


@given(ANYTHING)
def test_whatever_is_read_is_of_its_type(value: object) -> None:
    for read, kind in (
        (scalars.read_int, int),
        (scalars.read_float, float),
        (scalars.read_ints, list),
        (scalars.read_floats, list),
        (scalars.read_datetime, datetime),
    ):
        try:
            assert type(read(value)) is kind
        except ValueError:
            continue


@given(st.lists(st.integers() | st.floats() | st.booleans() | st.text(max_size=2) | st.just(10**400), max_size=4))
def test_a_column_is_read_as_its_elements_are(values: list[object]) -> None:
    for read_all, read_one in ((scalars.read_ints, scalars.read_int), (scalars.read_floats, scalars.read_float)):
        try:
            one_by_one = [read_one(value) for value in values]
        except ValueError as refused:
            with pytest.raises(ValueError, match=re.escape(str(refused))):
                read_all(values)
        else:
            assert list(map(repr, read_all(values))) == list(map(repr, one_by_one))


@pytest.mark.parametrize("value", [True, 1.5, 2**63, -(2**63) - 1, "1e3", "", "-", "٣", "0x10", 1e300, None, [1]])
def test_what_is_no_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        scalars.read_int(value)


@pytest.mark.parametrize("value", [True, "1.5", "nan", "inf", None, 10**400, [1.0]])
def test_what_is_no_double(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        scalars.read_float(value)


@given(st.datetimes(timezones=st.timezones(), min_value=datetime(1970, 1, 2), max_value=datetime(9000, 1, 1)))  # noqa: DTZ001
def test_times_survive_to_the_millisecond(moment: datetime) -> None:
    written = scalars.write_datetime(moment)
    assert written.endswith("Z")
    assert scalars.read_datetime(written) == moment.astimezone(UTC).replace(
        microsecond=moment.microsecond // 1000 * 1000
    )


@pytest.mark.parametrize("value", ["2026-01-01", "2026-01-01T00:00:00", "now", 0, "0001-01-01T00:00:00+23:59"])
def test_what_names_no_moment(value: object) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        scalars.read_datetime(value)
