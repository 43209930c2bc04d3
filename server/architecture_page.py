"""The page `docs/architecture.md`: the `arch/1` document for its writers, with the table that the parser applies."""

from __future__ import annotations

from typing import Any, Final

from domain.architecture import FORMAT, MAX_DOCUMENT_BYTES, MAX_ID, MAX_INPUTS, MAX_NODES, MAX_OUTPUTS
from domain.arguments import Argument
from domain.operators import OPERATORS, Operator
from domain.shapes import MAX_ROW_ELEMENTS
from domain.tensors import MAX_NAME, MAX_RANK, DType

_HEAD: Final = f"""# The architecture document

This page is generated: `axonml-server architecture > docs/architecture.md`. A server publishes the same rules as a
JSON Schema at `/api/schemas/arch-1.json` (`schema/arch-1.json` in the source). `axonml-server model export` writes a
document and its weights from a PyTorch module, and `examples/architectures` holds one script for each family of models.

A version whose weights are a safetensors file can be served once it has an architecture: a JSON document that says what
is computed, as data. It comes with the upload (the part `architecture`), or later and once by
`PUT /api/models/{{id}}/versions/{{v}}/architecture`. It is compared with the header of the weights before a byte of
them is read: names, shapes and types must agree, nothing missing, nothing extra.

## An example

Two layers over rows of 64 numbers. An `nn.Sequential` maps to it one to one: a node's id is the prefix of its tensors
in the weights file, here `0.weight`, `0.bias`, `2.weight` and `2.bias`.

```json
{{
  "format": "{FORMAT}",
  "inputs": [{{"name": "x", "dtype": "float32", "shape": [-1, 64]}}],
  "nodes": [
    {{"id": "0", "op": "Linear", "args": {{"in_features": 64, "out_features": 128}}, "in": ["x"]}},
    {{"id": "1", "op": "ReLU", "in": ["0"]}},
    {{"id": "2", "op": "Linear", "args": {{"in_features": 128, "out_features": 10}}, "in": ["1"]}}
  ],
  "outputs": [{{"name": "logits", "node": "2"}}]
}}
```

## Fields

| field | meaning |
|---|---|
| `format` | `{FORMAT}` |
| `dtype` | type of the parameters and of all floating-point values: `float32` (when left out), `float64`, `float16` |
| `inputs` | 1 to {MAX_INPUTS}: `name`, `dtype` ({", ".join(f"`{dtype.value}`" for dtype in DType)}), `shape` |
| `nodes` | 1 to {MAX_NODES}, each after those it reads: `id`, `op`, `args` (may be left out), `in` |
| `outputs` | 1 to {MAX_OUTPUTS}: `name`, and the id of the `node` whose value it is, or `id:name` |

## Rules

- The first size of every shape is `-1`, the batch: rows of different requests share it, so no operation may mix, drop
  or reorder rows. The other sizes are fixed. A shape has at most {MAX_RANK} sizes, a row at most
  {MAX_ROW_ELEMENTS:,} elements.
- An id has up to {MAX_ID} letters, digits and `_`, with single dots between; a name of an input or output up to
  {MAX_NAME} printable characters. Inputs and nodes share one set of names. Every input is used.
- `in` names inputs and earlier nodes, in the order in which the operation takes them.
- Some operations give more than one value. The others are read as `id:name`, by nodes and by outputs: `lstm:h_n`.
- An operation that computes with floating point takes values of `dtype` only; nothing is converted silently.
- Unknown keys, unknown operations and arguments outside their bounds are refused with the place, such as
  `architecture.nodes[2].args.dim`. A document has at most {MAX_DOCUMENT_BYTES // 2**20} MiB.

## Operations

Names and arguments are PyTorch's. An argument without a default (in brackets) must be given. A list of a fixed length
may be written as one number for all. `reshape` gives the shape of a row, without the batch; dimensions are counted with
the batch as 0, and negative ones from the end. `Dropout` passes through: models are served as they are evaluated.

Sequences are `(batch, steps, features)`, as with PyTorch's `batch_first=True`. Final and initial states of recurrent
layers have the rows first as well: `(batch, layers * directions, features)`; an `LSTM` takes both initial states or
none. Inputs of attention are queries, keys and values, then the padding of the keys; of a `TransformerEncoderLayer` the
sequence and its padding; of a `TransformerDecoderLayer` the sequence, the memory, and the padding of each. A padding is
`bool`, `(batch, steps)`, true where a step is to be ignored. `is_causal` hides later steps; other masks are not known.

`Parameter`, `arange` and `sinusoidal_positions` give every row the same: their input only says how many rows there are.
The tensor of a `Parameter` has the node's id as its whole name; with `leading_one` its first size is 1 and stands for
the batch. `slice` counts as Python does. `expand` repeats dimensions of size 1 to the shape of a row.

| operation | inputs | arguments | tensors | gives besides |
|---|---|---|---|---|
"""


def markdown() -> str:
    """The text of `docs/architecture.md`."""
    return _HEAD + "".join(_row(operator) for operator in OPERATORS.values())


def _row(operator: Operator) -> str:
    least, most = operator.least_inputs, operator.most_inputs
    inputs = f"{least}" if least == most else f"{least} to {most}"
    arguments = "; ".join(_argument(argument) for argument in operator.arguments)
    tensors = ", ".join(
        f"`{suffix}`" if suffix else "its id" for suffix in operator.parameters(_sample(operator), "F32")
    )
    besides = ", ".join(f"`{name}`" for name, _ in operator.more_outputs)
    return f"| `{operator.name}` | {inputs} | {arguments} | {tensors} | {besides} |\n"


def _argument(argument: Argument) -> str:
    text = f"`{argument.name}`: {argument.wanted}"
    return text if argument.required else f"{text} ({_shown(argument)})"


def _shown(argument: Argument) -> str:
    default = argument.default
    if default is None:
        return argument.absent
    if isinstance(default, tuple):
        return "`" + ", ".join(map(str, default)) + "`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _sample(operator: Operator) -> dict[str, Any]:
    """Arguments that the operation takes, to ask it which tensors it owns."""
    return {each.name: _least(each) if each.required else each.default for each in operator.arguments}


def _least(argument: Argument) -> Any:
    low = int(argument.low)
    return (low,) * (argument.length or 1) if argument.kind == "ints" else low
