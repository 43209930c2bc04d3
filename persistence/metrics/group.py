"""One group of batches in one transaction: whatever waits is stored by a handful of statements, however much it is.

What is wrong with a single batch (no such run, an ended run, a repeated id, too many keys) is its own answer and leaves
the others alone. Sequence numbers come from the heads of the runs, locked until the commit: they have no gap and follow
the order of commits, so a reader that saw number n has seen everything before it. Nothing here publishes or retries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from asyncpg import Record

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput, Conflict, DomainError, NotFound
from domain.metrics import MAX_KEYS, Appended, Draft, MetricSummary
from domain.metrics.batch import SERVER_NAMED
from persistence.database import Connection, Database
from persistence.metrics import sql
from persistence.metrics.codec import encode
from persistence.metrics.rows import milliseconds, off_loop, read_summary
from persistence.run_writes import TOUCH, RunWrite, lock_all_for_write

HEAVY_POINTS: Final = 4_000
HEAVY_KEYS: Final = 100

Answer: TypeAlias = Appended | DomainError
_Opened: TypeAlias = RunWrite | NotFound | Conflict
_Place: TypeAlias = tuple[str, str]
"""Run id and key, or run id and batch id."""


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


def prepare(draft: Draft, last_step: int | None, now: datetime) -> Prepared:
    """What is stored of a draft behind a run's last step. Raises BadUserInput when no step follows that one."""
    batch = draft.settle(last_step, milliseconds(now))
    # A batch of nothing but nulls is kept too: its id is taken, and its place in the sequence holds no point.
    return Prepared(
        batch.points,
        batch.last_step if batch.columns else None,
        encode(batch),
        [MetricSummary.of(column) for column in batch.columns],
    )


async def commit(database: Database, group: Sequence[Arrival], *, again: bool = False) -> list[Answer]:
    """Stores a group; answers each batch in its order, after the commit. `again`: it may have been stored already.

    Raises what the database raises: then nothing of the group is stored, except that nobody knows it when the commit
    itself raised Unavailable.
    """
    async with database.transaction() as tx:
        began = min(arrival.now for arrival in group)
        opened = await lock_all_for_write(tx, [(arrival.scope, arrival.run_id) for arrival in group], began)
        known = [each for each in group if not isinstance(_of(opened, each), NotFound)]
        # The name that the server gave a batch is new, unless the batch was tried before.
        ledger = await _ledger(tx, [each for each in known if again or not each.batch_id.startswith(SERVER_NAMED)])
        fresh = [
            each
            for each in known
            if isinstance(_of(opened, each), RunWrite) and (each.run_id, each.batch_id) not in ledger
        ]
        summaries, counts = await _summaries(tx, fresh)
        plan = _Plan(opened, ledger, summaries, counts)
        answers = await off_loop(_are_heavy(fresh), lambda: [plan.take(arrival) for arrival in group])
        if plan.rows:
            await tx.execute(sql.APPEND_ALL, plan.touched(), began, *plan.arguments())
        elif plan.opened_runs:
            await tx.execute(TOUCH, plan.touched(), began)
    return answers


def _of(opened: Mapping[tuple[str, str], _Opened], arrival: Arrival) -> _Opened:
    return opened[arrival.scope.workspace_id, arrival.run_id]


def _are_heavy(fresh: Sequence[Arrival]) -> bool:
    return (
        sum(each.draft.points for each in fresh if each.prepared is None) > HEAVY_POINTS
        or sum(len(each.draft.columns) for each in fresh) > HEAVY_KEYS
    )


async def _ledger(tx: Connection, group: Sequence[Arrival]) -> dict[_Place, tuple[bytes, Appended]]:
    """What is remembered of the ids of these batches: the digest of the first one, and its answer."""
    runs = [ids.to_uuid(each.run_id) for each in group]
    rows = await tx.fetch(sql.LEDGER_ALL, runs, [each.batch_id for each in group]) if group else []
    return {
        # Whether the first attempt started the run is not known any more: readers are told to look.
        (ids.from_uuid("run", row["run_id"]), row["batch_id"]): (
            row["digest"],
            Appended(row["seq"], row["points"], row["stop_requested"], started=True),
        )
        for row in rows
    }


async def _summaries(tx: Connection, fresh: Sequence[Arrival]) -> tuple[dict[_Place, MetricSummary], dict[str, int]]:
    """The summaries of the keys that change, and how many keys those runs have that get new ones.

    The heads of the runs are locked, so nobody else changes them.
    """
    keys = {(each.run_id, column.key) for each in fresh for column in each.draft.columns}
    if not keys:
        return {}, {}
    rows: list[Record] = await tx.fetch(
        sql.SUMMARIES_OF_ALL, [ids.to_uuid(run_id) for run_id, _ in keys], [key for _, key in keys]
    )
    found = {(ids.from_uuid("run", row["run_id"]), row["key"]): read_summary(row) for row in rows}
    growing = {run_id for run_id, _ in keys - found.keys()}
    counts = await tx.fetch(sql.COUNT_KEYS_OF_ALL, [ids.to_uuid(run_id) for run_id in growing]) if growing else []
    return found, dict.fromkeys(growing, 0) | {ids.from_uuid("run", row["run_id"]): row["keys"] for row in counts}


