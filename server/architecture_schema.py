"""The JSON Schema of the architecture document `arch/1`, from the table that the parser applies.

It says all that can be said without computing: forms, names, arguments and their bounds. What flows between
nodes, and whether weights fit, only the parser knows; whatever it accepts, the schema accepts.
"""

from __future__ import annotations

from typing import Any, Final

from domain.architecture import FORMAT, ID_PATTERN, MAX_ID, MAX_INPUTS, MAX_NODES, MAX_OUTPUTS, PARAMETER_DTYPES
from domain.arguments import Argument
from domain.operators import OPERATORS, Operator
from domain.tensors import BATCH, MAX_DIMENSION, MAX_NAME, MAX_RANK, DType

SCHEMA_ID: Final = "urn:axonml:schema:arch-1"


def build() -> dict[str, Any]:
    """The schema, of the dialect 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Architecture document arch/1",
        "description": "A model's computation as data: what AxonML needs beside safetensors weights to serve them.",
        **_object(
            {
                "format": {"const": FORMAT},
                "dtype": {"enum": [dtype.value for dtype in PARAMETER_DTYPES], "default": DType.FLOAT32.value},
                "inputs": _list({"$ref": "#/$defs/input"}, 1, MAX_INPUTS),
                "nodes": _list({"oneOf": [{"$ref": f"#/$defs/{name}"} for name in OPERATORS]}, 1, MAX_NODES),
                "outputs": _list({"$ref": "#/$defs/output"}, 1, MAX_OUTPUTS),
            },
            optional=("dtype",),
        ),
        "$defs": {
            "id": {"type": "string", "pattern": f"^{ID_PATTERN}$", "maxLength": MAX_ID},
            "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
            "source": {"type": "string", "minLength": 1, "description": "An input, a node, or node:name."},
            "input": _object(
                {
                    "name": {"$ref": "#/$defs/name"},
                    "dtype": {"enum": [dtype.value for dtype in DType]},
                    "shape": {
                        "type": "array",
                        "prefixItems": [{"const": BATCH}],
                        "items": {"type": "integer", "minimum": 1, "maximum": MAX_DIMENSION},
                        "minItems": 1,
                        "maxItems": MAX_RANK,
                    },
                }
            ),
            "output": _object({"name": {"$ref": "#/$defs/name"}, "node": {"$ref": "#/$defs/source"}}),
            **{name: _node(operator) for name, operator in OPERATORS.items()},
        },
    }


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _list(items: dict[str, Any], least: int, most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _node(operator: Operator) -> dict[str, Any]:
    given = _object(
        {argument.name: _argument(argument) for argument in operator.arguments},
        optional=tuple(argument.name for argument in operator.arguments if not argument.required),
    )
    return _object(
        {
            "id": {"$ref": "#/$defs/id"},
            "op": {"const": operator.name},
            "args": given,
            "in": _list({"$ref": "#/$defs/source"}, operator.least_inputs, operator.most_inputs),
        },
        optional=() if given["required"] else ("args",),
    )


def _argument(argument: Argument) -> dict[str, Any]:
    schema = _kind(argument)
    if not argument.required:
        if argument.default is None:
            schema = {"anyOf": [schema, {"type": "null"}]}
        default = argument.default
        schema = {**schema, "default": list(default) if isinstance(default, tuple) else default}
    return schema


def _kind(argument: Argument) -> dict[str, Any]:
    if argument.kind == "bool":
        return {"type": "boolean"}
    if argument.kind == "choice":
        return {"enum": list(argument.choices)}
    one = {
        "type": "number" if argument.kind == "float" else "integer",
        "minimum": argument.low,
        "maximum": argument.high,
    }
    if argument.kind != "ints":
        return one
    many = _list(one, argument.length or 1, argument.length or MAX_RANK)
    return {"anyOf": [one, many]} if argument.length is not None else many
