"""The model registry over REST. Uploads and downloads are streams of bytes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.rest.operations.common import FILTER, MODEL, PAGE, VERSION, WAIT
from server.rest.route import (
    BINARY,
    BYTES,
    JSON,
    MULTIPART,
    NO_CONTENT,
    Answer,
    Content,
    Operation,
    Param,
    json_answer,
    json_body,
)
from server.rest.structs.common import Error, TagsBody
from server.rest.structs.inference import Endpoint
from server.rest.structs.models import (
    ArchitectureDocument,
    Deploy,
    Model,
    ModelCreate,
    ModelList,
    ModelPatch,
    ModelVersion,
    ModelVersionForm,
    ModelVersionList,
    ModelVersionPatch,
)

_JSON_TEXT = Annotated[str, Meta(max_length=65_536)]

MODEL_LIST = Operation(
    method="get",
    path="/api/models",
    operation_id="models",
    tag="models",
    summary="List models",
    description="The living models of the workspace, newest first.",
    params=(FILTER, *PAGE),
    answers={200: json_answer(ModelList, "A page of models.")},
)
MODEL_CREATE = Operation(
    method="post",
    path="/api/models",
    operation_id="modelCreate",
    tag="models",
    summary="Make a model",
    description="Makes a model without versions. A name that a living model of the workspace has is a conflict.",
    request=json_body(ModelCreate, "The model to make."),
    answers={201: json_answer(Model, "The new model.")},
    errors=(409,),
    idempotent=True,
)
MODEL_GET = Operation(
    method="get",
    path="/api/models/{id}",
    operation_id="model",
    tag="models",
    summary="Get a model",
    description="One model by id or name.",
    params=(MODEL,),
    answers={200: json_answer(Model, "The model.")},
)
MODEL_UPDATE = Operation(
    method="put",
    path="/api/models/{id}",
    operation_id="modelUpdate",
    tag="models",
    summary="Change a model",
    description="Changes what the body names and keeps the rest; null clears.",
    params=(MODEL,),
    request=json_body(ModelPatch, "The changes."),
    answers={200: json_answer(Model, "The model as it is now.")},
    errors=(409,),
)
MODEL_DELETE = Operation(
    method="delete",
    path="/api/models/{id}",
    operation_id="modelDelete",
    tag="models",
    summary="Delete a model",
    description="Deletes the model and its versions. A version that an endpoint uses makes it a conflict.",
    params=(MODEL,),
    answers=NO_CONTENT,
    errors=(409,),
)
MODEL_TAGS_SET = Operation(
    method="post",
    path="/api/models/{id}/tags",
    operation_id="modelTagsSet",
    tag="models",
    summary="Set tags of a model",
    description="Sets or, with null, removes single tags of the model, all or none; the others stay.",
    params=(MODEL,),
    request=json_body(TagsBody, "Tags by key."),
    answers={200: json_answer(Model, "The model as it is now.")},
    errors=(409,),
)
VERSION_LIST = Operation(
    method="get",
    path="/api/models/{id}/versions",
    operation_id="modelVersions",
    tag="models",
    summary="List versions",
    description="The versions of a model, highest number first.",
    params=(MODEL, *PAGE),
    answers={200: json_answer(ModelVersionList, "A page of versions.")},
)
VERSION_UPLOAD = Operation(
    method="post",
    path="/api/models/{id}/versions",
    operation_id="modelVersionUpload",
    tag="models",
    summary="Upload a version",
    description=(
        "Streams the weights into the store, checks them, and registers the next version: as multipart parts, or as"
        " raw bytes with the other parts in the query. Weights that do not match a given architecture, a lying header"
        " or another digest than declared are refused, and nothing is kept."
    ),
    params=(
        MODEL,
        Param("architecture", Annotated[str, Meta(max_length=1_048_576)], "With raw bytes: the document as JSON."),
        Param("description", _JSON_TEXT, "With raw bytes: what is special about this version."),
        Param("metrics", _JSON_TEXT, "With raw bytes: figures to carry along, as JSON."),
        Param("run_id", Annotated[str, Meta(max_length=64)], "With raw bytes: the run that made it."),
        Param("tags", _JSON_TEXT, "With raw bytes: tags by key, as JSON."),
        Param("sha256", Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")], "With raw bytes: the declared digest."),
    ),
    request=Content("The weights and what belongs to them.", {MULTIPART: ModelVersionForm, BYTES: BINARY}),
    answers={201: json_answer(ModelVersion, "The new version.")},
    errors=(409,),
    idempotent=True,
)
VERSION_GET = Operation(
    method="get",
    path="/api/models/{id}/versions/{v}",
    operation_id="modelVersion",
    tag="models",
    summary="Get a version",
    description="One version by number, `latest` or `@alias`.",
    params=(MODEL, VERSION),
    answers={200: json_answer(ModelVersion, "The version.")},
)
VERSION_UPDATE = Operation(
    method="put",
    path="/api/models/{id}/versions/{v}",
    operation_id="modelVersionUpdate",
    tag="models",
    summary="Change a version",
    description="Changes what the body names and keeps the rest; null clears. Files and architecture never change.",
    params=(MODEL, VERSION),
    request=json_body(ModelVersionPatch, "The changes."),
    answers={200: json_answer(ModelVersion, "The version as it is now.")},
)
VERSION_TAGS_SET = Operation(
    method="post",
    path="/api/models/{id}/versions/{v}/tags",
    operation_id="modelVersionTagsSet",
    tag="models",
    summary="Set tags of a version",
    description="Sets or, with null, removes single tags of the version, all or none; the others stay.",
    params=(MODEL, VERSION),
    request=json_body(TagsBody, "Tags by key."),
    answers={200: json_answer(ModelVersion, "The version as it is now.")},
    errors=(409,),
)
VERSION_DELETE = Operation(
    method="delete",
    path="/api/models/{id}/versions/{v}",
    operation_id="modelVersionDelete",
    tag="models",
    summary="Delete a version",
    description=(
        "Deletes the version and the aliases that point at it; its number is never used again. A version that an"
        " endpoint uses makes it a conflict."
    ),
    params=(
        MODEL,
        Param(
            "v",
            Annotated[str, Meta(pattern="^[1-9][0-9]{0,8}$")],
            "Version number. `latest` and aliases are refused: once it is gone they mean another one.",
            "path",
        ),
    ),
    answers=NO_CONTENT,
    errors=(409,),
)
VERSION_DOWNLOAD = Operation(
    method="get",
    path="/api/models/{id}/versions/{v}/download",
    operation_id="modelVersionDownload",
    tag="models",
    summary="Download the weights",
    description="The weights, byte for byte as they were uploaded.",
    params=(MODEL, VERSION),
    answers={
        200: Answer(
            "The whole file.",
            {BYTES: BINARY},
            {"ETag": "The SHA-256 of the file, quoted.", "Content-Disposition": "The file's name, as an attachment."},
        ),
        206: Answer("The range asked for.", {BYTES: BINARY}, {"Content-Range": "Which bytes."}),
        304: Answer("The caller's copy is current."),
        412: Answer("The file is not the one that `If-Match` names (CONFLICT).", {JSON: Error}),
        416: Answer(
            "The range lies outside the file (BAD_USER_INPUT).",
            {JSON: Error},
            {"Content-Range": "How many bytes there are."},
        ),
    },
    errors=(409,),
)
ARCHITECTURE_SET = Operation(
    method="put",
    path="/api/models/{id}/versions/{v}/architecture",
    operation_id="modelVersionArchitectureSet",
    tag="models",
    summary="Give a version its architecture",
    description=(
        "Works once per version. The document is checked against the weights: every parameter by name, shape and type."
        " The same document again changes nothing; another one is a conflict."
    ),
    params=(MODEL, VERSION),
    request=json_body(ArchitectureDocument, "The document."),
    answers={200: json_answer(ModelVersion, "The version as it is now.")},
    errors=(409,),
)
VERSION_DEPLOY = Operation(
    method="post",
    path="/api/models/{id}/versions/{v}/deploy",
    operation_id="modelVersionDeploy",
    tag="models",
    summary="Deploy a version",
    description=(
        "Puts the version behind an endpoint and starts it. A missing endpoint is made; one that runs switches over"
        " without a failed request. A version that cannot be served is a conflict that says why."
    ),
    params=(MODEL, VERSION, WAIT),
    request=json_body(Deploy, "Where and how to serve it."),
    answers={200: json_answer(Endpoint, "The endpoint as it is now.")},
    errors=(409,),
    idempotent=True,
)

OPERATIONS = (
    MODEL_LIST,
    MODEL_CREATE,
    MODEL_GET,
    MODEL_UPDATE,
    MODEL_DELETE,
    MODEL_TAGS_SET,
    VERSION_LIST,
    VERSION_UPLOAD,
    VERSION_GET,
    VERSION_UPDATE,
    VERSION_TAGS_SET,
    VERSION_DELETE,
    VERSION_DOWNLOAD,
    ARCHITECTURE_SET,
    VERSION_DEPLOY,
)
