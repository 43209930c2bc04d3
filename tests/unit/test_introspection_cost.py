"""Reading the schema is priced like reading data: about as many fields as it resolves, whatever way it is written."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from graphql import GraphQLSchema, build_schema, execute_sync, get_introspection_query, parse

from domain.errors import QueryTooComplex
from schema.build import CONTRACT
from server.graphql.documents import Documents, KnownDocument
from server.settings import LimitsSettings

LIMITS = LimitsSettings()


@cache
def served() -> GraphQLSchema:
    return build_schema(CONTRACT.read_text())


def known(text: str) -> KnownDocument:
    return Documents(LIMITS).get(served(), text, explorer=True)


def cost(text: str) -> int:
    operation = known(text).operation(None)
    assert operation is not None
    assert operation.measure is not None
    return operation.measure.cost({})


def resolved(value: Any) -> int:
    """How many fields an answer has."""
    if isinstance(value, dict):
        return sum(1 + resolved(below) for below in value.values())
    return sum(resolved(below) for below in value) if isinstance(value, list) else 0


@pytest.mark.parametrize(
    "text",
    [
        "{ __schema { queryType { name } } }",
        "{ __schema { types { name fields { name args { name } } } } }",
        "{ __schema { types { inputFields { name } enumValues { name } } } }",
        "{ __schema { types { possibleTypes { name } interfaces { name } } } }",
        "{ __schema { mutationType { fields { name args { name type { name ofType { name } } } } } } }",
        '{ __type(name: "Mutation") { fields { name args { name } } } }',
        '{ __type(name: "Run") { fields { type { fields { name } } } } }',
        "{ __schema { directives { name locations args { name } } } }",
        "{ ...A } fragment A on Query { __schema { types { ...B } } } fragment B on __Type { fields { name } }",
        "{ __schema { " + " ".join(f"a{n}: types {{ fields {{ name }} }}" for n in range(50)) + " } }",
        get_introspection_query(),
    ],
)
def test_introspection_is_never_cheaper_than_what_it_resolves(text: str) -> None:
    answer = execute_sync(served(), parse(text))
    assert answer.errors is None
    found, price = resolved(answer.data), cost(text)
    assert found / 2 <= price <= max(10, found * 100), (found, price)


def test_the_whole_schema_can_be_read_with_what_one_operation_may_cost() -> None:
    assert cost(get_introspection_query()) < LIMITS.graphql_cost / 5
    assert known(get_introspection_query()).refusal is None


def test_names_of_its_own_inside_introspection_are_counted() -> None:
    many = " ".join(f"a{n}: types {{ name }}" for n in range(LIMITS.graphql_aliases + 1))
    refusal = known(f"{{ __schema {{ {many} }} }}").refusal
    assert isinstance(refusal, QueryTooComplex)
    assert "aliases" in refusal.message


def test_introspection_that_asks_for_everything_many_times_is_too_dear() -> None:
    below = "fields { args { type { ...T } } type { ...T } } inputFields { type { ...T } }"
    kinds = "fragment T on __Type { name ofType { name ofType { name ofType { name ofType { name } } } } }"
    many = " ".join(f"a{n}: types {{ {below} }}" for n in range(120))
    assert cost(f"{{ __schema {{ {many} }} }} {kinds}") > LIMITS.graphql_cost
