"""Rows of models and versions as entities, and the stored forms of what they hold. No SQL runs here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from domain import ids
from domain.access import Reach
from domain.architecture import Architecture
from domain.models import Model, ModelFile, ModelFormat, ModelVersion, ModelVersionStatus, download_url
from domain.runs import Tag
from domain.safetensors import TensorTable
from domain.tensors import TensorSpec
from persistence.reach import link

MODEL: Final = "m.id, m.name, m.description, m.model_type, m.tags, m.owner_id, m.created_at, m.updated_at"
VERSION: Final = (
    "v.id, v.model_id, m.name AS model_name, v.version, v.status, v.status_reason, v.description, v.tags, v.metrics,"
    " v.file_name, v.file_format, v.sha256, v.size_bytes, v.parameter_count, v.inputs, v.outputs, v.run_id,"
    " v.created_by_id, v.created_at"
)


def tags_json(tags: Sequence[Tag]) -> str:
    """Tags as they are stored."""
    return json.dumps({tag.key: tag.value for tag in tags})


def architecture_json(document: Architecture) -> tuple[str, str, str]:
    """The stored document, inputs and outputs."""
    return (
        json.dumps(document.to_json()),
        json.dumps([spec.to_json() for spec in document.inputs]),
        json.dumps([spec.to_json() for spec in document.outputs]),
    )


def tensors_json(table: TensorTable | None) -> str | None:
    """The stored form of what tensors a file has."""
    if table is None:
        return None
    return json.dumps([[entry.name, entry.dtype, list(entry.shape)] for entry in table.tensors.values()])


def _tags(stored: str) -> list[Tag]:
    found: Mapping[str, str] = json.loads(stored)
    return [Tag(key, found[key]) for key in sorted(found)]


def _specs(stored: str | None) -> list[TensorSpec] | None:
    return None if stored is None else [TensorSpec.from_json(each, field="inputs") for each in json.loads(stored)]


def model_key(row: asyncpg.Record) -> tuple[datetime, str]:
    """The sort key of a row of MODEL."""
    return row["created_at"], ids.from_uuid("mdl", row["id"])


def read_model(row: asyncpg.Record) -> Model:
    """A model from a row of MODEL."""
    return Model(
        id=ids.from_uuid("mdl", row["id"]),
        name=row["name"],
        description=row["description"],
        model_type=row["model_type"],
        tags=_tags(row["tags"]),
        owner_id=ids.from_uuid("usr", row["owner_id"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _file(row: asyncpg.Record) -> ModelFile | None:
    if row["sha256"] is None:
        return None
    return ModelFile(
        name=row["file_name"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        format=ModelFormat(row["file_format"]),
        parameter_count=row["parameter_count"],
        download_url=download_url(ids.from_uuid("mdl", row["model_id"]), row["version"]),
    )


def read_version(row: asyncpg.Record, runs: Reach) -> ModelVersion:
    """A version from a row of VERSION; without its run, where that is not within reach."""
    return ModelVersion(
        id=ids.from_uuid("ver", row["id"]),
        model_id=ids.from_uuid("mdl", row["model_id"]),
        model_name=row["model_name"],
        version=row["version"],
        status=ModelVersionStatus(row["status"]),
        status_reason=row["status_reason"],
        description=row["description"],
        tags=_tags(row["tags"]),
        metrics=json.loads(row["metrics"]),
        file=_file(row),
        inputs=_specs(row["inputs"]),
        outputs=_specs(row["outputs"]),
        run_id=None if row["run_id"] is None else link(runs, ids.from_uuid("run", row["run_id"])),
        created_by_id=ids.from_uuid("usr", row["created_by_id"]),
        created_at=row["created_at"],
    )
