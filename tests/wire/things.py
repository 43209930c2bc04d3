"""Routes of the wire tests' own, behind the real edge: everything a handler gets done for it, in one small noun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import BadUserInput, Conflict, NotFound, RateLimited, Unavailable
from server.rest.handler import answer, idempotency_key, json_body, query
from server.rest.route import JSON, Answer, Content, Operation, Param, Route
from server.settings import LimitsSettings, ServerSettings
from tests.wire.served import Served, serving

SIGNED_IN = {"Authorization": "Bearer good"}
LIMITS = LimitsSettings(body_bytes=2048, ingest_body_bytes=8192)


class Point(msgspec.Struct, forbid_unknown_fields=True):
    """One point of the test route's body."""

    key: Annotated[str, msgspec.Meta(min_length=1)]
    value: float


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """The test route's body."""

    name: str
    points: list[Point] = []


class Paging(msgspec.Struct, forbid_unknown_fields=True):
    """The test route's query."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    keys: list[str] = []


async def _create(request: Request) -> Response:
    body = await json_body(request, Body)
    refusals = {
        "conflict": Conflict("the name is taken", field="name"),
        "rule": BadUserInput("the name is not allowed", field="name"),
        "path": BadUserInput("not an id", field="id"),
        "busy": RateLimited("slow down", retry_after=2.2),
        "away": Unavailable("the database is away", retry_after=1),
    }
    if body.name in refusals:
        raise refusals[body.name]
    if body.name == "defect":
        raise RuntimeError("secret detail: hunter2")
    return answer({"name": body.name, "key": idempotency_key(request)}, 201)


async def _list(request: Request) -> Response:
    return answer(query(request, Paging))


async def _one(request: Request) -> Response:
    raise NotFound(f"there is no thing {request.path_params['id']}")


def _operation(method: Any, path: str, **more: Any) -> Operation:
    return Operation(
        method=method,
        path=path,
        operation_id=f"{method} {path}",
        tag="test",
        summary="",
        description="",
        answers={200: Answer("")},
        **more,
    )


ROUTES = (
    Route(_operation("get", "/api/things", params=(Param("limit", int, ""), Param("keys", list[str], ""))), _list),
    Route(
        _operation(
            "post",
            "/api/things",
            request=Content("", {JSON: Body}),
            params=(Param("id", str, "", "path"),),
            idempotent=True,
        ),
        _create,
    ),
    Route(_operation("get", "/api/things/{id}"), _one),
    Route(_operation("delete", "/api/things/{id}"), _one),
    Route(_operation("get", "/api/things/literal"), _list),
)


@contextmanager
def serving_things() -> Iterator[Served]:
    """A server of those routes, with a foreign page and a foreign name that it trusts."""
    settings = ServerSettings(cors_origins=("https://app.example",), trusted_hosts=("models.example",))
    with serving(limits=LIMITS, server=settings, rest=ROUTES) as server:
        yield server


def error_of(response: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and field of a refusal, whose shape is checked."""
    error = response.json()["error"]
    assert set(error) == {"code", "message", "field", "request_id"}
    assert error["request_id"] == response.headers["x-request-id"]
    return response.status_code, error["code"], error["field"]
