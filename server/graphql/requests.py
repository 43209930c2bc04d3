"""GraphQL over HTTP, the way in: a POST with a JSON body, or a GET with the same parameters in its query string."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from strawberry.http import GraphQLRequestData

from domain.errors import BadUserInput, UnsupportedMediaType

GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
JSON: Final = "application/json"
SSE: Final = "text/event-stream"
_ANY: Final = ("*/*", "application/*")
_PARAMETERS: Final = frozenset({"query", "variables", "operationName", "extensions"})
_PRICED: Final = "x-axonml-cost"


def negotiated(accept: str) -> str:
    """The media type of the answer: the first one listed that is spoken here, application/json otherwise."""
    for part in accept.split(","):
        listed = part.partition(";")[0].strip().lower()
        if listed in (GRAPHQL_RESPONSE, SSE):
            return listed
        if listed == JSON or listed in _ANY:
            return JSON
    return JSON


def _text_or_none(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise BadUserInput(f"{name} must be a string or null", field=name)
    return value


def _object_or_none(data: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = data.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadUserInput(f"{name} must be an object or null", field=name)
    return value


def _request(data: Mapping[str, Any], headers: Mapping[str, str]) -> GraphQLRequestData:
    text = _text_or_none(data, "query")
    variables, name = _object_or_none(data, "variables"), _text_or_none(data, "operationName")
    extensions = _object_or_none(data, "extensions")
    if not text and not (extensions and "persistedQuery" in extensions):
        raise BadUserInput("the operation's text is missing", field="query")
    if headers.get(_PRICED, "").strip() == "1":
        extensions = {**(extensions or {}), "cost": True}
    protocol = "sse" if negotiated(headers.get("accept", "")) == SSE else "http"
    return GraphQLRequestData(text, variables, name, extensions, protocol)  # type: ignore[arg-type] # mypy: str


def posted(headers: Mapping[str, str], body: bytes) -> GraphQLRequestData:
    """The operation in the body of a POST; `headers` are by lower-case name.

    Raises UnsupportedMediaType for a body that is no JSON by its headers, BadUserInput for one that is no request.
    """
    if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise UnsupportedMediaType("the body must not be compressed", field="Content-Encoding")
    kind, _, parameters = headers.get("content-type", "").partition(";")
    if kind.strip().lower() != JSON:
        raise UnsupportedMediaType(f"expected Content-Type: {JSON}", field="Content-Type")
    charset = parameters.lower().partition("charset=")[2].strip(' "')
    if charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMediaType("JSON must be encoded as UTF-8", field="Content-Type")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise BadUserInput(f"the body is not valid JSON: {problem}") from None
    if isinstance(data, list):
        raise BadUserInput("batches are not supported; send one operation per request")
    if not isinstance(data, dict):
        raise BadUserInput("the body must be a JSON object with the key query")
    return _request(data, headers)


def queried(headers: Mapping[str, str], query_string: bytes) -> GraphQLRequestData:
    """The operation in the query string of a GET; `variables` and `extensions` are JSON there. Raises BadUserInput."""
    data: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError:
        raise BadUserInput("the query string is not what a form would send") from None
    for name, value in pairs:
        if name not in _PARAMETERS:
            continue
        if name in data:
            raise BadUserInput(f"{name} is given twice", field=name)
        data[name] = value
    for name in ("variables", "extensions"):
        if data.get(name):
            try:
                data[name] = orjson.loads(data[name])
            except orjson.JSONDecodeError as problem:
                raise BadUserInput(f"{name} is not valid JSON: {problem}", field=name) from None
        else:
            data.pop(name, None)
    return _request(data, headers)
