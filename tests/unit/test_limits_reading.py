"""What reading a document may take: every document that fits is read in bounded work, and honest large ones still pass.

Work is counted in calls, not in seconds: the machine that runs the tests has other things to do.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from graphql import GraphQLError, build_schema, get_introspection_query

import schema
from domain.errors import QueryTooComplex
from server.graphql.documents import Documents, KnownDocument
from server.settings import LimitsSettings

SCHEMA = build_schema((Path(schema.__file__).parent / "schema.graphql").read_text())
SCALARS = "id name status stalled archived modelType notes createdAt"
MOST_CALLS = 2_000_000


def read(text: str, limits: LimitsSettings | None = None) -> KnownDocument:
    return Documents(limits or LimitsSettings()).get(SCHEMA, text, explorer=True)


def beside_each_other(fragments: int, inside: str) -> str:
    spreads = " ".join(f"...F{number}" for number in range(fragments))
    definitions = " ".join(f"fragment F{number} on Run {{ {inside} }}" for number in range(fragments))
    return f'{{ run(id: "x") {{ {spreads} }} }} {definitions}'


def nested(outer: int, inner: int) -> str:
    return "{ " + " ".join('run(id: "x") { ' + "id " * inner + "}" for _ in range(outer)) + "}"


def operations_over(operations: int, fragments: int) -> str:
    spreads = " ".join(f"...F{number}" for number in range(fragments))
    return (
        " ".join(f"query q{number} {{ ...All }}" for number in range(operations))
        + f" fragment All on Query {{ {spreads} }} "
        + " ".join(f'fragment F{number} on Query {{ a{number}: run(id: "x") {{ id }} }}' for number in range(fragments))
    )


def calls_to_read(text: str) -> int:
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    documents = Documents(LimitsSettings())
    sys.setprofile(count)
    try:
        documents.get(SCHEMA, text, explorer=True)
    except GraphQLError:
        pass  # more tokens than are read
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    "text",
    [
        beside_each_other(190, SCALARS),
        beside_each_other(140, SCALARS + " " + SCALARS),
        beside_each_other(100, "children(first: 1) { nodes { id name status } }"),
        nested(95, 30),
        nested(20, 90),
        operations_over(100, 100),
        operations_over(300, 60),
        "{ " + " ".join(f"f{number}" for number in range(3_900)) + " }",
        "{ "
        + " ".join(f'a{number}: run(id: "x") {{ {SCALARS} parent {{ {SCALARS} }} }}' for number in range(128))
        + "}",
        "query(" + " ".join(f"$v{number}: Int" for number in range(900)) + ") { viewer { id } }",
        "{ runs(" + " ".join(f"x{number}: 1" for number in range(1_200)) + ") { totalCount } }",
        "{" + "viewer { id } " * 99 + "}",
        "{ hello " * 9_000,
    ],
)
def test_no_document_takes_long_to_read(text: str) -> None:
    assert calls_to_read(text) < MOST_CALLS


@pytest.mark.parametrize(
    "text",
    [
        beside_each_other(190, SCALARS),
        beside_each_other(100, "children(first: 1) { nodes { id name status } }"),
        nested(95, 30),
    ],
)
def test_too_many_pairs_of_fields_are_refused_with_advice(text: str) -> None:
    refusal = read(text).refusal
    assert isinstance(refusal, QueryTooComplex)
    assert "select each field once" in refusal.message


@pytest.mark.parametrize(
    "text",
    [
        get_introspection_query(input_value_deprecation=True, specified_by_url=True, directive_is_repeatable=True),
        "{ " + " ".join(f'a{number}: run(id: "x") {{ {SCALARS} }}' for number in range(25)) + " }",
        beside_each_other(50, "id __typename name"),
        "{ "
        + " ".join(f'a{number}: run(id: "x") {{ ...R }}' for number in range(100))
        + f" }} fragment R on Run {{ {SCALARS} }}",
        "{ nodes(ids: [" + " ".join(f'"run_{number}"' for number in range(100)) + "]) { id } }",
    ],
)
def test_honest_large_documents_are_read(text: str) -> None:
    known = read(text)
    assert (known.refusal, known.errors) == (None, ())
