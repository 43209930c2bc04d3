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
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from domain import shapes
from domain.errors import BadUserInput
from domain.tensors import MAX_RANK, shown

Kind = Literal["int", "float", "bool", "ints", "choice"]

MAX_FEATURES: Final = 2**24

_REQUIRED: Final = object()


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
            plural = "s" if self.length != 1 else ""
            count = f"{self.length} whole number{plural}" if self.length else "a list of whole numbers"
            return f"{count} from {self.low} to {self.high}"
        if self.kind == "int":
            return f"a whole number from {self.low} to {self.high}"
        return f"a number from {self.low:g} to {self.high:g}"


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


@dataclass(frozen=True, slots=True)
class Operator:
    """One entry of the table.

    `infer` raises ShapeError; `parameters` maps the suffix of each owned tensor to what the weights
    file must hold. `output_follows_parameters`: the output's dtype is that of the parameters.
    """

    name: str
    arguments: tuple[Argument, ...]
    infer: shapes.Infer
    parameters: shapes.Parameters = shapes.no_parameters
    least_inputs: int = 1
    most_inputs: int = 1
    output_follows_parameters: bool = False


# --- arguments -----------------------------------------------------------------------------------


def _int(name: str, low: int, high: int, default: Any = _REQUIRED) -> Argument:
    return Argument(name, "int", low, high, default=default)


def _float(name: str, low: float, high: float, default: Any = _REQUIRED) -> Argument:
    return Argument(name, "float", low, high, default=default)


def _bool(name: str, default: bool) -> Argument:
    return Argument(name, "bool", default=default)


def _ints(name: str, low: int, high: int, length: int | None = None, default: Any = _REQUIRED) -> Argument:
    return Argument(name, "ints", low, high, length, default=default)


_EPS = _float("eps", 1e-12, 1.0, 1e-5)
_BIAS = _bool("bias", default=True)


# --- the table -----------------------------------------------------------------------------------


def _conv(rank: int) -> Operator:
    arguments = (
        _int("in_channels", 1, MAX_FEATURES),
        _int("out_channels", 1, MAX_FEATURES),
        _ints("kernel_size", 1, 1024, rank),
        _ints("stride", 1, 1024, rank, (1,) * rank),
        _ints("padding", 0, 1024, rank, (0,) * rank),
        _ints("dilation", 1, 1024, rank, (1,) * rank),
        _int("groups", 1, MAX_FEATURES, 1),
        _BIAS,
    )
    return Operator(f"Conv{rank}d", arguments, *shapes.conv(rank))


def _batch_norm(rank: int, ranks: tuple[int, ...]) -> Operator:
    arguments = (
        _int("num_features", 1, MAX_FEATURES),
        _EPS,
        _float("momentum", 0.0, 1.0, 0.1),
        _bool("affine", default=True),
    )
    return Operator(f"BatchNorm{rank}d", arguments, *shapes.batch_norm(ranks))


def _pool(name: str, rank: int, *extra: Argument) -> Operator:
    arguments = (
        _ints("kernel_size", 1, 1024, rank),
        _ints("stride", 1, 1024, rank, None),
        _ints("padding", 0, 512, rank, (0,) * rank),
        _bool("ceil_mode", default=False),
        *extra,
    )
    return Operator(name, arguments, shapes.pool(rank))


def _adaptive_pool(rank: int) -> Operator:
    output = _ints("output_size", 1, 4096, rank)
    return Operator(f"AdaptiveAvgPool{rank}d", (output,), shapes.adaptive_pool(rank))


_DIM = _int("dim", -MAX_RANK, MAX_RANK, -1)
_COUNT_PAD = _bool("count_include_pad", default=True)

