"""One group of batches in one transaction: whatever waits is stored by a handful of statements, however much it is.

What is wrong with a single batch (no such run, an ended run, a repeated id, too many keys) is its own answer and leaves
the others alone. Sequence numbers come from the heads of the runs, locked until the commit: they have no gap and follow
the order of commits, so a reader that saw number n has seen everything before it. Nothing here publishes or retries.

Runs whose state is known from the last commit are written to by one statement that commits by itself; it takes only
those that still are as they were known. Whatever it leaves, and every batch that may have been stored before, is read
and written in a transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from asyncpg import Record

from domain import ids
from domain.errors import DomainError, NotFound
from domain.figures import IngestFigures
from domain.metrics import Appended, MetricSummary
from domain.metrics.batch import SERVER_NAMED
from persistence.database import Connection, Database
from persistence.metrics import sql
from persistence.metrics.known import KnownRun, KnownRuns
from persistence.metrics.plan import Answer, Arrival, OpenRun, Place, Plan
from persistence.metrics.rows import off_loop, read_summary
from persistence.run_writes import TOUCH, RunIsBusy, RunWrite, lock_all_for_write

HEAVY_POINTS: Final = 4_000
HEAVY_KEYS: Final = 1_000


async def commit_known(
    database: Database, group: Sequence[Arrival], known: KnownRuns, figures: IngestFigures
) -> list[Answer | None]:
    """Stores what it can of a group in one round trip; None for each batch that it left alone.

    Raises what the database raises: then nothing of the group is stored, except that nobody knows it when it is
    Unavailable. A batch id that was used before is a UniqueViolationError.
    """
    guessed = _guessed(group, known)
    if not guessed:
        return [None] * len(group)
    plan = Plan(
        {place: OpenRun(place[1], run.seq, run.last_step, run.summaries, run.keys) for place, run in guessed.items()},
        {},
    )
    taken = [arrival if arrival.place in guessed else None for arrival in group]
    answers = await off_loop(
        _are_heavy([arrival for arrival in taken if arrival is not None]),
        lambda: [None if arrival is None else plan.take(arrival) for arrival in taken],
    )
    written = plan.written()
    if not written:
        return [None] * len(group)
    began = min(arrival.now for arrival in group)
    try:
        rows = await database.fetch(
            sql.APPEND_KNOWN,
            began,
            [ids.to_uuid(run.run_id) for _, run in written],
            [ids.to_uuid(workspace_id) for workspace_id, _ in written],
            [run.stored for _, run in written],
            [guessed[workspace_id, run.run_id].last_step for workspace_id, run in written],
            [run.seq for _, run in written],
            [run.points for _, run in written],
            [run.last_step for _, run in written],
            *plan.batches(),
            *plan.summaries(),
        )
    except BaseException:
        known.forget(run.run_id for _, run in written)
        raise
    stop_requested = {ids.from_uuid("run", row["run_id"]): row["stop_requested"] for row in rows}
    for workspace_id, run in written:
        if run.run_id in stop_requested:
            known.learn(workspace_id, run)
        else:
            known.forget((run.run_id,))
    figures.stored(plan.sizes(stop_requested))
    return [_told(answer, stop_requested.get(arrival.run_id)) for arrival, answer in zip(group, answers, strict=True)]


async def commit(
    database: Database,
    group: Sequence[Arrival],
    known: KnownRuns,
    figures: IngestFigures,
    *,
    again: bool = False,
    wait: bool = False,
) -> list[Answer]:
    """Stores a group; answers each batch in its order, after the commit. `again`: it may have been stored already.

    The answer for a run that somebody else has locked is RunIsBusy, unless `wait` says to wait for it. Raises as
    `commit_known`.
    """
    try:
        async with database.transaction() as tx:
            began = min(arrival.now for arrival in group)
            wanted = [(arrival.scope, arrival.run_id) for arrival in group]
            opened = await lock_all_for_write(tx, wanted, began, wait=wait)
            asked = [each for each in group if not isinstance(opened[each.place], NotFound | RunIsBusy)]
            # The name that the server gave a batch is new, unless the batch was tried before.
            ledger = await _ledger(tx, [each for each in asked if again or not each.batch_id.startswith(SERVER_NAMED)])
            fresh = [
                each
                for each in asked
                if isinstance(opened[each.place], RunWrite) and (each.run_id, each.batch_id) not in ledger
            ]
            plan = Plan(await _read(tx, opened, fresh), ledger)
            answers = await off_loop(_are_heavy(fresh), lambda: [plan.take(arrival) for arrival in group])
            written = plan.written()
            touched = [ids.to_uuid(run_id) for run_id in plan.touched]
            if written:
                await tx.execute(
                    sql.APPEND_ALL,
                    touched,
                    began,
                    [ids.to_uuid(run.run_id) for _, run in written],
                    [run.seq for _, run in written],
                    [run.points for _, run in written],
                    [run.last_step for _, run in written],
                    *plan.batches(),
                    *plan.summaries(),
                )
            elif touched:
                await tx.execute(TOUCH, touched, began)
    except BaseException:
        known.forget(arrival.run_id for arrival in group)
        raise
    for workspace_id, run in written:
        known.learn(workspace_id, run)
    figures.stored(plan.sizes(plan.touched))
    return answers


def _guessed(group: Sequence[Arrival], known: KnownRuns) -> dict[Place, KnownRun]:
    """The runs of a group of which enough is known for every one of their batches: they must keep their order."""
    guessed: dict[Place, KnownRun] = {}
    unknown: set[Place] = set()
    for arrival in group:
        run = known.get(arrival.run_id)
        if run is not None and run.covers(arrival):
            guessed[arrival.place] = run
        else:
            unknown.add(arrival.place)
    return {place: run for place, run in guessed.items() if place not in unknown}


def _told(answer: Answer | None, stop_requested: bool | None) -> Answer | None:
    """The answer with what the statement found out about its run; None when it did not write to it."""
    if stop_requested is None or answer is None:
        return None
    return replace(answer, stop_requested=True) if stop_requested and isinstance(answer, Appended) else answer


def _are_heavy(fresh: Sequence[Arrival]) -> bool:
    return (
        sum(each.draft.points for each in fresh if each.prepared is None) > HEAVY_POINTS
        or sum(len(each.draft.columns) for each in fresh) > HEAVY_KEYS
    )


async def _ledger(tx: Connection, group: Sequence[Arrival]) -> dict[Place, tuple[bytes, Appended]]:
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


async def _read(
    tx: Connection, opened: Mapping[Place, RunWrite | DomainError], fresh: Sequence[Arrival]
) -> dict[Place, OpenRun | DomainError]:
    """The opened runs with the summaries of the keys that change, and the number of keys of those that get new ones.

    The heads of the runs are locked, so nobody else changes them.
    """
    keys = {(each.run_id, column.key) for each in fresh for column in each.draft.columns}
    rows: list[Record] = []
    if keys:
        rows = await tx.fetch(
            sql.SUMMARIES_OF_ALL, [ids.to_uuid(run_id) for run_id, _ in keys], [key for _, key in keys]
        )
    before: dict[str, dict[str, MetricSummary]] = {run_id: {} for run_id, _ in keys}
    for row in rows:
        before[ids.from_uuid("run", row["run_id"])][row["key"]] = read_summary(row)
    growing = {run_id for run_id, key in keys if key not in before[run_id]}
    counted = await tx.fetch(sql.COUNT_KEYS_OF_ALL, [ids.to_uuid(run_id) for run_id in growing]) if growing else []
    counts = dict.fromkeys(growing, 0) | {ids.from_uuid("run", row["run_id"]): row["keys"] for row in counted}
    return {
        place: OpenRun(
            run.run_id,
            run.metric_seq,
            run.last_step,
            before.get(run.run_id, {}),
            counts.get(run.run_id),
            stop_requested=run.stop_requested,
            started=run.started,
        )
        if isinstance(run, RunWrite)
        else run
        for place, run in opened.items()
    }
