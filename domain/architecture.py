"""The architecture document `arch/1`: a model's computation as data, over the table of operators.

Parsing yields a checked, typed graph whose intermediate shapes are all known, and the exact tensors its
weights file must hold, without torch: so the web process can refuse a wrong document, or one that does
not match its weights, before anything is built. Documents are data from strangers: nothing here resolves
a name other than through `OPERATORS`, and every list and number is bounded.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from domain.errors import BadUserInput
from domain.operators import OPERATORS, Operator
from domain.safetensors import TensorTable
from domain.shapes import MAX_ROW_ELEMENTS, Infer, ParameterSpec, ShapeError, Value
from domain.tensors import DType, TensorSpec, kind_of, parse_dtype, shown

FORMAT: Final = "arch/1"
MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024
MAX_DIGITS: Final = 1_000
MAX_NODES: Final = 4096
MAX_INPUTS: Final = 64
MAX_OUTPUTS: Final = 64
MAX_ID: Final = 128
ID_PATTERN: Final = r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"
_ID: Final = re.compile(ID_PATTERN, re.ASCII)
PARAMETER_DTYPES: Final = {DType.FLOAT32: "F32", DType.FLOAT64: "F64", DType.FLOAT16: "F16"}


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: `args` are complete (defaults filled in).

    `inputs` name earlier nodes, inputs, or with `node:name` what a node gives besides its main value.
    """

    id: str
    op: str
    args: Mapping[str, Any]
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """A named result, and the node that computes it (or `node:name`, for what it gives besides)."""

    name: str
    node: str


@dataclass(frozen=True, slots=True)
class Architecture:
    """A checked graph. Nodes come in an order in which they can be computed."""

    dtype: DType
    inputs: tuple[TensorSpec, ...]
    nodes: tuple[Node, ...]
    results: tuple[Output, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, ParameterSpec]

    @property
    def parameter_count(self) -> int:
        """Elements over all expected tensors."""
        return sum(math.prod(spec.shape) for spec in self.parameters.values())

    def to_json(self) -> dict[str, Any]:
        """The canonical document: parsing it gives an equal graph."""
        return {
            "format": FORMAT,
            "dtype": self.dtype.value,
            "inputs": [spec.to_json() for spec in self.inputs],
            "nodes": [{"id": n.id, "op": n.op, "args": _args_json(n.args), "in": list(n.inputs)} for n in self.nodes],
            "outputs": [{"name": r.name, "node": r.node} for r in self.results],
        }

    def to_text(self) -> str:
        """The canonical document as JSON text with sorted keys."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """SHA-256 of the canonical text, in hexadecimal."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    def check_weights(self, table: TensorTable) -> None:
        """Compare with a weights file's header: the same names, shapes and dtypes, none missing, none extra.

        Raises BadUserInput that names the differing tensors.
        """
        expected, found = self.parameters, table.tensors
        if missing := [name for name in expected if name not in found]:
            raise BadUserInput(f"the weights lack {_some(missing)}", field="architecture")
        if extra := [name for name in found if name not in expected]:
            raise BadUserInput(f"the weights hold {_some(extra)}, which no node uses", field="architecture")
        for name, spec in expected.items():
            entry = found[name]
            if entry.shape != spec.shape or entry.dtype != spec.dtype:
                raise BadUserInput(
                    f"tensor {name!r}: the architecture expects {spec.dtype} {list(spec.shape)}, "
                    f"the weights hold {entry.dtype} {list(entry.shape)}",
                    field="architecture",
                )


def _args_json(args: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in args.items()}


def _some(names: list[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:3])
    return listed if len(names) <= 3 else f"{listed} and {len(names) - 3} more"


# --- parsing -------------------------------------------------------------------------------------


