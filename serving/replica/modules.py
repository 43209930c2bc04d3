"""Constructors of the architecture table's operations: the only place where an op becomes torch code.

Keyed by the same names as `domain.operators.OPERATORS`; a test shows that the two tables agree and that
every module's state equals what the domain expects. Names are never resolved by attribute lookup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from serving.replica.batcher import ValueRefusedError

Args = Mapping[str, Any]
Step = Callable[..., Tensor]
Builder = Callable[[Args, torch.dtype], "nn.Module | Step"]


class CheckedEmbedding(nn.Embedding):
    """An embedding that names an index outside its table instead of failing somewhere inside."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        """Look up `input`; ValueRefusedError when an index is outside the table."""
        low, high = torch.aminmax(input)
        if int(low) < 0 or int(high) >= self.num_embeddings:
            wrong = int(low) if int(low) < 0 else int(high)
            raise ValueRefusedError(
                f"index {wrong} is outside the embedding's 0 to {self.num_embeddings - 1}", field="inputs"
            )
        return super().forward(input)


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


def _reshape(args: Args, _dtype: torch.dtype) -> Step:
    shape = args["shape"]

    def step(value: Tensor) -> Tensor:
        return value.reshape(value.shape[0], *shape)

    return step


def _transpose(args: Args, _dtype: torch.dtype) -> Step:
    first, second = args["dim0"], args["dim1"]

    def step(value: Tensor) -> Tensor:
        return value.transpose(first, second)

    return step


def _mean(args: Args, _dtype: torch.dtype) -> Step:
    dims, keep = args["dim"], args["keepdim"]

    def step(value: Tensor) -> Tensor:
        return value.mean(dim=dims, keepdim=keep)

    return step


def _cat(args: Args, _dtype: torch.dtype) -> Step:
    dim = args["dim"]

    def step(*values: Tensor) -> Tensor:
        return torch.cat(values, dim=dim)

    return step


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Builder:
    def build(_args: Args, _dtype: torch.dtype) -> Step:
        def step(first: Tensor, *others: Tensor) -> Tensor:
            for other in others:
                first = function(first, other)
            return first

        return step

    return build


def _max_pool(kind: type[nn.Module]) -> Builder:
    """Pooling whose stride defaults to its window."""

    def build(args: Args, _dtype: torch.dtype) -> nn.Module:
        return kind(**{name: value for name, value in args.items() if value is not None})

    return build


BUILDERS: Final[Mapping[str, Builder]] = {
    "Linear": _owner(nn.Linear),
    "Conv1d": _owner(nn.Conv1d),
    "Conv2d": _owner(nn.Conv2d),
    "BatchNorm1d": _owner(nn.BatchNorm1d),
    "BatchNorm2d": _owner(nn.BatchNorm2d),
    "LayerNorm": _owner(nn.LayerNorm),
    "GroupNorm": _owner(nn.GroupNorm),
    "Embedding": _owner(CheckedEmbedding),
    "ReLU": _module(nn.ReLU),
    "ReLU6": _module(nn.ReLU6),
    "SiLU": _module(nn.SiLU),
    "Tanh": _module(nn.Tanh),
    "Sigmoid": _module(nn.Sigmoid),
    "Softplus": _module(nn.Softplus),
    "Hardswish": _module(nn.Hardswish),
    "GELU": _module(nn.GELU),
    "LeakyReLU": _module(nn.LeakyReLU),
    "ELU": _module(nn.ELU),
    "Softmax": _module(nn.Softmax),
    "LogSoftmax": _module(nn.LogSoftmax),
    "MaxPool1d": _max_pool(nn.MaxPool1d),
    "MaxPool2d": _max_pool(nn.MaxPool2d),
    "AvgPool1d": _max_pool(nn.AvgPool1d),
    "AvgPool2d": _max_pool(nn.AvgPool2d),
    "AdaptiveAvgPool1d": _module(nn.AdaptiveAvgPool1d),
    "AdaptiveAvgPool2d": _module(nn.AdaptiveAvgPool2d),
    "Dropout": _module(nn.Dropout),
    "Identity": _module(nn.Identity),
    "Flatten": _module(nn.Flatten),
    "reshape": _reshape,
    "transpose": _transpose,
    "add": _fold(torch.add),
    "mul": _fold(torch.mul),
    "sub": _fold(torch.sub),
    "matmul": _fold(torch.matmul),
    "cat": _cat,
    "mean": _mean,
}


def build(op: str, args: Args, dtype: torch.dtype) -> nn.Module | Step:
    """The module or function of a node; its parameters are on `meta`, that is, without memory."""
    with torch.device("meta"):
        return BUILDERS[op](args, dtype)
