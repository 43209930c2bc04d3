"""Writes a module as an architecture document with its weights.

The module is traced symbolically (`torch.fx`): its code runs once, on placeholders, in the process of whoever calls.
Supported modules are written as they are, others are looked into; each call is translated by a table of what the
document knows. What it does not know is an error that names the module or function, never an approximation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, fx, nn

from domain.architecture import PARAMETER_DTYPES, Architecture, parse
from domain.errors import BadUserInput
from domain.shapes import Value
from domain.tensors import BATCH, DType, TensorSpec
from serving.conversion import layers
from serving.conversion.functions import FUNCTIONS, METHODS
from serving.conversion.values import DTYPES, ConversionError, Flow, Missing, Rows, Writer


@dataclass(frozen=True, slots=True)
class Exported:
    """A document, the tensors it needs, and those of the module that it does not."""

    architecture: Architecture
    weights: Mapping[str, Tensor]
    unused: tuple[str, ...]


def input_spec(text: str) -> TensorSpec:
    """An input from `name:dtype:sizes`, such as `x:float32:3x224x224`; no sizes: one number for each row."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(size.isdecimal() for size in "".join(parts[2:]).split("x") if size):
        raise ConversionError(f"{text!r}: expected name:dtype:sizes, such as x:float32:3x224x224")
    sizes = [int(size) for size in parts[2].split("x")] if len(parts) == 3 and parts[2] else []
    document = {"name": parts[0], "dtype": parts[1], "shape": [BATCH, *sizes]}
    try:
        return TensorSpec.from_json(document, field="input")
    except BadUserInput as error:
        raise ConversionError(f"{text!r}: {error.message}") from None


def export_module(module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str] | None = None) -> Exported:
    """The document of a module's evaluation on `inputs`, in the order of its forward's arguments.

    `outputs` names its results, when there are several or `output` is not the right word; results in a dictionary
    have their keys as names. Raises ConversionError.
    """
    state = {name: tensor.detach() for name, tensor in module.state_dict().items()}
    training = {name: part.training for name, part in module.named_modules()}
    module.eval()
    try:
        graph = _trace(module)
        writer = Writer(inputs, _dtype(state), state)
        found = _walk(module, graph, writer)
    finally:
        for name, part in module.named_modules():
            part.training = training[name]
    results = _named(found, outputs)
    document = {
        "format": "arch/1",
        "dtype": writer.dtype.value,
        "inputs": [spec.to_json() for spec in inputs],
        "nodes": writer.nodes,
        "outputs": [{"name": name, "node": _result(writer, name, flow)} for name, flow in results.items()],
    }
    try:
        architecture = parse(document)
    except BadUserInput as error:
        raise ConversionError(f"{error.field}: {error.message}") from None
    available = {**state, **writer.tensors}
    weights = {name: available[name].contiguous().clone() for name in architecture.parameters}
    return Exported(architecture, weights, tuple(name for name in state if name not in weights))


def save(exported: Exported, folder: Path) -> None:
    """Writes `architecture.json` and `weights.safetensors` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "architecture.json").write_text(exported.architecture.to_text() + "\n", encoding="utf-8")
    save_file(dict(exported.weights), folder / "weights.safetensors")


class _Tracer(fx.Tracer):
    """Looks into every module that the tables do not know as a whole."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return layers.is_known(m) or super().is_leaf_module(m, module_qualified_name)


def _trace(module: nn.Module) -> fx.Graph:
    if layers.is_known(module):
        raise ConversionError(f"a bare {type(module).__name__} has no name for its tensors: wrap it in nn.Sequential")
    try:
        return _Tracer().trace(module)
    except (fx.proxy.TraceError, TypeError) as error:
        raise ConversionError(
            f"the forward of {type(module).__name__} cannot be followed: what it does depends on values: {error}"
        ) from None


def _dtype(state: Mapping[str, Tensor]) -> DType:
    found = {DTYPES[tensor.dtype] for tensor in state.values() if tensor.is_floating_point() and tensor.dtype in DTYPES}
    if len(found) > 1:
        raise ConversionError(f"its parameters have several types: {', '.join(sorted(found))}")
    dtype = found.pop() if found else DType.FLOAT32
    if dtype not in PARAMETER_DTYPES:
        raise ConversionError(f"parameters of {dtype} are not supported")
    return dtype


