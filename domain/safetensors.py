"""A strict reading of a safetensors header, before any library opens the file.

The format is an 8-byte little-endian length N, N bytes of JSON, then the tensors' bytes end to end
(https://huggingface.co/docs/safetensors). The reference reader lets several odd files pass (repeated
keys, extra fields, absurd dimensions of empty tensors, huge headers); this one refuses them, each with
a named reason. It sees the header and the file's size only: it must never need a tensor's bytes, and
never load anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from domain.errors import BadUserInput

LENGTH_BYTES: Final = 8
MAX_HEADER_BYTES: Final = 8 * 1024 * 1024
MAX_TENSORS: Final = 50_000
MAX_NAME: Final = 512
MAX_RANK: Final = 16
MAX_DIMENSION: Final = 2**31 - 1
MAX_ELEMENTS: Final = 2**40 - 1
MAX_METADATA_ENTRIES: Final = 1_000

DTYPE_BITS: Final[Mapping[str, int]] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
"""Bits per element of every dtype the format defines."""


class Refusal(StrEnum):
    """Why a file is not a safetensors file we accept."""

    FILE_TOO_SHORT = "file_too_short"
    HEADER_EMPTY = "header_empty"
    HEADER_TOO_LARGE = "header_too_large"
    HEADER_TRUNCATED = "header_truncated"
    HEADER_NOT_OBJECT = "header_not_object"
    HEADER_NOT_UTF8 = "header_not_utf8"
    HEADER_NOT_JSON = "header_not_json"
    TRAILING_CHARACTERS = "trailing_characters"
    DUPLICATE_KEY = "duplicate_key"
    NO_TENSORS = "no_tensors"
    TOO_MANY_TENSORS = "too_many_tensors"
    BAD_METADATA = "bad_metadata"
    BAD_NAME = "bad_name"
    BAD_ENTRY = "bad_entry"
    MISSING_FIELD = "missing_field"
    EXTRA_FIELD = "extra_field"
    UNKNOWN_DTYPE = "unknown_dtype"
    BAD_SHAPE = "bad_shape"
    DIMENSION_TOO_LARGE = "dimension_too_large"
    TOO_MANY_ELEMENTS = "too_many_elements"
    BAD_OFFSETS = "bad_offsets"
    SIZE_MISMATCH = "size_mismatch"
    HOLE = "hole"
    OVERLAP = "overlap"
    DATA_TRUNCATED = "data_truncated"
    TRAILING_BYTES = "trailing_bytes"


class WeightsRefused(BadUserInput):
    """A weights file that is not what it claims to be; `reason` is stable and machine-readable."""

    def __init__(self, reason: Refusal, message: str, *, tensor: str | None = None) -> None:
        where = f"tensor {tensor!r}: " if tensor is not None else ""
        super().__init__(f"not an acceptable safetensors file: {where}{message} [{reason.value}]", field="file")
        self.reason = reason
        self.tensor = tensor


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file: `begin` and `end` are byte offsets into the data that follows the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return _product(self.shape)


@dataclass(frozen=True, slots=True)
class TensorTable:
    """What a checked header says: tensors by name, in the order of their bytes."""

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str] = field(default_factory=dict)
    header_bytes: int = 0

    @property
    def parameter_count(self) -> int:
        """Elements over all tensors."""
        return sum(entry.elements for entry in self.tensors.values())

    @property
    def data_bytes(self) -> int:
        """Bytes of tensor data."""
        return max((entry.end for entry in self.tensors.values()), default=0)


def header_length(prefix: bytes, file_size: int) -> int:
    """The header's length in bytes, from the first eight bytes of a file of `file_size` bytes.

    Raises WeightsRefused when the file cannot hold the header it announces, or the header is too large.
    """
    if file_size < LENGTH_BYTES or len(prefix) < LENGTH_BYTES:
        raise WeightsRefused(Refusal.FILE_TOO_SHORT, f"{file_size} bytes; the format starts with an 8-byte length")
    length = int.from_bytes(prefix[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise WeightsRefused(
            Refusal.HEADER_TOO_LARGE, f"the header announces {length} bytes; at most {MAX_HEADER_BYTES}"
        )
    if length < 2:
        raise WeightsRefused(Refusal.HEADER_EMPTY, f"the header announces {length} bytes")
    if LENGTH_BYTES + length > file_size:
        raise WeightsRefused(
            Refusal.HEADER_TRUNCATED,
            f"the header announces {length} bytes, but the file has {file_size} in all",
        )
    return length


def check_header(header: bytes, file_size: int) -> TensorTable:
    """Check the JSON header (without its length prefix) of a file of `file_size` bytes.

    Returns the table of its tensors; raises WeightsRefused with the first reason found.
    """
    if len(header) > MAX_HEADER_BYTES:
        raise WeightsRefused(Refusal.HEADER_TOO_LARGE, f"{len(header)} bytes; at most {MAX_HEADER_BYTES}")
    document = _parse(header)
    metadata = _metadata(document.pop("__metadata__", {}))
    if not document:
        raise WeightsRefused(Refusal.NO_TENSORS, "it holds no tensors")
    if len(document) > MAX_TENSORS:
        raise WeightsRefused(Refusal.TOO_MANY_TENSORS, f"{len(document)} tensors; at most {MAX_TENSORS}")
    entries = sorted((_entry(name, value) for name, value in document.items()), key=lambda e: (e.begin, e.end))
    _check_layout(entries, file_size - LENGTH_BYTES - len(header))
    return TensorTable({entry.name: entry for entry in entries}, metadata, len(header))


def read_table(read: Callable[[int], bytes], file_size: int) -> TensorTable:
    """Check a file through its `read(n)`, positioned at the start. Reads no more than the header."""
    prefix = read(LENGTH_BYTES)
    length = header_length(prefix, file_size)
    header = read(length)
    if len(header) != length:
        raise WeightsRefused(Refusal.HEADER_TRUNCATED, f"the header announces {length} bytes, {len(header)} follow")
    return check_header(header, file_size)


class _DuplicateKeyError(Exception):
    """Two equal keys in one JSON object."""


def _parse(header: bytes) -> dict[str, Any]:
    if not header.startswith(b"{"):
        raise WeightsRefused(Refusal.HEADER_NOT_OBJECT, "the header must start with '{'")
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        raise WeightsRefused(Refusal.HEADER_NOT_UTF8, "the header is not UTF-8") from None
    body = text.rstrip(" ")  # the format pads with spaces, and with nothing else
    if not body.endswith("}"):
        raise WeightsRefused(Refusal.TRAILING_CHARACTERS, "the header must end with '}' and optional spaces")
    try:
        document = json.loads(
            body,
            object_pairs_hook=_unique,
            parse_int=_whole,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except _DuplicateKeyError as error:
        raise WeightsRefused(Refusal.DUPLICATE_KEY, f"the key {str(error)[:80]!r} appears twice") from None
    except (ValueError, RecursionError):
        raise WeightsRefused(Refusal.HEADER_NOT_JSON, "the header is not valid JSON of whole numbers") from None
    if not isinstance(document, dict):
        raise WeightsRefused(Refusal.HEADER_NOT_OBJECT, "the header is not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise _DuplicateKeyError(key)
        document[key] = value
    return document


def _whole(text: str) -> int:
    if len(text) > 20:
        raise ValueError("number too long")
    return int(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text[:20]} is not a whole number")


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise WeightsRefused(Refusal.BAD_METADATA, "__metadata__ must map strings to strings")
    if len(value) > MAX_METADATA_ENTRIES:
        raise WeightsRefused(Refusal.BAD_METADATA, f"__metadata__ has more than {MAX_METADATA_ENTRIES} entries")
    return value


_FIELDS: Final = frozenset({"dtype", "shape", "data_offsets"})


def _entry(name: str, value: object) -> TensorEntry:
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise WeightsRefused(
            Refusal.BAD_NAME,
            f"a name must be 1 to {MAX_NAME} printable characters",
            tensor=ascii(name[:60])[1:-1],
        )
    if not isinstance(value, dict):
        raise WeightsRefused(Refusal.BAD_ENTRY, "its entry is not an object", tensor=name)
    if missing := sorted(_FIELDS - value.keys()):
        raise WeightsRefused(Refusal.MISSING_FIELD, f"{missing[0]} is missing", tensor=name)
    if extra := sorted(value.keys() - _FIELDS):
        raise WeightsRefused(Refusal.EXTRA_FIELD, f"unknown field {extra[0][:60]!r}", tensor=name)
    dtype = value["dtype"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise WeightsRefused(Refusal.UNKNOWN_DTYPE, f"unknown dtype {str(dtype)[:40]!r}", tensor=name)
    shape = _shape(name, value["shape"])
    begin, end = _offsets(name, value["data_offsets"])
    bits = _product(shape) * DTYPE_BITS[dtype]
    if bits % 8 or end - begin != bits // 8:
        raise WeightsRefused(
            Refusal.SIZE_MISMATCH,
            f"{dtype} {list(shape)} takes {bits / 8:g} bytes, not {end - begin}",
            tensor=name,
        )
    return TensorEntry(name, dtype, shape, begin, end)


def _is_size(value: object) -> bool:
    return type(value) is int and value >= 0


def _shape(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MAX_RANK or not all(map(_is_size, value)):
        raise WeightsRefused(
            Refusal.BAD_SHAPE,
            f"its shape must be a list of at most {MAX_RANK} non-negative sizes",
            tensor=name,
        )
    if any(size > MAX_DIMENSION for size in value):
        raise WeightsRefused(Refusal.DIMENSION_TOO_LARGE, f"a dimension above {MAX_DIMENSION}", tensor=name)
    if _product(tuple(max(size, 1) for size in value)) > MAX_ELEMENTS:
        raise WeightsRefused(Refusal.TOO_MANY_ELEMENTS, f"more than {MAX_ELEMENTS} elements", tensor=name)
    return tuple(value)


def _offsets(name: str, value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_size, value)) or value[0] > value[1]:
        raise WeightsRefused(Refusal.BAD_OFFSETS, "data_offsets must be [begin, end], begin <= end", tensor=name)
    return value[0], value[1]


def _check_layout(entries: list[TensorEntry], available: int) -> None:
    """The tensors must tile the data exactly: from 0, without hole or overlap, to the end of the file."""
    position = 0
    for entry in entries:
        if entry.begin > position:
            raise WeightsRefused(
                Refusal.HOLE,
                f"{entry.begin - position} bytes before it belong to no tensor",
                tensor=entry.name,
            )
        if entry.begin < position:
            raise WeightsRefused(Refusal.OVERLAP, "its bytes overlap those of another tensor", tensor=entry.name)
        position = entry.end
    if position > available:
        raise WeightsRefused(
            Refusal.DATA_TRUNCATED, f"the tensors take {position} bytes, but {available} follow the header"
        )
    if position < available:
        raise WeightsRefused(Refusal.TRAILING_BYTES, f"{available - position} bytes follow the last tensor")


def _product(shape: tuple[int, ...]) -> int:
    """Exact product, without stopping early: callers bound rank and size first."""
    result = 1
    for size in shape:
        result *= size
    return result
