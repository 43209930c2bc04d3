"""Serves the OpenAPI document, built once from the very operations that the routes answer."""

from __future__ import annotations

from functools import cache
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from server.rest.openapi import build
from server.rest.operations.system import HEALTH, OPENAPI, READY
from server.rest.route import Route


@cache
def document() -> bytes:
    """The OpenAPI document of everything that is served, as JSON."""
    from server.rest.routes import ROUTES

    return orjson.dumps(build([HEALTH, READY, *(route.operation for route in ROUTES)]), option=orjson.OPT_INDENT_2)


async def _read(_: Request) -> Response:
    return Response(document(), media_type="application/json")


ROUTES: Final = (Route(OPENAPI, _read),)
