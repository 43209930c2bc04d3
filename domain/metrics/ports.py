"""What the metrics use-cases need of the store, and what it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.access import Scope
from domain.metrics.batch import Column, Draft
from domain.metrics.requests import KeysRequest, SeriesRequest, SummariesRequest
from domain.metrics.series import MetricSeries
from domain.metrics.summaries import MetricSummary
from domain.paging import Page
from domain.runs import RunStatus


@dataclass(frozen=True, slots=True)
class MetricKey:
    """A key of a run's metrics."""

    key: str


@dataclass(frozen=True, slots=True)
class Appended:
    """A batch that is durable: its sequence number, its size, and what became of the run.

    `started` tells that the batch started a pending run, or may have done so in an attempt whose answer was lost.
    """

    seq: int
    accepted: int
    stop_requested: bool
    started: bool = False


@dataclass(frozen=True, slots=True)
class RunSeries:
    """Series of one run and the sequence number up to which they are complete."""

    series: list[MetricSeries]
    seq: int


@dataclass(frozen=True, slots=True)
class MetricsSince:
    """What a run holds after some place, read in one snapshot.

    `columns` are the points of the batches up to `seq`, one column per key, as accepted; `head` is the newest
    sequence number there is, so more follows when it is higher than `seq`. With `sealed` there are no columns: batches
    after the place asked for cannot be told apart any more, only be drawn together with all others.
    """

    columns: list[Column]
    seq: int
    head: int
    status: RunStatus
    stop_requested: bool
    sealed: bool = False


class MetricStore(Protocol):
    """Keeps every accepted point, in the order of commits.

    Reads of several runs leave out what the scope may not see: such a run has no metrics.
    """

    async def exists(self, scope: Scope, run_id: str) -> bool:
        """Whether the scope may see such a run."""
        ...

    async def append(self, scope: Scope, run_id: str, batch_id: str, draft: Draft, now: datetime) -> Appended:
        """Stores a batch whole or not at all; answers after the commit.

        The same batch id with the same content answers the first result, with other content it raises Conflict.
        Raises NotFound, Conflict (ended or archived run), BadUserInput (too many keys in the run, no next step).
        """
        ...

    async def summaries(
        self, scope: Scope, run_ids: list[str], request: SummariesRequest
    ) -> dict[str, list[MetricSummary]]:
        """Summaries by key, for every run id."""
        ...

    async def keys(self, scope: Scope, run_ids: list[str], request: KeysRequest) -> dict[str, Page[MetricKey]]:
        """A page of keys, for every run id."""
        ...

    async def series(self, scope: Scope, run_ids: list[str], request: SeriesRequest) -> dict[str, RunSeries]:
        """Series by key, for every run id."""
        ...

    async def since(self, scope: Scope, run_id: str, seq: int, until: int | None = None) -> MetricsSince | None:
        """The next batches after `seq`, bounded in number of points, none after `until`.

        None for a run that is not there.
        """
        ...

    def points(self, scope: Scope, run_id: str, keys: tuple[str, ...] | None) -> AsyncIterator[list[Column]]:
        """Every accepted point up to what is committed at the start, in pieces; each key's in the order accepted.

        Memory stays flat, and no transaction stays open.
        """
        ...
