"""How each supported function and method of tensors is written as nodes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain.shapes import Value
from serving.conversion import layers
from serving.conversion.values import DTYPES, ConversionError, Flow, Missing, Rows, Writer, batch_at, is_causal

Call = Callable[..., Any]
"""`(writer, name, *args, **kwargs)` as the function was called; gives what it returned."""


# --- bringing values together --------------------------------------------------------------------


def _flow(writer: Writer, name: str, value: Any) -> Flow:
    if isinstance(value, Flow):
        return value
    if isinstance(value, Tensor):
        return writer.constant(f"{name}_constant", value)
    if isinstance(value, Missing):
        raise ConversionError(f"a document does not have {value.what}")
    raise ConversionError(f"expected a tensor, got {type(value).__name__}")


def _kept(flow: Flow, found: Flow, axis: int | None = None) -> Flow:
    """What a node gives, with the batch where `flow` has it, or at `axis`."""
    return Flow(found.name, found.value, flow.axis if axis is None else axis)


def _aligned(writer: Writer, name: str, flows: Sequence[Flow]) -> tuple[list[Flow], int | None]:
    """Values of one rank, as broadcasting from the right makes them; and where their batch is."""
    rank = max(len(flow.shape) for flow in flows)
    axes = {flow.axis + rank - len(flow.shape) for flow in flows if flow.axis is not None}
    if len(axes) > 1:
        raise ConversionError("it combines values whose batch is at different dimensions")
    axis = axes.pop() if axes else None
    found: list[Flow] = []
    for flow in flows:
        shape = [1] * (rank - len(flow.shape)) + [1 if isinstance(size, Rows) else size for size in flow.shape]
        if axis is not None and shape.pop(axis) != 1:
            raise ConversionError("it combines the batch with another dimension")
        if tuple(shape) != flow.value.row_shape and shape:
            flow = writer.add(f"{name}_shape", "reshape", [flow], shape=tuple(shape))  # noqa: PLW2901
        found.append(Flow(flow.name, flow.value, axis))
    return found, axis


def _combine(op: str) -> Call:
    def call(writer: Writer, name: str, *values: Any, **given: Any) -> Any:
        values = (*values, *(given.pop(key) for key in ("other",) if key in given))
        if given.pop("alpha", 1) != 1 or given:
            raise ConversionError(f"arguments {', '.join(given) or 'alpha'} are not supported")
        left, right = values
        if isinstance(left, int | float) or isinstance(right, int | float):
            return _with_scalar(writer, name, op, left, right)
        flows, axis = _aligned(writer, name, [_flow(writer, name, value) for value in values])
        found = writer.add(name, op, flows)
        return Flow(found.name, found.value, axis)

    return call


def _with_scalar(writer: Writer, name: str, op: str, left: Any, right: Any) -> Flow:
    """A tensor and a number, in either order."""
    flow, scalar = (left, right) if isinstance(left, Flow) else (right, left)
    flow, number = _flow(writer, name, flow), float(scalar)

    def step(what: str, **args: float) -> None:
        nonlocal flow
        flow = _kept(flow, writer.add(name, what, [flow], **args))

    if op == "sub" and isinstance(left, Flow):
        step("add_scalar", value=-number)
    elif op == "sub":
        step("mul_scalar", value=-1.0)
        step("add_scalar", value=number)
    elif op == "div" and isinstance(left, Flow):
        step("mul_scalar", value=1 / number)
    elif op == "div":
        step("pow", exponent=-1.0)
        step("mul_scalar", value=number)
    elif op in ("add", "mul"):
        step(f"{op}_scalar", value=number)
    else:
        raise ConversionError(f"{op} of a tensor and a number is not supported")
    return flow


def _unary(op: str, **fixed: Any) -> Call:
    def call(writer: Writer, name: str, value: Any, **_: Any) -> Flow:
        flow = _flow(writer, name, value)
        return _kept(flow, writer.add(name, op, [flow], **fixed))

    return call


def _through_module(make: Callable[..., nn.Module]) -> Call:
    """A function that does what a module does: written as the module."""

    def call(writer: Writer, name: str, value: Any, *args: Any, **given: Any) -> Any:
        given.pop("inplace", None)
        for key in ("_stacklevel", "dtype"):
            if given.pop(key, None) not in (None, 3):
                raise ConversionError(f"{key} is not supported")
        return layers.write(writer, writer.free(name), make(*args, **given), value)

    return call


def _same(_writer: Writer, _name: str, value: Any, *_: Any, **__: Any) -> Any:
    return value


# --- shapes --------------------------------------------------------------------------------------


def _size(_writer: Writer, _name: str, value: Any, dim: int | None = None) -> Any:
    return value.shape if dim is None else value.shape[dim]


def _reshape(writer: Writer, name: str, value: Any, *sizes: Any, shape: Any = None) -> Flow:
    flow = _flow(writer, name, value)
    given = list(shape if shape is not None else sizes[0] if isinstance(sizes[0], list | tuple) else sizes)
    if flow.axis is None:
        return _kept(flow, writer.add(name, "reshape", [flow], shape=tuple(given)))
    if flow.axis != 0:
        raise ConversionError("it reshapes a value whose batch is not its first dimension")
    rest, elements = given[1:], math.prod(flow.value.row_shape)
    fixed = all(isinstance(size, int) and size > 0 for size in rest)
    if not isinstance(given[0], Rows) and not (given[0] == -1 and fixed and math.prod(rest) == elements):
        raise ConversionError("it joins or splits the batch: the first size must be that of the batch")
    if any(isinstance(size, Rows) for size in rest):
        raise ConversionError("the size of the batch may only be the first size")
    if not rest:
        raise ConversionError("nothing but the batch would be left: squeeze the dimension instead")
    return writer.add(name, "reshape", [flow], shape=tuple(rest))


def _flatten(writer: Writer, name: str, value: Any, start_dim: int = 0, end_dim: int = -1) -> Flow:
    flow = batch_at(value, 0, "flatten")
    return writer.add(name, "Flatten", [flow], start_dim=flow.dim(start_dim), end_dim=flow.dim(end_dim))


def _permute(writer: Writer, name: str, value: Any, *dims: Any) -> Flow:
    flow = _flow(writer, name, value)
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], list | tuple) else dims
    order = [dim % len(flow.shape) for dim in given]
    axis = None if flow.axis is None else order.index(flow.axis)
    wanted = (0, *(flow.dim(dim) for dim in order if dim != flow.axis))
    if wanted == tuple(range(len(wanted))):
        return Flow(flow.name, flow.value, axis)
    found = writer.add(name, "permute", [flow], dims=wanted)
    return Flow(found.name, found.value, axis)


def _transpose(writer: Writer, name: str, value: Any, dim0: int, dim1: int) -> Flow:
    order = list(range(len(_flow(writer, name, value).shape)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return _permute(writer, name, value, order)


def _transpose_two(writer: Writer, name: str, value: Any) -> Flow:
    return _transpose(writer, name, value, 0, 1)


def _unsqueeze(writer: Writer, name: str, value: Any, dim: int) -> Flow:
    flow = _flow(writer, name, value)
    place = dim % (len(flow.shape) + 1)
    behind = flow.axis is None or place <= flow.axis
    found = writer.add(name, "unsqueeze", [flow], dim=place + 1 if behind else place)
    return Flow(found.name, found.value, None if flow.axis is None else flow.axis + behind)


def _squeeze(writer: Writer, name: str, value: Any, dim: int | None = None) -> Flow:
    if dim is None:
        raise ConversionError("squeeze without a dimension would drop a batch of one row")
    flow = _flow(writer, name, value)
    return Flow(*_pair(writer.add(name, "squeeze", [flow], dim=flow.dim(dim))), flow.without(dim))


def _pair(flow: Flow) -> tuple[str, Value]:
    return flow.name, flow.value


def _select(writer: Writer, name: str, value: Any, dim: int, index: int) -> Flow:
    flow = _flow(writer, name, value)
    return Flow(*_pair(writer.add(name, "select", [flow], dim=flow.dim(dim), index=index)), flow.without(dim))


def _narrow(  # noqa: PLR0917 - as torch's function takes them
    writer: Writer, name: str, value: Any, dim: int, start: int, length: int
) -> Flow:
    return _slice(writer, name, _flow(writer, name, value), dim, slice(start, start + length))


def _slice(writer: Writer, name: str, flow: Flow, dim: int, part: slice) -> Flow:
    args = {key: each for key, each in (("start", part.start), ("stop", part.stop), ("step", part.step)) if each}
    if part.stop == 0 or any(not isinstance(each, int) for each in args.values()):
        raise ConversionError("a slice takes whole numbers, and leaves something")
    size = flow.shape[dim]
    if isinstance(size, int) and range(size)[part] == range(size):
        return flow
    return _kept(flow, writer.add(name, "slice", [flow], dim=flow.dim(dim), **args))


def _item(writer: Writer, name: str, value: Any, index: Any) -> Any:
    if not isinstance(value, Flow):
        return value[index]
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        filled = len(value.shape) - sum(part is not None for part in parts) + 1
        parts[place : place + 1] = [slice(None)] * filled
    dim = 0
    for part in parts:
        if part is None:
            value = _unsqueeze(writer, name, value, dim)
            dim += 1
        elif isinstance(part, int):
            value = _select(writer, name, value, dim, part)
        elif isinstance(part, slice):
            if part != slice(None):
                value = _slice(writer, name, value, dim, part)
            dim += 1
        else:
            raise ConversionError("an index may hold whole numbers, slices, None and ...")
    return value


def _chunk(writer: Writer, name: str, value: Any, chunks: int, dim: int = 0) -> tuple[Flow, ...]:
    size = _flow(writer, name, value).shape[dim]
    if isinstance(size, Rows):
        raise ConversionError("it splits the batch")
    return _split(writer, name, value, -(-size // chunks), dim)


def _split(writer: Writer, name: str, value: Any, size: Any, dim: int = 0) -> tuple[Flow, ...]:
    flow = _flow(writer, name, value)
    whole = flow.shape[dim]
    if isinstance(whole, Rows):
        raise ConversionError("it splits the batch")
    sizes = [size] * (whole // size) + ([whole % size] if whole % size else []) if isinstance(size, int) else list(size)
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return tuple(_slice(writer, name, flow, dim, slice(end - part, end)) for part, end in zip(sizes, ends, strict=True))


def _cat(writer: Writer, name: str, tensors: Sequence[Any], dim: int = 0) -> Flow:
    flows = [_flow(writer, name, each) for each in tensors]
    axis = next((flow.axis for flow in flows if flow.axis is not None), None)
    if any(flow.axis not in (None, axis) for flow in flows) or (axis and any(f.axis is None for f in flows)):
        raise ConversionError("it joins values whose batch is at different dimensions")
    first = next(flow for flow in flows if flow.axis == axis)
    return _kept(first, writer.add(name, "cat", flows, dim=first.dim(dim)))


def _stack(writer: Writer, name: str, tensors: Sequence[Any], dim: int = 0) -> Flow:
    return _cat(writer, name, [_unsqueeze(writer, name, each, dim) for each in tensors], dim)


def _expand(writer: Writer, name: str, value: Any, *sizes: Any) -> Flow:
    flow = _flow(writer, name, value)
    given = list(sizes[0] if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else sizes)
    if flow.axis is None and given and isinstance(given[0], Rows):
        flow = Flow(flow.name, flow.value, 0)
    if len(given) != len(flow.shape):
        raise ConversionError("it adds dimensions: unsqueeze first")
    row = [
        have if size == -1 else size
        for place, (size, have) in enumerate(zip(given, flow.shape, strict=True))
        if place != flow.axis
    ]
    if tuple(row) == flow.value.row_shape:
        return flow
    return _kept(flow, writer.add(name, "expand", [flow], shape=tuple(row)))


def _cast(writer: Writer, name: str, value: Any, *args: Any, **given: Any) -> Any:
    dtype = next((each for each in (*args, *given.values()) if isinstance(each, torch.dtype)), None)
    if dtype is None or not isinstance(value, Flow) or DTYPES.get(dtype) is value.value.dtype:
        return value
    if dtype not in DTYPES:
        raise ConversionError(f"{dtype} is not supported")
    return _kept(value, writer.add(name, "cast", [value], dtype=DTYPES[dtype].value))


def _cast_to(dtype: torch.dtype) -> Call:
    return lambda writer, name, value: _cast(writer, name, value, dtype)


# --- reductions and products ---------------------------------------------------------------------


def _reduce(op: str) -> Call:
    def call(writer: Writer, name: str, value: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Flow:
        flow = _flow(writer, name, value)
        if dim is None:
            raise ConversionError("give it a dimension: without one it mixes rows")
        dims = [dim] if isinstance(dim, int) else list(dim)
        found = writer.add(name, op, [flow], dim=tuple(flow.dim(each) for each in dims), keepdim=keepdim)
        return Flow(*_pair(found), flow.axis if keepdim else flow.without(*dims))

    return call


def _extreme(op: str, pairwise: str) -> Call:
    def call(writer: Writer, name: str, value: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if isinstance(dim, Flow | Tensor):
            return _combine(pairwise)(writer, name, value, dim)
        return _reduce(op)(writer, name, value, dim, keepdim), Missing(f"the places of {op}; use argmax")

    return call


def _argmax(writer: Writer, name: str, value: Any, dim: Any = None, keepdim: bool = False) -> Flow:
    flow = _flow(writer, name, value)
    if dim is None:
        raise ConversionError("give it a dimension: without one it mixes rows")
    found = writer.add(name, "argmax", [flow], dim=flow.dim(dim), keepdim=keepdim)
    return Flow(*_pair(found), flow.axis if keepdim else flow.without(dim))


def _matmul(writer: Writer, name: str, left: Any, right: Any) -> Flow:
    first, second = _flow(writer, name, left), _flow(writer, name, right)
    if first.axis != 0 or second.axis not in (0, None):
        raise ConversionError("it multiplies values whose batch is not the first dimension")
    return writer.add(name, "matmul", [first, second])


def _attend(  # noqa: PLR0917 - as torch's function takes them
    writer: Writer,
    name: str,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **given: Any,
) -> Flow:
    del dropout_p
    if any(each not in (None, False) for each in given.values()):
        raise ConversionError("scale and enable_gqa are not supported")
    if attn_mask is not None and isinstance(attn_mask, Tensor) and attn_mask.dtype == torch.bool:
        attn_mask = ~attn_mask  # here true means: look
    flows = [batch_at(each, 0, "attention") for each in (query, key, value)]
    causal = is_causal or _is_causal(attn_mask)
    return writer.add(name, "scaled_dot_product_attention", flows, is_causal=causal)


_is_causal = is_causal


def _power(writer: Writer, name: str, value: Any, exponent: Any) -> Flow:
    if not isinstance(exponent, int | float) or not isinstance(value, Flow):
        raise ConversionError("only a tensor to the power of a number is supported")
    return _kept(value, writer.add(name, "pow", [value], exponent=exponent))


def _clamp(writer: Writer, name: str, value: Any, min: Any = None, max: Any = None) -> Flow:  # noqa: A002 - torch's names
    flow = _flow(writer, name, value)
    bounds = {key: each for key, each in (("min", min), ("max", max)) if each is not None}
    return _kept(flow, writer.add(name, "clamp", [flow], **bounds))


def _pad(writer: Writer, name: str, value: Any, pad: Any, mode: str = "constant", constant: Any = None) -> Flow:  # noqa: PLR0917
    if mode != "constant":
        raise ConversionError(f"mode {mode!r} is not supported")
    flow = batch_at(value, 0, "pad")
    return writer.add(name, "pad", [flow], pad=tuple(pad), value=constant or 0.0)


def _interpolate(  # noqa: PLR0917 - as torch's function takes them
    writer: Writer,
    name: str,
    value: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    **_: Any,
) -> Flow:
    return layers.upsampled(writer, name, value, size, scale_factor, mode, align_corners)


def _attribute(writer: Writer, name: str, value: Any, attribute: str) -> Any:
    """`x.shape` and the like. Of other attributes nothing is looked up."""
    if not isinstance(value, Flow):
        if isinstance(value, tuple) and attribute in ("values", "indices"):
            return value[attribute == "indices"]
        return getattr(value, attribute)
    known: dict[str, Any] = {"shape": value.shape, "ndim": len(value.shape), "device": torch.device("cpu")}
    if attribute in known:
        return known[attribute]
    if attribute == "dtype":
        return next(dtype for dtype, ours in DTYPES.items() if ours is value.value.dtype)
    if attribute in ("T", "mT"):
        return _transpose(writer, name, value, -2, -1)
    raise ConversionError(f"attribute {attribute!r} is not supported")


# --- the tables ----------------------------------------------------------------------------------

_ELEMENTWISE: Final[dict[str, Call]] = {
    "exp": _unary("exp"),
    "log": _unary("log"),
    "sqrt": _unary("sqrt"),
    "abs": _unary("abs"),
    "sin": _unary("sin"),
    "cos": _unary("cos"),
    "neg": _unary("mul_scalar", value=-1.0),
    "relu": _unary("ReLU"),
    "tanh": _unary("Tanh"),
    "sigmoid": _unary("Sigmoid"),
}
_SHARED: Final[dict[str, Call]] = {
    **_ELEMENTWISE,
    "add": _combine("add"),
    "sub": _combine("sub"),
    "mul": _combine("mul"),
    "div": _combine("div"),
    "maximum": _combine("maximum"),
    "minimum": _combine("minimum"),
    "matmul": _matmul,
    "bmm": _matmul,
    "pow": _power,
    "clamp": _clamp,
    "softmax": _through_module(nn.Softmax),
    "log_softmax": _through_module(nn.LogSoftmax),
    "reshape": _reshape,
    "flatten": _flatten,
    "transpose": _transpose,
    "permute": _permute,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "select": _select,
    "narrow": _narrow,
    "chunk": _chunk,
    "split": _split,
    "mean": _reduce("mean"),
    "sum": _reduce("sum"),
    "amax": _reduce("amax"),
    "amin": _reduce("amin"),
    "max": _extreme("amax", "maximum"),
    "min": _extreme("amin", "minimum"),
    "argmax": _argmax,
}
METHODS: Final[dict[str, Call]] = {
    **_SHARED,
    "view": _reshape,
    "expand": _expand,
    "size": _size,
    "dim": lambda _writer, _name, value: len(value.shape),
    "contiguous": _same,
    "detach": _same,
    "clone": _same,
    "to": _cast,
    "type": _cast,
    "float": _cast_to(torch.float32),
    "double": _cast_to(torch.float64),
    "half": _cast_to(torch.float16),
    "long": _cast_to(torch.int64),
    "t": _transpose_two,
}
"""Methods of tensors, by name."""

FUNCTIONS: Final[dict[Any, Call]] = {
    **{getattr(torch, name): call for name, call in _SHARED.items()},
    getattr: _attribute,
    operator.getitem: _item,
    operator.add: _combine("add"),
    operator.iadd: _combine("add"),
    operator.sub: _combine("sub"),
    operator.isub: _combine("sub"),
    operator.mul: _combine("mul"),
    operator.imul: _combine("mul"),
    operator.truediv: _combine("div"),
    operator.itruediv: _combine("div"),
    operator.matmul: _matmul,
    operator.pow: _power,
    operator.neg: _ELEMENTWISE["neg"],
    torch.cat: _cat,
    torch.concat: _cat,
    torch.stack: _stack,
    functional.relu: _ELEMENTWISE["relu"],
    functional.tanh: _ELEMENTWISE["tanh"],
    functional.sigmoid: _ELEMENTWISE["sigmoid"],
    functional.softmax: _through_module(nn.Softmax),
    functional.log_softmax: _through_module(nn.LogSoftmax),
    functional.gelu: _through_module(nn.GELU),
    functional.silu: _through_module(nn.SiLU),
    functional.mish: _through_module(nn.Mish),
    functional.elu: _through_module(nn.ELU),
    functional.leaky_relu: _through_module(nn.LeakyReLU),
    functional.softplus: _through_module(nn.Softplus),
    functional.hardswish: _through_module(nn.Hardswish),
    functional.relu6: _through_module(nn.ReLU6),
    functional.glu: _through_module(nn.GLU),
    functional.max_pool1d: _through_module(nn.MaxPool1d),
    functional.max_pool2d: _through_module(nn.MaxPool2d),
    functional.avg_pool1d: _through_module(nn.AvgPool1d),
    functional.avg_pool2d: _through_module(nn.AvgPool2d),
    functional.adaptive_avg_pool1d: _through_module(nn.AdaptiveAvgPool1d),
    functional.adaptive_avg_pool2d: _through_module(nn.AdaptiveAvgPool2d),
    functional.pixel_shuffle: _through_module(nn.PixelShuffle),
    functional.dropout: _same,
    functional.scaled_dot_product_attention: _attend,
    functional.interpolate: _interpolate,
    functional.pad: _pad,
}
"""Functions, by themselves: nothing is looked up by name."""
