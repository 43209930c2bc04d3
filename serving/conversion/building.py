"""Makes a module of a document and its weights: for training on, or for comparing with what is served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from domain.architecture import Architecture, parse_text
from domain.errors import BadUserInput
from domain.operators import OPERATORS
from serving.conversion.exporting import default_dtype
from serving.conversion.values import ConversionError
from serving.replica import modules


class Served(nn.Module):
    """Computes what a document says. Its `state_dict` has the names of the weights file."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self._functions: dict[str, Any] = {}
        dtype = default_dtype(architecture.dtype)
        for node in architecture.nodes:
            built = modules.construct(node.op, node.args, dtype)
            self._functions[node.id] = built
            if isinstance(built, nn.Module) and built.state_dict():
                self._adopt(node.id, built)

    def train(self, mode: bool = True) -> Served:
        """As any module's; what has no tensors follows."""
        for function in self._functions.values():
            if isinstance(function, nn.Module):
                function.train(mode)
        super().train(mode)
        return self

    def _adopt(self, path: str, module: nn.Module) -> None:
        """Puts a node's module where its tensors have their names."""
        *folders, last = path.split(".")
        place: nn.Module = self
        for folder in folders:
            below = dict(place.named_children()).get(folder)
            if below is None:
                below = nn.Module()
                place.add_module(folder, below)
            place = below
        if isinstance(module, modules.Learned):
            place.register_parameter(last, module.value)
        elif last in dict(place.named_children()):
            raise ConversionError(f"{path!r} is a node and holds others")
        else:
            place.add_module(last, module)

    def forward(self, *inputs: Tensor) -> Tensor | dict[str, Tensor]:
        """The outputs by name; the value itself when there is only one."""
        specs = self.architecture.inputs
        values: dict[str, Tensor] = dict(zip((spec.name for spec in specs), inputs, strict=True))
        for node in self.architecture.nodes:
            found = self._functions[node.id](*(values[name] for name in node.inputs))
            more = [f"{node.id}:{name}" for name, _ in OPERATORS[node.op].more_outputs]
            values.update(zip((node.id, *more), found, strict=True) if more else {node.id: found}.items())
        results = {result.name: values[result.node] for result in self.architecture.results}
        return results if len(results) > 1 else next(iter(results.values()))


def build_module(architecture: Architecture, weights: Mapping[str, Tensor]) -> Served:
    """A module in evaluation mode with exactly these weights. Raises ConversionError when they do not fit."""
    built = Served(architecture)
    try:
        built.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        raise ConversionError(f"the weights do not fit the document: {error}") from None
    return built.eval()


def load(folder: Path) -> Served:
    """The module of `architecture.json` and `weights.safetensors` in a folder. Raises ConversionError."""
    try:
        architecture = parse_text((folder / "architecture.json").read_bytes())
    except BadUserInput as error:
        raise ConversionError(f"{error.field}: {error.message}") from None
    return build_module(architecture, load_file(folder / "weights.safetensors"))
