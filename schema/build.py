"""Assembles the graph from the nouns' modules, and gives it the descriptions of the contract.

`schema.graphql` beside this module is written before any code and is the only home of descriptions: they are copied
onto the built schema here. A test holds the printed schema against that file, so neither can move alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    build_schema,
    lexicographic_sort_schema,
    print_schema,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types

from resolvers.audit import audited
from schema.audit import AuditQuery
from schema.endpoints import EndpointMutation, EndpointQuery
from schema.experiments import ExperimentMutation, ExperimentQuery
from schema.identity import IdentityMutation, IdentityQuery
from schema.logs import LogMutation, LogSubscription
from schema.metrics import MetricMutation, MetricQuery, MetricSubscription
from schema.models import ModelMutation, ModelQuery
from schema.passkeys import PasskeyMutation
from schema.people import PeopleMutation, PeopleQuery
from schema.run_changes import RunMutation
from schema.runs import RunQuery, RunSubscription
from schema.scalars import SCALARS
from schema.second_factors import SecondFactorMutation
from schema.server import ServerQuery
from schema.stats import StatsQuery
from schema.system import SystemQuery, SystemSubscription
from schema.workspaces import WorkspaceMutation, WorkspaceQuery

CONTRACT = Path(__file__).with_name("schema.graphql")

QUERIES = (
    ServerQuery,
    IdentityQuery,
    WorkspaceQuery,
    PeopleQuery,
    ExperimentQuery,
    RunQuery,
    MetricQuery,
    ModelQuery,
    EndpointQuery,
    SystemQuery,
    StatsQuery,
    AuditQuery,
)
MUTATIONS = (
    IdentityMutation,
    SecondFactorMutation,
    PasskeyMutation,
    WorkspaceMutation,
    PeopleMutation,
    ExperimentMutation,
    RunMutation,
    MetricMutation,
    LogMutation,
    ModelMutation,
    EndpointMutation,
)
SUBSCRIPTIONS = (RunSubscription, MetricSubscription, LogSubscription, SystemSubscription)


def build(
    extensions: Iterable[Callable[[], SchemaExtension]] = (), execution_context_class: type[Any] | None = None
) -> strawberry.Schema:
    """The served schema. All of a process share its types; extensions and the context of executions are its own."""
    schema = copy(_types())
    schema.extensions = tuple(extensions)
    if execution_context_class is not None:
        schema.execution_context_class = execution_context_class
    return schema


@cache
def _types() -> strawberry.Schema:
    schema = strawberry.Schema(
        query=merge_types("Query", QUERIES),
        mutation=merge_types("Mutation", MUTATIONS),
        subscription=merge_types("Subscription", SUBSCRIPTIONS),
        config=StrawberryConfig(auto_camel_case=True, scalar_map=SCALARS),
    )
    omit_null_defaults(schema._schema)
    tell_of_mutations(schema._schema)
    describe(schema._schema, _written())
    return schema


@cache
def _written() -> GraphQLSchema:
    """The contract, read once per process. That it is valid is for the tests to check, not for every start."""
    return build_schema(CONTRACT.read_text(), assume_valid_sdl=True)


def tell_of_mutations(schema: GraphQLSchema) -> None:
    """Lets every mutation run as an event of the audit log."""
    root = schema.mutation_type
    for name, field in ({} if root is None else root.fields).items():
        field.resolve = audited(name, field.resolve)


def omit_null_defaults(schema: GraphQLSchema) -> None:
    """Takes back the `= null` that every Python default None prints; resolvers then see that None by themselves."""
    for kind in schema.type_map.values():
        inputs: list[GraphQLArgument | GraphQLInputField] = []
        match kind:
            case GraphQLInputObjectType():
                inputs = list(kind.fields.values())
            case GraphQLObjectType() | GraphQLInterfaceType():
                inputs = [argument for field in kind.fields.values() for argument in field.args.values()]
        for one in inputs:
            if one.default_value is None:
                one.default_value = Undefined


def describe(schema: GraphQLSchema, contract: GraphQLSchema) -> None:
    """Copies every description of `contract` onto the same type, field, argument or value of `schema`."""
    schema.description = contract.description
    for name, written in contract.type_map.items():
        served = schema.type_map.get(name)
        if served is not None and not name.startswith("__"):
            _describe_type(served, written)


def _describe_type(served: GraphQLNamedType, written: GraphQLNamedType) -> None:
    served.description = written.description
    parts: tuple[dict[str, Any], dict[str, Any]]
    match served, written:
        case GraphQLEnumType(), GraphQLEnumType():
            parts = served.values, written.values
        case (
            (GraphQLObjectType() | GraphQLInterfaceType() | GraphQLInputObjectType()),
            (GraphQLObjectType() | GraphQLInterfaceType() | GraphQLInputObjectType()),
        ):
            parts = served.fields, written.fields
        case _:
            return
    for name in parts[0].keys() & parts[1].keys():
        part, source = parts[0][name], parts[1][name]
        part.description = source.description
        arguments = getattr(part, "args", {})
        for argument in arguments.keys() & getattr(source, "args", {}).keys():
            arguments[argument].description = source.args[argument].description


def printed(schema: strawberry.Schema) -> str:
    """The served schema in the order-free form in which it is held against the contract."""
    return _sorted(print_schema(schema._schema))


def contract() -> str:
    """The contract in the same form."""
    return _sorted(CONTRACT.read_text())


def _sorted(sdl: str) -> str:
    # Through text, because sorting rebuilds enums without Strawberry's way of writing their defaults.
    return print_schema(lexicographic_sort_schema(build_schema(sdl)))
