"""Constructors of the architecture table's operations: the only place where an op becomes torch code.

Keyed by the same names as `domain.operators.OPERATORS`; a test shows that the two tables agree and that
every module's state equals what the domain expects. Names are never resolved by attribute lookup. What has
several outputs gives them as a tuple, in the order of the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from serving.replica import layers
from serving.replica.layers import DTYPES, Learned

__all__ = ["BUILDERS", "Learned", "build", "construct", "tensor_name"]

Args = Mapping[str, Any]
Step = Callable[..., Any]
Builder = Callable[[Args, torch.dtype], "nn.Module | Step"]


def _module(kind: type[nn.Module]) -> Builder:
    """A module without parameters, whose arguments have torch's names."""

    def build(args: Args, _dtype: torch.dtype) -> nn.Module:
        return kind(**args)

    return build


def _owner(kind: type[nn.Module]) -> Builder:
    """A module with parameters of the document's dtype, whose arguments have torch's names."""

    def build(args: Args, dtype: torch.dtype) -> nn.Module:
        return kind(**args, dtype=dtype)

    return build


def _window(kind: type[nn.Module]) -> Builder:
    """Pooling whose stride defaults to its window."""

    def build(args: Args, _dtype: torch.dtype) -> nn.Module:
        return kind(**{name: value for name, value in args.items() if value is not None})

    return build


def _function(function: Callable[..., Tensor]) -> Builder:
    """A function of tensors whose arguments, if any, follow by name."""

    def build(args: Args, _dtype: torch.dtype) -> Step:
        given = dict(args)
        if not given:
            return function

        def step(*values: Tensor) -> Tensor:
            return function(*values, **given)

        return step

    return build


def _of_list(function: Callable[..., Tensor]) -> Builder:
    """A function of a list of tensors, and of a dimension."""

    def build(args: Args, _dtype: torch.dtype) -> Step:
        dim = args["dim"]

        def step(*values: Tensor) -> Tensor:
            return function(values, dim=dim)

        return step

    return build


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Builder:
    def build(_args: Args, _dtype: torch.dtype) -> Step:
        def step(first: Tensor, *others: Tensor) -> Tensor:
            for other in others:
                first = function(first, other)
            return first

        return step

    return build


