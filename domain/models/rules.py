"""What may be written about models and versions. Each rule raises BadUserInput naming its field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from domain import architecture as architectures
from domain import ids, names
from domain.architecture import Architecture
from domain.errors import BadUserInput
from domain.models.at_rest import FileBytes
from domain.models.entities import ModelChanges, VersionChanges, VersionDraft
from domain.models.files import Inspection, inspect
from domain.runs import Tag, make_tags
from domain.runs.values import MAX_AT_ONCE, key
from domain.safetensors import TensorEntry, TensorTable
from domain.search import Attribute, AttributeKind, KeyedKind, Vocabulary

MAX_METRICS: Final = 1_000
NON_FINITE: Final = ("NaN", "Infinity", "-Infinity")

FILTER: Final = Vocabulary(
    {
        "name": Attribute(AttributeKind.TEXT),
        "description": Attribute(AttributeKind.TEXT),
        "model_type": Attribute(AttributeKind.TEXT),
        "created": Attribute(AttributeKind.TIME),
        "updated": Attribute(AttributeKind.TIME),
        "owner": Attribute(AttributeKind.REFERENCE, id_kind="usr"),
    },
    {"tags": KeyedKind.TEXTS, "aliases": KeyedKind.NUMBERS},
)
"""What the filter of a list of models may name. `owner` is an address or an id, `aliases.<name>` a version's number."""


@dataclass(frozen=True, slots=True)
class CheckedDraft:
    """What a client says about a version, checked."""

    description: str | None
    tags: list[Tag]
    metrics: dict[str, Any]
    run_id: str | None


def checked_draft(draft: VersionDraft) -> CheckedDraft:
    """The texts, tags, figures and the run of a draft. Raises BadUserInput naming the field."""
    return CheckedDraft(
        description(draft.description),
        checked_tags(draft.tags),
        checked_metrics(draft.metrics),
        None if draft.run_id is None else ids.parse("run", draft.run_id, field="run_id"),
    )


def checked_tags(tags: Sequence[Tag]) -> list[Tag]:
    """Tags in order of key. Raises BadUserInput for a bad key or text, two texts for one key, or too many."""
    return list(make_tags((tag.key, tag.value) for tag in tags))


def checked_tag_changes(changes: ModelChanges | VersionChanges, checked: ModelChanges | VersionChanges) -> None:
    """Moves what is said about tags over, checked. Raises BadUserInput, also for all tags together with single ones."""
    if "tags" in changes:
        if "tags_set" in changes or "tags_delete" in changes:
            raise BadUserInput("give either all tags, or those to set and to remove", field="tags")
        checked["tags"] = checked_tags(changes["tags"])
    if "tags_set" in changes:
        checked["tags_set"] = list(make_tags(((tag.key, tag.value) for tag in changes["tags_set"]), field="tags_set"))
    if "tags_delete" in changes:
        given = changes["tags_delete"]
        if len(given) > MAX_AT_ONCE:
            raise BadUserInput(f"at most {MAX_AT_ONCE} keys at once", field="tags_delete")
        checked["tags_delete"] = [key(name, field=f"tags_delete[{place}]") for place, name in enumerate(given)]


def checked_metrics(value: object, *, field: str = "metrics") -> dict[str, Any]:
    """An object of numbers, with NaN and infinities by name. Raises BadUserInput naming the key."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadUserInput("expected an object of numbers", field=field)
    if len(value) > MAX_METRICS:
        raise BadUserInput(f"{len(value)} metrics; at most {MAX_METRICS}", field=field)
    return {_metric_key(key, field): _metric(number, f"{field}.{key}") for key, number in value.items()}


def _metric_key(key: object, field: str) -> str:
    if not isinstance(key, str):
        raise BadUserInput("keys are texts", field=field)
    return names.title(key, field=field)


def _metric(number: object, field: str) -> float | int | str:
    if isinstance(number, str) and number in NON_FINITE:
        return number
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise BadUserInput('expected a number, "NaN", "Infinity" or "-Infinity"', field=field)
    if isinstance(number, int):
        if not -(2**63) <= number < 2**63:
            raise BadUserInput("expected a whole number that fits 64 bits", field=field)
        return number
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def description(text: str | None) -> str | None:
    """Free text, or none."""
    return None if text is None else names.notes(text, field="description")


def model_type(text: str | None) -> str | None:
    """A short text, or none."""
    return None if text is None else names.title(text, field="model_type")


def table_of(tensors: Sequence[Sequence[Any]]) -> TensorTable:
    """The table of stored `[name, dtype, shape]` rows, as far as an architecture is compared with it."""
    return TensorTable({name: TensorEntry(name, dtype, tuple(shape), 0, 0) for name, dtype, shape in tensors})


def check_upload(file: FileBytes, name: str, document: str | bytes | None) -> tuple[Inspection, Architecture | None]:
    """Everything about an upload that needs its bytes or much computing; runs off the event loop."""
    inspection = inspect(file, name)
    if document is None:
        return inspection, None
    if inspection.table is None:
        raise BadUserInput(
            f"an architecture belongs to safetensors weights; this file is {inspection.format.name}",
            field="architecture",
        )
    parsed = architectures.parse_text(document)
    parsed.check_weights(inspection.table)
    return inspection, parsed
