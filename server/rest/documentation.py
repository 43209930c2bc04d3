"""Serves the OpenAPI document, built from the very operations that the routes answer when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import orjson
from starlette.requests import Request
from starlette.responses import Response

from server.rest.openapi import build
from server.rest.operations.system import OPENAPI
from server.rest.route import Operation, Route


def route(operations: Iterable[Operation]) -> Route:
    """`/api/openapi.json`, which describes `operations` and itself."""
    described = [*operations, OPENAPI]

    @cache
    def document() -> bytes:
        return orjson.dumps(build(described), option=orjson.OPT_INDENT_2)

    async def read(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    return Route(OPENAPI, read)
