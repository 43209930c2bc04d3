"""Figures: distributions that add up and percentiles that lie where they should; asking every web worker."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.figures import SECONDS, SIZES, Distribution, IngestFigures, LiveFigures
from server.workers import gathering, messages
from server.workers.gathering import Gathering
from tests.unit.test_worker_messages import FIGURES

VALUES = st.lists(st.floats(0, 9.5), max_size=60)


def spread(values: list[float]) -> Distribution:
    made = Distribution()
    for value in values:
        made.add(value)
    return made


@given(VALUES, st.floats(0.01, 1))
def test_a_quantile_lies_within_the_bounds_around_the_true_one(values: list[float], share: float) -> None:
    found = spread(values).quantile(share)
    if not values:
        assert found is None
        return
    assert found is not None
    true = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    edges = (0.0, *SECONDS)
    place = next(at for at, edge in enumerate(SECONDS) if true <= edge)
    assert edges[place] - 1e-9 <= found <= edges[place + 1] + 1e-9


@given(st.lists(VALUES, max_size=5))
def test_distributions_together_are_the_distribution_of_all(parts: list[list[float]]) -> None:
    together = Distribution.together(map(spread, parts))
    alone = spread([value for part in parts for value in part])
    assert together.counts == alone.counts
    assert together.sum == pytest.approx(alone.sum)
    assert together.mean == pytest.approx(alone.mean) if alone.count else together.mean is None


def test_values_beyond_the_last_bound_are_counted() -> None:
    beyond = Distribution(SIZES)
    beyond.add(501)
    assert (beyond.counts[-1], beyond.count, beyond.p99) == (1, 1, 500)


def test_figures_of_several_processes_are_summed() -> None:
    one = IngestFigures(batches=1, points=10, bytes=100, refused={"CONFLICT": 2}, queued_batches=3)
    one.group_batches.add(4)
    two = IngestFigures(batches=2, refused={"CONFLICT": 1, "OVERLOADED": 5}, queued_points=7)
    both = IngestFigures.together([one, two])
    assert (both.batches, both.points, both.bytes, both.queued_batches, both.queued_points) == (3, 10, 100, 3, 7)
    assert both.refused == {"CONFLICT": 3, "OVERLOADED": 5}
    assert both.group_batches.count == 1
    assert IngestFigures.together([]).commit_seconds.p50 is None
    assert LiveFigures.together([LiveFigures(readers=2, deltas=3), LiveFigures(readers=1)]).readers == 3


class Worker:
    def __init__(self) -> None:
        self.asked: list[int] = []

    def send(self, message: messages.WantFigures) -> None:
        self.asked.append(message.number)


async def test_workers_are_told_apart_and_silent_ones_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "ANSWER_SECONDS", 0.2)
    gather, one, two, silent = Gathering(), Worker(), Worker(), Worker()
    asking = asyncio.create_task(gather.ask({3: silent, 2: two, 1: one}))
    while not silent.asked:  # noqa: ASYNC110 - it asks in its first turn
        await asyncio.sleep(0)
    gather.answered(two, two.asked[0], replace(FIGURES, pid=22))
    gather.answered(one, one.asked[0], replace(FIGURES, pid=11))
    gather.answered(one, one.asked[0], replace(FIGURES, pid=12))
    assert [(each.worker, each.pid) for each in await asking] == [(1, 11), (2, 22)]
    gather.answered(silent, silent.asked[0], FIGURES)
    assert await gather.ask({}) == []
