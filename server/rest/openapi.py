"""Builds the OpenAPI 3.1 document from typed operations, and strips a contract to the part that is served.

The document is a pure function of the operations: no route is registered here, nothing is read from disk, and
two builds of the same operations are equal. `schema/openapi.json` is the contract it is compared with.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from domain.idempotency import MAX_TOKEN
from server.rest.route import Answer, Content, OneOf, Operation, Param, Raw, TypeForm
from server.rest.structs.common import Error

Document = dict[str, Any]

API_VERSION: Final = "1.0.0"
PLANNED: Final = "x-planned"
_REF: Final = "#/components/"
_METHODS: Final = ("get", "put", "post", "delete", "patch")

_INFO: Final[Document] = {
    "title": "AxonML REST API",
    "version": API_VERSION,
    "summary": "Track, register and serve machine-learning models.",
    "description": (
        "Thin routes beside the GraphQL graph at `/graphql`. Fields are snake_case, enums lower-case, times RFC 3339"
        " in UTC with milliseconds, lists `{items, total, next_cursor}`. Ids are opaque and prefixed (`run_…`);"
        " requests accept bare UUIDs too. Every error has the shape of `Error`."
    ),
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}

_TAGS: Final[Mapping[str, str]] = {
    "admin": "Accounts and figures of the whole instance; for administrators.",
    "auth": "Signing in and out, second factors, API keys.",
    "experiments": "Groups of runs.",
    "inference": "Endpoints and predictions.",
    "metrics": "What runs measure: logging and reading series.",
    "models": "The model registry: models, versions, files.",
    "notebooks": "Notebooks that run on the server, and their checkpoints.",
    "open-inference": "The Open Inference Protocol, version 2.",
    "permissions": "Explicit grants and denials on single resources.",
    "runs": "Runs, their parameters, tags and logs.",
    "system": "Health, this document, figures of the host.",
}

_ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("BadUserInput", "A parameter, id, cursor or the body's syntax is malformed (BAD_USER_INPUT)."),
    401: (
        "Unauthenticated",
        "No valid credentials (UNAUTHENTICATED), or a second factor is due (MFA_REQUIRED).",
    ),
    403: ("Forbidden", "The caller may see the object but not do this to it (FORBIDDEN)."),
    404: ("NotFound", "It does not exist, or not for this caller (NOT_FOUND)."),
    405: (
        "MethodNotAllowed",
        "Not with this method; the message names the right route (METHOD_NOT_ALLOWED).",
    ),
    408: ("RequestTimeout", "The body came too slowly (DEADLINE_EXCEEDED)."),
    409: ("Conflict", "Well-formed, but against the present state (CONFLICT)."),
    413: ("PayloadTooLarge", "The body, or something in it, is larger than its limit (PAYLOAD_TOO_LARGE)."),
    415: ("UnsupportedMediaType", "The route does not read this type of body (UNSUPPORTED_MEDIA_TYPE)."),
    422: ("Invalid", "The body parses but does not validate; `field` says where (BAD_USER_INPUT)."),
    429: ("TooManyRequests", "Too many requests (RATE_LIMITED) or a full queue (OVERLOADED)."),
    500: ("Internal", "A defect of the server (INTERNAL); the request id leads to its log."),
    503: (
        "Unavailable",
        (
            "The server cannot answer just now: the database, a disk or a replica fails, or it is full or stopping; try"
            " again later (UNAVAILABLE)."
        ),
    ),
    504: ("DeadlineExceeded", "Not finished within the time allowed (DEADLINE_EXCEEDED)."),
}
_RETRY: Final = {"Retry-After": "Seconds to wait before trying again."}
# On every answer to a request that was counted, refusals included.
_RATE_HEADERS: Final[Mapping[str, tuple[str, str]]] = {
    "RateLimit": (
        "RateLimit",
        'What is left: `"requests";r=9999;t=1` allows 9999 more at once, all in 1 second; with 429 `t` is the wait.',
    ),
    "RateLimit-Policy": (
        "RateLimitPolicy",
        'The limit that was counted: `"requests";q=10000;w=10` is 10000 at once, and in 10 seconds in the long run.',
    ),
}
_ERROR_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    405: {"Allow": "The methods that the path answers."},
    429: _RETRY,
    503: _RETRY,
}

_SHARED_PARAMS: Final[Mapping[str, Param]] = {
    "Workspace": Param(
        "X-Axonml-Workspace",
        Annotated[str, Meta(min_length=1, max_length=128)],
        "Slug of the workspace to work in; left out: that of the API key, else the caller's default.",
        "header",
    ),
    "IdempotencyKey": Param(
        "Idempotency-Key",
        Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN, pattern="^[!-~]+$")],
        f"A token of the caller's choice: 1 to {MAX_TOKEN} printable ASCII characters without spaces. The same token"
        " with the same input answers the first result again; with other input it is a conflict.",
        "header",
    ),
}

_SECURITY_SCHEMES: Final[Document] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token or an API key (`axk_…`).",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "axonml_session",
        "description": "The session cookie of a browser (`__Host-` prefixed over HTTPS); only with a matching Origin.",
    },
}
_SECURITY: Final[Mapping[str, list[Document]]] = {
    "public": [],
    "bearer": [{"bearer": []}, {"cookie": []}],
    "optional": [{}, {"bearer": []}, {"cookie": []}],
}


class _Schemas:
    """JSON Schema of every type form that a set of operations names, in msgspec's spelling."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        # Type forms may be unhashable (Meta holds dicts), so they are told apart by identity; the list keeps
        # them alive, so that no identity is used twice.
        self._forms: list[TypeForm] = [Error]
        for param in _SHARED_PARAMS.values():
            self._forms.append(param.type)
        for operation in operations:
            self._forms.extend(_forms_of(operation))
        schemas, components = msgspec.json.schema_components(self._forms, ref_template=_REF + "schemas/{name}")
        self._by_id = {id(form): schema for form, schema in zip(self._forms, schemas, strict=True)}
        self.components: Document = {name: _clean(components[name]) for name in sorted(components)}

    def of(self, form: TypeForm) -> Document:
        """The schema of one form; structs and enums become references."""
        if isinstance(form, Raw):
            return dict(form.schema)
        if isinstance(form, OneOf):
            return {"anyOf": [self.of(each) for each in form.types]}
        return dict(self._by_id[id(form)])


