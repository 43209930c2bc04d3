"""The operations an architecture document may use: one table, one entry each.

An entry says which arguments an operation takes and within which bounds, how many inputs, which
parameters it owns in the weights file, and which shapes and dtypes come out. Nothing is looked up by
attribute name and nothing here knows torch; `serving.replica.modules` holds the constructors under the
same names, and a test shows that the two tables agree.

Every operation must treat rows independently: the first dimension is the batch, requests of different
callers share it, and no operation may mix, drop or reorder along it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from domain import shapes
from domain.arguments import Argument, choice, flag, integer, integers, number
from domain.shapes import arithmetic, arrangement, layers, sequences
from domain.tensors import MAX_RANK, DType

MAX_FEATURES: Final = 2**24
MAX_LAYERS: Final = 64
MAX_MAGNITUDE: Final = 1e30


@dataclass(frozen=True, slots=True)
class Operator:
    """One entry of the table.

    `infer` raises ShapeError; `parameters` maps the suffix of each owned tensor to what the weights
    file must hold (no suffix: the tensor has the node's own name). `output_follows_parameters`: the output's
    dtype is that of the parameters. `more_outputs`: what comes out besides, read as `node:name`.
    """

    name: str
    arguments: tuple[Argument, ...]
    infer: shapes.Infer
    parameters: shapes.Parameters = shapes.no_parameters
    least_inputs: int = 1
    most_inputs: int = 1
    output_follows_parameters: bool = False
    more_outputs: tuple[tuple[str, shapes.Infer], ...] = ()
    counts_rows_only: bool = False
    """The value does not depend on the input, which only says how many rows there are."""


# --- families ------------------------------------------------------------------------------------

_EPS = number("eps", 1e-12, 1.0, 1e-5)
_BIAS = flag("bias", default=True)
_AFFINE = flag("affine", default=True)
_CAUSAL = flag("is_causal", default=False)
_DIM = integer("dim", -MAX_RANK, MAX_RANK, -1)
_DROPOUT = number("dropout", 0.0, 1.0, 0.0)


def _dim(default: int | None = None) -> Argument:
    if default is None:
        return integer("dim", -MAX_RANK, MAX_RANK)
    return integer("dim", -MAX_RANK, MAX_RANK, default)


def _conv(rank: int) -> Operator:
    arguments = (
        integer("in_channels", 1, MAX_FEATURES),
        integer("out_channels", 1, MAX_FEATURES),
        integers("kernel_size", 1, 1024, rank),
        integers("stride", 1, 1024, rank, (1,) * rank),
        integers("padding", 0, 1024, rank, (0,) * rank),
        integers("dilation", 1, 1024, rank, (1,) * rank),
        integer("groups", 1, MAX_FEATURES, 1),
        _BIAS,
    )
    return Operator(f"Conv{rank}d", arguments, *layers.conv(rank))


def _conv_transpose(rank: int) -> Operator:
    arguments = (
        integer("in_channels", 1, MAX_FEATURES),
        integer("out_channels", 1, MAX_FEATURES),
        integers("kernel_size", 1, 1024, rank),
        integers("stride", 1, 1024, rank, (1,) * rank),
        integers("padding", 0, 1024, rank, (0,) * rank),
        integers("output_padding", 0, 1024, rank, (0,) * rank),
        integer("groups", 1, MAX_FEATURES, 1),
        _BIAS,
        integers("dilation", 1, 1024, rank, (1,) * rank),
    )
    return Operator(f"ConvTranspose{rank}d", arguments, *layers.conv_transpose(rank))


def _batch_norm(rank: int, ranks: tuple[int, ...]) -> Operator:
    arguments = (integer("num_features", 1, MAX_FEATURES), _EPS, number("momentum", 0.0, 1.0, 0.1), _AFFINE)
    return Operator(f"BatchNorm{rank}d", arguments, *layers.batch_norm(ranks))


def _instance_norm(rank: int) -> Operator:
    arguments = (integer("num_features", 1, MAX_FEATURES), _EPS, flag("affine", default=False))
    return Operator(f"InstanceNorm{rank}d", arguments, *layers.instance_norm(rank))


def _pool(name: str, rank: int, *extra: Argument) -> Operator:
    arguments = (
        integers("kernel_size", 1, 1024, rank),
        integers("stride", 1, 1024, rank, None, absent="as the window"),
        integers("padding", 0, 512, rank, (0,) * rank),
        flag("ceil_mode", default=False),
        *extra,
    )
    return Operator(name, arguments, layers.pool(rank))


def _max_pool(rank: int) -> Operator:
    return _pool(f"MaxPool{rank}d", rank, integers("dilation", 1, 1024, rank, (1,) * rank))


def _avg_pool(rank: int) -> Operator:
    return _pool(f"AvgPool{rank}d", rank, flag("count_include_pad", default=True))


def _adaptive_pool(kind: str, rank: int) -> Operator:
    return Operator(f"Adaptive{kind}Pool{rank}d", (integers("output_size", 1, 4096, rank),), layers.adaptive_pool(rank))


_RECURRENT = (
    integer("input_size", 1, MAX_FEATURES),
    integer("hidden_size", 1, MAX_FEATURES),
    integer("num_layers", 1, MAX_LAYERS, 1),
    _BIAS,
    _DROPOUT,
    flag("bidirectional", default=False),
)
_STATE = ("h_n", sequences.final_state)
_BLOCK = (
    integer("d_model", 1, MAX_FEATURES),
    integer("nhead", 1, 4096),
    integer("dim_feedforward", 1, MAX_FEATURES, 2048),
    number("dropout", 0.0, 1.0, 0.1),
    choice("activation", ("relu", "gelu"), "relu"),
    number("layer_norm_eps", 1e-12, 1.0, 1e-5),
    flag("norm_first", default=False),
    _BIAS,
    _CAUSAL,
)


def _elementwise(name: str, most: int = 2) -> Operator:
    return Operator(name, (), arithmetic.elementwise, least_inputs=2, most_inputs=most)


def _reduction(name: str) -> Operator:
    arguments = (integers("dim", -MAX_RANK, MAX_RANK), flag("keepdim", default=False))
    return Operator(name, arguments, arithmetic.reduction)


def _function(name: str, *arguments: Argument) -> Operator:
    return Operator(name, arguments, shapes.same)


# --- the table -----------------------------------------------------------------------------------

_ALL: Final = (
    # layers with parameters
    Operator(
        "Linear",
        (integer("in_features", 1, MAX_FEATURES), integer("out_features", 1, MAX_FEATURES), _BIAS),
        layers.linear,
        layers.linear_parameters,
    ),
    _conv(1),
    _conv(2),
    _conv(3),
    _conv_transpose(1),
    _conv_transpose(2),
    _conv_transpose(3),
    _batch_norm(1, (2, 3)),
    _batch_norm(2, (4,)),
    _batch_norm(3, (5,)),
    _instance_norm(1),
    _instance_norm(2),
    Operator(
        "LayerNorm",
        (integers("normalized_shape", 1, MAX_FEATURES), _EPS, flag("elementwise_affine", default=True), _BIAS),
        layers.layer_norm,
        layers.layer_norm_parameters,
    ),
    Operator(
        "RMSNorm",
        (
            integers("normalized_shape", 1, MAX_FEATURES),
            number("eps", 1e-12, 1.0, None, absent="the dtype's"),
            flag("elementwise_affine", default=True),
        ),
        layers.layer_norm,
        layers.rms_norm_parameters,
    ),
    Operator(
        "GroupNorm",
        (integer("num_groups", 1, MAX_FEATURES), integer("num_channels", 1, MAX_FEATURES), _EPS, _AFFINE),
        layers.group_norm,
        layers.group_norm_parameters,
    ),
    Operator(
        "Embedding",
        (integer("num_embeddings", 1, 2**31 - 1), integer("embedding_dim", 1, MAX_FEATURES)),
        layers.embedding,
        layers.embedding_parameters,
        output_follows_parameters=True,
    ),
    Operator("PReLU", (integer("num_parameters", 1, MAX_FEATURES, 1),), layers.prelu, layers.prelu_parameters),
    # sequences
    Operator(
        "RNN",
        (*_RECURRENT, choice("nonlinearity", ("tanh", "relu"), "tanh")),
        sequences.recurrent(1),
        sequences.recurrent_parameters(1),
        most_inputs=2,
        more_outputs=(_STATE,),
    ),
    Operator(
        "GRU",
        _RECURRENT,
        sequences.recurrent(3),
        sequences.recurrent_parameters(3),
        most_inputs=2,
        more_outputs=(_STATE,),
    ),
    Operator(
        "LSTM",
        _RECURRENT,
        sequences.lstm,
        sequences.recurrent_parameters(4),
        most_inputs=3,
        more_outputs=(_STATE, ("c_n", sequences.final_state)),
    ),
    Operator(
        "MultiheadAttention",
        (
            integer("embed_dim", 1, MAX_FEATURES),
            integer("num_heads", 1, 4096),
            _DROPOUT,
            _BIAS,
            integer("kdim", 1, MAX_FEATURES, None, absent="embed_dim"),
            integer("vdim", 1, MAX_FEATURES, None, absent="embed_dim"),
            _CAUSAL,
        ),
        sequences.attention,
        sequences.attention_parameters,
        least_inputs=3,
        most_inputs=4,
    ),
    Operator("TransformerEncoderLayer", _BLOCK, sequences.encoder_layer, sequences.encoder_parameters, most_inputs=2),
    Operator(
        "TransformerDecoderLayer",
        _BLOCK,
        sequences.decoder_layer,
        sequences.decoder_parameters,
        least_inputs=2,
        most_inputs=4,
    ),
    # the same for every row: the input says how many rows
    Operator(
        "Parameter",
        (integers("shape", 1, MAX_FEATURES), flag("leading_one", default=False)),
        layers.parameter,
        layers.parameter_tensor,
        output_follows_parameters=True,
        counts_rows_only=True,
    ),
    Operator(
        "arange",
        (integer("length", 1, MAX_FEATURES), integer("start", 0, 2**31 - 1, 0)),
        arrangement.arange,
        counts_rows_only=True,
    ),
    Operator(
        "sinusoidal_positions",
        (
            integer("length", 1, MAX_FEATURES),
            integer("features", 2, MAX_FEATURES),
            number("base", 1.0, 1e9, 10_000.0),
        ),
        arrangement.sinusoids,
        output_follows_parameters=True,
        counts_rows_only=True,
    ),
    # activations
    _function("ReLU"),
    _function("ReLU6"),
    _function("SiLU"),
    _function("Mish"),
    _function("Tanh"),
    _function("Sigmoid"),
    _function("LogSigmoid"),
    _function("Softplus"),
    _function("Softsign"),
    _function("Hardswish"),
    _function("Hardsigmoid"),
    _function("Hardtanh", number("min_val", -1e6, 1e6, -1.0), number("max_val", -1e6, 1e6, 1.0)),
    _function("GELU", choice("approximate", ("none", "tanh"), "none")),
    _function("LeakyReLU", number("negative_slope", 0.0, 1e6, 0.01)),
    _function("ELU", number("alpha", 0.0, 1e6, 1.0)),
    _function("SELU"),
    Operator("Softmax", (_DIM,), arithmetic.softmax),
    Operator("LogSoftmax", (_DIM,), arithmetic.softmax),
    Operator("GLU", (_DIM,), arithmetic.glu),
    # pooling and resizing
    _max_pool(1),
    _max_pool(2),
    _max_pool(3),
    _avg_pool(1),
    _avg_pool(2),
    _avg_pool(3),
    _adaptive_pool("Avg", 1),
    _adaptive_pool("Avg", 2),
    _adaptive_pool("Avg", 3),
    _adaptive_pool("Max", 1),
    _adaptive_pool("Max", 2),
    Operator(
        "Upsample",
        (integer("scale_factor", 1, 64), choice("mode", ("nearest", "bilinear"), "nearest")),
        layers.upsample,
    ),
    Operator("PixelShuffle", (integer("upscale_factor", 1, 64),), layers.pixel_shuffle),
    # shape and passing through
    Operator("Dropout", (number("p", 0.0, 1.0, 0.5),), shapes.identity),
    Operator("Identity", (), shapes.identity),
    Operator(
        "Flatten",
        (integer("start_dim", -MAX_RANK, MAX_RANK, 1), integer("end_dim", -MAX_RANK, MAX_RANK, -1)),
        arrangement.flatten,
    ),
    Operator("reshape", (integers("shape", -1, 2**31 - 1),), arrangement.reshape),
    Operator("expand", (integers("shape", 1, 2**31 - 1),), arrangement.expand),
    Operator(
        "transpose",
        (integer("dim0", -MAX_RANK, MAX_RANK), integer("dim1", -MAX_RANK, MAX_RANK)),
        arrangement.transpose,
    ),
    Operator("permute", (integers("dims", -MAX_RANK, MAX_RANK),), arrangement.permute),
    Operator("squeeze", (_dim(),), arrangement.squeeze),
    Operator("unsqueeze", (_dim(),), arrangement.unsqueeze),
    Operator("select", (_dim(), integer("index", -(2**31), 2**31 - 1)), arrangement.select),
    Operator(
        "slice",
        (
            _dim(),
            integer("start", -(2**31), 2**31 - 1, None, absent="the first"),
            integer("stop", -(2**31), 2**31 - 1, None, absent="the end"),
            integer("step", 1, 2**31 - 1, 1),
        ),
        arrangement.take,
    ),
    Operator("flip", (integers("dims", -MAX_RANK, MAX_RANK),), arrangement.flip),
    Operator("pad", (integers("pad", 0, 4096), number("value", -MAX_MAGNITUDE, MAX_MAGNITUDE, 0.0)), arrangement.pad),
    Operator("cat", (_dim(1),), arrangement.cat, least_inputs=2, most_inputs=64),
    Operator("stack", (_dim(1),), arrangement.stack, least_inputs=2, most_inputs=64),
    Operator("cast", (choice("dtype", tuple(dtype.value for dtype in DType)),), arrangement.cast),
    # arithmetic
    _elementwise("add", 16),
    _elementwise("mul", 16),
    _elementwise("sub"),
    _elementwise("div"),
    _elementwise("maximum", 16),
    _elementwise("minimum", 16),
    _function("add_scalar", number("value", -MAX_MAGNITUDE, MAX_MAGNITUDE)),
    _function("mul_scalar", number("value", -MAX_MAGNITUDE, MAX_MAGNITUDE)),
    _function("pow", number("exponent", -64.0, 64.0)),
    _function("exp"),
    _function("log"),
    _function("sqrt"),
    _function("abs"),
    _function("sin"),
    _function("cos"),
    Operator(
        "clamp",
        (number("min", -MAX_MAGNITUDE, MAX_MAGNITUDE, None), number("max", -MAX_MAGNITUDE, MAX_MAGNITUDE, None)),
        arithmetic.clamp,
    ),
    Operator("matmul", (), arithmetic.matmul, least_inputs=2, most_inputs=2),
    Operator(
        "scaled_dot_product_attention", (_CAUSAL,), arithmetic.dot_product_attention, least_inputs=3, most_inputs=3
    ),
    _reduction("mean"),
    _reduction("sum"),
    _reduction("amax"),
    _reduction("amin"),
    Operator("argmax", (_DIM, flag("keepdim", default=False)), arithmetic.argmax),
)

OPERATORS: Final[Mapping[str, Operator]] = MappingProxyType({operator.name: operator for operator in _ALL})
"""Every operation of `arch/1`, by name. `reshape` gives the shape of a row, without the batch."""
