"""The published JSON Schema of the architecture document is that of the table, and never stricter than the parser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from domain.architecture import parse
from domain.errors import BadUserInput
from domain.operators import OPERATORS
from server.architecture_schema import build
from server.cli import app
from tests.support.models import document, linear, mlp, node

COMMITTED = Path(__file__).parents[2] / "schema" / "arch-1.json"
VALIDATOR = jsonschema_rs.Draft202012Validator(build())


def test_the_committed_schema_is_that_of_the_table() -> None:
    printed = CliRunner().invoke(app, ["architecture", "--json-schema"])
    assert printed.exit_code == 0
    assert printed.output == COMMITTED.read_text(), "run: axonml-server architecture --json-schema > schema/arch-1.json"
    assert json.loads(printed.output) == build()
    jsonschema_rs.meta.validate(build())


def changed(**changes: Any) -> dict[str, Any]:
    return {**linear(), **changes}


LINEAR = node("0", "Linear", "x", in_features=4, out_features=4)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        changed(format="arch/2"),
        changed(dtype="int64"),
        changed(code=""),
        changed(inputs=[]),
        changed(inputs=[{"name": "x", "dtype": "float32", "shape": [2, 4]}]),
        changed(nodes=[{**LINEAR, "op": "os.system"}]),
        changed(nodes=[{**LINEAR, "id": "../0"}]),
        changed(nodes=[{**LINEAR, "in": ["x", "x"]}]),
        changed(nodes=[{**LINEAR, "args": {"in_features": 4}}]),
        changed(nodes=[node("0", "Linear", "x", in_features=4, out_features=2**25)]),
        changed(nodes=[node("0", "Linear", "x", in_features=4, out_features=4, bias="no")]),
        changed(nodes=[node("0", "ReLU", "x", inplace=True)]),
        changed(nodes=[node("0", "GELU", "x", approximate="exact")]),
        changed(nodes=[node("0", "MaxPool2d", "x", kernel_size=[1, 2, 3])]),
        changed(outputs=[{"name": "y"}]),
    ],
)
def test_it_refuses_what_has_a_wrong_form(wrong: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(wrong)
    with pytest.raises(BadUserInput):
        parse(wrong)


def test_canonical_documents_are_valid() -> None:
    for doc in (linear(), mlp(), document([4], node("0", "LSTM", "1", input_size=1, hidden_size=1))):
        VALIDATOR.validate(doc)
    VALIDATOR.validate(parse(mlp()).to_json())


numbers = st.integers(-2, 6) | st.floats(-2, 6) | st.none() | st.booleans()


@given(st.sampled_from(sorted(OPERATORS)), st.lists(st.integers(1, 6), max_size=4), st.data())
def test_what_the_parser_accepts_the_schema_accepts(op: str, shape: list[int], data: st.DataObject) -> None:
    operator = OPERATORS[op]
    arguments: dict[str, Any] = {}
    for argument in operator.arguments:
        if argument.required or data.draw(st.booleans()):
            words = st.sampled_from([*argument.choices, "x"])
            arguments[argument.name] = data.draw(numbers | st.lists(st.integers(-2, 6), max_size=3) | words)
    doc = document(shape, node("0", op, *["x"] * operator.least_inputs, **arguments))
    try:
        graph = parse(doc)
    except BadUserInput:
        return
    VALIDATOR.validate(doc)
    VALIDATOR.validate(graph.to_json())
