"""Names: what appears in paths is plain and short, what people read is free of tricks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import names
from domain.errors import BadUserInput


@pytest.mark.parametrize("name", ["a", "resnet-18", "Digits.v2", "0_0", "x" * 128])
def test_good_slugs(name: str) -> None:
    assert names.slug(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".hidden",
        "-x",
        "a/b",
        "..",
        "a\\b",
        "a b",
        "a%2fb",
        "x" * 129,
        "é",
        "a\x00",
        "a\n",
        "run_" + "0" * 32,
        "0" * 32,
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_bad_slugs_name_their_field(name: str) -> None:
    with pytest.raises(BadUserInput) as refusal:
        names.slug(name, field="endpoint")
    assert refusal.value.field == "endpoint"


@given(st.text(max_size=300))
def test_a_title_is_stored_as_it_will_be_shown(text: str) -> None:
    try:
        title = names.title(text)
    except BadUserInput as refusal:
        assert refusal.field == "name"
    else:
        assert 1 <= len(title) <= 250
        assert title == title.strip()
        assert names.title(title) == title
        title.encode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\ufeff", "nothing of this would be seen"),
        ("\u00ad\u200b", "nothing of this would be seen"),
        ("run \u202egnp.exe", "reorder the text"),
        ("\u2066admin\u2069", "reorder the text"),
    ],
)
def test_titles_that_deceive_are_refused(text: str, why: str) -> None:
    with pytest.raises(BadUserInput, match=why):
        names.title(text)


@pytest.mark.parametrize("text", ["שלום\u200f 1", "نموذج", "क्‍ष", "👩‍🔬", "é"])
def test_marks_that_writing_needs_stay(text: str) -> None:
    assert names.title(text)


@given(st.text(st.characters(), max_size=50))
def test_notes_can_be_stored(text: str) -> None:
    try:
        notes = names.notes(text, field="notes")
    except BadUserInput:
        assert "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text)
    else:
        assert notes == text


def test_notes_are_bounded() -> None:
    with pytest.raises(BadUserInput, match="at most 65536"):
        names.notes("x" * 65_537, field="notes")
