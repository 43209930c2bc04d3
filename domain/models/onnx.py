"""Whether an ONNX model keeps all of its tensors inside.

A tensor may name a file beside the model instead of holding its data, and readers have followed such names out of
their directory again and again (CVE-2022-25882, CVE-2024-27318, CVE-2026-27489). A model that names any is
refused. Only tags and lengths are read (protobuf's wire format, `onnx.proto`); no tensor's data is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from domain.models.at_rest import FileBytes
from domain.models.refusals import FileRefusal, FileRefused

MAX_FIELDS: Final = 1_000_000
MAX_DEPTH: Final = 64
_WINDOW: Final = 65_536

_MESSAGES: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Which fields of a message lead to tensors, and to which message."""

_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14


def check(file: FileBytes) -> None:
    """Raises FileRefused when a tensor's data is elsewhere, or the messages cannot be followed."""
    reader = _Fields(file)
    waiting = [("model", 0, file.size_bytes, 0)]
    while waiting:
        kind, position, end, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise FileRefused(FileRefusal.TOO_COMPLEX, f"graphs nested deeper than {MAX_DEPTH}")
        while position < end:
            number, wire, value, position = reader.field(position, end)
            if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
                raise FileRefused(FileRefusal.EXTERNAL_DATA, "a tensor keeps its data in another file")
            if wire != 2:
                continue
            if (below := _MESSAGES[kind].get(number)) is not None:
                waiting.append((below, position, position + value, depth + 1))
            position += value


class _Fields:
    """Reads the fields of messages, a window of the file at a time."""

    def __init__(self, file: FileBytes) -> None:
        self._file = file
        self._start = 0
        self._window = b""
        self._count = 0

    def field(self, position: int, end: int) -> tuple[int, int, int, int]:
        """Number and wire type of the field at `position`; its value, or length; and where what follows begins."""
        self._count += 1
        if self._count > MAX_FIELDS:
            raise FileRefused(FileRefusal.TOO_COMPLEX, f"more than {MAX_FIELDS} fields")
        tag, position = self._varint(position)
        wire = tag & 7
        if wire in (0, 2):
            value, position = self._varint(position)
        elif wire in (1, 5):
            value, position = 0, position + (8 if wire == 1 else 4)
        else:
            raise FileRefused(FileRefusal.MALFORMED, "a field has no known wire type")
        if position + (value if wire == 2 else 0) > end:
            raise FileRefused(FileRefusal.MALFORMED, "a field reaches past its message")
        return tag >> 3, wire, value, position

    def _varint(self, position: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte(position)
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise FileRefused(FileRefusal.MALFORMED, "a number has more than ten bytes")

    def _byte(self, position: int) -> int:
        if not self._start <= position < self._start + len(self._window):
            self._start, self._window = position, self._file.read_at(position, _WINDOW)
            if not self._window:
                raise FileRefused(FileRefusal.MALFORMED, "the file ends within a message")
        return self._window[position - self._start]
