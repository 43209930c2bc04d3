"""What differs between two versions: figures, configurations, architectures, tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from domain import ids
from domain.access import KeyScope, Scope
from domain.errors import BadUserInput, NotFound
from domain.models.entities import ModelVersion
from domain.models.files import ModelFormat
from domain.models.registry import Models
from domain.models.tensors import StoredTensor, TensorRepository
from domain.runs import Run, Runs

MAX_DIFFERENCES: Final = 1_000
"""How many differences of one kind are told."""

_MISSING: Final = object()
_Path = tuple[str, ...]


class DifferenceKind(Enum):
    """What became of something, seen from left to right."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """A figure of two versions; None where a version does not have it."""

    key: str
    left: float | None
    right: float | None


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """A value that differs; None where it is missing. `path` joins the names that lead to it by dots."""

    path: str
    change: DifferenceKind
    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """A tensor that differs in type or shape; None where it is missing."""

    name: str
    change: DifferenceKind
    left: StoredTensor | None
    right: StoredTensor | None


@dataclass(frozen=True, slots=True)
class ModelVersionComparison:
    """What differs between two versions, at most MAX_DIFFERENCES of each kind; None where it cannot be told."""

    left: ModelVersion
    right: ModelVersion
    same_file: bool
    metrics: list[MetricComparison]
    config: list[ValueDifference] | None
    architecture: list[ValueDifference] | None
    tensors: list[TensorDifference] | None


class VersionComparisons:
    """Use-cases. What may not be read does not exist, and the configuration of such a run is left out."""

    def __init__(self, *, models: Models, tensors: TensorRepository, runs: Runs) -> None:
        self._models = models
        self._tensors = tensors
        self._runs = runs

    async def compare(self, scope: Scope, left: str, right: str) -> ModelVersionComparison:
        """Two versions by their ids. Raises BadUserInput and NotFound naming `left` or `right`."""
        wanted = {field: ids.parse("ver", given, field=field) for field, given in (("left", left), ("right", right))}
        found = await self._models.versions_by_ids(scope, sorted(set(wanted.values())))
        for field, version_id in wanted.items():
            if version_id not in found:
                raise NotFound("there is no such model version", field=field)
        return await self.of(scope, found[wanted["left"]], found[wanted["right"]])

    async def compare_named(
        self, scope: Scope, model: str, version: str, *, to: str, to_model: str | None
    ) -> ModelVersionComparison:
        """Two versions by model (id or name) and number, `latest` or `@alias`. Raises BadUserInput and NotFound."""
        left = await self._models.get_version(scope, model, version)
        try:
            right = await self._models.get_version(scope, left.model_id if to_model is None else to_model, to)
        except (BadUserInput, NotFound) as problem:
            raise type(problem)(problem.message, field="to" if problem.field == "version" else "to_model") from None
        return await self.of(scope, left, right)

    async def of(self, scope: Scope, left: ModelVersion, right: ModelVersion) -> ModelVersionComparison:
        """Two versions that were read for this caller."""
        documents = await self._models.architectures(scope, [left.id, right.id])
        return ModelVersionComparison(
            left=left,
            right=right,
            same_file=left.file is not None and right.file is not None and left.file.sha256 == right.file.sha256,
            metrics=_metrics(left.metrics, right.metrics),
            config=await self._config(scope, left, right),
            architecture=differences(_by_name(documents[left.id]), _by_name(documents[right.id]))
            if left.id in documents and right.id in documents
            else None,
            tensors=await self._differing(scope, left, right),
        )

    async def _config(self, scope: Scope, left: ModelVersion, right: ModelVersion) -> list[ValueDifference] | None:
        wanted = [version.run_id for version in (left, right) if version.run_id is not None]
        if not scope.principal.allows(KeyScope.RUNS_READ) or len(wanted) != 2:
            return None
        found: Mapping[str, Run] = await self._runs.by_ids(scope, wanted)
        runs = [found[run_id] for run_id in wanted if run_id in found]
        return differences(runs[0].config, runs[1].config) if len(runs) == len(wanted) else None

    async def _differing(self, scope: Scope, left: ModelVersion, right: ModelVersion) -> list[TensorDifference] | None:
        files = left.file, right.file
        if any(file is None or file.format is not ModelFormat.SAFETENSORS for file in files):
            return None
        pairs = await self._tensors.differing_tensors(scope, left.id, right.id, MAX_DIFFERENCES)
        return [TensorDifference(pair.name, _kind(pair.left, pair.right), pair.left, pair.right) for pair in pairs]


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[ValueDifference]:
    """The first values, in order of path, that two JSON objects do not have in common. Lists are compared whole."""
    ours, theirs = dict(_leaves(left)), dict(_leaves(right))
    found: list[ValueDifference] = []
    for path in sorted(ours.keys() | theirs.keys()):
        before, after = ours.get(path, _MISSING), theirs.get(path, _MISSING)
        if not _same(before, after):
            change = _kind(None if before is _MISSING else path, None if after is _MISSING else path)
            shown = [None if value is _MISSING else value for value in (before, after)]
            found.append(ValueDifference(".".join(path), change, *shown))
            if len(found) == MAX_DIFFERENCES:
                break
    return found


def _kind(left: object | None, right: object | None) -> DifferenceKind:
    if left is None:
        return DifferenceKind.ADDED
    return DifferenceKind.REMOVED if right is None else DifferenceKind.CHANGED


def _leaves(document: Mapping[str, Any]) -> Iterator[tuple[_Path, Any]]:
    """Every value that is no object, or an empty one, with the names that lead to it."""
    waiting: list[tuple[_Path, Any]] = [((key,), value) for key, value in document.items()]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping) and value:
            waiting.extend(((*path, str(key)), inner) for key, inner in value.items())
        else:
            yield path, value


def _same(left: object, right: object) -> bool:
    """Whether two JSON values are equal. Of numbers their value counts; `true` is none."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (left, right))
    if numbers:
        return left == right
    if left is _MISSING or right is _MISSING:
        return left is right
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def _metrics(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[MetricComparison]:
    return [
        MetricComparison(key, *(float(side[key]) if key in side else None for side in (left, right)))
        for key in sorted(left.keys() | right.keys())
    ]


def _by_name(document: Mapping[str, Any]) -> dict[str, Any]:
    """An architecture document whose nodes are found by id, and inputs and outputs by name, wherever they stand."""
    return {key: _keyed(value) for key, value in document.items()}


def _keyed(value: Any) -> Any:
    for name in ("id", "name"):
        if isinstance(value, list) and value and all(isinstance(each, dict) and name in each for each in value):
            return {str(each[name]): {key: inner for key, inner in each.items() if key != name} for each in value}
    return value
