"""What a weights file is, told from its bytes and never by loading it.

The answer decides what may ever be done with a file: only safetensors whose header passed every check can be served;
whatever may run code when it is loaded is stored under that name and never opened. A file that claims to be
safetensors, by its name or by its first bytes, and is not, is refused. In doubt a file is taken for the more
dangerous kind. Nothing here may read more than headers and directories of bounded size.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import Final

from domain.errors import BadUserInput
from domain.models import onnx, torch_export
from domain.models.at_rest import FileBytes
from domain.models.polyglots import refuse_polyglot
from domain.safetensors import TensorTable, read_table


class ModelFormat(Enum):
    """What kind of file a version holds."""

    SAFETENSORS = "safetensors"
    TORCH_EXPORT = "torch_export"
    ONNX = "onnx"
    EXECUTABLE = "executable"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found: the kind of file and, for safetensors, the checked table of its tensors."""

    format: ModelFormat
    table: TensorTable | None = None


MAX_FILE_NAME: Final = 250
MAX_ZIP_DIRECTORY: Final = 16 * 1024 * 1024
_EXTRA_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}", re.ASCII)
_WITHOUT_NAME: Final = frozenset({"model.safetensors", "model.bin"})
_ZIP_TAIL: Final = 65_535 + 22
_MAX_ONNX_FIELDS: Final = 10_000
_EXECUTABLE_SUFFIXES: Final = (
    ".bin", ".ckpt", ".dill", ".h5", ".hdf5", ".joblib", ".keras", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth",
    ".so", ".dll", ".dylib", ".torchscript",
)  # fmt: skip
_EXECUTABLE_MAGIC: Final = (
    b"\x89HDF\r\n\x1a\n",  # HDF5: Keras models carry code in it
    b"\x93NUMPY",  # arrays of objects are pickles
    b"\x7fELF",
    b"MZ",
    b"\xca\xfe\xba\xbe",
    b"\xcf\xfa\xed\xfe",
    b"#!",
)


