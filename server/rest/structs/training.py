"""Shapes of experiments, runs, parameters, tags and logs. Metrics have their own module."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from server.rest.structs.common import (
    AnswerBody,
    BigInt,
    DateTime,
    FloatValue,
    JsonObject,
    Key,
    NextCursor,
    Notes,
    ParamValue,
    Reference,
    RequestBody,
    Tags,
    Title,
    Total,
)


class RunStatus(StrEnum):
    """Where a run is in its life: pending, running, then one of three ends (left again only by resuming)."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


class RunEnd(StrEnum):
    """The three ways a run can end."""

    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


class LogLevel(StrEnum):
    """Severity of a log line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Experiment(AnswerBody, kw_only=True):
    """A named group of runs."""

    id: Annotated[str, Meta(description="Experiment id (`exp_…`).")]
    number: Annotated[int, Meta(description="Stable number within the workspace, counted from 1.")]
    name: Annotated[str, Meta(description="Name, unique among the living experiments of the workspace.")]
    description: Annotated[str | None, Meta(description="What the experiment is about.")]
    user_id: Annotated[str, Meta(description="Who made it (`usr_…`).")]
    archived: Annotated[bool, Meta(description="Whether it was deleted (and can be restored).")]
    created_at: Annotated[DateTime, Meta(description="When it was made.")]
    updated_at: Annotated[DateTime, Meta(description="When its name or description last changed.")]


class ExperimentList(AnswerBody, kw_only=True):
    """A page of experiments, newest first."""

    items: Annotated[list[Experiment], Meta(description="The experiments of this page.")]
    total: Total
    next_cursor: NextCursor


class ExperimentCreate(RequestBody, kw_only=True):
    """An experiment to be made."""

    name: Annotated[Title, Meta(description="Name, unique among the living experiments of the workspace.")]
    description: Annotated[Notes | None, Meta(description="What the experiment is about.")] = None


class Run(AnswerBody, kw_only=True):
    """One execution of a training script."""

    id: Annotated[str, Meta(description="Run id (`run_…`).")]
    name: Annotated[str, Meta(description="Name; several runs may share it.")]
    status: Annotated[RunStatus, Meta(description="Where the run is in its life.")]
    stalled: Annotated[bool, Meta(description="Running, but nothing was written for the configured time.")]
    stop_requested: Annotated[bool, Meta(description="Somebody asked the script to end itself.")]
    archived: Annotated[bool, Meta(description="Whether it was deleted (and can be restored or purged).")]
    model_type: Annotated[str | None, Meta(description="Kind of model being trained, such as `resnet`.")]
    config: Annotated[JsonObject, Meta(description="Free configuration given by the script.")]
    params: Annotated[dict[str, ParamValue], Meta(description="Hyperparameters by key.")]
    tags: Annotated[dict[str, str], Meta(description="Tags by key.")]
    notes: Annotated[str | None, Meta(description="Free text (Markdown).")]
    experiment_id: Annotated[str, Meta(description="The experiment it belongs to (`exp_…`).")]
    user_id: Annotated[str, Meta(description="Who started it (`usr_…`).")]
    parent_id: Annotated[str | None, Meta(description="The run it is nested in (`run_…`).")]
    created_at: Annotated[DateTime, Meta(description="When it was made.")]
    started_at: Annotated[DateTime | None, Meta(description="When it began to run; null while pending.")]
    completed_at: Annotated[DateTime | None, Meta(description="When it ended, whichever way; null before.")]
    failure: Annotated[str | None, Meta(description="Why it failed, as the script said.")]
    metrics: Annotated[
        dict[str, FloatValue],
        Meta(description="The last value of each metric: that of its highest step. Of the first 1,000 keys in order."),
    ]


class RunList(AnswerBody, kw_only=True):
    """A page of runs in the order asked for."""

    items: Annotated[list[Run], Meta(description="The runs of this page.")]
    total: Annotated[
        int | None,
        Meta(
            description="How many there are in all: exact up to 10,000, null when there are more, or when they were not"
            " to be counted."
        ),
    ]
    next_cursor: NextCursor


class RunCreate(RequestBody, kw_only=True):
    """A run to be made."""

    name: Annotated[Title | None, Meta(description="Name; made up when left out.")] = None
    experiment: Annotated[
        Reference | None,
        Meta(description="Id or name of its experiment; a new name makes one. Left out: `Default`."),
    ] = None
    model_type: Annotated[Title | None, Meta(description="Kind of model being trained.")] = None
    config: Annotated[JsonObject | UnsetType, Meta(description="Free configuration; at most 256 KiB.")] = UNSET
    config_from: Annotated[
        Reference | None,
        Meta(
            description="A run, archived or not, whose configuration and model type it takes, as they are now, unless"
            " they are given here."
        ),
    ] = None
    params: Annotated[dict[Key, ParamValue], Meta(description="Hyperparameters by key.")] = field(default_factory=dict)
    tags: Annotated[Tags, Meta(description="Tags by key.")] = field(default_factory=dict)
    notes: Annotated[Notes | None, Meta(description="Free text (Markdown).")] = None
    parent_id: Annotated[Reference | None, Meta(description="The run to nest it in.")] = None
    start: Annotated[bool, Meta(description="False leaves it pending until its first write or `start`.")] = True


class RunPatch(RequestBody, kw_only=True):
    """Changes to a run. What is left out stays; null clears."""

    name: Annotated[Title | UnsetType, Meta(description="New name.")] = UNSET
    notes: Annotated[Notes | UnsetType | None, Meta(description="New notes.")] = UNSET
    model_type: Annotated[Title | UnsetType | None, Meta(description="New kind of model.")] = UNSET
    experiment: Annotated[Reference | UnsetType, Meta(description="Id or name of the experiment to move to.")] = UNSET


class RunFinish(RequestBody, kw_only=True):
    """How a run ended."""

    status: Annotated[RunEnd, Meta(description="The end; the same end again changes nothing.")] = RunEnd.COMPLETED
    failure: Annotated[Notes | None, Meta(description="Why; only together with `failed`.")] = None


class RunStop(RequestBody, kw_only=True):
    """A wish that a run ends."""

    force: Annotated[bool, Meta(description="End it now instead of asking the script to.")] = False


ParamsBody = Annotated[
    dict[Key, ParamValue],
    Meta(min_length=1, max_length=1_000, description="Parameter key to value."),
]


class LogEntry(RequestBody, kw_only=True):
    """One line to append."""

    message: Annotated[
        str, Meta(max_length=65_536, description="The text; it may hold line breaks, and carriage returns.")
    ]
    level: Annotated[LogLevel, Meta(description="Severity.")] = LogLevel.INFO
    timestamp: Annotated[DateTime | None, Meta(description="When it was written; left out: on arrival.")] = None


class LogBatch(RequestBody, kw_only=True):
    """Several lines to append in this order, all or none."""

    lines: Annotated[list[LogEntry], Meta(min_length=1, max_length=10_000, description="The lines.")]


class LogsAccepted(AnswerBody, kw_only=True):
    """Lines that are durable now."""

    accepted: Annotated[int, Meta(description="How many lines were taken.")]
    cursor: Annotated[str, Meta(description="Place after the last of them; a valid `cursor` for reading on.")]
    stop_requested: Annotated[bool, Meta(description="The script should end itself.")]


class LogLine(AnswerBody, kw_only=True):
    """One line of a run's log."""

    seq: Annotated[
        BigInt, Meta(description="Place in the run's log: from 1, in commit order, with gaps where lines are gone.")
    ]
    timestamp: Annotated[DateTime, Meta(description="When it was written.")]
    level: Annotated[LogLevel, Meta(description="Severity.")]
    message: Annotated[str, Meta(description="The text.")]
    replaces: Annotated[
        BigInt | None,
        Meta(
            description="Of a progress bar that moved on: this line took the place of all lines of its level from this"
            " `seq` on."
        ),
    ]


class LogList(AnswerBody, kw_only=True):
    """A page of log lines, oldest first."""

    items: Annotated[list[LogLine], Meta(description="The lines of this page.")]
    total: Total
    next_cursor: NextCursor
    previous_cursor: Annotated[
        str | None, Meta(description="Pass as `before` to read the page before; null on the first page.")
    ]
