"""`/api/models/...`: the registry over REST. Files travel as streams; everything else is thin."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from domain import models as domain
from domain.access import Scope
from domain.errors import BadUserInput, DomainError
from domain.models import ModelChanges, VersionChanges
from domain.models.aliases import stage_of
from domain.paging import PageRequest
from domain.runs import Tag
from domain.runs.values import key
from domain.tensors import TensorSpec as DomainSpec
from schema.scalars import write_datetime, write_int
from server.edge.identity import request_id_of, scope_of
from server.rest import upload
from server.rest.downloads import file_answer
from server.rest.errors import error_response
from server.rest.handler import UnreadableBody, answer, idempotency_key, json_body, no_content, query, services_of
from server.rest.operations import models as operations
from server.rest.route import Route
from server.rest.structs.common import TagsBody
from server.rest.structs.models import (
    Model,
    ModelCreate,
    ModelFile,
    ModelFormat,
    ModelList,
    ModelPatch,
    ModelUpload,
    ModelVersion,
    ModelVersionList,
    ModelVersionPatch,
    ModelVersionStatus,
    Stage,
    TensorSpec,
)


class PageQuery(Struct, kw_only=True):
    """Which part of a list."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    cursor: Annotated[str, Meta(min_length=1, max_length=2_048)] | None = None

    def page(self) -> PageRequest:
        """The same for the use-cases."""
        return PageRequest.of(self.limit, self.cursor)


class _ModelsQuery(PageQuery, kw_only=True):
    filter: Annotated[str, Meta(max_length=10_000)] | None = None


def _tags(given: dict[str, str]) -> list[Tag]:
    return [Tag(key, value) for key, value in given.items()]


async def _tag_changes(request: Request) -> tuple[list[Tag], list[str]]:
    """The tags to set, and the keys of those to remove."""
    given = await json_body(request, TagsBody)
    for name in given:
        key(name, field=name)
    put = {name: value for name, value in given.items() if value is not None}
    return _tags(put), [name for name, value in given.items() if value is None]


def _tags_out(tags: Sequence[Tag]) -> dict[str, str]:
    return {tag.key: tag.value for tag in tags}


async def model_bodies(request: Request, scope: Scope, found: Sequence[domain.Model]) -> list[Model]:
    """Models as REST shows them; their latest versions are read together."""
    services, wanted = services_of(request), [model.id for model in found]
    latest = await services.models.latest_of_models(scope, wanted)
    aliases = await services.aliases.of_models(scope, wanted)
    return [
        Model(
            id=model.id,
            name=model.name,
            description=model.description,
            model_type=model.model_type,
            tags=_tags_out(model.tags),
            latest_version=latest[model.id].version if model.id in latest else None,
            aliases={alias.name: alias.version for alias in aliases.get(model.id, ())},
            user_id=model.owner_id,
            created_at=write_datetime(model.created_at),
            updated_at=write_datetime(model.updated_at),
        )
        for model in found
    ]


async def version_bodies(request: Request, scope: Scope, found: Sequence[domain.ModelVersion]) -> list[ModelVersion]:
    """Versions as REST shows them; what belongs to them is read together."""
    services = services_of(request)
    documents = await services.models.architectures(scope, [version.id for version in found])
    named = await services.aliases.of_models(scope, sorted({version.model_id for version in found}))
    beside = await services.model_files.beside(scope, [version.id for version in found])
    arriving = [version.id for version in found if version.status is domain.ModelVersionStatus.UPLOADING]
    uploads = await services.uploads.of_versions(scope, arriving) if arriving else {}
    return [
        _version_body(
            version,
            documents.get(version.id),
            [alias.name for alias in named.get(version.model_id, ()) if alias.version_id == version.id],
            beside.get(version.id, []),
            uploads.get(version.id),
        )
        for version in found
    ]


