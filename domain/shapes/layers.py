"""Shapes and tensors of layers with weights, and of pooling: linear, convolution, normalisation, embedding."""

from __future__ import annotations

from collections.abc import Sequence

from domain.shapes.values import Args, Infer, Parameters, ParameterSpec, Value, need, need_float
from domain.tensors import BATCH, MAX_RANK, DType


def linear(args: Args, values: Sequence[Value]) -> Value:
    """Matrix product over the last dimension."""
    need_float(values[0])
    need(len(values[0].shape) >= 2, "takes at least one dimension besides the batch")
    got = values[0].shape[-1]
    need(got == args["in_features"], f"in_features is {args['in_features']}, but {got} flow in")
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
    need(span >= 0, f"a window of {dilation * (kernel - 1) + 1} does not fit into {size + 2 * padding}")
    length = (span + (stride - 1 if ceil else 0)) // stride + 1
    if ceil and (length - 1) * stride >= size + padding:
        length -= 1
    return length


def conv(rank: int) -> tuple[Infer, Parameters]:
    """Convolution over `rank` spatial dimensions."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        value = values[0]
        need_float(value, rank + 2)
        channels, groups = args["in_channels"], args["groups"]
        need(value.shape[1] == channels, f"in_channels is {channels}, but {value.shape[1]} flow in")
        need(channels % groups == 0, f"in_channels {channels} is not divisible by groups {groups}")
        need(args["out_channels"] % groups == 0, f"out_channels is not divisible by groups {groups}")
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


def conv_transpose(rank: int) -> tuple[Infer, Parameters]:
    """Transposed convolution over `rank` spatial dimensions."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        value = values[0]
        need_float(value, rank + 2)
        channels, groups = args["in_channels"], args["groups"]
        need(value.shape[1] == channels, f"in_channels is {channels}, but {value.shape[1]} flow in")
        need(channels % groups == 0, f"in_channels {channels} is not divisible by groups {groups}")
        need(args["out_channels"] % groups == 0, f"out_channels is not divisible by groups {groups}")
        sizes = []
        for i, size in enumerate(value.shape[2:]):
            stride, dilation, extra = args["stride"][i], args["dilation"][i], args["output_padding"][i]
            need(extra < max(stride, dilation), "output_padding must be below stride or dilation")
            span = dilation * (args["kernel_size"][i] - 1)
            sizes.append((size - 1) * stride - 2 * args["padding"][i] + span + extra + 1)
        need(min(sizes) > 0, f"nothing is left of {list(value.shape[2:])}")
        return Value(value.dtype, (BATCH, args["out_channels"], *sizes))

    def parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
        weight = (args["in_channels"], args["out_channels"] // args["groups"], *args["kernel_size"])
        found = {"weight": ParameterSpec(dtype, weight)}
        if args["bias"]:
            found["bias"] = ParameterSpec(dtype, (args["out_channels"],))
        return found

    return infer, parameters


def batch_norm(ranks: tuple[int, ...]) -> tuple[Infer, Parameters]:
    """Batch normalisation with stored statistics, for values of `ranks` dimensions."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        value = values[0]
        need_float(value)
        expected = " or ".join(map(str, ranks))
        need(len(value.shape) in ranks, f"takes {expected} dimensions, got shape {list(value.shape)}")
        features = args["num_features"]
        need(value.shape[1] == features, f"num_features is {features}, but {value.shape[1]} flow in")
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
    need_float(value)
    need(
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


def rms_norm_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """Scale of the normalised shape."""
    return {"weight": ParameterSpec(dtype, args["normalized_shape"])} if args["elementwise_affine"] else {}


def instance_norm(rank: int) -> tuple[Infer, Parameters]:
    """Normalisation of each channel of each row over `rank` spatial dimensions."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        value, features = values[0], args["num_features"]
        need_float(value, rank + 2)
        need(value.shape[1] == features, f"num_features is {features}, but {value.shape[1]} flow in")
        return value

    def parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
        spec = ParameterSpec(dtype, (args["num_features"],))
        return {"weight": spec, "bias": spec} if args["affine"] else {}

    return infer, parameters


def prelu(args: Args, values: Sequence[Value]) -> Value:
    """A learned slope below zero, one for all or one per channel."""
    value, count = values[0], args["num_parameters"]
    need_float(value)
    channels = value.shape[1] if len(value.shape) > 1 else 1
    need(count in (1, channels), f"num_parameters is {count}, but {channels} channels flow in")
    return value


def prelu_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """The slopes."""
    return {"weight": ParameterSpec(dtype, (args["num_parameters"],))}


def group_norm(args: Args, values: Sequence[Value]) -> Value:
    """Normalisation over groups of channels."""
    value, channels, groups = values[0], args["num_channels"], args["num_groups"]
    need_float(value)
    need(len(value.shape) >= 2, "takes at least one dimension besides the batch")
    need(value.shape[1] == channels, f"num_channels is {channels}, but {value.shape[1]} flow in")
    need(channels % groups == 0, f"num_channels {channels} is not divisible by num_groups {groups}")
    return value


def group_norm_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """Scale and shift per channel."""
    spec = ParameterSpec(dtype, (args["num_channels"],))
    return {"weight": spec, "bias": spec} if args["affine"] else {}


def pool(rank: int) -> Infer:
    """Pooling with a sliding window over `rank` spatial dimensions."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        value = values[0]
        need_float(value, rank + 2)
        kernel, padding = args["kernel_size"], args["padding"]
        stride = args["stride"] or kernel
        dilation = args.get("dilation", (1,) * rank)
        need(all(2 * p <= k for p, k in zip(padding, kernel, strict=True)), "padding above half the window")
        sizes = [
            _window(size, kernel[i], stride[i], padding[i], dilation[i], ceil=args["ceil_mode"])
            for i, size in enumerate(value.shape[2:])
        ]
        return Value(value.dtype, (*value.shape[:2], *sizes))

    return infer


def adaptive_pool(rank: int) -> Infer:
    """Pooling to a fixed output size over `rank` spatial dimensions."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        need_float(values[0], rank + 2)
        return Value(values[0].dtype, (*values[0].shape[:2], *args["output_size"]))

    return infer


def embedding(args: Args, values: Sequence[Value]) -> Value:
    """Indices in, one vector each out; the table of parameters decides the dtype."""
    value = values[0]
    need(
        value.dtype in {DType.INT32, DType.INT64},
        f"takes int32 or int64 indices, got {value.dtype.value}",
    )
    need(len(value.shape) < MAX_RANK, f"the result would have more than {MAX_RANK} dimensions")
    return Value(value.dtype, (*value.shape, args["embedding_dim"]))


def embedding_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """One row per index."""
    return {"weight": ParameterSpec(dtype, (args["num_embeddings"], args["embedding_dim"]))}


def upsample(args: Args, values: Sequence[Value]) -> Value:
    """Images, larger by a whole factor."""
    need_float(values[0], 4)
    sizes = (size * args["scale_factor"] for size in values[0].shape[2:])
    return Value(values[0].dtype, (*values[0].shape[:2], *sizes))


def pixel_shuffle(args: Args, values: Sequence[Value]) -> Value:
    """Channels into larger images."""
    value, factor = values[0], args["upscale_factor"]
    need_float(value, 4)
    need(value.shape[1] % factor**2 == 0, f"{value.shape[1]} channels are not divisible by {factor**2}")
    sizes = (size * factor for size in value.shape[2:])
    return Value(value.dtype, (BATCH, value.shape[1] // factor**2, *sizes))


def parameter(args: Args, values: Sequence[Value]) -> Value:
    """A learned value, the same for every row: `values[0]` only says how many rows."""
    shape = args["shape"]
    if args["leading_one"]:
        need(shape[0] == 1, "leading_one: the first size must be 1")
        shape = shape[1:]
    need(len(shape) < MAX_RANK, f"at most {MAX_RANK - 1} sizes besides the batch")
    return Value(values[0].dtype, (BATCH, *shape))


def parameter_tensor(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """The tensor carries the node's own name."""
    return {"": ParameterSpec(dtype, args["shape"])}