def parse_text(text: str | bytes, *, field: str = "architecture") -> Architecture:
    """Parse a JSON document; BadUserInput on anything but strict JSON of a valid `arch/1`."""
    if len(text) > MAX_DOCUMENT_BYTES:
        raise BadUserInput(f"larger than {MAX_DOCUMENT_BYTES} bytes", field=field)
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_int=_whole, parse_constant=_refuse_constant)
    except RecursionError:
        raise BadUserInput("not valid JSON: it is nested too deeply", field=field) from None
    except ValueError as error:
        raise BadUserInput(f"not valid JSON: {str(error)[:120]}", field=field) from None
    return parse(document, field=field)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def _whole(text: str) -> int:
    if len(text.removeprefix("-")) > MAX_DIGITS:  # Python would refuse it a little later, with advice for us
        raise ValueError(f"a whole number has more than {MAX_DIGITS} digits")
    return int(text)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def parse(document: object, *, field: str = "architecture") -> Architecture:
    """Check a decoded document; BadUserInput names the offending place, e.g. `architecture.nodes[2].op`."""
    top = _object(document, {"format", "inputs", "nodes", "outputs"}, {"dtype"}, field)
    if top["format"] != FORMAT:
        raise BadUserInput(f"expected {FORMAT!r}, got {shown(top['format'])}", field=f"{field}.format")
    dtype = _parse_dtype(top.get("dtype", "float32"), f"{field}.dtype")
    inputs = _parse_inputs(top["inputs"], f"{field}.inputs")
    graph = _Graph(dtype, {spec.name: Value(spec.dtype, spec.shape) for spec in inputs})
    for index, item in enumerate(_list(top["nodes"], MAX_NODES, f"{field}.nodes")):
        graph.add(item, f"{field}.nodes[{index}]")
    results, outputs = _parse_outputs(top["outputs"], graph, f"{field}.outputs")
    for index, spec in enumerate(inputs):
        if spec.name not in graph.used:
            raise BadUserInput(f"no node uses input {spec.name!r}", field=f"{field}.inputs[{index}]")
    return Architecture(dtype, inputs, tuple(graph.nodes), results, outputs, graph.parameters)


class _Graph:
    """The graph under construction: every value computed so far, and the parameters collected."""

    def __init__(self, dtype: DType, values: dict[str, Value]) -> None:
        self.dtype = dtype
        self.values = values
        self.nodes: list[Node] = []
        self.used: set[str] = set()
        self.computed: set[str] = set()
        self.parameters: dict[str, ParameterSpec] = {}

    def add(self, item: object, field: str) -> None:
        node = _object(item, {"id", "op", "in"}, {"args"}, field)
        name = node["id"]
        if not isinstance(name, str) or len(name) > MAX_ID or not _ID.fullmatch(name):
            raise BadUserInput(
                f"expected up to {MAX_ID} letters, digits, _ and single dots, got {shown(name)}", field=f"{field}.id"
            )
        if name in self.values:
            raise BadUserInput(f"{name!r} is already the name of a node or input", field=f"{field}.id")
        operator = OPERATORS.get(node["op"]) if isinstance(node["op"], str) else None
        if operator is None:
            raise BadUserInput(
                f"unknown operation {shown(node['op'])}; known: {', '.join(OPERATORS)}", field=f"{field}.op"
            )
        args = _parse_args(operator, node.get("args", {}), f"{field}.args")
        sources = self._sources(operator, node["in"], f"{field}.in")
        results = [(name, operator.infer), *((f"{name}:{more}", infer) for more, infer in operator.more_outputs)]
        for result, _ in results:
            if result in self.values:
                raise BadUserInput(f"{result!r} is already the name of an input", field=f"{field}.id")
        for result, infer in results:
            value = self._infer(operator, infer, args, sources, field)
            self.values[result] = value
            self.computed.add(result)
        self._own(name, operator, args, field)
        self.nodes.append(Node(name, operator.name, args, sources))
        self.used.update(sources)

    def _sources(self, operator: Operator, value: object, field: str) -> tuple[str, ...]:
        sources = _list(value, operator.most_inputs, field)
        if len(sources) < operator.least_inputs:
            raise BadUserInput(
                f"{operator.name} takes at least {operator.least_inputs} inputs, got {len(sources)}", field=field
            )
        for index, source in enumerate(sources):
            if not isinstance(source, str) or source not in self.values:
                raise BadUserInput(f"no input or earlier node is called {shown(source)}", field=f"{field}[{index}]")
        return tuple(sources)

    def _infer(
        self, operator: Operator, infer: Infer, args: Mapping[str, Any], sources: tuple[str, ...], field: str
    ) -> Value:
        values = [self.values[source] for source in sources]
        try:
            value = infer(args, values)
        except ShapeError as error:
            raise BadUserInput(f"{operator.name}: {error}", field=field) from None
        if operator.output_follows_parameters:
            value = Value(self.dtype, value.shape)
        elif value.dtype.is_float and value.dtype is not self.dtype:
            raise BadUserInput(
                f"{operator.name}: computes in {self.dtype.value}, but {value.dtype.value} flows in", field=field
            )
        if math.prod(value.row_shape) > MAX_ROW_ELEMENTS:
            raise BadUserInput(
                f"{operator.name}: a row of {list(value.row_shape)} has more than {MAX_ROW_ELEMENTS} elements",
                field=field,
            )
        return value

    def _own(self, name: str, operator: Operator, args: Mapping[str, Any], field: str) -> None:
        for suffix, spec in operator.parameters(args, PARAMETER_DTYPES[self.dtype]).items():
            full = f"{name}.{suffix}" if suffix else name
            if full in self.parameters:
                raise BadUserInput(f"two nodes own the tensor {full!r}", field=f"{field}.id")
            self.parameters[full] = spec


