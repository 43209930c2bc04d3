"""What a group of batches does to its runs: computed batch by batch, before anything is written.

Whether a run was just read under its lock or is known from the last commit makes no difference here; the statement that
writes the plan is what proves that the run still was as the plan took it to be.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput, Conflict, DomainError
from domain.metrics import MAX_KEYS, Appended, Draft, MetricSummary
from persistence.metrics.codec import encode
from persistence.metrics.rows import milliseconds

Answer: TypeAlias = Appended | DomainError
Place: TypeAlias = tuple[str, str]
"""Workspace id and run id, or run id and batch id."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is stored of a batch: its payload, and the summary of each of its columns. `last_step` None: no point."""

    points: int
    last_step: int | None
    payload: bytes
    summaries: list[MetricSummary]


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A batch that waits to be stored. `prepared` is None while its steps depend on what the run holds."""

    scope: Scope
    run_id: str
    batch_id: str
    draft: Draft
    digest: bytes
    now: datetime
    prepared: Prepared | None

    @property
    def place(self) -> Place:
        """Where its run is looked for."""
        return self.scope.workspace_id, self.run_id


def prepare(draft: Draft, last_step: int | None, now: datetime) -> Prepared:
    """What is stored of a draft behind a run's last step. Raises BadUserInput when no step follows that one."""
    batch = draft.settle(last_step, milliseconds(now))
    # A batch of nothing but nulls is kept too: its id is taken, and its place in the sequence holds no point.
    return Prepared(
        batch.points,
        batch.last_step if batch.columns else None,
        encode(batch),
        MetricSummary.of_all(batch.columns),
    )


@dataclass(slots=True)
class OpenRun:
    """A run that takes batches, as it moves through a group.

    `stored` and `before` are its newest sequence number and its summaries before the group, of at least the keys that
    the group changes. `keys` is how many keys it has, stored and new; None when nobody counted because none is new.
    `started`: the first batch starts it.
    """

    run_id: str
    stored: int
    last_step: int | None
    before: Mapping[str, MetricSummary]
    keys: int | None
    stop_requested: bool = False
    started: bool = False
    seq: int = field(init=False)
    points: int = 0
    changed: dict[str, MetricSummary] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seq = self.stored

    @property
    def written(self) -> bool:
        """Whether a batch was accepted."""
        return self.seq > self.stored

    def accept(self, prepared: Prepared) -> None:
        """Takes a batch in. Raises BadUserInput, and is left as it was, when the run would have too many keys."""
        changed, before = self.changed, self.before
        added = [one.key for one in prepared.summaries if one.key not in changed and one.key not in before]
        if added:
            if self.keys is None:
                raise AssertionError("the keys of a run that gets new ones are counted")
            room = max(0, MAX_KEYS - self.keys)
            if len(added) > room:
                raise BadUserInput(
                    f"a run has at most {MAX_KEYS} metric keys; this batch would add {len(added)} to {self.keys}",
                    field=f"metrics.{added[room]}",
                )
            self.keys += len(added)
        for one in prepared.summaries:
            so_far = changed.get(one.key) or before.get(one.key)
            changed[one.key] = one if so_far is None else so_far.then(one)
        self.seq += 1
        self.points += prepared.points
        if prepared.last_step is not None:
            self.last_step = prepared.last_step if self.last_step is None else max(self.last_step, prepared.last_step)


@dataclass(frozen=True, slots=True)
class _Row:
    """A batch to be stored."""

    arrival: Arrival
    seq: int
    prepared: Prepared


@dataclass(slots=True)
class Plan:
    """Decides about the batches of a group one by one, in the order in which they arrived. Computes only.

    `runs` has an entry for each batch's place: the run, or why it takes no batch. `ledger` holds the digest and the
    answer of each batch id that was used before.
    """

    runs: Mapping[Place, OpenRun | DomainError]
    ledger: dict[Place, tuple[bytes, Appended]]
    rows: list[_Row] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    """The runs that were written to, also by a batch that was stored before."""

    def take(self, arrival: Arrival) -> Answer:
        """The answer to the next batch, which is stored with the group when it is accepted."""
        run = self.runs[arrival.place]
        if isinstance(run, DomainError) and not isinstance(run, Conflict):
            return run
        earlier = self.ledger.get((arrival.run_id, arrival.batch_id))
        if earlier is None:
            if isinstance(run, DomainError):
                return run
            try:
                return self._accept(arrival, run)
            except BadUserInput as refusal:
                return refusal
        # The run may have ended after it took this very batch, whose answer was lost: so the ledger comes first.
        digest, answer = earlier
        if digest != arrival.digest:
            return Conflict("this batch id was used for other points of the run", field="batch_id")
        if isinstance(run, OpenRun):
            self.touched.add(arrival.run_id)
        return answer

    def _accept(self, arrival: Arrival, run: OpenRun) -> Appended:
        prepared = arrival.prepared or prepare(arrival.draft, run.last_step, arrival.now)
        started = run.started and not run.written
        run.accept(prepared)
        self.rows.append(_Row(arrival, run.seq, prepared))
        self.touched.add(run.run_id)
        answer = Appended(run.seq, prepared.points, run.stop_requested, started)
        self.ledger[run.run_id, arrival.batch_id] = arrival.digest, answer
        return answer

    def written(self) -> list[tuple[str, OpenRun]]:
        """Workspace id and run of those that batches were accepted for."""
        return [(place[0], run) for place, run in self.runs.items() if isinstance(run, OpenRun) and run.written]

    def sizes(self, run_ids: Container[str]) -> list[tuple[int, int]]:
        """Points and bytes of each batch that was stored for these runs."""
        return [(row.prepared.points, len(row.prepared.payload)) for row in self.rows if row.arrival.run_id in run_ids]

    def batches(self) -> tuple[list[Any], ...]:
        """Columns of `sql.BATCHES`."""
        rows = self.rows
        return (
            [ids.to_uuid(row.arrival.run_id) for row in rows],
            [row.seq for row in rows],
            [row.arrival.batch_id for row in rows],
            [row.arrival.digest for row in rows],
            [row.prepared.points for row in rows],
            [row.prepared.payload for row in rows],
            [row.arrival.now for row in rows],
        )

    def summaries(self) -> tuple[list[Any], ...]:
        """Columns of `sql.SUMMARIES`."""
        runs: list[Any] = []
        changed: list[MetricSummary] = []
        for _, run in self.written():
            runs += [ids.to_uuid(run.run_id)] * len(run.changed)
            changed += run.changed.values()
        return (
            runs,
            [one.key for one in changed],
            [one.last for one in changed],
            [one.last_step for one in changed],
            [one.min for one in changed],
            [one.max for one in changed],
            [one.mean for one in changed],
            [one.count for one in changed],
            [one.non_finite for one in changed],
        )
