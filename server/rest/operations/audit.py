"""The audit log as a stream."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.rest.route import NDJSON, Answer, Operation, Param, Raw
from server.rest.structs.common import DateTime

_ROWS = Raw(
    {
        "type": "string",
        "description": (
            "One JSON object per line: `seq`, `id`, `at`, `action`, `outcome`, `actor_id`, `session_id`, `api_key_id`,"
            " `workspace_id`, `resource`, `others`, `address`, `request_id`, `hash`."
        ),
    }
)

AUDIT = Operation(
    method="get",
    path="/api/admin/audit",
    operation_id="auditEvents",
    tag="admin",
    summary="Export the audit log",
    description=(
        "Every row of the chain, oldest first, as it is when the request comes. `hash` is SHA-256 of the hash before it"
        " (of 32 zero bytes for the first row) and of the rest of the row as JSON with sorted keys, without spaces and"
        " in ASCII: whoever keeps an export can check it alone. For signed-in administrators."
    ),
    params=(
        Param("after", Annotated[int, Meta(ge=0)], "Only rows with a higher `seq`.", default=0),
        Param("actor_id", Annotated[str, Meta(min_length=1, max_length=64)], "Only by this user."),
        Param("action", Annotated[str, Meta(min_length=1, max_length=64)], "Only this action."),
        Param("outcome", Annotated[str, Meta(min_length=1, max_length=32)], "Only with this outcome."),
        Param("from", DateTime, "Not before."),
        Param("to", DateTime, "Before."),
    ),
    answers={200: Answer("The rows.", {NDJSON: _ROWS})},
)

OPERATIONS = (AUDIT,)
