"""What comes out of each operation: shapes, dtypes and owned parameters, without torch.

The rules follow PyTorch's documentation of the modules of the same names; tests compare every one with
torch itself. A rule raises ShapeError when the values that flow in do not fit. No rule may let values of
different rows mix: the first dimension is the batch, and requests of different callers share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.tensors import BATCH, MAX_RANK, DType

Args = Mapping[str, Any]


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


# --- checks shared by the inference rules --------------------------------------------------------


def _need(condition: object, message: str) -> None:
    if not condition:
        raise ShapeError(message)


def _float_value(value: Value, rank: int | None = None) -> None:
    _need(value.dtype.is_float, f"takes floating point values, got {value.dtype.value}")
    if rank is not None:
        _need(len(value.shape) == rank, f"takes {rank} dimensions, got shape {list(value.shape)}")


def _axis(dim: int, value: Value) -> int:
    """A dimension counted from 0; the batch is refused."""
    rank = len(value.shape)
    _need(-rank <= dim < rank, f"dimension {dim} does not exist in shape {list(value.shape)}")
    _need(dim % rank != 0, "dimension 0 is the batch; rows must stay independent")
    return dim % rank


def same(_args: Args, values: Sequence[Value]) -> Value:
    """Floating point in, the same out."""
    _float_value(values[0])
    return values[0]


def identity(_args: Args, values: Sequence[Value]) -> Value:
    """Anything in, the same out."""
    return values[0]


# --- layers with parameters ----------------------------------------------------------------------


def linear(args: Args, values: Sequence[Value]) -> Value:
    """Matrix product over the last dimension."""
    _float_value(values[0])
    _need(len(values[0].shape) >= 2, "takes at least one dimension besides the batch")
    got = values[0].shape[-1]
    _need(got == args["in_features"], f"in_features is {args['in_features']}, but {got} flow in")
    return Value(values[0].dtype, (*values[0].shape[:-1], args["out_features"]))


def linear_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """Weight `(out, in)` and bias `(out)`."""
    found = {"weight": ParameterSpec(dtype, (args["out_features"], args["in_features"]))}
    if args["bias"]:
        found["bias"] = ParameterSpec(dtype, (args["out_features"],))
    return found


def _window(size: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil: bool = False) -> int:
    """Output length of a sliding window, as PyTorch's convolution and pooling pages define it."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    _need(span >= 0, f"a window of {dilation * (kernel - 1) + 1} does not fit into {size + 2 * padding}")
    length = (span + (stride - 1 if ceil else 0)) // stride + 1
    if ceil and (length - 1) * stride >= size + padding:
        length -= 1
    return length


def conv(rank: int) -> tuple[Infer, Parameters]:
    """Convolution over `rank` spatial dimensions."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        value = values[0]
        _float_value(value, rank + 2)
        channels, groups = args["in_channels"], args["groups"]
        _need(value.shape[1] == channels, f"in_channels is {channels}, but {value.shape[1]} flow in")
        _need(channels % groups == 0, f"in_channels {channels} is not divisible by groups {groups}")
        _need(args["out_channels"] % groups == 0, f"out_channels is not divisible by groups {groups}")
        sizes = [
            _window(size, args["kernel_size"][i], args["stride"][i], args["padding"][i], args["dilation"][i])
            for i, size in enumerate(value.shape[2:])
        ]
        return Value(value.dtype, (BATCH, args["out_channels"], *sizes))

    def parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
        weight = (args["out_channels"], args["in_channels"] // args["groups"], *args["kernel_size"])
        found = {"weight": ParameterSpec(dtype, weight)}
        if args["bias"]:
            found["bias"] = ParameterSpec(dtype, (args["out_channels"],))
        return found

    return infer, parameters


def batch_norm(ranks: tuple[int, ...]) -> tuple[Infer, Parameters]:
    """Batch normalisation with stored statistics, for values of `ranks` dimensions."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        value = values[0]
        _float_value(value)
        expected = " or ".join(map(str, ranks))
        _need(len(value.shape) in ranks, f"takes {expected} dimensions, got shape {list(value.shape)}")
        features = args["num_features"]
        _need(value.shape[1] == features, f"num_features is {features}, but {value.shape[1]} flow in")
        return value

    def parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
        shape = (args["num_features"],)
        names = ["weight", "bias"] if args["affine"] else []
        found = {name: ParameterSpec(dtype, shape) for name in (*names, "running_mean", "running_var")}
        return found | {"num_batches_tracked": ParameterSpec("I64", ())}

    return infer, parameters


