"""Shapes of aliases, stages, and of what differs between two versions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta

from server.rest.structs.common import AnswerBody, DateTime, FloatValue, NextCursor, RequestBody, Total
from server.rest.structs.models import ModelVersion, Stage, TensorSpec


class ModelAlias(AnswerBody, kw_only=True):
    """A movable name of a version."""

    alias: Annotated[str, Meta(description="The name, without the `@` that it has in paths.")]
    version: Annotated[int, Meta(description="Number of the version it points at.")]
    version_id: Annotated[str, Meta(description="Its id (`ver_…`).")]
    updated_at: Annotated[DateTime, Meta(description="When it was last pointed at another version.")]


class ModelAliasList(AnswerBody, kw_only=True):
    """Every alias of a model, in order."""

    items: Annotated[list[ModelAlias], Meta(description="The aliases; at most 100.")]
    total: Total
    next_cursor: NextCursor


class ModelAliasSet(RequestBody, kw_only=True):
    """Where an alias is to point."""

    version: Annotated[int, Meta(ge=1, le=999_999_999, description="Number of a version that is ready.")]


class ModelVersionStageSet(RequestBody, kw_only=True):
    """Where a version is to stand."""

    stage: Annotated[Stage, Meta(description="`staging` and `production` are the aliases of these names.")]
    archive_existing: Annotated[
        bool, Meta(description="Whether the version that was there before is archived; else it has no stage.")
    ] = False


class DifferenceKind(StrEnum):
    """What became of something, seen from left to right."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class MetricComparison(AnswerBody, kw_only=True):
    """A figure of two versions."""

    key: Annotated[str, Meta(description="Its name.")]
    left: Annotated[FloatValue | None, Meta(description="Its value in one; null where it has none.")]
    right: Annotated[FloatValue | None, Meta(description="Its value in the other.")]


class ValueDifference(AnswerBody, kw_only=True):
    """A value that differs."""

    path: Annotated[str, Meta(description="The names that lead to it, joined by dots. Lists are compared whole.")]
    change: Annotated[DifferenceKind, Meta(description="What became of it.")]
    left: Annotated[Any, Meta(description="It in one; null where it is missing.")]
    right: Annotated[Any, Meta(description="It in the other.")]


class TensorDifference(AnswerBody, kw_only=True):
    """A tensor that differs in type or shape."""

    name: Annotated[str, Meta(description="Its name.")]
    change: Annotated[DifferenceKind, Meta(description="What became of it.")]
    left: Annotated[TensorSpec | None, Meta(description="It in one; null where it is missing.")]
    right: Annotated[TensorSpec | None, Meta(description="It in the other.")]


class ModelVersionComparison(AnswerBody, kw_only=True):
    """What differs between two versions. Each list holds the first 1,000 differences in order of key or name."""

    left: Annotated[ModelVersion, Meta(description="The version of the path.")]
    right: Annotated[ModelVersion, Meta(description="The version it is compared with.")]
    same_file: Annotated[bool, Meta(description="Whether their weights are the same bytes.")]
    metrics: Annotated[list[MetricComparison], Meta(description="Figures of both by key, those that are equal too.")]
    config: Annotated[
        list[ValueDifference] | None,
        Meta(description="In the configurations of their runs; null unless both have a run that may be read."),
    ]
    architecture: Annotated[
        list[ValueDifference] | None, Meta(description="In their architecture documents; null unless both have one.")
    ]
    tensors: Annotated[
        list[TensorDifference] | None,
        Meta(description="Tensors in one only, or of another type or shape; null unless both are safetensors."),
    ]
