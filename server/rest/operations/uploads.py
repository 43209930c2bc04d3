"""Uploads that go on later, and the files of a version, over REST."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.rest.operations.common import MODEL, VERSION
from server.rest.route import BINARY, BYTES, JSON, Answer, Content, Operation, Param, json_answer, json_body
from server.rest.structs.common import Error
from server.rest.structs.models import ModelFile, ModelVersion
from server.rest.structs.uploads import ModelFileList, ModelVersionCreate, UploadProgress

_OFFSET = {"Upload-Offset": "How many bytes are stored; the next piece begins there."}
_NAME = Param(
    "name",
    Annotated[str, Meta(min_length=1, max_length=250)],
    "Name of the file; of one to be added 1 to 128 letters, digits, `.`, `_`, `+` or `-`.",
    "path",
)
_BYTES = {BYTES: BINARY}

VERSION_RESERVE = Operation(
    method="post",
    path="/api/models/{id}/uploads",
    operation_id="modelVersionCreate",
    tag="models",
    summary="Reserve a version",
    description=(
        "Reserves the next version for bytes of a declared digest and number, which follow in any number of requests"
        " to its `content`. The version is `uploading` until they are whole."
    ),
    params=(MODEL,),
    request=json_body(ModelVersionCreate, "What to reserve."),
    answers={201: json_answer(ModelVersion, "The new version.")},
    errors=(409,),
    idempotent=True,
)
CONTENT_GET = Operation(
    method="get",
    path="/api/models/{id}/versions/{v}/content",
    operation_id="modelVersionContent",
    tag="models",
    summary="Ask how far an upload is",
    description="Where the next piece begins. HEAD tells it in `Upload-Offset` alone. The bytes are at `download`.",
    params=(MODEL, VERSION),
    answers={200: Answer("How far it is.", {JSON: UploadProgress}, _OFFSET)},
)
CONTENT_PUT = Operation(
    method="put",
    path="/api/models/{id}/versions/{v}/content",
    operation_id="modelVersionContentPut",
    tag="models",
    summary="Upload a reserved version's bytes",
    description=(
        "Continues a resumable upload of a version reserved by `modelVersionCreate`. `Upload-Offset` must equal what is"
        " stored; otherwise it is a conflict whose `Upload-Offset` header says where to go on. Of a request that breaks"
        " off, what had come is kept. The piece that completes the bytes has them checked as an upload in one request"
        " is; a wrong digest or a lying file makes the version `rejected`. Sent again after that, empty, it answers the"
        " version."
    ),
    params=(
        MODEL,
        VERSION,
        Param(
            "Upload-Offset",
            Annotated[int, Meta(ge=0)],
            "Where this piece begins, in bytes.",
            "header",
            required=True,
        ),
    ),
    request=Content("The bytes from the offset on.", _BYTES),
    answers={
        200: Answer("Complete and checked.", {JSON: ModelVersion}, _OFFSET),
        202: Answer("Stored; more is to come.", {JSON: UploadProgress}, _OFFSET),
    },
    errors=(409,),
)
FILE_LIST = Operation(
    method="get",
    path="/api/models/{id}/versions/{v}/files",
    operation_id="modelVersionFiles",
    tag="models",
    summary="List the files of a version",
    description="The weights, when there are any, then the other files by name.",
    params=(MODEL, VERSION),
    answers={200: json_answer(ModelFileList, "All files of the version.")},
)
FILE_GET = Operation(
    method="get",
    path="/api/models/{id}/versions/{v}/files/{name}",
    operation_id="modelVersionFile",
    tag="models",
    summary="Download a file of a version",
    description="A file by name, the weights too, byte for byte as it was uploaded.",
    params=(MODEL, VERSION, _NAME),
    answers={
        200: Answer(
            "The whole file.",
            _BYTES,
            {"ETag": "The SHA-256 of the file, quoted.", "Content-Disposition": "The file's name, as an attachment."},
        ),
        206: Answer("The range asked for.", _BYTES, {"Content-Range": "Which bytes."}),
        304: Answer("The caller's copy is current."),
        412: Answer("The file is not the one that `If-Match` names (CONFLICT).", {JSON: Error}),
        416: Answer(
            "The range lies outside the file (BAD_USER_INPUT).",
            {JSON: Error},
            {"Content-Range": "How many bytes there are."},
        ),
    },
)
FILE_PUT = Operation(
    method="put",
    path="/api/models/{id}/versions/{v}/files/{name}",
    operation_id="modelVersionFileAdd",
    tag="models",
    summary="Add a file to a version",
    description=(
        "Adds a file beside the weights, such as a tokenizer or labels. Files are never replaced or taken away: the"
        " same bytes again change nothing, other bytes under a name that is taken are a conflict."
    ),
    params=(
        MODEL,
        VERSION,
        _NAME,
        Param("sha256", Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")], "The declared digest; others are refused."),
    ),
    request=Content("The bytes of the file.", _BYTES),
    answers={200: json_answer(ModelFile, "The file as it is now.")},
    errors=(409,),
)

OPERATIONS = (VERSION_RESERVE, CONTENT_GET, CONTENT_PUT, FILE_LIST, FILE_GET, FILE_PUT)
