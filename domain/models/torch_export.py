"""What a `.pt2` archive of `torch.export` holds, read as a directory and as JSON, never loaded.

torch 2.13's loader unpickles what a config tells it to, resolves operators by walking attributes from `torch`,
evaluates symbolic expressions and compiles guards. So an archive passes only when it leaves none of that to do:
records of known names, tensors without pickle, operators of aten, expressions of sums and products, no guards. Its
sample inputs are a pickle in every archive there is; nothing here or in serving reads them.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, Final

from domain.models.at_rest import FileBytes
from domain.models.refusals import FileRefusal, FileRefused

MAX_RECORDS: Final = 100_000
MAX_JSON: Final = 16 * 1024 * 1024
_MOST_VALUES: Final = 5_000_000

_KNOWN: Final = (
    re.compile(r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)"),
    re.compile(r"data/weights/(weight|tensor)_\d+"),
    re.compile(r"data/constants/tensor_\d+"),
    re.compile(r"data/(weights/[A-Za-z0-9_]+_weights_config|constants/[A-Za-z0-9_]+_constants_config)\.json"),
    re.compile(r"data/sample_inputs/[A-Za-z0-9_]+\.pt"),
    re.compile(r"models/[A-Za-z0-9_]+\.json"),
)
_TENSOR: Final = re.compile(r"(weight|tensor)_\d+")
_ATEN: Final = re.compile(r"torch\.ops\.aten\.[a-z0-9_]+\.[A-Za-z0-9_]+")
_SYMBOLIC: Final = frozenset(
    f"_operator.{name}" for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
)
_READS_FILES: Final = frozenset({"from_file"})
_EXPRESSION: Final = re.compile(
    r"(?:Symbol\('[su]\d{1,9}'(?:, (?:positive|nonnegative|integer)=(?:True|False)){0,4}\)"
    r"|(?:Add|Mul|Integer|Max|Min|FloorDiv|Mod|PythonMod|CleanDiv)(?=\()"
    r"|\d{1,18}|[su]\d{1,9}|\*(?!\*)|[-+(), ])*"
)
"""Sums, products, quotients and bounds of sizes, in the two spellings of sympy: as a formula and as constructors."""
_MOST_EXPRESSION: Final = 1_000


def records_of(names: Sequence[str]) -> list[str] | None:
    """The names of an archive below its root, when they are those of an exported program and nothing else.

    None when it is another archive, or holds what only code can read (compiled libraries, script objects).
    """
    roots = {name.partition("/")[0] for name in names}
    records = [name.partition("/")[2] for name in names]
    if len(roots) != 1 or "archive_format" not in records or not any(r.startswith("models/") for r in records):
        return None
    return records if all(any(known.fullmatch(record) for known in _KNOWN) for record in records) else None


def check(file: FileBytes) -> None:
    """Raises FileRefused naming what an archive of known records lies about, or would run."""
    try:
        archive = zipfile.ZipFile(_Seekable(file))  # closing it would do nothing: it owns no handle
        _check_layout(archive, file)
        for record in archive.infolist():
            name = record.filename.partition("/")[2]
            if name.endswith("_config.json"):
                _check_config(_json(archive, record), record.filename)
            elif name.startswith("models/"):
                _check_program(_json(archive, record), record.filename)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise FileRefused(FileRefusal.BAD_ARCHIVE, f"the archive cannot be read: {str(error)[:120]}") from None


def _check_layout(archive: zipfile.ZipFile, file: FileBytes) -> None:
    """One reading only: every record stored plainly, once, under one name, and nothing before them."""
    found = archive.infolist()
    if len(found) > MAX_RECORDS:
        raise FileRefused(FileRefusal.TOO_COMPLEX, f"{len(found)} records; at most {MAX_RECORDS}")
    if len({record.filename for record in found}) != len(found):
        raise FileRefused(FileRefusal.BAD_ARCHIVE, "two records have one name")
    end = 0
    for record in sorted(found, key=lambda each: each.header_offset):
        header = file.read_at(record.header_offset, 30)
        name = int.from_bytes(header[26:28], "little")
        extra = int.from_bytes(header[28:30], "little")
        if (
            record.compress_type != zipfile.ZIP_STORED
            or record.flag_bits & 1
            or record.file_size != record.compress_size
            or header[:4] != b"PK\x03\x04"
            or file.read_at(record.header_offset + 30, name) != record.orig_filename.encode()
            or record.header_offset < end
            or (end == 0 and record.header_offset != 0)
        ):
            raise FileRefused(
                FileRefusal.BAD_ARCHIVE, f"record {record.filename[:80]!r}: stored, unencrypted and once is expected"
            )
        end = record.header_offset + 30 + name + extra + record.file_size
    if end > archive.start_dir:
        raise FileRefused(FileRefusal.BAD_ARCHIVE, "records reach into the directory")


def _json(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> Any:
    if record.file_size > MAX_JSON:
        raise FileRefused(FileRefusal.TOO_COMPLEX, f"{record.filename[:80]} has more than {MAX_JSON} bytes")
    try:
        return json.loads(archive.read(record), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise FileRefused(FileRefusal.BAD_RECORD, f"{record.filename[:80]} is not strict JSON") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _check_config(document: Any, name: str) -> None:
    """Tensors and where they are: raw bytes in records of known names."""
    entries = document.get("config") if isinstance(document, dict) else None
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise FileRefused(FileRefusal.BAD_RECORD, f"{name[:80]} is no configuration of tensors")
    for tensor, entry in entries.items():
        if entry.get("use_pickle") is not False:
            raise FileRefused(FileRefusal.USES_PICKLE, f"tensor {tensor[:80]!r} would be unpickled")
        path = entry.get("path_name")
        if not isinstance(path, str) or not _TENSOR.fullmatch(path):
            raise FileRefused(FileRefusal.FOREIGN_OBJECT, f"{tensor[:80]!r} is no tensor of the archive")


def _check_program(document: Any, name: str) -> None:
    if not isinstance(document, dict) or not isinstance(document.get("graph_module"), dict):
        raise FileRefused(FileRefusal.BAD_RECORD, f"{name[:80]} is no exported program")
    if document.get("guards_code", []) != []:
        raise FileRefused(FileRefusal.GUARDS, "it holds guards, which are compiled when it is loaded")
    for found in _objects(document):
        if found.get("custom_obj_values") or "as_custom_obj" in found or "as_operator" in found:
            raise FileRefused(FileRefusal.FOREIGN_OBJECT, "it refers to objects that are no tensors")
        if "target" in found:
            _check_target(found["target"])
        if "expr_str" in found:
            _check_expression(found["expr_str"])


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document, however deep."""
    waiting, seen = [document], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise FileRefused(FileRefusal.TOO_COMPLEX, "the program is too large to be checked")
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _check_target(target: Any) -> None:
    known = isinstance(target, str) and (target in _SYMBOLIC or _ATEN.fullmatch(target) is not None)
    if not known or str(target).split(".")[-2] in _READS_FILES:
        raise FileRefused(FileRefusal.FOREIGN_OPERATOR, f"operator {str(target)[:80]!r} is not one of aten")


def _check_expression(text: Any) -> None:
    if not isinstance(text, str) or len(text) > _MOST_EXPRESSION or not _EXPRESSION.fullmatch(text):
        raise FileRefused(FileRefusal.FOREIGN_EXPRESSION, f"{str(text)[:80]!r} is no sum or product of sizes")


class _Seekable(io.RawIOBase):
    """A file at rest as a stream."""

    def __init__(self, file: FileBytes) -> None:
        super().__init__()
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size_bytes}[whence]
        if base + offset < 0:
            raise OSError("a place before the file")
        self._position = base + offset
        return self._position

    def read(self, count: int | None = -1) -> bytes:
        left = max(0, self._file.size_bytes - self._position)
        data = self._file.read_at(self._position, left if count is None or count < 0 else min(count, left))
        self._position += len(data)
        return data
