"""The batcher with a forward we control: who shares a batch, who is dropped, and who gets which rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import BadUserInput, DeadlineExceeded, Overloaded, PayloadTooLarge, Unavailable
from domain.serving import InferenceError
from serving.replica.batcher import Arrays, Batcher, Computed, Item, Outcome

FAR = 2**62
SECONDS = 10.0


@dataclass
class Model:
    """Doubles its input; records every batch; computes only when `gate` is open; refuses 13 and 666."""

    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batches: list[list[float]] = field(default_factory=list)
    slowness: Callable[[int], None] = lambda _rows: None

    def __call__(self, inputs: Arrays) -> Arrays:
        self.batches.append(inputs["x"][:, 0].tolist())
        self.slowness(len(inputs["x"]))
        self.entered.release()
        assert self.gate.wait(SECONDS)
        if 13 in inputs["x"]:
            raise BadUserInput("thirteen")
        if 666 in inputs["x"]:
            raise RuntimeError("the model broke")
        return {"y": inputs["x"] * 2}


class Clock:
    """Nanoseconds that pass when told to."""

    def __init__(self) -> None:
        self._now = 1

    def __call__(self) -> int:
        return self._now

    def pass_(self, nanoseconds: int) -> None:
        self._now += nanoseconds


class Call:
    """A submitted item and its outcome."""

    def __init__(self, *values: float, columns: int = 1, deadline: int = FAR) -> None:
        self.outcome: Outcome | None = None
        self.answered = threading.Event()
        x = np.repeat(np.array(values, np.float32)[:, None], columns, axis=1)
        self.item = Item({"x": x}, len(values), deadline, self._done)

    def _done(self, outcome: Outcome) -> None:
        assert self.outcome is None
        self.outcome = outcome
        self.answered.set()

    def computed(self) -> Computed:
        assert self.answered.wait(SECONDS)
        assert isinstance(self.outcome, Computed)
        return self.outcome

    def rows(self) -> list[float]:
        rows: list[float] = self.computed().outputs["y"][:, 0].tolist()
        return rows


@contextmanager
def running(model: Model, *, max_rows: int = 8, max_queue_rows: int = 100, delay_ns: int = 0) -> Iterator[Batcher]:
    batcher = Batcher(model, max_rows=max_rows, max_queue_rows=max_queue_rows, delay_ns=delay_ns)
    thread = threading.Thread(target=batcher.run)
    thread.start()
    try:
        yield batcher
    finally:
        model.gate.set()
        batcher.drain()
        thread.join(SECONDS)
        assert not thread.is_alive()


def busy(model: Model, batcher: Batcher) -> Call:
    """Occupy the model with one row of 0."""
    first = Call(0)
    batcher.submit(first.item)
    assert model.entered.acquire(timeout=SECONDS)
    return first


def test_idle_model_computes_at_once() -> None:
    model = Model()
    model.gate.set()
    with running(model) as batcher:
        call = Call(1, 2)
        batcher.submit(call.item)
        assert call.rows() == [2, 4]
        assert call.computed().batch_rows == 2
        assert batcher.counters.dispatched["idle"] == 1


def test_what_arrives_while_it_computes_shares_the_next_batch() -> None:
    model = Model()
    with running(model) as batcher:
        busy(model, batcher)
        calls = [Call(1), Call(2, 3), Call(4)]
        for call in calls:
            batcher.submit(call.item)
        assert batcher.queued_rows == 5
        model.gate.set()
        assert [call.rows() for call in calls] == [[2], [4, 6], [8]]
    assert model.batches == [[0], [1, 2, 3, 4]]


def test_rows_are_counted_not_requests() -> None:
    model = Model()
    with running(model, max_rows=4) as batcher:
        busy(model, batcher)
        calls = [Call(1, 2, 3), Call(4, 5), Call(6)]
        for call in calls:
            batcher.submit(call.item)
        model.gate.set()
        assert [call.rows() for call in calls] == [[2, 4, 6], [8, 10], [12]]
    assert model.batches == [[0], [1, 2, 3], [4, 5, 6]]
    assert batcher.counters.dispatched["full"] == 1


def test_only_a_request_larger_than_a_batch_is_split() -> None:
    model = Model()
    model.gate.set()
    with running(model, max_rows=4) as batcher:
        call = Call(*range(10))
        batcher.submit(call.item)
        assert call.rows() == [2 * i for i in range(10)]
    assert [len(batch) for batch in model.batches] == [4, 4, 2]


def test_different_signatures_never_share_a_batch() -> None:
    model = Model()
    with running(model) as batcher:
        busy(model, batcher)
        calls = [Call(1), Call(2, columns=3), Call(3)]
        for call in calls:
            batcher.submit(call.item)
        model.gate.set()
        assert [call.rows() for call in calls] == [[2], [4], [6]]
    assert model.batches == [[0], [1, 3], [2]]


def test_one_bad_item_fails_alone() -> None:
    model = Model()
    with running(model, max_rows=32) as batcher:
        busy(model, batcher)
        calls = [Call(float(i)) for i in range(12)] + [Call(13), Call(666)] + [Call(float(i)) for i in range(14, 20)]
        for call in calls:
            batcher.submit(call.item)
        model.gate.set()
        for i, call in enumerate(calls):
            assert call.answered.wait(SECONDS)
            if i not in (12, 13):
                assert call.rows() == [2 * i]
        assert isinstance(calls[12].outcome, BadUserInput)
        assert isinstance(calls[13].outcome, InferenceError)
        assert "the model broke" in str(calls[13].outcome)
    assert batcher.counters.failures == 2
    assert len(model.batches) == 1 + 1 + 20  # the first, the one that failed, each of its items once


def test_full_queue_is_refused_with_an_estimate() -> None:
    model = Model()
    with running(model, max_rows=4, max_queue_rows=6) as batcher:
        busy(model, batcher)
        accepted = Call(1, 2, 3, 4)
        batcher.submit(accepted.item)
        with pytest.raises(Overloaded) as caught:
            batcher.submit(Call(5, 6, 7).item)
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 0
        batcher.submit(Call(5, 6).item)
        with pytest.raises(PayloadTooLarge):
            batcher.submit(Call(*range(7)).item)
        model.gate.set()
        assert accepted.rows() == [2, 4, 6, 8]


def test_expired_requests_are_dropped_before_compute() -> None:
    model = Model()
    with running(model) as batcher:
        busy(model, batcher)
        late, good = Call(1, deadline=time.monotonic_ns() + 50_000_000), Call(2)
        batcher.submit(late.item)
        with pytest.raises(DeadlineExceeded):
            batcher.submit(Call(3, deadline=time.monotonic_ns()).item)
        batcher.submit(good.item)
        while time.monotonic_ns() < late.item.deadline_ns:
            time.sleep(0.001)  # the passing of time is what is tested
        model.gate.set()
        assert good.rows() == [4]
        assert late.answered.wait(SECONDS)
        assert isinstance(late.outcome, DeadlineExceeded)
    assert model.batches == [[0], [2]]


def test_what_would_wait_past_its_deadline_is_refused_at_once() -> None:
    clock = Clock()
    model = Model()
    batcher = Batcher(model, max_rows=2, max_queue_rows=100, clock=clock)
    model.gate.set()
    model.slowness = lambda rows: clock.pass_(1_000_000_000 + 500_000_000 * rows)
    for rows in (1, 2, 1, 2):  # 1 s, and half a second per row
        batcher.submit(Call(*range(rows), deadline=FAR).item)
        batcher.step()
    waiting = Call(1, 2, 3, 4)
    batcher.submit(waiting.item)  # two batches of 2 s
    with pytest.raises(Overloaded, match=r"4 rows come first and take about 4\.0") as refused:
        batcher.submit(Call(5, deadline=clock() + 3_900_000_000).item)
    assert refused.value.retry_after == pytest.approx(4, rel=0.01)
    in_time = Call(6, deadline=clock() + 4_100_000_000)
    batcher.submit(in_time.item)
    batcher.step()
    batcher.step()
    assert waiting.rows() == [2, 4, 6, 8]
    assert in_time.rows() == [12]


def test_suspects_are_computed_alone() -> None:
    model = Model()
    with running(model) as batcher:
        busy(model, batcher)
        suspects, others = [Call(1), Call(2)], [Call(3), Call(4)]
        for suspect in suspects:
            suspect.item.alone = True
        for call in (*suspects, *others):
            batcher.submit(call.item)
        model.gate.set()
        assert [call.rows() for call in (*suspects, *others)] == [[2], [4], [6], [8]]
    assert model.batches == [[0], [1], [2], [3, 4]]


def test_what_is_computed_is_told_before_and_after() -> None:
    told: list[list[float]] = []
    model = Model()
    model.gate.set()
    batcher = Batcher(
        model,
        max_rows=8,
        max_queue_rows=100,
        computing=lambda items: told.append([float(item.inputs["x"][0, 0]) for item in items]),
    )
    for value in (1, 666, 2):
        batcher.submit(Call(value).item)
    batcher.step()
    assert told == [[1, 666, 2], [1], [666], [2], []]


def test_cancelled_requests_are_neither_computed_nor_answered() -> None:
    model = Model()
    with running(model, max_queue_rows=4) as batcher:
        first = busy(model, batcher)
        gone, good = Call(1, 2, 3), Call(4)
        batcher.submit(gone.item)
        batcher.submit(good.item)
        batcher.cancel(gone.item)
        batcher.cancel(gone.item)
        batcher.cancel(first.item)
        batcher.submit(Call(5, 6, 7).item)  # their room is free again
        model.gate.set()
        assert good.rows() == [8]
    assert gone.outcome is None
    assert first.outcome is None
    assert model.batches == [[0], [4, 5, 6, 7]]
    assert batcher.queued_rows == 0


def test_delay_waits_for_company_and_ends_when_the_batch_is_full() -> None:
    model = Model()
    model.gate.set()
    with running(model, max_rows=3, delay_ns=60_000_000_000) as batcher:
        calls = [Call(float(i)) for i in range(3)]
        for call in calls:
            batcher.submit(call.item)
        assert [call.rows() for call in calls] == [[0], [2], [4]]
    assert model.batches == [[0, 1, 2]]
    assert batcher.counters.dispatched["full"] == 1


def test_delay_ends_by_itself_and_before_a_deadline() -> None:
    model = Model()
    model.gate.set()
    with running(model, delay_ns=20_000_000) as batcher:
        call = Call(1)
        batcher.submit(call.item)
        assert call.computed().queue_ns >= 20_000_000
        assert batcher.counters.dispatched["delay"] == 1
    with running(model, delay_ns=60_000_000_000) as batcher:
        first = Call(1, deadline=time.monotonic_ns() + 60_000_000_000)
        batcher.submit(first.item)
        batcher.drain()
        assert first.rows() == [2]


def test_drain_finishes_what_was_accepted() -> None:
    model = Model()
    with running(model) as batcher:
        first = busy(model, batcher)
        second = Call(1)
        batcher.submit(second.item)
        batcher.drain()
        with pytest.raises(Unavailable):
            batcher.submit(Call(2).item)
        model.gate.set()
        assert first.rows() == [0]
        assert second.rows() == [2]


def test_output_with_the_wrong_number_of_rows_is_never_handed_out() -> None:
    batcher = Batcher(lambda inputs: {"y": inputs["x"][:1]}, max_rows=8, max_queue_rows=8)
    thread = threading.Thread(target=batcher.run)
    thread.start()
    call = Call(1, 2)
    batcher.submit(call.item)
    assert call.answered.wait(SECONDS)
    batcher.drain()
    thread.join(SECONDS)
    assert isinstance(call.outcome, InferenceError)
    assert "for 2 rows" in str(call.outcome)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from([1, 2]), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 8),
)
@settings(max_examples=40, deadline=None)
def test_everybody_gets_their_own_rows(requests: list[tuple[int, int, bool]], max_rows: int) -> None:
    model = Model()
    with running(model, max_rows=max_rows, max_queue_rows=1000) as batcher:
        busy(model, batcher)
        calls: list[tuple[Call, list[float]]] = []
        value = 1000.0
        for rows, columns, cancelled in requests:
            values = [value + i for i in range(rows)]
            value += rows
            call = Call(*values, columns=columns)
            batcher.submit(call.item)
            if cancelled:
                batcher.cancel(call.item)
            else:
                calls.append((call, values))
        model.gate.set()
        for call, values in calls:
            assert call.rows() == [2 * v for v in values]
    assert all(len(batch) <= max_rows for batch in model.batches)
    assert batcher.queued_rows == 0
