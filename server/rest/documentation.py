"""Serves the documents that machines read about the server: the OpenAPI document and the schema of architectures.

Each is built from what it describes, the operations that the routes answer and the table that the parser applies,
when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from server import architecture_schema
from server.rest.openapi import build
from server.rest.operations.system import ARCHITECTURE_SCHEMA, OPENAPI
from server.rest.route import SCHEMA_JSON, Operation, Route


def route(operations: Iterable[Operation]) -> Route:
    """`/api/openapi.json`, which describes `operations` and itself."""
    described = [*operations, OPENAPI]

    @cache
    def document() -> bytes:
        return orjson.dumps(build(described), option=orjson.OPT_INDENT_2)

    async def read(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    return Route(OPENAPI, read)


@cache
def _architecture_schema() -> bytes:
    return orjson.dumps(architecture_schema.build(), option=orjson.OPT_INDENT_2)


async def _schema(_: Request) -> Response:
    return Response(_architecture_schema(), media_type=SCHEMA_JSON)


ROUTES: Final[tuple[Route, ...]] = (Route(ARCHITECTURE_SCHEMA, _schema),)
