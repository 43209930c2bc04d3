"""Changes to models and versions as assignments of SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from domain.errors import Conflict
from domain.models import ModelChanges, VersionChanges
from domain.runs.values import MAX_AT_ONCE
from persistence.models.rows import tags_json


def assignments(changes: ModelChanges | VersionChanges, first: int) -> tuple[list[str], list[object]]:
    """`column = $n` for what changes, and the arguments, of which the first is `$first`.

    Single tags are set and removed in the row as it is then, so that two callers who change different ones both win.
    """
    given = dict(cast("Mapping[str, Any]", changes))
    put, drop = given.pop("tags_set", None), given.pop("tags_delete", None)
    if "tags" in given:
        given["tags"] = tags_json(given["tags"])
    if "metrics" in given:
        given["metrics"] = json.dumps(given["metrics"])
    places = [f"{column} = ${place}" for place, column in enumerate(given, start=first)]
    arguments = list(given.values())
    if put is not None or drop is not None:
        at = first + len(arguments)
        places.append(f"tags = (tags - ${at}::text[]) || ${at + 1}::jsonb")
        arguments += [list(drop or ()), tags_json(put or ())]
    return places, arguments


def check_tags(count: int) -> None:
    """Raises Conflict for more tags than there may be, after single ones were added."""
    if count > MAX_AT_ONCE:
        raise Conflict(f"there would be {count} tags; at most {MAX_AT_ONCE}", field="tags_set")
