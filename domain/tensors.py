"""Tensors at the edge: what a model takes and gives, and the JSON form of both.

A `TensorSpec` names one input or output. This module turns JSON rows into numpy arrays and back,
and is where every prediction is validated before a byte of it leaves the web process. It must never
coerce: a string is not a number, `true` is not 1, and 1.5 is not an integer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import BadUserInput, PayloadTooLarge

Array = NDArray[Any]

BATCH = -1
"""The size that stands for "any number of rows" in a shape."""

MAX_RANK = 8
MAX_DIMENSION = 2**31 - 1
MAX_NAME = 128
DEFAULT_MAX_BYTES = 64 * 1024 * 1024
"""Largest decoded request, in bytes, over all inputs."""

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class DType(StrEnum):
    """Element types that cross the API. Values are numpy's names."""

    BOOL = "bool"
    UINT8 = "uint8"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The little-endian numpy dtype."""
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return _NUMPY[self].itemsize

    @property
    def is_float(self) -> bool:
        """Whether values are floating point (and may be NaN or infinite)."""
        return _NUMPY[self].kind == "f"

    @property
    def is_integer(self) -> bool:
        """Whether values are whole numbers; booleans are not."""
        return _NUMPY[self].kind in "iu"


_NUMPY: dict[DType, np.dtype[Any]] = {d: np.dtype(d.value).newbyteorder("<") for d in DType}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of one input or output; the leading -1 is the batch."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row: everything after the batch dimension."""
        return self.shape[1:]

    def to_json(self) -> dict[str, object]:
        """The form used in documents and by the API."""
        return {"name": self.name, "dtype": self.dtype.value, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, document: object, *, field: str) -> TensorSpec:
        """Parse `{"name", "dtype", "shape"}`; BadUserInput names the offending key under `field`."""
        if not isinstance(document, Mapping):
            raise BadUserInput(f"expected an object, got {kind_of(document)}", field=field)
        unknown = sorted(str(k) for k in document.keys() - {"name", "dtype", "shape"})
        if unknown:
            raise BadUserInput(f"unknown key {unknown[0]!r}; known: name, dtype, shape", field=field)
        name = document.get("name")
        if not isinstance(name, str) or not name or len(name) > MAX_NAME or not name.isprintable():
            raise BadUserInput(f"expected a printable name of 1 to {MAX_NAME} characters", field=f"{field}.name")
        return cls(
            name,
            parse_dtype(document.get("dtype"), field=f"{field}.dtype"),
            _parse_shape(document.get("shape"), field=f"{field}.shape"),
        )


def parse_dtype(value: object, *, field: str) -> DType:
    """A `DType` from its name, or BadUserInput listing the known ones."""
    if isinstance(value, str):
        try:
            return DType(value)
        except ValueError:
            pass
    known = ", ".join(d.value for d in DType)
    raise BadUserInput(f"unknown dtype {shown(value)}; known: {known}", field=field)


def _parse_shape(value: object, *, field: str) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise BadUserInput("expected a list of sizes that starts with -1 (the batch)", field=field)
    if len(value) > MAX_RANK:
        raise BadUserInput(f"{len(value)} dimensions; at most {MAX_RANK}", field=field)
    if value[0] != BATCH or isinstance(value[0], bool | float):
        raise BadUserInput(f"the first size must be -1 (the batch), got {shown(value[0])}", field=f"{field}[0]")
    for index, size in enumerate(value[1:], start=1):
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_DIMENSION:
            raise BadUserInput(
                f"expected a size from 1 to {MAX_DIMENSION}, got {shown(size)}",
                field=f"{field}[{index}]",
            )
    return tuple(value)


# --- JSON rows -> arrays -------------------------------------------------------------------------


def decode_rows(rows: object, spec: TensorSpec, *, field: str) -> Array:
    """Nested lists of rows to an array of `spec.dtype` and shape `(rows, *spec.row_shape)`.

    Raises BadUserInput naming the first offending element, e.g. `inputs.x[3][1]`.
    """
    level: list[Any] = [rows]
    count = 0
    for depth, expected in enumerate(spec.shape):
        if set(map(type, level)) != {list}:
            _refuse_level(level, spec, depth, count, field)
        lengths = set(map(len, level))
        if depth == 0:
            count = len(level[0])
            if count == 0:
                raise BadUserInput("expected at least one row", field=field)
        elif lengths != {expected}:
            _refuse_length(level, spec, depth, count, field)
        level = list(chain.from_iterable(level))
    return _decode_values(level, spec, count, field).reshape(count, *spec.row_shape)


