"""The run itself and its life: every allowed change of state as a pure function from run to run.

    PENDING ──start, first write──▶ RUNNING ──finish──▶ COMPLETED | FAILED | STOPPED ──resume──▶ RUNNING
    PENDING, or a stalled RUNNING ──stop──▶ STOPPED

A function answers the run itself when nothing changes, and raises Conflict when the change is not allowed. Whoever
calls it holds the lock on the run's head, so that two changes never start from the same state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from domain import names
from domain.errors import BadUserInput, Conflict
from domain.runs.values import MAX_PER_RUN, JsonValue, Param, Tag


class RunStatus(Enum):
    """Where a run is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


ENDED: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.STOPPED})
MAX_FAILURE: Final = 65_536


@dataclass(frozen=True, slots=True)
class Moment:
    """When a run is looked at (UTC, milliseconds), and how long a silence makes it stalled."""

    now: datetime
    stalled_after: timedelta

    @property
    def stalled_before(self) -> datetime:
        """A RUNNING run whose last sign of life is older than this is stalled."""
        return self.now - self.stalled_after


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a training script, as it was at the moment `seen`."""

    id: str
    name: str
    status: RunStatus
    stop_requested: bool
    model_type: str | None
    config: Mapping[str, JsonValue]
    params: tuple[Param, ...]
    tags: tuple[Tag, ...]
    notes: str | None
    failure: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    last_activity_at: datetime | None
    archived_at: datetime | None
    owner_id: str
    experiment_id: str
    parent_id: str | None
    seen: Moment

    @property
    def archived(self) -> bool:
        """Whether it is hidden (and restorable)."""
        return self.archived_at is not None

    @property
    def stalled_at(self) -> datetime | None:
        """When it will count as stalled, or did, unless it writes; None unless it is RUNNING."""
        if self.status is not RunStatus.RUNNING:
            return None
        signs = [at for at in (self.started_at, self.last_activity_at) if at is not None]
        return max(signs, default=self.created_at) + self.seen.stalled_after

    @property
    def stalled(self) -> bool:
        """RUNNING, but without a sign of life for longer than allowed."""
        at = self.stalled_at
        return at is not None and at < self.seen.now

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from start to end, or to the moment it was looked at; None before it started."""
        if self.started_at is None:
            return None
        return max(((self.ended_at or self.seen.now) - self.started_at).total_seconds(), 0.0)


def started(run: Run) -> Run:
    """PENDING becomes RUNNING; RUNNING stays."""
    _refuse_archived(run)
    if run.status is RunStatus.RUNNING:
        return run
    _refuse_ended(run)
    return replace(run, status=RunStatus.RUNNING, started_at=run.started_at or run.seen.now)


def finished(run: Run, end: RunStatus, failure: str | None) -> Run:
    """PENDING or RUNNING ends; the same end again changes nothing. Ending a PENDING run starts it first."""
    if end not in ENDED:
        raise BadUserInput("expected COMPLETED, FAILED or STOPPED", field="status")
    if failure is not None:
        if end is not RunStatus.FAILED:
            raise BadUserInput("a failure is given only with the status FAILED", field="failure")
        names.notes(failure, field="failure", most=MAX_FAILURE)
    _refuse_archived(run)
    if run.status is end:
        return run
    if run.status in ENDED:
        raise Conflict(f"the run is {run.status.name} already; it cannot become {end.name}", field="status")
    now = run.seen.now
    return replace(
        run,
        status=end,
        failure=failure,
        started_at=run.started_at or now,
        ended_at=now,
        last_activity_at=now,
    )


def stopped(run: Run, *, force: bool) -> Run:
    """A RUNNING run is asked to end itself; PENDING, stalled or forced ones become STOPPED at once."""
    _refuse_archived(run)
    if run.status is RunStatus.STOPPED:
        return run
    if run.status in ENDED:
        raise Conflict(f"the run is {run.status.name} already; it cannot become STOPPED", field="id")
    if force or run.status is RunStatus.PENDING or run.stalled:
        return replace(run, status=RunStatus.STOPPED, stop_requested=True, ended_at=run.seen.now)
    return replace(run, stop_requested=True)


def resumed(run: Run) -> Run:
    """Any end becomes RUNNING again, which counts as a sign of life; RUNNING stays."""
    _refuse_archived(run)
    if run.status is RunStatus.RUNNING:
        return run
    if run.status is RunStatus.PENDING:
        raise Conflict("the run is PENDING; start it instead", field="id")
    now = run.seen.now
    return replace(
        run,
        status=RunStatus.RUNNING,
        stop_requested=False,
        failure=None,
        started_at=run.started_at or now,
        ended_at=None,
        last_activity_at=now,
    )


def archived(run: Run) -> Run:
    """Hidden; archiving it again changes nothing."""
    return run if run.archived else replace(run, archived_at=run.seen.now)


def restored(run: Run) -> Run:
    """Listed again; a living run stays as it is."""
    return replace(run, archived_at=None) if run.archived else run


def written(run: Run) -> Run:
    """What every write of the script does: a PENDING run starts, and the time is noted. Ended runs refuse."""
    return replace(started(run), last_activity_at=run.seen.now)


def with_params(run: Run, params: Iterable[Param]) -> Run:
    """New params are added; the same value again changes nothing, another value is a Conflict naming the key."""
    held = {param.key: param for param in run.params}
    for param in params:
        if not held.setdefault(param.key, param).equals(param):
            raise Conflict(
                f"param {param.key!r} is {_short(held[param.key].text)} already and is written once;"
                f" it cannot become {_short(param.text)}",
                field="params",
            )
    _refuse_too_many(len(held), "params")
    return replace(written(run), params=tuple(held[key] for key in sorted(held)))


def with_tags(run: Run, tags: Iterable[Tag]) -> Run:
    """Tags are set, replacing those of the same key, in every state but archived."""
    held = {tag.key: tag for tag in run.tags} | {tag.key: tag for tag in tags}
    _refuse_too_many(len(held), "tags")
    return replace(edited(run), tags=tuple(held[key] for key in sorted(held)))


def without_tags(run: Run, keys: Iterable[str]) -> Run:
    """Tags are removed; keys that are not there are passed over."""
    gone = set(keys)
    return replace(edited(run), tags=tuple(tag for tag in run.tags if tag.key not in gone))


def edited(run: Run) -> Run:
    """What every change of tags, notes and names does: of a RUNNING run, it is a sign of life. Archived runs refuse."""
    _refuse_archived(run)
    return replace(run, last_activity_at=run.seen.now) if run.status is RunStatus.RUNNING else run


def refusal_of_archived() -> Conflict:
    """What every write to an archived run answers."""
    return Conflict("the run is archived; restore it first", field="id")


def refusal_of_ended(status: RunStatus) -> Conflict:
    """What a script's write to an ended run answers."""
    return Conflict(f"the run is {status.name}; resume it first", field="id")


def _refuse_archived(run: Run) -> None:
    if run.archived:
        raise refusal_of_archived()


def _refuse_ended(run: Run) -> None:
    if run.status in ENDED:
        raise refusal_of_ended(run.status)


def _refuse_too_many(count: int, what: str) -> None:
    if count > MAX_PER_RUN:
        raise BadUserInput(f"a run has at most {MAX_PER_RUN} {what}; this would make {count}", field=what)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
