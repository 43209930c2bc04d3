"""What a metric came to: the summary of a key, and how an accepted batch changes it.

The arithmetic stays inside doubles for every finite input (no sum of large values overflows), so a summary never
turns infinite by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from domain.metrics.batch import Column, Floats


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """The summary of one key over all accepted points.

    `last` is the value at the highest step, of equal steps the one accepted last. `min`, `max` and `mean` cover the
    finite values and are None when there is none; `count` covers all, `non_finite` those that are NaN or infinite.
    """

    key: str
    last: float
    last_step: int
    min: float | None
    max: float | None
    mean: float | None
    count: int
    non_finite: int

    @classmethod
    def of(cls, column: Column) -> MetricSummary:
        """The summary of one column."""
        if len(column) == 1:  # what most scripts send, one request after the other
            return cls._of_one(column.key, column.steps.item(0), column.values.item(0))
        highest = int(column.steps.max())
        last = int(np.flatnonzero(column.steps == highest)[-1])
        finite = column.values[np.isfinite(column.values)]
        return cls(
            key=column.key,
            last=float(column.values[last]),
            last_step=highest,
            min=float(finite.min()) if len(finite) else None,
            max=float(finite.max()) if len(finite) else None,
            mean=_within(_mean(finite), float(finite.min()), float(finite.max())) if len(finite) else None,
            count=len(column),
            non_finite=len(column) - len(finite),
        )

    @classmethod
    def of_all(cls, columns: Sequence[Column]) -> list[MetricSummary]:
        """The summary of each column, as `of`; of many plain columns at once."""
        found = _together(columns) if len(columns) > 1 else None
        return [cls.of(column) for column in columns] if found is None else [cls(*one) for one in found]

    @classmethod
    def _of_one(cls, key: str, step: int, value: float) -> MetricSummary:
        finite = value if math.isfinite(value) else None
        return cls(key, value, step, finite, finite, finite, 1, 0 if finite is not None else 1)

    def then(self, later: MetricSummary) -> MetricSummary:
        """The summary of these points and of those accepted after them."""
        newer = later.last_step >= self.last_step
        low, high = _either(min, self.min, later.min), _either(max, self.max, later.max)
        return MetricSummary(
            key=self.key,
            last=later.last if newer else self.last,
            last_step=max(self.last_step, later.last_step),
            min=low,
            max=high,
            mean=_within(self._mean_with(later), low, high),
            count=self.count + later.count,
            non_finite=self.non_finite + later.non_finite,
        )

    def _mean_with(self, later: MetricSummary) -> float | None:
        if self.mean is None or later.mean is None:
            return self.mean if later.mean is None else later.mean
        mine, theirs = self.count - self.non_finite, later.count - later.non_finite
        share = theirs / (mine + theirs)
        return self.mean * (1 - share) + later.mean * share


def _together(columns: Sequence[Column]) -> Iterable[tuple[str, float, int, float, float, float, int, int]] | None:
    """The fields of the summaries, computed in one pass; None where a value is not finite, or steps go back."""
    sizes = np.fromiter(map(len, columns), np.int64, len(columns))
    starts = np.cumsum(sizes) - sizes
    values = np.concatenate([column.values for column in columns])
    steps = np.concatenate([column.steps for column in columns])
    on = steps[1:] >= steps[:-1]
    on[starts[1:] - 1] = True
    if not (np.isfinite(values).all() and on.all()):
        return None
    with np.errstate(over="ignore"):
        means = np.add.reduceat(values, starts) / sizes
    if not np.isfinite(means).all():
        return None
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    last = starts + sizes - 1
    return zip(
        (column.key for column in columns),
        values[last].tolist(),
        steps[last].tolist(),
        low.tolist(),
        high.tolist(),
        np.clip(means, low, high).tolist(),
        sizes.tolist(),
        repeat(0),
        strict=False,
    )


def _either(choose: Callable[[float, float], float], left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return right if left is None else left
    return choose(left, right)


def _within(mean: float | None, low: float | None, high: float | None) -> float | None:
    """The mean without what rounding added: a constant metric has its constant as mean."""
    return mean if mean is None or low is None or high is None else min(max(mean, low), high)


def _mean(finite: Floats) -> float:
    """May be infinite by rounding alone, next to the largest double there is; `_within` brings it back."""
    with np.errstate(over="ignore"):
        mean = float(finite.mean())
        return mean if np.isfinite(mean) else float((finite / len(finite)).sum())
