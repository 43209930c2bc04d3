"""Ids: canonical whatever form they came in, and refused by name when they are of another kind."""

from __future__ import annotations

from typing import get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.errors import BadUserInput

KINDS = st.sampled_from(get_args(ids.Kind))
UUIDS = st.uuids()


@given(KINDS)
def test_a_new_id_is_canonical_and_a_version_7_uuid(kind: ids.Kind) -> None:
    identifier = ids.new(kind)
    assert ids.parse(kind, identifier) == identifier
    assert ids.kind_of(identifier) == kind
    value = ids.to_uuid(identifier)
    assert value.version == 7
    assert value.variant == "specified in RFC 4122"


def test_new_ids_are_distinct_and_ordered_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(1_700_000_000_000_000_000, 1_700_000_000_000_125_000, 250))  # within a millisecond, too
    monkeypatch.setattr("time.time_ns", lambda: next(times))
    made = [ids.new("run") for _ in range(500)]
    assert made == sorted(made)
    assert len(set(made)) == 500


@given(KINDS, UUIDS)
def test_every_form_of_a_uuid_means_the_same_id(kind: ids.Kind, value: UUID) -> None:
    canonical = ids.from_uuid(kind, value)
    forms = (canonical, str(value), value.hex, str(value).upper(), value.hex.upper())
    assert {ids.parse(kind, form) for form in forms} == {canonical}
    assert ids.to_uuid(canonical) == value
    assert all(ids.looks_like_id(form) for form in forms)


@given(KINDS, KINDS, UUIDS)
def test_an_id_of_another_kind_is_refused_by_name(kind: ids.Kind, other: ids.Kind, value: UUID) -> None:
    if kind == other:
        return
    with pytest.raises(BadUserInput, match="got the id of") as refusal:
        ids.parse(kind, ids.from_uuid(other, value), field="run_id")
    assert refusal.value.field == "run_id"


@given(KINDS, st.text())
def test_arbitrary_text_is_an_id_or_a_clear_refusal(kind: ids.Kind, text: str) -> None:
    try:
        parsed = ids.parse(kind, text)
    except BadUserInput as refusal:
        assert refusal.field == "id"
    else:
        assert ids.looks_like_id(text)
        assert ids.parse(kind, parsed) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run_",
        "run_" + "g" * 32,
        "run_" + "A" * 32,
        "run_" + "0" * 31,
        "run_" + "0" * 33,
        "run_" + "٠" * 32,
        "xyz_" + "0" * 32,
        "run_" + "0" * 32 + "\n",
        "../run_" + "0" * 32,
        "{" + "0" * 32 + "}",
        "urn:uuid:00000000-0000-0000-0000-000000000000",
    ],
)
def test_near_misses_are_refused(text: str) -> None:
    with pytest.raises(BadUserInput):
        ids.parse("run", text)
    with pytest.raises(BadUserInput):
        ids.kind_of(text)
