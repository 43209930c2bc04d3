"""The part of the graph about models and their versions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from domain import models, runs
from domain.models import ModelChanges, VersionChanges, VersionDraft, comparison
from resolvers import models as resolve
from resolvers.runs import Deleted as DeletedId
from schema.node import Node
from schema.paging import Connection, PageInfo
from schema.run_changes import TagInput
from schema.runs import Deleted, Tag
from schema.scalars import JSON, BigInt, FloatValue

if TYPE_CHECKING:
    from resolvers.context import Context
    from schema.endpoints import Endpoint
    from schema.identity import User
    from schema.runs import Run


strawberry.enum(models.ModelVersionStatus)
strawberry.enum(models.ModelFormat)
strawberry.enum(comparison.DifferenceKind)


@strawberry.type
class TensorSpec:
    name: str
    dtype: str
    shape: list[int]


# Not Connection[TensorSpec], which would be named TensorSpecConnection.
@strawberry.type
class TensorConnection:
    nodes: list[TensorSpec]
    page_info: PageInfo
    total_count: int


@strawberry.type
class ModelFile:
    name: str
    size_bytes: BigInt
    sha256: str
    format: models.ModelFormat
    parameter_count: BigInt | None
    download_url: str
    tensors: Annotated[TensorConnection, strawberry.field(resolver=resolve.tensors)]


@strawberry.type
class ModelUpload:
    received: BigInt
    size_bytes: BigInt
    sha256: str
    expires_at: datetime


@strawberry.type
class ModelAlias:
    name: str
    version: Annotated[
        Annotated[ModelVersion, strawberry.lazy("schema.models")], strawberry.field(resolver=resolve.version_of_alias)
    ]
    updated_at: datetime


@strawberry.type
class Model(Node):
    name: str
    description: str | None
    model_type: str | None
    tags: list[Tag]
    created_at: datetime
    updated_at: datetime
    owner: Annotated[Annotated[User, strawberry.lazy("schema.identity")], strawberry.field(resolver=resolve.owner)]
    versions: Annotated[
        Connection[Annotated[ModelVersion, strawberry.lazy("schema.models")]],
        strawberry.field(resolver=resolve.versions),
    ]
    latest_version: Annotated[
        Annotated[ModelVersion, strawberry.lazy("schema.models")] | None,
        strawberry.field(resolver=resolve.latest_version),
    ]
    aliases: Annotated[list[ModelAlias], strawberry.field(resolver=resolve.aliases)]

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, models.Model)


@strawberry.type
class ModelVersion(Node):
    model: Annotated[Model, strawberry.field(resolver=resolve.model_of_version)]
    version: int
    status: models.ModelVersionStatus
    status_reason: str | None
    description: str | None
    tags: list[Tag]
    aliases: Annotated[list[str], strawberry.field(resolver=resolve.aliases_of_version)]
    metrics: JSON
    file: ModelFile | None
    files: Annotated[list[ModelFile], strawberry.field(resolver=resolve.files)]
    upload: Annotated[ModelUpload | None, strawberry.field(resolver=resolve.upload)]
    architecture: Annotated[JSON | None, strawberry.field(resolver=resolve.architecture)]
    inputs: list[TensorSpec] | None
    outputs: list[TensorSpec] | None
    run: Annotated[
        Annotated[Run, strawberry.lazy("schema.runs")] | None,
        strawberry.field(resolver=resolve.run_of_version),
    ]
    endpoints: Annotated[
        Connection[Annotated[Endpoint, strawberry.lazy("schema.endpoints")]],
        strawberry.field(resolver=resolve.endpoints_of_version),
    ]
    created_by: Annotated[
        Annotated[User, strawberry.lazy("schema.identity")], strawberry.field(resolver=resolve.created_by)
    ]
    created_at: datetime
    servable: bool
    servable_reason: str | None

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, models.ModelVersion)


@strawberry.type
class MetricComparison:
    key: str
    left: FloatValue | None
    right: FloatValue | None


@strawberry.type
class ValueDifference:
    path: str
    change: comparison.DifferenceKind
    left: JSON | None
    right: JSON | None


@strawberry.type
class TensorDifference:
    name: str
    change: comparison.DifferenceKind
    left: TensorSpec | None
    right: TensorSpec | None


@strawberry.type
class ModelVersionComparison:
    left: ModelVersion
    right: ModelVersion
    same_file: bool
    metrics: list[MetricComparison]
    config: list[ValueDifference] | None
    architecture: list[ValueDifference] | None
    tensors: list[TensorDifference] | None


@strawberry.input
class ModelCreateInput:
    name: str
    description: str | None = strawberry.UNSET
    model_type: str | None = strawberry.UNSET
    tags: list[TagInput] | None = strawberry.UNSET
    client_token: str | None = strawberry.UNSET


@strawberry.input
class ModelUpdateInput:
    id: strawberry.ID
    name: Maybe[str | None]
    description: Maybe[str | None]
    model_type: Maybe[str | None]
    tags: Maybe[list[TagInput] | None]
    tags_set: list[TagInput] | None = None
    tags_delete: list[str] | None = None


@strawberry.input
class ModelIdInput:
    id: strawberry.ID


@strawberry.input
class ModelVersionCreateInput:
    model_id: strawberry.ID
    sha256: str
    size_bytes: BigInt
    file_name: str | None = strawberry.UNSET
    architecture: JSON | None = strawberry.UNSET
    description: str | None = strawberry.UNSET
    tags: list[TagInput] | None = strawberry.UNSET
    metrics: JSON | None = strawberry.UNSET
    run_id: strawberry.ID | None = strawberry.UNSET
    client_token: str | None = strawberry.UNSET


@strawberry.input
class ModelVersionUpdateInput:
    id: strawberry.ID
    description: Maybe[str | None]
    tags: Maybe[list[TagInput] | None]
    metrics: Maybe[JSON | None]
    tags_set: list[TagInput] | None = None
    tags_delete: list[str] | None = None


@strawberry.input
class ModelVersionIdInput:
    id: strawberry.ID


@strawberry.input
class ModelAliasSetInput:
    version_id: strawberry.ID
    alias: str


@strawberry.input
class ModelAliasDeleteInput:
    model_id: strawberry.ID
    alias: str


def _given(value: Any) -> Any:
    """The value, None when it was left out: there is nothing to keep when something is made."""
    return None if value is strawberry.UNSET else value


def _tags(given: Sequence[TagInput] | None) -> list[runs.Tag]:
    return [runs.Tag(tag.key, tag.value) for tag in given or ()]


def _single_tags(given: ModelUpdateInput | ModelVersionUpdateInput, changes: ModelChanges | VersionChanges) -> None:
    if given.tags_set is not None:
        changes["tags_set"] = _tags(given.tags_set)
    if given.tags_delete is not None:
        changes["tags_delete"] = given.tags_delete


async def _create(
    info: strawberry.Info[Context, None], given: Annotated[ModelCreateInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.models.create(
        info.context.require_scope(),
        name=given.name,
        description=_given(given.description),
        model_type=_given(given.model_type),
        tags=_tags(_given(given.tags)),
        client_token=_given(given.client_token),
    )


async def _update(
    info: strawberry.Info[Context, None], given: Annotated[ModelUpdateInput, strawberry.argument(name="input")]
) -> Any:
    changes = ModelChanges()
    if given.name is not None:
        changes["name"] = resolve.not_null(given.name.value, "name")
    if given.description is not None:
        changes["description"] = given.description.value
    if given.model_type is not None:
        changes["model_type"] = given.model_type.value
    if given.tags is not None:
        changes["tags"] = _tags(resolve.not_null(given.tags.value, "tags"))
    _single_tags(given, changes)
    scope = info.context.require_scope()
    return await info.context.services.models.update(scope, resolve.model_id(str(given.id)), changes)


async def _delete(
    info: strawberry.Info[Context, None], given: Annotated[ModelIdInput, strawberry.argument(name="input")]
) -> Any:
    scope = info.context.require_scope()
    return DeletedId(await info.context.services.models.delete(scope, resolve.model_id(str(given.id))))


async def _version_create(
    info: strawberry.Info[Context, None], given: Annotated[ModelVersionCreateInput, strawberry.argument(name="input")]
) -> Any:
    document, run_id = _given(given.architecture), _given(given.run_id)
    draft = VersionDraft(
        file_name=_given(given.file_name),
        architecture=None if document is None else json.dumps(document),
        description=_given(given.description),
        metrics=_given(given.metrics),
        run_id=None if run_id is None else str(run_id),
        tags=_tags(_given(given.tags)),
        sha256=given.sha256,
    )
    return await info.context.services.uploads.reserve(
        info.context.require_scope(),
        resolve.model_id(str(given.model_id), field="model_id"),
        draft,
        size_bytes=int(given.size_bytes),
        client_token=_given(given.client_token),
    )


async def _version_update(
    info: strawberry.Info[Context, None], given: Annotated[ModelVersionUpdateInput, strawberry.argument(name="input")]
) -> Any:
    changes = VersionChanges()
    if given.description is not None:
        changes["description"] = given.description.value
    if given.tags is not None:
        changes["tags"] = _tags(resolve.not_null(given.tags.value, "tags"))
    _single_tags(given, changes)
    if given.metrics is not None:
        metrics: Any = resolve.not_null(given.metrics.value, "metrics")
        changes["metrics"] = metrics
    return await info.context.services.models.update_version(info.context.require_scope(), str(given.id), changes)


async def _version_delete(
    info: strawberry.Info[Context, None], given: Annotated[ModelVersionIdInput, strawberry.argument(name="input")]
) -> Any:
    scope = info.context.require_scope()
    return DeletedId(await info.context.services.models.delete_version(scope, str(given.id)))


async def _alias_set(
    info: strawberry.Info[Context, None], given: Annotated[ModelAliasSetInput, strawberry.argument(name="input")]
) -> Any:
    return await info.context.services.aliases.set(info.context.require_scope(), str(given.version_id), given.alias)


async def _alias_delete(
    info: strawberry.Info[Context, None], given: Annotated[ModelAliasDeleteInput, strawberry.argument(name="input")]
) -> Any:
    model = resolve.model_id(str(given.model_id), field="model_id")
    return await info.context.services.aliases.delete(info.context.require_scope(), model, given.alias)


@strawberry.type
class ModelQuery:
    models: Annotated[Connection[Model], strawberry.field(resolver=resolve.models)]
    model: Annotated[Model | None, strawberry.field(resolver=resolve.model)]
    model_version: Annotated[ModelVersion | None, strawberry.field(resolver=resolve.model_version)]
    model_version_compare: Annotated[ModelVersionComparison, strawberry.field(resolver=resolve.compare)]


@strawberry.type
class ModelMutation:
    model_create: Annotated[Model, strawberry.mutation(resolver=_create)]
    model_update: Annotated[Model, strawberry.mutation(resolver=_update)]
    model_delete: Annotated[Deleted, strawberry.mutation(resolver=_delete)]
    model_version_create: Annotated[ModelVersion, strawberry.mutation(resolver=_version_create)]
    model_version_update: Annotated[ModelVersion, strawberry.mutation(resolver=_version_update)]
    model_version_delete: Annotated[Deleted, strawberry.mutation(resolver=_version_delete)]
    model_alias_set: Annotated[Model, strawberry.mutation(resolver=_alias_set)]
    model_alias_delete: Annotated[Model, strawberry.mutation(resolver=_alias_delete)]
