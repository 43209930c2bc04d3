"""The graph that is served is the one that is written down, and what is planned fits onto it."""

from __future__ import annotations

from graphql import (
    GraphQLEnumType,
    GraphQLSchema,
    build_schema,
    extend_schema,
    is_input_object_type,
    is_interface_type,
    is_object_type,
    parse,
    validate_schema,
)

from schema import build


def undescribed(schema: GraphQLSchema) -> list[str]:
    missing = []
    for name, kind in schema.type_map.items():
        if name.startswith("__") or name in {"ID", "String", "Int", "Float", "Boolean"}:
            continue
        parts = {name: kind}
        if isinstance(kind, GraphQLEnumType):
            parts |= {f"{name}.{value}": given for value, given in kind.values.items()}
        elif is_object_type(kind) or is_interface_type(kind) or is_input_object_type(kind):
            for field, given in kind.fields.items():
                parts[f"{name}.{field}"] = given
                parts |= {f"{name}.{field}({key})": value for key, value in getattr(given, "args", {}).items()}
        missing += [place for place, part in parts.items() if not part.description]
    return missing


def test_the_served_graph_is_the_contract() -> None:
    assert build.printed(build.build()) == build.contract()


def test_what_is_planned_fits_onto_what_is_served() -> None:
    planned = build.CONTRACT.with_name("planned.graphql").read_text()
    whole = extend_schema(build_schema(build.CONTRACT.read_text()), parse(planned))
    assert validate_schema(whole) == []
    assert undescribed(whole) == []


def test_everything_served_is_described() -> None:
    assert undescribed(build.build()._schema) == []
