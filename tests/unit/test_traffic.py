"""Shares of an endpoint's traffic: they add up, and the choice follows them, sticks, and moves no more than it must."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.endpoints import EndpointTraffic
from domain.endpoints.traffic import MAX_VERSIONS, choose, divided, ordered, shifted
from domain.errors import BadUserInput, Conflict

KEYS = [f"user {number}" for number in range(20_000)]
A, B, C = "ver_a", "ver_b", "ver_c"


def _traffic(**weights: int) -> tuple[EndpointTraffic, ...]:
    return ordered(EndpointTraffic(f"ver_{name}", weight) for name, weight in weights.items())


def _choices(traffic: tuple[EndpointTraffic, ...]) -> list[str]:
    return [choose(traffic, "end_1", key).version_id for key in KEYS]


def test_the_choice_follows_the_shares_and_needs_no_order() -> None:
    traffic = _traffic(a=70, b=20, c=10)
    chosen = _choices(traffic)
    assert chosen == _choices(traffic[::-1])
    for version, share in ((A, 0.7), (B, 0.2), (C, 0.1)):
        assert Counter(chosen)[version] / len(KEYS) == pytest.approx(share, abs=0.015)
    assert chosen != [choose(traffic, "end_2", key).version_id for key in KEYS]
    assert choose(traffic, "end_1", "\ud800").version_id in (A, B, C)


@pytest.mark.parametrize(("before", "after"), [(0, 1), (10, 30), (30, 10), (99, 100)])
def test_a_share_that_grows_moves_the_difference_alone(before: int, after: int) -> None:
    old, new = (_traffic(a=100) if not w else shifted(_traffic(a=100), B, w) for w in (before, after))
    moved = [pair for pair in zip(_choices(old), _choices(new), strict=True) if pair[0] != pair[1]]
    assert set(moved) == {(A, B) if after > before else (B, A)}
    assert len(moved) / len(KEYS) == pytest.approx(abs(after - before) / 100, abs=0.015)


def test_among_three_only_the_version_that_grows_takes() -> None:
    old = _traffic(a=60, b=30, c=10)
    new = shifted(old, C, 40)
    assert new == _traffic(a=40, b=20, c=40)
    moved = {pair for pair in zip(_choices(old), _choices(new), strict=True) if pair[0] != pair[1]}
    assert moved == {(A, C), (B, C)}


def test_requests_of_a_version_that_is_gone_alone_go_elsewhere() -> None:
    all_three = _traffic(a=60, b=30, c=10)
    left = tuple(share for share in all_three if share.version_id != C)
    pairs = zip(_choices(all_three), _choices(left), strict=True)
    assert {before for before, after in pairs if before != after} == {C}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 100)), max_size=12))
def test_shares_always_add_up(changes: list[tuple[str, int]]) -> None:
    traffic = _traffic(a=100)
    for name, weight in changes:
        try:
            traffic = shifted(traffic, f"ver_{name}", weight)
        except Conflict:
            continue
        assert sum(share.weight for share in traffic) == 100
        assert all(share.weight >= 1 for share in traffic)
        assert len(traffic) <= MAX_VERSIONS
        assert {share.version_id: share.weight for share in traffic}.get(f"ver_{name}", 0) == weight


def test_what_does_not_add_up_is_refused() -> None:
    for weight in (-1, 101):
        with pytest.raises(BadUserInput):
            shifted(_traffic(a=100), B, weight)
    for version, weight in ((A, 50), (A, 0)):
        with pytest.raises(Conflict, match="no other version"):
            shifted(_traffic(a=100), version, weight)
    with pytest.raises(Conflict, match="at most"):
        shifted(_traffic(a=40, b=30, c=20, d=10), "ver_e", 5)
    with pytest.raises(Conflict, match="cannot be shared"):
        shifted(_traffic(a=50, b=50), C, 99)
    assert shifted(_traffic(a=90, b=10), B, 0) == _traffic(a=100)
    assert divided({A: 25, B: 75}) == _traffic(a=25, b=75)
    for shares in ({A: 50, B: 49}, {A: 100, B: 0}, {}, {f"ver_{n}": 20 for n in range(5)}):
        with pytest.raises(BadUserInput):
            divided(shares)
