"""Run, version and endpoint lead to each other; aliases, comparison and tensors as clients see them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from tests.support.models import linear
from tests.support.product import Product, RefusedError
from tests.support.registry import weights_file
from tests.support.servers import until


async def answered(product: Product, method: str, path: str, status: int = 200, **options: Any) -> Any:
    answer = await product.rest(method, path, **options)
    assert answer.status_code == status, answer.text
    return None if status == 204 else answer.json()


async def refused(product: Product, method: str, path: str, status: int, **options: Any) -> tuple[str, str | None]:
    error = (await answered(product, method, path, status, **options))["error"]
    return error["code"], error["field"]


async def uploaded(product: Product, model: str = "m", data: bytes | None = None, **said: Any) -> Any:
    files = {"file": ("w.safetensors", data or weights_file())}
    fields = {"architecture": json.dumps(linear()), **said}
    return await answered(product, "POST", f"/api/models/{model}/versions", 201, files=files, data=fields)


async def run(product: Product, config: dict[str, Any], *points: dict[str, Any]) -> str:
    made = await answered(product, "POST", "/api/training/runs", 201, json={"name": "r", "config": config})
    for point in points:
        await answered(product, "POST", f"/api/training/runs/{made['id']}/metrics", json=point)
    return str(made["id"])


@pytest.fixture
async def model(product: Product) -> Product:
    await answered(product, "POST", "/api/models", 201, json={"name": "m"})
    return product


async def test_a_version_takes_the_last_figures_of_its_run_and_keeps_them(model: Product) -> None:
    one = await run(model, {}, {"step": 1, "loss": 2.0, "acc": 0.1}, {"step": 2, "loss": 1.5, "lr": "NaN"})
    whole = await uploaded(model, run_id=one)
    assert whole["metrics"] == {"acc": 0.1, "loss": 1.5, "lr": "NaN"}
    headers = {"Idempotency-Key": "once"}
    sent: dict[str, Any] = {
        "files": {"file": ("w.safetensors", weights_file())},
        "data": {"metrics": json.dumps({"loss": 0.25, "f1": 1}), "run_id": one},
    }
    part = await answered(model, "POST", "/api/models/m/versions", 201, headers=headers, **sent)
    assert part["metrics"] == {"acc": 0.1, "f1": 1, "loss": 0.25, "lr": "NaN"}
    await answered(model, "POST", f"/api/training/runs/{one}/metrics", json={"step": 3, "loss": 9.0})
    again = await answered(model, "POST", "/api/models/m/versions", 201, headers=headers, **sent)
    assert (again["id"], again["metrics"]) == (part["id"], part["metrics"])
    assert (await answered(model, "GET", "/api/models/m/versions/1"))["metrics"] == whole["metrics"]
    assert (await uploaded(model))["metrics"] == {}
    key = await answered(model, "POST", "/api/auth/keys", 201, json={"name": "k", "scopes": ["models:write"]})
    blind = await model.http.post(
        "/api/models/m/versions", headers={"Authorization": f"Bearer {key['secret']}"}, **sent
    )
    assert blind.json()["metrics"] == {"f1": 1, "loss": 0.25}


async def test_run_version_and_endpoint_lead_to_each_other(model: Product) -> None:
    one = await run(model, {})
    first, _ = await uploaded(model, run_id=one), await uploaded(model)
    await answered(model, "POST", "/api/inference/endpoints", 201, json={"name": "e", "model_version_id": first["id"]})
    versions = await answered(model, "GET", f"/api/training/runs/{one}/versions")
    assert [(item["id"], item["run_id"]) for item in versions["items"]] == [(first["id"], one)]
    endpoints = await answered(model, "GET", "/api/models/m/versions/1/endpoints")
    assert [item["name"] for item in endpoints["items"]] == ["e"]
    assert endpoints["items"][0]["traffic"][0]["version_id"] == first["id"]
    assert (await answered(model, "GET", "/api/models/m/versions/2/endpoints"))["items"] == []
    found = await model.graphql(
        """query ($run: ID!) {
          run(id: $run) { modelVersions { nodes { version endpoints { nodes { name } } } } }
          endpoint(name: "e") { traffic { version { version run { id } model { name } } } }
        }""",
        run=one,
    )
    assert found["run"]["modelVersions"]["nodes"] == [{"version": 1, "endpoints": {"nodes": [{"name": "e"}]}}]
    assert found["endpoint"]["traffic"] == [{"version": {"version": 1, "run": {"id": one}, "model": {"name": "m"}}}]
    assert await refused(model, "GET", "/api/training/runs/x/versions", 400) == ("BAD_USER_INPUT", "id")


async def test_aliases_over_rest_and_in_the_graph(model: Product) -> None:
    first, second = await uploaded(model), await uploaded(model, data=weights_file(3.0))
    made = await answered(model, "PUT", "/api/models/m/aliases/champion", json={"version": 1})
    assert (made["alias"], made["version"], made["version_id"]) == ("champion", 1, first["id"])
    download = await model.rest("GET", "/api/models/m/versions/@champion/download")
    assert download.headers["etag"] == f'"{first["file"]["sha256"]}"'
    moved = await model.graphql(
        """mutation ($v: ID!) { modelAliasSet(input: {versionId: $v, alias: "champion"}) {
          aliases { name version { version aliases } }
        } }""",
        v=second["id"],
    )
    assert moved["modelAliasSet"]["aliases"] == [
        {"name": "champion", "version": {"version": 2, "aliases": ["champion"]}}
    ]
    download = await model.rest("GET", "/api/models/m/versions/@champion/download")
    assert download.headers["etag"] == f'"{second["file"]["sha256"]}"'
    assert (await answered(model, "GET", "/api/models/m/versions/@champion"))["aliases"] == ["champion"]
    assert (await answered(model, "GET", "/api/models/m"))["aliases"] == {"champion": 2}
    listed = await answered(model, "GET", "/api/models/m/aliases")
    assert [(item["alias"], item["version"]) for item in listed["items"]] == [("champion", 2)]
    found = await model.graphql('{ modelVersion(name: "m", alias: "champion") { version } }')
    assert found["modelVersion"] == {"version": 2}
    assert await refused(model, "DELETE", "/api/models/m/versions/@champion", 400) == ("BAD_USER_INPUT", "version")
    for alias, body, status, told in (
        ("latest", {"version": 1}, 400, ("BAD_USER_INPUT", "alias")),
        ("v2", {"version": 1}, 400, ("BAD_USER_INPUT", "alias")),
        ("x", {"version": 9}, 404, ("NOT_FOUND", "version")),
        ("x", {"version": 0}, 422, ("BAD_USER_INPUT", "version")),
        ("x", {"version": "1"}, 422, ("BAD_USER_INPUT", "version")),
    ):
        assert await refused(model, "PUT", f"/api/models/m/aliases/{alias}", status, json=body) == told
    with pytest.raises(RefusedError) as both:
        await model.graphql('{ modelVersion(name: "m", version: 1, alias: "champion") { id } }')
    assert (both.value.code, both.value.field) == ("BAD_USER_INPUT", "id")
    await answered(model, "DELETE", "/api/models/m/aliases/champion", 204)
    assert await refused(model, "DELETE", "/api/models/m/aliases/champion", 404) == ("NOT_FOUND", "alias")
    assert await refused(model, "GET", "/api/models/m/versions/@champion", 404) == ("NOT_FOUND", "version")

    async def in_the_log() -> bool:
        found = await model.graphql('{ auditEvents(filter: {outcome: "ok"}) { nodes { action resource others } } }')
        rows = [row for row in found["auditEvents"]["nodes"] if row["action"].startswith("modelAlias")]
        assert all(row["resource"] == first["model_id"] for row in rows)
        return [(row["action"], row["others"]) for row in reversed(rows)] == [
            ("modelAliasSet", [first["id"]]),
            ("modelAliasSet", [second["id"], first["id"]]),
            ("modelAliasDelete", [second["id"]]),
        ]

    await until(in_the_log, "the moves of the alias are not in the audit log")


async def test_deploying_an_alias_deploys_the_version_it_points_at_then(model: Product) -> None:
    await uploaded(model), await uploaded(model)
    await answered(model, "PUT", "/api/models/m/aliases/champion", json={"version": 1})
    deployed = await answered(
        model,
        "POST",
        "/api/models/m/versions/@champion/deploy",
        json={"endpoint": "e"},
        params={"wait": 60},
        timeout=90,
    )
    assert (deployed["status"], deployed["traffic"][0]["version"]) == ("running", 1), deployed
    await answered(model, "PUT", "/api/models/m/aliases/champion", json={"version": 2})
    answer = await answered(model, "POST", "/api/inference/predict/e", json={"inputs": [[1, 2, 3, 4]]})
    assert answer["version"] == 1


async def test_stages_over_rest(model: Product) -> None:
    await uploaded(model), await uploaded(model)
    at = "/api/models/m/versions/{}/stage"
    first = await answered(model, "PUT", at.format(1), json={"stage": "production"})
    assert (first["stage"], first["aliases"]) == ("production", ["production"])
    await answered(model, "PUT", at.format("latest"), json={"stage": "production", "archive_existing": True})
    listed = await answered(model, "GET", "/api/models/m/versions")
    assert [(item["version"], item["stage"]) for item in listed["items"]] == [(2, "production"), (1, "archived")]
    assert listed["items"][1]["tags"] == {"axonml.archived": "true"}
    assert await refused(model, "PUT", at.format(1), 422, json={"stage": "Production"}) == ("BAD_USER_INPUT", "stage")


COMPARE = """query ($l: ID!, $r: ID!) { modelVersionCompare(left: $l, right: $r) {
  sameFile left { version } right { version }
  metrics { key left right } config { path change left right } architecture { path change }
  tensors { name change left { dtype shape } right { dtype shape } }
} }"""


async def test_two_versions_are_compared(model: Product) -> None:
    await answered(model, "POST", "/api/models", 201, json={"name": "other"})
    left_run = await run(model, {"lr": 0.1, "opt": {"name": "sgd"}}, {"step": 1, "loss": 2.0})
    right_run = await run(model, {"lr": 0.2, "opt": {"name": "sgd"}}, {"step": 1, "loss": "Infinity", "acc": 1})
    left = await uploaded(model, run_id=left_run)
    wider: dict[str, Any] = {
        "0.weight": np.zeros((4, 8), np.float32),
        "0.bias": np.zeros(4, np.float32),
        "x": np.zeros(1, np.int64),
    }
    right = await answered(
        model,
        "POST",
        "/api/models/other/versions",
        201,
        files={"file": ("w.safetensors", save(wider))},
        data={"run_id": right_run},
    )
    found = (await model.graphql(COMPARE, l=left["id"], r=right["id"]))["modelVersionCompare"]
    assert found == {
        "sameFile": False,
        "left": {"version": 1},
        "right": {"version": 1},
        "metrics": [
            {"key": "acc", "left": None, "right": 1},
            {"key": "loss", "left": 2, "right": "Infinity"},
        ],
        "config": [{"path": "lr", "change": "CHANGED", "left": 0.1, "right": 0.2}],
        "architecture": None,
        "tensors": [
            {
                "name": "0.weight",
                "change": "CHANGED",
                "left": {"dtype": "float32", "shape": [4, 4]},
                "right": {"dtype": "float32", "shape": [4, 8]},
            },
            {"name": "x", "change": "ADDED", "left": None, "right": {"dtype": "int64", "shape": [1]}},
        ],
    }
    over_rest = await answered(
        model, "GET", "/api/models/m/versions/1/compare", params={"to": "latest", "to_model": "other"}
    )
    assert over_rest["tensors"][1]["right"] == {"name": "x", "dtype": "int64", "shape": [1]}
    assert over_rest["config"] == [{"path": "lr", "change": "changed", "left": 0.1, "right": 0.2}]
    assert (over_rest["left"]["id"], over_rest["right"]["id"]) == (left["id"], right["id"])
    key = await answered(model, "POST", "/api/auth/keys", 201, json={"name": "k", "scopes": ["models:read"]})
    blind = await model.graphql(COMPARE, token=key["secret"], l=left["id"], r=right["id"])
    assert blind["modelVersionCompare"]["config"] is None
    same = await uploaded(model)
    found = (await model.graphql(COMPARE, l=left["id"], r=same["id"]))["modelVersionCompare"]
    assert (found["sameFile"], found["tensors"], found["architecture"], found["config"]) == (True, [], [], None)
    missing = "ver_" + "0" * 32
    for given, told in (
        ({"l": left["id"], "r": missing}, ("NOT_FOUND", "right")),
        ({"l": missing, "r": left["id"]}, ("NOT_FOUND", "left")),
        ({"l": "m", "r": left["id"]}, ("BAD_USER_INPUT", "left")),
    ):
        with pytest.raises(RefusedError) as problem:
            await model.graphql(COMPARE, **given)
        assert (problem.value.code, problem.value.field) == told
    at = "/api/models/m/versions/1/compare"
    assert await refused(model, "GET", at, 404, params={"to": "9"}) == ("NOT_FOUND", "to")
    assert await refused(model, "GET", at, 404, params={"to": "1", "to_model": "x"}) == ("NOT_FOUND", "to_model")
    assert await refused(model, "GET", at, 400) == ("BAD_USER_INPUT", "to")


async def test_architectures_are_compared_by_node(model: Product) -> None:
    document = linear()
    left = await uploaded(model)
    nodes = [*document["nodes"], {"id": "act", "op": "ReLU", "args": {}, "in": ["0"]}]
    right = await uploaded(
        model, architecture=json.dumps({**document, "nodes": nodes, "outputs": [{"name": "y", "node": "act"}]})
    )
    found = (await model.graphql(COMPARE, l=left["id"], r=right["id"]))["modelVersionCompare"]
    told = {(each["path"], each["change"]) for each in found["architecture"]}
    assert {("nodes.act.op", "ADDED"), ("outputs.y.node", "CHANGED")} <= told
    assert not [path for path, _ in told if path.startswith("nodes.0")]


TENSORS = """query ($first: Int, $after: String) { modelVersion(name: "m", version: 1) { file {
  tensors(first: $first, after: $after) {
    totalCount nodes { name dtype shape } pageInfo { hasNextPage hasPreviousPage endCursor }
  } } } }"""


async def test_the_tensors_of_a_file_are_paged_by_name(model: Product) -> None:
    tensors = {f"layer{number:03}": np.zeros((number % 3 + 1,), np.float16) for number in range(25)}
    await answered(
        model,
        "POST",
        "/api/models/m/versions",
        201,
        files={"file": ("w.safetensors", save({**tensors, "Äx": np.zeros((), np.uint8)}))},
    )
    seen, after, pages = [], None, 0
    while True:
        found = await model.graphql(TENSORS, first=10, after=after)
        page = found["modelVersion"]["file"]["tensors"]
        assert page["totalCount"] == 26
        assert page["pageInfo"]["hasPreviousPage"] == (pages > 0)
        seen += page["nodes"]
        pages += 1
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert pages == 3
    assert [node["name"] for node in seen] == [*sorted(tensors), "Äx"]
    assert seen[-1] == {"name": "Äx", "dtype": "uint8", "shape": []}
    assert seen[1] == {"name": "layer001", "dtype": "float16", "shape": [2]}
    empty = (await model.graphql(TENSORS, first=0))["modelVersion"]["file"]["tensors"]
    assert (empty["nodes"], empty["totalCount"], empty["pageInfo"]["hasNextPage"]) == ([], 26, True)
    for given, field in (({"first": 1001}, "first"), ({"after": "x"}, "after"), ({"first": -1}, "first")):
        with pytest.raises(RefusedError) as problem:
            await model.graphql(TENSORS, **given)
        assert (problem.value.code, problem.value.field) == ("BAD_USER_INPUT", field)
    await answered(model, "POST", "/api/models/m/versions", 201, files={"file": ("w.bin", b"plain")})
    plain = await model.graphql('{ modelVersion(name: "m", version: 2) { file { tensors { totalCount } } } }')
    assert plain["modelVersion"]["file"]["tensors"] == {"totalCount": 0}


async def test_files_beside_the_weights_tell_their_tensors(model: Product) -> None:
    with_form, by_itself = (save({name: np.zeros((2, 3), np.int8)}) for name in ("form", "itself"))
    parts = [("file", ("w.bin", b"plain")), ("files", ("a.safetensors", with_form)), ("files", ("l.txt", b"cat"))]
    await answered(model, "POST", "/api/models/m/versions", 201, files=parts)
    path, raw = "/api/models/m/versions/1/files/b.safetensors", {"Content-Type": "application/octet-stream"}
    await answered(model, "PUT", path, content=by_itself, headers=raw)
    found = await model.graphql(
        '{ modelVersion(name: "m", version: 1) { files { name tensors { nodes { name dtype shape } } } } }'
    )
    told = {file["name"]: file["tensors"]["nodes"] for file in found["modelVersion"]["files"]}
    assert told == {
        "w.bin": [],
        "a.safetensors": [{"name": "form", "dtype": "int8", "shape": [2, 3]}],
        "b.safetensors": [{"name": "itself", "dtype": "int8", "shape": [2, 3]}],
        "l.txt": [],
    }
