"""The form of API keys: what is made is read back, what is altered is refused before any look-up."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import KeyScope
from domain.errors import BadUserInput
from domain.identity.keys import parse_scopes
from server.security.apikeys import ALPHABET, LENGTH, PREFIX, ApiKeys, checksum

codec = ApiKeys()
bodies = st.text(alphabet=ALPHABET, min_size=40, max_size=40)


def test_a_generated_key_is_read_back() -> None:
    made = codec.generate()
    assert len(made.text) == LENGTH == 50
    assert made.text.startswith(f"{PREFIX}{made.lookup}")
    assert codec.parse(made.text) == made


def test_two_keys_share_nothing() -> None:
    first, second = codec.generate(), codec.generate()
    assert first.lookup != second.lookup
    assert first.secret_hash != second.secret_hash


@given(bodies)
def test_every_body_with_its_checksum_is_a_key(body: str) -> None:
    text = PREFIX + body + checksum(PREFIX + body)
    found = codec.parse(text)
    assert found is not None
    assert found.lookup == body[:8]
    assert found.secret_hash == hashlib.sha256(text.encode()).digest()


@given(bodies, st.integers(0, 39), st.sampled_from(ALPHABET))
def test_one_changed_character_is_noticed(body: str, place: int, other: str) -> None:
    text = PREFIX + body + checksum(PREFIX + body)
    at = len(PREFIX) + place
    changed = text[:at] + other + text[at + 1 :]
    assert (codec.parse(changed) is None) == (changed != text)


@given(st.text(max_size=80))
def test_any_text_is_refused_or_exactly_a_key(text: str) -> None:
    found = codec.parse(text)
    assert found is None or found.text == text


@pytest.mark.parametrize("spoil", ["{}x", "{} ", " {}", "{}\n", "X{}", "axr_{}"])
def test_nothing_may_stand_around_a_key(spoil: str) -> None:
    assert codec.parse(spoil.format(codec.generate().text)) is None


def test_digits_of_other_scripts_are_no_digits() -> None:
    body = "٣" * 40
    assert codec.parse(PREFIX + body + "000000") is None


def test_scopes_are_named_exactly() -> None:
    assert parse_scopes(["runs:write", "runs:write"]) == {KeyScope.RUNS_WRITE}
    with pytest.raises(BadUserInput, match="unknown scope 'admin'") as refused:
        parse_scopes(["runs:read", "admin"])
    assert refused.value.field == "scopes[1]"
    with pytest.raises(BadUserInput, match="at least one"):
        parse_scopes([])
