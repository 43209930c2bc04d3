"""Shapes of the model registry: models, versions, files, deploying. File bytes never pass through a struct."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from server.rest.structs.common import (
    AnswerBody,
    BigInt,
    DateTime,
    JsonObject,
    NextCursor,
    Notes,
    RequestBody,
    Slug,
    Tags,
    Title,
    Total,
)
from server.rest.structs.inference import EndpointConfigInput, Replicas, Weight


class ModelVersionStatus(StrEnum):
    """Uploading until its file is complete; then ready, or rejected with the reason."""

    UPLOADING = "uploading"
    READY = "ready"
    REJECTED = "rejected"


class ModelFormat(StrEnum):
    """What kind of file it is, told from its content. `executable` may run code when loaded: stored, never loaded."""

    SAFETENSORS = "safetensors"
    TORCH_EXPORT = "torch_export"
    ONNX = "onnx"
    EXECUTABLE = "executable"
    OTHER = "other"


class Stage(StrEnum):
    """Where a version stands, in the words of older clients. See the route that sets it."""

    NONE = "none"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class Model(AnswerBody, kw_only=True):
    """A named line of versions."""

    id: Annotated[str, Meta(description="Model id (`mdl_…`).")]
    name: Annotated[str, Meta(description="Name, unique among the living models of the workspace.")]
    description: Annotated[str | None, Meta(description="What the model is for.")]
    model_type: Annotated[str | None, Meta(description="Kind of model, such as `mlp`.")]
    tags: Annotated[dict[str, str], Meta(description="Tags by key.")]
    latest_version: Annotated[int | None, Meta(description="Number of the highest ready version; null: none.")]
    aliases: Annotated[dict[str, int], Meta(description="Version number by alias, such as `champion`.")]
    user_id: Annotated[str, Meta(description="Who made it (`usr_…`).")]
    created_at: Annotated[DateTime, Meta(description="When it was made.")]
    updated_at: Annotated[DateTime, Meta(description="When it, the list of its versions or its aliases last changed.")]


class ModelList(AnswerBody, kw_only=True):
    """A page of models, newest first."""

    items: Annotated[list[Model], Meta(description="The models of this page.")]
    total: Total
    next_cursor: NextCursor


class ModelCreate(RequestBody, kw_only=True):
    """A model to be made."""

    name: Annotated[Slug, Meta(description="Name, unique among the living models of the workspace.")]
    description: Annotated[Notes | None, Meta(description="What the model is for.")] = None
    model_type: Annotated[Title | None, Meta(description="Kind of model.")] = None
    tags: Annotated[Tags, Meta(description="Tags by key.")] = field(default_factory=dict)


class ModelPatch(RequestBody, kw_only=True):
    """Changes to a model. What is left out stays; null clears."""

    name: Annotated[Slug | UnsetType, Meta(description="New name.")] = UNSET
    description: Annotated[Notes | UnsetType | None, Meta(description="New description.")] = UNSET
    model_type: Annotated[Title | UnsetType | None, Meta(description="New kind of model.")] = UNSET
    tags: Annotated[Tags | UnsetType, Meta(description="New tags, replacing the old.")] = UNSET


class ModelVersionPatch(RequestBody, kw_only=True):
    """Changes to what is said about a version. What is left out stays; null clears. Its files never change."""

    description: Annotated[Notes | UnsetType | None, Meta(description="New description.")] = UNSET
    tags: Annotated[Tags | UnsetType, Meta(description="New tags, replacing the old.")] = UNSET
    metrics: Annotated[JsonObject | UnsetType, Meta(description="New figures, replacing the old.")] = UNSET


class ModelFile(AnswerBody, kw_only=True):
    """A stored file of a version."""

    name: Annotated[str, Meta(description="Name of the file within its version.")]
    size_bytes: Annotated[BigInt, Meta(description="Size in bytes.")]
    sha256: Annotated[str, Meta(description="SHA-256 of the bytes, 64 lower-case hex digits.")]
    format: Annotated[ModelFormat, Meta(description="What the file was found to be.")]
    parameter_count: Annotated[
        BigInt | None, Meta(description="How many numbers its tensors hold; null where that is not known.")
    ]
    download_url: Annotated[str, Meta(description="Path to read it from on this server.")]


class ModelUpload(AnswerBody, kw_only=True):
    """The bytes of a version while they arrive."""

    received: Annotated[BigInt, Meta(description="How many are stored; the next piece begins there.")]
    size_bytes: Annotated[BigInt, Meta(description="How many there will be.")]
    sha256: Annotated[str, Meta(description="The digest that was declared.")]
    expires_at: Annotated[DateTime, Meta(description="When it is given up, unless something comes before.")]


class TensorSpec(AnswerBody, kw_only=True):
    """One input or output of a model."""

    name: Annotated[str, Meta(description="Name in prediction requests and answers.")]
    dtype: Annotated[str, Meta(description="Element type, such as `float32`.")]
    shape: Annotated[list[int], Meta(description="Sizes; -1 first is the batch.")]


class ModelVersion(AnswerBody, kw_only=True):
    """One immutable set of weights of a model."""

    id: Annotated[str, Meta(description="Version id (`ver_…`).")]
    model_id: Annotated[str, Meta(description="The model (`mdl_…`).")]
    model_name: Annotated[str, Meta(description="Name of the model.")]
    version: Annotated[int, Meta(description="Number, from 1, never used again.")]
    status: Annotated[ModelVersionStatus, Meta(description="Whether its file is complete and sound.")]
    status_reason: Annotated[str | None, Meta(description="Why it was rejected.")]
    description: Annotated[str | None, Meta(description="What is special about it.")]
    tags: Annotated[dict[str, str], Meta(description="Tags by key.")]
    aliases: Annotated[list[str], Meta(description="Aliases that point here, in order.")]
    stage: Annotated[Stage, Meta(description="Where it stands, as its aliases and tags say.")]
    metrics: Annotated[
        JsonObject,
        Meta(description="Figures: as given, and for the rest the last values of its run when it was registered."),
    ]
    file: Annotated[ModelFile | None, Meta(description="The weights; null until uploaded.")]
    files: Annotated[list[ModelFile], Meta(description="The weights, then the other files by name.")]
    upload: Annotated[ModelUpload | None, Meta(description="How far the weights are; null unless uploading.")]
    architecture: Annotated[JsonObject | None, Meta(description="The architecture document (`arch/1`), if any.")]
    inputs: Annotated[list[TensorSpec] | None, Meta(description="Inputs of the architecture; null without one.")]
    outputs: Annotated[list[TensorSpec] | None, Meta(description="Outputs of the architecture; null without one.")]
    run_id: Annotated[str | None, Meta(description="The run that made it (`run_…`).")]
    user_id: Annotated[str, Meta(description="Who uploaded it (`usr_…`).")]
    created_at: Annotated[DateTime, Meta(description="When it was made.")]
    servable: Annotated[bool, Meta(description="Whether it can be deployed.")]
    servable_reason: Annotated[str | None, Meta(description="Why it cannot; null when it can.")]


class ModelVersionList(AnswerBody, kw_only=True):
    """A page of versions, highest number first."""

    items: Annotated[list[ModelVersion], Meta(description="The versions of this page.")]
    total: Total
    next_cursor: NextCursor


class ModelVersionForm(RequestBody, kw_only=True):
    """The parts of a multipart upload. It documents them; the upload itself is streamed, never decoded as one."""

    file: Annotated[str, Meta(description="The weights, as they are.", extra_json_schema={"format": "binary"})]
    files: Annotated[
        list[str] | UnsetType,
        Meta(description="Files beside the weights, a part for each; the file name of a part is the file's."),
    ] = UNSET
    architecture: Annotated[
        JsonObject | UnsetType, Meta(description="The architecture document (`arch/1`) as JSON.")
    ] = UNSET
    description: Annotated[Notes | UnsetType, Meta(description="What is special about this version.")] = UNSET
    metrics: Annotated[JsonObject | UnsetType, Meta(description="Figures to carry along, as JSON.")] = UNSET
    run_id: Annotated[str | UnsetType, Meta(description="The run that made it.")] = UNSET
    tags: Annotated[Tags | UnsetType, Meta(description="Tags by key, as JSON.")] = UNSET
    sha256: Annotated[
        Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$")] | UnsetType,
        Meta(description="Declared digest; other bytes are refused."),
    ] = UNSET


class Deploy(RequestBody, kw_only=True):
    """Where and how a version is to be served."""

    endpoint: Annotated[
        Slug,
        Meta(description="Name of the endpoint; made when missing, switched over without a gap when not."),
    ]
    weight: Annotated[
        Weight | None,
        Meta(description="Its share in percent, the others keeping their proportions; left out: 100; 0: none."),
    ] = None
    replicas: Annotated[Replicas | None, Meta(description="Copies of the model; left out: as before, or 1.")] = None
    config: Annotated[
        EndpointConfigInput | None,
        Meta(description="Settings to change; left out: as before, or the defaults."),
    ] = None


ArchitectureDocument = Annotated[
    JsonObject,
    Meta(
        min_length=1,
        description="The architecture document (`arch/1`): `format`, `inputs`, `nodes`, `outputs`.",
    ),
]
