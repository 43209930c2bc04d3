"""Parameters that several REST operations share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.rest.route import Param

_Id = Annotated[str, Meta(min_length=1, max_length=64)]
_Name = Annotated[str, Meta(min_length=1, max_length=128)]

RUN_ID = Param("id", _Id, "Run id (`run_…`) or bare UUID.", "path")
EXPERIMENT_ID = Param("id", _Id, "Experiment id (`exp_…`) or bare UUID.", "path")
KEY_ID = Param("id", _Id, "API key id (`key_…`) or bare UUID.", "path")
PASSKEY_ID = Param("id", _Id, "Passkey id (`psk_…`) or bare UUID.", "path")
USER_ID = Param("id", _Id, "User id (`usr_…`) or bare UUID.", "path")
GRANT_ID = Param("id", _Id, "Id of the record, or bare UUID.", "path")
MODEL = Param("id", _Name, "Model id (`mdl_…`), bare UUID, or name.", "path")
ENDPOINT = Param("id", _Name, "Endpoint id (`end_…`), bare UUID, or name.", "path")
VERSION = Param(
    "v",
    Annotated[str, Meta(min_length=1, max_length=129)],
    "Version number, `latest` (the highest that is ready), or `@alias`.",
    "path",
)

LIMIT = Param("limit", Annotated[int, Meta(ge=1, le=200)], "Most items to answer.", default=50)
OFFSET = Param(
    "offset",
    Annotated[int, Meta(ge=0, le=10_000)],
    "How many items to skip; not together with `cursor`, which is exact while the list changes.",
    default=0,
)
CURSOR = Param(
    "cursor",
    Annotated[str, Meta(min_length=1, max_length=2_048)],
    "The `next_cursor` of the page before, with the same filter and order.",
)
PAGE = (LIMIT, OFFSET, CURSOR)

FILTER = Param(
    "filter",
    Annotated[str, Meta(max_length=10_000)],
    'Search filter, such as `metrics.loss < 0.1 and params.optimizer = "adam"`.',
)
WAIT = Param(
    "wait",
    Annotated[float, Meta(ge=0, le=300)],
    "Seconds to wait for the endpoint to arrive at its new state; it is answered as it is then.",
    default=0,
)
