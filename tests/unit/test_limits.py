"""The measure of GraphQL operations: what counts how often, and that it takes time in proportion to the text."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import pytest
from graphql import OperationDefinitionNode, build_schema, parse

from domain.errors import PayloadTooLarge, QueryTooComplex
from server.graphql.documents import ANONYMOUS_BUDGET, LONGEST_KEPT, TEXT_BUDGET, Documents
from server.graphql.limits import Measure, Meter, check_inputs
from server.settings import LimitsSettings

SCHEMA = build_schema(
    """
    scalar JSON
    type Query {
      hello: String
      node: Run
      nodes(ids: [ID!]!): [Run]!
      runs(first: Int = 50): RunConnection!
      predict(endpoint: String!, inputs: JSON!): String
      runsSeries(runIds: [ID!]!, keys: [String!]!, points: Int = 1000): [Series!]!
    }
    type RunConnection { nodes: [Run!]! edges: [Edge!]! totalCount: Int }
    type Edge { node: Run! }
    type Run {
      id: ID!
      name: String
      params: [Param!]!
      workspaces: [Workspace!]!
      children(first: Int): RunConnection!
      logs(first: Int, last: Int): RunConnection!
      metrics(keys: [String!], first: Int = 200): [Metric!]!
      series(keys: [String!], points: Int = 1000): [Series!]!
    }
    type Param { key: String! }
    type Workspace { members: [Run!]! }
    type Metric { key: String! last: Float }
    type Series { values: [Float!]! }
    """
)


def measure(text: str) -> Measure:
    document = parse(text)
    operation = next(part for part in document.definitions if isinstance(part, OperationDefinitionNode))
    return Meter(SCHEMA, document).measure(operation)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("{ hello }", 1),
        ("{ node { id name } }", 3),
        ("{ runs { totalCount } }", 2),
        ("{ runs(first: 3) { nodes { id name } } }", 1 + 1 + 3 * 2),
        ("{ runs(first: 3) { edges { node { id } } } }", 1 + 1 + 3 * 2),
        ("{ runs { nodes { id } } }", 1 + 1 + 50),
        ("{ node { workspaces { members { workspaces { members { id } } } } } }", 2 + 20 * (1 + 200 * (1 + 20 * 201))),
        ("{ runs(first: 2) { nodes { children(first: 4) { nodes { id } } } } }", 1 + 1 + 2 * (1 + 1 + 4)),
        ("{ node { metrics { key last } } }", 1 + 1 + 200 * 2),
        ('{ node { metrics(keys: ["a", "b"]) { key last } } }', 1 + 1 + 2 * 2),
        ('{ node { metrics(keys: ["a", "b"], first: 1) { key last } } }', 1 + 1 + 1 * 2),
        ("{ node { logs(last: 7) { nodes { id } } } }", 1 + 1 + 1 + 7),
        ("{ node { logs(first: 3) { nodes { id } } } }", 1 + 1 + 1 + 3),
        ("{ node { logs { nodes { id } } } }", 1 + 1 + 1 + 200),
        ("{ node { params { key } } }", 1 + 1 + 10),
        ('{ nodes(ids: ["a", "b"]) { id } }', 1 + 2),
        ('{ node { series(keys: ["a", "b"], points: 500) { values } } }', 1 + 1 + 20 + 2),
        ('{ runsSeries(runIds: ["a", "b", "c"], keys: ["k", "l"], points: 500) { values } }', 1 + 3 * 20 + 3),
        ('{ predict(endpoint: "e", inputs: [[1], [2], [3]]) }', 1 + 3),
        ("{ runs(first: 3) { ...P } } fragment P on RunConnection { nodes { id name } }", 1 + 1 + 3 * 2),
        ("{ ...Q } fragment Q on Query { hello node { ...R } } fragment R on Run { id name }", 1 + 3),
        ("{ ... on Query { hello } }", 1),
        ("{ nothing { at { all } } }", 3),
    ],
)
def test_cost(text: str, cost: int) -> None:
    assert measure(text).cost({}) == cost


def test_cost_follows_the_variables() -> None:
    paged = measure("query($n: Int) { runs(first: $n) { nodes { id } } }")
    given: list[dict[str, object]] = [{"n": 3}, {"n": 0}, {}, {"n": None}, {"n": "x"}]
    assert [paged.cost(variables) for variables in given] == [5, 2, 52, 52, 52]
    backwards = measure("query($n: Int) { node { logs(last: $n) { nodes { id } } } }")
    assert [backwards.cost({"n": 900}), backwards.cost({"n": None})] == [903, 203]
    defaulted = measure("query($n: Int = 200) { runs(first: $n) { nodes { id } } }")
    assert [defaulted.cost({}), defaulted.cost({"n": 3})] == [202, 5]
    rows = measure('query($rows: JSON!) { predict(endpoint: "e", inputs: $rows) }')
    assert rows.cost({"rows": [[1]] * 30}) == 31
    assert rows.cost({"rows": {"x": [[1]] * 7}}) == 8


def test_depth_aliases_directives_and_root_fields_expand_fragments() -> None:
    found = measure(
        "query @a { x: hello @b ...F } fragment F on Query { y: node @c { z: id ...G } hello }"
        " fragment G on Run { name }"
    )
    assert (found.depth, found.aliases, found.directives, found.root_fields) == (2, 3, 3, 3)


def doubling(levels: int, inside: str) -> str:
    text = "{ runs(first: 1) { ...F0 } }"
    for level in range(levels):
        body = inside.replace("NEXT", f"...F{level + 1}")
        text += f" fragment F{level} on RunConnection {{ {body} }}"
    return text + f" fragment F{levels} on RunConnection {{ totalCount }}"


@pytest.mark.parametrize(
    "inside",
    [
        "NEXT NEXT",
        "nodes { a: children(first: 1) { NEXT } b: children(first: 1) { NEXT } }",
        "nodes { children { NEXT NEXT } }",
    ],
)
def test_fragments_that_double_are_measured_once(inside: str) -> None:
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    text = doubling(80, inside)
    sys.setprofile(count)
    try:
        assert measure(text).cost({}) >= 1
    except QueryTooComplex:
        pass  # nested too deeply, found out at once
    finally:
        sys.setprofile(None)
    assert calls < 1_000_000  # walking every path would take 2^80


def test_circular_and_unknown_fragments_are_left_to_validation() -> None:
    assert measure("{ ...A } fragment A on Query { hello ...B } fragment B on Query { ...A }").cost({}) == 1
    assert measure("{ ...Missing hello }").cost({}) == 1


def test_documents_are_kept_by_text_and_bounded() -> None:
    documents = Documents(LimitsSettings(graphql_documents=2))
    for text in ("{ hello }", "{ node { id } }", "{ hello }"):
        documents.get(SCHEMA, text, explorer=True)
    assert (documents.hits, documents.misses) == (1, 2)
    documents.get(SCHEMA, "{ runs { totalCount } }", explorer=True)
    documents.get(SCHEMA, "{ hello }", explorer=True)
    documents.get(SCHEMA, "{ node { id } }", explorer=True)
    assert (documents.hits, documents.misses) == (2, 4)
    documents.get(SCHEMA, "{ hello }", explorer=False)
    assert documents.misses == 5, "a caller who may not explore must not get another caller's hints"


def test_strangers_push_out_nothing_that_others_use_and_fill_little() -> None:
    documents = Documents(LimitsSettings())
    documents.get(SCHEMA, "{ hello }", explorer=True)
    documents.get(SCHEMA, "{ hello } # first", explorer=False)
    padding = "x" * 4_000
    for number in range(ANONYMOUS_BUDGET // 4_000 + 1):
        documents.get(SCHEMA, f"{{ hello }} # {number} {padding}", explorer=False)
    assert documents.knows("{ hello }", explorer=True)
    assert not documents.knows("{ hello } # first", explorer=False)
    for number in range(TEXT_BUDGET // 16_000 + 1):
        documents.get(SCHEMA, f"{{ hello }} # {number} {padding * 4}"[:16_000], explorer=True)
    assert not documents.knows("{ hello }", explorer=True), "those of people who are signed in are bounded too"


def test_a_document_that_does_not_parse_is_told_and_not_kept() -> None:
    documents = Documents(LimitsSettings())
    for _ in range(2):
        known = documents.get(SCHEMA, "{", explorer=True)
        assert known.broken
        assert known.errors[0].message.startswith("Syntax Error")
    assert documents.hits == 0


def test_long_documents_are_not_kept() -> None:
    documents = Documents(LimitsSettings())
    text = "{ hello } #" + "x" * LONGEST_KEPT
    documents.get(SCHEMA, text, explorer=True)
    documents.get(SCHEMA, text, explorer=True)
    assert documents.hits == 0


INPUTS = build_schema(
    """
    scalar JSON
    input Point { key: String! value: JSON }
    input Batch { runId: ID! points: [Point!] config: JSON }
    type Query { hello: String }
    type Mutation { log(input: Batch!): String, put(points: [Point!]!): String, keep(document: JSON!): String }
    """
)
BATCH, POINTS, DOCUMENT = (
    "mutation ($x: Batch!) { log(input: $x) }",
    "mutation ($x: [Point!]!) { put(points: $x) }",
    "mutation ($x: JSON!) { keep(document: $x) }",
)


@pytest.mark.parametrize(
    ("text", "value", "allowed"),
    [
        (BATCH, {"runId": "r", "points": [{"key": "a"}] * 9}, True),
        (BATCH, {"runId": "r", "points": [{"key": "a"}] * 10}, False),
        (POINTS, [{"key": "a"}] * 10, True),
        (POINTS, [{"key": "a"}] * 11, False),
        (POINTS, {"key": "a"}, True),
        (BATCH, {"runId": "r", "config": [{"free": "form"}] * 99}, True),
        (BATCH, {"runId": "r", "points": [{"key": "a", "value": [{}] * 99}]}, True),
        (DOCUMENT, [{"free": "form"}] * 99, True),
        (BATCH, None, True),
        (BATCH, [7, {"points": {}}], True),
    ],
)
def test_input_objects_are_counted_before_they_are_converted(text: str, value: object, *, allowed: bool) -> None:
    limits = LimitsSettings(graphql_input_objects=10)
    operation = Documents(limits).get(INPUTS, text, explorer=True).operation(None)
    assert operation is not None
    with nullcontext() if allowed else pytest.raises(PayloadTooLarge):
        check_inputs(operation.inputs, {"x": value}, limits)