def _clean(schema: Document) -> Document:
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])
    return schema


def _forms_of(operation: Operation) -> Iterator[TypeForm]:
    for param in operation.params:
        yield param.type
    bodies: list[Content | Answer] = [*operation.answers.values()]
    if operation.request is not None:
        bodies.append(operation.request)
    for body in bodies:
        for form in body.media.values():
            for each in form.types if isinstance(form, OneOf) else (form,):
                if not isinstance(each, Raw):
                    yield each


def build(operations: Iterable[Operation]) -> Document:
    """The OpenAPI 3.1 document of these operations.

    Raises ValueError when two operations share a method and path or an operation id, when a path and its
    parameters disagree, or when a tag is unknown: mistakes in the code, found by the first test that builds.
    """
    ordered = sorted(operations, key=lambda operation: (operation.path, _METHODS.index(operation.method)))
    _check(ordered)
    schemas = _Schemas(ordered)
    paths: dict[str, Document] = {}
    for operation in ordered:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schemas)
    statuses = sorted({status for operation in ordered for status in _error_statuses(operation)})
    used = {tag for operation in ordered for tag in (operation.tag,)}
    document: Document = {
        "openapi": "3.1.0",
        "info": _INFO,
        "tags": [{"name": name, "description": _TAGS[name]} for name in sorted(used)],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "parameters": {name: _parameter(param, schemas) for name, param in sorted(_SHARED_PARAMS.items())},
            "headers": _headers(dict(_RATE_HEADERS.values())),
            "responses": dict(sorted(_error_responses(statuses, schemas))),
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }
    return _reachable_only(document)


def _check(operations: list[Operation]) -> None:
    seen: set[str] = set()
    for operation in operations:
        for name in (f"{operation.method} {operation.path}", operation.operation_id):
            if name in seen:
                raise ValueError(f"declared twice: {name}")
            seen.add(name)
        if operation.tag not in _TAGS:
            raise ValueError(f"{operation.operation_id}: unknown tag {operation.tag!r}")
        in_path = {part[1:-1] for part in operation.path.split("/") if part.startswith("{")}
        declared = {param.name for param in operation.params if param.place == "path"}
        if in_path != declared:
            raise ValueError(f"{operation.operation_id}: the path has {in_path}, the parameters {declared}")