def _decode_values(values: list[Any], spec: TensorSpec, count: int, field: str) -> Array:
    kinds = set(map(type, values))
    dtype = spec.dtype
    if dtype is DType.BOOL:
        allowed: set[type] = {bool}
    elif dtype.is_integer:
        allowed = {int}
    else:
        allowed = {int, float}
        if str in kinds and all(v in NON_FINITE for v in values if type(v) is str):
            values = [NON_FINITE[v] if type(v) is str else v for v in values]
            kinds.discard(str)
    if not kinds <= allowed:
        index = next(i for i, v in enumerate(values) if type(v) not in allowed and not _is_non_finite(v, dtype))
        raise BadUserInput(
            f"expected {_wanted(dtype)}, got {shown(values[index])}",
            field=field + _path(index, count, spec.row_shape),
        )
    if dtype.is_integer:
        _check_range(values, spec, count, field)
        return np.array(values, dtype=dtype.numpy)
    try:
        wide = np.array(values, dtype=np.bool_ if dtype is DType.BOOL else np.float64)
    except OverflowError:
        index = next(i for i, v in enumerate(values) if type(v) is int and abs(v) >= 1 << 1023)
        raise BadUserInput(
            f"a whole number too large for {dtype.value}",
            field=field + _path(index, count, spec.row_shape),
        ) from None
    with np.errstate(over="ignore"):
        array = wide.astype(dtype.numpy)
    if dtype.is_float and dtype is not DType.FLOAT64:
        overflow = np.isinf(array) & np.isfinite(wide)
        if overflow.any():
            index = int(np.argmax(overflow))
            raise BadUserInput(
                f"{values[index]!r} is out of range for {dtype.value}",
                field=field + _path(index, count, spec.row_shape),
            )
    return array


def _is_non_finite(value: object, dtype: DType) -> bool:
    return dtype.is_float and isinstance(value, str) and value in NON_FINITE


def _check_range(values: list[int], spec: TensorSpec, count: int, field: str) -> None:
    limits = np.iinfo(spec.dtype.numpy)
    if min(values) < limits.min or max(values) > limits.max:
        index = next(i for i, v in enumerate(values) if not limits.min <= v <= limits.max)
        raise BadUserInput(
            f"out of range for {spec.dtype.value} ({limits.min} to {limits.max})",
            field=field + _path(index, count, spec.row_shape),
        )


def _refuse_level(level: list[Any], spec: TensorSpec, depth: int, count: int, field: str) -> None:
    index = next(i for i, v in enumerate(level) if type(v) is not list)
    what = "a list of rows" if depth == 0 else f"a list of {spec.shape[depth]} elements"
    place = "" if depth == 0 else _path(index, count, spec.row_shape[: depth - 1])
    raise BadUserInput(
        f"expected {what} (shape {list(spec.shape)}), got {kind_of(level[index])}",
        field=field + place,
    )


def _refuse_length(level: list[Any], spec: TensorSpec, depth: int, count: int, field: str) -> None:
    expected = spec.shape[depth]
    index = next(i for i, v in enumerate(level) if len(v) != expected)
    raise BadUserInput(
        f"expected {expected} elements (shape {list(spec.shape)}), got {len(level[index])}",
        field=field + _path(index, count, spec.row_shape[: depth - 1]),
    )


def _path(index: int, count: int, row_shape: tuple[int, ...]) -> str:
    """The subscripts of flat position `index` in a `(count, *row_shape)` array."""
    position = np.unravel_index(index, (count, *row_shape))
    return "".join(f"[{int(i)}]" for i in position)


def _wanted(dtype: DType) -> str:
    if dtype is DType.BOOL:
        return "true or false"
    if dtype.is_integer:
        return f"a whole number ({dtype.value})"
    return 'a number, "NaN", "Infinity" or "-Infinity"'


