"""What flows through a traced module, and the document that is written meanwhile.

PyTorch code may keep the batch at any dimension, or have values without one; a document keeps it first. A `Flow`
knows both: the value of the document, and at which dimension of the traced code its batch is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from domain.errors import BadUserInput
from domain.operators import OPERATORS
from domain.shapes import ShapeError, Value
from domain.tensors import BATCH, DType, TensorSpec

DTYPES = {
    torch.bool: DType.BOOL,
    torch.uint8: DType.UINT8,
    torch.int8: DType.INT8,
    torch.int16: DType.INT16,
    torch.int32: DType.INT32,
    torch.int64: DType.INT64,
    torch.float16: DType.FLOAT16,
    torch.float32: DType.FLOAT32,
    torch.float64: DType.FLOAT64,
}


class ConversionError(ValueError):
    """The module does something that the architecture document cannot say; the message names what and where."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The number of rows, as in `x.size(0)`: known when the model is served, not before."""


ROWS = Rows()


@dataclass(frozen=True, slots=True)
class Missing:
    """A result that the document does not have, such as the weights of an attention."""

    what: str


@dataclass(frozen=True, slots=True)
class Flow:
    """A value of the document. `axis`: where the traced code has its batch; None: it has none, all rows are equal."""

    name: str
    value: Value
    axis: int | None = 0

    @property
    def shape(self) -> tuple[int | Rows, ...]:
        """The shape as the traced code sees it."""
        row: tuple[int | Rows, ...] = self.value.row_shape
        return row if self.axis is None else (*row[: self.axis], ROWS, *row[self.axis :])

    def dim(self, dim: int) -> int:
        """The document's number of a dimension of the traced code; ConversionError for the batch."""
        rank = len(self.shape)
        if not -rank <= dim < rank:
            raise ConversionError(f"dimension {dim} does not exist in {rank} dimensions")
        dim %= rank
        if dim == self.axis:
            raise ConversionError("it works along the batch, but rows must stay independent")
        return dim + 1 if self.axis is None or dim < self.axis else dim

    def without(self, *dims: int) -> int | None:
        """Where the batch is once these dimensions are gone."""
        if self.axis is None:
            return None
        return self.axis - sum(dim % len(self.shape) < self.axis for dim in dims)


class Writer:
    """The document under construction, and the tensors that it needs beside the module's own."""

    def __init__(self, inputs: Sequence[TensorSpec], dtype: DType, state: Mapping[str, Tensor]) -> None:
        self.inputs = inputs
        self.dtype = dtype
        self.state = state
        self.nodes: list[dict[str, Any]] = []
        self.tensors: dict[str, Tensor] = {}
        self._names = {spec.name for spec in inputs}
        self._constants: dict[str, Flow] = {}

    def free(self, name: str) -> str:
        """An id that nothing has yet."""
        name = re.sub(r"[^A-Za-z0-9_.]", "_", name)
        found, number = name, 1
        while found in self._names or (found != name and found in self.state):
            number += 1
            found = f"{name}_{number}"
        return found

    def add(self, name: str, op: str, sources: Sequence[Flow], **args: Any) -> Flow:
        """A node under a free id; what comes out has its batch first."""
        operator = OPERATORS[op]
        try:
            checked = {
                argument.name: argument.parse(args[argument.name], argument.name)
                if argument.name in args
                else argument.default
                for argument in operator.arguments
            }
            value = operator.infer(checked, [source.value for source in sources])
        except (ShapeError, BadUserInput) as error:
            said = error.message if isinstance(error, BadUserInput) else str(error)
            where = f" ({error.field})" if isinstance(error, BadUserInput) else ""
            raise ConversionError(f"{op}{where}: {said}") from None
        if operator.output_follows_parameters:
            value = Value(self.dtype, value.shape)
        name = self.free(name)
        self._names.add(name)
        written = {key: list(each) if isinstance(each, tuple) else each for key, each in args.items()}
        node = {"id": name, "op": op, "args": written, "in": [source.name for source in sources]}
        self.nodes.append(node if written else {key: each for key, each in node.items() if key != "args"})
        return Flow(name, value)

    def besides(self, flow: Flow, op: str, result: str, sources: Sequence[Flow], axis: int, **args: Any) -> Flow:
        """Another result of the node that `flow` is the first result of."""
        operator = OPERATORS[op]
        checked = {each.name: args.get(each.name, each.default) for each in operator.arguments}
        infer = dict(operator.more_outputs)[result]
        return Flow(f"{flow.name}:{result}", infer(checked, [source.value for source in sources]), axis)

    def constant(self, name: str, tensor: Tensor) -> Flow:
        """A tensor that is the same for every row, as a node: a parameter, or the numbers from some number on."""
        name = re.sub(r"[^A-Za-z0-9_.]", "_", name)
        if name in self._constants:
            return self._constants[name]
        rows = Flow(self.inputs[0].name, Value(self.inputs[0].dtype, self.inputs[0].shape))
        leading = tensor.ndim >= 2 and tensor.shape[0] == 1
        if tensor.is_floating_point():
            if tensor.ndim == 0:
                raise ConversionError(f"{name} is a scalar: write it as a number, or give it one dimension")
            flow = self.add(name, "Parameter", [rows], shape=tuple(tensor.shape), leading_one=leading)
            self.tensors[flow.name] = tensor
        else:
            flat = tensor.reshape(-1)
            first = int(flat[0])
            if tensor.numel() != tensor.shape[-1] or not torch.equal(flat, torch.arange(first, first + len(flat))):
                raise ConversionError(f"{name}: of whole numbers, a document can only hold consecutive ones")
            flow = self.add(name, "arange", [rows], length=len(flat), start=first)
        self._constants[name] = Flow(flow.name, flow.value, 0 if leading else None)
        return self._constants[name]


def is_causal(mask: Any) -> bool:
    """Whether a mask hides exactly the later steps; ConversionError for any other mask."""
    if mask is None:
        return False
    if isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape[0] == mask.shape[1]:
        later = torch.ones_like(mask, dtype=torch.bool).triu(1)
        hidden = mask if mask.dtype == torch.bool else torch.isneginf(mask)
        if torch.equal(hidden, later) and (mask.dtype == torch.bool or not mask[~later].any()):
            return True
    raise ConversionError("of masks, a document only knows the causal one")


def batch_at(flow: Any, axis: int, what: str) -> Flow:
    """`flow`, when its batch is where `what` expects it."""
    if not isinstance(flow, Flow):
        raise ConversionError(f"{what} takes a computed value, got {type(flow).__name__}")
    if flow.axis != axis:
        raise ConversionError(f"{what} takes the batch as dimension {axis}, but it is at {flow.axis}")
    return flow


def whole(values: Any, count: int) -> tuple[int, ...]:
    """One number for each of `count` dimensions."""
    found = (values,) * count if isinstance(values, int) else tuple(values)
    if len(found) != count or not all(isinstance(each, int) for each in found):
        raise ConversionError(f"expected {count} whole numbers, got {values!r}")
    return found


__all__ = [
    "BATCH",
    "DTYPES",
    "ROWS",
    "ConversionError",
    "Flow",
    "Missing",
    "Rows",
    "Writer",
    "batch_at",
    "is_causal",
    "whole",
]
