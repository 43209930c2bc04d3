"""Points as an Arrow IPC stream: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format.

The one place that knows the Arrow library; import it only where such a stream is written.
"""

from __future__ import annotations

import io
from typing import Any

import nanoarrow
import numpy as np
from nanoarrow.ipc import StreamWriter

from domain.metrics import Column

_KEY = nanoarrow.string(nullable=False)
_STEP = nanoarrow.int64(nullable=False)
_TIMESTAMP = nanoarrow.timestamp("ms", timezone="UTC", nullable=False)
_VALUE = nanoarrow.float64(nullable=False)
_ROW = nanoarrow.struct({"key": _KEY, "step": _STEP, "timestamp": _TIMESTAMP, "value": _VALUE}, nullable=False)


class ArrowLines:
    """The parts of one stream, in this order: `head`, any number of `batch`, `end`."""

    def __init__(self) -> None:
        self._written = io.BytesIO()
        self._writer = StreamWriter.from_writable(self._written)

    def head(self) -> bytes:
        """The schema: key, step, timestamp (ms, UTC), value."""
        self._writer.write_stream(nanoarrow.c_array_stream(_rows([])))
        return self._taken()

    def batch(self, columns: list[Column]) -> bytes:
        """A record batch. Its keys must take less than 2 GiB."""
        self._writer.write_array(_rows(columns))
        return self._taken()

    def end(self) -> bytes:
        """The mark without which a stream is torn."""
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        part = self._written.getvalue()
        self._written.seek(0)
        self._written.truncate()
        return part


def _rows(columns: list[Column]) -> Any:
    keys = [column.key.encode() for column in columns]
    points = [len(column) for column in columns]
    rows = sum(points)
    ends = np.cumsum(np.repeat([len(key) for key in keys], points), dtype=np.int32)
    names = b"".join(key * count for key, count in zip(keys, points, strict=True))
    parts: list[Any] = [
        nanoarrow.c_array_from_buffers(_KEY, rows, [None, np.append(np.int32(0), ends), names], null_count=0)
    ]
    for kind, numbers in (
        (_STEP, [column.steps for column in columns]),
        (_TIMESTAMP, [column.timestamps for column in columns]),
        (_VALUE, [column.values for column in columns]),
    ):
        body = np.concatenate(numbers) if numbers else np.empty(0, np.float64 if kind is _VALUE else np.int64)
        parts.append(nanoarrow.c_array_from_buffers(kind, rows, [None, body], null_count=0))
    return nanoarrow.c_array_from_buffers(_ROW, rows, [None], null_count=0, children=parts)
