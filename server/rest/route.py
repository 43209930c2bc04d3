"""What a REST route is: the typed facts of an operation, and the function that serves it.

Pure data: nothing here knows Starlette's routing, builds the OpenAPI document or registers anything. The
document is built from these values by `server.rest.openapi`, the ASGI routes by the composition root.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from starlette.requests import Request
from starlette.responses import Response

# Whatever msgspec can describe: a Struct, an Annotated type, a union of plain types, list[...], dict[...].
TypeForm = Any
Handler = Callable[[Request], Awaitable[Response]]
Method = Literal["get", "post", "put", "patch", "delete"]
Security = Literal["public", "bearer", "optional"]

JSON: Final = "application/json"
SCHEMA_JSON: Final = "application/schema+json"
NDJSON: Final = "application/x-ndjson"
BYTES: Final = "application/octet-stream"
MULTIPART: Final = "multipart/form-data"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
TEXT: Final = "text/plain"


@dataclass(frozen=True, slots=True)
class OneOf:
    """Several shapes a body may have. Use it where the shapes are structs; plain unions need none of this."""

    types: tuple[TypeForm, ...]


@dataclass(frozen=True, slots=True)
class Raw:
    """A body that no Python type describes: raw bytes, text lines. `schema` is JSON Schema as it is."""

    schema: Mapping[str, Any]


BINARY: Final = Raw({"type": "string", "format": "binary"})


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter in the path, the query or a header. `default` is documented only when it is not None."""

    name: str
    type: TypeForm
    description: str
    place: Literal["path", "query", "header"] = "query"
    default: str | int | float | bool | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """A request body: media type -> type form, OneOf or Raw."""

    description: str
    media: Mapping[str, TypeForm]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """One successful answer (or one without the error shape). No `media` means no body.

    `headers` maps a header to its description.
    """

    description: str
    media: Mapping[str, TypeForm] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Everything the contract says about one method of one path.

    `errors` lists statuses beyond the automatic ones: 400, 429, 500 and 503 always, 401, 403 and 404 when
    signed in, 404 when the path has parameters, 413, 415 and 422 with a request body. `bare` switches the automatic
    ones off. `idempotent` adds the Idempotency-Key header.
    """

    method: Method
    path: str
    operation_id: str
    tag: str
    summary: str
    description: str
    answers: Mapping[int, Answer]
    request: Content | None = None
    params: tuple[Param, ...] = ()
    security: Security = "bearer"
    errors: tuple[int, ...] = ()
    idempotent: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """An operation and the coroutine function that answers it."""

    operation: Operation
    handler: Handler


def json_body(type_form: TypeForm, description: str, *, required: bool = True) -> Content:
    """A request body that is JSON and nothing else."""
    return Content(description, {JSON: type_form}, required)


def json_answer(type_form: TypeForm, description: str) -> Answer:
    """A JSON answer."""
    return Answer(description, {JSON: type_form})


NO_CONTENT: Final[Mapping[int, Answer]] = {204: Answer("Done; there is no body.")}
