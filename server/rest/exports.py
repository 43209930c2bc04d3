"""Every accepted point of a run as a stream: CSV, NDJSON or Arrow IPC, in pieces of bounded size.

A stream that ends early is torn by whoever sends it; an Arrow stream also lacks its end-of-stream mark then.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Final, Literal, cast

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from domain.metrics import Column
from schema.scalars import write_float, write_floats, write_ints
from server.rest.route import ARROW, CSV, NDJSON

ExportForm = Literal["csv", "ndjson", "arrow"]
MEDIA: Final[dict[ExportForm, str]] = {"csv": CSV, "ndjson": NDJSON, "arrow": ARROW}

# Written at once, a whole batch would hold up everybody else; written one by one, small batches would be all headers.
_TEXT_POINTS: Final = 10_000
_ARROW_BYTES: Final = 2 * 2**20
_ARROW_POINT: Final = 3 * 8 + 4
_HEAVY_POINTS: Final = 2_000

# What a spreadsheet takes for the beginning of a formula, and the sign that keeps it from doing so.
_FORMULA: Final = tuple("=+-@＝＋－＠'")
_PLAIN: Final = re.compile(r"[\w./:@+=' -]+")
_lines: Final = msgspec.json.Encoder()


class Pieces(StreamingResponse):
    """A stream whose generator is closed as soon as its reader has left, not when it is collected."""

    async def stream_response(self, send: Send) -> None:
        """Sends the pieces."""
        async with aclosing(cast("AsyncGenerator[bytes]", self.body_iterator)):
            await super().stream_response(send)


def export(run_id: str, points: AsyncIterator[list[Column]], form: ExportForm) -> Response:
    """The answer to a request for every point; `points` is a generator."""
    batches = cast("AsyncGenerator[list[Column]]", points)
    name = f'attachment; filename="{run_id}-metrics.{"arrows" if form == "arrow" else form}"'
    body = _arrow(batches) if form == "arrow" else _text(batches, form)
    return Pieces(body, media_type=MEDIA[form], headers={"Content-Disposition": name})


async def _text(batches: AsyncGenerator[list[Column]], form: str) -> AsyncGenerator[bytes]:
    write = csv_rows if form == "csv" else ndjson_lines
    if form == "csv":
        yield b"key,step,timestamp,value\r\n"
    async with aclosing(pieces(batches, lambda _: 1, _TEXT_POINTS)) as gathered:
        async for piece in gathered:
            heavy = sum(map(len, piece)) > _HEAVY_POINTS
            yield await asyncio.to_thread(write, piece) if heavy else write(piece)


async def _arrow(batches: AsyncGenerator[list[Column]]) -> AsyncGenerator[bytes]:
    from server.rest.arrow import ArrowLines  # its library is loaded by those who export so

    stream = ArrowLines()
    yield stream.head()
    async with aclosing(pieces(batches, _arrow_weight, _ARROW_BYTES)) as gathered:
        async for piece in gathered:
            heavy = sum(map(len, piece)) > _HEAVY_POINTS
            yield await asyncio.to_thread(stream.batch, piece) if heavy else stream.batch(piece)
    yield stream.end()


def _arrow_weight(column: Column) -> int:
    return _ARROW_POINT + len(column.key.encode())


async def pieces(
    batches: AsyncGenerator[list[Column]], weight: Callable[[Column], int], most: int
) -> AsyncGenerator[list[Column]]:
    """The same points in the same order, gathered and cut so that no piece weighs more than `most`.

    `weight` says what each point of a column weighs.
    """
    held: list[Column] = []
    free = most
    async with aclosing(batches):
        async for columns in batches:
            for column in columns:
                each, at = weight(column), 0
                while at < len(column):
                    end = min(len(column), at + free // each)
                    if end > at:
                        held.append(_part(column, at, end))
                        free -= each * (end - at)
                        at = end
                    if at < len(column):
                        yield held
                        held, free = [], most
    if held:
        yield held


def _part(column: Column, at: int, end: int) -> Column:
    if end - at == len(column):
        return column
    return Column(column.key, column.steps[at:end], column.values[at:end], column.timestamps[at:end])


def csv_rows(columns: list[Column]) -> bytes:
    """Rows of key, step, timestamp, value."""
    rows = []
    for column in columns:
        key = _cell(column.key)
        points = zip(column.steps.tolist(), column.timestamps.tolist(), column.values.tolist(), strict=True)
        rows += [f"{key},{step},{timestamp},{write_float(value)}\r\n" for step, timestamp, value in points]
    return "".join(rows).encode()


def _cell(key: str) -> str:
    """A key that no spreadsheet runs: one that may begin a formula, or begins with ', gets a ' before it."""
    safe = f"'{key}" if key.startswith(_FORMULA) else key
    return safe if _PLAIN.fullmatch(safe) else '"' + safe.replace('"', '""') + '"'


def ndjson_lines(columns: list[Column]) -> bytes:
    """One object per line."""
    return _lines.encode_lines(
        [
            {"key": column.key, "step": step, "timestamp": timestamp, "value": value}
            for column in columns
            for step, timestamp, value in zip(
                write_ints(column.steps), column.timestamps.tolist(), write_floats(column.values), strict=True
            )
        ]
    )