def _parse_dtype(value: object, field: str) -> DType:
    dtype = parse_dtype(value, field=field)
    if dtype not in PARAMETER_DTYPES:
        known = ", ".join(d.value for d in PARAMETER_DTYPES)
        raise BadUserInput(f"parameters cannot be {dtype.value}; known: {known}", field=field)
    return dtype


def _parse_inputs(value: object, field: str) -> tuple[TensorSpec, ...]:
    specs = tuple(
        TensorSpec.from_json(item, field=f"{field}[{index}]")
        for index, item in enumerate(_list(value, MAX_INPUTS, field))
    )
    _refuse_repeated((spec.name for spec in specs), field)
    for index, spec in enumerate(specs):
        if math.prod(spec.row_shape) > MAX_ROW_ELEMENTS:
            raise BadUserInput(f"a row has more than {MAX_ROW_ELEMENTS} elements", field=f"{field}[{index}].shape")
    return specs


def _parse_outputs(value: object, graph: _Graph, field: str) -> tuple[tuple[Output, ...], tuple[TensorSpec, ...]]:
    results: list[Output] = []
    specs: list[TensorSpec] = []
    for index, item in enumerate(_list(value, MAX_OUTPUTS, field)):
        output = _object(item, {"name", "node"}, set(), f"{field}[{index}]")
        node = output["node"]
        if not isinstance(node, str) or node not in graph.computed:
            raise BadUserInput(f"no node is called {shown(node)}", field=f"{field}[{index}].node")
        shape = graph.values[node]
        document = {"name": output["name"], "dtype": shape.dtype.value, "shape": shape.shape}
        specs.append(TensorSpec.from_json(document, field=f"{field}[{index}]"))
        results.append(Output(specs[-1].name, node))
    _refuse_repeated((spec.name for spec in specs), field)
    return tuple(results), tuple(specs)


def _parse_args(operator: Operator, value: object, field: str) -> dict[str, Any]:
    known = {argument.name: argument for argument in operator.arguments}
    required = {name for name, argument in known.items() if argument.required}
    given = _object(value, required, known.keys() - required, field)
    return {
        name: argument.parse(given[name], f"{field}.{name}") if name in given else argument.default
        for name, argument in known.items()
    }


def _object(value: object, required: Iterable[str], optional: Iterable[str], field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadUserInput(f"expected an object, got {kind_of(value)}", field=field)
    for name in sorted(required):
        if name not in value:
            raise BadUserInput(f"{name!r} is missing", field=field)
    known = sorted({*required, *optional})
    for name in value:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise BadUserInput(f"unknown key {shown(name)}; known: {listed}", field=field)
    return value


def _list(value: object, most: int, field: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise BadUserInput(f"expected a list with at least one element, got {kind_of(value)}", field=field)
    if len(value) > most:
        raise BadUserInput(f"{len(value)} elements; at most {most}", field=field)
    return value


def _refuse_repeated(names: Iterable[str], field: str) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise BadUserInput(f"the name {name!r} appears twice", field=f"{field}[{index}].name")
        seen.add(name)