def decode_inputs(
    payload: object,
    specs: Sequence[TensorSpec],
    *,
    field: str = "inputs",
    max_rows: int | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> dict[str, Array]:
    """A request's `inputs` to arrays: a list of rows (one input only) or `{input name: rows}`.

    Raises BadUserInput (unknown, missing or misshapen input, unequal row counts) or
    PayloadTooLarge (more than `max_rows` rows or `max_bytes` decoded bytes).
    """
    if isinstance(payload, Mapping):
        _check_names(payload.keys(), specs, field)
        named = [(spec, payload[spec.name], f"{field}.{spec.name}") for spec in specs]
    elif len(specs) == 1:
        named = [(specs[0], payload, field)]
    else:
        names = ", ".join(spec.name for spec in specs)
        raise BadUserInput(
            f"the model has {len(specs)} inputs ({names}): expected an object with one entry each",
            field=field,
        )
    _check_budget(named, max_rows, max_bytes)
    arrays = {spec.name: decode_rows(rows, spec, field=place) for spec, rows, place in named}
    check_arrays(arrays, specs, field=field, max_rows=max_rows, max_bytes=max_bytes)
    return arrays


def decode_instances(
    payload: object,
    specs: Sequence[TensorSpec],
    *,
    field: str = "instances",
    max_rows: int | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> dict[str, Array]:
    """A row-wise request to arrays: `[row, …]` (one input only) or `[{input name: row}, …]`.

    Raises as `decode_inputs` does.
    """
    if not isinstance(payload, list) or not payload:
        raise BadUserInput(f"expected a list with at least one instance, got {kind_of(payload)}", field=field)
    if not all(isinstance(row, Mapping) for row in payload):
        return decode_inputs(payload, specs, field=field, max_rows=max_rows, max_bytes=max_bytes)
    for index, row in enumerate(payload):
        _check_names(row.keys(), specs, f"{field}[{index}]")
    columns = {spec.name: [row[spec.name] for row in payload] for spec in specs}
    return decode_inputs(columns, specs, field=field, max_rows=max_rows, max_bytes=max_bytes)


def _check_names(names: Any, specs: Sequence[TensorSpec], field: str) -> None:
    expected = [spec.name for spec in specs]
    listed = ", ".join(expected)
    for name in names:
        if name not in expected:
            raise BadUserInput(f"unknown input {shown(name)}; the model takes: {listed}", field=field)
    for name in expected:
        if name not in names:
            raise BadUserInput(f"missing input {name!r}; the model takes: {listed}", field=field)


def _check_budget(named: Sequence[tuple[TensorSpec, Any, str]], max_rows: int | None, max_bytes: int) -> None:
    """Refuse by row count and size before any element is looked at."""
    total = 0
    for spec, rows, place in named:
        if isinstance(rows, list):
            if max_rows is not None and len(rows) > max_rows:
                raise PayloadTooLarge(f"{len(rows)} rows; at most {max_rows} per request", field=place)
            total += len(rows) * math.prod(spec.row_shape) * spec.dtype.itemsize
            if total > max_bytes:
                raise PayloadTooLarge(f"inputs decode to {total} bytes; at most {max_bytes} per request", field=place)


def check_arrays(
    arrays: Mapping[str, Array],
    specs: Sequence[TensorSpec],
    *,
    field: str = "inputs",
    max_rows: int | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> int:
    """Check names, dtypes, shapes and limits of decoded inputs; the common number of rows.

    Raises BadUserInput or PayloadTooLarge.
    """
    _check_names(arrays.keys(), specs, field)
    rows: int | None = None
    total = 0
    for spec in specs:
        array = arrays[spec.name]
        place = f"{field}.{spec.name}"
        if array.dtype != spec.dtype.numpy:
            raise BadUserInput(f"expected dtype {spec.dtype.value}, got {array.dtype}", field=place)
        if array.ndim != len(spec.shape) or array.shape[1:] != spec.row_shape:
            raise BadUserInput(f"expected shape {list(spec.shape)}, got {list(array.shape)}", field=place)
        if rows is None:
            rows = array.shape[0]
        elif array.shape[0] != rows:
            raise BadUserInput(f"{array.shape[0]} rows, but {specs[0].name!r} has {rows}", field=place)
        total += array.nbytes
    if not rows:
        raise BadUserInput("expected at least one row", field=field)
    if max_rows is not None and rows > max_rows:
        raise PayloadTooLarge(f"{rows} rows; at most {max_rows} per request", field=field)
    if total > max_bytes:
        raise PayloadTooLarge(f"inputs are {total} bytes; at most {max_bytes}", field=field)
    return rows


# --- arrays -> JSON ------------------------------------------------------------------------------


def encode_rows(array: Array) -> list[Any]:
    """An array as nested lists; NaN and infinities as "NaN", "Infinity", "-Infinity"."""
    if array.dtype.kind != "f" or bool(np.isfinite(array).all()):
        listed: list[Any] = array.tolist()
        return listed
    boxed = array.astype(object)
    boxed[np.isnan(array)] = "NaN"
    boxed[np.isposinf(array)] = "Infinity"
    boxed[np.isneginf(array)] = "-Infinity"
    result: list[Any] = boxed.tolist()
    return result


def encode_outputs(arrays: Mapping[str, Array]) -> dict[str, list[Any]]:
    """`{output name: rows}` in JSON form, in the order given."""
    return {name: encode_rows(array) for name, array in arrays.items()}


# --- words for messages --------------------------------------------------------------------------


def kind_of(value: object) -> str:
    """The JSON kind of a decoded value, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list | tuple):
        return "a list"
    return "an object" if isinstance(value, Mapping) else type(value).__name__


def shown(value: object) -> str:
    """A short, safe rendering of an offending value: never more than 60 characters."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str):
        return repr(value) if len(value) <= 50 else repr(value[:50]) + "…"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**40 else "a number of more than 40 digits"
    return repr(value) if isinstance(value, float) else kind_of(value)