def layer_norm(args: Args, values: Sequence[Value]) -> Value:
    """Normalisation over the trailing dimensions."""
    value, shape = values[0], args["normalized_shape"]
    _float_value(value)
    _need(
        len(shape) < len(value.shape) and value.shape[-len(shape) :] == shape,
        f"normalized_shape is {list(shape)}, but shape {list(value.shape)} flows in",
    )
    return value


def layer_norm_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """Scale and shift of the normalised shape."""
    spec = ParameterSpec(dtype, args["normalized_shape"])
    if not args["elementwise_affine"]:
        return {}
    return {"weight": spec, "bias": spec} if args["bias"] else {"weight": spec}


def group_norm(args: Args, values: Sequence[Value]) -> Value:
    """Normalisation over groups of channels."""
    value, channels, groups = values[0], args["num_channels"], args["num_groups"]
    _float_value(value)
    _need(len(value.shape) >= 2, "takes at least one dimension besides the batch")
    _need(value.shape[1] == channels, f"num_channels is {channels}, but {value.shape[1]} flow in")
    _need(channels % groups == 0, f"num_channels {channels} is not divisible by num_groups {groups}")
    return value


def group_norm_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """Scale and shift per channel."""
    spec = ParameterSpec(dtype, (args["num_channels"],))
    return {"weight": spec, "bias": spec} if args["affine"] else {}


# --- reshaping, reducing, combining --------------------------------------------------------------


