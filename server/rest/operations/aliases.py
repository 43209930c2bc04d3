"""Aliases, stages, comparison and lineage of model versions over REST."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.rest.operations.common import MODEL, PAGE, RUN_ID, VERSION
from server.rest.route import NO_CONTENT, Operation, Param, json_answer, json_body
from server.rest.structs.aliases import (
    ModelAlias,
    ModelAliasList,
    ModelAliasSet,
    ModelVersionComparison,
    ModelVersionStageSet,
)
from server.rest.structs.common import Slug
from server.rest.structs.inference import EndpointList
from server.rest.structs.models import ModelVersion, ModelVersionList

_ALIAS = Param("alias", Slug, "The name, without `@`.", "path")

ALIAS_LIST = Operation(
    method="get",
    path="/api/models/{id}/aliases",
    operation_id="modelAliases",
    tag="models",
    summary="List aliases",
    description="The names that point at versions of a model. `@name` stands for a version in paths.",
    params=(MODEL,),
    answers={200: json_answer(ModelAliasList, "The aliases.")},
)
ALIAS_SET = Operation(
    method="put",
    path="/api/models/{id}/aliases/{alias}",
    operation_id="modelAliasSet",
    tag="models",
    summary="Point an alias at a version",
    description=(
        "Makes the name or moves it, in one step. Endpoints keep the version that they were deployed with. `latest`,"
        " numbers and `v` with a number are no aliases; a version that is not ready is a conflict."
    ),
    params=(MODEL, _ALIAS),
    request=json_body(ModelAliasSet, "Where it is to point."),
    answers={200: json_answer(ModelAlias, "The alias as it is now.")},
    errors=(409,),
)
ALIAS_DELETE = Operation(
    method="delete",
    path="/api/models/{id}/aliases/{alias}",
    operation_id="modelAliasDelete",
    tag="models",
    summary="Remove an alias",
    description="Removes the name; the version stays.",
    params=(MODEL, _ALIAS),
    answers=NO_CONTENT,
)
STAGE_SET = Operation(
    method="put",
    path="/api/models/{id}/versions/{v}/stage",
    operation_id="modelVersionStageSet",
    tag="models",
    summary="Move a version to a stage",
    description=(
        "For clients that know stages. `staging` and `production` point the alias of that name at the version, so one"
        " version of a model has each; `archived` marks it by the tag `axonml.archived`. It leaves its stage before."
    ),
    params=(MODEL, VERSION),
    request=json_body(ModelVersionStageSet, "Where it is to stand."),
    answers={200: json_answer(ModelVersion, "The version as it is now.")},
    errors=(409,),
)
COMPARE = Operation(
    method="get",
    path="/api/models/{id}/versions/{v}/compare",
    operation_id="modelVersionCompare",
    tag="models",
    summary="Compare two versions",
    description="What differs between this version (left) and another one (right), of the same model or of another.",
    params=(
        MODEL,
        VERSION,
        Param(
            "to",
            Annotated[str, Meta(min_length=1, max_length=129)],
            "The other version: its number, `latest` or `@alias`.",
            required=True,
        ),
        Param(
            "to_model",
            Annotated[str, Meta(min_length=1, max_length=128)],
            "Its model by id or name; left out: the same model.",
        ),
    ),
    answers={200: json_answer(ModelVersionComparison, "What differs.")},
)
VERSION_ENDPOINTS = Operation(
    method="get",
    path="/api/models/{id}/versions/{v}/endpoints",
    operation_id="modelVersionEndpoints",
    tag="models",
    summary="List the endpoints of a version",
    description="The endpoints that serve a version, newest first.",
    params=(MODEL, VERSION, *PAGE[::2]),
    answers={200: json_answer(EndpointList, "A page of endpoints.")},
)
RUN_VERSIONS = Operation(
    method="get",
    path="/api/training/runs/{id}/versions",
    operation_id="runModelVersions",
    tag="runs",
    summary="List the model versions of a run",
    description="The model versions that came out of a run, newest first.",
    params=(RUN_ID, *PAGE[::2]),
    answers={200: json_answer(ModelVersionList, "A page of versions.")},
)

OPERATIONS = (
    ALIAS_LIST,
    ALIAS_SET,
    ALIAS_DELETE,
    STAGE_SET,
    COMPARE,
    VERSION_ENDPOINTS,
    RUN_VERSIONS,
)