def _operation(operation: Operation, schemas: _Schemas) -> Document:
    parameters = [_parameter(param, schemas) for param in operation.params]
    if operation.security != "public":
        parameters.append({"$ref": _REF + "parameters/Workspace"})
    if operation.idempotent:
        parameters.append({"$ref": _REF + "parameters/IdempotencyKey"})
    counted = not operation.bare or 429 in operation.answers
    answers = {str(status): _answer(answer, schemas, counted) for status, answer in operation.answers.items()}
    for status in _error_statuses(operation):
        answers[str(status)] = {"$ref": f"{_REF}responses/{_ERRORS[status][0]}"}
    body: Document = {
        "operationId": operation.operation_id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": _SECURITY[operation.security],
    }
    if parameters:
        body["parameters"] = parameters
    if operation.request is not None:
        body["requestBody"] = {
            "description": operation.request.description,
            "required": operation.request.required,
            "content": _media(operation.request.media, schemas),
        }
    body["responses"] = {status: answers[status] for status in sorted(answers)}
    return body


def _error_statuses(operation: Operation) -> list[int]:
    statuses = set(operation.errors)
    if not operation.bare:
        statuses |= {400, 429, 500, 503}
        if operation.security != "public":
            statuses |= {401, 403, 404}  # the workspace of the header may not be there
        if any(param.place == "path" for param in operation.params):
            statuses.add(404)
        if operation.request is not None:
            statuses |= {408, 413, 415, 422}
    return sorted(statuses)


def _parameter(param: Param, schemas: _Schemas) -> Document:
    schema = schemas.of(param.type)
    if param.default is not None:
        schema["default"] = param.default
    body: Document = {
        "name": param.name,
        "in": param.place,
        "description": param.description,
        "required": param.required or param.place == "path",
        "schema": schema,
    }
    return body


def _answer(answer: Answer, schemas: _Schemas, counted: bool) -> Document:
    body: Document = {"description": answer.description}
    headers = _headers(answer.headers) | (_rate_references() if counted else {})
    if headers:
        body["headers"] = headers
    if answer.media:
        body["content"] = _media(answer.media, schemas)
    return body


def _headers(headers: Mapping[str, str]) -> Document:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}


def _rate_references() -> Document:
    return {name: {"$ref": f"{_REF}headers/{key}"} for name, (key, _) in _RATE_HEADERS.items()}


def _media(media: Mapping[str, TypeForm], schemas: _Schemas) -> Document:
    return {media_type: {"schema": schemas.of(form)} for media_type, form in media.items()}


def _error_responses(statuses: Iterable[int], schemas: _Schemas) -> Iterator[tuple[str, Document]]:
    for status in statuses:
        name, description = _ERRORS[status]
        body: Document = {"description": description}
        if status in _ERROR_HEADERS:
            body["headers"] = _headers(_ERROR_HEADERS[status]) | (_rate_references() if status == 429 else {})
        body["content"] = {"application/json": {"schema": schemas.of(Error)}}
        yield name, body


def served_part(contract: Document) -> Document:
    """The contract without what is planned, and without components that only planned parts need.

    Planned is every object (operation, parameter, answer, media type, property) that carries `x-planned`.
    The argument is not changed.
    """
    document = _without_planned(contract)
    document["paths"] = {path: item for path, item in document["paths"].items() if item}
    used = {tag for item in document["paths"].values() for operation in item.values() for tag in operation["tags"]}
    document["tags"] = [tag for tag in document["tags"] if tag["name"] in used]
    return _reachable_only(document)


def _without_planned(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_planned(value) for key, value in node.items() if not _is_planned(value)}
    if isinstance(node, list):
        return [_without_planned(value) for value in node if not _is_planned(value)]
    return node


def _is_planned(node: Any) -> bool:
    return isinstance(node, dict) and PLANNED in node


def _reachable_only(document: Document) -> Document:
    components: Document = document["components"]
    reached: set[str] = set()
    waiting = list(_references(document["paths"]))
    while waiting:
        reference = waiting.pop()
        if reference not in reached:
            reached.add(reference)
            kind, name = reference.removeprefix(_REF).split("/")
            waiting.extend(_references(components[kind][name]))
    kept = {
        kind: {
            name: body
            for name, body in members.items()
            if kind == "securitySchemes" or f"{_REF}{kind}/{name}" in reached
        }
        for kind, members in components.items()
    }
    return {**document, "components": kept}


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
