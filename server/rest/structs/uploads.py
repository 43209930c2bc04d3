"""Shapes of uploads that go on later, and of the files of a version."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from server.rest.structs.common import AnswerBody, BigInt, JsonObject, NextCursor, Notes, RequestBody, Tags, Total
from server.rest.structs.models import ModelFile, ModelVersionStatus


class ModelVersionCreate(RequestBody, kw_only=True):
    """A version to be reserved, whose bytes follow."""

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$", description="SHA-256 of the bytes to come.")]
    size_bytes: Annotated[int, Meta(ge=1, le=2**53, description="Their number.")]
    file_name: Annotated[str | None, Meta(description="Name to show for the file.")] = None
    architecture: Annotated[
        JsonObject | None,
        Meta(description="The architecture document (`arch/1`); checked once the bytes are whole."),
    ] = None
    description: Annotated[Notes | None, Meta(description="What is special about this version.")] = None
    metrics: Annotated[JsonObject, Meta(description="Figures to carry along.")] = field(default_factory=dict)
    run_id: Annotated[str | None, Meta(description="The run that made it.")] = None
    tags: Annotated[Tags, Meta(description="Tags by key.")] = field(default_factory=dict)


class UploadProgress(AnswerBody, kw_only=True):
    """How far the bytes of a version are."""

    status: Annotated[ModelVersionStatus, Meta(description="Whether they are complete and sound.")]
    status_reason: Annotated[str | None, Meta(description="Why the version was rejected.")]
    received: Annotated[BigInt, Meta(description="How many bytes are stored; the next piece begins there.")]
    size_bytes: Annotated[BigInt | None, Meta(description="How many there will be; null once rejected.")]
    sha256: Annotated[str | None, Meta(description="The digest that was declared; null once rejected.")]


class ModelFileList(AnswerBody, kw_only=True):
    """All files of a version."""

    items: Annotated[list[ModelFile], Meta(description="The weights, when there are any, then the others by name.")]
    total: Total
    next_cursor: NextCursor
