"""What flows between operations, what they own, and the checks that every inference rule shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from domain.tensors import DType

Args = Mapping[str, Any]

MAX_ROW_ELEMENTS: Final = 2**25
"""Largest value between two nodes, and largest thing an operation computes on its way, in elements per row."""


@dataclass(frozen=True, slots=True)
class Value:
    """What flows along an edge: element type, and shape with the leading -1 of the batch."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.shape[1:]


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One tensor an operation expects in the weights file; `dtype` in safetensors' spelling."""

    dtype: str
    shape: tuple[int, ...]


class ShapeError(Exception):
    """An operation cannot take the values that flow into it."""


Infer = Callable[[Args, Sequence[Value]], Value]
Parameters = Callable[[Args, str], dict[str, ParameterSpec]]


def no_parameters(_args: Args, _dtype: str) -> dict[str, ParameterSpec]:
    """Nothing is read from the weights file."""
    return {}


def need(condition: object, message: str) -> None:
    """ShapeError unless `condition`."""
    if not condition:
        raise ShapeError(message)


def need_float(value: Value, rank: int | None = None) -> None:
    """ShapeError unless floating point, of `rank` dimensions when given."""
    need(value.dtype.is_float, f"takes floating point values, got {value.dtype.value}")
    if rank is not None:
        need(len(value.shape) == rank, f"takes {rank} dimensions, got shape {list(value.shape)}")


def need_room(what: str, *sizes: int) -> None:
    """ShapeError when `what` would take more than `MAX_ROW_ELEMENTS` for each row."""
    elements = math.prod(sizes)
    need(elements <= MAX_ROW_ELEMENTS, f"{what} would take {elements} elements per row; at most {MAX_ROW_ELEMENTS}")


def axis(dim: int, value: Value) -> int:
    """A dimension counted from 0; the batch is refused."""
    rank = len(value.shape)
    need(-rank <= dim < rank, f"dimension {dim} does not exist in shape {list(value.shape)}")
    need(dim % rank != 0, "dimension 0 is the batch; rows must stay independent")
    return dim % rank


def axes(dims: Sequence[int], value: Value) -> list[int]:
    """Several dimensions, none twice."""
    found = [axis(dim, value) for dim in dims]
    need(len(set(found)) == len(found), "a dimension is named twice")
    return found


def same_dtype(first: Value, second: Value) -> None:
    """ShapeError unless both have one element type."""
    need(second.dtype == first.dtype, f"cannot combine {first.dtype.value} with {second.dtype.value}")


def same(_args: Args, values: Sequence[Value]) -> Value:
    """Floating point in, the same out."""
    need_float(values[0])
    return values[0]


def identity(_args: Args, values: Sequence[Value]) -> Value:
    """Anything in, the same out."""
    return values[0]