def _reshape(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    return value.reshape(value.shape[0], *shape)


def _expand(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    return value.expand(value.shape[0], *shape)


def _slice(args: Args, _dtype: torch.dtype) -> Step:
    dim, part = args["dim"], slice(args["start"], args["stop"], args["step"])

    def step(value: Tensor) -> Tensor:
        index = [slice(None)] * value.ndim
        index[dim] = part
        return value[tuple(index)]

    return step


def _pad(args: Args, _dtype: torch.dtype) -> Step:
    amounts, constant = list(args["pad"]), args["value"]

    def step(value: Tensor) -> Tensor:
        return functional.pad(value, amounts, value=constant)

    return step


def _cast(args: Args, _dtype: torch.dtype) -> Step:
    dtype = DTYPES[args["dtype"]]

    def step(value: Tensor) -> Tensor:
        return value.to(dtype)

    return step


def _arange(args: Args, _dtype: torch.dtype) -> Step:
    start, length = args["start"], args["length"]

    def step(rows: Tensor) -> Tensor:
        numbers = torch.arange(start, start + length, device=rows.device)
        return numbers.expand(rows.shape[0], length)

    return step


def _sinusoids(args: Args, dtype: torch.dtype) -> Step:
    """Vaswani et al. 2017, section 3.5: sines at even places, cosines at odd ones."""
    length, features, base = args["length"], args["features"], args["base"]

    def step(rows: Tensor) -> Tensor:
        places = torch.arange(length, device=rows.device, dtype=torch.float64).unsqueeze(1)
        rates = torch.exp(
            torch.arange(0, features, 2, device=rows.device, dtype=torch.float64) * (-math.log(base) / features)
        )
        angles = places * rates
        table = torch.stack((angles.sin(), angles.cos()), dim=-1).reshape(length, features).to(dtype)
        return table.expand(rows.shape[0], length, features)

    return step


def _upsample(args: Args, _dtype: torch.dtype) -> Step:
    factor, mode = float(args["scale_factor"]), args["mode"]

    def step(value: Tensor) -> Tensor:
        return functional.interpolate(value, scale_factor=factor, mode=mode)

    return step


def _add_scalar(tensor: Tensor, value: float) -> Tensor:
    return tensor + value


def _mul_scalar(tensor: Tensor, value: float) -> Tensor:
    return tensor * value


def _attend(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value, is_causal=is_causal)


BUILDERS: Final[Mapping[str, Builder]] = {
    "Linear": _owner(nn.Linear),
    "Conv1d": _owner(nn.Conv1d),
    "Conv2d": _owner(nn.Conv2d),
    "Conv3d": _owner(nn.Conv3d),
    "ConvTranspose1d": _owner(nn.ConvTranspose1d),
    "ConvTranspose2d": _owner(nn.ConvTranspose2d),
    "ConvTranspose3d": _owner(nn.ConvTranspose3d),
    "BatchNorm1d": _owner(nn.BatchNorm1d),
    "BatchNorm2d": _owner(nn.BatchNorm2d),
    "BatchNorm3d": _owner(nn.BatchNorm3d),
    "InstanceNorm1d": _owner(nn.InstanceNorm1d),
    "InstanceNorm2d": _owner(nn.InstanceNorm2d),
    "LayerNorm": _owner(nn.LayerNorm),
    "RMSNorm": _owner(nn.RMSNorm),
    "GroupNorm": _owner(nn.GroupNorm),
    "Embedding": _owner(layers.CheckedEmbedding),
    "PReLU": _owner(nn.PReLU),
    "RNN": layers.recurrent(layers.RNN),
    "GRU": layers.recurrent(layers.GRU),
    "LSTM": layers.recurrent(layers.LSTM),
    "MultiheadAttention": _owner(layers.Attention),
    "TransformerEncoderLayer": _owner(layers.EncoderLayer),
    "TransformerDecoderLayer": _owner(layers.DecoderLayer),
    "Parameter": _owner(Learned),
    "arange": _arange,
    "sinusoidal_positions": _sinusoids,
    "ReLU": _module(nn.ReLU),
    "ReLU6": _module(nn.ReLU6),
    "SiLU": _module(nn.SiLU),
    "Mish": _module(nn.Mish),
    "Tanh": _module(nn.Tanh),
    "Sigmoid": _module(nn.Sigmoid),
    "LogSigmoid": _module(nn.LogSigmoid),
    "Softplus": _module(nn.Softplus),
    "Softsign": _module(nn.Softsign),
    "Hardswish": _module(nn.Hardswish),
    "Hardsigmoid": _module(nn.Hardsigmoid),
    "Hardtanh": _module(nn.Hardtanh),
    "GELU": _module(nn.GELU),
    "LeakyReLU": _module(nn.LeakyReLU),
    "ELU": _module(nn.ELU),
    "SELU": _module(nn.SELU),
    "Softmax": _module(nn.Softmax),
    "LogSoftmax": _module(nn.LogSoftmax),
    "GLU": _module(nn.GLU),
    "MaxPool1d": _window(nn.MaxPool1d),
    "MaxPool2d": _window(nn.MaxPool2d),
    "MaxPool3d": _window(nn.MaxPool3d),
    "AvgPool1d": _window(nn.AvgPool1d),
    "AvgPool2d": _window(nn.AvgPool2d),
    "AvgPool3d": _window(nn.AvgPool3d),
    "AdaptiveAvgPool1d": _module(nn.AdaptiveAvgPool1d),
    "AdaptiveAvgPool2d": _module(nn.AdaptiveAvgPool2d),
    "AdaptiveAvgPool3d": _module(nn.AdaptiveAvgPool3d),
    "AdaptiveMaxPool1d": _module(nn.AdaptiveMaxPool1d),
    "AdaptiveMaxPool2d": _module(nn.AdaptiveMaxPool2d),
    "Upsample": _upsample,
    "PixelShuffle": _module(nn.PixelShuffle),
    "Dropout": _module(nn.Dropout),
    "Identity": _module(nn.Identity),
    "Flatten": _module(nn.Flatten),
    "reshape": _function(_reshape),
    "expand": _function(_expand),
    "transpose": _function(torch.transpose),
    "permute": _function(torch.permute),
    "squeeze": _function(torch.squeeze),
    "unsqueeze": _function(torch.unsqueeze),
    "select": _function(torch.select),
    "slice": _slice,
    "flip": _function(torch.flip),
    "pad": _pad,
    "cat": _of_list(torch.cat),
    "stack": _of_list(torch.stack),
    "cast": _cast,
    "add": _fold(torch.add),
    "mul": _fold(torch.mul),
    "sub": _fold(torch.sub),
    "div": _fold(torch.div),
    "maximum": _fold(torch.maximum),
    "minimum": _fold(torch.minimum),
    "add_scalar": _function(_add_scalar),
    "mul_scalar": _function(_mul_scalar),
    "pow": _function(torch.pow),
    "exp": _function(torch.exp),
    "log": _function(torch.log),
    "sqrt": _function(torch.sqrt),
    "abs": _function(torch.abs),
    "sin": _function(torch.sin),
    "cos": _function(torch.cos),
    "clamp": _function(torch.clamp),
    "matmul": _fold(torch.matmul),
    "scaled_dot_product_attention": _function(_attend),
    "mean": _function(torch.mean),
    "sum": _function(torch.sum),
    "amax": _function(torch.amax),
    "amin": _function(torch.amin),
    "argmax": _function(torch.argmax),
}


def tensor_name(node: str, module: nn.Module, key: str) -> str:
    """The name in the weights file of what a node's module calls `key`: a `Parameter` has the node's own."""
    return node if isinstance(module, Learned) else f"{node}.{key}"


def construct(op: str, args: Args, dtype: torch.dtype) -> nn.Module | Step:
    """The module or function of a node, with parameters in memory, as torch initialises them."""
    return BUILDERS[op](args, dtype)


def build(op: str, args: Args, dtype: torch.dtype) -> nn.Module | Step:
    """The module or function of a node; its parameters are on `meta`, that is, without memory."""
    with torch.device("meta"):
        return BUILDERS[op](args, dtype)
