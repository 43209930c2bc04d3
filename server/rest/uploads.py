"""`/api/models/...`: weights that arrive in pieces, and files beside weights. All of them are streams."""

from __future__ import annotations

import json
import re
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import BadUserInput, DomainError, UnsupportedMediaType
from domain.models import ModelVersionStatus, VersionDraft, WrongOffset
from domain.runs import Tag
from schema.scalars import write_int
from server.edge.identity import request_id_of, scope_of
from server.rest import upload
from server.rest.downloads import file_answer
from server.rest.errors import error_response
from server.rest.handler import answer, idempotency_key, json_body, media_type, query, services_of
from server.rest.models import file_body, version_bodies
from server.rest.operations import uploads as operations
from server.rest.route import BYTES, Route
from server.rest.structs import models as structs
from server.rest.structs.uploads import ModelFileList, ModelVersionCreate, UploadProgress

OFFSET: Final = "Upload-Offset"
_DIGITS: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_OF_BODY: Final = frozenset({"file", "sha256", "architecture"})


class _FileQuery(Struct, kw_only=True):
    sha256: str | None = None


async def _reserve(request: Request) -> Response:
    scope, given = scope_of(request), await json_body(request, ModelVersionCreate)
    draft = VersionDraft(
        file_name=given.file_name,
        architecture=None if given.architecture is None else json.dumps(given.architecture),
        description=given.description,
        metrics=given.metrics,
        run_id=given.run_id,
        tags=[Tag(key, value) for key, value in given.tags.items()],
        sha256=given.sha256,
    )
    version = await services_of(request).uploads.reserve(
        scope,
        request.path_params["id"],
        draft,
        size_bytes=given.size_bytes,
        client_token=idempotency_key(request),
    )
    return answer((await version_bodies(request, scope, [version]))[0], 201)


async def _progress(request: Request) -> Response:
    found = await services_of(request).uploads.progress(scope_of(request), *_place(request))
    body = UploadProgress(
        status=structs.ModelVersionStatus(found.version.status.value),
        status_reason=found.version.status_reason,
        received=write_int(found.received),
        size_bytes=None if found.size_bytes is None else write_int(found.size_bytes),
        sha256=found.sha256,
    )
    return answer(body, headers={OFFSET: str(found.received), "Cache-Control": "no-store"})


async def _content(request: Request) -> Response:
    """One piece. However it ends, what was durable before is kept."""
    try:
        return await _received(request)
    except WrongOffset as problem:
        return _refused(request, problem, {OFFSET: str(problem.stored)})
    except DomainError as problem:
        return _refused(request, problem, {})


async def _received(request: Request) -> Response:
    scope, uploads = scope_of(request), services_of(request).uploads
    check_bytes(request)
    given = request.headers.get(OFFSET.lower(), "").strip()
    if _DIGITS.fullmatch(given) is None:
        raise BadUserInput("expected the number of the first byte, from 0", field=OFFSET)
    receiving = await uploads.receive(scope, *_place(request), offset=int(given), announced=upload.announced(request))
    async with receiving as piece:
        async for chunk in upload.chunks(request):
            await piece.write(chunk)
        version = await piece.end()
    if version is None:
        body = UploadProgress(
            status=structs.ModelVersionStatus(ModelVersionStatus.UPLOADING.value),
            status_reason=None,
            received=write_int(piece.stored),
            size_bytes=write_int(piece.size_bytes),
            sha256=piece.sha256,
        )
        return answer(body, 202, headers={OFFSET: str(piece.stored)})
    return answer((await version_bodies(request, scope, [version]))[0], headers={OFFSET: str(piece.stored)})


async def _files(request: Request) -> Response:
    found = await services_of(request).model_files.of_version(scope_of(request), *_place(request))
    return answer(ModelFileList(items=[file_body(file) for file in found], total=len(found), next_cursor=None))


async def _file(request: Request) -> Response:
    files = services_of(request).model_files
    return file_answer(request, *await files.content(scope_of(request), *_place(request), request.path_params["name"]))


async def _file_put(request: Request) -> Response:
    try:
        return await _added(request)
    except DomainError as problem:
        return _refused(request, problem, {})


async def _added(request: Request) -> Response:
    scope, services = scope_of(request), services_of(request)
    (model, number), name = _place(request), request.path_params["name"]
    check_bytes(request)
    declared = query(request, _FileQuery).sha256
    version = await services.model_files.addable(scope, model, number, name)
    receiving = await services.models.receive(scope, model, announced=upload.announced(request))
    async with receiving as incoming:
        async for chunk in upload.chunks(request):
            await incoming.write(chunk)
        added = await services.model_files.add(scope, version, name, await incoming.finish(), sha256=declared)
    return answer(file_body(added))


def check_bytes(request: Request) -> None:
    """Raises UnsupportedMediaType for anything but raw bytes, compressed ones among it."""
    if media_type(request) != BYTES:
        raise UnsupportedMediaType(f"expected {BYTES}", field="Content-Type")


def _refused(request: Request, problem: DomainError, headers: dict[str, str]) -> Response:
    of_body = isinstance(problem, BadUserInput) and problem.field in _OF_BODY
    refusal = error_response(problem, request_id_of(request.scope), status=422 if of_body else None, headers=headers)
    return upload.EarlyAnswer.unless_read(request, refusal)


def _place(request: Request) -> tuple[str, str]:
    return request.path_params["id"], request.path_params["v"]


ROUTES: Final = (
    Route(operations.VERSION_RESERVE, _reserve),
    Route(operations.CONTENT_GET, _progress),
    Route(operations.CONTENT_PUT, _content),
    Route(operations.FILE_LIST, _files),
    Route(operations.FILE_GET, _file),
    Route(operations.FILE_PUT, _file_put),
)
