"""Models, versions and files, as values. What a version's bytes allow is derived here, from facts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import quote

from domain.architecture import Architecture
from domain.models.files import Inspection, ModelFormat
from domain.runs import Tag
from domain.safetensors import TensorTable
from domain.tensors import TensorSpec

if TYPE_CHECKING:
    from domain.models.ports import ReceivedFile


class ModelVersionStatus(Enum):
    """Whether a version's file is whole and checked."""

    UPLOADING = "uploading"
    READY = "ready"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Model:
    """A named line of versions. `updated_at` also moves when the list of its versions changes."""

    id: str
    name: str
    description: str | None
    model_type: str | None
    tags: list[Tag]
    owner_id: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A stored file. `name` is for showing; the bytes are found by `sha256` alone."""

    name: str
    size_bytes: int
    sha256: str
    format: ModelFormat
    parameter_count: int | None
    download_url: str


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One immutable set of weights.

    `inputs` and `outputs` are those of its architecture; the document itself may be large and is read apart.
    """

    id: str
    model_id: str
    model_name: str
    version: int
    status: ModelVersionStatus
    status_reason: str | None
    description: str | None
    tags: list[Tag]
    metrics: dict[str, Any]
    file: ModelFile | None
    inputs: list[TensorSpec] | None
    outputs: list[TensorSpec] | None
    run_id: str | None
    created_by_id: str
    created_at: datetime

    @property
    def servable(self) -> bool:
        """Whether an endpoint can serve it."""
        return self.servable_reason is None

    @property
    def servable_reason(self) -> str | None:
        """Why it cannot be served; None when it can."""
        if self.status is not ModelVersionStatus.READY or self.file is None:
            return self.status_reason or f"its file is {self.status.name}"
        if self.file.format is not ModelFormat.SAFETENSORS:
            return f"only safetensors files are served; this one is {self.file.format.name}"
        if self.inputs is None:
            return "it has no architecture yet"
        return None


class ModelChanges(TypedDict, total=False):
    """Changes to a model: what is left out stays, None clears. `tags` are all there will be, the others single ones."""

    name: str
    description: str | None
    model_type: str | None
    tags: list[Tag]
    tags_set: list[Tag]
    tags_delete: list[str]


class VersionChanges(TypedDict, total=False):
    """Changes to a version, as those to a model."""

    description: str | None
    tags: list[Tag]
    tags_set: list[Tag]
    tags_delete: list[str]
    metrics: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Upload:
    """The weights of an UPLOADING version, while they arrive. `received` bytes are durable.

    It is given up at `expires_at` unless something arrives before.
    """

    version_id: str
    sha256: str
    size_bytes: int
    received: int
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class VersionDraft:
    """What a client says about the file it uploads. `architecture` is the text of the document."""

    file_name: str | None = None
    architecture: str | bytes | None = None
    description: str | None = None
    metrics: object = None
    run_id: str | None = None
    tags: Sequence[Tag] = ()
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ExtraFile:
    """A checked file beside the weights and, when it holds safetensors, what tensors these are."""

    file: ModelFile
    table: TensorTable | None


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A checked version before it has a number. `extras` are the files beside its weights."""

    version: ModelVersion
    architecture: Architecture | None
    table: TensorTable | None
    extras: Sequence[ExtraFile] = ()


def numbered(version: ModelVersion, number: int) -> ModelVersion:
    """The version once it has its number, and so its address."""
    file = version.file
    if file is not None:
        file = replace(file, download_url=download_url(version.model_id, number))
    return replace(version, version=number, file=file)


def stored_file(file: ReceivedFile, name: str, inspection: Inspection) -> ModelFile:
    """What is kept about a received file, once it was inspected. Weights without a name get one by their format."""
    fallback = "model.safetensors" if inspection.format is ModelFormat.SAFETENSORS else "model.bin"
    table = inspection.table
    count = None if table is None else table.parameter_count
    return ModelFile(name or fallback, file.size_bytes, file.sha256, inspection.format, count, "")


def file_url(model_id: str, number: int, name: str) -> str:
    """Path of the bytes of a file beside the weights."""
    return f"/api/models/{model_id}/versions/{number}/files/{quote(name, safe='')}"


def download_url(model_id: str, number: int) -> str:
    """Path of a version's bytes on this server."""
    return f"/api/models/{model_id}/versions/{number}/download"
