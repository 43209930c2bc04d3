"""`/api/training/runs/{id}/logs`: appending lines and reading them, as a page or as text."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, TypeVar, cast

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from domain import logs
from domain.errors import BadUserInput
from domain.logs import LogDraft, LogLevel, LogLine, Logs, LogsRequest
from schema.scalars import read_datetime, write_datetime
from server.edge.identity import scope_of
from server.rest import ingest
from server.rest.exports import Pieces
from server.rest.handler import WHOLE, InvalidBody, UnreadableBody, answer, invalid, query, services_of
from server.rest.metrics import batch_of, run_of
from server.rest.operations import runs as operations
from server.rest.route import JSON, TEXT, Route
from server.rest.structs import training

T = TypeVar("T")


class _ReadQuery(Struct, rename={"form": "format"}):
    level: training.LogLevel | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    cursor: Annotated[str, Meta(min_length=1, max_length=2_048)] | None = None
    before: Annotated[str, Meta(min_length=1, max_length=2_048)] | None = None
    tail: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    form: Literal["text"] | None = None


def _logs(request: Request) -> Logs:
    return services_of(request).logs


async def _append(request: Request) -> Response:
    run_id, batch = run_of(request), batch_of(request)
    media = ingest.content_type(request, JSON, TEXT)
    draft = await ingest.read_body(request, _draft_of_text if media == TEXT else _draft)
    stored = await _logs(request).append(scope_of(request), run_id, draft, batch=batch)
    return answer({"accepted": stored.accepted, "cursor": stored.cursor, "stop_requested": stored.stop_requested})


def _draft(body: bytes) -> LogDraft:
    document = ingest.parse(body)
    if isinstance(document, dict) and "lines" in document:
        return _checked(_converted(document, training.LogBatch).lines, "lines")
    return _checked([_converted(document, training.LogEntry)], "lines")


def _converted(document: Any, form: type[T]) -> T:
    try:
        return msgspec.convert(document, form)
    except msgspec.ValidationError as error:
        raise invalid(error, form, whole=WHOLE) from None


def _checked(entries: list[training.LogEntry], field: str) -> LogDraft:
    return logs.draft(
        (
            (
                entry.message,
                LogLevel(entry.level.value),
                None if entry.timestamp is None else _moment(entry.timestamp, f"{field}[{place}].timestamp"),
            )
            for place, entry in enumerate(entries)
        ),
        field=field,
    )


def _moment(text: str, field: str) -> Any:
    try:
        return read_datetime(text)
    except ValueError as error:
        raise InvalidBody(str(error), field=field) from None


def _draft_of_text(body: bytes) -> LogDraft:
    try:
        return logs.draft_of_text(body.decode())
    except UnicodeDecodeError:
        raise UnreadableBody("the body is not UTF-8") from None


async def _read(request: Request) -> Response:
    run_id = run_of(request)
    asked = query(request, _ReadQuery)
    level = None if asked.level is None else LogLevel(asked.level.value)
    _refuse_contradictions(asked)
    if asked.form == "text" and asked.tail is None:
        return _download(run_id, await _logs(request).lines(scope_of(request), run_id, level))
    # Backwards, `limit` and `tail` mean the same.
    limit, last = (asked.limit, asked.tail) if asked.before is None else (None, asked.limit)
    wanted = LogsRequest.of(limit, asked.cursor, level, last=last, before=asked.before)
    try:
        page = await _logs(request).page(scope_of(request), run_id, wanted)
    except BadUserInput as problem:
        if problem.field == "after":
            raise BadUserInput(problem.message, field="cursor") from None
        raise
    if asked.form == "text":
        return _download(run_id, _once(page.nodes))
    return answer(
        {
            "items": [_line(line) for line in page.nodes],
            "total": page.total_count,
            "next_cursor": page.cursors[-1] if page.has_next_page and page.cursors else None,
            "previous_cursor": page.cursors[0] if page.has_previous_page and page.cursors else None,
        }
    )


def _refuse_contradictions(asked: _ReadQuery) -> None:
    if asked.tail is not None:
        for name in ("limit", "cursor", "before"):
            if getattr(asked, name) is not None:
                raise BadUserInput(f"tail answers the end of the log: it does not go with {name}", field="tail")
    if asked.before is not None and asked.cursor is not None:
        raise BadUserInput("before leads backwards and cursor forwards: give one of them", field="before")
    if asked.form == "text":
        for name in ("limit", "cursor", "before"):
            if getattr(asked, name) is not None:
                raise BadUserInput(f"text is the whole log or its tail: it does not go with {name}", field="format")


def _download(run_id: str, lines: AsyncIterator[list[LogLine]]) -> Response:
    name = f'attachment; filename="{run_id}.log"'
    return Pieces(_text(lines), media_type=TEXT, headers={"Content-Disposition": name})


async def _once(lines: list[LogLine]) -> AsyncGenerator[list[LogLine]]:
    yield lines


def _line(line: LogLine) -> dict[str, Any]:
    return {
        "seq": line.seq,
        "timestamp": write_datetime(line.timestamp),
        "level": line.level.value,
        "message": line.message,
        "replaces": line.replaces,
    }


async def _text(lines: AsyncIterator[list[LogLine]]) -> AsyncGenerator[bytes]:
    async with aclosing(cast("AsyncGenerator[list[LogLine]]", lines)) as batches:
        async for batch in batches:
            yield "".join(
                f"{write_datetime(line.timestamp)} {line.level.name:<8} {line.message}\n" for line in batch
            ).encode()


ROUTES: Final = (
    Route(operations.LOGS_READ, _read),
    Route(operations.LOGS_APPEND, _append),
    Route(operations.LOG_APPEND, _append),
)
