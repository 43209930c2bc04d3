"""What may be asked of a run's metrics: hashable requests, so that many runs asking alike are answered together.

Each `of` checks what a client sent; a request that exists is valid. Nothing here reads anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from domain import ids
from domain.errors import BadUserInput
from domain.metrics.keys import is_system, metric_key
from domain.paging import PageRequest

MAX_KEYS_ASKED: Final = 200
MAX_COMPARED: Final = 50
MAX_SUMMARIES: Final = 1_000
MAX_BUCKETS: Final = 10_000
DEFAULT_SUMMARIES: Final = 200
DEFAULT_BUCKETS: Final = 1_000
DEFAULT_SERIES: Final = 20


class SeriesAxis(Enum):
    """What the x of a series is: the step, the time in ms since 1970, or seconds since the start of the run."""

    STEP = "step"
    TIME = "time"
    RELATIVE = "relative"


class MetricStream(Enum):
    """What a reader gets who names no keys: the metrics of a run, or the load of its script and machine."""

    METRICS = "metrics"
    SYSTEM = "system"


def picks(keys: Sequence[str] | None, stream: MetricStream) -> Callable[[str], bool]:
    """Which keys are asked for: those that were named, else all of one stream."""
    if keys is not None:
        return frozenset(keys).__contains__
    return lambda key: is_system(key) is (stream is MetricStream.SYSTEM)


def asked_keys(keys: Sequence[str] | None, *, most: int = MAX_KEYS_ASKED) -> tuple[str, ...] | None:
    """The distinct keys a reader named, in their order; None when it named none in particular.

    Raises BadUserInput for more than `most` keys, and for what can be no key.
    """
    if keys is None:
        return None
    if len(keys) > most:
        raise BadUserInput(f"expected at most {most} keys, got {len(keys)}", field="keys")
    return tuple(dict.fromkeys(metric_key(key, field=f"keys[{place}]") for place, key in enumerate(keys)))


@dataclass(frozen=True, slots=True)
class SummariesRequest:
    """Summaries of the named keys, or of the first ones in order of key."""

    keys: tuple[str, ...] | None = None
    first: int = DEFAULT_SUMMARIES
    stream: MetricStream = MetricStream.METRICS

    @classmethod
    def of(
        cls,
        keys: Sequence[str] | None = None,
        first: int | None = None,
        stream: MetricStream = MetricStream.METRICS,
    ) -> SummariesRequest:
        """Raises BadUserInput when `first` is outside 0..1,000, or a key is malformed."""
        wanted = DEFAULT_SUMMARIES if first is None else first
        if not 0 <= wanted <= MAX_SUMMARIES:
            raise BadUserInput(f"first must lie between 0 and {MAX_SUMMARIES}, got {wanted}", field="first")
        return cls(asked_keys(keys), wanted, stream)


@dataclass(frozen=True, slots=True)
class KeysRequest:
    """A page of a run's metric keys, in order."""

    page: PageRequest
    stream: MetricStream = MetricStream.METRICS

    @classmethod
    def of(
        cls, first: int | None = None, after: str | None = None, stream: MetricStream = MetricStream.METRICS
    ) -> KeysRequest:
        """Raises BadUserInput when `first` is outside 0..1,000."""
        return cls(PageRequest.of(DEFAULT_SUMMARIES if first is None else first, after, most=MAX_SUMMARIES), stream)


@dataclass(frozen=True, slots=True)
class SeriesRequest:
    """Series of the named keys (or the `first` ones), at most `points` buckets each, from `start` to `end` inclusive.

    Bounds are in the unit of the axis: a step, milliseconds since 1970, or seconds since the start of the run.
    """

    keys: tuple[str, ...] | None = None
    points: int = DEFAULT_BUCKETS
    axis: SeriesAxis = SeriesAxis.STEP
    start: float | None = None
    end: float | None = None
    first: int = DEFAULT_SERIES
    stream: MetricStream = MetricStream.METRICS

    @property
    def picks(self) -> Callable[[str], bool]:
        """Tells which keys it asks for, if there were no `first`."""
        return picks(self.keys, self.stream)

    @classmethod
    def of(
        cls,
        keys: Sequence[str] | None = None,
        points: int | None = None,
        axis: SeriesAxis = SeriesAxis.STEP,
        *,
        start: float | None = None,
        end: float | None = None,
        stream: MetricStream = MetricStream.METRICS,
    ) -> SeriesRequest:
        """Raises BadUserInput naming `keys`, `points`, `from` or `to`."""
        wanted = DEFAULT_BUCKETS if points is None else points
        if not 1 <= wanted <= MAX_BUCKETS:
            raise BadUserInput(f"points must lie between 1 and {MAX_BUCKETS}, got {wanted}", field="points")
        for name, bound in (("from", start), ("to", end)):
            if bound is not None and math.isnan(bound):
                raise BadUserInput("a bound of the axis may not be NaN", field=name)
        return cls(asked_keys(keys), wanted, axis, start, end, stream=stream)


@dataclass(frozen=True, slots=True)
class ComparisonRequest:
    """The same series of several runs, each run once, in the order they were named in."""

    run_ids: tuple[str, ...]
    series: SeriesRequest

    @classmethod
    def of(
        cls,
        run_ids: Sequence[str],
        keys: Sequence[str],
        *,
        points: int | None = None,
        axis: SeriesAxis = SeriesAxis.STEP,
        start: float | None = None,
        end: float | None = None,
    ) -> ComparisonRequest:
        """At most 50 runs and 50 keys. Raises BadUserInput naming `run_ids`, `keys`, `points`, `from` or `to`."""
        for name, given in (("run_ids", run_ids), ("keys", keys)):
            if len(given) > MAX_COMPARED:
                raise BadUserInput(f"expected at most {MAX_COMPARED}, got {len(given)}", field=name)
        canonical = [ids.parse("run", run_id, field=f"run_ids[{place}]") for place, run_id in enumerate(run_ids)]
        return cls(tuple(dict.fromkeys(canonical)), SeriesRequest.of(keys, points, axis, start=start, end=end))
