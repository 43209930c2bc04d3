"""The architecture document: what is accepted, what it says about weights, and where refusals point."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import architecture
from domain.architecture import parse, parse_text
from domain.errors import BadUserInput
from domain.operators import OPERATORS
from domain.safetensors import TensorEntry, TensorTable
from domain.shapes import ParameterSpec, Value
from domain.tensors import DType, TensorSpec
from tests.support.models import document, linear, lookup, mlp, node


def refused(doc: object) -> BadUserInput:
    with pytest.raises(BadUserInput) as caught:
        parse(doc)
    return caught.value


def test_a_sequential_maps_one_to_one() -> None:
    graph = parse(mlp(256))
    assert graph.inputs == (TensorSpec("x", DType.FLOAT32, (-1, 64)),)
    assert graph.outputs == (TensorSpec("y", DType.FLOAT32, (-1, 10)),)
    assert graph.parameters == {
        "0.weight": ParameterSpec("F32", (256, 64)),
        "0.bias": ParameterSpec("F32", (256,)),
        "2.weight": ParameterSpec("F32", (10, 256)),
        "2.bias": ParameterSpec("F32", (10,)),
    }
    assert graph.parameter_count == 256 * 65 + 257 * 10


def test_convolutional_net() -> None:
    graph = parse(
        document(
            [3, 32, 32],
            node("stem.conv", "Conv2d", "x", in_channels=3, out_channels=8, kernel_size=3, padding=1, bias=False),
            node("stem.bn", "BatchNorm2d", "stem.conv", num_features=8),
            node("act", "ReLU", "stem.bn"),
            node("pool", "MaxPool2d", "act", kernel_size=3, stride=2, padding=1),
            node("skip", "Conv2d", "pool", in_channels=8, out_channels=8, kernel_size=[1, 1]),
            node("sum", "add", "pool", "skip"),
            node("gap", "AdaptiveAvgPool2d", "sum", output_size=1),
            node("flat", "Flatten", "gap"),
            node("fc", "Linear", "flat", in_features=8, out_features=5),
        )
    )
    assert graph.outputs[0].shape == (-1, 5)
    assert graph.parameters["stem.bn.num_batches_tracked"] == ParameterSpec("I64", ())
    assert "stem.conv.bias" not in graph.parameters
    assert graph.nodes[0].args["kernel_size"] == (3, 3)


def test_canonical_document_parses_to_the_same_graph() -> None:
    for doc in (mlp(), lookup(), document([4, 6], node("r", "reshape", "x", shape=[-1, 3]))):
        graph = parse(doc)
        again = parse_text(graph.to_text())
        assert again == graph
        assert again.digest() == graph.digest()


def test_embedding_gives_the_parameters_dtype() -> None:
    graph = parse({**lookup(), "dtype": "float64"})
    assert graph.outputs[0] == TensorSpec("y", DType.FLOAT64, (-1, 3, 2))
    assert graph.parameters["table.weight"].dtype == "F64"


def changed(**changes: Any) -> dict[str, Any]:
    return {**linear(), **changes}


LINEAR = node("0", "Linear", "x", in_features=4, out_features=4)

WRONG: list[tuple[object, str, str]] = [
    (None, "architecture", "expected an object, got null"),
    ([], "architecture", "expected an object, got a list"),
    ({}, "architecture", "'format' is missing"),
    (changed(format="arch/2"), "architecture.format", "arch/1"),
    (changed(code="print()"), "architecture", "unknown key 'code'"),
    (changed(dtype="int64"), "architecture.dtype", "cannot be int64"),
    (changed(inputs=[]), "architecture.inputs", "at least one"),
    (changed(inputs=[{"name": "x", "dtype": "float32", "shape": [2, 4]}]), "architecture.inputs[0].shape[0]", "-1"),
    (changed(inputs=linear()["inputs"] * 2), "architecture.inputs[1].name", "twice"),
    (changed(nodes={}), "architecture.nodes", "expected a list"),
    (changed(nodes=[LINEAR] * 4097), "architecture.nodes", "at most 4096"),
    (changed(nodes=[{**LINEAR, "call": "os.system"}]), "architecture.nodes[0]", "unknown key 'call'"),
    (changed(nodes=[{**LINEAR, "op": "torch.nn.Linear"}]), "architecture.nodes[0].op", "unknown operation"),
    (changed(nodes=[{**LINEAR, "op": "__class__"}]), "architecture.nodes[0].op", "unknown operation"),
    (changed(nodes=[{**LINEAR, "op": ["Linear"]}]), "architecture.nodes[0].op", "unknown operation"),
    (changed(nodes=[{**LINEAR, "id": "../0"}]), "architecture.nodes[0].id", "letters"),
    (changed(nodes=[{**LINEAR, "id": "a..b"}]), "architecture.nodes[0].id", "letters"),
    (changed(nodes=[{**LINEAR, "id": "x"}]), "architecture.nodes[0].id", "already"),
    (changed(nodes=[LINEAR, LINEAR]), "architecture.nodes[1].id", "already"),
    (changed(nodes=[{**LINEAR, "in": ["0"]}]), "architecture.nodes[0].in[0]", "earlier node"),
    (changed(nodes=[{**LINEAR, "in": ["x", "x"]}]), "architecture.nodes[0].in", "at most 1"),
    (changed(nodes=[node("0", "add", "x")]), "architecture.nodes[0].in", "at least 2"),
    (changed(nodes=[node("0", "Linear", "x", in_features=4)]), "architecture.nodes[0].args", "'out_features'"),
    (changed(nodes=[node("0", "ReLU", "x", inplace=True)]), "architecture.nodes[0].args", "known: none"),
    (
        changed(nodes=[node("0", "Linear", "x", in_features=4, out_features=2**25)]),
        "architecture.nodes[0].args.out_features",
        "from 1 to",
    ),
    (
        changed(nodes=[node("0", "Linear", "x", in_features=4, out_features=4.0)]),
        "architecture.nodes[0].args.out_features",
        "whole number",
    ),
    (
        changed(nodes=[node("0", "Linear", "x", in_features=4, out_features=True)]),
        "architecture.nodes[0].args.out_features",
        "whole number",
    ),
    (
        changed(nodes=[node("0", "Linear", "x", in_features=4, out_features=4, bias="no")]),
        "architecture.nodes[0].args.bias",
        "true or false",
    ),
    (changed(nodes=[node("0", "GELU", "x", approximate="exact")]), "architecture.nodes[0].args.approximate", "tanh"),
    (changed(nodes=[node("0", "ELU", "x", alpha=10**400)]), "architecture.nodes[0].args.alpha", "a number from"),
    (changed(nodes=[node("0", "Linear", "x", in_features=5, out_features=4)]), "architecture.nodes[0]", "4 flow in"),
    (changed(nodes=[node("0", "Softmax", "x", dim=0)]), "architecture.nodes[0]", "batch"),
    (changed(nodes=[node("0", "Softmax", "x", dim=-2)]), "architecture.nodes[0]", "batch"),
    (changed(nodes=[node("0", "cat", "x", "x", dim=0)]), "architecture.nodes[0]", "batch"),
    (changed(nodes=[node("0", "mean", "x", dim=[0])]), "architecture.nodes[0]", "batch"),
    (changed(nodes=[node("0", "transpose", "x", dim0=0, dim1=1)]), "architecture.nodes[0]", "batch"),
    (changed(nodes=[node("0", "Flatten", "x", start_dim=0)]), "architecture.nodes[0]", "batch"),
    (changed(nodes=[node("0", "matmul", "x", "x")]), "architecture.nodes[0]", "cannot multiply"),
    (changed(nodes=[node("0", "reshape", "x", shape=[-1, -1])]), "architecture.nodes[0]", "at most one"),
    (changed(nodes=[node("0", "reshape", "x", shape=[3])]), "architecture.nodes[0]", "do not fill"),
    (changed(nodes=[node("0", "reshape", "x", shape=[0])]), "architecture.nodes[0]", "positive"),
    (document([1, 9, 9], node("0", "AdaptiveAvgPool2d", "x", output_size=4096), node("1", "cat", "0", "0", "0")),
     "architecture.nodes[1]", "elements"),
    (document([1, 2, 2], node("0", "MaxPool2d", "x", kernel_size=3)), "architecture.nodes[0]", "does not fit"),
    (document([2], node("0", "ReLU", "x"), dtype="float64"), "architecture.nodes[0]", "float64 flows in"),
    (document([2], node("0", "ReLU", "x"), dtype="int64"), "architecture.nodes[0]", "floating point"),
    (changed(outputs=[]), "architecture.outputs", "at least one"),
    (changed(outputs=[{"name": "y", "node": "9"}]), "architecture.outputs[0].node", "'9'"),
    (changed(outputs=[{"name": "y", "node": "x"}]), "architecture.outputs[0].node", "'x'"),
    (changed(outputs=[{"name": "y", "node": "0"}] * 2), "architecture.outputs[1].name", "twice"),
    (changed(inputs=[*linear()["inputs"], {"name": "z", "dtype": "float32", "shape": [-1]}]),
     "architecture.inputs[1]", "no node uses"),
]  # fmt: skip


@pytest.mark.parametrize(("doc", "field", "part"), WRONG, ids=[f"{i}-{w[2][:20]}" for i, w in enumerate(WRONG)])
def test_wrong_document_is_refused_with_its_place(doc: object, field: str, part: str) -> None:
    error = refused(doc)
    assert error.field == field
    assert part in error.message


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b"[" * 100_000,
        b"\xff",
        b'{"format":"arch/1"}',
        b" " * (4 * 2**20 + 1),
    ],
)
def test_text_that_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(BadUserInput):
        parse_text(text)


@pytest.mark.parametrize("digits", [1_001, 5_000])
def test_a_number_without_end_is_refused_in_our_words(digits: int) -> None:
    with pytest.raises(BadUserInput, match=r"^not valid JSON: a whole number has more than 1000 digits$"):
        parse_text('{"a": -%s}' % ("1" * digits))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**33) | st.floats() | st.sampled_from(["x", "0", "ReLU", "Linear"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "op", "in", "args", "format", "nodes", "dim", "shape"]), inner, max_size=4
        )
    ),
    max_leaves=15,
)


@given(values)
def test_any_value_is_refused_with_a_code(value: object) -> None:
    assert refused(value).field is not None


@given(st.sampled_from(sorted(OPERATORS)), st.lists(st.integers(1, 5), max_size=4), st.data())
def test_any_arguments_are_refused_with_a_code_or_give_a_graph(op: str, shape: list[int], data: st.DataObject) -> None:
    """Half-sensible arguments reach the inference rules: they may refuse, never break."""
    arguments = {
        argument.name: data.draw(st.integers(-2, 6) | st.lists(st.integers(-2, 6), max_size=3) | st.booleans())
        for argument in OPERATORS[op].arguments
        if argument.required or data.draw(st.booleans())
    }
    sources = ["x"] * OPERATORS[op].least_inputs
    try:
        graph = parse(document(shape, node("0", op, *sources, **arguments)))
    except BadUserInput as error:
        assert error.field is not None
        return
    assert graph.outputs[0].shape[0] == -1
    assert all(size >= 1 for size in graph.outputs[0].row_shape)
    json.dumps(graph.to_json(), allow_nan=False)


def table(graph: architecture.Architecture, **changes: tuple[str, tuple[int, ...]] | None) -> TensorTable:
    specs = {name: (spec.dtype, spec.shape) for name, spec in graph.parameters.items()}
    specs.update({name: spec for name, spec in changes.items() if spec is not None})
    kept = {name: spec for name, spec in specs.items() if changes.get(name, ()) is not None}
    return TensorTable({name: TensorEntry(name, dtype, shape, 0, 0) for name, (dtype, shape) in kept.items()})


def test_weights_that_match_are_accepted() -> None:
    graph = parse(mlp())
    assert sorted(graph.parameters) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    graph.check_weights(table(graph))  # raises for the first that does not match


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"2.bias": None}, "lack '2.bias'"),
        ({"9.bias": ("F32", (1,))}, "hold '9.bias'"),
        ({"2.bias": ("F32", (11,))}, r"expects F32 \[10\], the weights hold F32 \[11\]"),
        ({"2.bias": ("F64", (10,))}, r"expects F32 \[10\], the weights hold F64 \[10\]"),
        ({"0.weight": ("F32", (64, 256))}, r"expects F32 \[256, 64\]"),
    ],
)
def test_weights_that_do_not_match_are_refused_by_name(changes: dict[str, Any], part: str) -> None:
    graph = parse(mlp())
    with pytest.raises(BadUserInput, match=part) as caught:
        graph.check_weights(table(graph, **changes))
    assert caught.value.field == "architecture"


def test_many_missing_tensors_are_counted() -> None:
    graph = parse(mlp(depth=3))
    with pytest.raises(BadUserInput, match="and 5 more"):
        graph.check_weights(TensorTable({}))


def test_two_nodes_cannot_own_one_tensor() -> None:
    # No table entry nests names yet; the rule still holds for the graph builder.
    graph = architecture._Graph(DType.FLOAT32, {"x": Value(DType.FLOAT32, (-1, 4))})
    graph.parameters["0.bias"] = ParameterSpec("F32", (4,))
    with pytest.raises(BadUserInput, match="two nodes own"):
        graph.add(LINEAR, "architecture.nodes[0]")
