"""Buckets: exact while there is room, bounded always, and never emptied or filled by somebody else. Time is given."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.buckets import SHARED, Buckets, Rate, parse_rate


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("30/5m", Rate(30, 300)),
        ("1000/s", Rate(1_000, 1)),
        ("10000/10s", Rate(10_000, 10)),
        ("7/2h", Rate(7, 7_200)),
        ("off", None),
    ],
)
def test_a_rate_is_a_number_and_a_period(text: str, rate: Rate | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "0/s", "-1/s", "10", "10/", "10/0s", "10/d", "1e3/s", "10/5 m", "OFF", "9" * 10 + "/s", "٣/s"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="30/5m"):
        parse_rate(text)


@given(st.integers(1, 10_000), st.integers(1, 16))
def test_shares_add_up_to_the_whole_and_leave_nobody_without(count: int, among: int) -> None:
    share = Rate(count, 60).divided(among).count
    assert share >= 1
    assert count <= share * among < count + among


def test_a_full_bucket_is_spent_at_once_and_fills_evenly() -> None:
    time = Time()
    buckets = Buckets(Rate(3, 30), clock=time)
    assert [buckets.take("a") for _ in range(3)] == [(0, 10), (0, 20), (0, 30)]
    assert buckets.wait("a") == 10
    assert buckets.take("a") == (10, 30)
    assert buckets.take("b") == (0, 10), "everybody has a bucket of their own"
    time.now += 9.5
    assert buckets.take("a") == (0.5, 20.5), "who had to wait paid nothing"
    time.now += 0.5
    assert buckets.take("a") == (0, 30)
    time.now += 30
    assert buckets.wait("a") == 0
    assert [buckets.left(buckets.take("a")[1]) for _ in range(3)] == [2, 1, 0]


def test_what_costs_more_than_a_bucket_holds_takes_a_full_one() -> None:
    time = Time()
    buckets = Buckets(Rate(10, 10), clock=time)
    assert buckets.take("a", 99) == (0, 10)
    assert buckets.take("a", 4) == (4, 10)
    time.now += 5
    assert buckets.take("a", 99)[0] == 5


class Exact:
    """What the limit means, written down without regard for memory."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.full_at: dict[str, float] = {}

    def allows(self, key: str, now: float, cost: int) -> bool:
        return self._after(key, now, cost) - now <= self.rate.seconds + 1e-6

    def take(self, key: str, now: float, cost: int) -> None:
        self.full_at[key] = self._after(key, now, cost)

    def _after(self, key: str, now: float, cost: int) -> float:
        taken = min(cost * self.rate.seconds / self.rate.count, self.rate.seconds)
        return max(self.full_at.get(key, 0.0), now) + taken


REQUESTS = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from([0.0, 0.0, 0.01, 0.4, 3.0, 11.0, 25.0]), st.integers(1, 3)),
    max_size=200,
)


@given(REQUESTS, st.integers(1, 6))
def test_with_room_for_everybody_it_is_exact(requests: list[tuple[int, float, int]], count: int) -> None:
    time, rate = Time(), Rate(count, 10)
    buckets, exact = Buckets(rate, clock=time), Exact(rate)
    for who, pause, cost in requests:
        time.now += pause
        key = f"caller {who}"
        allowed = exact.allows(key, time.now, cost)
        assert (buckets.take(key, cost)[0] == 0) == allowed
        if allowed:
            exact.take(key, time.now, cost)


@given(REQUESTS, st.integers(1, 6), st.integers(0, 5))
def test_without_room_it_is_bounded_and_never_laxer(
    requests: list[tuple[int, float, int]], count: int, most: int
) -> None:
    time, rate = Time(), Rate(count, 10)
    buckets, exact = Buckets(rate, most=most, clock=time), Exact(rate)
    for who, pause, cost in requests:
        time.now += pause
        key = f"caller {who}"
        if buckets.take(key, cost)[0] == 0:
            assert exact.allows(key, time.now, cost)
            exact.take(key, time.now, cost)
        assert len(buckets) <= most


def test_ever_new_addresses_neither_fill_nor_empty_the_bucket_of_another() -> None:
    time = Time()
    buckets = Buckets(Rate(5, 60), most=100, clock=time)
    for _ in range(5):
        buckets.take("the guesser")
    buckets.take("the neighbour")
    for number in range(100 * SHARED):
        buckets.take(f"address {number}")
        assert len(buckets) <= 100
    assert buckets.take("the guesser")[0] == pytest.approx(12)
    assert [buckets.take("the neighbour")[0] for _ in range(4)] == [0] * 4
    assert buckets.take("the neighbour")[0] == pytest.approx(12)
    time.now += 120  # whatever was shared has filled again, and newcomers find room
    assert [buckets.take(f"newcomer {number}")[0] for number in range(100)] == [0] * 100


def test_a_bucket_that_grows_old_keeps_its_place_in_a_full_table() -> None:
    time = Time()
    buckets = Buckets(Rate(5, 10), most=1, clock=time)
    time.now += 9
    assert [buckets.take("a")[0] for _ in range(5)] == [0] * 5
    time.now += 2
    assert [buckets.take("a")[0] for _ in range(2)] == [0, 2]
    assert len(buckets) == 1


def test_what_has_filled_is_forgotten() -> None:
    time = Time()
    buckets = Buckets(Rate(5, 60), clock=time)
    for number in range(1_000):
        buckets.take(number)
    assert len(buckets) == 1_000
    time.now += 60
    buckets.take("later")
    time.now += 60
    buckets.take("later still")
    assert len(buckets) <= 2


def test_a_steady_caller_gets_the_rate_and_no_more() -> None:
    time = Time()
    buckets = Buckets(Rate(100, 10), clock=time)
    taken = 0
    for _ in range(10_000):  # 100 s at ten times the rate
        time.now += 0.01
        taken += buckets.take("a")[0] == 0
    assert math.isclose(taken, 100 + 1_000, abs_tol=1)
