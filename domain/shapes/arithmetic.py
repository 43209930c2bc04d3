"""Shapes of arithmetic: element by element, over dimensions of a row, and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

from domain.shapes.values import Args, Value, axes, axis, need, need_float, need_room, same_dtype
from domain.tensors import BATCH, DType


def softmax(args: Args, values: Sequence[Value]) -> Value:
    """Normalised exponentials along one dimension of each row."""
    need_float(values[0])
    axis(args["dim"], values[0])
    return values[0]


def elementwise(_args: Args, values: Sequence[Value]) -> Value:
    """Values of equal rank, broadcast where a size is 1."""
    result = values[0]
    need_float(result)
    for value in values[1:]:
        same_dtype(result, value)
        need(
            len(value.shape) == len(result.shape)
            and all(a == b or 1 in (a, b) for a, b in zip(value.shape, result.shape, strict=True)),
            f"shapes {list(result.shape)} and {list(value.shape)} do not match",
        )
        shape = tuple(max(a, b) for a, b in zip(value.shape, result.shape, strict=True))
        result = Value(result.dtype, shape)
    return result


def matmul(_args: Args, values: Sequence[Value]) -> Value:
    """Batched matrix product of two computed values."""
    left, right = values
    need_float(left)
    same_dtype(left, right)
    need(
        len(left.shape) == len(right.shape) >= 3
        and left.shape[:-2] == right.shape[:-2]
        and left.shape[-1] == right.shape[-2],
        f"cannot multiply {list(left.shape)} by {list(right.shape)}: both need the batch, equal leading "
        "sizes and matching inner sizes",
    )
    return Value(left.dtype, (*left.shape[:-1], right.shape[-1]))


def reduction(args: Args, values: Sequence[Value]) -> Value:
    """One value in place of dimensions of each row."""
    need_float(values[0])
    gone = axes(args["dim"], values[0])
    shape = [1 if i in gone else size for i, size in enumerate(values[0].shape)]
    if not args["keepdim"]:
        shape = [size for i, size in enumerate(values[0].shape) if i not in gone]
    return Value(values[0].dtype, tuple(shape))


def argmax(args: Args, values: Sequence[Value]) -> Value:
    """Where the largest value of a dimension is."""
    reduced = reduction({"dim": (args["dim"],), "keepdim": args["keepdim"]}, values)
    return Value(DType.INT64, reduced.shape)


def glu(args: Args, values: Sequence[Value]) -> Value:
    """One half of a dimension gates the other."""
    value = values[0]
    need_float(value)
    place = axis(args["dim"], value)
    need(value.shape[place] % 2 == 0, f"dimension {args['dim']} has {value.shape[place]} elements, an odd number")
    return Value(value.dtype, (*value.shape[:place], value.shape[place] // 2, *value.shape[place + 1 :]))


def clamp(args: Args, values: Sequence[Value]) -> Value:
    """Values kept between bounds."""
    low, high = args["min"], args["max"]
    need(low is not None or high is not None, "give min, max or both")
    need(low is None or high is None or low <= high, "min is above max")
    need_float(values[0])
    return values[0]


def dot_product_attention(_args: Args, values: Sequence[Value]) -> Value:
    """Attention of queries `(batch, ..., target, features)` over keys and values `(batch, ..., source, features)`."""
    query, key, value = values
    for each in values:
        need_float(each)
        same_dtype(query, each)
    need(
        len(query.shape) == len(key.shape) == len(value.shape) >= 3
        and query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
        and query.shape[-1] == key.shape[-1]
        and key.shape[-2] == value.shape[-2],
        f"queries {list(query.shape)}, keys {list(key.shape)} and values {list(value.shape)} do not match",
    )
    need_room("its scores", math.prod(query.shape[1:-1]), key.shape[-2])
    return Value(query.dtype, (BATCH, *query.shape[1:-1], value.shape[-1]))
