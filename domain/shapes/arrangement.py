"""Shapes of what rearranges values: nothing is computed, and the batch stays where it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from domain.shapes.values import Args, ShapeError, Value, axes, axis, need, same_dtype
from domain.tensors import BATCH, MAX_RANK, DType


def flatten(args: Args, values: Sequence[Value]) -> Value:
    """Merge the dimensions from `start_dim` to `end_dim`."""
    value = values[0]
    if len(value.shape) == 1:
        raise ShapeError("takes at least one dimension besides the batch")
    first, last = axis(args["start_dim"], value), axis(args["end_dim"], value)
    need(first <= last, "start_dim comes after end_dim")
    shape = value.shape
    return Value(value.dtype, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def reshape(args: Args, values: Sequence[Value]) -> Value:
    """Give each row another shape with as many elements."""
    value, wanted = values[0], list(args["shape"])
    need(0 not in wanted, "sizes must be positive, or -1 once")
    need(wanted.count(-1) <= 1, "at most one size may be -1")
    elements = math.prod(value.row_shape)
    known = math.prod(size for size in wanted if size != -1)
    if -1 in wanted:
        need(elements % known == 0, f"{elements} elements do not divide into {wanted}")
        wanted[wanted.index(-1)] = elements // known
    need(math.prod(wanted) == elements, f"{elements} elements per row do not fill {wanted}")
    need(len(wanted) < MAX_RANK, f"at most {MAX_RANK - 1} sizes besides the batch")
    return Value(value.dtype, (BATCH, *wanted))


def transpose(args: Args, values: Sequence[Value]) -> Value:
    """Swap two dimensions of each row."""
    first, second = axis(args["dim0"], values[0]), axis(args["dim1"], values[0])
    shape = list(values[0].shape)
    shape[first], shape[second] = shape[second], shape[first]
    return Value(values[0].dtype, tuple(shape))


def cat(args: Args, values: Sequence[Value]) -> Value:
    """Join along one dimension of each row."""
    first = values[0]
    place = axis(args["dim"], first)
    total = 0
    for value in values:
        same_dtype(first, value)
        fits = len(value.shape) == len(first.shape) and all(
            i == place or size == first.shape[i] for i, size in enumerate(value.shape)
        )
        need(fits, f"shapes {list(first.shape)} and {list(value.shape)} differ outside dimension {place}")
        total += value.shape[place]
    return Value(first.dtype, (*first.shape[:place], total, *first.shape[place + 1 :]))


def stack(args: Args, values: Sequence[Value]) -> Value:
    """Join along a new dimension of each row."""
    first = values[0]
    for value in values:
        same_dtype(first, value)
        need(value.shape == first.shape, f"shapes {list(first.shape)} and {list(value.shape)} differ")
    place = _new_axis(args["dim"], first)
    return Value(first.dtype, (*first.shape[:place], len(values), *first.shape[place:]))


def permute(args: Args, values: Sequence[Value]) -> Value:
    """Put the dimensions of each row into another order."""
    value, dims = values[0], args["dims"]
    need(len(dims) == len(value.shape) and dims[0] == 0, "dims must name every dimension, the batch (0) first")
    return Value(value.dtype, (BATCH, *(value.shape[place] for place in axes(dims[1:], value))))


def select(args: Args, values: Sequence[Value]) -> Value:
    """One position of a dimension, which disappears."""
    value, index = values[0], args["index"]
    place = axis(args["dim"], value)
    size = value.shape[place]
    need(-size <= index < size, f"index {index} does not exist in a dimension of {size}")
    return Value(value.dtype, (*value.shape[:place], *value.shape[place + 1 :]))


def take(args: Args, values: Sequence[Value]) -> Value:
    """Positions `start`, `start + step`, ... below `stop` of a dimension, counted as Python slices count."""
    value = values[0]
    place = axis(args["dim"], value)
    size = len(range(value.shape[place])[args["start"] : args["stop"] : args["step"]])
    need(size > 0, f"nothing is left of a dimension of {value.shape[place]}")
    return Value(value.dtype, (*value.shape[:place], size, *value.shape[place + 1 :]))


def squeeze(args: Args, values: Sequence[Value]) -> Value:
    """Drop a dimension of size 1."""
    value = values[0]
    place = axis(args["dim"], value)
    need(value.shape[place] == 1, f"dimension {args['dim']} has {value.shape[place]} elements")
    return Value(value.dtype, (*value.shape[:place], *value.shape[place + 1 :]))


def unsqueeze(args: Args, values: Sequence[Value]) -> Value:
    """A new dimension of size 1."""
    value = values[0]
    place = _new_axis(args["dim"], value)
    return Value(value.dtype, (*value.shape[:place], 1, *value.shape[place:]))


def _new_axis(dim: int, value: Value) -> int:
    rank = len(value.shape) + 1
    need(rank <= MAX_RANK, f"the result would have more than {MAX_RANK} dimensions")
    need(-rank <= dim < rank, f"dimension {dim} cannot be added to shape {list(value.shape)}")
    need(dim % rank != 0, "dimension 0 is the batch; rows must stay independent")
    return dim % rank


def flip(args: Args, values: Sequence[Value]) -> Value:
    """Dimensions of each row, backwards."""
    axes(args["dims"], values[0])
    return values[0]


def pad(args: Args, values: Sequence[Value]) -> Value:
    """Constants around each row: pairs before and after, from the last dimension backwards."""
    value, amounts = values[0], args["pad"]
    need(value.dtype.is_float, f"takes floating point values, got {value.dtype.value}")
    need(len(amounts) % 2 == 0, "pad takes pairs")
    need(len(amounts) // 2 < len(value.shape), "pad has more pairs than a row has dimensions")
    shape = list(value.shape)
    for pair in range(len(amounts) // 2):
        shape[-1 - pair] += amounts[2 * pair] + amounts[2 * pair + 1]
    return Value(value.dtype, tuple(shape))


def expand(args: Args, values: Sequence[Value]) -> Value:
    """Dimensions of size 1, repeated to the sizes of a row."""
    value, shape = values[0], args["shape"]
    fits = len(shape) == len(value.row_shape) and all(
        have in (1, want) for have, want in zip(value.row_shape, shape, strict=True)
    )
    need(fits, f"a row of {list(value.row_shape)} cannot be repeated to {list(shape)}")
    return Value(value.dtype, (BATCH, *shape))


def cast(args: Args, values: Sequence[Value]) -> Value:
    """The same numbers in another type."""
    return Value(DType(args["dtype"]), values[0].shape)


def arange(args: Args, values: Sequence[Value]) -> Value:
    """The whole numbers from `start`, the same for every row: `values[0]` only says how many rows."""
    del values
    return Value(DType.INT64, (BATCH, args["length"]))


def sinusoids(args: Args, values: Sequence[Value]) -> Value:
    """Sines and cosines of positions, the same for every row: `values[0]` only says how many rows."""
    need(args["features"] % 2 == 0, "features must be even: half are sines, half are cosines")
    return Value(values[0].dtype, (BATCH, args["length"], args["features"]))
