"""Runs over REST: their life, parameters, tags and logs."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from server.rest.operations.common import FILTER, PAGE, RUN_ID
from server.rest.route import (
    JSON,
    NO_CONTENT,
    TEXT,
    Answer,
    Content,
    OneOf,
    Operation,
    Param,
    Raw,
    json_answer,
    json_body,
)
from server.rest.structs.common import TagsBody
from server.rest.structs.training import (
    LogBatch,
    LogEntry,
    LogLevel,
    LogList,
    LogsAccepted,
    ParamsBody,
    Run,
    RunCreate,
    RunFinish,
    RunList,
    RunPatch,
    RunStop,
)

_RUN = json_answer(Run, "The run as it is now.")
_TEXT_LINES = Raw({"type": "string", "description": "One line each: time, level, message."})
_PRINTED = Raw({"type": "string", "description": "What the script printed; every line becomes one of level `info`."})

RUN_LIST = Operation(
    method="get",
    path="/api/training/runs",
    operation_id="runs",
    tag="runs",
    summary="List runs",
    description="Runs of the workspace, newest first unless ordered otherwise; missing values come last.",
    params=(
        FILTER,
        Param(
            "order_by",
            Annotated[str, Meta(min_length=1, max_length=1_000)],
            "Fields with `asc` or `desc` (the default), separated by commas, such as `metrics.loss asc, created`.",
        ),
        Param(
            "experiment",
            Annotated[str, Meta(min_length=1, max_length=250)],
            "Only runs of this experiment: its id or name.",
        ),
        Param("archived", bool, "True lists the archived runs instead of the living ones.", default=False),
        Param(
            "total",
            bool,
            "False leaves `total` null; counting what a filter finds may take longer than finding the page.",
            default=True,
        ),
        *PAGE,
    ),
    answers={200: json_answer(RunList, "A page of runs.")},
)
RUN_CREATE = Operation(
    method="post",
    path="/api/training/runs",
    operation_id="runCreate",
    tag="runs",
    summary="Make a run",
    description="Makes a run and starts it, unless `start` is false. A missing experiment is made by its name.",
    request=json_body(RunCreate, "The run to make."),
    answers={201: json_answer(Run, "The new run.")},
    errors=(409,),
    idempotent=True,
)
RUN_GET = Operation(
    method="get",
    path="/api/training/runs/{id}",
    operation_id="run",
    tag="runs",
    summary="Get a run",
    description="One run, archived or not.",
    params=(RUN_ID,),
    answers={200: json_answer(Run, "The run.")},
)
RUN_UPDATE = Operation(
    method="patch",
    path="/api/training/runs/{id}",
    operation_id="runUpdate",
    tag="runs",
    summary="Change a run",
    description="Changes what the body names; null clears. It works in every state of the run.",
    params=(RUN_ID,),
    request=json_body(RunPatch, "The changes."),
    answers={200: _RUN},
)
RUN_DELETE = Operation(
    method="delete",
    path="/api/training/runs/{id}",
    operation_id="runDelete",
    tag="runs",
    summary="Archive a run",
    description="Hides the run; it can be restored or purged. Archiving it again changes nothing.",
    params=(RUN_ID,),
    answers=NO_CONTENT,
)


def _action(verb: str, summary: str, description: str) -> Operation:
    """A POST without a body that moves the run along its life and answers it."""
    return Operation(
        method="post",
        path=f"/api/training/runs/{{id}}/{verb}",
        operation_id=f"run{verb.capitalize()}",
        tag="runs",
        summary=summary,
        description=description,
        params=(RUN_ID,),
        answers={200: _RUN},
        errors=(409,),
    )


RUN_START = _action("start", "Start a pending run", "Pending becomes running. A running run stays as it is.")
RUN_RESUME = _action(
    "resume", "Take an ended run back to running", "Any end becomes running again; what was logged stays."
)
RUN_RESTORE = _action("restore", "Bring an archived run back", "The run is listed again. Else nothing changes.")
RUN_PURGE = Operation(
    method="post",
    path="/api/training/runs/{id}/purge",
    operation_id="runPurge",
    tag="runs",
    summary="Remove an archived run for good",
    description="Its points, logs and links go with it. A run that is not archived is a conflict.",
    params=(RUN_ID,),
    answers=NO_CONTENT,
    errors=(409,),
)
RUN_FINISH = Operation(
    method="post",
    path="/api/training/runs/{id}/finish",
    operation_id="runFinish",
    tag="runs",
    summary="End a run",
    description="The same end again changes nothing; another end is a conflict that names both.",
    params=(RUN_ID,),
    request=json_body(RunFinish, "The end; `completed` when left out.", required=False),
    answers={200: _RUN},
    errors=(409,),
)
RUN_STOP = Operation(
    method="post",
    path="/api/training/runs/{id}/stop",
    operation_id="runStop",
    tag="runs",
    summary="Ask a run to stop",
    description=(
        "Sets `stop_requested` on a running run: every ingest answer carries it, so that the script ends itself. A"
        " pending or stalled run, or any with `force`, is stopped at once."
    ),
    params=(RUN_ID,),
    request=json_body(RunStop, "Whether to wait for the script.", required=False),
    answers={200: _RUN},
    errors=(409,),
)
PARAMS_LOG = Operation(
    method="post",
    path="/api/training/runs/{id}/params",
    operation_id="paramsLog",
    tag="runs",
    summary="Log parameters",
    description=(
        "Writes hyperparameters of the run, all or none. A parameter is written once: the same value again changes"
        " nothing, another value is a conflict."
    ),
    params=(RUN_ID,),
    request=json_body(ParamsBody, "Parameters by key."),
    answers={200: _RUN},
    errors=(409,),
)
TAGS_SET = Operation(
    method="post",
    path="/api/training/runs/{id}/tags",
    operation_id="tagsSet",
    tag="runs",
    summary="Set tags",
    description="Sets or, with null, removes tags of the run, all or none. It works in every state of the run.",
    params=(RUN_ID,),
    request=json_body(TagsBody, "Tags by key."),
    answers={200: _RUN},
)
LOGS_READ = Operation(
    method="get",
    path="/api/training/runs/{id}/logs",
    operation_id="runLogs",
    tag="runs",
    summary="Read the log",
    description=(
        "Log lines in the order they were committed, oldest first, also where they are read from the end (`tail`,"
        " `before`). Of a very long log the oldest lines are not kept, of a progress bar only the newest line is; a"
        " line that was too long says at its end how much was left out."
    ),
    params=(
        RUN_ID,
        Param("level", LogLevel, "Only lines of this level and above."),
        Param("limit", Annotated[int, Meta(ge=1, le=1_000)], "Most lines to answer.", default=200),
        Param(
            "cursor",
            Annotated[str, Meta(min_length=1, max_length=2_048)],
            "The `next_cursor` of the page before, or the `cursor` of an append.",
        ),
        Param(
            "before",
            Annotated[str, Meta(min_length=1, max_length=2_048)],
            "The `previous_cursor` of a page: answers the `limit` lines before it. Not with `cursor`.",
        ),
        Param(
            "tail",
            Annotated[int, Meta(ge=1, le=1_000)],
            "Answers the last so many lines. Not with `limit`, `cursor` or `before`.",
        ),
        Param(
            "format",
            Literal["text"],
            "`text` answers the whole log as text, or its `tail`. Not with `cursor` or `before`.",
        ),
    ),
    answers={200: Answer("A page of lines, or the log as text.", {JSON: LogList, TEXT: _TEXT_LINES})},
)


def _append(path: str, operation_id: str, summary: str) -> Operation:
    return Operation(
        method="post",
        path=path,
        operation_id=operation_id,
        tag="runs",
        summary=summary,
        description=(
            "Appends one line or several, all or none; answered when they are durable. The Idempotency-Key is the batch"
            " id: the same batch again answers the first result. A pending run starts; an ended one is a conflict."
            " Lines of text may be of any length; a message in JSON has at most 65,536 characters. A line with a"
            " carriage return and no line break behind it may be written over by the next line of its level: one that"
            " begins with a carriage return, or any if it ended with one."
            " A body may be sent with Content-Encoding: gzip or zstd."
        ),
        params=(RUN_ID,),
        request=Content("One line, several, or text.", {JSON: OneOf((LogEntry, LogBatch)), TEXT: _PRINTED}),
        answers={200: json_answer(LogsAccepted, "The lines are durable.")},
        errors=(409,),
        idempotent=True,
    )


LOGS_APPEND = _append("/api/training/runs/{id}/logs", "logsAppend", "Append to the log")
LOG_APPEND = _append("/api/training/runs/{id}/log", "logAppend", "Append to the log (the other spelling of the path)")

OPERATIONS = (
    RUN_LIST,
    RUN_CREATE,
    RUN_GET,
    RUN_UPDATE,
    RUN_DELETE,
    RUN_START,
    RUN_FINISH,
    RUN_STOP,
    RUN_RESUME,
    RUN_RESTORE,
    RUN_PURGE,
    PARAMS_LOG,
    TAGS_SET,
    LOGS_READ,
    LOGS_APPEND,
    LOG_APPEND,
)