@dataclass(slots=True)
class _Head:
    """The head of a run as it moves through a group."""

    seq: int
    last_step: int | None
    points: int = 0


@dataclass(slots=True)
class _Row:
    """A batch to be stored."""

    arrival: Arrival
    seq: int
    prepared: Prepared


@dataclass(slots=True)
class _Plan:
    """Decides about the batches of a group one by one, in the order in which they arrived. Computes only."""

    opened: Mapping[tuple[str, str], _Opened]
    ledger: dict[_Place, tuple[bytes, Appended]]
    summaries: dict[_Place, MetricSummary]
    counts: dict[str, int]
    rows: list[_Row] = field(default_factory=list)
    opened_runs: set[str] = field(default_factory=set)
    _heads: dict[str, _Head] = field(default_factory=dict)
    _changed: dict[_Place, None] = field(default_factory=dict)

    def take(self, arrival: Arrival) -> Answer:
        """The answer to the next batch, which is stored with the group when it is accepted."""
        run = _of(self.opened, arrival)
        if isinstance(run, NotFound):
            return run
        earlier = self.ledger.get((arrival.run_id, arrival.batch_id))
        if earlier is None:
            if isinstance(run, Conflict):
                return run
            try:
                return self._accept(arrival, run)
            except BadUserInput as refusal:
                return refusal
        # The run may have ended after it took this very batch, whose answer was lost: so the ledger comes first.
        digest, answer = earlier
        if digest != arrival.digest:
            return Conflict("this batch id was used for other points of the run", field="batch_id")
        if isinstance(run, RunWrite):
            self.opened_runs.add(run.run_id)
        return answer

    def _accept(self, arrival: Arrival, run: RunWrite) -> Appended:
        run_id = run.run_id
        head = self._heads.get(run_id) or _Head(run.metric_seq, run.last_step)
        prepared = arrival.prepared or prepare(arrival.draft, head.last_step, arrival.now)
        added = sum((run_id, summary.key) not in self.summaries for summary in prepared.summaries)
        if added and self.counts[run_id] + added > MAX_KEYS:
            raise BadUserInput(f"a run has at most {MAX_KEYS} metric keys; this batch would add {added}")
        if added:
            self.counts[run_id] += added
        for summary in prepared.summaries:
            place = run_id, summary.key
            before = self.summaries.get(place)
            self.summaries[place] = summary if before is None else before.then(summary)
            self._changed[place] = None
        first = run_id not in self._heads
        self._heads[run_id] = head
        head.seq += 1
        head.points += prepared.points
        if prepared.last_step is not None:
            head.last_step = prepared.last_step if head.last_step is None else max(head.last_step, prepared.last_step)
        self.rows.append(_Row(arrival, head.seq, prepared))
        self.opened_runs.add(run_id)
        answer = Appended(head.seq, prepared.points, run.stop_requested, run.started and first)
        self.ledger[run_id, arrival.batch_id] = arrival.digest, answer
        return answer

    def touched(self) -> list[Any]:
        """The runs that were written to."""
        return [ids.to_uuid(run_id) for run_id in self.opened_runs]

    def arguments(self) -> tuple[list[Any], ...]:
        """The arguments of APPEND_ALL behind the first two."""
        heads, changed = self._heads, [self.summaries[place] for place in self._changed]
        runs = {run_id: ids.to_uuid(run_id) for run_id in heads}
        return (
            [runs[row.arrival.run_id] for row in self.rows],
            [row.seq for row in self.rows],
            [row.arrival.batch_id for row in self.rows],
            [row.arrival.digest for row in self.rows],
            [row.prepared.points for row in self.rows],
            [row.prepared.payload for row in self.rows],
            [row.arrival.now for row in self.rows],
            list(runs.values()),
            [head.seq for head in heads.values()],
            [head.points for head in heads.values()],
            [head.last_step for head in heads.values()],
            [runs[run_id] for run_id, _ in self._changed],
            [summary.key for summary in changed],
            [summary.last for summary in changed],
            [summary.last_step for summary in changed],
            [summary.min for summary in changed],
            [summary.max for summary in changed],
            [summary.mean for summary in changed],
            [summary.count for summary in changed],
            [summary.non_finite for summary in changed],
        )
