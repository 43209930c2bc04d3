"""The operations an architecture document may use: one table, one entry each.

An entry says which arguments an operation takes and within which bounds, how many inputs, which
parameters it owns in the weights file, and which shape and dtype come out. Nothing is looked up by
attribute name and nothing here knows torch; `serving.replica.modules` holds the constructors under the
same names, and a test shows that the two tables agree.

Every operation must treat rows independently: the first dimension is the batch, requests of different
callers share it, and no operation may mix, drop or reorder along it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from domain.errors import BadUserInput
from domain.tensors import BATCH, MAX_RANK, DType, kind_of, shown

Args = Mapping[str, Any]
Kind = Literal["int", "float", "bool", "ints", "choice"]

MAX_FEATURES: Final = 2**24
MAX_ROW_ELEMENTS: Final = 2**25
"""Largest intermediate value, in elements per row."""

_REQUIRED: Final = object()


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


@dataclass(frozen=True, slots=True)
class Argument:
    """A typed, bounded argument. `ints` of a fixed `length` also accept one int for all."""

    name: str
    kind: Kind
    low: float = 0
    high: float = 0
    length: int | None = None
    choices: tuple[str, ...] = ()
    default: Any = _REQUIRED

    @property
    def required(self) -> bool:
        """Whether a document must give it."""
        return self.default is _REQUIRED

    def parse(self, value: object, field: str) -> Any:
        """The value in canonical form (ints as a tuple), or BadUserInput naming `field`."""
        if value is None and self.default is None:
            return None
        if self.kind == "bool":
            if isinstance(value, bool):
                return value
        elif self.kind == "choice":
            if isinstance(value, str) and value in self.choices:
                return value
        elif self.kind == "ints":
            return self._parse_ints(value, field)
        elif isinstance(value, int if self.kind == "int" else int | float) and not isinstance(value, bool):
            number = value if self.kind == "int" else _as_float(value)
            if self.low <= number <= self.high:
                return number
        raise BadUserInput(f"expected {self.wanted}, got {shown(value)}", field=field)

    def _parse_ints(self, value: object, field: str) -> tuple[int, ...]:
        if self.length is not None and isinstance(value, int) and not isinstance(value, bool):
            value = [value] * self.length
        if not isinstance(value, list | tuple) or not value:
            raise BadUserInput(f"expected {self.wanted}, got {shown(value)}", field=field)
        if len(value) > MAX_RANK or (self.length is not None and len(value) != self.length):
            raise BadUserInput(f"expected {self.wanted}, got {len(value)} of them", field=field)
        for item in value:
            if isinstance(item, bool) or not isinstance(item, int) or not self.low <= item <= self.high:
                raise BadUserInput(f"expected {self.wanted}, got {shown(item)}", field=field)
        return tuple(value)

    @property
    def wanted(self) -> str:
        """What is accepted, in words."""
        if self.kind == "bool":
            return "true or false"
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "ints":
            count = f"{self.length} whole numbers" if self.length else "a list of whole numbers"
            return f"{count} from {self.low} to {self.high}"
        noun = "a whole number" if self.kind == "int" else "a number"
        return f"{noun} from {self.low:g} to {self.high:g}"


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


class ShapeError(Exception):
    """An operation cannot take the values that flow into it."""


Infer = Callable[[Args, Sequence[Value]], Value]
Parameters = Callable[[Args, str], dict[str, ParameterSpec]]


def _no_parameters(_args: Args, _dtype: str) -> dict[str, ParameterSpec]:
    return {}


@dataclass(frozen=True, slots=True)
class Operator:
    """One entry of the table. `infer` raises ShapeError; `parameters` maps suffix to expectation."""

    name: str
    arguments: tuple[Argument, ...]
    infer: Infer
    parameters: Parameters = _no_parameters
    least_inputs: int = 1
    most_inputs: int = 1


# --- arguments -----------------------------------------------------------------------------------


def _int(name: str, low: int, high: int, default: Any = _REQUIRED) -> Argument:
    return Argument(name, "int", low, high, default=default)


def _float(name: str, low: float, high: float, default: Any = _REQUIRED) -> Argument:
    return Argument(name, "float", low, high, default=default)


def _bool(name: str, default: bool) -> Argument:  # noqa: FBT001 - the default of a boolean argument
    return Argument(name, "bool", default=default)


def _ints(name: str, low: int, high: int, length: int | None = None, default: Any = _REQUIRED) -> Argument:
    return Argument(name, "ints", low, high, length, default=default)


_EPS = _float("eps", 1e-12, 1.0, 1e-5)


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


def _same(_args: Args, values: Sequence[Value]) -> Value:
    _float_value(values[0])
    return values[0]


def _identity(_args: Args, values: Sequence[Value]) -> Value:
    return values[0]


# --- layers with parameters ----------------------------------------------------------------------


def _linear(args: Args, values: Sequence[Value]) -> Value:
    _float_value(values[0])
    _need(len(values[0].shape) >= 2, "takes at least one dimension besides the batch")
    got = values[0].shape[-1]
    _need(got == args["in_features"], f"in_features is {args['in_features']}, but {got} flow in")
    return Value(values[0].dtype, (*values[0].shape[:-1], args["out_features"]))


def _linear_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
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


def _conv(rank: int) -> Operator:
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

    arguments = (
        _int("in_channels", 1, MAX_FEATURES),
        _int("out_channels", 1, MAX_FEATURES),
        _ints("kernel_size", 1, 1024, rank),
        _ints("stride", 1, 1024, rank, (1,) * rank),
        _ints("padding", 0, 1024, rank, (0,) * rank),
        _ints("dilation", 1, 1024, rank, (1,) * rank),
        _int("groups", 1, MAX_FEATURES, 1),
        _bool("bias", default=True),
    )
    return Operator(f"Conv{rank}d", arguments, infer, parameters)


def _batch_norm(rank: int, ranks: tuple[int, ...]) -> Operator:
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

    arguments = (
        _int("num_features", 1, MAX_FEATURES),
        _EPS,
        _float("momentum", 0.0, 1.0, 0.1),
        _bool("affine", default=True),
    )
    return Operator(f"BatchNorm{rank}d", arguments, infer, parameters)


def _layer_norm(args: Args, values: Sequence[Value]) -> Value:
    value, shape = values[0], args["normalized_shape"]
    _float_value(value)
    _need(
        len(shape) < len(value.shape) and value.shape[-len(shape) :] == shape,
        f"normalized_shape is {list(shape)}, but shape {list(value.shape)} flows in",
    )
    return value


def _layer_norm_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    spec = ParameterSpec(dtype, args["normalized_shape"])
    if not args["elementwise_affine"]:
        return {}
    return {"weight": spec, "bias": spec} if args["bias"] else {"weight": spec}


def _group_norm(args: Args, values: Sequence[Value]) -> Value:
    value, channels, groups = values[0], args["num_channels"], args["num_groups"]
    _float_value(value)
    _need(len(value.shape) >= 2, "takes at least one dimension besides the batch")
    _need(value.shape[1] == channels, f"num_channels is {channels}, but {value.shape[1]} flow in")
    _need(channels % groups == 0, f"num_channels {channels} is not divisible by num_groups {groups}")
    return value


def _group_norm_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    spec = ParameterSpec(dtype, (args["num_channels"],))
    return {"weight": spec, "bias": spec} if args["affine"] else {}


# --- reshaping, reducing, combining --------------------------------------------------------------


def _flatten(args: Args, values: Sequence[Value]) -> Value:
    value = values[0]
    if len(value.shape) == 1:
        raise ShapeError("takes at least one dimension besides the batch")
    first, last = _axis(args["start_dim"], value), _axis(args["end_dim"], value)
    _need(first <= last, "start_dim comes after end_dim")
    shape = value.shape
    return Value(value.dtype, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def _reshape(args: Args, values: Sequence[Value]) -> Value:
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


def _transpose(args: Args, values: Sequence[Value]) -> Value:
    first, second = _axis(args["dim0"], values[0]), _axis(args["dim1"], values[0])
    shape = list(values[0].shape)
    shape[first], shape[second] = shape[second], shape[first]
    return Value(values[0].dtype, tuple(shape))


def _mean(args: Args, values: Sequence[Value]) -> Value:
    _float_value(values[0])
    axes = [_axis(dim, values[0]) for dim in args["dim"]]
    _need(len(set(axes)) == len(axes), "a dimension is named twice")
    shape = [1 if i in axes else size for i, size in enumerate(values[0].shape)]
    if not args["keepdim"]:
        shape = [size for i, size in enumerate(values[0].shape) if i not in axes]
    return Value(values[0].dtype, tuple(shape))


def _softmax(args: Args, values: Sequence[Value]) -> Value:
    _float_value(values[0])
    _axis(args["dim"], values[0])
    return values[0]


def _elementwise(_args: Args, values: Sequence[Value]) -> Value:
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


def _cat(args: Args, values: Sequence[Value]) -> Value:
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


def _matmul(_args: Args, values: Sequence[Value]) -> Value:
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


def _pool(name: str, rank: int, extra: tuple[Argument, ...]) -> Operator:
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

    arguments = (
        _ints("kernel_size", 1, 1024, rank),
        _ints("stride", 1, 1024, rank, None),
        _ints("padding", 0, 512, rank, (0,) * rank),
        _bool("ceil_mode", default=False),
        *extra,
    )
    return Operator(name, arguments, infer)


def _adaptive_pool(rank: int) -> Operator:
    def infer(args: Args, values: Sequence[Value]) -> Value:
        _float_value(values[0], rank + 2)
        return Value(values[0].dtype, (*values[0].shape[:2], *args["output_size"]))

    return Operator(f"AdaptiveAvgPool{rank}d", (_ints("output_size", 1, 4096, rank),), infer)


def _embedding(dtype: DType) -> Infer:
    def infer(args: Args, values: Sequence[Value]) -> Value:
        value = values[0]
        _need(
            value.dtype in {DType.INT32, DType.INT64},
            f"takes int32 or int64 indices, got {value.dtype.value}",
        )
        _need(len(value.shape) < MAX_RANK, f"the result would have more than {MAX_RANK} dimensions")
        return Value(dtype, (*value.shape, args["embedding_dim"]))

    return infer


def _embedding_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    return {"weight": ParameterSpec(dtype, (args["num_embeddings"], args["embedding_dim"]))}