def _version_body(
    version: domain.ModelVersion,
    document: dict[str, Any] | None,
    aliases: list[str],
    beside: list[domain.ModelFile],
    arriving: domain.Upload | None,
) -> ModelVersion:
    weights = None if version.file is None else file_body(version.file)
    return ModelVersion(
        id=version.id,
        model_id=version.model_id,
        model_name=version.model_name,
        version=version.version,
        status=ModelVersionStatus(version.status.value),
        status_reason=version.status_reason,
        description=version.description,
        tags=_tags_out(version.tags),
        aliases=aliases,
        stage=Stage(stage_of(aliases, version.tags).value),
        metrics=version.metrics,
        file=weights,
        files=[*([] if weights is None else [weights]), *map(file_body, beside)],
        upload=_upload_body(arriving),
        architecture=document,
        inputs=_specs(version.inputs),
        outputs=_specs(version.outputs),
        run_id=version.run_id,
        user_id=version.created_by_id,
        created_at=write_datetime(version.created_at),
        servable=version.servable,
        servable_reason=version.servable_reason,
    )


def _upload_body(found: domain.Upload | None) -> ModelUpload | None:
    if found is None or found.expires_at is None:
        return None
    return ModelUpload(
        received=write_int(found.received),
        size_bytes=write_int(found.size_bytes),
        sha256=found.sha256,
        expires_at=write_datetime(found.expires_at),
    )


def file_body(file: domain.ModelFile) -> ModelFile:
    """A file as REST shows it."""
    return ModelFile(
        name=file.name,
        size_bytes=write_int(file.size_bytes),
        sha256=file.sha256,
        format=ModelFormat(file.format.value),
        parameter_count=None if file.parameter_count is None else write_int(file.parameter_count),
        download_url=file.download_url,
    )


def _specs(specs: Sequence[DomainSpec] | None) -> list[TensorSpec] | None:
    if specs is None:
        return None
    return [TensorSpec(name=spec.name, dtype=spec.dtype.value, shape=list(spec.shape)) for spec in specs]


# --- models --------------------------------------------------------------------------------------


async def _list(request: Request) -> Response:
    scope, given = scope_of(request), query(request, _ModelsQuery)
    page = await services_of(request).models.list(scope, given.page(), filter=given.filter, offset=given.offset)
    return answer(
        ModelList(
            items=await model_bodies(request, scope, page.nodes),
            total=page.total_count,
            next_cursor=page.cursors[-1] if page.has_next_page and page.cursors else None,
        )
    )


async def _create(request: Request) -> Response:
    scope, given = scope_of(request), await json_body(request, ModelCreate)
    model = await services_of(request).models.create(
        scope,
        name=given.name,
        description=given.description,
        model_type=given.model_type,
        tags=_tags(given.tags),
        client_token=idempotency_key(request),
    )
    return answer((await model_bodies(request, scope, [model]))[0], 201)


async def _get(request: Request) -> Response:
    scope = scope_of(request)
    model = await services_of(request).models.get(scope, request.path_params["id"])
    return answer((await model_bodies(request, scope, [model]))[0])


async def _update(request: Request) -> Response:
    scope, given = scope_of(request), await json_body(request, ModelPatch)
    changes = ModelChanges()
    if given.name is not UNSET:
        changes["name"] = given.name
    if given.description is not UNSET:
        changes["description"] = given.description
    if given.model_type is not UNSET:
        changes["model_type"] = given.model_type
    if given.tags is not UNSET:
        changes["tags"] = _tags(given.tags)
    model = await services_of(request).models.update(scope, request.path_params["id"], changes)
    return answer((await model_bodies(request, scope, [model]))[0])


async def _delete(request: Request) -> Response:
    await services_of(request).models.delete(scope_of(request), request.path_params["id"])
    return no_content()


async def _tag(request: Request) -> Response:
    scope, (put, drop) = scope_of(request), await _tag_changes(request)
    changes = ModelChanges(tags_set=put, tags_delete=drop)
    model = await services_of(request).models.update(scope, request.path_params["id"], changes)
    return answer((await model_bodies(request, scope, [model]))[0])


# --- versions ------------------------------------------------------------------------------------


