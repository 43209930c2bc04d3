"""An architecture document and a weights file, made into something that computes.

The graph is built on `meta` (no memory), compared with the file's header by name, shape and dtype, and
only then are the weights mapped in (not copied: replicas of one file share its pages). Nothing here ever
unpickles or executes anything that came with the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from domain.architecture import Architecture, Node
from domain.errors import BadUserInput
from domain.operators import OPERATORS
from domain.safetensors import read_table
from domain.tensors import Array, DType
from serving.replica import modules
from serving.replica.transfer import OnCpu, Transfer

_DTYPES = {DType.FLOAT16: torch.float16, DType.FLOAT32: torch.float32, DType.FLOAT64: torch.float64}


@dataclass(frozen=True, slots=True)
class _Step:
    """Apply `function` to registers `sources`, store in `target`, then drop the registers `spent`.

    A function with several results stores those that are used: `parts` are their places and registers.
    """

    function: Any
    sources: tuple[int, ...]
    target: int
    spent: tuple[int, ...]
    parts: tuple[tuple[int, int], ...] = ()


class Program:
    """A loaded model: call it with arrays by input name, get arrays by output name."""

    def __init__(
        self, architecture: Architecture, functions: Mapping[str, Any], transfer: Transfer | None = None
    ) -> None:
        self._architecture = architecture
        self.transfer: Transfer = transfer or OnCpu()
        self._functions = functions
        names = [spec.name for spec in architecture.inputs]
        for node in architecture.nodes:
            names += _results(node)
        self._registers = {name: number for number, name in enumerate(names)}
        self._inputs = [(spec.name, self._registers[spec.name]) for spec in architecture.inputs]
        self._outputs = [(result.name, self._registers[result.node]) for result in architecture.results]
        self._steps = _schedule(architecture, functions, self._registers)

    @property
    def parameter_count(self) -> int:
        """Elements of all loaded tensors."""
        return self._architecture.parameter_count

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One forward. Arrays are `(rows, …)`; raises whatever torch raises."""
        values: list[Tensor | None] = [None] * len(self._registers)
        with torch.inference_mode():
            for name, register in self._inputs:
                values[register] = self.transfer.inward(inputs[name])
            for step in self._steps:
                result = step.function(*[values[source] for source in step.sources])
                if step.parts:
                    for place, register in step.parts:
                        values[register] = result[place]
                else:
                    values[step.target] = result
                for register in step.spent:
                    values[register] = None
            found: dict[str, Tensor] = {}
            for name, register in self._outputs:
                value = values[register]
                if value is None:
                    raise RuntimeError(f"output {name!r} was not computed")
                found[name] = value
            return self.transfer.outward(found)


def _results(node: Node) -> list[str]:
    """The names of all that a node gives, the main value first."""
    return [node.id, *(f"{node.id}:{name}" for name, _ in OPERATORS[node.op].more_outputs)]


def _schedule(architecture: Architecture, functions: Mapping[str, Any], registers: Mapping[str, int]) -> list[_Step]:
    """Steps of the nodes that outputs depend on; values are dropped after their last use."""
    kept = {result.node for result in architecture.results}
    steps: list[_Step] = []
    used = set(kept)  # walking backwards, the first use met is the last one
    for node in reversed(architecture.nodes):
        results = _results(node)
        if used.isdisjoint(results):
            continue
        spent = tuple(registers[name] for name in dict.fromkeys(node.inputs) if name not in used)
        used.update(node.inputs)
        sources = tuple(registers[name] for name in node.inputs)
        parts = tuple((place, registers[name]) for place, name in enumerate(results) if name in used)
        steps.append(_Step(functions[node.id], sources, registers[node.id], spent, parts if len(results) > 1 else ()))
    return steps[::-1]


def load(
    architecture: Architecture, path: Path, *, sha256: str | None = None, transfer: Transfer | None = None
) -> Program:
    """Build the graph and map the weights, which then move to the device of `transfer` (None: they stay mapped).

    Raises BadUserInput when file and document do not fit. `sha256`, when given, is compared with the file's bytes
    first.
    """
    with path.open("rb") as file:
        if sha256 is not None and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise BadUserInput("the weights file does not have the recorded SHA-256", field="file")
        file.seek(0)
        architecture.check_weights(read_table(file.read, path.stat().st_size))
    dtype = _DTYPES[architecture.dtype]
    functions = {node.id: modules.build(node.op, node.args, dtype) for node in architecture.nodes}
    weights = load_file(path)
    for name, function in functions.items():
        if isinstance(function, nn.Module):
            _assign(name, function, weights)
    if weights:
        raise BadUserInput(f"the weights hold {min(weights)!r}, which no node uses", field="architecture")
    if transfer is not None:
        for function in functions.values():
            if isinstance(function, nn.Module):
                function.to(transfer.device)
    return Program(architecture, functions, transfer)


def _assign(name: str, module: nn.Module, weights: dict[str, Tensor]) -> None:
    own: dict[str, Tensor] = {}
    for key, placeholder in module.state_dict().items():
        full = modules.tensor_name(name, module, key)
        tensor = weights.pop(full)
        if tensor.shape != placeholder.shape or tensor.dtype != placeholder.dtype:
            raise BadUserInput(f"tensor {full!r} does not fit its module", field="architecture")
        own[key] = tensor
    module.load_state_dict(own, strict=True, assign=True)
    module.requires_grad_(requires_grad=False)
    module.eval()


def example(architecture: Architecture, rows: int) -> dict[str, Array]:
    """Zeros in the shape of the model's inputs, `rows` of them."""
    return {spec.name: np.zeros((rows, *spec.row_shape), spec.dtype.numpy) for spec in architecture.inputs}
