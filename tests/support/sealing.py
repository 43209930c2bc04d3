"""What the tests of sealing share: a sealer that seals whatever it may, series of every kind, and what readers see."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from domain import ids
from domain.access import Scope
from domain.metrics import Column, Metrics, MetricSeries, SeriesAxis, SeriesRequest, decode
from persistence.lease import SEALING, Lease
from persistence.metrics.sealer import Sealer, SealRules
from tests.support.tracking import Tracking

_COLUMNS = ("steps", "values", "timestamps", "min", "max")
EVERYTHING = SealRules(batches=1, points=1, points_per_key=1)


def sealer_of(tracking: Tracking, url: str, rules: SealRules = EVERYTHING) -> Sealer:
    return Sealer(
        database=tracking.database,
        lease=Lease(url, SEALING, name="test-sealer", every=0.05),
        clock=tracking.clock,
        rules=rules,
    )


async def head(tracking: Tracking, run_id: str) -> tuple[int, int, int]:
    """The newest batch of a run, the last sealed one, and how many chunks there are."""
    row = await tracking.database.fetchrow(
        "SELECT metric_seq, sealed_seq, (SELECT count(*) FROM metric_chunks c WHERE c.run_id = h.run_id) AS chunks,"
        " sealed_points = (SELECT COALESCE(sum(points), 0) FROM metric_chunks c WHERE c.run_id = h.run_id) AS counted"
        " FROM run_heads h WHERE run_id = $1",
        ids.to_uuid(run_id),
    )
    assert row is not None
    assert row["counted"], "the head knows how many points are sealed"
    return row["metric_seq"], row["sealed_seq"], row["chunks"]


async def by_key(pieces: AsyncIterator[list[Column]]) -> dict[str, list[tuple[int, str, int]]]:
    """All points by key, in the order they came."""
    found: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    async for columns in pieces:
        for column in columns:
            found[column.key] += zip(
                column.steps.tolist(), map(repr, column.values.tolist()), column.timestamps.tolist(), strict=True
            )
    return dict(found)


def shown(series: list[MetricSeries]) -> list[Any]:
    def plain(array: Any) -> str:
        return repr(None if array is None else array.tolist())

    return [
        (each.key, each.count, each.downsampled, *(plain(getattr(each, name)) for name in _COLUMNS)) for each in series
    ]


REQUESTS = [
    SeriesRequest.of(keys, points, axis, start=start, end=end)
    for keys in (None, ["loss", "acc"])
    for points in (1, 7, 100, 1_000, 10_000)
    for axis, start, end in (
        (SeriesAxis.STEP, None, None),
        (SeriesAxis.STEP, 300, 4_000),
        (SeriesAxis.STEP, 2_500.5, None),
        (SeriesAxis.STEP, 10**9, None),
        (SeriesAxis.TIME, None, None),
        (SeriesAxis.TIME, 1_700_000_300_000, 1_700_004_000_000),
        (SeriesAxis.RELATIVE, 1, 3_000),
    )
]


async def drawn(metrics: Metrics, scope: Scope, run_id: str) -> list[Any]:
    """The answers to many requests."""
    return [shown((await metrics.series(scope, [run_id], request))[run_id]) for request in REQUESTS]


async def log(metrics: Metrics, scope: Scope, run_id: str, rng: random.Random, *, first: int, points: int) -> None:
    """Several series: steady, noisy with gaps, backwards, several values of one step, and one that is no number."""
    steps = list(range(first, first + points))
    at = [1_700_000_000_000 + step * 1_000 + rng.randrange(3_000) for step in steps]
    document: dict[str, Any] = {
        "loss": {"steps": steps, "values": [rng.gauss(0, 1) for _ in steps], "timestamps": at},
        "acc": {"steps": [step * 3 + rng.randrange(3) for step in steps], "values": [rng.random() for _ in steps]},
        "back": {"steps": steps[::-1], "values": [float(step % 17) for step in steps]},
        "same": {"steps": [step // 4 for step in steps], "values": [float(step) for step in steps]},
        "odd": {"steps": steps, "values": [rng.choice(["NaN", "Infinity", 1.5]) for _ in steps]},
    }
    await metrics.log(scope, run_id, decode({"series": document}))
