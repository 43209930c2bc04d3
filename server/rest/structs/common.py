"""Shapes and value types shared by every REST noun: the error body, numbers, times, names.

An answer struct carries plain JSON values only (times already RFC 3339 text, ids already prefixed); a request
struct refuses unknown fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

ERROR_CODES = (
    "UNAUTHENTICATED",
    "MFA_REQUIRED",
    "FORBIDDEN",
    "NOT_FOUND",
    "BAD_USER_INPUT",
    "METHOD_NOT_ALLOWED",
    "CONFLICT",
    "PAYLOAD_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "RATE_LIMITED",
    "OVERLOADED",
    "QUERY_TOO_COMPLEX",
    "INTERNAL",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
)


class RequestBody(Struct, forbid_unknown_fields=True):
    """Base of request bodies: an unknown field is an error, not a surprise."""


class AnswerBody(Struct):
    """Base of answers: a later server may add fields, so nothing is closed."""


DateTime = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339 in UTC with milliseconds, such as `2026-11-21T09:30:00.125Z`."""

Timestamp = Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)]
"""Milliseconds since 1970-01-01T00:00:00Z."""

BigInt = int | Annotated[str, Meta(pattern=r"^-?[0-9]{1,19}$")]
"""A 64-bit integer: a JSON number within ±(2^53-1), else its decimal digits as a string; both are read."""

FloatValue = float | Literal["NaN", "Infinity", "-Infinity"]
"""A double: a JSON number, or the name of the value that JSON cannot write."""

ParamValue = Annotated[Any, Meta(description="A string, number, boolean, null, or a small list or object of them.")]
"""The value of a hyperparameter; `domain.runs.make_params` says what small is."""

JsonObject = dict[str, Any]
"""Any JSON object."""

Key = Annotated[str, Meta(min_length=1, max_length=250)]
"""A metric, parameter or tag key: NFC, no control characters, no spaces at the edges."""

Title = Annotated[str, Meta(min_length=1, max_length=250)]
"""A free name: NFC, no control characters, no spaces at the edges."""

Slug = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A name that appears in paths; it may not look like an id."""

Reference = Annotated[str, Meta(min_length=1, max_length=250)]
"""An id in any accepted form or, where the field says so, a name."""

Notes = Annotated[str, Meta(max_length=65_536)]
"""Long free text."""

Tags = dict[Key, Annotated[str, Meta(max_length=5_000)]]
"""Tag key to value."""

TagsBody = Annotated[
    dict[Key, Annotated[str, Meta(max_length=5_000)] | None],
    Meta(min_length=1, max_length=1_000, description="Tag key to value. Null removes the tag."),
]
"""Single tags to set and to remove."""

Total = Annotated[
    int | None, Meta(description="How many there are in all: exact up to 10,000, null when there are more.")
]
NextCursor = Annotated[str | None, Meta(description="Pass as `cursor` to read the next page; null on the last page.")]


class ErrorBody(AnswerBody, kw_only=True):
    """What went wrong, for a program and for a person."""

    code: Annotated[str, Meta(description="Stable code of the error.", extra_json_schema={"enum": list(ERROR_CODES)})]
    message: Annotated[str, Meta(description="What was wrong and what was expected.")]
    field: Annotated[str | None, Meta(description="The input that must change, when there is exactly one; else null.")]
    request_id: Annotated[str, Meta(description="Identifies this request in the server's log.")]


class Error(AnswerBody, kw_only=True):
    """The body of every answer that is not a success."""

    error: Annotated[ErrorBody, Meta(description="The error.")]
