"""How long the lists of introspection are, for what reading a schema costs.

Asked of every type, a list is as long as it is on average; asked of one type, as long as the longest.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import ceil
from typing import Final

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    is_abstract_type,
)

ROOTS: Final = {"__schema": "__Schema", "__type": "__Type"}
"""The root fields of introspection that have a selection, and their types."""

SCHEMA_TYPES: Final = ("__Schema", "types")

Place = tuple[str, str]


def _both(lengths: Iterable[int], among: int) -> tuple[int, int]:
    known = list(lengths)
    return max(1, ceil(sum(known) / max(among, 1))), max(known, default=1)


@lru_cache(maxsize=8)
def lengths(schema: GraphQLSchema) -> dict[Place, tuple[int, int]]:
    """By type and field of introspection: the average length of the list, and the greatest."""
    types = list(schema.type_map.values())
    composite = [each for each in types if isinstance(each, GraphQLObjectType | GraphQLInterfaceType)]
    fields = [field for each in composite for field in each.fields.values()]
    enums = [len(each.values) for each in types if isinstance(each, GraphQLEnumType)]
    inputs = [len(each.fields) for each in types if isinstance(each, GraphQLInputObjectType)]
    possible = [len(schema.get_possible_types(each)) for each in types if is_abstract_type(each)]
    return {
        SCHEMA_TYPES: _both([len(types)], 1),
        ("__Schema", "directives"): _both([len(schema.directives)], 1),
        ("__Type", "fields"): _both((len(each.fields) for each in composite), len(types)),
        ("__Type", "inputFields"): _both(inputs, len(types)),
        ("__Type", "enumValues"): _both(enums, len(types)),
        ("__Type", "interfaces"): _both((len(each.interfaces) for each in composite), len(types)),
        ("__Type", "possibleTypes"): _both(possible, len(types)),
        ("__Field", "args"): _both((len(field.args) for field in fields), len(fields)),
        ("__Directive", "args"): _both((len(each.args) for each in schema.directives), len(schema.directives)),
        ("__Directive", "locations"): _both((len(each.locations) for each in schema.directives), 1),
    }