def flatten(args: Args, values: Sequence[Value]) -> Value:
    """Merge the dimensions from `start_dim` to `end_dim`."""
    value = values[0]
    if len(value.shape) == 1:
        raise ShapeError("takes at least one dimension besides the batch")
    first, last = _axis(args["start_dim"], value), _axis(args["end_dim"], value)
    _need(first <= last, "start_dim comes after end_dim")
    shape = value.shape
    return Value(value.dtype, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def reshape(args: Args, values: Sequence[Value]) -> Value:
    """Give each row another shape with as many elements."""
    value, wanted = values[0], list(args["shape"])
    _need(0 not in wanted, "sizes must be positive, or -1 once")
    _need(wanted.count(-1) <= 1, "at most one size may be -1")
    elements = math.prod(value.row_shape)
    known = math.prod(size for size in wanted if size != -1)
    if -1 in wanted:
        _need(elements % known == 0, f"{elements} elements do not divide into {wanted}")
        wanted[wanted.index(-1)] = elements // known
    _need(math.prod(wanted) == elements, f"{elements} elements per row do not fill {wanted}")
    _need(len(wanted) < MAX_RANK, f"at most {MAX_RANK - 1} sizes besides the batch")
    return Value(value.dtype, (BATCH, *wanted))


def transpose(args: Args, values: Sequence[Value]) -> Value:
    """Swap two dimensions of each row."""
    first, second = _axis(args["dim0"], values[0]), _axis(args["dim1"], values[0])
    shape = list(values[0].shape)
    shape[first], shape[second] = shape[second], shape[first]
    return Value(values[0].dtype, tuple(shape))


def mean(args: Args, values: Sequence[Value]) -> Value:
    """Average over dimensions of each row."""
    _float_value(values[0])
    axes = [_axis(dim, values[0]) for dim in args["dim"]]
    _need(len(set(axes)) == len(axes), "a dimension is named twice")
    shape = [1 if i in axes else size for i, size in enumerate(values[0].shape)]
    if not args["keepdim"]:
        shape = [size for i, size in enumerate(values[0].shape) if i not in axes]
    return Value(values[0].dtype, tuple(shape))


def softmax(args: Args, values: Sequence[Value]) -> Value:
    """Normalised exponentials along one dimension of each row."""
    _float_value(values[0])
    _axis(args["dim"], values[0])
    return values[0]


def elementwise(_args: Args, values: Sequence[Value]) -> Value:
    """Values of equal rank, broadcast where a size is 1."""
    result = values[0]
    _float_value(result)
    for value in values[1:]:
        _need(value.dtype == result.dtype, f"cannot combine {result.dtype.value} with {value.dtype.value}")
        _need(
            len(value.shape) == len(result.shape)
            and all(a == b or 1 in (a, b) for a, b in zip(value.shape, result.shape, strict=True)),
            f"shapes {list(result.shape)} and {list(value.shape)} do not match",
        )
        shape = tuple(max(a, b) for a, b in zip(value.shape, result.shape, strict=True))
        result = Value(result.dtype, shape)
    return result


def cat(args: Args, values: Sequence[Value]) -> Value:
    """Join along one dimension of each row."""
    first = values[0]
    axis = _axis(args["dim"], first)
    total = 0
    for value in values:
        _need(value.dtype == first.dtype, f"cannot combine {first.dtype.value} with {value.dtype.value}")
        same = len(value.shape) == len(first.shape) and all(
            i == axis or size == first.shape[i] for i, size in enumerate(value.shape)
        )
        _need(same, f"shapes {list(first.shape)} and {list(value.shape)} differ outside dimension {axis}")
        total += value.shape[axis]
    return Value(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def matmul(_args: Args, values: Sequence[Value]) -> Value:
    """Batched matrix product of two computed values."""
    left, right = values
    _float_value(left)
    _need(left.dtype == right.dtype, f"cannot combine {left.dtype.value} with {right.dtype.value}")
    _need(
        len(left.shape) == len(right.shape) >= 3
        and left.shape[:-2] == right.shape[:-2]
        and left.shape[-1] == right.shape[-2],
        f"cannot multiply {list(left.shape)} by {list(right.shape)}: both need the batch, equal leading "
        "sizes and matching inner sizes",
    )
    return Value(left.dtype, (*left.shape[:-1], right.shape[-1]))


def pool(rank: int) -> Infer:
    """Pooling with a sliding window over `rank` spatial dimensions."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        value = values[0]
        _float_value(value, rank + 2)
        kernel, padding = args["kernel_size"], args["padding"]
        stride = args["stride"] or kernel
        dilation = args.get("dilation", (1,) * rank)
        _need(all(2 * p <= k for p, k in zip(padding, kernel, strict=True)), "padding above half the window")
        sizes = [
            _window(size, kernel[i], stride[i], padding[i], dilation[i], ceil=args["ceil_mode"])
            for i, size in enumerate(value.shape[2:])
        ]
        return Value(value.dtype, (*value.shape[:2], *sizes))

    return infer


def adaptive_pool(rank: int) -> Infer:
    """Pooling to a fixed output size over `rank` spatial dimensions."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        _float_value(values[0], rank + 2)
        return Value(values[0].dtype, (*values[0].shape[:2], *args["output_size"]))

    return infer


def embedding(args: Args, values: Sequence[Value]) -> Value:
    """Indices in, one vector each out; the table of parameters decides the dtype."""
    value = values[0]
    _need(
        value.dtype in {DType.INT32, DType.INT64},
        f"takes int32 or int64 indices, got {value.dtype.value}",
    )
    _need(len(value.shape) < MAX_RANK, f"the result would have more than {MAX_RANK} dimensions")
    return Value(value.dtype, (*value.shape, args["embedding_dim"]))


def embedding_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """One row per index."""
    return {"weight": ParameterSpec(dtype, (args["num_embeddings"], args["embedding_dim"]))}
