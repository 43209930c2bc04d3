"""The committed REST contract is sound OpenAPI 3.1, complete, described, and equal to what the code declares."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.rest import operations
from server.rest.openapi import build, served_part
from server.rest.route import Answer, Operation, Param

CONTRACT_FILE = Path(__file__).parents[2] / "schema" / "openapi.json"
METHODS = {"get", "put", "post", "delete", "patch"}
COLUMNS = {"identity", "serving", "notebooks"}
SCHEMA_MAPS = ("properties", "patternProperties", "$defs")

# The routes of the two requirement documents, word for word; ":" marks a parameter.
REQUIRED_ROUTES = """
POST /api/auth/register
POST /api/auth/login
POST /api/auth/logout
POST /api/auth/refresh
GET /api/auth/me
POST /api/auth/mfa/totp/setup
POST /api/auth/mfa/totp/enable
POST /api/auth/mfa/totp/verify
POST /api/auth/mfa/webauthn/register/start
POST /api/auth/mfa/webauthn/register/finish
POST /api/auth/mfa/webauthn/authenticate/start
POST /api/auth/mfa/webauthn/authenticate/finish
GET /api/auth/mfa/recovery/generate
GET /api/auth/mfa/recovery
POST /api/auth/mfa/recovery
GET /api/auth/mfa/totp/setup
GET /api/training/runs
POST /api/training/runs
GET /api/training/runs/:id
DELETE /api/training/runs/:id
POST /api/training/runs/:id/stop
GET /api/training/runs/:id/metrics
POST /api/training/runs/:id/metrics
GET /api/training/runs/:id/logs
POST /api/training/runs/:id/logs
POST /api/training/runs/:id/log
GET /api/training/runs/:id/stream
GET /api/models
POST /api/models
GET /api/models/:id
PUT /api/models/:id
DELETE /api/models/:id
GET /api/models/:id/versions
POST /api/models/:id/versions
GET /api/models/:id/versions/:v
DELETE /api/models/:id/versions/:v
GET /api/models/:id/versions/:v/download
POST /api/models/:id/versions/:v/deploy
GET /api/inference/endpoints
POST /api/inference/endpoints
GET /api/inference/endpoints/:id
PUT /api/inference/endpoints/:id
DELETE /api/inference/endpoints/:id
POST /api/inference/endpoints/:id/start
POST /api/inference/endpoints/:id/stop
GET /api/inference/endpoints/:id/metrics
POST /api/inference/predict/:name
GET /health
GET /api/metrics
GET /api/admin/users
POST /api/admin/users
PUT /api/admin/users/:id
DELETE /api/admin/users/:id
GET /api/admin/stats
"""
# What this product adds to them, and the permission records of the third document.
ADDED_ROUTES = """
GET /health/ready
GET /api/openapi.json
GET /api/admin/audit
DELETE /api/admin/users/:id/factors
POST /api/auth/setup
GET /api/auth/keys
GET /api/auth/export
POST /api/auth/keys
DELETE /api/auth/keys/:id
DELETE /api/auth/mfa/webauthn/:id
POST /api/auth/mfa/recovery/generate
GET /api/experiments
POST /api/experiments
GET /api/experiments/:id
PATCH /api/training/runs/:id
POST /api/training/runs/:id/start
POST /api/training/runs/:id/finish
POST /api/training/runs/:id/resume
POST /api/training/runs/:id/restore
POST /api/training/runs/:id/purge
POST /api/training/runs/:id/params
POST /api/training/runs/:id/tags
POST /api/models/:id/tags
PUT /api/models/:id/versions/:v
POST /api/models/:id/versions/:v/tags
PUT /api/models/:id/versions/:v/content
PUT /api/models/:id/versions/:v/architecture
GET /api/notebooks
POST /v2/models/:model/infer
GET /v1/permissions
POST /v1/permissions
GET /v1/permissions/:id
PUT /v1/permissions/:id
DELETE /v1/permissions/:id
"""
STATE_CHANGING_GETS = {
    "/api/auth/mfa/totp/setup": "/api/auth/mfa/totp/setup",
    "/api/auth/mfa/recovery": "/api/auth/mfa/recovery/generate",
    "/api/auth/mfa/recovery/generate": "/api/auth/mfa/recovery/generate",
}

TEXT = CONTRACT_FILE.read_text(encoding="utf-8")
CONTRACT: dict[str, Any] = json.loads(TEXT)
OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    (method, path, operation) for path, item in CONTRACT["paths"].items() for method, operation in item.items()
]
each_operation = pytest.mark.parametrize(
    ("path", "operation"), [pytest.param(p, o, id=f"{m} {p}") for m, p, o in OPERATIONS]
)


def routes(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        if line:
            method, path = line.split(" ")
            yield method.lower(), re.sub(r":(\w+)", r"{\1}", path)


def resolve(node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        target: Any = CONTRACT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def walk(node: Any, trail: str = "#") -> Iterator[tuple[str, Any]]:
    yield trail, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, f"{trail}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from walk(value, f"{trail}/{index}")


def test_the_file_is_pretty_printed_json() -> None:
    assert json.dumps(CONTRACT, indent=2, ensure_ascii=False) + "\n" == TEXT


def test_document_is_openapi_3_1() -> None:
    assert CONTRACT["openapi"] == "3.1.0"
    assert {"title", "version", "description"} <= CONTRACT["info"].keys()
    assert set(CONTRACT) == {"openapi", "info", "tags", "paths", "components"}
    assert list(CONTRACT["paths"]) == sorted(CONTRACT["paths"])
    assert all(path.startswith("/") for path in CONTRACT["paths"])
    assert {method for method, _, _ in OPERATIONS} <= METHODS


def test_every_reference_resolves() -> None:
    references = [node["$ref"] for _, node in walk(CONTRACT) if isinstance(node, dict) and "$ref" in node]
    assert len(references) > 500
    for reference in references:
        assert resolve({"$ref": reference}) is not None


def test_every_component_is_used() -> None:
    used = {node["$ref"] for _, node in walk(CONTRACT) if isinstance(node, dict) and "$ref" in node}
    declared = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "parameters", "headers", "responses")
        for name in CONTRACT["components"][kind]
    }
    assert declared == used


def test_paths_differ_when_their_parameter_names_are_ignored() -> None:
    shapes = [re.sub(r"{\w+}", "{}", path) for path in CONTRACT["paths"]]
    assert len(shapes) == len(set(shapes))


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]*", name) for name in ids)


@each_operation
def test_operation_is_described(path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert not operation["summary"].endswith(".")
    assert operation["description"].endswith((".", "`."))
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in {tag["name"] for tag in CONTRACT["tags"]}
    schemes = {name for requirement in operation["security"] for name in requirement}
    assert schemes <= CONTRACT["components"]["securitySchemes"].keys()
    assert operation["responses"]
    for status, response in operation["responses"].items():
        assert re.fullmatch(r"[1-5][0-9][0-9]", status)
        assert resolve(response)["description"]


@each_operation
def test_parameters_fit_the_path(path: str, operation: dict[str, Any]) -> None:
    parameters = [resolve(parameter) for parameter in operation.get("parameters", [])]
    places = [(parameter["in"], parameter["name"]) for parameter in parameters]
    assert len(places) == len(set(places))
    assert {name for place, name in places if place == "path"} == set(re.findall(r"{(\w+)}", path))
    for parameter in parameters:
        assert parameter["description"]
        assert "schema" in parameter
        assert parameter["required"] is True or parameter["in"] != "path"
    assert ("header", "X-Axonml-Workspace") in places or operation["security"] == []


@each_operation
def test_errors_have_the_shared_shape(path: str, operation: dict[str, Any]) -> None:
    shape = "OipError" if path.startswith("/v2") else "Error"
    for status, response in operation["responses"].items():
        if status >= "400":
            schema = resolve(response)["content"]["application/json"]["schema"]
            assert schema == {"$ref": f"#/components/schemas/{shape}"}


def test_every_schema_and_property_is_described() -> None:
    bare = [
        f"{trail}/{name}"
        for trail, node in walk(CONTRACT)
        if isinstance(node, dict) and not trail.endswith(("/default", "/propertyNames"))
        for name, schema in (node.get("properties") or {}).items()
        if not schema.get("description")
    ]
    bare += [name for name, schema in CONTRACT["components"]["schemas"].items() if not schema.get("description")]
    assert bare == []


def test_required_properties_exist_and_are_not_planned() -> None:
    for name, schema in CONTRACT["components"]["schemas"].items():
        properties = schema.get("properties", {})
        for required in schema.get("required", []):
            assert "x-planned" not in properties[required], f"{name}.{required}"


def test_request_bodies_are_closed_and_answers_are_open() -> None:
    for _, path, operation in OPERATIONS:
        if path.startswith("/v2"):
            continue
        for media in operation.get("requestBody", {}).get("content", {}).values():
            for schema in media["schema"].get("anyOf", [media["schema"]]):
                if "$ref" in schema:
                    assert resolve(schema)["additionalProperties"] is False, schema
        for status, response in operation["responses"].items():
            for media in resolve(response).get("content", {}).values():
                if status < "300" and "$ref" in media["schema"]:
                    assert "additionalProperties" not in resolve(media["schema"]), media


def test_lists_share_one_shape() -> None:
    lists = {name: s for name, s in CONTRACT["components"]["schemas"].items() if name.endswith("List")}
    assert len(lists) >= 8
    for name, schema in lists.items():
        backwards = ["previous_cursor"] if name == "LogList" else []
        assert schema["required"] == ["items", "total", "next_cursor", *backwards], name


def test_creating_operations_take_an_idempotency_key() -> None:
    exempt = {"authSetup", "authRegister", "webauthnRegisterFinish"}  # good once by a token of their own
    exempt.add("apiKeyCreate")  # its first result cannot be answered again: the secret is kept nowhere
    for _, _, operation in OPERATIONS:
        if "201" in operation["responses"] and operation["operationId"] not in exempt:
            names = {resolve(parameter)["name"] for parameter in operation["parameters"]}
            assert "Idempotency-Key" in names, operation["operationId"]


@pytest.mark.parametrize(("method", "path"), [*routes(REQUIRED_ROUTES), *routes(ADDED_ROUTES)])
def test_route_is_in_the_contract(method: str, path: str) -> None:
    assert method in CONTRACT["paths"][path]


@pytest.mark.parametrize(("path", "target"), STATE_CHANGING_GETS.items())
def test_state_changing_get_answers_405_only(path: str, target: str) -> None:
    operation = CONTRACT["paths"][path]["get"]
    assert list(operation["responses"]) == ["405"]
    assert f"POST {target}" in operation["description"]
    assert "post" in CONTRACT["paths"][target]


def test_at_most_ten_routes_are_public() -> None:
    public = {f"{method} {path}" for method, path, operation in OPERATIONS if {} in (operation["security"] or [{}])}
    assert public == {
        "get /health",
        "get /health/ready",
        "post /api/auth/setup",
        "post /api/auth/register",
        "post /api/auth/login",
        "post /api/auth/refresh",
        "post /api/auth/mfa/totp/verify",
        "post /api/auth/mfa/webauthn/authenticate/start",
        "post /api/auth/mfa/webauthn/authenticate/finish",
        "post /api/auth/mfa/recovery",
    }


def test_planned_parts_name_their_column() -> None:
    columns = {node["x-planned"] for _, node in walk(CONTRACT) if isinstance(node, dict) and "x-planned" in node}
    assert columns == COLUMNS


def test_the_declared_operations_are_the_served_part_of_the_contract() -> None:
    assert build(operations.SERVED) == served_part(CONTRACT)


def test_served_part_leaves_no_trace_of_what_is_planned() -> None:
    before = json.dumps(CONTRACT)
    served = served_part(CONTRACT)
    assert json.dumps(CONTRACT) == before
    assert "x-planned" not in json.dumps(served)
    assert "/api/notebooks" not in served["paths"]
    assert "Notebook" not in served["components"]["schemas"]
    assert "notebooks" not in {tag["name"] for tag in served["tags"]}
    assert served_part(served) == served


def operation(**changes: Any) -> Operation:
    facts: dict[str, Any] = {
        "method": "get",
        "path": "/things",
        "operation_id": "things",
        "tag": "system",
        "summary": "Things",
        "description": "Things.",
        "answers": {200: Answer("Things.")},
    }
    return Operation(**(facts | changes))


def test_automatic_errors_follow_from_the_operation() -> None:
    one = Param("id", str, "Which.", "path")
    statuses = {
        name: set(build([op])["paths"][op.path]["get"]["responses"])
        for name, op in {
            "plain": operation(),
            "public": operation(security="public"),
            "one": operation(path="/things/{id}", params=(one,), security="public"),
            "bare": operation(bare=True, errors=(405,)),
        }.items()
    }
    assert statuses["plain"] == {"200", "400", "401", "403", "404", "429", "500", "503"}
    assert statuses["plain"] - statuses["public"] == {"401", "403", "404"}
    assert statuses["one"] - statuses["public"] == {"404"}
    assert statuses["bare"] == {"200", "405"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([operation(), operation(operation_id="others")], "declared twice: get /things"),
        ([operation(), operation(path="/others")], "declared twice: things"),
        ([operation(tag="nonsense")], "unknown tag 'nonsense'"),
        ([operation(path="/things/{id}")], "the path has {'id'}"),
    ],
)
def test_contradictory_operations_are_refused(wrong: list[Operation], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build(wrong)
