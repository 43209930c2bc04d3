"""Files that lie about themselves: generated, each with the reason for which it must be refused."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from domain.models.refusals import FileRefusal
from domain.safetensors import Refusal

# --- safetensors ---------------------------------------------------------------------------------


def build(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def entry(shape: list[Any], begin: int, end: int, dtype: str = "F32", **extra: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **extra}


GOOD = {"a": entry([2, 3], 0, 24), "b": entry([], 24, 28)}
ONE = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'

LIES: dict[str, tuple[bytes, Refusal]] = {
    "empty file": (b"", Refusal.FILE_TOO_SHORT),
    "seven bytes": (b"\x02\0\0\0\0\0\0", Refusal.FILE_TOO_SHORT),
    "zero header": (build(b"", length=0), Refusal.HEADER_EMPTY),
    "header of 2^63": (build(b"{}", length=2**63), Refusal.HEADER_TOO_LARGE),
    "header of 9 MB": (build(b"{}", length=9 * 2**20), Refusal.HEADER_TOO_LARGE),
    "header past the end": (build(b"{}", length=3), Refusal.HEADER_TRUNCATED),
    "leading space": (build(b' {"a":{' + ONE.encode() + b"}}", bytes(4)), Refusal.HEADER_NOT_OBJECT),
    "an array": (build(b"[1]"), Refusal.HEADER_NOT_OBJECT),
    "not utf-8": (build(b'{"\xff":1}'), Refusal.HEADER_NOT_UTF8),
    "not json": (build(b"{a:1}"), Refusal.HEADER_NOT_JSON),
    "a float": (build(b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}'), Refusal.HEADER_NOT_JSON),
    "NaN": (build(b'{"a":NaN}'), Refusal.HEADER_NOT_JSON),
    "a number of 5000 digits": (build(b'{"a":' + b"9" * 5000 + b"}"), Refusal.HEADER_NOT_JSON),
    "nesting": (build(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), Refusal.HEADER_NOT_JSON),
    "two documents": (build(b'{"a":1}{"b":2}'), Refusal.HEADER_NOT_JSON),
    "trailing newline": (build(b'{"a":1}\n'), Refusal.TRAILING_CHARACTERS),
    "trailing NUL": (build(b'{"a":1}\0'), Refusal.TRAILING_CHARACTERS),
    "equal duplicate": (
        build(f'{{"a":{{{ONE}}},"a":{{{ONE}}}}}'.encode(), bytes(4)),
        Refusal.DUPLICATE_KEY,
    ),
    "duplicate field": (build(f'{{"a":{{{ONE},"dtype":"F32"}}}}'.encode(), bytes(4)), Refusal.DUPLICATE_KEY),
    "no tensors": (build({}), Refusal.NO_TENSORS),
    "metadata only": (build({"__metadata__": {"format": "pt"}}), Refusal.NO_TENSORS),
    "metadata of numbers": (build({"__metadata__": {"a": 1}, **GOOD}, bytes(28)), Refusal.BAD_METADATA),
    "metadata a list": (build({"__metadata__": [], **GOOD}, bytes(28)), Refusal.BAD_METADATA),
    "50,001 tensors": (build({str(i): entry([0], 0, 0) for i in range(50_001)}), Refusal.TOO_MANY_TENSORS),
    "empty name": (build({"": entry([1], 0, 4)}, bytes(4)), Refusal.BAD_NAME),
    "NUL in name": (build({"a\0": entry([1], 0, 4)}, bytes(4)), Refusal.BAD_NAME),
    "lone surrogate in name": (build(b'{"\\ud800":{' + ONE.encode() + b"}}", bytes(4)), Refusal.BAD_NAME),
    "long name": (build({"a" * 513: entry([1], 0, 4)}, bytes(4)), Refusal.BAD_NAME),
    "entry a list": (build({"a": []}), Refusal.BAD_ENTRY),
    "missing dtype": (build({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)), Refusal.MISSING_FIELD),
    "extra field": (build({"a": entry([1], 0, 4, note="x")}, bytes(4)), Refusal.EXTRA_FIELD),
    "unknown dtype": (build({"a": entry([1], 0, 4, "F33")}, bytes(4)), Refusal.UNKNOWN_DTYPE),
    "dtype a list": (build({"a": {**entry([1], 0, 4), "dtype": ["F32"]}}, bytes(4)), Refusal.UNKNOWN_DTYPE),
    "negative size": (build({"a": entry([-1], 0, 4)}, bytes(4)), Refusal.BAD_SHAPE),
    "boolean size": (build({"a": entry([True], 0, 4)}, bytes(4)), Refusal.BAD_SHAPE),
    "17 dimensions": (build({"a": entry([1] * 17, 0, 4)}, bytes(4)), Refusal.BAD_SHAPE),
    "absurd empty tensor": (build({"a": entry([0, 2**62], 0, 0)}), Refusal.DIMENSION_TOO_LARGE),
    "absurd product": (build({"a": entry([0, 2**30, 2**30], 0, 0)}), Refusal.TOO_MANY_ELEMENTS),
    "overflowing product": (build({"a": entry([2**30] * 3, 0, 4)}, bytes(4)), Refusal.TOO_MANY_ELEMENTS),
    "backward offsets": (build({"a": entry([1], 4, 0)}, bytes(4)), Refusal.BAD_OFFSETS),
    "three offsets": (build({"a": {**entry([1], 0, 4), "data_offsets": [0, 4, 8]}}), Refusal.BAD_OFFSETS),
    "negative offset": (build({"a": entry([1], -4, 0)}, bytes(4)), Refusal.BAD_OFFSETS),
    "shape larger than bytes": (build({"a": entry([2], 0, 4)}, bytes(4)), Refusal.SIZE_MISMATCH),
    "half a byte": (build({"a": entry([1], 0, 1, "F4")}, bytes(1)), Refusal.SIZE_MISMATCH),
    "does not start at 0": (build({"a": entry([1], 4, 8)}, bytes(8)), Refusal.HOLE),
    "hole": (build({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)), Refusal.HOLE),
    "overlap": (build({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, bytes(8)), Refusal.OVERLAP),
    "same bytes twice": (build({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4)), Refusal.OVERLAP),
    "data cut off": (build(GOOD, bytes(27)), Refusal.DATA_TRUNCATED),
    "bytes left over": (build(GOOD, bytes(29)), Refusal.TRAILING_BYTES),
}
"""Headers and data that the format, or our reading of it, does not allow."""


# --- safetensors that are something else as well -------------------------------------------------


def zip_of(*records: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in records:
            archive.writestr(name, data)
    return target.getvalue()


def _zip_in_data() -> bytes:
    hidden = zip_of(("m/data.pkl", b"\x80\x02."))
    return build({"a": entry([len(hidden)], 0, len(hidden), "U8")}, hidden)


def _pickle_in_data() -> bytes:
    """Sound safetensors that an unpickler reads as a program: short strings swallow the header, then comes code.

    The length's first byte is `U`, which takes its second byte as the length of a string; that string ends within
    the metadata, where the next `U` stands, and so on to the data.
    """
    code = b"cbuiltins\nlen\n(S'ab'\ntR."
    for width in range(1, 60):
        table = json.dumps({"a": entry([len(code)], 0, len(code), "U8")})[:-1]
        prefix = table + ', "__metadata__": {"' + "k" * width + '": "'
        length = 0x55 | (6 + len(prefix)) << 8
        text = length - len(prefix) - 3
        hops, rest = divmod(text - 2, 128)
        if 0x20 <= rest + 3 < 0x7F:
            filled = ("U~" + "x" * 126) * hops + "U" + chr(rest + 3) + "x" * rest
            return build((prefix + filled + '"}}').encode(), code)
    raise AssertionError("no such file")


# --- archives of torch.export --------------------------------------------------------------------

WEIGHTS = "p/data/weights/model_weights_config.json"


def exported_program(
    *,
    target: str = "torch.ops.aten.relu.default",
    guards: object = (),
    use_pickle: object = False,
    expression: str = "Mul(Integer(8), Symbol('s77', positive=True, integer=True))",
    records: tuple[tuple[str, bytes], ...] = (),
    method: int = zipfile.ZIP_STORED,
) -> bytes:
    """An archive laid out as torch 2.13 does it."""
    tensor = {"path_name": "weight_0", "is_param": True, "use_pickle": use_pickle, "tensor_meta": {"dtype": 7}}
    sizes = [{"as_expr": {"expr_str": expression, "hint": {"as_int": 2}}}]
    program = {
        "graph_module": {
            "graph": {
                "inputs": [],
                "nodes": [{"target": target, "inputs": [], "outputs": [], "metadata": {}}],
                "tensor_values": {"x": {"sizes": sizes}},
                "custom_obj_values": {},
            }
        },
        "schema_version": {"major": 8, "minor": 20},
        "guards_code": guards or [],
    }
    return zip_of(
        ("p/data/weights/weight_0", bytes(16)),
        (WEIGHTS, json.dumps({"config": {"0.weight": tensor}}).encode()),
        ("p/data/constants/model_constants_config.json", b'{"config": {}}'),
        ("p/models/model.json", json.dumps(program).encode()),
        ("p/data/sample_inputs/model.pt", b"PK a pickle"),
        ("p/archive_format", b"pt2"),
        *records,
        method=method,
    )


# --- ONNX ----------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


TENSOR = field(1, 1) + field(2, 1) + field(8, b"w") + field(9, bytes(4))
EXTERNAL = field(8, b"w") + field(13, field(1, b"location") + field(2, b"../../etc/passwd")) + field(14, 1)


def onnx_model(graph: bytes = field(1, field(4, b"Relu")) + field(5, TENSOR), more: bytes = b"") -> bytes:
    return field(1, 9) + field(2, b"pytorch") + field(7, graph) + field(8, field(2, 17)) + more


def _nested(depth: int) -> bytes:
    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return graph


# --- all of them ---------------------------------------------------------------------------------

PT2, ONNX, WEIGHTS_NAME = "m.pt2", "m.onnx", "m.safetensors"

CORPUS: Final[Mapping[str, tuple[bytes, str, StrEnum]]] = {
    **{what: (data, WEIGHTS_NAME, reason) for what, (data, reason) in LIES.items() if data},
    "safetensors by their name only": (b"\x80\x04}.", WEIGHTS_NAME, Refusal.FILE_TOO_SHORT),
    "a pickle named safetensors": (pickle.dumps({"a": [1] * 99}), WEIGHTS_NAME, Refusal.HEADER_TOO_LARGE),
    "a zip named safetensors": (zip_of(("a", bytes(99))), WEIGHTS_NAME, Refusal.HEADER_TOO_LARGE),
    "safetensors before a zip": (build(GOOD, bytes(28)) + zip_of(("a", b"")), "m", Refusal.TRAILING_BYTES),
    "a zip within a tensor": (_zip_in_data(), WEIGHTS_NAME, FileRefusal.POLYGLOT),
    "a pickle around tensors": (_pickle_in_data(), WEIGHTS_NAME, FileRefusal.POLYGLOT),
    "pt2 that unpickles": (exported_program(use_pickle=True), PT2, FileRefusal.USES_PICKLE),
    "pt2 that may unpickle": (exported_program(use_pickle=None), PT2, FileRefusal.USES_PICKLE),
    "pt2 with another operator": (exported_program(target="os.system"), PT2, FileRefusal.FOREIGN_OPERATOR),
    "pt2 with a walk of attributes": (
        exported_program(target="torch.ops.aten.relu.default.__class__"), PT2, FileRefusal.FOREIGN_OPERATOR,
    ),
    "pt2 with a function of torch": (exported_program(target="torch.load"), PT2, FileRefusal.FOREIGN_OPERATOR),
    "pt2 that reads a file": (
        exported_program(target="torch.ops.aten.from_file.default"), PT2, FileRefusal.FOREIGN_OPERATOR,
    ),
    "pt2 with guards": (exported_program(guards=["__import__('os')"]), PT2, FileRefusal.GUARDS),
    "pt2 with guards that are no list": (exported_program(guards="exit()"), PT2, FileRefusal.GUARDS),
    "pt2 with code for a size": (
        exported_program(expression="__import__('os').getpid()"), PT2, FileRefusal.FOREIGN_EXPRESSION,
    ),
    "pt2 with a power tower": (exported_program(expression="9**9**9**9"), PT2, FileRefusal.FOREIGN_EXPRESSION),
    "pt2 with a call": (exported_program(expression="exit(1)"), PT2, FileRefusal.FOREIGN_EXPRESSION),
    "pt2 with compressed records": (exported_program(method=zipfile.ZIP_DEFLATED), PT2, FileRefusal.BAD_ARCHIVE),
    "pt2 with one name twice": (
        exported_program(records=(("p/archive_f0rmat", b"x"),)).replace(b"_f0rmat", b"_format"),
        PT2, FileRefusal.BAD_ARCHIVE,
    ),
    "pt2 with a name for each reader": (
        exported_program().replace(b"p/models/model.json", b"p/models/other.json", 1), PT2, FileRefusal.BAD_ARCHIVE,
    ),
    "pt2 without JSON": (exported_program(records=(("p/models/b.json", b"{"),)), PT2, FileRefusal.BAD_RECORD),
    "pt2 with a key twice": (
        exported_program(records=(("p/models/b.json", b'{"graph_module": {}, "graph_module": {}}'),)),
        PT2, FileRefusal.BAD_RECORD,
    ),
    "pt2 with a script object": (
        exported_program(records=(("p/data/constants/b_constants_config.json",
                                   b'{"config": {"o": {"path_name": "custom_obj_0", "use_pickle": false}}}'),)),
        PT2, FileRefusal.FOREIGN_OBJECT,
    ),
    "onnx with external data": (onnx_model(field(5, EXTERNAL)), ONNX, FileRefusal.EXTERNAL_DATA),
    "onnx with a location only": (onnx_model(field(5, field(14, 1))), ONNX, FileRefusal.EXTERNAL_DATA),
    "onnx with an external sparse tensor": (
        onnx_model(field(15, field(1, EXTERNAL))), ONNX, FileRefusal.EXTERNAL_DATA,
    ),
    "onnx with an external constant": (
        onnx_model(field(1, field(5, field(5, EXTERNAL)))), ONNX, FileRefusal.EXTERNAL_DATA,
    ),
    "onnx with external data in a branch": (
        onnx_model(field(1, field(5, field(6, field(5, EXTERNAL))))), ONNX, FileRefusal.EXTERNAL_DATA,
    ),
    "onnx with external data in a function": (
        onnx_model(more=field(25, field(7, field(5, field(10, EXTERNAL))))), ONNX, FileRefusal.EXTERNAL_DATA,
    ),
    "onnx that cannot be followed": (onnx_model(b"\xff" * 12), ONNX, FileRefusal.MALFORMED),
    "onnx with a field past its message": (onnx_model(b"\x0a\x40x"), ONNX, FileRefusal.MALFORMED),
    "onnx nested deep": (onnx_model(_nested(200)), ONNX, FileRefusal.TOO_COMPLEX),
}  # fmt: skip
"""By what is wrong: the bytes, the name they come with, and the reason that must be given."""