async def _versions(request: Request) -> Response:
    scope, given = scope_of(request), query(request, PageQuery)
    models = services_of(request).models
    model = await models.get(scope, request.path_params["id"])
    found = await models.versions_of_models(scope, [model.id], given.page(), offset=given.offset)
    page = found[model.id]
    return answer(
        ModelVersionList(
            items=await version_bodies(request, scope, page.nodes),
            total=page.total_count,
            next_cursor=page.cursors[-1] if page.has_next_page and page.cursors else None,
        )
    )


async def _upload(request: Request) -> Response:
    try:
        version = await _received(request)
    except DomainError as problem:
        of_body = isinstance(problem, BadUserInput) and not isinstance(problem, UnreadableBody)
        status = 422 if of_body and problem.field not in _IN_HEADERS else None
        return upload.EarlyAnswer.unless_read(
            request, error_response(problem, request_id_of(request.scope), status=status)
        )
    return answer((await version_bodies(request, scope_of(request), [version]))[0], 201)


_IN_HEADERS: Final = frozenset({"id", "Content-Type", "Content-Encoding", "Idempotency-Key", "client_token"})


async def _received(request: Request) -> domain.ModelVersion:
    scope, models, model = scope_of(request), services_of(request).models, request.path_params["id"]
    upload.check_kind(request)
    token = idempotency_key(request)
    async with AsyncExitStack() as stack:

        async def beside(count: int) -> domain.IncomingFile:
            return await stack.enter_async_context(models.receive_beside(count))

        announced = upload.announced(request)
        incoming = await stack.enter_async_context(await models.receive(scope, model, announced=announced))
        received = await upload.receive(request, incoming, beside)
        file = await incoming.finish()
        extras = [(name, await extra.finish()) for name, extra in received.extras]
        return await models.add_version(scope, model, file, received.draft, extras=extras, client_token=token)


async def _version(request: Request) -> Response:
    scope = scope_of(request)
    version = await services_of(request).models.get_version(scope, *_place(request))
    return answer((await version_bodies(request, scope, [version]))[0])


async def _version_update(request: Request) -> Response:
    given = await json_body(request, ModelVersionPatch)
    changes = VersionChanges()
    if given.description is not UNSET:
        changes["description"] = given.description
    if given.tags is not UNSET:
        changes["tags"] = _tags(given.tags)
    if given.metrics is not UNSET:
        changes["metrics"] = given.metrics
    return await _changed(request, changes)


async def _version_tag(request: Request) -> Response:
    put, drop = await _tag_changes(request)
    return await _changed(request, VersionChanges(tags_set=put, tags_delete=drop))


async def _changed(request: Request, changes: VersionChanges) -> Response:
    scope, models = scope_of(request), services_of(request).models
    version = await models.update_version(scope, (await models.get_version(scope, *_place(request))).id, changes)
    return answer((await version_bodies(request, scope, [version]))[0])


async def _version_delete(request: Request) -> Response:
    await services_of(request).models.delete_numbered_version(scope_of(request), *_place(request))
    return no_content()


async def _download(request: Request) -> Response:
    return file_answer(request, *await services_of(request).models.content(scope_of(request), *_place(request)))


async def _architecture(request: Request) -> Response:
    scope = scope_of(request)
    version = await services_of(request).models.set_architecture(scope, *_place(request), await request.body())
    return answer((await version_bodies(request, scope, [version]))[0])


def _place(request: Request) -> tuple[str, str]:
    return request.path_params["id"], request.path_params["v"]


ROUTES: Final = (
    Route(operations.MODEL_LIST, _list),
    Route(operations.MODEL_CREATE, _create),
    Route(operations.MODEL_GET, _get),
    Route(operations.MODEL_UPDATE, _update),
    Route(operations.MODEL_DELETE, _delete),
    Route(operations.MODEL_TAGS_SET, _tag),
    Route(operations.VERSION_LIST, _versions),
    Route(operations.VERSION_UPLOAD, _upload),
    Route(operations.VERSION_GET, _version),
    Route(operations.VERSION_UPDATE, _version_update),
    Route(operations.VERSION_TAGS_SET, _version_tag),
    Route(operations.VERSION_DELETE, _version_delete),
    Route(operations.VERSION_DOWNLOAD, _download),
    Route(operations.ARCHITECTURE_SET, _architecture),
)
