"""`/api/training/runs/{id}/metrics`: logging points in every form, reading series, exporting every point."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from domain import ids
from domain.errors import BadUserInput
from domain.metrics import (
    Column,
    Draft,
    Metrics,
    MetricSeries,
    MetricsRead,
    SeriesAxis,
    SeriesRequest,
    decode,
    decode_lines,
)
from schema.scalars import write_float, write_floats, write_int, write_ints
from server.edge.identity import scope_of
from server.rest import ingest
from server.rest.handler import answer, idempotency_key, query, services_of
from server.rest.operations import metrics as operations
from server.rest.route import CSV, JSON, NDJSON, Route

_HEAVY_POINTS: Final = 2_000
_PIECE_POINTS: Final = 10_000
_lines: Final = msgspec.json.Encoder()


class _ReadQuery(Struct, rename={"start": "from", "end": "to", "form": "format"}):
    keys: list[str] | None = None
    points: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    axis: Literal["step", "time", "relative"] = "step"
    start: str | None = None
    end: str | None = None
    form: Literal["series", "rows", "csv", "ndjson"] = "series"


def _metrics(request: Request) -> Metrics:
    return services_of(request).metrics


def run_of(request: Request) -> str:
    """The run that the path names. Raises BadUserInput naming `id`."""
    return ids.parse("run", request.path_params["id"], field="id")


def batch_of(request: Request) -> str | None:
    """The batch id: the Idempotency-Key. Raises BadUserInput naming that header."""
    return idempotency_key(request)


async def _log(request: Request) -> Response:
    run_id, batch = run_of(request), batch_of(request)
    media = ingest.content_type(request, JSON, NDJSON)
    draft = await ingest.read_body(request, _draft_of_lines if media == NDJSON else _draft)
    logged = await _metrics(request).log(scope_of(request), run_id, draft, batch=batch)
    return answer({"accepted": logged.accepted, "cursor": logged.cursor, "stop_requested": logged.stop_requested})


def _draft(body: bytes) -> Draft:
    return decode(ingest.parse(body))


def _draft_of_lines(body: bytes) -> Draft:
    return decode_lines(ingest.parse_lines(body))


async def _read(request: Request) -> Response:
    run_id = run_of(request)
    asked = query(request, _ReadQuery)
    # A key may hold a comma, so a value counts both as it stands and as a list.
    keys = None if asked.keys is None else [*request.query_params.getlist("keys"), *asked.keys]
    if asked.form in ("csv", "ndjson"):
        batches = await _metrics(request).points(scope_of(request), run_id, keys)
        return _streamed(run_id, batches, asked.form)
    wanted = SeriesRequest.of(
        keys, asked.points, SeriesAxis(asked.axis), _bound(asked.start, "from"), _bound(asked.end, "to")
    )
    found = await _metrics(request).read(scope_of(request), run_id, wanted)
    write = _rows_of if asked.form == "rows" else _series_of
    heavy = sum(len(series.steps) for series in found.series) > _HEAVY_POINTS
    return await asyncio.to_thread(write, found) if heavy else write(found)


def _series_of(found: MetricsRead) -> Response:
    return answer({"series": {series.key: _columns(series) for series in found.series}, "cursor": found.cursor})


def _rows_of(found: MetricsRead) -> Response:
    return answer(_rows(found.series))


def _bound(text: str | None, name: str) -> float | None:
    if text is None:
        return None
    try:
        if "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        raise BadUserInput("expected a number", field=name) from None


def _columns(series: MetricSeries) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "steps": write_ints(series.steps),
        "values": write_floats(series.values),
        "timestamps": write_ints(series.timestamps),
        "count": series.count,
        "downsampled": series.downsampled,
    }
    if series.min is not None and series.max is not None:
        columns |= {"min": write_floats(series.min), "max": write_floats(series.max)}
    return columns


def _rows(found: list[MetricSeries]) -> list[dict[str, Any]]:
    """One row per step; its time is the latest of its values. A key named step or timestamp gives way to the row's."""
    rows: dict[int, dict[str, Any]] = {}
    times: dict[int, int] = {}
    for series in found:
        columns = (series.steps.tolist(), series.timestamps.tolist(), write_floats(series.values))
        for step, timestamp, value in zip(*columns, strict=True):
            rows.setdefault(step, {})[series.key] = value
            times[step] = max(times.get(step, timestamp), timestamp)
    return [{**rows[step], "step": write_int(step), "timestamp": times[step]} for step in sorted(rows)]


def _streamed(run_id: str, batches: AsyncIterator[list[Column]], form: str) -> Response:
    write, media = (_csv, CSV) if form == "csv" else (_ndjson, NDJSON)

    async def parts() -> AsyncIterator[bytes]:
        if form == "csv":
            yield b"key,step,timestamp,value\r\n"
        async for columns in batches:
            for piece in _pieces(columns):
                heavy = sum(map(len, piece)) > _HEAVY_POINTS
                yield await asyncio.to_thread(write, piece) if heavy else write(piece)

    name = f'attachment; filename="{run_id}-metrics.{form}"'
    return StreamingResponse(parts(), media_type=media, headers={"Content-Disposition": name})


def _pieces(columns: list[Column]) -> Iterator[list[Column]]:
    """The columns in parts of bounded size: a whole batch written at once would hold up everybody else."""
    if sum(map(len, columns)) <= _PIECE_POINTS:
        yield columns
        return
    for column in columns:
        for start in range(0, len(column), _PIECE_POINTS):
            part = slice(start, start + _PIECE_POINTS)
            yield [Column(column.key, column.steps[part], column.values[part], column.timestamps[part])]


def _csv(columns: list[Column]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    for column in columns:
        points = zip(column.steps.tolist(), column.timestamps.tolist(), column.values.tolist(), strict=True)
        writer.writerows((column.key, step, timestamp, write_float(value)) for step, timestamp, value in points)
    return text.getvalue().encode()


def _ndjson(columns: list[Column]) -> bytes:
    return _lines.encode_lines(
        [
            {"key": column.key, "step": step, "timestamp": timestamp, "value": value}
            for column in columns
            for step, timestamp, value in zip(
                write_ints(column.steps), column.timestamps.tolist(), write_floats(column.values), strict=True
            )
        ]
    )


ROUTES: Final = (Route(operations.METRICS_LOG, _log), Route(operations.METRICS_READ, _read))
