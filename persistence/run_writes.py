"""How every writer opens a run: lock its head, check that it takes writes, start it when it is pending, note the time.

Metrics, logs and params all come through here, inside their own transaction, before they write anything else. A writer
of several runs opens them in one call, which locks in order of id. Nothing here publishes: the caller does, after its
commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from asyncpg import Record

from domain import ids
from domain.access import Scope
from domain.errors import Conflict, DomainError, NotFound, Unavailable
from domain.runs import ENDED, RunStatus
from domain.runs.entity import refusal_of_archived, refusal_of_ended
from persistence.database import Connection

# Of another workspace nothing is found, and nothing is locked: nobody can make its writers wait.
# Both rows are locked in one statement: a row that is only joined would be read as it was before the wait.
_LOCK = """
    SELECT r.id, r.workspace_id, r.status, r.stop_requested, r.archived_at IS NOT NULL AS archived, r.started_at,
           h.metric_seq, h.log_seq, h.last_step
    FROM run_heads h JOIN runs r ON r.id = h.run_id
    WHERE (h.run_id, r.workspace_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[])) AND r.purged_at IS NULL
    ORDER BY h.run_id
    FOR UPDATE OF h {skip} FOR NO KEY UPDATE OF r {skip}
"""
_LOCK_WAITING = _LOCK.format(skip="")
_LOCK_FREE = _LOCK.format(skip="SKIP LOCKED")
_EXISTING = """
    SELECT r.id, r.workspace_id FROM runs r
    WHERE (r.id, r.workspace_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[])) AND r.purged_at IS NULL
"""
# $1: the runs that were written to, $2: the time of it.
TOUCH = """
    UPDATE runs SET
        status = CASE status WHEN 'pending' THEN 'running' ELSE status END,
        started_at = CASE status WHEN 'pending' THEN COALESCE(started_at, $2) ELSE started_at END,
        last_activity_at = GREATEST(last_activity_at, $2)
    WHERE id = ANY($1::uuid[])
"""


class RunIsBusy(Unavailable):
    """Somebody else has the run locked just now."""


@dataclass(frozen=True, slots=True)
class RunWrite:
    """A run that is locked and takes writes until the transaction ends.

    `started`: this very write started it. `metric_seq` and `log_seq` are the newest numbers given out, `last_step`
    the highest step so far.
    """

    run_id: str
    status: RunStatus
    stop_requested: bool
    started: bool
    started_at: datetime
    metric_seq: int
    log_seq: int
    last_step: int | None


async def open_for_write(tx: Connection, scope: Scope, run_id: str, now: datetime) -> RunWrite:
    """Opens one run. Raises NotFound, or Conflict when it is archived or ended."""
    (opened,) = (await open_all_for_write(tx, [(scope, run_id)], now)).values()
    if isinstance(opened, DomainError):
        raise opened
    return opened


async def open_all_for_write(
    tx: Connection, runs: Sequence[tuple[Scope, str]], now: datetime
) -> dict[tuple[str, str], RunWrite | NotFound | Conflict]:
    """Opens several runs; answers by (workspace id, run id) the opened run, or why it was refused.

    A refused run is left as it is. `now` is the time of the write, in UTC.
    """
    opened = cast("dict[tuple[str, str], RunWrite | NotFound | Conflict]", await lock_all_for_write(tx, runs, now))
    touched = {ids.to_uuid(run.run_id) for run in opened.values() if isinstance(run, RunWrite)}
    if touched:
        await tx.execute(TOUCH, list(touched), now)
    return opened


async def lock_all_for_write(
    tx: Connection, runs: Sequence[tuple[Scope, str]], now: datetime, *, wait: bool = True
) -> dict[tuple[str, str], RunWrite | NotFound | Conflict | RunIsBusy]:
    """Opens several runs as `open_all_for_write` does, but leaves it to the caller to TOUCH those that it writes to.

    Unless it may `wait`, a run that somebody else has locked is answered with RunIsBusy.
    """
    wanted = {(scope.workspace_id, run_id): ids.to_uuid(run_id) for scope, run_id in runs}
    place = list(wanted.values()), [ids.to_uuid(workspace_id) for workspace_id, _ in wanted]
    rows = {_place(row): row for row in await tx.fetch(_LOCK_WAITING if wait else _LOCK_FREE, *place)}
    # What was not locked exists all the same when somebody else had it.
    existing = (
        {_place(row) for row in await tx.fetch(_EXISTING, *place)} if not wait and len(rows) < len(wanted) else ()
    )
    opened: dict[tuple[str, str], RunWrite | NotFound | Conflict | RunIsBusy] = {}
    for (workspace_id, run_id), uuid in wanted.items():
        row = rows.get((ids.to_uuid(workspace_id).bytes, uuid.bytes))
        if row is None and (ids.to_uuid(workspace_id).bytes, uuid.bytes) in existing:
            opened[workspace_id, run_id] = RunIsBusy("the run is being changed just now; try again", retry_after=1)
            continue
        if row is None:
            opened[workspace_id, run_id] = NotFound("there is no such run", field="run_id")
            continue
        status = RunStatus(row["status"])
        if row["archived"]:
            opened[workspace_id, run_id] = refusal_of_archived()
        elif status in ENDED:
            opened[workspace_id, run_id] = refusal_of_ended(status)
        else:
            opened[workspace_id, run_id] = RunWrite(
                run_id,
                RunStatus.RUNNING,
                row["stop_requested"],
                status is RunStatus.PENDING,
                row["started_at"] or now,
                row["metric_seq"],
                row["log_seq"],
                row["last_step"],
            )
    return opened


def _place(row: Record) -> tuple[bytes, bytes]:
    return row["workspace_id"].bytes, row["id"].bytes