def file_name(given: str | None, fallback: str) -> str:
    """A name to show, from the one a client sent: its last part, without control characters. Never used as a path."""
    if given is None:
        return fallback
    last = unicodedata.normalize("NFC", given).replace("\\", "/").rpartition("/")[2]
    shown = "".join(c for c in last if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")).strip()
    return fallback if shown.strip(". ") == "" else shown[:MAX_FILE_NAME].strip()


def extra_name(name: str, *, field: str = "name") -> str:
    """The name of a file beside the weights, which stands in addresses. Raises BadUserInput."""
    if _EXTRA_NAME.fullmatch(name) is None:
        raise BadUserInput(
            "expected 1 to 128 letters, digits, '.', '_', '+' or '-', starting with a letter, digit or '_'", field=field
        )
    if name.lower() in _WITHOUT_NAME:
        raise BadUserInput("weights that came without a name are called that", field=field)
    return name


def inspect(file: FileBytes, name: str, *, field: str = "file") -> Inspection:
    """Tells what `file` is.

    Raises WeightsRefused for a lying safetensors file, FileRefused for an exported program or an ONNX model that would
    do more than compute or is something else as well, and BadUserInput for an empty file.
    """
    if file.size_bytes == 0:
        raise BadUserInput("the file is empty", field=field)
    head = file.read_at(0, 16)
    if name.lower().endswith(".safetensors") or _claims_safetensors(head):
        table = read_table(_Reader(file).read, file.size_bytes)
        refuse_polyglot(file)
        return Inspection(ModelFormat.SAFETENSORS, table)
    if head.startswith(b"PK"):
        return Inspection(_zip_kind(file))
    if _is_pickle(head) or head.startswith(_EXECUTABLE_MAGIC):
        return Inspection(ModelFormat.EXECUTABLE)
    if _is_onnx(file):
        onnx.check(file)
        return Inspection(ModelFormat.ONNX)
    if name.lower().endswith(_EXECUTABLE_SUFFIXES) or _ends_like_pickle(file):
        return Inspection(ModelFormat.EXECUTABLE)
    return Inspection(ModelFormat.OTHER)


class _Reader:
    """Sequential reading over `read_at`."""

    def __init__(self, file: FileBytes) -> None:
        self._file = file
        self._position = 0

    def read(self, count: int) -> bytes:
        data = self._file.read_at(self._position, count)
        self._position += len(data)
        return data


def _claims_safetensors(head: bytes) -> bool:
    """An 8-byte length below 2^40, then `{` (or blanks that the format forbids before it)."""
    return len(head) > 8 and head[5:8] == b"\0\0\0" and head[8:].lstrip(b" \t\r\n")[:1] == b"{"


def _is_pickle(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def _ends_like_pickle(file: FileBytes) -> bool:
    """Text pickles (protocols 0 and 1) have no magic: they open with one of a few opcodes and end with STOP."""
    return file.read_at(0, 1) in (b"(", b"c", b"]", b"}", b")", b"I", b"S", b"V", b"L", b"F", b"N", b"K", b"M") and (
        file.read_at(file.size_bytes - 1, 1) == b"."
    )


# --- zip -----------------------------------------------------------------------------------------


def _zip_kind(file: FileBytes) -> ModelFormat:
    names = _zip_names(file)
    if names is None or torch_export.records_of(names) is None:
        return ModelFormat.EXECUTABLE
    torch_export.check(file)
    return ModelFormat.TORCH_EXPORT


def _zip_names(file: FileBytes) -> list[str] | None:
    """The names of a zip's directory; None when there is none of a size worth reading."""
    tail_at = max(0, file.size_bytes - _ZIP_TAIL)
    tail = file.read_at(tail_at, _ZIP_TAIL)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        return None
    size, offset = struct.unpack_from("<II", tail, end + 12)
    if offset == 0xFFFFFFFF or size == 0xFFFFFFFF:
        locator = tail[end - 20 : end] if end >= 20 else b""
        if len(locator) != 20 or locator[:4] != b"PK\x06\x07":
            return None
        record = file.read_at(struct.unpack_from("<Q", locator, 8)[0], 56)
        if len(record) != 56 or record[:4] != b"PK\x06\x06":
            return None
        size, offset = struct.unpack_from("<QQ", record, 40)
    if not 0 < size <= MAX_ZIP_DIRECTORY or offset + size > file.size_bytes:
        return None
    return _directory_names(file.read_at(offset, size))


def _directory_names(directory: bytes) -> list[str] | None:
    names: list[str] = []
    position = 0
    while position + 46 <= len(directory) and directory[position : position + 4] == b"PK\x01\x02":
        name_length, extra_length, comment_length = struct.unpack_from("<HHH", directory, position + 28)
        start = position + 46
        names.append(directory[start : start + name_length].decode("utf-8", "replace"))
        position = start + name_length + extra_length + comment_length
    return names or None


# --- onnx ----------------------------------------------------------------------------------------


def _is_onnx(file: FileBytes) -> bool:
    """Whether the top-level fields are those of an ONNX ModelProto: `ir_version` first, one `graph`, nothing else.

    Reads tags and lengths only; see the protobuf wire format and `onnx.proto`.
    """
    position, fields = 0, 0
    seen: set[int] = set()
    while position < file.size_bytes and fields < _MAX_ONNX_FIELDS:
        header = file.read_at(position, 20)
        tag, at = _varint(header, 0)
        value, at = _varint(header, at)
        if at < 0 or (fields == 0 and not (tag == 0x08 and 1 <= value <= 64)):
            return False
        number, wire = tag >> 3, tag & 7
        if number not in (1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26) or wire != (0 if number in (1, 5) else 2):
            return False
        position += at + (value if wire == 2 else 0)
        seen.add(number)
        fields += 1
    return position == file.size_bytes and 7 in seen


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The value at `at` and the position after it, which is negative when there is no whole varint."""
    value = 0
    if at < 0:
        return 0, -1
    for shift in range(0, 70, 7):
        if at >= len(data):
            return 0, -1
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return 0, -1