_ALL: Final = (
    # layers with parameters
    Operator(
        "Linear",
        (_int("in_features", 1, MAX_FEATURES), _int("out_features", 1, MAX_FEATURES), _BIAS),
        shapes.linear,
        shapes.linear_parameters,
    ),
    _conv(1),
    _conv(2),
    _batch_norm(1, (2, 3)),
    _batch_norm(2, (4,)),
    Operator(
        "LayerNorm",
        (
            _ints("normalized_shape", 1, MAX_FEATURES),
            _EPS,
            _bool("elementwise_affine", default=True),
            _BIAS,
        ),
        shapes.layer_norm,
        shapes.layer_norm_parameters,
    ),
    Operator(
        "GroupNorm",
        (
            _int("num_groups", 1, MAX_FEATURES),
            _int("num_channels", 1, MAX_FEATURES),
            _EPS,
            _bool("affine", default=True),
        ),
        shapes.group_norm,
        shapes.group_norm_parameters,
    ),
    Operator(
        "Embedding",
        (_int("num_embeddings", 1, 2**31 - 1), _int("embedding_dim", 1, MAX_FEATURES)),
        shapes.embedding,
        shapes.embedding_parameters,
        output_follows_parameters=True,
    ),
    # activations
    Operator("ReLU", (), shapes.same),
    Operator("ReLU6", (), shapes.same),
    Operator("SiLU", (), shapes.same),
    Operator("Tanh", (), shapes.same),
    Operator("Sigmoid", (), shapes.same),
    Operator("Softplus", (), shapes.same),
    Operator("Hardswish", (), shapes.same),
    Operator("GELU", (Argument("approximate", "choice", choices=("none", "tanh"), default="none"),), shapes.same),
    Operator("LeakyReLU", (_float("negative_slope", 0.0, 1e6, 0.01),), shapes.same),
    Operator("ELU", (_float("alpha", 0.0, 1e6, 1.0),), shapes.same),
    Operator("Softmax", (_DIM,), shapes.softmax),
    Operator("LogSoftmax", (_DIM,), shapes.softmax),
    # pooling
    _pool("MaxPool1d", 1, _ints("dilation", 1, 1024, 1, (1,))),
    _pool("MaxPool2d", 2, _ints("dilation", 1, 1024, 2, (1, 1))),
    _pool("AvgPool1d", 1, _COUNT_PAD),
    _pool("AvgPool2d", 2, _COUNT_PAD),
    _adaptive_pool(1),
    _adaptive_pool(2),
    # shape and passing through
    Operator("Dropout", (_float("p", 0.0, 1.0, 0.5),), shapes.identity),
    Operator("Identity", (), shapes.identity),
    Operator(
        "Flatten",
        (_int("start_dim", -MAX_RANK, MAX_RANK, 1), _int("end_dim", -MAX_RANK, MAX_RANK, -1)),
        shapes.flatten,
    ),
    Operator("reshape", (_ints("shape", -1, 2**31 - 1),), shapes.reshape),
    Operator(
        "transpose",
        (_int("dim0", -MAX_RANK, MAX_RANK), _int("dim1", -MAX_RANK, MAX_RANK)),
        shapes.transpose,
    ),
    # arithmetic
    Operator("add", (), shapes.elementwise, least_inputs=2, most_inputs=16),
    Operator("mul", (), shapes.elementwise, least_inputs=2, most_inputs=16),
    Operator("sub", (), shapes.elementwise, least_inputs=2, most_inputs=2),
    Operator("matmul", (), shapes.matmul, least_inputs=2, most_inputs=2),
    Operator("cat", (_int("dim", -MAX_RANK, MAX_RANK, 1),), shapes.cat, least_inputs=2, most_inputs=64),
    Operator("mean", (_ints("dim", -MAX_RANK, MAX_RANK), _bool("keepdim", default=False)), shapes.mean),
)

OPERATORS: Final[Mapping[str, Operator]] = MappingProxyType({operator.name: operator for operator in _ALL})
"""Every operation of `arch/1`, by name. `reshape` gives the shape of a row, without the batch."""