def _walk(module: nn.Module, graph: fx.Graph, writer: Writer) -> Any:
    """Runs the graph on flows; what it returns."""
    modules = dict(module.named_modules())
    inputs = iter(writer.inputs)
    values: dict[fx.Node, Any] = {}

    def known(argument: Any) -> Any:
        return fx.node.map_arg(argument, values.__getitem__)

    for node in graph.nodes:
        if node.op == "placeholder":
            spec = next(inputs, None)
            if spec is None and not node.args:
                raise ConversionError(f"its forward takes {node.target!r} too: name an input for it")
            values[node] = Flow(spec.name, Value(spec.dtype, spec.shape)) if spec else node.args[0]
        elif node.op == "get_attr":
            values[node] = _Attribute(str(node.target), _attribute(module, str(node.target)))
        elif node.op == "output":
            if (spec := next(inputs, None)) is not None:
                raise ConversionError(f"its forward takes no input for {spec.name!r}")
            return known(node.args[0])
        else:
            args, kwargs = known(node.args), known(node.kwargs)
            values[node] = _call(writer, modules, node, *_settled(writer, node, args, kwargs))
    raise ConversionError("its forward returns nothing")


@dataclass(frozen=True, slots=True)
class _Attribute:
    """A parameter or buffer of the module, not yet a node."""

    path: str
    tensor: Tensor


def _attribute(module: nn.Module, path: str) -> Any:
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _settled(writer: Writer, node: fx.Node, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments in which attributes of the module are nodes, or plain tensors where nothing else flows in."""
    flows = _any(args, Flow) or _any(kwargs, Flow) or node.op == "call_module"

    def settle(value: Any) -> Any:
        if isinstance(value, _Attribute):
            learned = value.tensor.is_floating_point()
            keep = learned and (flows or value.path in writer.state)
            return writer.constant(value.path, value.tensor.detach()) if keep else value.tensor
        if isinstance(value, list | tuple):
            return type(value)(settle(each) for each in value)
        return value

    return settle(tuple(args)), {key: settle(value) for key, value in kwargs.items()}


def _any(value: Any, kind: type | tuple[type, ...]) -> bool:
    if isinstance(value, list | tuple):
        return any(_any(each, kind) for each in value)
    if isinstance(value, dict):
        return any(_any(each, kind) for each in value.values())
    return isinstance(value, kind)


def _call(writer: Writer, modules: Mapping[str, nn.Module], node: fx.Node, args: Any, kwargs: Any) -> Any:
    if node.op == "call_module":
        return layers.write(writer, str(node.target), modules[str(node.target)], *args, **kwargs)
    ours = _any(args, (Flow, Rows, Missing)) or _any(kwargs, (Flow, Rows, Missing))
    if node.op == "call_method":
        name = str(node.target)
        if not ours:
            return getattr(args[0], name)(*args[1:], **kwargs)
        call = METHODS.get(name) or METHODS.get(name.removesuffix("_"))
    else:
        name = getattr(node.target, "__name__", str(node.target))
        if not ours:
            return node.target(*args, **kwargs)  # type: ignore[operator]  # a function: the other kinds were above
        call = FUNCTIONS.get(node.target)
    place = f"{name}{_where(node)}"
    if call is None:
        raise ConversionError(f"{place} is not supported")
    try:
        return call(writer, node.name, *args, **kwargs)
    except ConversionError as error:
        raise ConversionError(f"{place}: {error}") from None
    except (TypeError, ValueError, IndexError) as error:
        raise ConversionError(f"{place}: not supported with these arguments ({error})") from None


def _where(node: fx.Node) -> str:
    """In which module's forward a function was called."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path, kind = list(stack.values())[-1]
    return f" in {path or 'the module'} ({getattr(kind, '__name__', kind)})"


def _named(found: Any, names: Sequence[str] | None) -> dict[str, Any]:
    if isinstance(found, dict) and names is None:
        return {str(name): flow for name, flow in found.items()}
    results = list(found) if isinstance(found, list | tuple) else [found]
    if names is None:
        names = ["output"] if len(results) == 1 else [f"output_{number}" for number in range(len(results))]
    if len(names) != len(results):
        raise ConversionError(f"it returns {len(results)} values, but {len(names)} names are given")
    return dict(zip(names, results, strict=True))


def _result(writer: Writer, name: str, flow: Any) -> str:
    if not isinstance(flow, Flow):
        what = flow.what if isinstance(flow, Missing) else type(flow).__name__
        raise ConversionError(f"output {name!r} is no computed tensor but {what}")
    if flow.axis != 0:
        raise ConversionError(f"output {name!r} must have the batch first")
    if any(spec.name == flow.name for spec in writer.inputs):
        return writer.add(f"{flow.name}_out", "Identity", [flow]).name
    return flow.name


def default_dtype(dtype: DType) -> torch.dtype:
    """Torch's name of a type."""
    return next(theirs for theirs, ours in DTYPES.items() if ours is dtype)
