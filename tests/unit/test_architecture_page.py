"""The page about the architecture document says what the parser does."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from domain.architecture import parse_text
from domain.operators import OPERATORS
from server.architecture_page import markdown
from server.cli import app

COMMITTED = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_page_is_generated_from_the_table_of_operations() -> None:
    assert markdown() == COMMITTED, "run: axonml-server architecture > docs/architecture.md"
    printed = CliRunner().invoke(app, ["architecture"])
    assert (printed.exit_code, printed.output) == (0, COMMITTED)


def test_its_example_is_a_valid_document() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", COMMITTED, re.DOTALL)
    graph = parse_text(example)
    assert list(graph.parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [output.name for output in graph.outputs] == ["logits"]
    assert graph.outputs[0].shape == (-1, 10)


def test_every_operation_has_its_row() -> None:
    rows = dict(
        re.findall(
            r"^\| `(\w+)` \| [^|]+ \| ([^|]*) \|[^|]*\|[^|]*\|$", COMMITTED.partition("## Operations")[2], re.MULTILINE
        )
    )
    assert list(rows) == list(OPERATORS)
    for name, operator in OPERATORS.items():
        for argument in operator.arguments:
            assert f"`{argument.name}`: {argument.wanted}" in rows[name]
