"""`/api/training/runs/{id}/metrics`: logging points in every form, reading series, exporting every point."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from domain import ids
from domain.errors import BadUserInput
from domain.metrics import (
    Draft,
    DraftLines,
    KeysRequest,
    Metrics,
    MetricSeries,
    MetricsRead,
    MetricStream,
    SeriesAxis,
    SeriesRequest,
    decode,
)
from domain.metrics.requests import DEFAULT_SERIES
from schema.scalars import write_floats, write_int, write_ints
from server.edge.identity import scope_of
from server.rest import ingest
from server.rest.exports import MEDIA, ExportForm, export
from server.rest.handler import answer, idempotency_key, query, services_of
from server.rest.operations import metrics as operations
from server.rest.points import plain
from server.rest.route import JSON, NDJSON, Route

_HEAVY_POINTS: Final = 2_000


class _ReadQuery(Struct, rename={"start": "from", "end": "to", "form": "format"}):
    keys: list[str] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] | None = None
    cursor: Annotated[str, Meta(min_length=1, max_length=2_048)] | None = None
    points: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    axis: Literal["step", "time", "relative"] = "step"
    start: str | None = None
    end: str | None = None
    form: Literal["series", "rows", "csv", "ndjson", "arrow"] | None = None
    stream: Literal["metrics", "system"] = "metrics"


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
    draft = await (_draft_of_lines(request) if media == NDJSON else ingest.read_body(request, _draft))
    logged = await _metrics(request).log(scope_of(request), run_id, draft, batch=batch)
    return answer({"accepted": logged.accepted, "cursor": logged.cursor, "stop_requested": logged.stop_requested})


def _draft(body: bytes) -> Draft:
    return plain(body) or decode(ingest.parse(body))


async def _draft_of_lines(request: Request) -> Draft:
    lines = DraftLines()
    return await ingest.read_lines(request, lines.add, lines.build)


async def _read(request: Request) -> Response:
    run_id = run_of(request)
    asked = query(request, _ReadQuery)
    # A key may hold a comma, so a value counts both as it stands and as a list.
    keys = None if asked.keys is None else [*request.query_params.getlist("keys"), *asked.keys]
    form = asked.form or _accepted(request)
    stream = MetricStream(asked.stream)
    for name, paging in (("limit", asked.limit), ("cursor", asked.cursor)):
        if paging is not None and (keys is not None or form in MEDIA):
            raise BadUserInput("keys come in pages only where none are named, and not in exports", field=name)
    if form == "csv" or form == "ndjson" or form == "arrow":  # noqa: PLR1714 - narrows the type
        points = await _metrics(request).points(scope_of(request), run_id, keys, stream)
        return export(run_id, points, form)
    next_cursor = None
    if keys is None:
        keys, next_cursor = await _page_of_keys(request, run_id, asked, stream)
    wanted = SeriesRequest.of(
        keys,
        asked.points,
        SeriesAxis(asked.axis),
        start=_bound(asked.start, "from"),
        end=_bound(asked.end, "to"),
        stream=stream,
    )
    found = await _metrics(request).read(scope_of(request), run_id, wanted)
    write = _rows_of if form == "rows" else partial(_series_of, next_cursor=next_cursor)
    heavy = sum(len(series.steps) for series in found.series) > _HEAVY_POINTS
    return await asyncio.to_thread(write, found) if heavy else write(found)


async def _page_of_keys(
    request: Request, run_id: str, asked: _ReadQuery, stream: MetricStream
) -> tuple[list[str], str | None]:
    wanted = KeysRequest.of(DEFAULT_SERIES if asked.limit is None else asked.limit, asked.cursor, stream)
    page = (await _metrics(request).keys(scope_of(request), [run_id], wanted))[run_id]
    return [each.key for each in page.nodes], page.cursors[-1] if page.has_next_page else None


def _accepted(request: Request) -> ExportForm | None:
    """The form of export that `Accept` names before any other, if it names one by its media type."""
    forms = {media: form for form, media in MEDIA.items()}
    for wanted in ",".join(request.headers.getlist("accept")).split(","):
        media, _, weight = wanted.partition(";")
        if media.strip().lower() == JSON and not _is_zero(weight):
            return None
        form = forms.get(media.strip().lower())
        if form is not None and not _is_zero(weight):
            return form
    return None


def _is_zero(weight: str) -> bool:
    return weight.replace(" ", "").rstrip("0") in ("q=", "q=0.")


def _series_of(found: MetricsRead, *, next_cursor: str | None) -> Response:
    columns = {series.key: _columns(series) for series in found.series}
    return answer({"series": columns, "cursor": found.cursor, "next_cursor": next_cursor})


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


ROUTES: Final = (Route(operations.METRICS_LOG, _log), Route(operations.METRICS_READ, _read))
